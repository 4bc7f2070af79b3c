"""Laws of the model card: its front matter is YAML, it claims only what the run says, and loads only what loads."""

import re

import pytest
import yaml
from sample import RECIPE, sample_run

from evaluation.measurement import Run
from reports.card import model_card
from reports.number import read_comparison


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def with_file(file):
    """The sample, its result measured from `file`; the recipe's precision stays int8."""
    run = sample_run()
    targets = [t.model_copy(update={"file": file}) if t.name == "result" else t for t in run.targets]
    return run.model_copy(update={"targets": targets})


def test_front_matter_says_what_the_recipe_says():
    matter = front_matter(model_card(sample_run(), loads_in_stock_class=True))
    assert matter["pipeline_tag"] == "text-classification"
    assert matter["base_model"] == "sentence-transformers/all-MiniLM-L6-v2"
    assert "license" not in matter
    licensed = sample_run().model_copy(update={"recipe": RECIPE | {"license": "apache-2.0"}})
    assert front_matter(model_card(licensed, loads_in_stock_class=True))["license"] == "apache-2.0"


@pytest.mark.parametrize("stock", [True, False])
def test_the_stock_class_is_named_only_where_it_loads(stock):
    assert ("AutoModel.from_pretrained" in model_card(sample_run(), loads_in_stock_class=stock)) is stock


def test_headline_figures_stand_with_their_intervals():
    run = sample_run()
    card = model_card(run, loads_in_stock_class=False)
    for c in run.comparisons:
        if (c.target, c.baseline) == ("result", "torch-fp32"):
            assert read_comparison(c).figure in card
            assert read_comparison(c).interval in card


@pytest.mark.parametrize("file", ["onnx/model_int8.onnx", "onnx/model.onnx"])
def test_the_card_names_the_file_that_was_measured(file):
    card = model_card(with_file(file), loads_in_stock_class=False)
    assert set(re.findall(r"onnx/\w+\.onnx", card)) == {file}
    assert f'f"{{folder}}/{file}"' in card


def test_no_file_is_guessed():
    card = model_card(with_file(""), loads_in_stock_class=False)
    assert ".onnx" not in card
    assert "InferenceSession" not in card
    assert "compress.load(folder)" in card


def test_a_failed_gate_is_on_the_card():
    assert "gates failed" in model_card(sample_run(min_speedup=12), loads_in_stock_class=False)


def test_a_name_cannot_break_the_card():
    run = Run(name="x\n---\n<script>", recipe={"model": {"task": "a: b\n---", "source": "`hub:`"}})
    card = model_card(run, loads_in_stock_class=False)
    assert "<script>" not in card
    assert front_matter(card)["pipeline_tag"].startswith("a: b")

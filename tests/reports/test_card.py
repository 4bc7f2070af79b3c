"""Laws of the model card: its front matter is YAML, it claims only what the run says, and loads only what loads."""

import re

import pytest
import yaml
from sample import RECIPE, sample_run

from evaluation.measurement import Measurement, Run
from reports.card import model_card
from reports.headline import source_note
from reports.number import read_comparison, read_measurement


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


def from_source(**stated):
    """The sample's card, its source stating what is given."""
    run = sample_run()
    tables = run.tables | {"source": run.tables["source"] | stated}
    return model_card(run.model_copy(update={"tables": tables}), loads_in_stock_class=True)


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"license": "apache-2.0"}, "apache-2.0"),
        ({"license": ["mit", "apache-2.0"]}, "mit, apache-2.0"),
        ({"license": "other", "license_name": "of-the-house", "license_link": "LICENSE"}, "other"),
    ],
)
def test_the_license_is_the_one_that_the_source_states(stated, told):
    card = from_source(**stated)
    assert stated.items() <= front_matter(card).items()
    assert f"License, as the source states it: {told}." in card


def test_a_license_that_the_source_does_not_state_is_not_made_up():
    card = from_source()
    assert not any(key.startswith("license") for key in front_matter(card))
    assert "The source's own card states no license" in card
    bare = model_card(sample_run().model_copy(update={"tables": {}}), loads_in_stock_class=True)
    assert "license" not in bare


def test_a_source_in_half_precision_is_told_as_in_the_headline():
    [note] = source_note(sample_run())
    assert note.text in from_source()
    assert "half precision" not in from_source(**{"stored as": "F32"})


def test_the_hub_reads_what_was_measured_and_what_was_done():
    run = sample_run()
    matter = front_matter(model_card(run, loads_in_stock_class=True))
    assert {"distillation", "pruning", "quantization", "onnx"} <= set(matter["tags"])
    assert matter["metrics"] == ["accuracy", "f1", "calibration_error"]
    [model] = matter["model-index"]
    [result] = model["results"]
    assert result["task"] == {"type": "text-classification"}
    assert result["dataset"]["split"] == "test"
    for metric in result["metrics"]:
        measured = run.measured("result", metric["type"])
        assert metric["value"] == round(measured.value, 6)
        assert read_measurement(measured).interval in metric["name"]


def test_the_hub_s_names_are_used_where_they_are_others():
    recipe = RECIPE | {
        "data": {"tables": {"sts": {"source": "hub:owner/sts@main/data"}}, "test": {"table": "sts"}},
    }
    quality = {"target": "result", "name": "spearman", "value": 0.8, "unit": "correlation", "higher_is_better": True}
    measured = Measurement.model_validate(quality | {"conditions": {"split": "test"}})
    run = sample_run().model_copy(update={"recipe": recipe, "measurements": [measured]})
    [result] = front_matter(model_card(run, loads_in_stock_class=True))["model-index"][0]["results"]
    assert result["metrics"][0]["type"] == "spearmanr"
    assert result["dataset"] == {"name": "sts", "type": "owner/sts", "split": "test"}


def test_what_was_not_measured_is_not_claimed():
    run = sample_run().model_copy(update={"measurements": [], "comparisons": [], "tables": {}})
    card = model_card(run, loads_in_stock_class=True)
    assert not {"metrics", "model-index"} & front_matter(card).keys()
    assert "What broke" not in card


def test_what_broke_is_on_the_card():
    card = model_card(sample_run(), loads_in_stock_class=True)
    assert card.index("## What broke") < card.index("label: negative") < card.index("## How to load it")


@pytest.mark.parametrize("stock", [True, False])
def test_the_stock_class_is_named_only_where_it_loads(stock):
    assert ("AutoModel.from_pretrained" in model_card(sample_run(), loads_in_stock_class=stock)) is stock


def test_headline_figures_stand_with_their_intervals():
    run = sample_run()
    card = model_card(run, loads_in_stock_class=False)
    for c in run.comparisons:
        if (c.target, c.baseline) == ("result", "torch-fp32") and c.conditions.get("metric") in (None, "accuracy"):
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

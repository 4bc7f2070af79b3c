"""`compress inspect` as it is typed: what it finds of which model with which data, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import Answer, Small, command, make_small
from tiny import tiny_bundle

from compress.commands.heads import shared_out
from compress.data import text_places
from compress.folder import load, save
from compress.graph.build import build_graph
from evaluation.measurement import Run

Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A model folder, a labelled table, and the model as an ONNX file, which no test changes."""
    small = make_small(tmp_path_factory.mktemp("inspect"))
    (small.home / "texts.txt").write_text("w2 w3 w4\nw5 w6\nw7 w8 w9\n", encoding="utf-8")
    build_graph(load(small.model), small.model / "onnx" / "model.onnx", attention="plain")
    return small


@pytest.fixture(scope="module")
def typed(home: Small) -> Any:
    """Type `inspect` in the folder of the model, in haste."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home.home)
        patch.setattr("compress.layer_times.MOST_CALLS", 2)
        patch.setattr("compress.layer_times.ROUND_SECONDS", 0.0)
        patch.setattr("compress.commands.inspect.ROUNDS", 2)

        def do(*words: str | Path, model: str | Path = "source", latency: str = "1x8") -> Answer:
            given = ("--threads", "1", "--latency", latency, *words)
            return command(patch, "inspect", model, *given, cache=home.cache)

        yield do


@pytest.fixture(scope="module")
def full(typed: Ask, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path, Answer]:
    """All that there is, once: the document that was printed, the folder that was written, and the answer."""
    folder = tmp_path_factory.mktemp("full")
    options = ("--data", "texts.tsv", "--examples", "24", "--trade-off", "--encoder-parameters", "0.8")
    answer = typed(*options, "-o", folder, "--json", latency="1x8,2x16")
    assert answer.code == 0, answer
    return Run.model_validate(json.loads(answer.out)), folder, answer


def test_json_on_standard_output_is_the_file_and_nothing_else(full: tuple[Run, Path, Answer]):
    _, folder, answer = full
    assert json.loads(answer.out) == json.loads((folder / "inspect.json").read_text(encoding="utf-8"))


def test_parts_add_up_to_the_whole_s_parameters_and_flops(full: tuple[Run, Path, Answer]):
    run = full[0]
    assert sum(row["parameters"] for row in run.tables["parameters"]) == run.measured("source", "parameters").value
    for tokens in (8, 16):
        parts = sum(row["flops"] for row in run.tables["flops"] if row["tokens"] == tokens)
        assert parts == run.measured("source", "flops", tokens=tokens).value


def test_latency_has_unit_interval_count_and_says_how_it_was_measured(full: tuple[Run, Path, Answer]):
    run = full[0]
    for tokens in (8, 16):
        whole = run.measured("source", "latency_p50_ms", tokens=tokens)
        assert (whole.unit, whole.conditions["threads"], whole.conditions["device"]) == ("ms", 1, "cpu")
        rows = [row for row in run.tables["latency"] if row["tokens"] == tokens]
        assert {row["layer"] for row in rows} == {0, 1, 2, 3, None}
        assert all(row["low"] <= row["latency_p50_ms"] <= row["high"] and row["count"] > 1 for row in rows)
    how = run.tables["conditions"]["latency"]
    assert "hooks" in how["how"]
    assert how["excluded"].startswith("tokenization")


def test_the_heads_have_scores_and_roles_by_layer_and_number(full: tuple[Run, Path, Answer]):
    run = full[0]
    places = [(layer, head) for layer in range(4) for head in range(4)]
    for table in ("head_scores", "head_roles"):
        assert [(row["layer"], row["head"]) for row in run.tables[table]] == places
    scores, ranks = (np.array([row[key] for row in run.tables["head_scores"]]) for key in ("score", "rank"))
    assert (np.argsort(-scores, kind="stable") == np.argsort(ranks, kind="stable")).all()
    about = run.tables["conditions"]["head_scores"]
    assert (about["criterion"], about["examples"]) == ("taylor", 24)
    assert run.tables["conditions"]["head_roles"]["texts"] == 24


def test_the_trade_off_is_at_equal_parameters_and_judged_on_rows_that_nothing_was_scored_by(
    full: tuple[Run, Path, Answer],
):
    run = full[0]
    rows, about = run.tables["head_counts"], run.tables["conditions"]["head_counts"]
    assert [row["heads"] for row in rows] == sorted({row["heads"] for row in rows}, reverse=True)
    assert len(rows) > 2
    fractions = [row["encoder_parameters_fraction"] for row in rows]
    assert max(fractions) <= 0.8
    assert max(fractions) - min(fractions) < 0.05
    whole = run.measured("source", "accuracy")
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["count"] == about["judged_on_examples"] == whole.count
        assert row["quality_drop"] == pytest.approx(whole.value - row["value"])
    assert about["texts_in_both"] == 0
    assert about["scored_data"] != about["judged_data"]


def test_the_page_opens_offline_and_its_charts_lie_beside_it(full: tuple[Run, Path, Answer]):
    _, folder, _ = full
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "source: inspected" in page
    charts = {path.stem for path in folder.glob("*.svg")}
    roles = {f"role-{name}" for name in ("previous", "next", "first", "separator", "same", "rare", "entropy")}
    assert charts == roles | {"layers-1x8", "layers-2x16", "importance", "head-counts"}
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert all(f"({name}.svg)" in text for name in charts)
    assert "compress inspect source --data texts.tsv" in text
    assert str(folder.parent) not in page + text


def test_without_data_there_is_anatomy_and_latency_and_a_word_on_the_heads(typed: Ask):
    answer = typed("--json")
    run = Run.model_validate(json.loads(answer.out))
    assert {"parameters", "flops", "latency"} <= set(run.tables)
    assert not {"head_scores", "head_roles", "head_counts"} & set(run.tables)
    assert [(one.target, "--data" in one.reason) for one in run.skipped] == [("heads", True)]
    assert run.tables["conditions"]["latency"]["tokens_are"] == "random"


def test_unlabelled_texts_tell_roles_alone(typed: Ask):
    for options in (("--data", "texts.txt"), ("--data", "texts.tsv", "--columns", "text=text")):
        run = Run.model_validate(json.loads(typed(*options, "--json").out))
        assert "head_roles" in run.tables
        assert "head_scores" not in run.tables
        assert {one.target for one in run.skipped} == {"head importance", "quality"}


def test_an_onnx_file_has_sizes_quality_and_latency_of_the_whole_and_says_what_it_can_not_have(typed: Ask):
    folder, file = typed("--json"), typed("--data", "texts.tsv", "--json", model="source/onnx/model.onnx")
    ours, theirs = (Run.model_validate(json.loads(answer.out)) for answer in (folder, file))
    assert theirs.tables["parameters"] == ours.tables["parameters"]
    assert theirs.measured("model", "flops").value == ours.measured("source", "flops").value
    assert theirs.measured("model", "flops").conditions["counted"] == "graph"
    assert theirs.measured("model", "latency_p50_ms").conditions["runtime"] == "onnxruntime"
    assert theirs.measured("model", "accuracy").count > 0
    assert "latency" not in theirs.tables
    assert {one.target for one in theirs.skipped} == {"latency by layer", "head roles", "head importance"}


def test_pictures_have_no_roles_and_that_is_said(typed: Ask, tmp_path: Path):
    save(tiny_bundle("vit"), tmp_path / "vit")
    folder = tmp_path / "pictures"
    from PIL import Image

    for place in range(8):
        name = ("negative", "positive")[place % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (30 * place, 0, 0)).save(folder / name / f"{place}.png")
    tokens = load(tmp_path / "vit").max_tokens
    answer = typed("--data", folder, "--json", model=tmp_path / "vit", latency=f"1x{tokens}")
    assert answer.code == 0, answer
    run = Run.model_validate(json.loads(answer.out))
    assert "head_scores" in run.tables
    assert [(one.target, "pictures" in one.reason) for one in run.skipped] == [("head roles", True)]


def test_in_a_terminal_the_layers_are_a_table_and_the_rest_is_told(typed: Ask):
    answer = typed("--data", "texts.tsv", "--examples", "8")
    assert "| layer 3 | 4 | 64 |" in answer.out
    assert "Strongest heads, as layer-head" in answer.out
    assert "<svg" not in answer.out


@pytest.mark.parametrize(
    ("words", "model", "told"),
    [
        ((), "nowhere", "no such file or folder"),
        (("--trade-off",), "source", "--trade-off: needs --data with labels"),
        (("--trade-off", "--data", "texts.txt"), "source", "--trade-off: texts.txt has no labels to judge by"),
        (("--trade-off", "--data", "texts.tsv"), "source/onnx/model.onnx", "can't be cut; name the model's folder"),
        (("--columns", "text=text"), "source", "there is no --data"),
        (("--data", "texts.tsv", "--criterion", "tailor"), "source", "did you mean 'taylor'?"),
        (("--data", "wrong.tsv"), "source", "wrong.tsv"),
        (("--data", "few.tsv"), "source", "3 labelled rows, wanted 4 or more"),
        (("--data", "same.tsv"), "source", "so few different texts"),
        (("--data", "none.tsv"), "source", "none.tsv"),
        (("--frobnicate",), "source", "--frobnicate"),
        (("--latency", "1by8"), "source", "--latency 1by8"),
        (("--latency", "1x999"), "source", "the model reads 64 tokens at most"),
    ],
)
def test_what_can_not_be_is_refused_with_what_to_do(
    words: tuple[str, ...], model: str, told: str, typed: Ask, home: Small
):
    for name, rows in {
        "wrong.tsv": ["w2 w3\tgood", "w4\tbad", "w5\tgood", "w6\tbad"],
        "few.tsv": ["w2 w3\tpositive", "w4\tnegative", "w5\tpositive"],
        "same.tsv": ["w2 w3\tpositive", "w2 w3\tnegative", "W2  w3\tpositive", "w2 w3\tpositive"],
    }.items():
        (home.home / name).write_text("\n".join(["text\tlabel", *rows]) + "\n", encoding="utf-8")
    answer = typed(*words, model=model)
    assert answer.code == 2, answer
    assert told in answer.message
    assert answer.out == ""


@pytest.mark.parametrize("examples", [2, 16, 500])
def test_rows_to_score_by_and_rows_to_judge_by_share_no_text(examples: int):
    from tiny import tiny_split

    rows = tiny_split("all", 40).plus(tiny_split("all", 40))  # every text stands there twice
    scored, judged = shared_out(rows, examples, by_context=False)
    assert not set(scored.texts) & set(judged.texts)
    assert len(scored) + len(judged) == len(rows)
    assert len(judged) >= 2
    again = (
        text_places(scored.texts, None, salt="inspect").max() < text_places(judged.texts, None, salt="inspect").min()
    )
    assert again


def test_questions_about_one_context_stay_together():
    from dataclasses import replace

    from tiny import tiny_split

    rows = tiny_split("all", 24)
    rows = replace(rows, pairs=tuple(f"context {place // 4}" for place in range(24)))
    scored, judged = shared_out(rows, 8, by_context=True)
    assert not set(scored.pairs or ()) & set(judged.pairs or ())

"""A plan says what a run will do, and leaves no trace of having been made."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_run import Small, command, make_small, outside, small_recipe, write_recipe
from task_samples import sample, task_bundle
from tiny import tiny_bundle

from compress import catalog
from compress.anatomy import Anatomy
from compress.commands import plan as module
from compress.folder import load, read_config, save, source_bundle
from compress.lengths import Lengths
from compress.lineage import Lineage
from compress.memory import Room, Texts
from compress.outline import Outline
from compress.preflight import longest_input
from compress.recipe import read_recipe
from compress.runtimes.onnxruntime import Onnxruntime
from compress.stages.prune import Prune
from compress.task import task_of
from compress.tasks.sentence_embedding import SentenceEmbedding


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return make_small(tmp_path_factory.mktemp("plan"))


def planned(small: Small, patch: pytest.MonkeyPatch, *words: str) -> module.Planned:
    patch.chdir(small.home)
    answer = command(patch, "plan", "small.yaml", "--json", *words, cache=small.cache)
    assert answer.code == 0, answer.err
    found: module.Planned = json.loads(answer.out)
    return found


def tree(folder: Path) -> dict[str, str]:
    """Every file and folder below, with the digest of its content and its time."""
    return {
        str(path.relative_to(folder)): f"{path.stat().st_mtime_ns} "
        + (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder")
        for path in sorted(folder.rglob("*"))
    }


def test_a_plan_in_a_process_of_its_own_writes_nothing_and_loads_no_model_classes(small: Small, tmp_path: Path) -> None:
    code = """
import sys
sys.argv = ["compress", "plan", "small.yaml"]
from compress import cli
assert cli._exit_code() == 0
print([name for name in ("torch", "transformers", "datasets", "pandas") if name in sys.modules])
"""
    before = tree(small.home)
    environment = {**outside(small.cache), "TMPDIR": str(tmp_path), "HOME": str(tmp_path)}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, cwd=small.home, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert tree(small.home) == before
    assert tree(tmp_path) == {}
    assert not small.cache.exists()


def test_bytes_follow_from_what_stages_store(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = {stage["name"]: stage for stage in planned(small, monkeypatch)["stages"]}
    for name in ("p1-finetune", "01-distill", "02-prune", "03-export"):
        assert stages[name]["bytes"] == 4 * stages[name]["parameters"]
    assert stages["04-quantize"]["bytes"] == stages["04-quantize"]["parameters"]


def test_memory_is_foretold_for_each_stage_and_named_term_by_term(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = planned(small, monkeypatch)
    assert [row["phase"] for row in found["memory"]] == [*(stage["name"] for stage in found["stages"]), "measure"]
    for row in found["memory"]:
        assert sum(row["terms"].values()) == pytest.approx(row["bytes"], abs=len(row["terms"]))
    assert found["memory_bytes"] == max(row["bytes"] for row in found["memory"])
    assert found["shortage"] == ""


def test_a_plan_that_may_not_fit_says_so(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.preflight.room", lambda: Room(10**8, "free on this machine"))
    assert "0.1 GB is free on this machine" in planned(small, monkeypatch)["shortage"]
    monkeypatch.chdir(small.home)
    text = command(monkeypatch, "plan", "small.yaml", cache=small.cache).out
    assert "may not fit: " in text


def test_a_plan_is_the_same_twice_but_for_its_times(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (planned(small, monkeypatch) for _ in range(2))
    for found in (first, second):
        for row in (found, *found["stages"]):
            row.pop("seconds")
    assert first == second


def test_time_is_foretold_for_every_training_of_a_stage_and_all_texts_that_it_reads(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, anatomy = read_recipe(small.recipe), tiny_bundle().anatomy
    teaching, short = recipe.stages[0], tiny_bundle().anatomy.with_layers((0, 3))
    few = Lengths(np.ones(8, dtype=np.int64), np.full(8, 10, dtype=np.int64))
    alone = Texts(few, few, few, few)

    def seconds(texts: Texts) -> list[float]:
        """Of finetune, distill and prune."""
        return [row["seconds"] for row in module._foretold(recipe, Outline(anatomy, 1e9), texts)["stages"][:3]]

    def pruning(*trained: Anatomy) -> float:
        monkeypatch.setattr(Prune, "trainings", lambda *_: [(teaching, each) for each in trained], raising=False)
        return seconds(alone)[2]

    assert pruning() == 0
    assert pruning(anatomy, short) == pytest.approx(pruning(anatomy) + pruning(short))
    assert pruning(teaching.predict(anatomy)) == seconds(alone)[1]
    plain, wider = seconds(alone), seconds(replace(alone, transfer=few))
    assert wider[0] == plain[0]
    assert wider[1:] == pytest.approx([2 * each for each in plain[1:]])


@pytest.fixture
def pairs(tmp_path: Path) -> Small:
    """An embedding model that was made for shorter texts than its positions and its tokenizer allow, and its recipe."""
    task = task_of("sentence-embedding")
    small = Small(tmp_path)
    save(replace(task_bundle(task), task=SentenceEmbedding(max_tokens=17)), small.model)
    for extra in ("anatomy.json", "lineage.json"):
        (small.model / extra).unlink()
    split = sample(task, "all", 60)
    rows = [f"{a}\t{b}\t{c}" for a, b, c in zip(split.texts, split.pairs or (), split.labels.tolist(), strict=True)]
    small.table.write_text("\n".join(["text\tother\tscore", *rows]) + "\n", encoding="utf-8")
    recipe = small_recipe()
    columns = {"text": "text", "text_pair": "other"}
    recipe["data"]["tables"] = {"texts": {"source": "texts.tsv", "columns": columns, "label": {"column": "score"}}}
    recipe["model"]["task"] = task.name
    recipe["measure"]["metrics"] = ["spearman"]
    recipe["stages"], recipe["prepare"] = recipe["stages"][2:3], []
    recipe["deploy"]["precision"] = "fp32"
    write_recipe(small.recipe, recipe)
    return small


def test_what_the_model_itself_was_made_for_bounds_a_plan_as_it_does_a_run(
    pairs: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, config = task_of("sentence-embedding"), read_config(pairs.model)
    assert (
        longest_input(pairs.model, config, task)
        == source_bundle(pairs.model, task, ("score",), Lineage()).max_tokens
        == 17
    )
    monkeypatch.chdir(pairs.home)
    told = {
        words: command(monkeypatch, words, "small.yaml", "--set", "deploy.shapes=[1x24]", cache=pairs.cache)
        for words in ("plan", "run")
    }
    for answer in told.values():
        assert answer.code != 0
        assert "shape 1x24: the model reads 17 tokens at most" in answer.err
    assert planned(pairs, monkeypatch, "--set", "deploy.shapes=[1x17]")["stages"]


@pytest.mark.parametrize("family", catalog.names("families"))
def test_the_longest_input_is_the_same_before_and_after_a_model_is_read(family: str, tmp_path: Path) -> None:
    bundle = tiny_bundle(family)
    save(bundle, tmp_path)
    assert longest_input(tmp_path, read_config(tmp_path), bundle.task) == load(tmp_path).max_tokens


def test_what_run_will_leave_out_is_told_with_its_reason(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    found = planned(small, monkeypatch, "--set", "measure.baselines=[torch-fp32, torch-fp16]")
    assert found["measured"][0] == "torch-fp32"
    assert "torch-fp16" not in found["measured"]
    assert [one["target"] for one in found["skipped"]] == ["torch-fp16"]
    assert "not measured here: torch-fp16: float16 has no fast CPU kernels" in module.to_text(found)


def test_a_machine_that_lacks_what_the_recipe_deploys_on_is_told(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = planned(small, monkeypatch, "--set", "deploy.device=cuda")
    assert "`run` stops here: device cuda: torch finds no GPU here" in module.to_text(found)
    assert "; int8 for cuda: " in module.to_text(found)  # the machine with a GPU would stop at it as well
    assert planned(small, monkeypatch)["stops"] == ""


def test_integers_that_a_gpu_has_no_kernels_for_stop_the_run(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    found = planned(small, monkeypatch, "--set", "deploy.device=cuda")
    assert "`run` stops here: int8 for cuda: onnxruntime carries products" in module.to_text(found)
    monkeypatch.setattr(Onnxruntime, "obstacle", lambda *_: None)
    nowhere = ("--set", "model.source=nowhere")  # it is said before a source is looked for
    answer = command(monkeypatch, "run", small.recipe, "--device", "cuda", *nowhere, cache=small.cache)
    assert (answer.code, "int8 for cuda" in answer.message, "nowhere" in answer.message) == (2, True, False), answer
    half = ("--set", "stages=[{export: {precision: fp16}}]", "--set", "deploy.precision=fp16")
    assert planned(small, monkeypatch, "--set", "deploy.device=cuda", *half)["stops"] == ""


def test_memory_is_left_out_where_the_run_is_to_be_on_a_gpu(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "memory_bytes" not in planned(small, monkeypatch, "--set", "deploy.device=cuda")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("[positive, negative]", "name them in the model's order"),
        ("[positive, negative, neither]", "was it trained for another task"),
    ],
)
def test_labels_that_are_not_the_models_are_told_with_what_mends_them(names, said, small, monkeypatch):
    monkeypatch.chdir(small.home)
    words = ("plan", "small.yaml", "--set", "prepare=[]", "--set", f"data.tables.texts.label.names={names}")
    answer = command(monkeypatch, *words, cache=small.cache)
    assert (answer.code, said in answer.message) == (2, True), answer

"""`compress sweep` from the command line: one sitting for all variants, shared stages made once, faults by variant."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from small_run import INTERRUPTIBLE, Answer, Small, command, few_rounds, make_small, outside, small_recipe

from compress.folder import load
from compress.recipe import read_recipe
from evaluation.measurement import Run, read_run

LAYERS = "stages.distill.student.layers"
SHARE = "stages.prune.target.encoder_parameters"
NAMES = [f"layers={layers},encoder_parameters={share}" for layers in (2, 3) for share in (0.9, 0.8)]
MADE = (f"{LAYERS}=2,3", f"{SHARE}=0.9,0.8")


def quick(home: Path, **changes: object) -> Small:
    """The small recipe without its ONNX part, and trained for less long."""
    recipe = small_recipe()
    recipe["prepare"][0]["finetune"]["epochs"] = 2
    distill, prune, *_ = recipe["stages"]
    distill["distill"]["epochs"] = 1
    return make_small(home, prepare=recipe["prepare"], stages=[distill, prune], **changes)


def swept(small: Small, *words: str, over: tuple[str, ...] = MADE) -> Answer:
    options = [word for text in over for word in ("--over", text)]
    with pytest.MonkeyPatch.context() as patch:
        few_rounds(patch)
        return command(patch, "sweep", small.recipe, *options, "-o", small.output, *words, cache=small.cache)


def copied(small: Small, home: Path) -> Small:
    shutil.copytree(small.home, home)
    return Small(home)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A finished sweep of two by two, not to be changed by any test."""
    small = quick(tmp_path_factory.mktemp("sweep"))
    answer = swept(small)
    assert answer.code == 0, answer.err
    assert str(small.output / "report" / "index.html") in answer.out
    return small


@pytest.fixture
def run(done: Small) -> Run:
    return read_run(done.output)


@pytest.mark.slow
def test_baselines_and_variants_are_measured_in_one_sitting(run):
    assert [(target.name, target.kind) for target in run.targets] == [
        ("torch-fp32", "baseline"),
        *((name, "variant") for name in NAMES),
    ]
    pairs = {(c.baseline, c.target) for c in run.comparisons}
    names = ["torch-fp32", *NAMES]
    assert pairs == {(first, second) for place, first in enumerate(names) for second in names[place + 1 :]}


@pytest.mark.slow
def test_stages_that_variants_share_are_made_once(run, done):
    rows = {row["variant"]: row for row in run.tables["variants"]}
    assert [(rows[name]["stages_reused"], rows[name]["stages"]) for name in NAMES] == [(0, 3), (2, 3), (1, 3), (2, 3)]
    assert len([name for name in run.series if name.startswith("p1-finetune.loss")]) == 1
    assert len([name for name in run.series if name.startswith("01-distill.loss")]) == 2


@pytest.mark.slow
def test_the_table_of_variants_tells_changes_figures_and_how_each_ended(run):
    for row in run.tables["variants"]:
        assert (row["status"], row["reason"]) == ("done", "")
        assert set(row["changes"]) == {LAYERS, SHARE}
        assert row["accuracy"] == run.measured(row["variant"], "accuracy").value
        assert row["bytes"] == run.measured(row["variant"], "bytes").value
        assert row["latency_p50_ms 1x8"] == run.measured(row["variant"], "latency_p50_ms", batch=1, tokens=8).value


@pytest.mark.slow
def test_every_variant_leaves_its_recipe_its_model_and_its_run(run, done):
    for name in NAMES:
        folder = done.output / "variants" / name
        recipe = read_recipe(folder / "recipe.yaml")
        share = recipe.stages[1].target.encoder_parameters
        assert name == f"layers={recipe.stages[0].student.layers},encoder_parameters={share}"
        assert load(folder / "model").anatomy.parameters == run.measured(name, "parameters").value
        own = read_run(folder)
        assert [target.name for target in own.targets] == ["torch-fp32", "result"]
        assert own.measured("result", "accuracy").value == run.measured(name, "accuracy").value
        assert (done.output / "predictions" / f"{name}.npz").exists()


@pytest.mark.slow
def test_the_report_draws_the_front(done):
    page = (done.output / "report" / "index.html").read_text(encoding="utf-8")
    assert "Pareto front" in page
    assert {path.name for path in (done.output / "report").glob("front-*.svg")} == {
        "front-1.svg",
        "front-2.svg",
        "front-3.svg",
    }


@pytest.mark.slow
def test_an_unchanged_sweep_is_only_reported_again(done, tmp_path):
    small = copied(done, tmp_path / "again")
    (small.output / "report" / "index.html").unlink()
    before = (small.output / "run.json").read_bytes()
    answer = swept(small)
    assert answer.code == 0
    assert (small.output / "run.json").read_bytes() == before
    assert (small.output / "report" / "index.html").exists()
    assert "quality" not in answer.err


@pytest.mark.slow
def test_a_variant_that_fails_does_not_stop_the_others(done, tmp_path):
    small = copied(done, tmp_path / "failing")
    answer = swept(small, over=(f"{LAYERS}=9,3", f"{SHARE}=0.9"))
    assert answer.code == 0
    name = "layers=9,encoder_parameters=0.9"
    assert f"compress: {name} failed: " in answer.err
    run = read_run(small.output)
    assert [target.name for target in run.targets] == ["torch-fp32", "layers=3,encoder_parameters=0.9"]
    rows = {row["variant"]: row for row in run.tables["variants"]}
    assert rows[name]["status"] == "failed"
    assert rows[name]["reason"]
    assert str(tmp_path) not in rows[name]["reason"]
    assert sorted(path.name for path in (small.output / "variants").iterdir()) == ["layers=3,encoder_parameters=0.9"]


@pytest.mark.slow
def test_when_every_variant_fails_the_input_is_wrong(done, tmp_path):
    small = copied(done, tmp_path / "hopeless")
    answer = swept(small, over=(f"{LAYERS}=9,10",))
    assert answer.code == 2
    assert answer.message.count("failed: ") == 2
    assert "Traceback" not in answer.err


@pytest.mark.slow
def test_a_failed_gate_names_its_variant_and_keeps_everything(done, tmp_path):
    small = copied(done, tmp_path / "gated")
    answer = swept(small, "--set", "gates={min_compression: {baseline: torch-fp32, ratio: 1.6}}", over=MADE[1:])
    run = read_run(small.output)
    failed = [gate.target for gate in run.gates if not gate.passed]
    ratios = {
        c.target: c.value for c in run.comparisons if c.name == "compression_ratio" and c.baseline == "torch-fp32"
    }
    assert set(failed) == {name for name, ratio in ratios.items() if ratio < 1.6}
    assert answer.code == (3 if failed else 0)
    assert all(f"gate min_compression of {name} failed" in answer.err for name in failed)
    assert all((small.output / "variants" / name / "model").exists() for name in ratios)


@pytest.mark.parametrize(
    ("words", "over", "told"),
    [
        (("--engine", "ray"), MADE, "--engine ray: this version knows local"),
        ((), ("seed=1,2",), "only settings under `stages` can vary"),
        ((), (f"{LAYERS}=2,[x]",), "layers=x: "),
        ((), (f"{LAYERS}=2,3", "stages.prune.round_to=0,8"), "layers=2,round_to=0 and layers=3,round_to=0: "),
        (("--jobs", "0"), MADE, "--jobs"),
    ],
)
def test_faults_are_told_before_any_work(tmp_path, words, over, told):
    small = quick(tmp_path)
    answer = swept(small, *words, over=over)
    assert answer.code == 2
    assert told in answer.message
    assert not small.output.exists()
    assert not small.cache.exists()


@pytest.mark.slow
def test_processes_side_by_side_share_a_teacher_and_give_the_same_models(done, tmp_path):
    small = quick(tmp_path / "parallel")
    answer = swept(small, "--jobs", "2")
    assert answer.code == 0, answer.err
    one, two = read_run(done.output), read_run(small.output)
    digests = [{step["name"]: step["digest_after"] for step in run.lineage} for run in (one, two)]
    assert digests[0] == digests[1]
    for name in NAMES:
        models = [folder / "variants" / name / "model" / "model.safetensors" for folder in (done.output, small.output)]
        assert models[0].read_bytes() == models[1].read_bytes()
    rows = two.tables["variants"]
    assert sum(row["stages"] - row["stages_reused"] for row in rows) == 7  # a teacher, two students, four cuts


@pytest.mark.slow
def test_an_interrupted_sweep_stops_its_children_and_keeps_finished_stages(tmp_path):
    small = quick(tmp_path)
    words = ["sweep", str(small.recipe), "--over", MADE[0], "--over", MADE[1], "-o", str(small.output), "--jobs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *words], env=outside(small.cache), stderr=subprocess.PIPE, text=True
    )
    parent = psutil.Process(process.pid)
    for _ in _patiently():
        if list((small.cache / "stages").glob("*/*/manifest.json")):
            break
    children = parent.children(recursive=True)
    assert children
    os.kill(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "Traceback" not in told
    _, alive = psutil.wait_procs(children, timeout=15)  # one of them is multiprocessing's own, and leaves last
    assert not alive
    kept = len(list((small.cache / "stages").glob("*/*/manifest.json")))
    assert kept
    answer = swept(small)
    assert answer.code == 0
    rows = read_run(small.output).tables["variants"]
    assert sum(row["stages"] - row["stages_reused"] for row in rows) == 7 - kept


def _patiently() -> Iterator[None]:
    end = time.monotonic() + 300
    while time.monotonic() < end:
        yield
        time.sleep(0.1)
    pytest.fail("nothing came in five minutes")

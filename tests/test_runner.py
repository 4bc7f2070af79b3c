"""A whole run in small: what it leaves, what a second one does again, and what an interrupted one loses: nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from killed_run import MOMENTS, run_in_a_process
from small_run import ROOT, Small, command, copy_of, few_rounds, finished_run, run_small

import compress
from compress.batching import batches, in_order
from compress.bundle import Bundle, Form
from compress.criteria.magnitude import Magnitude
from compress.data import Split, load_data
from compress.deploy import Deploy
from compress.errors import CompressError, StoreError
from compress.provenance import code_digest
from compress.pruning.target import Target
from compress.recipe import read_recipe
from compress.runner import Executed, Runner
from compress.runtime import runtime_of
from compress.sources import Lock, Sources
from compress.stages.prune import Prune
from compress.store.inventory import LIMIT, stages
from compress.store.locks import held
from compress.store.store import Store
from evaluation.measurement import read_run
from evaluation.quality.quality import BATCH

STAGES = ("p1-finetune", "01-distill", "02-prune", "03-export", "04-quantize")
TARGETS = ("torch-fp32", "01-distill", "02-prune", "03-export", "result")
SAMPLED = ("accuracy", "f1", "latency_p50_ms", "latency_p95_ms", "throughput_per_s", "noise")
SOME = {"noise", "activation_bytes"}
"""Figures of one target that is timed twice, and of graphs."""
COUNTED = ("parameters", "encoder_parameters", "embedding_parameters", "bytes", "flops", "activation_bytes")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """One finished run that all tests look at."""
    return finished_run(tmp_path_factory)


@pytest.fixture
def mine(small: Small, tmp_path: Path) -> Small:
    """A copy of the finished run, its store included."""
    return copy_of(small, tmp_path / "mine")


def held_out(small: Small) -> Split:
    recipe = read_recipe(small.recipe)
    return load_data(recipe.data, Sources(small.cache, small.home)).test


def scores_of(bundle: Bundle, split: Split) -> np.ndarray:
    """What a model says to each example, in the order of the split."""
    runtime = runtime_of("torch-fp32" if bundle.form is Form.TORCH else "onnxruntime")
    session = runtime.open(bundle, device="cpu", threads=1)
    encoded = bundle.task.encode(split, bundle.processor, max_tokens=bundle.max_tokens, seed=0)
    parts, order = [], []
    for batch in batches(encoded, BATCH):
        parts.append(bundle.task.predict(session.outputs(batch.inputs), batch))
        order.append(batch.index)
    return in_order(parts, order)


# What a run leaves


def test_a_run_leaves_what_the_contract_lists(small):
    left = {file.relative_to(small.output).as_posix() for file in small.output.rglob("*") if file.is_file()}
    wanted = {"recipe.yaml", "run.json", "report/index.html", "report/report.md", "report/summary.csv"}
    wanted |= {f"predictions/{target}.npz" for target in TARGETS}
    wanted |= {f"model/{name}" for name in ("config.json", "tokenizer.json", "tokenizer_config.json")}
    wanted |= {f"model/{name}" for name in ("model.safetensors", "anatomy.json", "README.md", "lineage.json")}
    wanted |= {"model/onnx/model.onnx", "model/onnx/model_int8.onnx"}
    assert wanted <= left
    rest = left - wanted
    assert all(name.startswith("report/") and name.endswith(".svg") for name in rest - {".lock"}), rest
    assert any(name.startswith("report/") for name in rest)


def test_the_license_that_the_source_states_goes_with_the_result(small):
    assert read_run(small.output).tables["source"]["license"] == "mit"
    assert (small.output / "model" / "README.md").read_text(encoding="utf-8").startswith("---\nlicense: mit\n")


def test_run_json_has_every_figure_of_every_target(small):
    run = read_run(small.output)
    assert tuple(target.name for target in run.targets) == TARGETS
    assert [target.kind for target in run.targets] == ["baseline", "stage", "stage", "stage", "result"]
    assert run.skipped == []
    for target in TARGETS:
        for name in {*SAMPLED, *COUNTED} - SOME:
            assert run.measured(target, name) is not None, (target, name)
        for batch, tokens in ((1, 8), (2, 16)):
            for name in ("latency_p50_ms", "latency_p95_ms", "flops"):
                assert run.measured(target, name, batch=batch, tokens=tokens) is not None


def test_every_figure_has_a_unit_and_every_sampled_one_a_count_and_an_interval(small):
    rows = read_run(small.output).measurements
    assert {row.name for row in rows} == {*SAMPLED, *COUNTED}
    for row in rows:
        assert row.unit
        if row.name in SAMPLED:
            assert row.count, row
            assert row.low <= row.value <= row.high
            assert {"runtime", "device", "threads", "seed"} <= set(row.conditions)
        else:
            assert (row.low, row.high) == (None, None)
    assert all(row.conditions["split"] == "test" for row in rows if row.name == "accuracy")


def test_every_later_target_is_compared_with_the_reference_in_every_way(small):
    run = read_run(small.output)
    for target in TARGETS[1:]:
        for name, where in (
            ("quality_drop", {"metric": "accuracy"}),
            ("quality_drop", {"metric": "f1"}),
            ("agreement", {}),
            ("logit_error", {}),
            ("compression_ratio", {}),
            ("speedup", {"batch": 1, "tokens": 8}),
            ("speedup", {"batch": 2, "tokens": 16}),
        ):
            assert run.compared(target, "torch-fp32", name, **where) is not None, (target, name)


def test_the_checks_of_the_stages_are_gates_of_the_run(small):
    gates = {gate.name: gate for gate in read_run(small.output).gates}
    of_graphs = {"fusion", "parity", "nameless", "opens_afresh"}
    assert set(gates) == {*of_graphs, "quantized_operators", "quantized_agreement"}
    assert all(gate.passed for gate in gates.values())
    assert gates["fusion"].target == "03-export"


def test_the_lineage_is_a_chain_from_the_source_to_the_result(small):
    run = read_run(small.output)
    steps = run.lineage
    assert [step["name"] for step in steps] == list(STAGES)
    assert all(a["digest_after"] == b["digest_before"] for a, b in pairwise(steps))
    document = json.loads((small.output / "model" / "lineage.json").read_text(encoding="utf-8"))
    assert document["steps"] == steps
    assert document["source"] == "source"


def test_the_resolved_recipe_reads_back_as_the_recipe(small):
    again, wanted = read_recipe(small.output / "recipe.yaml").resolved(), read_recipe(small.recipe).resolved()
    assert again["model"].pop("source") == "../../" + wanted["model"].pop("source")
    tables = [values["data"]["tables"]["texts"] for values in (again, wanted)]
    assert tables[0].pop("source") == "../../" + tables[1].pop("source")
    assert again == wanted
    assert read_run(small.output).recipe == read_recipe(small.recipe).resolved()


@pytest.mark.parametrize(
    ("path", "form", "target"),
    [
        (".", Form.TORCH, "02-prune"),
        ("onnx/model.onnx", Form.ONNX, "03-export"),
        ("onnx/model_int8.onnx", Form.ONNX, "result"),
    ],
)
def test_the_model_folder_gives_the_predictions_that_were_measured(small, path, form, target):
    bundle = compress.load(small.output / "model" / path)
    assert bundle.form is form
    kept = np.load(small.output / "predictions" / f"{target}.npz")
    split = held_out(small)
    assert np.array_equal(kept["labels"], split.labels)
    assert str(kept["data"]) == split.digest
    np.testing.assert_allclose(scores_of(bundle, split), kept["scores"], atol=1e-5)


def test_accuracy_follows_from_the_predictions_that_were_kept(small):
    run = read_run(small.output)
    for target in TARGETS:
        kept = np.load(small.output / "predictions" / f"{target}.npz")
        right = (kept["scores"].argmax(axis=1) == kept["labels"]).mean()
        assert run.measured(target, "accuracy").value == pytest.approx(right)
        assert run.measured(target, "accuracy").count == len(kept["labels"])


def test_the_run_learnt_something_so_that_its_laws_mean_something(small):
    assert read_run(small.output).measured("torch-fp32", "accuracy").value > 0.7


def test_nothing_but_run_json_knows_where_or_by_whom_it_was_made(small):
    tells = [str(small.home), str(ROOT), f"{Path.home()}/", tempfile.gettempdir() + "/", "site-packages", "Traceback"]
    if len(socket.gethostname()) > 6:
        tells.append(socket.gethostname())
    for file in small.output.rglob("*"):
        if file.is_file() and file.name != "run.json":
            content = file.read_bytes()
            assert [tell for tell in tells if tell.encode() in content] == [], file


def test_the_store_keeps_no_half_made_entry(small):
    assert leftovers(small) == []


def leftovers(small: Small) -> list[str]:
    """What a finished run should have cleared away, in the store and in the run folder."""
    ended = [path for folder in (small.cache, small.output) for path in folder.rglob("*")]
    known = (".work-", ".model-", ".scratch", ".part-")
    drafts = [path.name for path in ended if path.name.startswith(known) or path.suffix in (".draft", ".holder")]
    return drafts + [path.name for path in (small.cache / "uses").iterdir() if path.name != "gate.lock"]


# What a second run does again


def redone(told: list[tuple[str, float, str]]) -> set[str]:
    """The stages that were not found done."""
    found = {work for work, _, message in told if message == "done before"}
    return {work for work, *_ in told if work in STAGES} - found


def test_a_second_run_does_nothing_again_and_leaves_run_json_as_it_was(mine):
    before = (mine.output / "run.json").read_bytes()
    made = made_when(mine.cache)
    told = run_small(mine)
    assert redone(told) == set()
    assert {"quality", "latency"}.isdisjoint(work for work, *_ in told)
    assert (mine.output / "run.json").read_bytes() == before
    assert made_when(mine.cache) == made


def made_when(cache: Path) -> dict[Path, int]:
    """When each file of a store was last written."""
    return {file: file.stat().st_mtime_ns for file in cache.rglob("*") if file.is_file()}


def test_without_its_run_json_a_run_is_measured_again_and_nothing_else(mine, small):
    (mine.output / "run.json").unlink()
    told = run_small(mine)
    assert redone(told) == set()
    assert "quality" in {work for work, *_ in told}
    before, after = read_run(small.output), read_run(mine.output)
    assert after.key == before.key
    assert (before.environment["stages_reused"], after.environment["stages_reused"]) == (0, len(STAGES))
    for target in TARGETS:
        for name in ("accuracy", "f1", *COUNTED):
            assert after.measured(target, name) == before.measured(target, name)


def test_a_run_json_that_was_cut_short_is_measured_again(mine):
    whole = (mine.output / "run.json").read_text(encoding="utf-8")
    (mine.output / "run.json").write_text(whole[: len(whole) // 2], encoding="utf-8")
    told = run_small(mine)
    assert redone(told) == set()
    assert "quality" in {work for work, *_ in told}
    assert tuple(target.name for target in read_run(mine.output).targets) == TARGETS


def test_a_run_folder_is_one_runs_at_a_time(mine):
    with (
        held(mine.output / ".lock", "a test"),
        pytest.raises(StoreError, match=rf"the run folder .*small: held by process {os.getpid()} since .*it is alive"),
    ):
        run_small(mine)


# A run folder that serves several runs


@pytest.mark.slow
def test_a_run_that_died_is_not_taken_for_the_one_before(mine, small, monkeypatch):
    """Another recipe's model was written already, its run.json not yet: the first recipe has to write its own again."""
    with monkeypatch.context() as patch:
        patch.setattr("compress.commands.run.write_run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_small(mine, "stages.prune.round_to=4", "stages.prune.target.encoder_parameters=0.5")
    assert not (mine.output / "run.json").exists()
    weights = Path("model/model.safetensors")
    assert (mine.output / weights).read_bytes() != (small.output / weights).read_bytes()
    told = run_small(mine)
    assert redone(told) == set()
    assert (mine.output / weights).read_bytes() == (small.output / weights).read_bytes()
    assert read_run(mine.output).key == read_run(small.output).key


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("lost", ["model/onnx/model_int8.onnx", "predictions/01-distill.npz"])
def test_a_run_that_has_lost_a_file_is_measured_again(mine, lost):
    (mine.output / lost).unlink()
    run_small(mine)
    assert (mine.output / lost).exists()


def test_a_run_can_be_done_again_from_its_folder(mine):
    recipe = mine.output / "recipe.yaml"
    assert list(read_recipe(recipe).sources.values()) == [["../../source"], ["../../texts.tsv"]]
    before = read_run(mine.output)
    with pytest.MonkeyPatch.context() as patch:
        few_rounds(patch)
        answer = command(patch, "run", recipe, "-o", mine.home / "again", cache=mine.cache)
    assert answer.code == 0, answer
    after = read_run(mine.home / "again")
    for target in TARGETS:
        assert after.measured(target, "accuracy").value == before.measured(target, "accuracy").value
    assert after.environment["stages_reused"] == len(STAGES), "the same source from another folder is the same"
    assert [step["digest_after"] for step in after.lineage] == [step["digest_after"] for step in before.lineage]
    lineage = json.loads((mine.home / "again" / "model" / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["source"] == "source", "one outside the project is told by name alone"
    assert list(read_recipe(mine.home / "again" / "recipe.yaml").sources.values()) == [["../source"], ["../texts.tsv"]]


def test_the_lock_file_lies_beside_the_recipe_in_the_run_folder(mine):
    Lock().write(Lock.beside(mine.recipe))
    (mine.output / "run.json").unlink()
    run_small(mine)
    assert Lock.read(mine.output / "recipe.lock") == Lock()


def test_a_table_that_no_split_is_of_does_no_harm(mine):
    run_small(mine, "data.tables.spare={source: ../elsewhere/spare.tsv, label: {column: label, names: [a, b]}}")
    text = (mine.output / "recipe.yaml").read_text(encoding="utf-8")
    assert "#   data.tables.spare: spare.tsv, which no split is of" in text


def test_every_result_names_the_file_it_was_measured_from(small):
    files = {target.name: target.file for target in read_run(small.output).targets}
    assert files == {
        "torch-fp32": "",
        "01-distill": "",
        "02-prune": "model.safetensors",
        "03-export": "onnx/model.onnx",
        "result": "onnx/model_int8.onnx",
    }


# Faults that are found before any work


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["stages.distill.student.layers=9"], "9 layers wanted of a model with 4"),
        (["deploy.shapes=[1x8, 1x65]"], "shape 1x65"),
        (["stages.prune.target.encoder_parameters=0.0001"], "prune"),
        (["prepare=[]", "data.tables.texts.label.names=[positive, negative]"], "name them in the model's order"),
    ],
)
def test_what_can_be_known_beforehand_is_said_before_any_stage_is_made(small, tmp_path, changes, said):
    mine = copy_of(small, tmp_path / "mine", cache=False)
    told: list[str] = []
    with pytest.raises(CompressError, match=said):
        run_small(mine, *changes, tell=lambda work, *_: told.append(work))
    assert set(told) == {"sources"}
    assert not list(mine.cache.rglob("record.json"))


@pytest.mark.parametrize("changes", [[], ["prepare=[]"]])
def test_data_without_labels_are_refused_before_any_stage_is_made(small, tmp_path, changes):
    mine = copy_of(small, tmp_path / "mine", cache=False)
    texts = [line.split("\t")[0] for line in mine.table.read_text(encoding="utf-8").splitlines()[1:]]
    (mine.home / "bare.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    with pytest.raises(CompressError, match="no labels"):
        run_small(mine, "data.tables.texts={source: bare.txt}", *changes)
    assert not list(mine.cache.rglob("record.json"))


def test_a_runtime_that_cannot_run_here_is_said_before_any_stage_is_made(small, tmp_path, monkeypatch):
    mine = copy_of(small, tmp_path / "mine", cache=False)
    monkeypatch.setattr("compress.runtimes.onnxruntime.Onnxruntime.obstacle", lambda *_: "not on this machine")
    with pytest.raises(CompressError, match="runtime onnxruntime: not on this machine"):
        run_small(mine)
    assert not list(mine.cache.rglob("record.json"))


# The runner alone, on the stages that take no time


@pytest.fixture
def execute(mine: Small) -> Callable[..., Executed]:
    """A runner of the recipe's torch stages."""

    def do(*changes: str, fresh: bool = False, store: Store | None = None) -> Executed:
        recipe = read_recipe(mine.recipe, changes)
        recipe = recipe.model_copy(update={"stages": tuple(s for s in recipe.stages if s.produces is Form.TORCH)})
        sources = Sources(mine.cache, mine.home)
        return Runner(recipe, sources, store or Store(mine.cache), "cpu", fresh=fresh).execute()

    return do


def names_done(executed: Executed) -> list[str]:
    return [outcome.name for outcome in executed.outcomes if not outcome.reused]


def test_stages_are_shared_by_recipes_that_begin_alike(execute):
    assert names_done(execute()) == []
    assert names_done(execute("name=other", "measure.metrics=[f1]", "report=[]")) == []


def test_a_later_stages_setting_leaves_the_earlier_stages_alone(execute):
    assert names_done(execute("stages.prune.round_to=4")) == ["02-prune"]
    assert names_done(execute("stages.distill.student.layers=2")) == ["01-distill", "02-prune"]
    assert names_done(execute("stages.distill.student.layers=2", "stages.prune.round_to=4")) == ["02-prune"]


def test_another_seed_does_everything_again_and_gives_another_model(execute):
    first, second = execute(), execute("seed=4")
    assert names_done(second) == ["p1-finetune", "01-distill", "02-prune"]
    assert second.reference.digest != first.reference.digest


def test_other_data_does_everything_again(execute, mine):
    lines = mine.table.read_text(encoding="utf-8").splitlines()
    mine.table.write_text("\n".join(lines[:-20]) + "\n", encoding="utf-8")
    assert names_done(execute()) == ["p1-finetune", "01-distill", "02-prune"]


def test_transfer_texts_reach_distill_and_leave_the_teacher_alone(execute, mine):
    (mine.home / "more.txt").write_text("w0 w5 w6\nw1 w7\nw0 w9 w4 w4\n", encoding="utf-8")
    changes = ("data.tables.more={source: more.txt}", "data.transfer={table: more}")
    assert names_done(execute(*changes)) == ["01-distill", "02-prune"]
    (mine.home / "more.txt").write_text("w0 w5 w6\nw1 w7\n", encoding="utf-8")
    assert names_done(execute(*changes)) == ["01-distill", "02-prune"]


def test_fresh_does_everything_again_and_comes_to_the_same_models(execute):
    kept, anew = execute(), execute(fresh=True)
    assert names_done(anew) == ["p1-finetune", "01-distill", "02-prune"]
    assert [o.bundle.digest for o in anew.outcomes] == [o.bundle.digest for o in kept.outcomes]


@pytest.mark.parametrize(
    "module",
    [
        "compress.stages.prune",
        "compress.families.bert",
        "compress.criteria.magnitude",
        "compress.tasks.text_classification",
    ],
)
def test_changed_code_leaves_no_stale_stage(execute, monkeypatch, module):
    from compress import runner

    original = runner.code_digest
    monkeypatch.setattr(runner, "code_digest", lambda name: "changed" if name == module else original(name))
    assert "02-prune" in names_done(execute())


def test_a_changed_runtime_leaves_nothing_stale_that_was_timed_on_it(bundle):
    from compress import runner

    of_runtime = code_digest("compress.runtimes.onnxruntime")
    timed, counted = (Prune(target=Target(**{kind: 0.5}), criterion=Magnitude()) for kind in ("latency", "flops"))
    assert of_runtime in runner._code(timed, bundle, Deploy())
    assert of_runtime not in runner._code(counted, bundle, Deploy())
    assert of_runtime not in runner._code(timed, bundle, Deploy(runtime="torch-fp32"))


def test_a_damaged_entry_is_made_again_and_comes_out_the_same(execute):
    before = execute().stages[-1]
    weights = before.folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert names_done(execute()) == ["02-prune"]
    assert weights.read_bytes() == whole


def test_a_limit_clears_other_recipes_stages_and_never_those_of_the_running_one(execute, mine, monkeypatch):
    monkeypatch.setenv(LIMIT, "1kB")
    with Store(mine.cache).in_use() as store:
        executed = execute("stages.prune.round_to=4", store=store)
        assert {outcome.folder for outcome in executed.outcomes} == {entry.path for entry in stages(store)}
    assert names_done(executed) == ["02-prune"]


# Interrupted and resumed


@pytest.mark.slow
def test_an_interrupted_and_resumed_run_ends_in_the_same_bytes(small, tmp_path):
    mine = copy_of(small, tmp_path / "mine", cache=False)

    def interrupt_in(stage: str) -> Callable[[str, float, str], None]:
        def tell(work: str, fraction: float, message: str) -> None:
            if work == stage and fraction > 0:
                raise KeyboardInterrupt

        return tell

    for stage in ("01-distill", "03-export"):
        with pytest.raises(KeyboardInterrupt):
            run_small(mine, tell=interrupt_in(stage))
        assert not (mine.output / "run.json").exists()
        assert [path for path in mine.cache.rglob("*") if path.name == "draft"] == []
    told = run_small(mine)
    assert redone(told) == {"03-export", "04-quantize"}

    assert_same_models(small, mine)


def assert_same_models(one: Small, other: Small) -> None:
    """The model folders hold the same bytes, and the same was predicted."""
    files = sorted(f.relative_to(one.output) for f in (one.output / "model").rglob("*") if f.is_file())
    assert files == sorted(f.relative_to(other.output) for f in (other.output / "model").rglob("*") if f.is_file())
    for file in files:
        if file.name != "README.md":  # the card holds times that were measured
            assert (one.output / file).read_bytes() == (other.output / file).read_bytes(), file
    for target in TARGETS:
        kept = [np.load(small.output / "predictions" / f"{target}.npz")["scores"] for small in (one, other)]
        assert np.array_equal(*kept)


@pytest.mark.slow
def test_a_run_that_is_killed_at_every_turn_ends_in_the_same_bytes(small, tmp_path):
    mine = copy_of(small, tmp_path / "mine", cache=False)
    for moment in MOMENTS:
        assert run_in_a_process(mine, moment) == -signal.SIGKILL, f"{moment}: {(mine.home / 'log').read_text()}"
    assert run_in_a_process(mine) == 0, (mine.home / "log").read_text()
    assert_same_models(small, mine)
    assert tuple(target.name for target in read_run(mine.output).targets) == TARGETS
    assert leftovers(mine) == []


@pytest.mark.slow
def test_two_processes_that_need_the_same_teacher_train_it_once(small, tmp_path):
    mine = copy_of(small, tmp_path / "mine", cache=False)
    others = [Small(mine.home), Small(tmp_path / "other")]
    shutil.copytree(mine.home, others[1].home)
    (others[1].home / "cache").symlink_to(mine.cache)
    mine.cache.mkdir()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run_in_a_process, others)) == [0, 0]
    reused = [read_run(other.output).environment["stages_reused"] for other in others]
    assert sum(reused) == len(STAGES), "each stage was made by one of the two, and waited for by the other"
    for other in others:
        assert_same_models(small, other)


# What the disk refuses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refusing", "stages_left"),
    [
        ("compress.training.checkpoint._flush", {"01-distill"}),
        ("compress.folder._write_json", {"01-distill"}),
        ("compress.store.store.Claim._seal", {"01-distill"}),
        ("compress.commands.run.write_predictions", set()),
        ("compress.release.save", set()),
        ("compress.commands.run.write_run", set()),
        ("compress.commands.run.write_report", set()),
    ],
)
def test_a_full_disk_is_said_and_the_same_run_succeeds_when_there_is_room(
    mine, small, monkeypatch, refusing, stages_left
):
    """The store has lost what is to be done again; the run folder holds an earlier run's result."""
    for entry in stages(Store(mine.cache)):
        if entry.name in stages_left:
            shutil.rmtree(entry.path)
    (mine.output / "run.json").unlink()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(refusing, full)
        with pytest.raises(StoreError, match="No space left on device; free space or choose another folder"):
            run_small(mine, report=True)
    assert refusing.endswith("write_report") or not (mine.output / "run.json").exists()
    assert redone(run_small(mine)) == stages_left
    assert_same_models(small, mine)
    assert leftovers(mine) == []

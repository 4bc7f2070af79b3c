"""The bench of pruning: it joins seeds as it says, judges by them, refuses what does not fit, and its pages show it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.pruning import __main__ as bench
from bench.pruning import choosing, curves, latency, memory, oneshot, third
from bench.pruning.curves import BEST, FRACTIONS, KWON, METHODS, name_of
from bench.pruning.latency import Cell
from bench.pruning.part import Options
from bench.pruning.processes import log_of, made
from bench.pruning.sweep import WHOLE, Method, read_sweep
from compress.data import Split
from compress.errors import DataError
from compress.stages.prune import Prune
from evaluation.measurement import Comparison, Gate, Measurement, Run, Target, read_run, write_run
from evaluation.quality.predictions import FOLDER, write_predictions
from reports.page import render_html, render_markdown

pytestmark = pytest.mark.slow

EXAMPLES = 160
SEEDS = (13, 14, 15)
QUALITY: Mapping[Method, float] = {
    BEST: 0.99,
    Method("fisher", "none"): 0.9,
    Method("fisher", "scales"): 0.95,
    KWON: 0.93,
    **{method: 0.6 for method in METHODS if method.criterion in ("taylor", "magnitude", "random")},
}
"""The share of what the uncut model has right that a method keeps when all FLOPs but 0.4 are gone."""


def split(salt: str = "") -> Split:
    labels = np.arange(EXAMPLES) % 2
    return Split("test", tuple(f"text {place}{salt}" for place in range(EXAMPLES)), None, labels, ("no", "yes"))


def flipped(scores: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """The scores with the decisions of so many examples turned round."""
    return np.where(random.random((len(scores), 1)) < share, scores[:, ::-1], scores)


METHODS_OF = {
    "oneshot": [method for method in METHODS if method.repair != "scales"],
    "kwon": [method for method in METHODS if method.repair == "scales"],
    "choice": [Method(criterion, BEST.repair) for criterion in choosing.CANDIDATES],
}


def sweep(folder: Path, name: str, seed: int, *, quality: Mapping[Method, float] = QUALITY, salt: str = "") -> Path:
    """A finished sweep, as `compress sweep` leaves it: what the bench reads of it."""
    random, labels = np.random.default_rng(seed), np.asarray(split().labels)
    right = np.stack([1.0 - labels, 1.0 * labels], axis=1)
    scores = {WHOLE: flipped(right, 0.1, np.random.default_rng(0))}  # the reference is the same for every seed
    lineage, targets, flops = [], [], {WHOLE: 100.0}
    for method in METHODS_OF[name]:
        for asked in FRACTIONS if name != "choice" else FRACTIONS[-1:]:
            variant = f"flops={asked},{method.criterion},{method.interactions},{method.repair}"
            lost = (1 - quality.get(method, 0.6)) * (1 - asked) / 0.6
            scores[variant] = flipped(scores[WHOLE], lost, random)
            settings = {
                "target": {"flops": asked},
                "criterion": {"use": method.criterion} | ({} if method.interactions else {"interactions": False}),
                "repair": method.repair,
            }
            lineage += [{"stage": stage, "variant": variant, "settings": settings} for stage in ("prune", "export")]
            targets.append(Target(name=variant, kind="variant", title=variant, runtime="onnxruntime", form="onnx"))
            flops[variant] = 100 * asked - 0.5
    folder = folder / (name if name == "choice" else f"{name}-{seed}")
    shape = {"batch": 1, "tokens": 128}
    run = Run(
        name="sst2-oneshot",
        recipe={"name": "sst2-oneshot", "seed": seed},
        environment={"cpu": "a machine", "threads": 2, "seconds": 9.0},
        lineage=lineage,
        targets=targets,
        measurements=[
            Measurement(target=one, name="flops", value=count, unit="FLOPs", higher_is_better=False, conditions=shape)
            for one, count in flops.items()
        ],
        tables={
            "source": {"digest": "sha256:1"},
            "variants": [{"variant": one.name, "status": "done"} for one in targets],
        },
    )
    folder.mkdir(parents=True)
    write_predictions(scores, split(salt), folder / FOLDER, task="text-classification")
    write_run(run, folder)
    return folder


def own_run(folder: Path, *, speedup: float = 1.6) -> Path:
    """A finished run of the recipe itself: what the bench reads of it."""
    folder = folder / "oneshot-run"
    run = Run(
        name="sst2-oneshot",
        recipe={"name": "sst2-oneshot", "seed": 13},
        lineage=[{"stage": "prune", "settings": {"target": {"flops": 0.6}}}],
        comparisons=[
            Comparison(
                target="result",
                baseline=WHOLE,
                name="speedup",
                value=value,
                low=value - 0.1,
                high=value + 0.1,
                count=24,
                conditions={"batch": batch, "tokens": tokens},
            )
            for batch, tokens, value in ((1, 128, 1.5), (32, 64, speedup))
        ],
    )
    folder.mkdir(parents=True)
    write_run(run, folder)
    return folder


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweeps")
    for seed in SEEDS:
        for name in ("oneshot", "kwon"):
            sweep(folder, name, seed)
    own_run(folder)
    sweep(folder, "choice", SEEDS[0])
    return folder


def options(folder: Path, **changes: Any) -> Options:
    settled: dict[str, Any] = {
        "data": {"model.source": "model"},
        "validation": "validation.tsv",
        "work": folder / "work",
        "sweeps": folder,
        "seeds": SEEDS,
        "rounds": 6,
        "small": False,
        "command": "python -m bench.pruning",
    }
    return Options(**{**settled, **changes})


@pytest.fixture(scope="module")
def run(sweeps: Path) -> Run:
    return oneshot.found(options(sweeps))


def test_a_point_stands_at_the_flops_that_were_reached_and_is_the_mean_over_seeds(sweeps: Path, run: Run) -> None:
    read = [read_sweep(sweeps / f"oneshot-{seed}") for seed in SEEDS]
    values = [v.right.mean() for one in read for v in one.variants if (v.method, v.asked) == (BEST, 0.6)]
    point = run.measured(name_of(BEST), "accuracy", flops_asked=0.6)
    assert point is not None
    assert point.value == pytest.approx(np.mean(values))
    assert point.conditions["flops_left"] == pytest.approx(0.595)
    assert (point.conditions["seeds"], point.count) == (3, EXAMPLES)
    assert len([m for m in run.measurements if m.name == "accuracy"]) == 1 + len(METHODS) * len(FRACTIONS)


def test_p_values_are_adjusted_over_every_rival_and_every_fraction(run: Run) -> None:
    tests = [one for one in run.comparisons if one.baseline != "uncut"]
    assert len(tests) == (len(METHODS) - 1) * len(FRACTIONS)
    smallest = min(tests, key=lambda one: one.p_value or 0)
    assert smallest.adjusted_p_value == pytest.approx(min(1, len(tests) * (smallest.p_value or 0)))
    assert all(one.adjusted_p_value is not None and one.adjusted_p_value >= (one.p_value or 0) for one in tests)
    assert all(one.verdict == "tie" for one in tests if (one.adjusted_p_value or 0) >= 0.05)


def test_points_gained_are_the_drop_turned_round(run: Run) -> None:
    [row] = [
        row
        for row in run.tables["fisher + least squares against each other method"]
        if (row["against"], row["FLOPs asked"]) == ("random", 0.4)
    ]
    best, rival = (run.measured(name, "accuracy", flops_asked=0.4) for name in (name_of(BEST), "random"))
    assert best is not None
    assert rival is not None
    assert row["points gained"] == pytest.approx(100 * (best.value - rival.value), abs=0.001)
    assert row["low"] < row["points gained"] < row["high"]
    assert row["verdict"] == "better"


def test_a_rival_that_is_better_or_a_tie_anywhere_breaks_the_promise(tmp_path: Path, run: Run) -> None:
    rival = Method("taylor", "none")
    for seed in SEEDS:
        sweep(tmp_path, "oneshot", seed, quality={**QUALITY, rival: QUALITY[BEST]})
        sweep(tmp_path, "kwon", seed)
    own_run(tmp_path)
    sweep(tmp_path, "choice", SEEDS[0])
    gates = {gate.name: gate.passed for gate in oneshot.found(options(tmp_path)).gates}
    before = {gate.name: gate.passed for gate in run.gates}
    assert (
        before["beats_taylor"] is before["beats_taylor_repaired_alike"] is gates["beats_taylor_repaired_alike"] is True
    )
    assert gates["beats_taylor"] is False


@pytest.mark.parametrize(("speedup", "passed"), [(1.39, False), (1.4, True)])
def test_the_recipes_own_cut_has_to_be_as_fast_as_promised(
    sweeps: Path, tmp_path: Path, speedup: float, passed: bool
) -> None:
    read = [read_sweep(sweeps / f"{name}-{seed}") for seed in SEEDS for name in ("oneshot", "kwon")]
    choice = read_sweep(sweeps / "choice")
    found = oneshot.as_run(choice, read, read_run(own_run(tmp_path, speedup=speedup)), "command")
    [gate] = [gate for gate in found.gates if gate.name == "speedup_32x64"]
    assert (gate.value, gate.passed) == (speedup, passed)
    assert f"32x64: {speedup:.2f}x" in found.tables["study"]["told"][-1]
    with pytest.raises(DataError, match="no one speed-up at 32x64"):
        oneshot.as_run(choice, read, Run(name="sst2-oneshot"), "command")


def test_what_is_called_the_best_has_to_be_what_choosing_says(sweeps: Path, tmp_path: Path) -> None:
    assert choosing.gate(read_sweep(sweeps / "choice")).passed
    rival = Method("flap", BEST.repair)
    found = choosing.gate(read_sweep(sweep(tmp_path, "choice", 13, quality={BEST: 0.5, rival: 1.0})))
    assert not found.passed
    assert "0.4 of the FLOPs: flap 0." in found.detail


def test_a_test_against_itself_shows_nothing(sweeps: Path) -> None:
    points = dict(
        curves.joined([read_sweep(sweeps / f"{name}-{seed}") for seed in SEEDS for name in ("oneshot", "kwon")])
    )
    rival = Method("taylor", "none")
    points.update({(rival, asked): points[BEST, asked] for asked in FRACTIONS})
    tests, wider = curves.tests(points, {})
    against = [place for place, one in enumerate(tests) if one.baseline == name_of(rival)]
    assert len(against) == len(FRACTIONS)
    assert all((tests[place].value, tests[place].p_value, tests[place].verdict) == (0, 1, "tie") for place in against)
    assert all(wider[place][1] == 1 for place in against)


def test_sweeps_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first = sweep(tmp_path, "oneshot", 13)
    with pytest.raises(DataError, match="another model or other test data"):
        curves.joined([read_sweep(first), read_sweep(sweep(tmp_path, "oneshot", 14, salt="!"))])
    with pytest.raises(DataError, match=r"fisher \+ scales at 0.75: 0 variants of 1 seeds"):
        curves.joined([read_sweep(first)])
    broken = read_run(first).model_copy(update={"tables": {"variants": [{"variant": "a", "status": "failed"}]}})
    write_run(broken, first)
    with pytest.raises(DataError, match="variants a failed"):
        read_sweep(first)


def test_pruning_took_what_the_log_says_past_midnight_as_well(tmp_path: Path) -> None:
    folder = sweep(tmp_path, "kwon", 13)
    names = [f"flops={asked},fisher,True,scales" for asked in FRACTIONS]
    log_of(folder).write_text(
        f"23:59:50 {names[0]}   0% sources fetch the model\n00:00:20 {names[0]}  67% 01-prune done\n"
        f"00:00:29 {names[0]} 100% 02-export done\n00:01:00 {names[1]}   0% sources\n"
        f"00:01:40 {names[1]}  80% 02-export\n"
        f"00:02:00 {names[2]}   0% sources\n00:02:40 {names[2]}  40% 01-prune\n00:02:50 baselines   0%\n"
    )
    took = [v.seconds for v in read_sweep(folder).variants if v.method.interactions]
    assert took == [30.0, 40.0, None, None]


def test_what_is_finished_is_not_made_again(sweeps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        oneshot, "as_run", lambda one, read, recipe, _command: [*(each.name for each in [one, *read]), recipe.name]
    )
    asked: list[list[str]] = []

    def compress(command: list[str], **_more: Any) -> Any:
        asked.append(command)
        Path(command[-1]).mkdir(parents=True)
        write_run(Run(name="made"), Path(command[-1]))
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr("bench.pruning.processes.subprocess.run", compress)
    names = [f"{name}-{seed}" for seed in SEEDS for name in ("oneshot", "kwon")]
    assert oneshot.found(options(sweeps)) == ["choice", *names, "sst2-oneshot"]
    assert asked == []
    for _ in range(2):
        made(tmp_path / "runs" / "one", ["run", "sst2-oneshot"])
    assert [command[2:] for command in asked] == [
        ["compress", "run", "sst2-oneshot", "-o", str(tmp_path / "runs" / "one")]
    ]


@pytest.mark.parametrize(("code", "failed"), [(0, False), (3, False), (2, True), (1, True), (130, True)])
def test_a_gate_that_failed_is_no_command_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, failed: bool
) -> None:
    ended = type("Done", (), {"returncode": code})
    monkeypatch.setattr("bench.pruning.processes.subprocess.run", lambda *_args, **_more: ended)
    if failed:
        with pytest.raises(RuntimeError, match=f"ends with exit code {code}"):
            made(tmp_path / "one", ["run", "x"])
    else:
        assert made(tmp_path / "one", ["run", "x"]) == tmp_path / "one"


def test_a_command_that_fails_says_so_with_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"one: compress run ends with exit code 2(.|\n)*nowhere"):
        made(tmp_path / "one", ["run", "nowhere"])
    assert "nowhere" in log_of(tmp_path / "one").read_text()


def measured(target: str, name: str, value: float, **conditions: Any) -> Measurement:
    return Measurement(
        target=target, name=name, value=value, unit="ratio", higher_is_better=True, conditions=conditions
    )


def sitting(cell: Cell, fractions: Mapping[float, float], *, noise: float = 0.02) -> Run:
    names = ["model", *(f"model-{place}" for place in range(2, 2 + len(fractions)))]
    shape = dict(zip(("batch", "tokens"), map(int, cell.shape.split("x")), strict=True))
    return Run(
        name="measure",
        environment={"cpu": "a machine"},
        targets=[Target(name=n, kind="baseline", title=n, runtime="onnxruntime", form="onnx") for n in names],
        measurements=[
            *(measured(name, "accuracy", 0.9) for name in names),
            measured("model", "noise", 1 - noise, **shape),
            measured("model", "noise", 1.5, inputs="texts", batch=32),
        ],
        comparisons=[
            Comparison(
                target=name,
                baseline="model",
                name="speedup",
                value=1 / fraction,
                low=0.98 / fraction,
                high=1.03 / fraction,
                noise=max(0.03, noise),
                count=48,
                conditions=shape,
            )
            for name, fraction in zip(names[1:], fractions.values(), strict=True)
        ],
    )


@pytest.mark.parametrize(
    ("fraction", "noise", "off", "passed"),
    [
        (0.5, 0.0, 0.0, True),
        (0.549, 0.0, 0.098, True),
        (0.56, 0.0, 0.12, False),
        (0.56, 0.03, 0.09, True),
        (0.44, 0.0, 0.12, False),
        (0.51, 0.05, 0.0, True),
    ],
)
def test_a_target_is_met_within_a_tenth_either_way_less_the_noise(
    fraction: float, noise: float, off: float, passed: bool
) -> None:
    cell = Cell("1x128", "int8")
    run = latency.as_run({cell: sitting(cell, {0.5: fraction}, noise=noise)}, {cell: [0.5]}, "command")
    [gate] = run.gates
    assert (gate.value, gate.passed) == (pytest.approx(off, abs=1e-9), passed)
    [row] = run.tables["targets"]
    assert row["low"] < row["measured"] < row["high"]
    assert row["within 10 %"] is passed


def test_a_sitting_without_what_was_asked_for_is_refused() -> None:
    cell = Cell("1x128", "int8")
    with pytest.raises(DataError, match="2 models, wanted the whole one and 4 cuts"):
        latency.as_run({cell: sitting(cell, {0.5: 0.5})}, {cell: latency.TARGETS}, "command")
    with pytest.raises(DataError, match="no speed-up of model-2"):
        latency.as_run({(other := Cell("32x64", "int8")): sitting(cell, {0.5: 0.5})}, {other: [0.5]}, "command")
    without = sitting(cell, {0.5: 0.5})
    without = without.model_copy(update={"measurements": [m for m in without.measurements if m.name != "noise"]})
    with pytest.raises(DataError, match="without a twin"):
        latency.as_run({cell: without}, {cell: [0.5]}, "command")


def test_a_precision_without_integers_leaves_the_quantizing_out_and_the_whole_model_the_pruning() -> None:
    def kinds(precision: str, asked: float | None) -> list[str]:
        return [next(iter(stage)) for stage in latency.stages_for(precision, asked)]

    assert kinds("fp32", 0.5) == ["prune", "export"]
    assert kinds("int8", 0.25) == ["prune", "export", "quantize"]
    assert kinds("int8", None) == ["export", "quantize"]
    assert latency.stages_for("int8", 0.25)[0]["prune"]["target"] == {"latency": 0.25}


def test_every_cut_is_of_its_own_shape_and_precision_and_timed_with_the_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, list[str]] = {}

    def compress(folder: Path, words: list[str]) -> Path:
        asked[folder.name] = words
        folder.mkdir(parents=True, exist_ok=True)
        write_run(
            Run(name="cut", gates=[Gate(name="agrees", limit=1, value=0, passed="0.33" not in folder.name)]), folder
        )
        if words[0] == "measure":
            shape, precision = folder.name.split("-")[:2]
            write_run(sitting(Cell(shape, precision), {each: each for each in latency.TARGETS}), folder)
        return folder

    monkeypatch.setattr(latency, "made", compress)
    run = latency.found(options(tmp_path))
    assert len(run.gates) == 4
    assert all(gate.passed for gate in run.gates)
    assert len(asked) == 2 + 4 * (len(latency.TARGETS) + 1)
    doubted = {(row["asked"], row["failed of the stages' gates"]) for row in run.tables["targets"]}
    assert doubted == {(0.75, "none"), (0.5, "none"), (0.33, "agrees"), (0.25, "none")}
    cut, whole, timed = asked["32x64-int8-0.33"], asked["whole-fp32"], asked["32x64-int8-sitting"]
    assert {"deploy.shapes=[32x64]", "deploy.precision=int8"} < set(cut)
    assert json.loads(next(w for w in whole if w.startswith("stages="))[7:]) == [{"export": {"attention": "fused"}}]
    graphs = [word for word in timed if word.endswith("model_int8.onnx")]
    assert [Path(graph).parts[-4] for graph in graphs] == ["whole-int8", *(f"32x64-int8-{t}" for t in latency.TARGETS)]


def taught(seed: int, *, lost: float, left: float = 0.33) -> third.Taught:
    """One seed's run, whose result has lost a share of what the whole model has right."""
    whole = np.ones((EXAMPLES, 1))
    whole[:10] = 0
    result = whole.copy()
    result[10 : 10 + round(lost * EXAMPLES)] = 0
    sizes = {third.WHOLE: 100.0, third.TAUGHT: 100 * left}
    run = Run(
        name="sst2-third",
        recipe={"name": "sst2-third", "seed": seed},
        environment={"cpu": "a machine", "seconds": 9.0},
        measurements=[
            *(measured(name, "encoder_parameters", size) for name, size in sizes.items()),
            measured("result", "bytes", 16e6),
        ],
    )
    return third.Taught(run, {third.WHOLE: whole, third.TAUGHT: whole, third.RESULT: result})


@pytest.mark.parametrize(("lost", "left", "passed"), [(0.0125, 0.33, True), (0.025, 0.33, False), (0.0, 0.4, False)])
def test_a_third_is_judged_by_what_the_mean_of_the_seeds_lost_and_by_what_is_left(
    lost: float, left: float, passed: bool
) -> None:
    run = third.as_run([taught(seed, lost=lost, left=left) for seed in SEEDS], "command")
    assert all(gate.passed for gate in run.gates) is passed
    [drop] = [one for one in run.comparisons if one.target == "result"]
    assert drop.value == pytest.approx(lost)
    assert drop.conditions["seeds"] == len(SEEDS)
    assert "seconds" not in run.environment
    assert "It loses 0.0 points" in render_markdown([run])


def test_seeds_of_other_models_or_data_are_not_taken_together() -> None:
    other = taught(14, lost=0.0)
    other.right[third.WHOLE][:] = 1  # type: ignore[index]
    with pytest.raises(DataError, match="different models or test data"):
        third.as_run([taught(13, lost=0.0), other], "command")


def test_a_target_that_can_not_be_met_is_told_and_the_others_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compress(folder: Path, words: list[str]) -> Path:
        if folder.name == "32x64-int8-0.25":
            raise RuntimeError("ends with exit code 2: the nearest that these axes can reach is 0.265, with one unit")
        folder.mkdir(parents=True, exist_ok=True)
        write_run(Run(name="cut"), folder)
        if words[0] == "measure":
            shape, precision = folder.name.split("-")[:2]
            reached = latency.TARGETS[: sum(word.endswith(".onnx") for word in words) - 1]
            write_run(sitting(Cell(shape, precision), {each: each for each in reached}), folder)
        return folder

    monkeypatch.setattr(latency, "made", compress)
    run = latency.found(options(tmp_path))
    assert len(run.tables["targets"]) == 4 * len(latency.TARGETS) - 1
    told = run.tables["study"]["told"][-1]
    assert told == "Refused before any cut: int8 32x64 to 0.25; the nearest that these axes can reach is 0.265."
    monkeypatch.setattr(latency, "made", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        latency.found(options(tmp_path))


@pytest.mark.parametrize(("held", "passed"), [(2.4, True), (2.6, False)])
def test_the_case_that_holds_most_judges_memory(held: float, passed: bool) -> None:
    case = memory.Case(("ffn",), "taylor", "none")
    row = {"case": case, "model_bytes": 100, "left": 0.7, "hidden": 8, "layers": 2, "seconds": 1.0}
    run = memory.as_run([{**row, "peak_bytes": 150}, {**row, "peak_bytes": 100 * held}], {})
    gates = {gate.name: gate for gate in run.gates}
    assert (gates["peak_memory"].value, gates["peak_memory"].passed) == (held, passed)
    assert gates["axes_cut"].passed
    assert not {g.name: g for g in memory.as_run([{**row, "peak_bytes": 1, "left": 1.0}], {}).gates}["axes_cut"].passed


def test_a_cut_in_a_process_of_its_own_says_what_it_held_and_what_is_left() -> None:
    case = memory.Case(memory.AXES[-1], "taylor", "least_squares")
    found = memory.peak_of(case, tiny=True)
    assert 0 < found["left"] < 1
    assert found["hidden"] <= 48
    assert found["layers"] <= 4
    assert {"model_bytes", "peak_bytes", "seconds"} < set(found)


def test_every_case_is_a_stage_that_a_recipe_may_have() -> None:
    for case in memory.cases():
        stage = Prune.model_validate(case.settings)
        assert (stage.axes, stage.repair) == (case.axes, case.repair)
    assert {axis for case in memory.cases() for axis in case.axes} == {"hidden", "ffn", "kv_groups", "layers"}


def test_pages_say_and_draw_what_was_found_and_are_the_same_each_time(run: Run) -> None:
    text, page = render_markdown([run]), render_html([run])
    assert "fisher + least squares was chosen on rows of train" in text
    assert "![" in text
    assert page == render_html([run])
    for method in METHODS:
        assert name_of(method) in page
    cell = Cell("1x128", "fp32")
    timed = latency.as_run({cell: sitting(cell, {t: t for t in latency.TARGETS})}, {cell: latency.TARGETS}, "command")
    assert "Of 4 targets 4 are met to within 10 %" in render_markdown([timed])


def test_the_program_writes_a_run_and_its_page_and_says_what_was_broken(
    sweeps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--only", "oneshot", "--sweeps", str(sweeps), "--output", str(tmp_path), "--work", str(tmp_path / "work")]
    code = bench.main(words)
    run = read_run(tmp_path / "sst2-oneshot")
    assert code == (0 if all(gate.passed for gate in run.gates) else 3)
    assert (tmp_path / "sst2-oneshot" / "accuracy.svg").exists()
    assert str(tmp_path) not in (tmp_path / "sst2-oneshot" / "run.json").read_text()
    assert "beats_random" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--only", "oneshot,b"], "no part b"),
        (["--small"], "not to be published"),
        (["--seeds", "13"], "wanted two or more"),
    ],
)
def test_what_can_not_be_asked_for_is_refused(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(words)
    assert told in capsys.readouterr().err

"""A target in a process of its own: the same answers, the same methods, and an end that comes with ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from tiny import tiny_bundle, tiny_split

from compress.bundle import Bundle, Form
from compress.deploy import Deploy, Shape
from compress.errors import ModelError
from compress.inputs import timing_inputs
from compress.runtime import runtime_of
from compress.runtimes.timing import Limits
from evaluation.measurement import Target
from evaluation.sitting import Conditions, Opened, Read, Subject
from evaluation.speed import footprint, peak
from evaluation.speed.apart import parcels
from evaluation.speed.footprint import footprints
from evaluation.speed.seat import Texts
from evaluation.speed.speed import speed_comparisons, time_all
from evaluation.speed.worker import Held, Parcel, Worker

ROOT = Path(__file__).parents[2]
TEST = tiny_split("test", 20, seed=3)
LIMITS = Limits(block_calls=4, pause_seconds=0.0, warmup_calls=1, fewest_calls=1)


def conditions(*shapes: str, **changes: Any) -> Conditions:
    return Conditions(TEST, Deploy(threads=1, shapes=shapes or ("1x8",)), "cpu", (), 3, 2, **changes)


def opened(name: str, runtime: str, bundle: Bundle) -> Opened:
    target = Target(name=name, kind="baseline", title="", runtime=runtime, form=bundle.form.value)
    return Opened(Subject(target, bundle), runtime_of(runtime).open(bundle, device="cpu", threads=1), {})


@pytest.fixture(scope="module")
def graph(exported: Any) -> Opened:
    return opened("graph", "onnxruntime", exported["even-fused"][1])


@pytest.fixture
def worker(graph: Opened) -> Any:
    with parcels([graph], conditions(), with_processor=True) as packed:
        made = Worker("graph", packed["graph"], LIMITS)
        yield made
        made.close()


def test_it_opens_runs_reads_and_tells_what_it_held(worker: Worker, graph: Opened):
    inputs = timing_inputs(graph.subject.bundle, TEST, Shape(1, 8))
    assert all(ms > 0 for ms in worker.open(inputs))
    small = worker.held(inputs)
    large = worker.held(timing_inputs(graph.subject.bundle, TEST, Shape(64, 60)))
    assert 10e6 < small.host < large.host
    worker.take(inputs)
    assert worker.warm_up() > 0
    assert worker.block().shape == (4,)
    worker.read(Texts(TEST.texts[:6], None, 60))
    worker.read_in_blocks_of(5)
    times = worker.block()
    assert times.shape == (5, 2)
    assert (times[:, 1] > times[:, 0]).all()


def test_what_fails_there_is_told_here_with_the_targets_name(worker: Worker):
    with pytest.raises(ModelError, match=r"graph: in a process of its own: .*input_ids"):
        worker.take({})
    with pytest.raises(ModelError, match=r"graph: .*given inputs or texts"):
        worker.block()


def test_a_process_that_is_killed_is_told_with_its_code(worker: Worker):
    worker._process.kill()
    with pytest.raises(ModelError, match=r"graph: its process ended with code -9 while asked to warm_up"):
        worker.warm_up()


def test_it_ends_when_it_is_closed(worker: Worker):
    process = psutil.Process(worker._process.pid)
    worker.close()
    assert not process.is_running()


def test_it_ends_when_the_asking_process_is_killed(graph: Opened):
    """However that ends: the pipe does."""
    code = f"""
import sys, time
from pathlib import Path
from compress.bundle import Form
from compress.runtimes.timing import Limits
from evaluation.speed.worker import Parcel, Worker
file = Path({str(graph.subject.bundle.graph.path)!r})
parcel = Parcel("onnxruntime", "cpu", 1, Form.ONNX, file, {{}}, None, None, ())
worker = Worker("w", parcel, Limits())
print(worker._process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        os.kill(parent.pid, signal.SIGKILL)
    gone, _ = psutil.wait_procs([child], timeout=30)
    assert gone


def test_a_graph_is_run_without_torch():
    code = "import sys, evaluation.speed.worker, compress.runtimes.onnxruntime\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"


def test_a_torch_model_comes_out_of_its_parcel_as_it_went_in(uneven: Bundle):
    """Rebuilt from its config, its anatomy and its weights: cut shapes too."""
    one = opened("cut", "torch-fp32", uneven)
    inputs = timing_inputs(uneven, TEST, Shape(2, 8))
    with parcels([one], conditions(), with_processor=False) as packed:
        parcel = packed["cut"]
        assert isinstance(parcel, Parcel)
        assert parcel.processor is None
        session = parcel.open()
        assert np.array_equal(session.outputs(inputs), one.session.outputs(inputs))
        folder = parcel.weights
    assert not folder.exists()


def test_targets_that_share_a_model_share_its_file(bundle: Bundle):
    pair = [opened("a", "torch-fp32", bundle), opened("b", "torch-dynamic-int8", bundle)]
    with parcels(pair, conditions(), with_processor=False) as packed:
        assert packed["a"].weights == packed["b"].weights  # type: ignore[union-attr]


def test_what_can_not_be_written_is_left_out_with_a_reason(bundle: Bundle, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> None:
        raise ValueError("no such type\nand more")

    monkeypatch.setattr("evaluation.speed.apart.write_weights", refuse)
    one = opened("odd", "torch-fp32", bundle)
    rows, skipped = footprints([one], conditions(), lambda *_: None)
    assert rows == []
    [told] = skipped
    assert (told.target, told.reason) == (
        "odd",
        "load time and memory not measured: its weights can't be written: no such type",
    )
    with pytest.raises(ModelError, match="odd: can't be timed in a process of its own: its weights can't be written"):
        time_all([one], conditions(processes="apart"), lambda *_: None)


def test_a_footprint_has_load_time_and_memory_of_every_shape_the_smallest_first(
    graph: Opened, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    class Stub:
        def __init__(self, *_: Any) -> None: ...

        def open(self, _inputs: Any) -> list[float]:
            return [30.0, 10.0, 20.0]

        def held(self, inputs: Any) -> Held:
            asked.append(inputs["input_ids"].shape)
            return Held(100 * inputs["input_ids"].size, 7, True, joules=4.0, calls=5, metered="a meter")

        def close(self) -> None:
            asked.append("closed")

    monkeypatch.setattr(footprint, "Worker", Stub)
    rows, skipped = footprints([graph], conditions("4x8", "1x8"), lambda *_: None)
    assert skipped == []
    assert asked == [(1, 8), (4, 8), "closed"]
    load = next(row for row in rows if row.name == "load_ms")
    assert (load.value, load.low, load.high, load.count) == (20.0, 10.0, 30.0, 3)
    memory = {(m.conditions["batch"], m.conditions["of"]): m.value for m in rows if m.name == "peak_memory_bytes"}
    assert memory == {(1, "host"): 800, (1, "gpu"): 7, (4, "host"): 3200, (4, "gpu"): 7}
    energy = {m.conditions["batch"]: (m.value, m.count) for m in rows if m.name == "energy_joules"}
    assert energy == {1: (4.0, 5), 4: (1.0, 20)}


@pytest.mark.slow
def test_targets_apart_are_timed_as_those_in_one_process(graph: Opened, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("evaluation.speed.speed.LIMITS", LIMITS)
    monkeypatch.setattr("evaluation.speed.speed.TEXTS", 6)
    torch_target = opened("torch", "torch-fp32", tiny_bundle())
    both, where = [torch_target, graph], conditions("1x8", processes="apart")
    time_all(both, where, lambda *_: None)
    assert list(graph.times) == [Shape(1, 8), Read(1, "apart"), Read(1, "included")]
    ratio = speed_comparisons(graph, torch_target, where)[0]
    assert ratio.conditions["processes"] == "apart"
    assert ratio.value > 1  # a tiny model costs torch a millisecond in Python alone
    assert ratio.noise is not None


def test_the_most_held_is_counted_anew():
    if not peak.forget():
        pytest.skip("this system does not let a process do that")
    before = peak.host_bytes()
    held = np.ones(30_000_000)
    most = peak.host_bytes()
    assert most > before + 200_000_000
    del held
    time.sleep(0)
    assert peak.forget()
    assert peak.host_bytes() < most - 200_000_000


def test_an_onnx_bundles_graph_is_opened_where_it_lies(graph: Opened):
    with parcels([replace(graph)], conditions(), with_processor=False) as packed:
        parcel = packed["graph"]
        assert isinstance(parcel, Parcel)
        assert (parcel.form, parcel.weights) == (Form.ONNX, graph.subject.bundle.graph.path)

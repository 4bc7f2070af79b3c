"""The doctor finds each thing that can be wrong with a machine, and nothing is timed on a GPU that isn't in use."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from small_run import ROOT, command

from compress.bundle import OnnxGraph
from compress.commands import doctor
from compress.errors import ExportError
from compress.memory import Room
from compress.runtimes import onnxruntime as runtime
from compress.runtimes.onnxruntime import Onnxruntime, open_session
from compress.store.store import Store

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"

Install = Callable[..., None]


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    """What a process found out about its GPU is not what a patched one would."""
    runtime._cuda_obstacle.cache_clear()
    yield
    runtime._cuda_obstacle.cache_clear()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Pretend that packages have these versions, None for one that is missing; underscores stand for hyphens."""
    real = metadata.version

    def do(**versions: str | None) -> None:
        given = {name.replace("_", "-"): version for name, version in versions.items()}

        def version(name: str) -> str:
            found = given[name] if name in given else real(name)
            if found is None:
                raise metadata.PackageNotFoundError(name)
            return found

        monkeypatch.setattr(metadata, "version", version)

    return do


@pytest.fixture
def starts_on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Pretend that the wheel was built with CUDA and that sessions start on these providers, or fail so; the answer
    grows with the settings of each session that is opened."""

    def do(*providers: str, failure: Exception | None = None) -> list[dict[str, Any]]:
        opened: list[dict[str, Any]] = []

        class Session:
            def __init__(self, *_: object, **settings: Any) -> None:
                opened.append(settings)
                if failure:
                    raise failure

            def get_providers(self) -> list[str]:
                return list(providers)

            def get_inputs(self) -> list[Any]:
                return []

            def get_outputs(self) -> list[Any]:
                return [SimpleNamespace(name="after")]

        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
        monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
        return opened

    return do


@pytest.fixture
def graph(tmp_path: Path) -> OnnxGraph:
    """One node."""
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("before", "after")]
    node = onnx.helper.make_node("Relu", ["before"], ["after"])
    made = onnx.helper.make_graph([node], "one", ends[:1], ends[1:])
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return OnnxGraph(path)


def found(severity: str, said: str) -> doctor.Finding:
    """The one finding of this severity that says so."""
    findings = doctor.examine()
    matching = [one for one in findings if one.severity == severity and re.search(said, one.text)]
    assert len(matching) == 1, doctor.to_text(findings)
    return matching[0]


# onnxruntime

BRINGS_CPU = r"install ('onnxruntime[<>]|-e '\.\[cpu\]')"  # the second where this checkout is on the path only


def test_both_wheels_are_a_fault_and_both_are_taken_off(install: Install) -> None:
    install(onnxruntime="1.31.0", onnxruntime_gpu="1.30.0")
    finding = found("fault", r"onnxruntime 1\.31\.0 and onnxruntime-gpu 1\.30\.0 overwrite each other")
    assert "uninstall -y onnxruntime onnxruntime-gpu && " in finding.mend
    assert re.search(BRINGS_CPU, finding.mend)


def test_no_wheel_is_a_fault(install: Install) -> None:
    install(onnxruntime=None, onnxruntime_gpu=None)
    assert re.search(BRINGS_CPU, found("fault", "^no onnxruntime$").mend)


def test_a_gpu_wheel_that_falls_back_is_a_fault_though_cuda_was_compiled_in(install: Install, starts_on) -> None:
    install(onnxruntime=None, onnxruntime_gpu="1.31.0")
    starts_on(CPU)
    assert CUDA in onnxruntime.get_available_providers()
    finding = found("fault", f"onnxruntime-gpu .* can't run on cuda: it fell back to {CPU}")
    assert "uninstall -y onnxruntime-gpu && " in finding.mend


def test_a_gpu_wheel_that_starts_is_good(install: Install, starts_on) -> None:
    install(onnxruntime=None, onnxruntime_gpu="1.31.0")
    starts_on(CUDA, CPU)
    assert found("good", "onnxruntime-gpu 1.31.0 runs on cuda").mend == ""


def test_the_cpu_wheel_is_not_asked_for_a_gpu(install: Install, starts_on, monkeypatch: pytest.MonkeyPatch) -> None:
    install(onnxruntime="1.31.0", onnxruntime_gpu=None)
    monkeypatch.setattr(doctor, "sums_are_whole", lambda: True)  # which opens a session on the CPU
    opened = starts_on(CPU)
    found("good", "onnxruntime 1.31.0 runs on cpu")
    assert opened == []


def test_half_a_wheel_is_a_fault(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(onnxruntime="1.31.0", onnxruntime_gpu=None)
    monkeypatch.delattr(onnxruntime, "get_available_providers")  # what uninstalling one of two wheels leaves
    assert found("fault", "onnxruntime 1.31.0 can't run on cpu: AttributeError").mend


# The rest of the machine


def test_packages_outside_their_range_are_noted_and_missing_ones_a_fault(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = [
        "rich>=14",
        "numpy>=2,<3",
        "scipy>=1.15",
        'nvidia-ml-py>=12; extra == "energy"',
        'pytest>=8; extra == "test"',
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: declared)
    install(rich="13.0", numpy="2.4.0", scipy=None, nvidia_ml_py=None, pytest="7.0")
    assert found("note", r"rich 13\.0, tested with >=14").mend.endswith("-m pip install 'rich>=14'")
    found("note", r"pytest 7\.0, tested with >=8")
    found("fault", "scipy is missing")
    assert not [one for one in doctor.examine() if re.match("numpy|nvidia|every package", one.text)]


def test_packages_within_their_range_are_good(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["rich>=14"])
    install(rich="14.2")
    found("good", "every package is within its tested range")


def test_a_missing_extra_says_what_it_is_for(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["rich>=14", 'nvidia-ml-py>=12; extra == "energy"'])
    install(rich="14.2", nvidia_ml_py=None)
    assert found("note", r"^extra energy \(.+\) lacks nvidia-ml-py$").mend.endswith("-m pip install 'nvidia-ml-py>=12'")
    found("good", "every package is within its tested range")


def test_every_extra_that_there_is_is_looked_at() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {"cpu", "gpu", *doctor.BROUGHT} == set(declared["project"]["optional-dependencies"])


def test_a_checkout_on_the_path_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> list[str]:
        raise metadata.PackageNotFoundError("compress-transformers")

    monkeypatch.setattr(metadata, "requires", missing)
    assert "pip install -e" in found("note", "not installed, only on the path").mend


def test_little_disk_is_noted_for_the_cache_and_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1))
    assert "COMPRESS_CACHE" in found("note", "0.0 GB free for the cache").mend
    assert "TMPDIR" in found("note", "0.0 GB free for temporary files").mend


def test_a_cache_that_can_not_be_written_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "COMPRESS_CACHE" in found("fault", "can't be written").mend


def test_little_memory_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "room", lambda: Room(10**9, "left in this container"))
    assert "compress plan" in found("note", "1.0 GB of memory left in this container").mend


@pytest.mark.parametrize(
    ("value", "said"), [("99999", "wait for each other"), ("1", "uses one"), ("many", "no number")]
)
@pytest.mark.parametrize("variable", doctor.THREAD_VARIABLES)
def test_threads_that_do_not_fit_the_cores_are_noted(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "visible_cores", lambda: 2)
    for other in doctor.THREAD_VARIABLES:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(variable, value)
    assert variable in found("note", said).mend


@pytest.mark.parametrize(("whole", "severity", "mend"), [(True, "good", ""), (False, "note", "--reduce-range")])
def test_a_cpu_that_clips_sums_of_integers_is_noted(
    whole: bool, severity: str, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "sums_are_whole", lambda: whole)
    assert mend in found(severity, "8-bit integers").mend


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the CPU's features are not told here")
def test_sums_are_whole_where_the_cpu_has_instructions_for_them() -> None:
    features = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    if "avx2" not in features:
        pytest.skip("no x86 CPU of the last ten years")
    assert runtime.sums_are_whole() == bool(features & {"avx512_vnni", "avx_vnni"})


def test_as_many_threads_as_cores_are_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "visible_cores", lambda: 2)
    for variable in doctor.THREAD_VARIABLES:
        monkeypatch.setenv(variable, "2")
    assert not [one for one in doctor.examine() if "NUM_THREADS" in one.text]


# The cache


def made(cache: Path, key: str) -> Path:
    """A finished stage of one file."""
    with Store(cache).claimed(key) as claim, claim.making({"stage": "01-distill", "recipe": "r"}) as draft:
        (draft / "weights").write_bytes(b"1" * 1000)
    return Store(cache).folder(key)


def test_damaged_stages_are_noted_and_whole_ones_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    folders = [made(tmp_path, f"sha256:{number:064x}") for number in range(3)]
    found("good", "3 of 3 stored stages looked at: as they were left")
    (folders[1] / "weights").write_bytes(b"2" * 1000)
    assert found("note", r"^1 are not as they were left \(3 of 3").mend == "compress cache clear"


def test_a_large_cache_is_looked_at_for_a_while_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor, "SAMPLING_S", 0.0)
    for number in range(3):
        made(tmp_path, f"sha256:{number:064x}")
    found("good", "^1 of 3 stored stages")


def test_what_interrupted_stages_left_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    with Store(tmp_path).claimed("sha256:" + "a" * 64) as claim:
        (claim.scratch() / "checkpoint").write_bytes(b"1" * 1000)
    assert "cache clear --older-than" in found("note", "^1 interrupted stages hold").mend


def test_a_cache_beyond_its_limit_is_noted_and_a_limit_that_is_none_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path))
    made(tmp_path, "sha256:" + "b" * 64)
    monkeypatch.setenv("COMPRESS_CACHE_LIMIT", "100B")
    assert "--keep" in found("note", "more than COMPRESS_CACHE_LIMIT allows").mend
    monkeypatch.setenv("COMPRESS_CACHE_LIMIT", "plenty")
    found("fault", "cache: can't be examined: .*plenty")


def test_examining_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESS_CACHE", str(tmp_path / "none"))
    doctor.examine()
    assert list(tmp_path.iterdir()) == []


# GPU


@pytest.mark.parametrize(
    ("built", "works", "wheel", "severity", "said"),
    [
        ("13.0", False, None, "note", "built for CUDA 13.0, but finds no driver"),
        ("13.0", True, None, "note", "onnxruntime is without"),
        ("13.0", True, "1.31.0", "good", "runs on Some GPU"),
    ],
)
def test_what_torch_makes_of_the_gpu(
    built: str,
    works: bool,
    wheel: str | None,
    severity: str,
    said: str,
    install: Install,
    starts_on,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: works)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    install(onnxruntime=None if wheel else "1.31.0", onnxruntime_gpu=wheel)
    starts_on(CUDA, CPU)
    found(severity, said)


def test_a_missing_compiler_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    found("note", "no C.. compiler")


def test_what_cannot_be_examined_is_a_fault_and_the_rest_is_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("stale file handle\nand more")

    monkeypatch.setattr(shutil, "disk_usage", broken)
    assert found("fault", "disk").text == "disk: can't be examined: OSError: stale file handle"
    found("good", "physical cores")


def test_faults_come_first(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(onnxruntime=None, onnxruntime_gpu=None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    severities = [finding.severity for finding in doctor.examine()]
    assert severities == sorted(severities, key=["fault", "note", "good"].index)


@pytest.mark.parametrize(("severity", "code"), [("fault", 2), ("note", 0), ("good", 0)])
def test_a_fault_and_nothing_less_ends_with_code_2(
    severity: Any, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Finding(severity, "the machine", "mend it")])
    answer = command(monkeypatch, "doctor", cache=tmp_path)
    assert answer.code == code
    assert answer.out == f"{severity:<5} the machine\n      mend: mend it\n"
    answer = command(monkeypatch, "doctor", "--json", cache=tmp_path)
    assert answer.code == code
    assert json.loads(answer.out) == [{"severity": severity, "text": "the machine", "mend": "mend it"}]


# onnxruntime never runs on another device than was asked for


def test_a_session_that_fell_back_to_the_cpu_is_refused(graph: OnnxGraph, starts_on) -> None:
    starts_on(CPU)
    with pytest.raises(ExportError, match=rf"model\.onnx: .* fell back to {CPU}, wanted {CUDA}.*`compress doctor`"):
        open_session(graph, device="cuda", threads=1)


def test_a_device_that_fails_to_start_is_refused_and_the_doctor_named(graph: OnnxGraph, starts_on) -> None:
    starts_on(failure=RuntimeError("CUDA failure 35\nwith a trace"))
    with pytest.raises(ExportError, match=r"CUDA failure 35; `compress doctor`"):
        open_session(graph, device="cuda", threads=1)


def test_a_session_that_starts_on_the_gpu_may_not_fall_back_later(graph: OnnxGraph, starts_on) -> None:
    opened = starts_on(CUDA, CPU)
    open_session(graph, device="cuda", threads=1)
    assert opened == [{"providers": [CUDA], "enable_fallback": 0}]


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_an_onnxruntime_without_cuda_refuses_the_gpu(graph: OnnxGraph) -> None:
    if Onnxruntime().obstacle("cuda") is None:
        pytest.skip("this machine has CUDA")
    with pytest.raises(ExportError, match="compress doctor"):
        open_session(graph, device="cuda", threads=1)


def test_an_obstacle_is_found_beforehand_and_once_a_process(starts_on) -> None:
    opened = starts_on(CPU)
    first, second = (Onnxruntime().obstacle("cuda") for _ in range(2))
    assert first is not None
    assert "fell back" in first
    assert (second, len(opened)) == (first, 1)


@pytest.mark.parametrize("failure", [RuntimeError("CUDA failure 35\nwith a trace"), RuntimeError()])
def test_a_failure_to_start_is_an_obstacle_of_one_line(starts_on, failure: Exception) -> None:
    starts_on(failure=failure)
    reason = Onnxruntime().obstacle("cuda")
    assert reason
    assert "\n" not in reason


def test_no_obstacle_where_sessions_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(runtime.PROVIDERS, "cuda", CPU)  # the model of one node is a real one
    assert Onnxruntime().obstacle("cuda") is None


# make


def test_no_virtual_environment_gets_both_wheels() -> None:
    if shutil.which("make") is None:
        pytest.skip("no make here")
    # What an outer `make test` was told is not for this one.
    apart = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    installed: dict[str, set[str]] = {}
    for extra in ("cpu", "gpu"):
        for target in ("demo", "test", "reports"):
            words = ["make", "--dry-run", "--always-make", target, f"EXTRA={extra}"]
            printed = subprocess.run(words, cwd=ROOT, env=apart, capture_output=True, text=True, check=True).stdout
            for folder, wheel in re.findall(r'^(\S+)/bin/pip install .*"\.\[(cpu|gpu)\b', printed, re.MULTILINE):
                installed.setdefault(folder, set()).add(wheel)
    assert installed == {".venv": {"cpu"}, ".venv-gpu": {"gpu"}}

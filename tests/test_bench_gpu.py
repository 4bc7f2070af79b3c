"""The GPU benchmark runs from a checkout alone, writes a run.json that we can read, and names what it can't do."""

import ast
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import bench.gpu.__main__ as program
from bench.gpu import attention, every_variant, options
from bench.gpu.__main__ import main
from bench.gpu.intervals import interval, median, ratio
from bench.gpu.models import model_of
from bench.gpu.onnx_form import export, onnx_call
from bench.gpu.options import effort_of, options_of
from bench.gpu.record import table
from bench.gpu.sitting import Effort, Sitting
from bench.gpu.timing import time_interleaved
from evaluation.measurement import Run, read_run

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "bench" / "gpu"
COMPILE = torch.compile
RECIPE = FOLDER.parents[1] / "recipes" / "reviews-trio.yaml"
QUICK = ["--device", "cpu", "--size", "tiny", "--quick", "--shapes", "1x16,2x8"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bench") / "gpu"
    with pytest.MonkeyPatch.context() as patch:
        # Tracing is what may fail here; generating code takes half a minute and is torch's own business.
        patch.setattr(torch, "compile", lambda model, **_: COMPILE(model, backend="eager"))
        assert main([*QUICK, "--output", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    return read_run(folder)


def test_every_target_is_measured_at_every_shape_with_an_interval(run: Run) -> None:
    assert [target.name for target in run.targets] == ["torch-fp32", "torch-bf16", "torch-compile-bf16"]
    for target in run.targets:
        for batch, tokens in ((1, 16), (2, 8)):
            for name in ("latency_p50_ms", "latency_p95_ms"):
                found = run.measured(target.name, name, batch=batch, tokens=tokens)
                assert found is not None
                assert found.low is not None
                assert found.high is not None
                assert found.count is not None
                assert 0 < found.low <= found.value <= found.high
                assert found.count >= 9


def test_speed_ups_are_over_eager_fp32_and_have_an_interval(run: Run) -> None:
    for target in ("torch-bf16", "torch-compile-bf16"):
        found = run.compared(target, "torch-fp32", "speedup", batch=1, tokens=16)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low <= found.value <= found.high


def test_every_variant_computes_the_same_but_for_rounding(run: Run) -> None:
    assert run.tables["parity"]
    assert all(row["largest_logit_difference"] < 0.05 for row in run.tables["parity"])


def test_what_cannot_run_here_is_named_with_a_reason(run: Run) -> None:
    assert [(entry.target, bool(entry.reason)) for entry in run.skipped] == [("onnx-fp16", True)]


def test_attention_is_measured_plain_and_fused(run: Run) -> None:
    for row in run.tables["attention"]:
        assert row["plain_outcome"] == row["fused_outcome"] == "measured"
        assert row["speedup_low"] <= row["speedup"] <= row["speedup_high"]
        assert "quoted_plain" not in row  # figures of a GPU don't stand beside a CPU's


def test_run_json_names_versions_but_no_place_of_this_machine(folder: Path, run: Run) -> None:
    assert run.environment["torch"]
    assert str(Path.home()) not in (folder / "run.json").read_text(encoding="utf-8")


def test_a_variant_that_fails_leaves_the_others_standing(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_compiler(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler here\nand a long trace")

    monkeypatch.setattr(torch, "compile", no_compiler)
    sitting = Sitting(torch.device("cpu"), Effort(((1, 4),), (), 3, 0.001, 3, 0.0), seed=0)
    every_variant.time_model(model_of(None, "tiny"), sitting)
    assert list(sitting.findings.targets) == ["torch-fp32", "torch-bf16"]
    assert {"target": "torch-compile-bf16", "reason": "1x4: no compiler here"} in sitting.findings.skipped


def test_out_of_memory_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(attention, "plain_attention", too_large)
    sitting = Sitting(torch.device("cpu"), Effort((), (16,), 3, 0.001, 3, 0.0), seed=0)
    attention.time_attention(sitting)
    row = sitting.findings.attention[0]
    assert (row["plain_outcome"], row["fused_outcome"]) == ("out of memory", "measured")
    assert "plain_ms" not in row
    assert "speedup" not in row
    assert "out of memory" in table(sitting.findings)


def failing_from(call: int) -> Any:
    """Something to call that runs out of memory from its `call`-th call on, and gives a number before."""
    made = iter(range(1, call))

    def do(*_: object, **__: object) -> torch.Tensor:
        if next(made, None) is None:
            raise torch.OutOfMemoryError("CUDA out of memory\nand what was tried")
        return torch.zeros(1, 2)

    return do


@pytest.mark.parametrize("call", [1, 6, 20])
def test_a_variant_that_fails_while_interleaving_leaves_the_others_standing(call: int) -> None:
    sitting = Sitting(torch.device("cpu"), Effort((), (), 3, 0.001, 3, 0.0), seed=0)
    calls = {"first": lambda: torch.zeros(1), "bad": failing_from(call), "last": lambda: torch.zeros(1)}
    times, failed = time_interleaved(calls, sitting)
    assert failed == {"bad": "out of memory"}
    assert {name: len(rounds) for name, rounds in times.items()} == {"first": 3, "last": 3}


@pytest.mark.parametrize("bad", ["torch-fp32", "torch-compile-bf16"])
def test_out_of_memory_in_the_midst_of_a_shape_costs_that_variant_that_shape(
    bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    variant = every_variant.Variant

    def with_a_bad_one(name: str, precision: str, make: Any, weights_bytes: int | None) -> Any:
        calls = iter([failing_from(12)] if name == bad else [])
        return variant(name, precision, lambda inputs: next(calls, None) or make(inputs), weights_bytes)

    monkeypatch.setattr(every_variant, "Variant", with_a_bad_one)
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    effort = Effort(((1, 4), (1, 6)), (), 3, 0.001, 3, 0.0)
    sitting = Sitting(torch.device("cpu"), effort, 0, keep=lambda found: kept.append(len(found.measurements)))
    every_variant.time_model(model_of(None, "tiny"), sitting)
    found = {(row["target"], row["conditions"]["tokens"]) for row in sitting.findings.measurements}
    every = {(name, tokens) for name in ("torch-fp32", "torch-bf16", "torch-compile-bf16") for tokens in (4, 6)}
    assert found == every - {(bad, 4)}
    assert {"target": bad, "reason": "1x4: out of memory"} in sitting.findings.skipped
    compared = {row["conditions"]["tokens"] for row in sitting.findings.comparisons}
    assert compared == ({6} if bad == "torch-fp32" else {4, 6})
    assert kept == [4, 10]


def test_a_shape_whose_inputs_do_not_fit_costs_that_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = every_variant.inputs_of

    def too_large(batch: int, *more: Any) -> Any:
        return failing_from(1)() if batch == 64 else inputs(batch, *more)

    monkeypatch.setattr(every_variant, "inputs_of", too_large)
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    sitting = Sitting(torch.device("cpu"), Effort(((64, 4), (1, 4)), (), 3, 0.001, 3, 0.0), seed=0)
    every_variant.time_model(model_of(None, "tiny"), sitting)
    assert {"target": "every variant", "reason": "64x4: out of memory"} in sitting.findings.skipped
    assert {row["conditions"]["batch"] for row in sitting.findings.measurements} == {1}


def test_attention_that_fails_while_interleaving_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "plain_attention", failing_from(10))
    sitting = Sitting(torch.device("cpu"), Effort((), (16,), 3, 0.001, 3, 0.0), seed=0)
    attention.time_attention(sitting)
    row = sitting.findings.attention[0]
    assert (row["plain_outcome"], row["fused_outcome"]) == ("out of memory", "measured")
    assert "fused_ms" in row
    assert "plain_ms" not in row


def test_what_was_measured_before_an_interruption_is_in_run_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inputs = every_variant.inputs_of

    def interrupted(batch: int, *more: Any) -> Any:
        if batch == 2:
            raise KeyboardInterrupt
        return inputs(batch, *more)

    monkeypatch.setattr(every_variant, "inputs_of", interrupted)
    monkeypatch.setattr(torch, "compile", lambda model, **_: model)
    with pytest.raises(KeyboardInterrupt):
        main([*QUICK, "--output", str(tmp_path)])
    found = read_run(tmp_path)
    assert found.recipe["shapes"] == ["1x16", "2x8"]
    assert {row.conditions["batch"] for row in found.measurements} == {1}
    assert [file.name for file in tmp_path.iterdir()] == ["run.json"]


def test_a_part_that_fails_leaves_the_other_standing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(program, "time_model", failing_from(1))
    assert main([*QUICK, "--output", str(tmp_path)]) == 1
    found = read_run(tmp_path)
    assert ("every variant", "out of memory") in [(entry.target, entry.reason) for entry in found.skipped]
    assert [row["fused_outcome"] for row in found.tables["attention"]] == ["measured", "measured"]


def test_plain_attention_equals_the_fused_kernel() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 9, 8)
    fused = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attention.plain_attention(query, key, value), fused)


def test_the_exported_model_gives_the_same_logits_at_any_shape(tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    model = model_of(None, "tiny")
    export(model, tmp_path / "model.onnx")
    for batch, tokens in ((1, 1), (3, 5)):
        inputs = every_variant.inputs_of(batch, tokens, model.config.vocab_size, torch.device("cpu"), seed=0)
        logits = onnx_call(tmp_path / "model.onnx", inputs, model.config.num_labels, torch.float32)()
        with torch.inference_mode():
            torch.testing.assert_close(logits, model(**inputs).logits, atol=1e-5, rtol=1e-4)


def test_intervals_hold_the_value_and_vanish_for_constant_times() -> None:
    constant = [torch.full((4,), 2.0).numpy()] * 3
    assert interval(median, constant, seed=0) == {"value": 2.0, "low": 2.0, "high": 2.0}
    assert interval(ratio, constant, constant, seed=0) == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_shapes_are_those_of_the_recipe(tmp_path: Path) -> None:
    wanted = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))["deploy"]["shapes"]
    assert [f"{batch}x{tokens}" for batch, tokens in options_of(["--device", "cpu"]).shapes] == wanted
    other = tmp_path / "other.yaml"
    other.write_text("deploy: {shapes: [3x5, 7x11]}")
    for more in ([], ["--quick"]):
        asked = options_of(["--device", "cpu", "--recipe", str(other), *more])
        assert effort_of(torch.device("cuda"), asked.quick, asked.shapes).shapes == ((3, 5), (7, 11))


def test_shapes_that_are_given_override_the_recipe() -> None:
    asked = options_of(["--device", "cpu", "--recipe", str(RECIPE), "--shapes", "3x5"])
    assert (asked.shapes, asked.recipe) == (((3, 5),), None)


def test_without_a_recipe_shapes_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "RECIPE", Path("no-such-file.yaml"))
    asked = options_of(["--device", "cpu"])
    assert effort_of(torch.device("cuda"), asked.quick, asked.shapes).shapes == ((1, 128), (32, 128), (32, 512))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("deploy: {device: cpu}", "no deploy.shapes"),
        ("", "no deploy.shapes"),
        ("deploy: {shapes: [16]}", "BATCHxTOKENS"),
        ("deploy: {shapes: []}", "BATCHxTOKENS"),
        ("deploy: [", "--recipe"),
        (None, "No such file"),
    ],
)
def test_a_recipe_without_shapes_ends_with_code_2(
    text: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    if text is not None:
        recipe.write_text(text)
    with pytest.raises(SystemExit) as fault:
        main(["--device", "cpu", "--recipe", str(recipe)])
    assert fault.value.code == 2
    assert message in capsys.readouterr().err


def test_compiled_half_precision_does_not_bear_the_name_of_a_baseline(run: Run) -> None:
    assert "torch-compile" not in {target.name for target in run.targets}
    title = next(target.title for target in run.targets if target.name == "torch-compile-bf16")
    assert "bf16" in title
    assert "compiled" in title


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shapes", "16"], "BATCHxTOKENS"),
        (["--shapes", "0x16"], "at least 1"),
        (["--model", "no-such-folder"], "no config.json"),
    ],
)
def test_wrong_options_end_with_code_2_and_what_was_wanted(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as fault:
        main(["--device", "cpu", *arguments])
    assert fault.value.code == 2
    assert message in capsys.readouterr().err


def test_figures_of_a_cpu_do_not_land_where_those_of_a_gpu_are_published() -> None:
    assert "published" not in options_of(["--device", "cpu"]).output.parts


def test_it_imports_nothing_of_this_project_but_itself() -> None:
    allowed = {"numpy", "torch", "transformers", "yaml", "onnxruntime", "__future__"} | set(sys.stdlib_module_names)
    files = list(FOLDER.glob("*.py"))
    assert len(files) > 5
    for file in files:
        imports = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Import)]
        froms = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        named = [alias.name for node in imports for alias in node.names] + [node.module or "" for node in froms]
        outside = {name.split(".")[0] for name in named if name != "bench.gpu" and not name.startswith("bench.gpu.")}
        assert outside <= allowed, file.name

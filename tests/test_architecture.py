"""The arrows of the architecture, read from the imports: what may know of what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("compress", "evaluation", "reports", "recipes")
HEAVY = ("torch", "onnxruntime", "transformers", "altair", "vl_convert")


@cache
def _modules() -> dict[str, Path]:
    """Every module of ours, by its dotted name."""
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def _walk(node: ast.AST, *, top_level: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """The import statements below a node, but for those that type checkers alone see, or that a call runs."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _walk(other, top_level=top_level)
        elif not (top_level and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            yield from _walk(child, top_level=top_level)


@cache
def _imports(module: str, *, top_level: bool = False) -> frozenset[str]:
    """What a module imports: modules of ours by their full name, others by the name of their package."""
    found: set[str] = set()
    for node in _walk(ast.parse(_modules()[module].read_text(encoding="utf-8")), top_level=top_level):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            assert node.level == 0, f"{module}: imports are absolute"
            assert node.module is not None
            named = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in _modules() else node.module for name in named]
        found |= {name if name in _modules() else name.split(".")[0] for name in names}
    return frozenset(found)


def _of(*prefixes: str) -> list[str]:
    return [name for name in _modules() if _within(name, *prefixes)]


def _within(name: str, *prefixes: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _breaches(of: list[str], *forbidden: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """`a -> b` for every import that must not be."""
    assert of, "nothing was looked at"
    return [
        f"{module} -> {imported}"
        for module in of
        for imported in sorted(_imports(module))
        if _within(imported, *forbidden) and imported != module and not _within(imported, *allowed)
    ]


def test_no_stage_knows_another_stage_or_how_it_is_judged():
    assert _breaches(_of("compress.stages"), "compress.stages", "evaluation", "reports") == []


def test_criteria_families_tasks_and_runtimes_know_no_stage():
    parts = _of("compress.criteria", "compress.families", "compress.tasks", "compress.runtimes", "compress.graph")
    assert _breaches(parts, "compress.stages", "evaluation", "reports") == []


def test_the_toolkit_knows_neither_evaluation_nor_reports():
    inner = [
        name for name in _of("compress") if not _within(name, "compress.cli", "compress.commands", "compress.__main__")
    ]
    assert _breaches(inner, "evaluation", "reports") == []


def test_reports_know_measurements_and_errors_alone():
    assert _breaches(_of("reports"), "compress", allowed=("compress.errors",)) == []
    assert _breaches(_of("reports"), "evaluation", allowed=("evaluation.measurement",)) == []
    assert _breaches(_of("reports"), "torch", "onnxruntime", "transformers") == []


def test_evaluation_knows_neither_stages_nor_reports():
    assert _breaches(_of("evaluation"), "reports", "compress.stages", "compress.cli", "compress.commands") == []


def test_commands_are_known_to_the_command_line_alone():
    others = [name for name in _modules() if not _within(name, "compress.cli", "compress.commands")]
    assert _breaches(others, "compress.commands") == []
    assert _breaches([name for name in others if name != "compress.__main__"], "compress.cli") == []


def test_the_foundation_knows_nothing_above_it():
    assert _breaches(["compress.errors"], *PACKAGES) == []
    assert _breaches(["compress.lineage"], *PACKAGES, allowed=("compress.errors",)) == []
    assert _breaches(["compress.catalog"], *PACKAGES, allowed=("compress.errors",)) == []
    base = ["compress.bundle", "compress.stage", "compress.data", "compress.store.store"]
    above = ("compress.runner", "compress.recipe", "compress.stages", "compress.training.loop", "compress.runtimes")
    assert _breaches(base, *above, "compress.graph", "compress.criteria") == []


def test_no_modules_import_each_other_in_a_ring():
    seen: dict[str, bool] = {}  # True while a module is on the path that is being walked

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert not seen.get(module), " -> ".join([*path[path.index(module) :], module])
        if module in seen:
            return
        seen[module] = True
        for imported in sorted(_imports(module, top_level=True) & _modules().keys()):
            walk(imported, (*path, module))
        seen[module] = False

    for module in _modules():
        walk(module, ())
    assert len(seen) == len(_modules())


def test_every_file_says_what_it_holds():
    silent = [
        name for name, file in _modules().items() if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    ]
    assert silent == []


@pytest.mark.parametrize(
    "module", ["compress", "compress.cli", "compress.catalog", "compress.recipe", "compress.store.store"]
)
def test_importing_stays_light(module: str):
    code = f"import sys, {module}\nprint([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_every_module_can_be_imported_first():
    """Each alone, in one process that forgets the others: a ring that a lucky order hides would show."""
    code = f"""
import importlib, sys
for name in {sorted(_of("compress"))!r}:
    if name == "compress.__main__":
        continue
    for loaded in [m for m in sys.modules if m.split(".")[0] in {PACKAGES}]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]

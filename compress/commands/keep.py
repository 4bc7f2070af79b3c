"""What is written beside the figures of a run or of a sweep's variant: the resolved recipe, and the model folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from compress import catalog
from compress.bundle import Form
from compress.errors import GateError, StoreError
from compress.provenance import code_digest
from compress.recipe import Recipe, to_yaml
from compress.release import write_model
from compress.runner import Executed
from compress.sources import Lock, is_outside, moved
from compress.store.refusals import check_place
from evaluation.measurement import Gate, Run
from reports.card import model_card

CONFIG = "config.json"
"""What every model's folder has."""


def check_output(folder: Path, what: str) -> None:
    """See, before any work, that figures can be written into `folder`, and that it is not a model's own.

    Raises:
        StoreError: a file is in the way, the disk lets nobody write there, or it holds a model.
    """
    check_place(folder, what)
    if (folder / CONFIG).exists():
        raise StoreError(f"{folder}: holds a model, and {what} would lie among its files; choose another folder")


def write_recipe(recipe: Recipe, executed: Executed, file: Path, folder: Path) -> None:
    """The resolved recipe and its lock file, so that the run can be done again from the run folder.

    Sources that lie outside the project are named in a comment on top, with the digest of what was read of them.

    Args:
        file: the recipe's own file, which the paths of sources are relative to.
        folder: where `recipe.yaml` goes.
    """
    values = recipe.resolved()
    tables, cards = values["data"]["tables"], executed.splits.card["tables"]
    owners = [("model", values["model"], executed.source.digest)]
    unread = {"digest": "which no split is of"}
    owners += [(f"data.tables.{name}", table, cards.get(name, unread)["digest"]) for name, table in tables.items()]
    outside = []
    for name, owner, digest in owners:
        source = owner["source"]
        tried = [source] if isinstance(source, str) else source
        here = [moved(one, file.parent, folder) for one in tried]
        owner["source"] = here[0] if isinstance(source, str) else here
        there = [new for one, new in zip(tried, here, strict=True) if is_outside(one, file.parent, folder)]
        outside += [f"#   {name}: {new}, {digest}\n" for new in there]
    head = "# Lay outside the project; to run this again, put each beside this file:\n" if outside else ""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text("".join([head, *outside, to_yaml(values)]), encoding="utf-8")
    if Lock.beside(file).exists():
        shutil.copyfile(Lock.beside(file), Lock.beside(folder / "recipe.yaml"))


def write_result(run: Run, executed: Executed, folder: Path) -> None:
    """The result's model, laid out as the hub does, with a model card made of the run's figures."""
    bundles = [executed.reference, *(outcome.bundle for outcome in executed.stages)]
    last_torch = [bundle for bundle in bundles if bundle.form is Form.TORCH][-1]
    stock = last_torch.family.fits_stock_class(last_torch.module)
    write_model(bundles, folder, model_card(run, loads_in_stock_class=stock))


def refuse_failed(gates: Sequence[Gate], kept: Path) -> None:
    """End with exit code 3 where a gate failed, after everything was written and shown.

    Args:
        kept: where all that was made lies.

    Raises:
        GateError: a line for each that failed.
    """
    failed = [told(gate) for gate in gates if not gate.passed]
    if failed:
        raise GateError("\n".join([*failed, f"everything is kept: {kept}"]))


def told(gate: Gate) -> str:
    """A failed gate, for the terminal."""
    value = "no value" if gate.value is None else f"{gate.value:.4g}"
    return f"gate {gate.name} of {gate.target} failed: {value}, limit {gate.limit:.4g} ({gate.detail})"


def measuring_code(command: str) -> list[str]:
    """Digests of the code that figures depend on; what measuring finds by name, no import leads to."""
    by_name = [module for kind in ("metrics", "runtimes", "tasks") for module in catalog.modules(kind)]
    return [code_digest(module) for module in ("evaluation.suite", command, *by_name)]

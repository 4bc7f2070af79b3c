"""One case in this very process: what it left, and how much time and memory that took. `__main__` starts it.

A small model goes the same way first: whatever is imported on the way is behind us then.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.bundle import Bundle
    from compress.data import Split
    from compress.stage import Context, Stage

COLUMNS = "text=sentence,label=label"
CALIBRATION = 512
DEV = 1500
"""Rows of train, none of which was calibrated on, on which a file is held against the float32 of the same model."""


def made(case: dict[str, Any], model: str, train: str, work: str) -> dict[str, Any]:
    """Seconds from the model's folder to the last file, bytes of the model, the most that was held meanwhile above what
    imports take, every gate, and of the file its path, bytes, FLOPs at 32x64 and logit error."""
    import torch

    from bench.measuring.sample import sample_bundle
    from compress.deploy import Deploy, Shape
    from compress.folder import load
    from compress.graph.sensitivity import judge_of
    from compress.stages.export import Export
    from evaluation.size.flops import work_of
    from evaluation.speed.peak import forget, host_bytes

    torch.set_num_threads(Deploy().thread_count)
    stages, gates = _stages(case["stages"]), list[dict[str, Any]]()
    with TemporaryDirectory(prefix="exporting-") as scratch:
        small = sample_bundle(Path(scratch), tiny=True)["torch"]
        _last(small, stages, _context(_rows(small, train), Path(scratch), []))
    gc.collect()
    forget()
    imports, start = host_bytes(), perf_counter()
    bundle = load(model)
    size = sum(one.numel() * one.element_size() for one in bundle.module.parameters())
    if case["heads"]:
        bundle = with_heads(bundle, case["heads"])
    bundles = _last(bundle, stages, _context(_rows(bundle, train), Path(work), gates))
    seconds, held, after = perf_counter() - start, host_bytes() - imports, bundles[-1]
    whole = next(one for one in bundles if one.form == after.form)
    if whole is after and after.graph.precision != "fp32":  # it was made in one step
        whole = Export().apply(bundle, _context(_rows(bundle, train), Path(work) / "whole", []))
    dev = _dev(_rows(bundle, train))
    error = judge_of(after, whole.graph, dev)(after.graph) if whole is not after else None
    kept = [{name: gate[name] for name in ("name", "passed", "detail")} for gate in gates]
    found = {"seconds": seconds, "model_bytes": size, "peak_bytes": held, "gates": kept, "logit_error": error}
    flops = work_of(after, Shape(32, 64)).flops
    return {**found, "path": str(after.graph.path), "bytes": after.graph.path.stat().st_size, "flops": flops}


def with_heads(bundle: Bundle, heads: Sequence[int]) -> Bundle:
    """The first heads of each layer, so many: how long a model takes does not depend on which they are."""
    import torch

    from compress.surgery import keep_units

    groups = [group for group in bundle.anatomy.groups if group.axis == "heads"]
    masks = [torch.arange(group.units) < kept for group, kept in zip(groups, heads, strict=True)]
    return bundle.with_model(keep_units(bundle.module, bundle.family, groups, masks))


def _last(bundle: Bundle, stages: Sequence[Stage], context: Context) -> list[Bundle]:
    found = [bundle]
    for stage in stages:
        found.append(stage.apply(found[-1], context))
    return found


def _stages(listed: Sequence[dict[str, Any]]) -> list[Stage]:
    from compress import catalog

    return [catalog.load("stages", name).model_validate(settings) for one in listed for name, settings in one.items()]


def _rows(bundle: Bundle, train: str) -> Split:
    from compress.commands.options import DataOption, asked_rows

    return asked_rows(DataOption(train, COLUMNS), bundle.task, bundle.labels, labelled=False)


def _dev(rows: Split) -> Split:
    import numpy as np

    read = set(rows.take(CALIBRATION).texts)
    others = [place for place, text in enumerate(rows.texts) if text not in read]
    return rows.rows(np.array(others[:DEV]))


def _context(rows: Split, scratch: Path, gates: list[dict[str, Any]]) -> Context:
    import torch

    from compress.deploy import Deploy
    from compress.stage import Context

    scratch.mkdir(parents=True, exist_ok=True)
    calibration = rows.take(CALIBRATION)
    deploy = Deploy()
    check = lambda **gate: gates.append(gate)  # noqa: E731
    return Context(rows, calibration, calibration, deploy, torch.device("cpu"), 13, scratch, check=check)


if __name__ == "__main__":
    print(json.dumps(made(**json.loads(sys.argv[1]))))

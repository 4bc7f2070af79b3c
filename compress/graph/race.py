"""How long graphs of one model take beside each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from compress.inputs import timing_inputs
from compress.runtime import runtime_of

if TYPE_CHECKING:
    from compress.bundle import Bundle, OnnxGraph
    from compress.data import Split
    from compress.deploy import Deploy


def race(
    graphs: Mapping[str, OnnxGraph], bundle: Bundle, texts: Split, deploy: Deploy, *, device: str, seed: int
) -> dict[str, float]:
    """Milliseconds of a call of each graph, in blocks that take turns: the geometric mean, over the deployment's
    shapes, of the median times.

    Args:
        texts: what the inputs are made of.
        device: `cpu` or `cuda`.
        seed: of the order of blocks.
    """
    from compress.runtimes.timing import clock_of, time_interleaved

    runtime = runtime_of(deploy.runtime)
    sessions = {
        name: runtime.open(replace(bundle, model=graph), device=device, threads=deploy.thread_count)
        for name, graph in graphs.items()
    }
    medians: dict[str, list[float]] = {name: [] for name in graphs}
    for shape in deploy.shapes:
        inputs = timing_inputs(bundle, texts, shape)
        calls = {name: session.bind(inputs) for name, session in sessions.items()}
        times = time_interleaved(calls, seed=seed, clock=clock_of(device))
        for name in graphs:
            medians[name].append(float(np.median(np.concatenate(times[name]))))
    for session in sessions.values():
        session.close()
    return {name: math.exp(float(np.mean(np.log(values)))) for name, values in medians.items()}

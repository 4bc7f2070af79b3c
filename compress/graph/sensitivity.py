"""What each operator costs when it is quantized, and which ones stay in float so that a quality budget is kept.

The scan quantizes one operator at a time and looks at how far the scores move. Errors of operators add up roughly as
squares, so the operators that move them most are the ones to leave in float; how many of them is then found by
measuring, not by adding up (Wu et al. 2020, "Integer Quantization for Deep Learning Inference", section 5, partial
quantization).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress.batching import batches, in_order
from compress.bundle import Bundle, OnnxGraph
from compress.data import Split
from compress.errors import DataError, ExportError
from compress.graph.inspect import products, read_proto

Judge = Callable[[OnnxGraph], float]
"""How far a graph's scores lie from those of the float graph."""
Quantizer = Callable[..., OnnxGraph]
"""Takes the graph, a path, and `keep` or `only`."""
_BATCH = 32


@dataclass(frozen=True)
class Effect:
    """What is lost when one operator alone is quantized, as the judge has it."""

    operator: str
    error: float


def judge_of(bundle: Bundle, graph: OnnxGraph, split: Split) -> Judge:
    """The L2 norm of what a graph's scores differ by from `graph`'s, over that of these scores around their mean.

    Raises:
        DataError: there is nothing to read, or all examples have the same scores.
    """
    from compress.runtimes.onnxruntime import open_session

    if len(split) < 2:
        raise DataError(f"quantize: logit_error: {split.name} has {len(split)} examples, wanted two or more")
    encoded = bundle.task.encode(split, bundle.processor, max_tokens=bundle.max_tokens, seed=0)

    def scores(of: OnnxGraph) -> np.ndarray:
        session = open_session(of, device="cpu", threads=None, outputs=bundle.task.decided_on)
        found, index = [], []
        for batch in batches(encoded, _BATCH):
            found.append(bundle.task.predict(session.outputs(batch.inputs), batch))
            index.append(batch.index)
        session.close()
        ordered = in_order(found, index)
        return ordered.reshape(len(ordered), -1).astype(np.float64)

    wanted = scores(graph)
    spread = float(np.linalg.norm(wanted - wanted.mean(axis=0)))
    if spread == 0:
        raise DataError(f"quantize: logit_error: all examples of {split.name} have the same scores")
    return lambda of: float(np.linalg.norm(scores(of) - wanted)) / spread


def scan(
    graph: OnnxGraph, quantizer: Quantizer, judge: Judge, scratch: Path, tell: Callable[[float, str], None]
) -> list[Effect]:
    """Each operator's own effect, the largest first."""
    found = products(read_proto(graph.path))
    names = [*found.float_products, *found.float_tables]
    effects = []
    for done, name in enumerate(names):
        tell(done / len(names), f"what {name} costs")
        effects.append(Effect(name, judge(quantizer(graph, scratch / "one.onnx", only=[name]))))
    return sorted(effects, key=lambda effect: -effect.error)


def within(
    budget: float, graph: OnnxGraph, path: Path, quantizer: Quantizer, judge: Judge, effects: Sequence[Effect]
) -> tuple[list[str], list[dict[str, float]]]:
    """Names of the operators that stay in float, as few of those that cost most as keep the budget; and what was tried.

    How many is found by bisection: with one more in float the error is taken not to grow.

    Raises:
        ExportError: the budget is kept only where nothing is quantized.
    """
    names, tried = [effect.operator for effect in effects], dict[int, float]()

    def kept(count: int) -> bool:
        tried[count] = judge(quantizer(graph, path, keep=names[:count]))
        return tried[count] <= budget

    least, most = (-1, 0) if kept(0) else (0, len(names))  # so many are too few, and so many enough
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if kept(middle) else (middle, most)
    if most == len(names):
        raise ExportError(
            f"quantize: logit_error {budget:g} is kept only where nothing is quantized; the nearest is "
            f"{min(tried.values()):.3g}"
        )
    return names[:most], [{"in float": count, "logit error": error} for count, error in sorted(tried.items())]

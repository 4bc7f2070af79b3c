"""Verify a graph: fusion, parity with torch on every kind of padding, and the number of quantized operators.

Each check gives a `Finding`, a counted or measured value against a limit with what a reader needs to act on it. The
stages hand findings to the runner as gates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from compress.batching import batches, in_order
from compress.bundle import Bundle, OnnxGraph
from compress.data import Split
from compress.feed import placed
from compress.graph.build import AttentionForm
from compress.graph.inspect import attention_nodes, operators, products, read_proto
from compress.inputs import Inputs, probes

# Float32 rounds differently in another order of summation: 1e-6 to 1e-5 of the logits' size is what a right graph
# shows. A lost mask or a wrong head count shows 1e-2 and more.
PARITY_LIMIT = 1e-4
# Plain dynamic int8 agrees on 0.98 and more; a mask that quantizing dropped was seen at 0.66.
AGREEMENT_LIMIT = 0.9
# Float16 keeps eleven bits: 1e-4 to 1e-3 of the logits' size, over all layers, is what a right graph shows.
HALF_PARITY_LIMIT = 5e-3
_PADDING = 5


@dataclass(frozen=True)
class Finding:
    """What a check found. `passed` is the check's own verdict; `value` and `limit` are for the report."""

    name: str
    limit: float
    value: float | None
    """None where an output was not finite."""
    passed: bool
    detail: str


def fusion(graph: OnnxGraph, heads: Sequence[int], form: AttentionForm) -> Finding:
    """One attention node a layer, each with its layer's head count, and no Softmax left; or, in the plain form, one
    Softmax a layer and no attention node.

    Args:
        heads: heads of each layer, from the anatomy.
    """
    proto = read_proto(graph.path)
    nodes = attention_nodes(proto)
    softmaxes = operators(proto)["Softmax"]
    layers = len(heads)
    if form == "plain":
        passed = softmaxes == layers and not nodes
        detail = f"{softmaxes} Softmax and {len(nodes)} attention nodes; wanted {layers} and 0"
        return Finding("fusion", layers, softmaxes, passed, detail)
    counted = [node.heads for node in nodes]
    passed = counted == list(heads) and softmaxes == 0
    detail = f"{len(nodes)} attention nodes with heads {counted}, {softmaxes} Softmax; wanted heads {list(heads)}, 0"
    if not passed:
        detail += "; `attention: plain` exports without fusion"
    return Finding("fusion", layers, len(nodes), passed, detail)


def parity(
    bundle: Bundle, graph: OnnxGraph, *, seed: int, limit: float = PARITY_LIMIT, other: str = "torch"
) -> Finding:
    """The largest difference of the graph's output from torch's, relative to the largest output, on random tokens:
    right-padded, left-padded and holed masks, batch 1 and more, lengths from 1 to the longest.

    Args:
        other: what the bundle's model is, for the reader.
    """
    import torch

    model = placed(bundle.module, torch.device("cpu")).eval()

    def wanted(inputs: Inputs) -> np.ndarray:
        with torch.inference_mode():
            fed = {key: torch.from_numpy(value) for key, value in inputs.items()}
            scores: np.ndarray = bundle.task.scores(model(**fed), fed).numpy()
        return scores

    return _same("parity", other, wanted, bundle, graph, seed=seed, limit=limit)


def unchanged(bundle: Bundle, before: OnnxGraph, after: OnnxGraph, *, seed: int) -> Finding:
    """As `parity`, of a graph that was rewritten against what it was."""
    from compress.runtimes.onnxruntime import open_session

    session = open_session(before, device="cpu", threads=None, outputs=bundle.task.decided_on)
    found = _same("unchanged", "what the graph was", session.outputs, bundle, after, seed=seed, limit=PARITY_LIMIT)
    session.close()
    return found


def _same(
    name: str,
    other: str,
    wanted_of: Callable[[Inputs], np.ndarray],
    bundle: Bundle,
    graph: OnnxGraph,
    *,
    seed: int,
    limit: float,
) -> Finding:
    """The graph's output against what is wanted.

    Args:
        other: what that is of, for the reader.
    """
    from compress.runtimes.onnxruntime import open_session

    session = open_session(graph, device="cpu", threads=None, outputs=bundle.task.decided_on)
    worst, place = 0.0, "nowhere"
    for described, inputs in probes(bundle, seed=seed):
        got, wanted = session.outputs(inputs), wanted_of(inputs)
        if wanted.ndim == 3:  # a score for each token: what is said of padding counts for nothing
            got, wanted = (scores[inputs["attention_mask"] == 1] for scores in (got, wanted))
        difference = np.abs(got - wanted).max() / max(1.0, float(np.abs(wanted).max()))
        if not difference <= worst:  # NaN must win, and stay
            worst, place = float(difference), described
        if np.isnan(worst):
            break
    session.close()
    finite = bool(np.isfinite(worst))
    return Finding(
        name,
        limit,
        worst if finite else None,
        finite and worst <= limit,
        f"largest relative difference from {other} {worst:.2g}, on {place}"
        + ("" if finite else "; an output is not finite"),
    )


def quantized(before: OnnxGraph, after: OnnxGraph, *, at_least: int, kept: Collection[str] = ()) -> Finding:
    """Every product with a constant weight and every table lookup of `before` is quantized in `after`.

    Args:
        at_least: linear layers that the anatomy knows of; fewer products than that, and the graph was misread.
        kept: names of those that were to stay in float.
    """
    wanted, got = products(read_proto(before.path)), products(read_proto(after.path))
    expected = max(at_least, _count(wanted.float_products, wanted.float_tables)) - len(kept)
    done = _count(got.quantized_products, got.quantized_tables)
    left = [name for name in (*got.float_products, *got.float_tables) if name not in kept]
    detail = f"{done} of {expected} products and lookups with constant weights are quantized"
    if kept:
        detail += f", {len(kept)} more stay in float as they should"
    if left:
        detail += f"; left in float: {', '.join(left[:5])}"
    return Finding("quantized_operators", expected, done, done == expected and not left, detail)


def agreement(bundle: Bundle, before: OnnxGraph, after: OnnxGraph, calibration: Split) -> Finding:
    """How alike `after`, given padding that it has to ignore, predicts calibration examples to what `before` does
    without: what quantizing moved, and whether the mask still holds."""
    from compress.runtimes.onnxruntime import open_session

    task, padding = bundle.task, _PADDING if bundle.task.modality == "text" else 0
    encoded = task.encode(calibration, bundle.processor, max_tokens=bundle.max_tokens - padding, seed=0)
    outputs = task.decided_on
    first, second = (open_session(graph, device="cpu", threads=None, outputs=outputs) for graph in (before, after))
    ours, theirs, index = [], [], []
    for batch in batches(encoded, 32):
        widened = batch.inputs
        if padding:
            fill = {"input_ids": bundle.processor.pad_token_id or 0}
            widened = {
                name: np.pad(array, ((0, 0), (0, padding)), constant_values=fill.get(name, 0))
                for name, array in batch.inputs.items()
            }
        ours.append(task.predict(first.outputs(batch.inputs), batch))
        theirs.append(task.predict(second.outputs(widened), batch))
        index.append(batch.index)
    first.close()
    second.close()
    alike = float(task.alike(in_order(ours, index), in_order(theirs, index)).mean())
    share = alike if np.isfinite(alike) else None
    detail = f"{len(encoded)} calibration examples are answered {alike:.3f} alike before and after, padding added after"
    return Finding("quantized_agreement", AGREEMENT_LIMIT, share, alike >= AGREEMENT_LIMIT, detail)


def _count(*names: Sequence[str]) -> int:
    return sum(len(some) for some in names)

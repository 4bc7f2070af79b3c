"""Verify a graph: fusion, parity with torch on every kind of padding, and the number of quantized operators.

Each check gives a `Finding`, a counted or measured value against a limit with what a reader needs to act on it. The
stages hand findings to the runner as gates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from compress.bundle import Bundle, OnnxGraph
from compress.data import Split, batches, encode
from compress.feed import placed
from compress.graph.build import AttentionForm
from compress.graph.inspect import attention_nodes, operators, products, read_proto

if TYPE_CHECKING:
    from jaxtyping import Int

Inputs = dict[str, "Int[np.ndarray, 'batch tokens']"]

# Float32 rounds differently in another order of summation: 1e-6 to 1e-5 of the logits' size is what a right graph
# shows. A lost mask or a wrong head count shows 1e-2 and more.
PARITY_LIMIT = 1e-4
# Plain dynamic int8 agrees on 0.98 and more; a mask that quantizing dropped was seen at 0.66.
AGREEMENT_LIMIT = 0.9
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


def parity(bundle: Bundle, graph: OnnxGraph, *, seed: int) -> Finding:
    """The largest difference of the graph's output from torch's, relative to the largest output, on random tokens:
    right-padded, left-padded and holed masks, batch 1 and more, lengths from 1 to the longest."""
    import torch

    from compress.runtimes.onnxruntime import open_session

    session = open_session(graph, device="cpu", threads=None)
    model = placed(bundle.module, torch.device("cpu")).eval()
    worst, place = 0.0, "nowhere"
    for name, inputs in probes(bundle, seed=seed):
        with torch.inference_mode():
            outputs = model(**{key: torch.from_numpy(value) for key, value in inputs.items()})
            wanted = bundle.task.scores(outputs).numpy()
        difference = np.abs(session.outputs(inputs) - wanted).max() / max(1.0, float(np.abs(wanted).max()))
        if not difference <= worst:  # NaN must win, and stay
            worst, place = float(difference), name
        if np.isnan(worst):
            break
    session.close()
    finite = bool(np.isfinite(worst))
    return Finding(
        "parity",
        PARITY_LIMIT,
        worst if finite else None,
        finite and worst <= PARITY_LIMIT,
        f"largest relative difference from torch {worst:.2g}, on {place}"
        + ("" if finite else "; an output is not finite"),
    )


def quantized(before: OnnxGraph, after: OnnxGraph, *, at_least: int) -> Finding:
    """Every product with a constant weight and every table lookup of `before` is quantized in `after`.

    Args:
        at_least: linear layers that the anatomy knows of; fewer products than that, and the graph was misread.
    """
    wanted, got = products(read_proto(before.path)), products(read_proto(after.path))
    expected = max(at_least, _count(wanted.float_products, wanted.float_tables))
    done = _count(got.quantized_products, got.quantized_tables)
    left = [*got.float_products, *got.float_tables]
    detail = f"{done} of {expected} products and lookups with constant weights are quantized"
    if left:
        detail += f"; left in float: {', '.join(left[:5])}"
    return Finding("quantized_operators", expected, done, done == expected and not left, detail)


def agreement(bundle: Bundle, before: OnnxGraph, after: OnnxGraph, calibration: Split) -> Finding:
    """The share of calibration texts on which `after`, given padding that it has to ignore, decides as `before` does
    without: what quantizing moved, and whether the mask still holds."""
    from compress.runtimes.onnxruntime import open_session

    encoded = encode(calibration, bundle.processor, max_tokens=bundle.max_tokens - _PADDING)
    first, second = (open_session(graph, device="cpu", threads=None) for graph in (before, after))
    alike = 0
    for batch in batches(encoded, 32):
        widened = {name: np.pad(array, ((0, 0), (0, _PADDING))) for name, array in batch.inputs.items()}
        ours, theirs = (bundle.task.decide(scores) for scores in (second.outputs(widened), first.outputs(batch.inputs)))
        alike += int((ours == theirs).sum())
    first.close()
    second.close()
    share = alike / len(calibration)
    detail = f"{alike} of {len(calibration)} calibration texts are decided alike before and after, padding added after"
    return Finding("quantized_agreement", AGREEMENT_LIMIT, share, share >= AGREEMENT_LIMIT, detail)


def probes(bundle: Bundle, *, seed: int) -> Iterator[tuple[str, Inputs]]:
    """Named inputs that a graph must be right on, whatever is padded where."""
    generator = np.random.default_rng(seed)
    longest = bundle.max_tokens
    yield "1x1, no padding", _inputs(bundle, np.ones((1, 1), dtype=np.int64), generator)
    yield f"1x{longest}, no padding", _inputs(bundle, np.ones((1, longest), dtype=np.int64), generator)
    for batch, tokens in ((2, min(7, longest)), (5, min(33, longest))):
        lengths = generator.integers(1, tokens + 1, size=(batch, 1))
        right = (np.arange(tokens)[None] < lengths).astype(np.int64)
        holed = (generator.random((batch, tokens)) < 0.6).astype(np.int64)
        holed[:, 0] = 1  # a row with nothing to attend to has no right answer
        for name, mask in (("right-padded", right), ("left-padded", right[:, ::-1].copy()), ("holed", holed)):
            yield f"{batch}x{tokens}, {name}", _inputs(bundle, mask, generator)


def _inputs(bundle: Bundle, mask: np.ndarray, generator: np.random.Generator) -> Inputs:
    tokens = generator.integers(0, bundle.config["vocab_size"], size=mask.shape, dtype=np.int64)
    padding = bundle.processor.pad_token_id or 0
    inputs: Inputs = {}
    for name in bundle.processor.model_input_names:
        inputs[name] = np.zeros_like(mask)
    if "token_type_ids" in inputs:
        inputs["token_type_ids"] = generator.integers(0, bundle.config.get("type_vocab_size") or 1, size=mask.shape)
    inputs["input_ids"] = np.where(mask == 1, tokens, padding)
    inputs["attention_mask"] = mask
    return inputs


def _count(*names: Sequence[str]) -> int:
    return sum(len(some) for some in names)

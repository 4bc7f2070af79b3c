"""Parameters and FLOPs layer by layer and part by part, counted by a model's anatomy."""

from __future__ import annotations

from typing import Any

from compress.anatomy import Anatomy, Group
from compress.deploy import Shape

ATTENTION, FFN, OTHER = "attention", "ffn", "norms_and_biases"
"""Parts of a layer; what no head and no FFN channel holds is the third."""
PARTS = {"heads": ATTENTION, "kv_groups": ATTENTION, "ffn": FFN}


def parameter_rows(anatomy: Anatomy) -> list[dict[str, Any]]:
    """One row a part of each layer that runs, then of what is no layer's; they add up to all parameters.

    `units` is how many heads, KV groups or FFN channels (`axis`) the part has. Weights that run again are counted where
    they first run; `shared_with` is that layer.
    """
    rows: list[dict[str, Any]] = []
    first: dict[int | None, int] = {}
    for run, groups in enumerate(runs_of(anatomy)):
        weights = groups[0].layer
        shared = first.setdefault(weights, run)
        again = {"shared_with": shared} if shared != run else {}
        for group in groups:
            count = 0 if again else group.units * group.unit_parameters
            units = {"axis": group.axis, "units": group.units} | (
                {"heads": group.units * group.heads} if group.heads else {}
            )
            rows.append({"layer": run, "part": PARTS[group.axis], "parameters": count, **units, **again})
        if anatomy.layer_rest and weights is not None:
            count = 0 if again else anatomy.layer_rest[weights].at(anatomy.hidden)
            rows.append({"layer": run, "part": OTHER, "parameters": count, **again})
    beside = anatomy.rest_of("encoder") - sum(rest.at(anatomy.hidden) for rest in anatomy.layer_rest)
    outside = {"embeddings": anatomy.rest_of("embeddings"), "encoder_rest": beside, "head": anatomy.rest_of("head")}
    return [*rows, *({"layer": None, "part": part, "parameters": count} for part, count in outside.items())]


def flop_rows(anatomy: Anatomy, shape: Shape) -> list[dict[str, Any]]:
    """One row a part of each layer that runs with matrix products in it, then of what is no layer's, at one shape; they
    add up to all FLOPs, a multiply-accumulate as 2."""
    at = {"batch": shape.batch, "tokens": shape.tokens}
    rows: list[dict[str, Any]] = [
        {"layer": run, "part": PARTS[group.axis], **at, "flops": shape.batch * _in_one_run(group, shape.tokens)}
        for run, groups in enumerate(runs_of(anatomy))
        for group in groups
    ]
    within = sum(row["flops"] for row in rows)
    rest = {"layer": None, "part": "outside_layers", **at, "flops": anatomy.flops(shape.batch, shape.tokens) - within}
    return [*rows, rest]


def runs_of(anatomy: Anatomy) -> list[list[Group]]:
    """The groups of each layer that a forward pass runs, in order; those of a shared layer stand there each time."""
    order = [group.layer for group in anatomy.groups if group.heads for _ in range(group.repeats)]
    return [[group for group in anatomy.groups if group.layer == layer] for layer in order]


def _in_one_run(group: Group, tokens: int) -> int:
    return group.units * group.unit_flops(tokens) // group.repeats

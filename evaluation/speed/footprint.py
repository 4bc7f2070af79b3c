"""What it takes to run a target: load time, peak memory and energy, each target alone in a process of its own.

What a process holds says nothing of one target while others are open in it, and what is loaded once is loaded faster
the second time. So both come from a fresh process, which costs a few seconds a target; there is one for each target,
not one for each figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from compress.deploy import Shape
from compress.errors import ModelError
from compress.inputs import timing_inputs
from compress.runtimes.timing import Limits
from evaluation.measurement import Measurement, Skipped
from evaluation.sitting import Conditions, Opened, Progress, ran_on
from evaluation.speed.apart import parcels
from evaluation.speed.worker import Held, Parcel, Worker


def footprints(
    opened: Sequence[Opened], conditions: Conditions, progress: Progress
) -> tuple[list[Measurement], list[Skipped]]:
    """Load time and peak memory of every target that another process can open, and why the others have none."""
    found, without = list[Measurement](), list[Skipped]()
    with parcels(opened, conditions, with_processor=False) as packed:
        for index, one in enumerate(opened):
            progress("memory", index / len(opened), one.name)
            parcel = packed[one.name]
            try:
                if isinstance(parcel, str):
                    raise ModelError(parcel)
                found += _footprint(one, parcel, conditions)
            except ModelError as fault:
                without.append(Skipped(target=one.name, reason=f"load time and memory not measured: {fault}"))
    progress("memory", 1.0, "done")
    return found, without


def _footprint(one: Opened, parcel: Parcel, conditions: Conditions) -> list[Measurement]:
    # What an allocator took for a large shape it keeps for the small ones, so these come first.
    shapes = sorted(conditions.deploy.shapes, key=lambda shape: (shape.batch * shape.tokens, shape.batch))
    inputs = {shape: timing_inputs(one.subject.bundle, conditions.test, shape) for shape in shapes}
    worker = Worker(one.name, parcel, Limits())
    try:
        opening_ms = worker.open(inputs[shapes[0]])
        held = {shape: worker.held(inputs[shape]) for shape in shapes}
    finally:
        worker.close()
    load = _load(one, opening_ms, conditions)
    return [load, *(row for shape in shapes for row in _held(one, shape, held[shape], conditions))]


def _load(one: Opened, opening_ms: Sequence[float], conditions: Conditions) -> Measurement:
    return Measurement(
        target=one.name,
        name="load_ms",
        value=median(opening_ms),
        unit="ms",
        low=min(opening_ms) if len(opening_ms) > 1 else None,
        high=max(opening_ms) if len(opening_ms) > 1 else None,
        count=len(opening_ms),
        higher_is_better=False,
        conditions=ran_on(one, conditions)
        | {
            "of": "weights, from disk to the first output; tokenizer not counted",
            "imports": "counted" if len(opening_ms) == 1 else "not counted",
            "disk": "read before",
            "interval": "smallest to largest",
        },
    )


def _held(one: Opened, shape: Shape, held: Held, conditions: Conditions) -> Iterator[Measurement]:
    """Peak memory at a shape, on the host and, if there is one, on the GPU; an example's energy where it is counted."""
    at = ran_on(one, conditions) | {"batch": shape.batch, "tokens": shape.tokens}
    kinds = [("host", held.host, {"includes": "libraries", "since": "shape" if held.reset else "start"})]
    if held.gpu is not None:
        kinds.append(("gpu", held.gpu, {"includes": "weights and workspace"}))
    for of, value, about in kinds:
        yield Measurement(
            target=one.name,
            name="peak_memory_bytes",
            value=value,
            unit="bytes",
            higher_is_better=False,
            conditions=at | {"of": of} | about,
        )
    if held.joules is not None:
        yield Measurement(
            target=one.name,
            name="energy_joules",
            value=held.joules / shape.batch,
            unit="J",
            count=held.calls * shape.batch,
            higher_is_better=False,
            conditions=at | {"of": held.metered},
        )

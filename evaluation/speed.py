"""Speed: all targets timed in interleaved blocks, at fixed shapes and on real texts, and how much faster each one is.

One target is timed a second time in every sitting, as its own twin. How far the ratio of the two lies from 1 is the
noise floor of that shape: a speed-up whose interval does not clear 1 by it is a tie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from compress.deploy import Shape
from compress.errors import ModelError
from compress.inputs import timing_inputs
from compress.runtimes.timing import Enough, Limits, take_turns
from evaluation import statistics
from evaluation.apart import parcels
from evaluation.measurement import Comparison, Measurement
from evaluation.rounds import beyond_noise, off_by, paired_ratio
from evaluation.seat import Seat, Seated, Texts, Tokenizing
from evaluation.sitting import TOKENIZATION, Conditions, Opened, Progress, Timed, ran_on
from evaluation.worker import Worker

LIMITS = Limits(block_seconds=0.25, block_calls=10, fewest_calls=1)
"""Many short blocks: a disturbed one then is one of many, and a round is over before the machine's speed has moved."""

ENOUGH = Enough(rounds=8, seconds=50.0)
"""Long calls scatter less, and need fewer rounds: without this a batch of 32 would take most of a sitting's time."""

TEXTS = 128
"""Texts of the split that are read one at a time."""
TEXT_BLOCK_SECONDS = 0.4
"""What the slowest target may take for the texts of one block."""
_FEWEST_TEXTS = 8

BEYOND_P99 = 10
"""Counted calls that have to lie beyond a 99th percentile before it is one."""

_PERCENTILES = (("latency_p50_ms", 50.0), ("latency_p95_ms", 95.0), ("latency_p99_ms", 99.0))
_TWIN = " (again)"


def time_all(opened: Sequence[Opened], conditions: Conditions, progress: Progress, *, texts: bool = True) -> None:
    """Time all targets at every shape; and, with `texts`, on real texts where the model reads text."""
    if not opened:
        return
    shapes = conditions.deploy.shapes
    reads = texts and opened[0].subject.bundle.task.modality == "text"
    pieces = len(shapes) + reads
    with _seats(opened, conditions) as seats:
        for index, shape in enumerate(shapes):
            _time_shape(opened, seats, shape, conditions, _part(progress, index, pieces))
        if reads:
            _time_texts(opened, seats, conditions, _part(progress, pieces - 1, pieces))


def speed_rows(one: Opened, conditions: Conditions) -> list[Measurement]:
    """Percentiles and throughput of all that was timed, and the noise floors where this target was timed twice."""
    rows: list[Measurement] = []
    for timed, rounds in one.times.items():
        about = ran_on(one, conditions) | _conditions(one, timed, conditions)
        rows += _latencies(one, rounds, about, conditions)
        rows.append(_throughput(one, rounds, about, conditions))
        if timed in one.twin:
            rows.append(_noise(one, timed, about))
    return rows


def speed_comparisons(one: Opened, baseline: Opened, conditions: Conditions) -> list[Comparison]:
    """The speed-up at every shape, and on real texts."""
    rows = []
    for timed, rounds in one.times.items():
        found = paired_ratio(baseline.times[timed], rounds)
        noise = one.noise.get(timed)
        about = _conditions(one, timed, conditions)
        rows.append(
            Comparison(
                target=one.name,
                baseline=baseline.name,
                name="speedup",
                unit="ratio",
                noise=noise,
                count=len(rounds),
                verdict=beyond_noise(found, noise or 0.0),
                conditions=about | {"rounds": len(rounds)},
                **vars(found),
            )
        )
    return rows


def _latencies(
    one: Opened, rounds: Sequence[np.ndarray], about: dict[str, Any], conditions: Conditions
) -> Iterator[Measurement]:
    count = sum(len(block) for block in rounds)
    for name, percentile in _PERCENTILES:
        found = statistics.percentile_interval(rounds, percentile, seed=conditions.seed)
        if name == "latency_p99_ms" and int((np.concatenate(rounds) > found.value).sum()) < BEYOND_P99:
            continue
        yield Measurement(
            target=one.name,
            name=name,
            unit="ms",
            count=count,
            higher_is_better=False,
            conditions=about,
            **vars(found),
        )


def _throughput(
    one: Opened, rounds: Sequence[np.ndarray], about: dict[str, Any], conditions: Conditions
) -> Measurement:
    """Examples a second: the batch over the mean time of a call, rounds resampled."""
    sums = np.array([[block.sum(), len(block)] for block in rounds])

    def per_second(evidence: np.ndarray) -> np.ndarray:
        total_ms, calls = evidence.sum(axis=-2)[..., 0], evidence.sum(axis=-2)[..., 1]
        return np.asarray(1000 * about["batch"] * calls / total_ms)

    return Measurement(
        target=one.name,
        name="throughput_per_s",
        unit="examples/s",
        count=int(sums[:, 1].sum()),
        higher_is_better=True,
        conditions=about,
        **vars(statistics.interval_of(per_second, sums, seed=conditions.seed)),
    )


def _noise(one: Opened, timed: Timed, about: dict[str, Any]) -> Measurement:
    """The ratio of a target to itself, larger over smaller."""
    found = paired_ratio(one.times[timed], one.twin[timed])
    if found.value < 1:
        found = statistics.Interval(1 / found.value, 1 / found.high, 1 / found.low)
    return Measurement(
        target=one.name,
        name="noise",
        unit="ratio",
        count=len(one.twin[timed]),
        higher_is_better=False,
        conditions=about,
        **vars(found),
    )


def _conditions(one: Opened, timed: Timed, conditions: Conditions) -> dict[str, Any]:
    """What was run: a shape, or texts."""
    about: dict[str, Any] = {"processes": conditions.processes}
    if isinstance(timed, Shape):
        return {"batch": timed.batch, "tokens": timed.tokens} | about
    return {"inputs": "texts", "batch": 1, "tokenization": timed, "mean_tokens": one.mean_tokens} | about


def _part(progress: Progress, index: int, count: int) -> Callable[[float, str], None]:
    """Progress within piece `index` of `count` equal pieces of the timing."""

    def tell(fraction: float, message: str) -> None:
        progress("latency", (index + fraction) / count, message)

    return tell


@contextmanager
def _seats(opened: Sequence[Opened], conditions: Conditions) -> Iterator[dict[str, Seated]]:
    """Where each target, and the twin of one, is timed: in this process, or each in one of its own."""
    twin = _twin_of(opened)
    named = {one.name: one for one in opened} | {twin.name + _TWIN: twin}
    if conditions.processes == "one":
        yield {
            name: Seat(one.session, one.subject.bundle.processor, conditions.device, LIMITS)
            for name, one in named.items()
        }
        return
    with ExitStack() as closing:
        packed = closing.enter_context(parcels(opened, conditions, with_processor=True))
        seats: dict[str, Seated] = {}
        for name, one in named.items():
            parcel = packed[one.name]
            if isinstance(parcel, str):
                raise ModelError(
                    f"{one.name}: can't be timed in a process of its own: {parcel}; measure in one process"
                )
            worker = Worker(name, parcel, LIMITS)
            closing.callback(worker.close)
            seats[name] = worker
        yield seats


def _twin_of(opened: Sequence[Opened]) -> Opened:
    """The target that is timed twice."""
    return opened[0]


def _time_shape(
    opened: Sequence[Opened],
    seats: Mapping[str, Seated],
    shape: Shape,
    conditions: Conditions,
    progress: Callable[[float, str], None],
) -> None:
    twin = _twin_of(opened)
    for one in opened:
        inputs = timing_inputs(one.subject.bundle, conditions.test, shape)
        seats[one.name].take(inputs)
        if one is twin:
            seats[one.name + _TWIN].take(inputs)
    times = take_turns(
        seats,
        seed=conditions.seed,
        rounds=conditions.rounds,
        enough=ENOUGH,
        progress=lambda part, text: progress(part, f"{shape}, {text}"),
    )
    _keep(opened, shape, times)


def _time_texts(
    opened: Sequence[Opened],
    seats: Mapping[str, Seated],
    conditions: Conditions,
    progress: Callable[[float, str], None],
) -> None:
    """The same texts in the same order for every target; fewer in a block where the slowest takes long for one."""
    twin = _twin_of(opened)
    slowest_ms = 0.0
    for one in opened:
        texts = _texts(one, conditions)
        one.mean_tokens = _mean_tokens(one, texts)
        for name in (one.name, one.name + _TWIN) if one is twin else (one.name,):
            seats[name].read(texts)
            slowest_ms = max(slowest_ms, seats[name].warm_up())
    count = int(np.clip(1000 * TEXT_BLOCK_SECONDS / max(slowest_ms, 1e-3), _FEWEST_TEXTS, TEXTS))
    for seat in seats.values():
        seat.read_in_blocks_of(count)
    times = take_turns(
        seats,
        seed=conditions.seed,
        rounds=conditions.rounds,
        enough=ENOUGH,
        progress=lambda part, text: progress(part, f"texts, {text}"),
    )
    for column, tokenization in enumerate(TOKENIZATION):
        _keep(opened, tokenization, {name: [block[:, column] for block in times[name]] for name in times})


def _texts(one: Opened, conditions: Conditions) -> Texts:
    """A sample of the split, drawn by the seed; second texts where the task reads both in one row."""
    test, bundle = conditions.test, one.subject.bundle
    drawn = np.random.default_rng(conditions.seed).permutation(len(test))[:TEXTS]
    chosen = test.rows(drawn)
    word = np.ones(1, dtype=np.int64)
    together = chosen.pairs is not None and bundle.task.rows([word, word], (2, 3), bundle.max_tokens)[0].max() == 1
    return Texts(chosen.texts, chosen.pairs if together else None, bundle.max_tokens)


def _mean_tokens(one: Opened, texts: Texts) -> float:
    tokenize = Tokenizing(one.subject.bundle.processor, texts.max_tokens)
    return round(float(np.mean([tokenize(*text)["input_ids"].shape[-1] for text in texts.each()])), 1)


def _keep(opened: Sequence[Opened], timed: Timed, times: Mapping[str, list[np.ndarray]]) -> None:
    """Each target's rounds, the twin's, and the noise floor that holds for all of them."""
    twin = _twin_of(opened)
    twin.twin[timed] = times[twin.name + _TWIN]
    noise = off_by(paired_ratio(times[twin.name], twin.twin[timed]))
    for one in opened:
        one.times[timed] = times[one.name]
        one.noise[timed] = noise

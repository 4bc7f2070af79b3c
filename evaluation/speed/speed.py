"""Speed: all targets timed in interleaved blocks, at fixed shapes and on real texts, and how much faster each one is.

One target of every runtime is opened and timed a second time, as its own twin: on the first target's runtime that one,
which all are compared with; on others the last, which a recipe is about. How far the ratio of the two lies from 1 is
that runtime's noise floor at that shape: a speed-up whose interval does not clear 1 by the joint floor of its two sides
is a tie.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from compress.deploy import Shape
from compress.errors import ModelError
from compress.inputs import timing_inputs
from compress.recipe import FEWEST_ROUNDS, SECONDS_A_ROUND
from compress.runtime import Session
from compress.runtimes.timing import Enough, Limits, take_turns
from evaluation.measurement import Comparison, Measurement
from evaluation.sitting import TOKENIZATION, Conditions, Opened, Progress, Read, Timed, ran_on
from evaluation.speed.apart import parcels
from evaluation.speed.percentiles import percentile_interval
from evaluation.speed.rounds import beyond_noise, joint_floor, off_by, paired_ratio
from evaluation.speed.seat import Seat, Seated, Texts, Tokenizing
from evaluation.speed.worker import Worker
from evaluation.statistics.intervals import Interval, interval_of

LIMITS = Limits(block_seconds=0.1, block_calls=5, pause_seconds=0.03, warmup_calls=3, fewest_calls=1)
"""Many short blocks, with short pauses: what a shared machine does changes within a second, so the closer two blocks
lie, the more of it they share. `make bench-measuring` tries whether other runtimes' threads sleep by then, by timing
each runtime beside the others and alone."""

TEXTS = 128
"""Texts of the split that are read."""
TEXT_BLOCK_SECONDS = 0.15
"""What the slowest target may take for the texts of one block."""
_FEWEST_BATCHES = 2

BEYOND_P99 = 10
"""Counted calls that have to lie beyond a 99th percentile before it is one."""

_PERCENTILES = (("latency_p50_ms", 50.0), ("latency_p95_ms", 95.0), ("latency_p99_ms", 99.0))


def time_all(opened: Sequence[Opened], conditions: Conditions, progress: Progress, *, texts: bool = True) -> None:
    """Time all targets at every shape; and, with `texts`, on real texts where the model reads text."""
    if not opened:
        return
    shapes = conditions.deploy.shapes
    reads = texts and opened[0].subject.bundle.task.modality == "text"
    pieces: list[Shape | int] = [*shapes, *(dict.fromkeys(shape.batch for shape in shapes) if reads else ())]
    last = time.monotonic() + SECONDS_A_ROUND * conditions.rounds * len(_sitters(opened))
    with _seats(opened, conditions) as seats:
        for index, piece in enumerate(pieces):
            enough = Enough(FEWEST_ROUNDS, (last - time.monotonic()) / (len(pieces) - index))
            tell = _part(progress, index, len(pieces))
            if isinstance(piece, Shape):
                _time_shape(opened, seats, piece, conditions, enough, tell)
            else:
                _time_texts(opened, seats, piece, conditions, enough, tell)


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
        floors = [each.noise[timed] for each in (baseline, one) if timed in each.noise]
        noise = joint_floor(*floors) if len(floors) == 2 else None
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
        found = percentile_interval(rounds, percentile, seed=conditions.seed)
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
        **vars(interval_of(per_second, sums, seed=conditions.seed)),
    )


def _noise(one: Opened, timed: Timed, about: dict[str, Any]) -> Measurement:
    """The ratio of a target to itself, larger over smaller."""
    found = paired_ratio(one.times[timed], one.twin[timed])
    if found.value < 1:
        found = Interval(1 / found.value, 1 / found.high, 1 / found.low)
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
    texts = {"inputs": "texts", "batch": timed.batch, "tokenization": timed.tokenization}
    return texts | {"mean_tokens": one.mean_tokens.get(timed.batch)} | about


def _part(progress: Progress, index: int, count: int) -> Callable[[float, str], None]:
    """Progress within piece `index` of `count` equal pieces of the timing."""

    def tell(fraction: float, message: str) -> None:
        progress("latency", (index + fraction) / count, message)

    return tell


@contextmanager
def _seats(opened: Sequence[Opened], conditions: Conditions) -> Iterator[dict[str, Seated]]:
    """Where each target, and each twin, is timed: in this process, or each in one of its own."""
    named = _sitters(opened)
    with ExitStack() as closing:
        if conditions.processes == "one":
            sessions = {name: _opened_again(one, closing) for name, one in _twins(opened).items()}
            yield {
                name: Seat(sessions.get(name, one.session), one.subject.bundle.processor, conditions.device, LIMITS)
                for name, one in named.items()
            }
            return
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


def _opened_again(one: Opened, closing: ExitStack) -> Session:
    """A session of the twin's own; where there is no room for another, both share one."""
    if one.reopen is None:
        return one.session
    try:
        session = one.reopen()
    except Exception:  # whatever a runtime raises when memory is out: a twin is no reason to measure nothing
        return one.session
    closing.callback(session.close)
    return session


def _twins(opened: Sequence[Opened]) -> dict[str, Opened]:
    """The target of each runtime that is timed twice, by a name for its twin that no target has."""
    first = opened[0].subject.target.runtime
    last = {one.subject.target.runtime: one for one in opened if one.subject.target.runtime != first}
    named = {}
    for one in (opened[0], *last.values()):
        name = f"{one.name} (again)"
        while name in {other.name for other in opened}:
            name += "'"
        named[name] = one
    return named


def _sitters(opened: Sequence[Opened]) -> dict[str, Opened]:
    """Whom each seat is for, by the seat's name."""
    return {one.name: one for one in opened} | _twins(opened)


def _names_of(one: Opened, opened: Sequence[Opened]) -> list[str]:
    """The seats that a target has: two where it is timed twice."""
    return [name for name, sitter in _sitters(opened).items() if sitter is one]


def _time_shape(
    opened: Sequence[Opened],
    seats: Mapping[str, Seated],
    shape: Shape,
    conditions: Conditions,
    enough: Enough,
    progress: Callable[[float, str], None],
) -> None:
    for one in opened:
        inputs = timing_inputs(one.subject.bundle, conditions.test, shape)
        for name in _names_of(one, opened):
            seats[name].take(inputs)
    times = take_turns(
        seats,
        seed=conditions.seed,
        rounds=conditions.rounds,
        enough=enough,
        progress=lambda part, text: progress(part, f"{shape}, {text}"),
    )
    _keep(opened, shape, times)


def _time_texts(
    opened: Sequence[Opened],
    seats: Mapping[str, Seated],
    batch: int,
    conditions: Conditions,
    enough: Enough,
    progress: Callable[[float, str], None],
) -> None:
    """The same texts in the same order for every target; fewer in a block where the slowest takes long for them."""
    slowest_ms = 0.0
    most = min(one.subject.bundle.max_tokens for one in opened)  # all read as much
    for one in opened:
        texts = _texts(one, conditions, batch, most)
        one.mean_tokens[batch] = _mean_tokens(one, texts)
        for name in _names_of(one, opened):
            seats[name].read(texts)
            slowest_ms = max(slowest_ms, seats[name].warm_up())
    count = int(np.clip(1000 * TEXT_BLOCK_SECONDS / max(slowest_ms, 1e-3), _FEWEST_BATCHES, TEXTS))
    for seat in seats.values():
        seat.read_in_blocks_of(count)
    times = take_turns(
        seats,
        seed=conditions.seed,
        rounds=conditions.rounds,
        enough=enough,
        progress=lambda part, text: progress(part, f"{batch} texts at a time, {text}"),
    )
    for column, tokenization in enumerate(TOKENIZATION):
        _keep(opened, Read(batch, tokenization), {name: [block[:, column] for block in times[name]] for name in times})


def _texts(one: Opened, conditions: Conditions, batch: int, most: int) -> Texts:
    """A sample of the split, drawn by the seed and repeated where it fills no batch; second texts where the task reads
    both in one row."""
    test, bundle = conditions.test, one.subject.bundle
    drawn = np.random.default_rng(conditions.seed).permutation(len(test))[: max(TEXTS, batch)]
    chosen = test.rows(np.resize(drawn, max(len(drawn), batch)))
    word = np.ones(1, dtype=np.int64)
    together = chosen.pairs is not None and bundle.task.rows([word, word], (2, 3), most)[0].max() == 1
    return Texts(chosen.texts, chosen.pairs if together else None, most, batch)


def _mean_tokens(one: Opened, texts: Texts) -> float:
    """Of a text, padding left out."""
    tokenize = Tokenizing(one.subject.bundle.processor, texts.max_tokens)
    batches = texts.batches()
    tokens = sum(int(tokenize(*batch)["attention_mask"].sum()) for batch in batches)
    return round(tokens / (texts.batch * len(batches)), 1)


def _keep(opened: Sequence[Opened], timed: Timed, times: Mapping[str, list[np.ndarray]]) -> None:
    """Each target's rounds, the twins', and each runtime's noise floor."""
    floors: dict[str, float] = {}
    for name, twin in _twins(opened).items():
        twin.twin[timed] = times[name]
        floors[twin.subject.target.runtime] = off_by(paired_ratio(times[twin.name], times[name]))
    for one in opened:
        one.times[timed] = times[one.name]
        one.noise[timed] = floors[one.subject.target.runtime]

"""What a million requests cost, from a machine's price and its measured throughput."""

from __future__ import annotations

from collections.abc import Iterable

from compress.price import Price
from evaluation.measurement import Measurement

REQUESTS = 1_000_000
_SECONDS = 3600


def cost_rows(speed: Iterable[Measurement], price: Price | None) -> list[Measurement]:
    """The cost of a million requests for every throughput at a fixed shape; nothing where no price is given.

    A request is one example. The machine is taken to be busy all the time with what was timed, and paid by the hour.
    """
    if price is None:
        return []
    return [_cost(row, price) for row in speed if row.name == "throughput_per_s" and "tokens" in row.conditions]


def _cost(row: Measurement, price: Price) -> Measurement:
    def of(throughput: float | None) -> float | None:
        return None if throughput is None else price.per_hour / _SECONDS / throughput * REQUESTS

    value = of(row.value)
    assert value is not None, "a throughput has a value"
    return Measurement(
        target=row.target,
        name="cost_per_million",
        value=value,
        unit=price.currency,
        low=of(row.high),  # the faster, the cheaper
        high=of(row.low),
        count=row.count,
        higher_is_better=False,
        conditions=row.conditions
        | {"of": "the whole machine", "price_per_hour": price.per_hour, "currency": price.currency},
    )

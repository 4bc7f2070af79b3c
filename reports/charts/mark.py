"""A figure in a chart: its value, the ends of its interval, and what a reader is told who points at it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import altair as alt


@dataclass(frozen=True)
class Mark:
    """A value with the ends of its interval, where it has one, and the words for it.

    `text` is the figure as it is written beside the mark; `interval`, `count` and `conditions` show on pointing at it.
    `counted` is what the count is of, where that is neither examples nor calls.
    """

    value: float
    low: float | None
    high: float | None
    text: str
    interval: str = ""
    count: int | None = None
    conditions: str = ""
    counted: str = ""

    def row(self) -> dict[str, Any]:
        """The mark as a row of a chart's data.

        >>> Mark(2.0, 1.0, 3.0, "2 ms", "1 to 3", 40).row()["text"]
        '2 ms'
        """
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "text": self.text,
            "interval": self.interval or "none",
            "count": "not counted" if self.count is None else f"{self.count:,} {self.counted}".rstrip(),
            "conditions": self.conditions or "none",
        }

    def scaled(self, factor: float) -> Mark:
        """The same figure in a unit that is `factor` times as large."""
        low, high = (None if end is None else end / factor for end in (self.low, self.high))
        return replace(self, value=self.value / factor, low=low, high=high)


def tooltip(*first: alt.Tooltip, figure: str = "figure") -> list[alt.Tooltip]:
    """What shows on pointing at a mark of `Mark.row`: what comes first, then figure, interval, count, conditions."""
    return [
        *first,
        alt.Tooltip("text:N", title=figure),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("count:N", title="n"),
        alt.Tooltip("conditions:N", title="conditions"),
    ]

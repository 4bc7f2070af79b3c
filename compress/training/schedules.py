"""Learning-rate schedules: how the rate rises and falls over a training run."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from compress.settings import Settings


class Schedule(Settings):
    """A linear warm-up, then a decay. `factor` multiplies the learning rate.

    `inverse_sqrt` falls with the square root of the step, as in Vaswani et al. 2017, "Attention Is All You Need",
    section 5.3, scaled to peak at 1; `linear` and `cosine` fall to 0 at the last step.
    """

    kind: Literal["inverse_sqrt", "linear", "cosine", "constant"] = "inverse_sqrt"
    warmup: float = Field(0.06, ge=0, lt=1, description="fraction of all steps in which the rate rises")

    def factor(self, step: int, steps: int) -> float:
        """The multiplier at `step` (from 0) of `steps`.

        >>> schedule = Schedule(kind="linear", warmup=0.5)
        >>> [schedule.factor(step, 4) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
        """
        rising = max(1, round(self.warmup * steps))
        if step < rising and self.warmup > 0:
            return (step + 1) / rising
        if self.kind == "inverse_sqrt":
            return math.sqrt(rising / (step + 1))
        if self.kind == "constant":
            return 1.0
        # Counted so that the first step after the warm-up has the full rate and the last one still moves.
        left = (steps - step) / max(1, steps - (rising if self.warmup > 0 else 0))
        return left if self.kind == "linear" else 0.5 * (1 - math.cos(math.pi * left))

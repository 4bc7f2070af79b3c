"""What the literature claims of each kind of compression: `claims.yaml` read and checked, as `Claim`s."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from compress.errors import DataError

FILE = Path(__file__).with_name("claims.yaml")

What = Literal["distillation", "pruning", "quantization", "export", "attention", "all"]
Seen = Literal["read", "abstract", "transcription", "memory", "brief"]

SEEN_WORDS: dict[Seen, str] = {
    "read": "read in a paper, repository, model card or notebook",
    "abstract": "read in an abstract alone",
    "transcription": "from somebody else's copy of a table",
    "memory": "from memory",
    "brief": "stated in this project's brief",
}
_STAGES: dict[str, What] = {
    "distill": "distillation",
    "prune": "pruning",
    "quantize": "quantization",
    "export": "export",
}
_ROUNDING = {"points": 0.051, "relative": 0.006}
"""How far a stated drop may lie from before and after: sources round each by itself."""


def _as_range(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else (value, value)


Range = Annotated[tuple[float, float], BeforeValidator(_as_range)]
"""Low and high end; equal where the source states one figure."""


class Claim(BaseModel):
    """One published figure: of what, under which conditions, by whom, and how we know it. None is what it leaves out.

    `size_ratio` is bytes before / bytes after, `speedup` time before / time after. `drop` is the quality lost, positive
    when it got worse: in points (accuracy 0.867 to 0.857 is 1 point), or, with `drop_unit` "relative", a fraction.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    what: What
    title: str = Field(min_length=1)
    source: str = Field(min_length=1)
    seen: Seen
    conditions: str = Field(min_length=1)
    size_ratio: Range | None = None
    speedup: Range | None = None
    metric: str | None = None
    before: float | None = None
    after: float | None = None
    drop: Range | None = None
    drop_unit: Literal["points", "relative"] | None = None
    note: str = ""

    @model_validator(mode="after")
    def _says_something_that_holds_together(self) -> Self:
        ranges = {"size_ratio": self.size_ratio, "speedup": self.speedup, "drop": self.drop}
        for name, ends in ranges.items():
            if ends is not None and ends[0] > ends[1]:
                raise ValueError(f"{name} {list(ends)}: the low end comes first")
            if ends is not None and name != "drop" and ends[0] <= 0:
                raise ValueError(f"{name} {list(ends)}: a ratio is above 0")
        if not any(ranges.values()) and self.after is None and not self.note:
            raise ValueError("wanted a figure or a note")
        if (self.drop is None) != (self.drop_unit is None):
            raise ValueError("drop and drop_unit come together")
        self._check_drop()
        return self

    def _check_drop(self) -> None:
        """See that the drop is what before and after make; a relative one is of a metric that is better when lower."""
        if self.drop is None or self.drop_unit is None or self.before is None or self.after is None:
            return
        made = self.before - self.after if self.drop_unit == "points" else self.after / self.before - 1
        if abs(self.drop[0] - made) > _ROUNDING[self.drop_unit]:
            raise ValueError(f"drop {self.drop[0]}: {self.before} to {self.after} is {made:.3g}")


def claims_about(what: What) -> tuple[Claim, ...]:
    """The claims of one kind, in the order of the file."""
    return tuple(claim for claim in claims() if claim.what == what)


def claims_for(stage: str) -> tuple[Claim, ...]:
    """The claims that a stage's figures can be set beside, by the stage's name in a recipe; none for other stages.

    >>> {claim.what for claim in claims_for("prune")}, claims_for("finetune")
    ({'pruning'}, ())
    """
    return claims_about(_STAGES[stage]) if stage in _STAGES else ()


@cache
def claims() -> tuple[Claim, ...]:
    """Every claim, in the order of the file that comes with the project."""
    return read_claims(FILE)


def read_claims(file: Path) -> tuple[Claim, ...]:
    """The claims that a YAML file lists.

    Raises:
        DataError: no such file, not YAML, or an entry is wrong; the message has the first fault and its entry.
    """
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
        return TypeAdapter(tuple[Claim, ...]).validate_python(found)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as fault:
        raise DataError(f"{file}: not readable as YAML: {' '.join(str(fault).split())}") from None
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        message = first["msg"].removeprefix("Value error, ")
        raise DataError(f"{file}: entry {place}: {message} ({fault.error_count()} faults in all)") from None

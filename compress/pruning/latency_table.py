"""What widths take, as measured, and what any choice of them will take by that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from compress.anatomy import Anatomy, Group


@dataclass(frozen=True)
class LatencyTable:
    """What the whole model takes, and what it takes with every layer of an axis at one width.

    Attributes:
        whole_ms: median of a call of the whole model.
        widths: by axis, ascending: units that each layer keeps, and the call's time as a fraction of the whole model's.
            `hidden` and `layers` are axes as well: a hidden size, and how many layers are left.
    """

    whole_ms: float
    widths: Mapping[str, Sequence[tuple[int, float]]]

    def fraction(self, axis: str, units: int) -> float:
        """The call's time at one width of an axis, as a fraction of the whole model's; 1 for an axis not measured."""
        widths = self.widths.get(axis)
        if widths is None:
            return 1.0
        counts, fractions = zip(*widths, strict=True)
        return float(np.interp(units, counts, fractions))

    def narrowest(self, axis: str) -> int:
        return self.widths[axis][0][0] if axis in self.widths else 0

    def rows(self) -> list[dict[str, Any]]:
        """One row a width, for `run.json`."""
        return [
            {"axis": axis, "units": units, "fraction": part, "ms": part * self.whole_ms}
            for axis, widths in self.widths.items()
            for units, part in widths
        ]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LatencyTable:
        read = {axis: [(int(units), float(part)) for units, part in rows] for axis, rows in document["widths"].items()}
        return cls(float(document["whole_ms"]), read)


@dataclass(frozen=True)
class Timed:
    """What parts of a model take, foretold from a table, as fractions of the time that the whole model takes.

    An axis is taken to cost the same in every layer, axes to add up, and a smaller hidden size to shorten all alike.

    Attributes:
        anatomy: of a model that may be cut already, as the steps of a gradual cut find it.
        of: that of the whole model, which the table is of.
    """

    anatomy: Anatomy
    table: LatencyTable
    of: Anatomy

    def group(self, group: Group, units: int) -> float:
        return self._at_hidden * self._above(group.axis, units) * group.repeats

    def layer(self, layer: int) -> float:
        return self._at_hidden * self._bare_layer

    def whole(self) -> float:
        outside = 1.0 - self.of.layers * self._bare_layer - self._inside(self.of)
        return self._at_hidden * (outside + self.anatomy.layers * self._bare_layer + self._inside(self.anatomy))

    def _inside(self, anatomy: Anatomy) -> float:
        """What all groups of a model take, more than with the fewest units each."""
        return sum(self._above(group.axis, group.units) * group.repeats for group in anatomy.groups)

    def _above(self, axis: str, units: int) -> float:
        """What one layer takes with so many units of an axis, more than with the fewest."""
        table = self.table
        return (table.fraction(axis, units) - table.fraction(axis, table.narrowest(axis))) / self.of.layers

    @property
    def _bare_layer(self) -> float:
        """What a layer takes beside its groups' units; 0 where it was not measured, as layers have to stay."""
        fewest = self.table.narrowest("layers")
        if not 0 < fewest < self.of.layers:
            return 0.0
        one = (1.0 - self.table.fraction("layers", fewest)) / (self.of.layers - fewest)
        return max(0.0, one - self._inside(self.of) / self.of.layers)

    @property
    def _at_hidden(self) -> float:
        return self.table.fraction("hidden", self.anatomy.hidden)

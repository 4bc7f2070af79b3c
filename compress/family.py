"""What the toolkit must know of a model family: where its layers, heads and FFN channels are. One file of
`families/` holds one family; this one holds the protocol and finds the family of a config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from compress import catalog
from compress.errors import ModelError

if TYPE_CHECKING:
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.anatomy import Group

Part = Literal["embeddings", "encoder", "head"]


class Family(Protocol):
    """Where a family keeps its parts. Implementations have no state; counts are read from the weights."""

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    """The values of `config.model_type` that this family serves."""

    def tiny(self, labels: int) -> PretrainedConfig:
        """The config of a model small enough for a test, with the family's every peculiarity."""

    def layers(self, model: PreTrainedModel) -> ModuleList:
        """The Transformer layers, in order; the list itself, not a copy."""

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        """Every group of units that can be cut, counted from the weights."""

    def part(self, parameter: str) -> Part:
        """The part of the model that a parameter, or a module, belongs to, by its dotted name."""

    def settle(self, model: PreTrainedModel) -> None:
        """Bring the modules' attributes and the config in line with the weights, after a cut."""

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        """Whether transformers' own class, built from the config alone, has the shapes of this model."""


def family_of(model_type: str) -> Family:
    """The family that serves `model_type`.

    Raises:
        ModelError: no family does; the message names the known ones and how to add one.
    """
    families: list[Family] = [catalog.load("families", name)() for name in catalog.names("families")]
    for family in families:
        if model_type in family.model_types:
            return family
    known = ", ".join(sorted(kind for family in families for kind in family.model_types))
    raise ModelError(
        f"model type {model_type!r} is of no known family; known: {known}. "
        "A family is one file in compress/families/ (see CONTRIBUTING.md, 'Add a family')"
    )

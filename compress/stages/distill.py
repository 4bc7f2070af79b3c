"""Distil the reference into a student made from some of the model's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field, field_validator

from compress.bundle import Form
from compress.errors import ModelError
from compress.settings import Settings
from compress.stage import Context, Sight
from compress.surgery import keep_layers
from compress.training.distillation import SEEN, Distillation, spread, teacher_of

if TYPE_CHECKING:
    from compress.anatomy import Anatomy
    from compress.bundle import Bundle


class Student(Settings):
    """Which layers of the incoming model the student starts from."""

    layers: Annotated[int, Field(ge=1)] | tuple[int, ...] = Field(
        description="a count, spread evenly from first to last; or the layers, from 0"
    )

    def chosen(self, count: int) -> tuple[int, ...]:
        """The layers kept of a model that has `count`."""
        if isinstance(self.layers, int):
            return spread(count, self.layers)
        if any(layer not in range(count) for layer in self.layers):
            raise ModelError(f"distill: layers {list(self.layers)} wanted of a model that has layers 0 to {count - 1}")
        return self.layers

    @field_validator("layers")
    @classmethod
    def _some_and_each_once(cls, layers: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(layers, tuple) and (not layers or list(layers) != sorted(set(layers))):
            raise ValueError(f"wanted layers in rising order, each once; got {list(layers)}")
        return layers


class Distill(Distillation):
    """Teach a smaller model what the reference knows.

    It trains on the training split, and on the transfer split as well where the recipe has one. Without `student` the
    incoming model itself is taught: recovery after a cut.

    Recipe:
        - distill: {student: {layers: 2}, epochs: 1, learning_rate: 1.0e-3, batch: 8}
    """

    consumes: ClassVar[Form] = Form.TORCH
    produces: ClassVar[Form] = Form.TORCH
    sees: ClassVar[tuple[Sight, ...]] = SEEN
    weight_bytes: ClassVar[float | None] = None

    student: Student | None = Field(None, description="left out: the incoming model, with all its layers")

    def apply(self, bundle: Bundle, context: Context) -> Bundle:
        depth = teacher_of(context).anatomy.layers
        if self.student is None:
            return self.teach(bundle, context)
        count = bundle.anatomy.layers
        chosen = self.student.chosen(count)
        student = bundle.with_model(keep_layers(bundle.module, bundle.family, chosen))
        # A student made of chosen teacher layers learns from just those; any other is paired by depth.
        return self.teach(student, context, twins=chosen if count == depth else None)

    def predict(self, anatomy: Anatomy) -> Anatomy:
        """The anatomy that the stage will leave."""
        return anatomy if self.student is None else anatomy.with_layers(self.student.chosen(anatomy.layers))

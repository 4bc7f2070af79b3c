"""The protocols that stages and criteria obey, the settings they are made of, and the context they work in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from compress.catalog import closest

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from compress.anatomy import Anatomy, Group
    from compress.bundle import Bundle
    from compress.data import Split
    from compress.deploy import Deploy


class Form(StrEnum):
    """What a bundle's model is: torch modules, or an ONNX graph."""

    TORCH = "torch"
    ONNX = "onnx"


Sight = Literal["train", "dev", "calibration", "transfer", "deploy", "reference"]


class Settings(BaseModel):
    """Base of everything that a recipe configures: frozen, and unknown keys are refused, with a suggestion."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _suggest_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as fault:
            known = [field.alias or name for name, field in cls.model_fields.items()]
            raise restated(fault, known=known) from None


def _ignore(*_told: object, **_more: object) -> None:
    """What a context tells when nobody listens."""


@dataclass(frozen=True)
class Context:
    """What a stage may see and use besides the bundle. The test split is not here to be reached."""

    train: Split
    dev: Split
    calibration: Split
    deploy: Deploy
    device: torch.device
    seed: int
    scratch: Path
    """An empty folder for the stage's own files. What the returned bundle refers to may lie here."""
    transfer: Split | None = None
    """Further texts to distil on, labelled or not; None where the recipe gives none."""
    reference: Bundle | None = None
    """The model after `prepare`: the teacher. None while it is still being prepared."""
    record: Callable[[str, Any], None] = _ignore
    """`record(name, value)` keeps a curve or a table for `run.json`."""
    check: Callable[..., None] = _ignore
    """`check(name=, limit=, value=, passed=, detail=)` reports a gate; the runner keeps all artifacts, then fails."""
    progress: Callable[[float, str], None] = _ignore
    """`progress(fraction of the stage that is done, what is going on)`."""


@runtime_checkable
class Stage(Protocol):
    """A settings object with one method: a bundle goes in, a new bundle comes out.

    The bundle that goes in is never changed; equal inputs, settings and seed give an equal bundle.
    """

    consumes: ClassVar[Form]
    produces: ClassVar[Form]
    sees: ClassVar[tuple[Sight, ...]]
    """What of the context the stage looks at. The rest is withheld, and leaves a finished stage valid when it changes:
    recipes with different deployments share a teacher."""

    def apply(self, bundle: Bundle, context: Context) -> Bundle: ...

    def predict(self, anatomy: Anatomy) -> Anatomy:
        """The anatomy that the stage would leave, known without running it; `compress plan` asks."""


@runtime_checkable
class Criterion(Protocol):
    """What a unit is worth: one score per unit of each group, higher = keep."""

    def score(self, bundle: Bundle, groups: Sequence[Group], context: Context) -> list[Float[Tensor, "unit"]]: ...


def restated(fault: ValidationError, *, known: Sequence[str] = (), under: tuple[str, ...] = ()) -> ValidationError:
    """The same faults, those of unknown keys with the `known` ones named, all of them `under` some outer key."""
    details: list[InitErrorDetails] = []
    for error in fault.errors(include_url=False):
        text = error["msg"].removeprefix("Value error, ")
        if error["type"] == "extra_forbidden" and len(error["loc"]) == 1 and known:
            text = f"unknown key; known: {', '.join(known)}{closest(str(error['loc'][0]), known)}"
        # Another type, so that an outer level, with other keys, does not restate it again.
        kind = "unknown_key" if error["type"] == "extra_forbidden" else error["type"]
        restating = PydanticCustomError(kind, "{text}", {"text": text})
        details.append(InitErrorDetails(type=restating, loc=(*under, *error["loc"]), input=error["input"]))
    return ValidationError.from_exception_data(fault.title, details)

"""What everything that a recipe configures is made of: `Settings`, and validators that suggest what was meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from compress.catalog import closest


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


def one_of(what: str, names: Iterable[str]) -> AfterValidator:
    """A validator for a plain name that has to be one of `names`; it suggests."""

    def check(value: str) -> str:
        known = tuple(names)
        if value not in known:
            raise ValueError(f"no {what} {value!r}; known: {', '.join(known)}{closest(value, known)}")
        return value

    return AfterValidator(check)


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

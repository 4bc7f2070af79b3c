"""Recipe fields that choose from the catalog: `{use: taylor, batch: 16}` becomes that criterion, set up.

What a field may hold is looked up when a recipe is read, so a new file is a new choice at once. Faults inside the
chosen settings keep their place: the recipe reader turns it into line and column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler, PlainSerializer, PlainValidator, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from compress import catalog
from compress.settings import Settings, restated
from compress.stage import Criterion, Stage


def choose(kind: str, name: Any, body: Any, *, at: str | None) -> Any:
    """Build what `name` stands for from its settings; `at` is the key its faults are to be found under."""
    known = catalog.names(kind)
    if name not in known:
        hint = catalog.closest(str(name), known)
        singular = {"stages": "stage", "criteria": "criterion"}[kind]
        raise PydanticCustomError(
            "unknown_name", "{text}", {"text": f"no {singular} {name!r}; known: {', '.join(known)}{hint}"}
        )
    try:
        return catalog.load(kind, name).model_validate({} if body is None else body)
    except ValidationError as fault:
        raise restated(fault, under=(at,) if at else ()) from None


class _CriterionField:
    """`{use: NAME, **settings}`."""

    @staticmethod
    def read(value: Any) -> Criterion:
        if isinstance(value, Settings) and isinstance(value, Criterion):
            return value
        if not isinstance(value, Mapping) or "use" not in value:
            raise ValueError(f"wanted {{use: NAME, ...}} with one of {', '.join(catalog.names('criteria'))}")
        body = {key: item for key, item in value.items() if key != "use"}
        criterion: Criterion = choose("criteria", value["use"], body, at=None)
        return criterion

    @staticmethod
    def write(value: Any) -> dict[str, Any]:
        return {"use": name_of("criteria", value), **value.model_dump(mode="json")}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [_with_name(handler, name) for name in catalog.names("criteria")]}


class _StageField:
    """`{NAME: settings}`: one key, the stage; under it, its settings."""

    @staticmethod
    def read(value: Any) -> Stage:
        if isinstance(value, Settings) and isinstance(value, Stage):
            return value
        if isinstance(value, str):
            value = {value: None}
        if not isinstance(value, Mapping) or len(value) != 1:
            raise ValueError("wanted one stage: a name, a colon and its settings, as `prune: {...}`")
        [(name, body)] = value.items()
        stage: Stage = choose("stages", name, body, at=str(name))
        return stage

    @staticmethod
    def write(value: Any) -> dict[str, Any]:
        return {name_of("stages", value): value.model_dump(mode="json")}

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        def entry(name: str) -> JsonSchemaValue:
            body = {"anyOf": [handler(catalog.load("stages", name).__pydantic_core_schema__), {"type": "null"}]}
            return {"type": "object", "properties": {name: body}, "required": [name], "additionalProperties": False}

        names = catalog.names("stages")
        return {"anyOf": [{"enum": list(names)}, *(entry(name) for name in names)]}


def name_of(kind: str, value: object) -> str:
    """The name under which the catalog has the value's class."""
    return catalog.name_of(kind, type(value).__module__.rsplit(".", 1)[-1])


def _with_name(handler: GetJsonSchemaHandler, name: str) -> JsonSchemaValue:
    """A criterion's schema with `use` among its keys; written out, as its definition elsewhere has no such key."""
    reference = handler(catalog.load("criteria", name).__pydantic_core_schema__)
    schema = dict(handler.resolve_ref_schema(reference))
    schema["properties"] = {"use": {"const": name}, **schema.get("properties", {})}
    schema["required"] = ["use", *schema.get("required", [])]
    return schema


# The field classes stand last, or the validators' own, empty JSON Schema would take the place of theirs.
CriterionChoice = Annotated[
    Criterion, PlainValidator(_CriterionField.read), PlainSerializer(_CriterionField.write), _CriterionField
]
StageChoice = Annotated[Stage, PlainValidator(_StageField.read), PlainSerializer(_StageField.write), _StageField]

"""Where the result is meant to run: runtime, device, threads, precision, and the input shapes that count."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, field_validator
from pydantic_core import CoreSchema, core_schema

from compress import catalog
from compress.errors import DataError
from compress.settings import Settings, one_of

_SHAPE = r"^[1-9][0-9]*x[1-9][0-9]*$"


@dataclass(frozen=True, order=True)
class Shape:
    """The size of one input: `batch` texts of `tokens` tokens each, written `BATCHxTOKENS`.

    >>> Shape.parse("32x128")
    Shape(batch=32, tokens=128)
    >>> print(Shape(1, 16))
    1x16
    """

    batch: int
    tokens: int

    def __post_init__(self) -> None:
        if self.batch < 1 or self.tokens < 1:
            raise ValueError(
                f"shape {self.batch}x{self.tokens}: wanted a batch and tokens of at least 1, such as 1x128"
            )

    @classmethod
    def parse(cls, text: str) -> Shape:
        """The shape that `text` spells.

        Raises:
            ValueError: `text` is not of the form BATCHxTOKENS.
        """
        if not re.match(_SHAPE, text.strip()):
            raise ValueError(f"shape {text!r}: wanted the form BATCHxTOKENS, two whole numbers from 1 such as 1x128")
        batch, tokens = text.strip().split("x")
        return cls(int(batch), int(tokens))

    def __str__(self) -> str:
        return f"{self.batch}x{self.tokens}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls._read,
            json_schema_input_schema=core_schema.str_schema(pattern=_SHAPE),
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def _read(cls, value: Any) -> Shape:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            return cls.parse(value)
        raise ValueError(f"shape {value!r}: wanted text of the form BATCHxTOKENS, such as 1x128")


_SHAPES = (Shape(1, 16), Shape(1, 128), Shape(32, 128))


class Deploy(Settings):
    """The deployment that stages choose for and that latency is measured on.

    Recipe:
        deploy: {runtime: onnxruntime, device: cpu, threads: 2, precision: int8, shapes: [1x16, 1x128, 32x128]}
    """

    runtime: Annotated[str, one_of("runtime", catalog.names("runtimes"))] = Field(
        "onnxruntime", description="what runs the result: a name that `list runtimes` has"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("cpu", description="auto: a GPU when there is one, else the CPU")
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads; left out: the physical cores this process may use"
    )
    precision: Literal["fp32", "fp16", "bf16", "int8", "int4"] = Field("fp32", description="of the weights")
    shapes: tuple[Shape, ...] = Field(
        _SHAPES,
        description="input shapes to time, batch x tokens",
        # pydantic would write the default as objects, which the schema of an item then refuses
        json_schema_extra={"minItems": 1, "uniqueItems": True, "default": [str(shape) for shape in _SHAPES]},
    )

    @field_validator("shapes")
    @classmethod
    def _some_and_each_once(cls, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
        if not shapes:
            raise ValueError("no shape, wanted at least one such as 1x128")
        for shape, times in Counter(shapes).items():
            if times > 1:
                raise ValueError(f"shape {shape} stands here {times} times, wanted each shape once")
        return shapes

    @property
    def thread_count(self) -> int:
        """`threads`, or the physical cores that this process may use when the recipe leaves them out."""
        return self.threads if self.threads is not None else visible_cores()


def check_shapes(shapes: Sequence[Shape], longest: int, *, only: bool = False) -> None:
    """See that a model that reads `longest` tokens can be timed at every shape.

    Args:
        only: the model reads inputs of just that length, as those of pictures do.

    Raises:
        DataError: a shape is longer, or of another length where there is but one.
    """
    for shape in shapes:
        if only and shape.tokens != longest:
            raise DataError(
                f"shape {shape}: a picture is {longest} tokens to this model; ask for {shape.batch}x{longest}"
            )
        if shape.tokens > longest:
            raise DataError(f"shape {shape}: the model reads {longest} tokens at most; ask for a shorter one")


def visible_cores() -> int:
    """The physical CPU cores that this process may use: no more than its affinity mask and its container allow."""
    import psutil
    from joblib import cpu_count

    # joblib knows affinity masks and container quotas, psutil knows which logical cores share a physical one.
    return min(psutil.cpu_count(logical=False) or cpu_count(), cpu_count())

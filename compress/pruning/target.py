"""How much of a model is to be left: a fraction of what came in, of one of several costs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from compress.anatomy import Anatomy
from compress.deploy import Shape
from compress.settings import Settings

KINDS = ("parameters", "encoder_parameters", "bytes", "flops", "latency")


class Target(Settings):
    """How much is to be left, as a fraction of what came in; exactly one of the five."""

    parameters: float | None = Field(None, gt=0, lt=1, description="fraction of all parameters")
    encoder_parameters: float | None = Field(None, gt=0, lt=1, description="fraction of the layers' parameters")
    bytes: float | None = Field(None, gt=0, lt=1, description="fraction of the weights' bytes, each stored as before")
    flops: float | None = Field(None, gt=0, lt=1, description="fraction of a forward pass's FLOPs")
    latency: float | None = Field(None, gt=0, lt=1, description="fraction of a call's time, exported and measured")
    tokens: int = Field(128, ge=1, description="text length at which FLOPs are counted")
    shape: Shape | None = Field(None, description="where latency is measured; left out: the first of deploy.shapes")
    attention: Literal["fused", "plain"] = Field("fused", description="of the graph that latency is measured on")

    @model_validator(mode="after")
    def _exactly_one(self) -> Target:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"wanted exactly one of {', '.join(KINDS)}; got {given or 'none'}")
        for name, kind in (("tokens", "flops"), ("shape", "latency"), ("attention", "latency")):
            # By value: a resolved recipe spells out every default.
            if kind != self.kind and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is of no meaning to a target in {self.kind}; it goes with {kind}")
        return self

    @property
    def kind(self) -> str:
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def fraction(self) -> float:
        found: float = getattr(self, self.kind)
        return found

    def cost(self, anatomy: Anatomy) -> int:
        """What the target counts, of a whole model; FLOPs stand in for latency where nothing is measured."""
        if self.kind in ("flops", "latency"):
            return anatomy.flops(1, self.tokens if self.shape is None else self.shape.tokens)
        return anatomy.encoder_parameters if self.kind == "encoder_parameters" else anatomy.parameters

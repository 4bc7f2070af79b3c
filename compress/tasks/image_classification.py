"""Image classification: one picture in, one score per class out."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np

from compress.batching import Encoded
from compress.errors import DataError
from compress.processors import pixels_of
from compress.task import Modality
from compress.tasks.one_class import OneClass

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    from compress.data import Split


class ImageClassification(OneClass):
    """One class for each picture; the decision is the class with the highest score."""

    name: ClassVar[str] = "image-classification"
    modality: ClassVar[Modality] = "image"
    head: ClassVar[str] = "ForImageClassification"

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        """Pictures are opened and resized when a batch asks for them: a split of them all would not fit."""
        assert split.pictures is not None, "a task of modality image is given pictures"
        pixels = _Pixels(split.pictures, processor)
        count = len(split)
        return Encoded(
            {"pixel_values": pixels},
            lengths=np.full(count, max_tokens, dtype=np.int64),
            example=np.arange(count, dtype=np.int64),
            labels=None if split.labels is None else list(split.labels),
        )

    def decide(self, predictions: Float[np.ndarray, "example label"]) -> Int[np.ndarray, "example"]:
        return predictions.argmax(axis=-1)


@dataclass(frozen=True)
class _Pixels(Sequence[np.ndarray]):
    """Pictures as the model's input, each made when it is asked for: float32 (channels, height, width)."""

    pictures: Sequence[Path | bytes]
    processor: Any

    def __len__(self) -> int:
        return len(self.pictures)

    @overload
    def __getitem__(self, place: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[np.ndarray]: ...
    def __getitem__(self, place: int | slice) -> np.ndarray | Sequence[np.ndarray]:
        if isinstance(place, slice):
            return _Pixels(self.pictures[place], self.processor)
        from PIL import Image, UnidentifiedImageError

        picture = self.pictures[place]
        try:
            with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as opened:
                return pixels_of(opened, self.processor)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError) as fault:
            shown = f"picture {place}" if isinstance(picture, bytes) else picture
            raise DataError(f"{shown}: not a picture that can be read ({fault})") from None

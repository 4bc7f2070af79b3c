"""What turns texts or pictures into a model's inputs: the tokenizer, or the image processor, of a hub folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.errors import ModelError
from compress.family import Family

if TYPE_CHECKING:
    from jaxtyping import Float
    from PIL.Image import Image
    from transformers import PreTrainedTokenizerBase

    from compress.task import Modality


def read_processor(folder: Path, family: Family, modality: Modality, config: Mapping[str, Any]) -> Any:
    """The tokenizer or the image processor, set to the inputs that the family's models take.

    Args:
        config: the model's, which says how large its pictures are.

    Raises:
        ModelError: there is none, or not of a kind that can be used, or what it makes is not what the model takes.
    """
    if modality == "image":
        return _image_processor(folder, config)
    tokenizer = _tokenizer(folder)
    largest = max(tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False).values(), default=0)
    if largest >= int(config.get("vocab_size", largest + 1)):
        raise ModelError(
            f"{folder}: tokenizer.json has the id {largest}, config.json a vocab_size of {config['vocab_size']}; "
            "are they of one model?"
        )
    # What the model takes decides: a BERT tokenizer is often saved with models that take no token types.
    typed = "token_type_ids" in tokenizer.model_input_names
    tokenizer.model_input_names = [name for name in family.inputs if typed or name != "token_type_ids"]
    if family.causal:
        _settle_padding(tokenizer, family, config, folder)
    return tokenizer


def pixels_of(picture: Image, processor: Any) -> Float[np.ndarray, "channels height width"]:
    """A picture as the model's input, in float32."""
    made = processor(images=picture.convert("RGB"), return_tensors="np")["pixel_values"][0]
    return np.asarray(made, dtype=np.float32)


def _image_processor(folder: Path, config: Mapping[str, Any]) -> Any:
    """The image processor, once it has made a picture of the model's size out of a blank one of another."""
    from PIL import Image
    from transformers import AutoImageProcessor

    file = folder / "preprocessor_config.json"
    try:
        # The one that needs nothing but Pillow and numpy gives the same pictures everywhere.
        processor = AutoImageProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, backend="pil"
        )
        with np.errstate(all="ignore"):  # a deviation of 0 is told below
            pixels = pixels_of(Image.new("RGB", (53, 37)), processor)
    except Exception as fault:  # what transformers raises for a file that it can't use shares no class
        raise ModelError(f"{file}: no usable image processor: {type(fault).__name__}: {fault}") from fault
    size = config.get("image_size", 224)  # what transformers takes where a config leaves it out
    sides = tuple(size) if isinstance(size, list | tuple) else (size, size)
    wanted = (config.get("num_channels", 3), *sides)
    if pixels.shape != wanted:
        raise ModelError(
            f"{file}: makes pictures of (channels, height, width) {pixels.shape}, and the model takes {wanted} "
            "(image_size, num_channels of config.json); is it that of another model?"
        )
    resample = getattr(processor, "resample", None)
    if not isinstance(resample, int | None):  # transformers would take another filter, and say nothing
        raise ModelError(f"{file}: resample is {str(resample)[:40]!r}, wanted the number of one of Pillow's filters")
    if not np.isfinite(pixels).all():
        raise ModelError(f"{file}: makes pixels that are no numbers; wanted an image_std without zeros")
    return processor


def _tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer without the padding and truncation that its file may ask for.

    sentence-transformers ships `tokenizer.json` files that pad every text to 128 tokens; left on, all time and memory
    would go into padding.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as fault:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{folder}: no usable tokenizer.json: {fault}") from fault
    if not tokenizer.is_fast:
        raise ModelError(f"{folder}: the tokenizer has no tokenizer.json; save it once with a fast tokenizer class")
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # what transformers makes up where there is no file
        raise ModelError(f"{folder}: the tokenizer has no vocabulary; is tokenizer.json missing?")
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    _try_out(tokenizer, folder)
    return tokenizer


def _settle_padding(
    tokenizer: PreTrainedTokenizerBase, family: Family, config: Mapping[str, Any], folder: Path
) -> None:
    """Give a decoder's tokenizer the padding token that the model looks for, or one where neither names any.

    Most decoders were trained without padding. What stands there has no meaning, as nothing attends to it; but a
    classifier takes the last token that is none, so the model's config and the tokenizer have to name the same.
    """
    size = int(config.get("vocab_size", len(tokenizer)))
    named = (config.get("pad_token_id"), *(getattr(tokenizer, f"{kind}_token_id") for kind in ("pad", "eos", "unk")))
    usable = [token for token in named if type(token) is int and 0 <= token < size]
    if not usable:
        raise ModelError(
            f"{folder}: names no padding, end-of-text or unknown token that could fill up shorter texts; "
            "wanted a pad_token in tokenizer_config.json"
        )
    if tokenizer.pad_token_id != usable[0]:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(usable[0])
    if family.pads_behind:
        tokenizer.padding_side = "right"


def _try_out(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Encode a word: a tokenizer.json whose parts do not fit each other loads, and then panics at every text."""
    try:
        tokenizer("a", "b")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as fault:  # a panic in Rust is no Exception
        raise ModelError(f"{folder}: tokenizer.json can't encode a word: {fault}; was it edited by hand?") from None

"""What turns texts or pictures into a model's inputs: the tokenizer, or the image processor, of a hub folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import ModelError
from compress.family import Family

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from compress.task import Modality


def read_processor(folder: Path, family: Family, modality: Modality) -> Any:
    """The tokenizer or the image processor, set to the inputs that the family's models take.

    Raises:
        ModelError: there is none, or not of a kind that can be used.
    """
    if modality == "image":
        return _image_processor(folder)
    tokenizer = _tokenizer(folder)
    # What the model takes decides: a BERT tokenizer is often saved with models that take no token types.
    typed = "token_type_ids" in tokenizer.model_input_names
    tokenizer.model_input_names = [name for name in family.inputs if typed or name != "token_type_ids"]
    return tokenizer


def _image_processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    try:
        # The one that needs nothing but Pillow and numpy gives the same pictures everywhere.
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False, backend="pil")
    except Exception as fault:  # what transformers raises for a file that it can't use shares no class
        raise ModelError(f"{folder}: no usable image processor: {fault}") from fault


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


def _try_out(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Encode a word: a tokenizer.json whose parts do not fit each other loads, and then panics at every text."""
    try:
        tokenizer("a", "b")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as fault:  # a panic in Rust is no Exception
        raise ModelError(f"{folder}: tokenizer.json can't encode a word: {fault}; was it edited by hand?") from None

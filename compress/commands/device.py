"""Which device `auto` means on this machine."""

from compress.errors import ModelError


def resolved_device(name: str) -> str:
    """`cpu` or `cuda`.

    Raises:
        ModelError: `cuda` was asked for, and torch finds none.
    """
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise ModelError("device cuda: torch finds no GPU here; `--device cpu` runs on the processor")
    return "cpu"

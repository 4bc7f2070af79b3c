"""Do something that may fail, and say why it did, in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch


def failure(work: Callable[[], object]) -> str | None:
    """Do it; why it failed, in one line, or None. From a missing compiler to memory, the rest is worth having."""
    try:
        work()
        return None
    except Exception as fault:
        reason = "out of memory" if isinstance(fault, torch.OutOfMemoryError) else _first_line(fault)
    # Only here, as the fault's traceback keeps the call's tensors while it is handled.
    with contextlib.suppress(RuntimeError):  # after some faults of a GPU nothing works on it, this neither
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return reason


def _first_line(fault: Exception) -> str:
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]

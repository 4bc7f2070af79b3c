"""What a call holds on a GPU at its peak, and whether it runs at all."""

from __future__ import annotations

import torch

from bench.gpu.failure import failure
from bench.gpu.timing import Call

MEASURED = "measured"


def peak_bytes(call: Call, device: torch.device) -> int | None:
    """The most that three first calls hold beyond what was there; None where it can't be told."""
    if device.type != "cuda":
        for _ in range(3):
            call()
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def probe(call: Call, device: torch.device) -> tuple[str, int | None]:
    """Whether a call runs at all, in words, and its peak in bytes."""
    peaks: list[int | None] = []
    reason = failure(lambda: peaks.append(peak_bytes(call, device)))
    return (reason, None) if reason else (MEASURED, peaks[0])

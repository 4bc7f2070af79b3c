"""Part 2: attention written out against the fused kernel."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from bench.gpu.failure import failure
from bench.gpu.intervals import interval, median, prefixed, ratio
from bench.gpu.memory import MEASURED, probe
from bench.gpu.models import name_of
from bench.gpu.sitting import Sitting, say
from bench.gpu.timing import Call, time_interleaved

HEADS, HEAD_SIZE = 16, 64
QUOTED = {  # tokens: plain, fused
    2048: ("235 ms", "78 ms"),
    8192: ("3.1 s", "0.9 s"),
    32768: ("out of memory", "4.2 s"),
}
QUOTED_CONDITIONS = "A100, as the project's brief has it; batch, layers and what else these figures hold are not known"


def time_attention(sitting: Sitting) -> None:
    """Part 2: attention written out, its scores materialised, against the fused kernel; forward, batch 1."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    # Torch's own fallback is plain attention: with only fused kernels allowed it fails instead of misleading.
    fused = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
    with torch.inference_mode(), sdpa_kernel(fused):
        for tokens in sitting.effort.attention_tokens:
            say(f"attention at {tokens} tokens")
            row: dict[str, Any] = {"tokens": tokens, "batch": 1, "heads": HEADS, "head_size": HEAD_SIZE}
            row |= {"precision": name_of(sitting.half), "pass": "forward"}
            if tokens in QUOTED and sitting.device.type == "cuda":
                row |= {"quoted_plain": QUOTED[tokens][0], "quoted_fused": QUOTED[tokens][1]}
                row["quoted_conditions"] = QUOTED_CONDITIONS
            reason = failure(partial(_fill_row, row, tokens, sitting))
            row |= {f"{name}_outcome": reason for name in ("plain", "fused") if reason and f"{name}_ms" not in row}
            sitting.findings.attention.append(row)
            sitting.keep(sitting.findings)


def _fill_row(row: dict[str, Any], tokens: int, sitting: Sitting) -> None:
    """Add outcomes, peaks and figures as they come: what was found before a failure stays."""
    source = torch.Generator(sitting.device).manual_seed(sitting.seed)
    shape = (1, HEADS, tokens, HEAD_SIZE)
    query, key, value = (
        torch.randn(shape, generator=source, device=sitting.device, dtype=sitting.half) for _ in range(3)
    )
    calls: dict[str, Call] = {
        "plain": lambda: plain_attention(query, key, value),
        "fused": lambda: torch.nn.functional.scaled_dot_product_attention(query, key, value),
    }
    for name in list(calls):
        row[f"{name}_outcome"], row[f"{name}peak_bytes"] = probe(calls[name], sitting.device)
        if row[f"{name}_outcome"] != MEASURED:
            del calls[name]
    times, failed = time_interleaved(calls, sitting)
    row |= {f"{name}_outcome": reason for name, reason in failed.items()}
    for name, rounds in times.items():
        row |= prefixed(f"{name}_ms", interval(median, rounds, seed=sitting.seed))
    if len(times) == 2:
        row |= prefixed("speedup", interval(ratio, times["plain"], times["fused"], seed=sitting.seed))


def plain_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """softmax(Q K^T / sqrt(d)) V, each step a tensor of its own (Vaswani et al. 2017, equation 1).

    All are (batch, heads, tokens, head size).
    """
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    return torch.softmax(scores, dim=-1) @ value

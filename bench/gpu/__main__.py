"""Measure, write run.json, print a table."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import torch

from bench.gpu.attention import time_attention
from bench.gpu.every_variant import time_model
from bench.gpu.failure import failure
from bench.gpu.models import model_of
from bench.gpu.options import effort_of, options_of
from bench.gpu.record import FILE_NAME, environment_of, table, write
from bench.gpu.sitting import Sitting, skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write run.json, print a table; returns the exit code."""
    options = options_of(arguments)
    device = torch.device(options.device)
    if device.type == "cpu":
        print("no GPU in use: a smaller model on the CPU, which says nothing about a GPU", file=sys.stderr)
    effort = effort_of(device, options.quick, options.shapes)
    keep = partial(write, options, effort, environment_of(device))
    sitting = Sitting(device, effort, options.seed, keep=keep)
    parts = {"every variant": partial(time_model, model_of(options.model, options.size), sitting)}
    parts["attention"] = partial(time_attention, sitting)
    for name, part in parts.items():
        skip(sitting.findings, name, failure(part))
        keep(sitting.findings)
    print(table(sitting.findings))
    print(f"written to {options.output / FILE_NAME}")
    return 0 if sitting.findings.measurements else 1


if __name__ == "__main__":
    sys.exit(main())

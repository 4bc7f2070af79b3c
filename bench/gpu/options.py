"""What the command line asks for, and how much is timed for it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

import bench.gpu
from bench.gpu.models import SIZES
from bench.gpu.sitting import Effort

RECIPE = Path(__file__).parents[2] / "recipes" / "reviews-trio.yaml"


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=(bench.gpu.__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="a model folder as the hub lays it out")
    parser.add_argument("--size", choices=SIZES, help="what to build without a model: bert-base; minilm on a CPU")
    parser.add_argument("--recipe", type=Path, metavar="FILE", help=f"whose shapes to time; default: {RECIPE.name}")
    parser.add_argument("--shapes", type=_shapes, metavar="BxT,...", help="batch x tokens, such as 1x128,32x128")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: reports/published/gpu; runs/gpu-bench on a CPU"
    )
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--quick", action="store_true", help="few rounds of small sizes: does it work here?")
    options = parser.parse_args(arguments)
    if options.device == "auto":
        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(
            "--device cuda: torch finds no CUDA device here; wanted a GPU, its driver and a CUDA build of torch"
        )
    if options.model is not None and not (options.model / "config.json").is_file():
        parser.error(f"--model {options.model}: no config.json there; wanted a model folder")
    options.size = options.size or ("bert-base" if options.device == "cuda" else "minilm")
    _settle_shapes(parser, options)
    # Figures of a CPU must not land where a GPU's are published.
    options.output = options.output or Path("reports/published/gpu" if options.device == "cuda" else "runs/gpu-bench")
    return options


def effort_of(device: torch.device, quick: bool, shapes: tuple[tuple[int, int], ...] | None) -> Effort:
    if device.type == "cuda" and not quick:
        return Effort(shapes or ((1, 128), (32, 128), (32, 512)), (2048, 8192, 32768))
    if device.type == "cuda":
        return Effort(shapes or ((1, 128),), (2048,), rounds=3, block_seconds=0.1)
    if not quick:
        return Effort(shapes or ((1, 128), (8, 128)), (512, 1024, 2048))
    return Effort(shapes or ((1, 16), (2, 32)), (64, 128), rounds=3, block_seconds=0.02, pause_seconds=0.01)


def _settle_shapes(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Read the recipe's shapes, unless others are asked for; `recipe` is then None."""
    if options.shapes is not None:
        options.recipe = None
    elif options.recipe is None and not options.quick and RECIPE.is_file():
        options.recipe = RECIPE
    if options.recipe is None:
        return
    try:
        shapes = yaml.safe_load(options.recipe.read_text(encoding="utf-8"))["deploy"]["shapes"]
        options.shapes = _shapes(",".join(map(str, shapes)))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, argparse.ArgumentTypeError) as fault:
        parser.error(f"--recipe {options.recipe}: {' '.join(str(fault).split())}")
    except (KeyError, TypeError):
        parser.error(f"--recipe {options.recipe}: no deploy.shapes there; give shapes with --shapes 1x128,32x128")


def _shapes(text: str) -> tuple[tuple[int, int], ...]:
    try:
        shapes = tuple((int(batch), int(tokens)) for batch, tokens in (part.split("x") for part in text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted BATCHxTOKENS,... such as 1x128,32x128") from None
    if min(min(shape) for shape in shapes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a batch and tokens of at least 1")
    return shapes

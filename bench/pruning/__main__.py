"""Run the bench of pruning, write a run.json and its page for each part; the exit code is 3 where a promise is broken.

What takes long lies in the folder `--work`, and what is finished there is not made again: a bench that was stopped goes
on.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from bench.pruning.part import Options, tell
from compress.errors import CompressError
from evaluation.measurement import Run, write_run

PARTS = ("oneshot", "latency", "memory", "third")
"""Each a module of this package with a `FOLDER` and a function `found(options)` that gives a `Run`."""
ALL = ",".join(PARTS)
PUBLISHED = Path("reports/published")
WORK = Path("runs/pruning")
ROUNDS = 48
_TABLES = {"train": "data.tables.phrases.source", "validation": "data.tables.sentences.source"}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    asked = _parsed(arguments)
    kept = True
    for name in asked.only.split(","):
        part = import_module(f"bench.pruning.{name}")
        tell(name)
        try:
            run = part.found(_options(asked, name))
        except (CompressError, RuntimeError) as fault:
            print(f"{name}: {fault}", file=sys.stderr)
            return 2
        kept = _write(run, asked.output / part.FOLDER) and kept
    return 0 if kept else 3


def _write(run: Run, folder: Path) -> bool:
    """Whether every promise was kept."""
    from reports.page import write_report

    folder.mkdir(parents=True, exist_ok=True)
    write_run(run, folder)
    print(f"report: {write_report([run], folder)}")
    for gate in run.gates:
        print(
            f"{'kept  ' if gate.passed else 'BROKEN'} {gate.name}: {gate.value:g}, wanted {gate.limit:g}; {gate.detail}"
        )
    return all(gate.passed for gate in run.gates)


def _options(asked: argparse.Namespace, part: str) -> Options:
    data = {"model.source": asked.model, **{path: getattr(asked, name) for name, path in _TABLES.items()}}
    words = ["python", "-m", "bench.pruning", "--only", part]
    words += [] if part not in ("oneshot", "third") else ["--seeds", ",".join(map(str, asked.seeds))]
    words += [] if part != "latency" else ["--rounds", str(asked.rounds)]
    if part != "memory":  # places on this machine are told by name alone
        for name in ("model", *_TABLES):
            words += [f"--{name}", Path(getattr(asked, name)).name]
    return Options(
        data=data,
        validation=asked.validation,
        work=asked.work,
        sweeps=asked.sweeps,
        seeds=asked.seeds,
        rounds=asked.rounds,
        small=asked.small,
        command=shlex.join(words),
    )


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.pruning", description=__doc__)
    parser.add_argument("--only", default=ALL, help=f"parts: {ALL}")
    parser.add_argument("--model", help="the folder of the fine-tuned model; left out: beside the recipe")
    parser.add_argument("--train", help="GLUE's SST-2, train.tsv; left out: beside the recipe")
    parser.add_argument("--validation", help="GLUE's SST-2, validation.tsv; left out: beside the recipe")
    parser.add_argument("--seeds", type=_seeds, default=(13, 14, 15), help="of sweeps and of training, two or more")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of timing, where latency is measured")
    parser.add_argument("--sweeps", type=Path, help="a folder with finished sweeps, as oneshot-13 and kwon-13")
    parser.add_argument("--work", type=Path, default=WORK, help=f"where runs are kept and found again; {WORK}")
    parser.add_argument("--output", type=Path, default=None, help=f"a folder for the parts' folders; {PUBLISHED}")
    parser.add_argument("--small", action="store_true", help="one of each, small models: tries the bench itself out")
    asked = parser.parse_args(arguments)
    if asked.small and asked.output is None:
        parser.error("--small: figures of small models are not to be published; name another folder with --output")
    asked.output = asked.output or PUBLISHED
    if unknown := set(asked.only.split(",")) - set(PARTS):
        parser.error(f"--only: no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    beside = {"model": "sst2-minilm-l6", "train": "sst2/train.tsv", "validation": "sst2/validation.tsv"}
    for name, place in beside.items():
        setattr(asked, name, str(Path(getattr(asked, name) or Path("recipes", place)).resolve()))
    return asked


def _seeds(text: str) -> tuple[int, ...]:
    seeds = tuple(sorted({int(part) for part in text.split(",")}))
    if len(seeds) < 2:
        raise argparse.ArgumentTypeError(
            f"{text}: one seed, wanted two or more, as their spread is part of the figures"
        )
    return seeds


if __name__ == "__main__":
    sys.exit(main())

"""Hold our ONNX files against other toolkits' own; the exit code is 3 where a promise is broken.

The peers are installed into environments of their own below `--work`, and made there; what is there is not made again.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.environments import python_of
from bench.onnx.files import FILES, FLOAT, RESULT
from bench.onnx.making import make, material_of
from bench.onnx.record import as_run
from bench.onnx.sitting import sit
from compress.deploy import Deploy, Shape
from compress.errors import CompressError
from evaluation.measurement import write_run

PUBLISHED = Path("reports/published")
WORK = Path("runs/onnx")
SHAPES = "1x16,1x128,8x128,32x64"
ROUNDS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    from reports.page import write_report

    asked = _parsed(arguments)
    threads = asked.threads or Deploy().thread_count
    try:
        material = material_of(asked.model, asked.train, asked.validation)
        environments = asked.work / "environments"
        files = [file for file in FILES if asked.precision in (None, file.precision)]
        paths, faults = make(files, material, asked.work, environments)
        opened = {}
        for file in files:
            if file.name in paths:
                try:
                    opened[file.name] = (python_of(file.seat, environments), file.runtime, paths[file.name])
                except RuntimeError as fault:
                    faults[file.name] = str(fault)
        shapes = [Shape.parse(shape) for shape in asked.shapes.split(",")]
        about = {"threads": threads, "rounds": asked.rounds, "command": _command(asked)}
        about |= {"date": datetime.now(UTC).strftime("%Y-%m-%d")}
        twins = (RESULT if RESULT in opened else FLOAT,)
        sat = sit(material, opened, shapes, asked.work, threads=threads, rounds=asked.rounds, twins=twins)
    except (CompressError, RuntimeError) as fault:
        print(f"onnx: {fault}", file=sys.stderr)
        return 2
    run = as_run(sat, files, {name: paths[name] for name in opened}, faults, material.test.labels, about)
    folder = asked.output / run.name
    folder.mkdir(parents=True, exist_ok=True)
    write_run(run, folder)
    print(f"report: {write_report([run], folder)}")
    for gate in run.gates:
        print(f"{'kept  ' if gate.passed else 'BROKEN'} {gate.name} of {gate.target}: {gate.detail}")
    return 0 if all(gate.passed for gate in run.gates) else 3


def _command(asked: argparse.Namespace) -> str:
    """Places on this machine are told by name alone."""
    words = ["python", "-m", "bench.onnx", "--rounds", str(asked.rounds), "--shapes", asked.shapes]
    words += ["--threads", str(asked.threads)] if asked.threads else []
    words += ["--precision", asked.precision] if asked.precision else []
    for name in ("model", "train", "validation"):
        words += [f"--{name}", Path(getattr(asked, name)).name]
    return shlex.join(words)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.onnx", description=__doc__)
    parser.add_argument("--model", default="recipes/sst2-minilm-l6", help="the folder of the fine-tuned model")
    parser.add_argument("--train", default="recipes/sst2/train.tsv", help="GLUE's SST-2: what is calibrated on")
    parser.add_argument("--validation", default="recipes/sst2/validation.tsv", help="what is judged on")
    parser.add_argument("--shapes", default=SHAPES, help="batch x tokens, by commas")
    parser.add_argument("--precision", choices=("fp32", "int8"), help="of the files; left out: both")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of timing at each shape; six or more")
    parser.add_argument("--threads", type=int, help="of each runtime; left out: the physical cores")
    parser.add_argument("--work", type=Path, default=WORK, help=f"where files and environments are kept; {WORK}")
    parser.add_argument("--output", type=Path, default=PUBLISHED, help=f"a folder for the report's; {PUBLISHED}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

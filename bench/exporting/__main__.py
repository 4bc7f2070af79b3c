"""Make each file in a process of its own, and time the unevenly cut one; exit code 3 where a promise is broken."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from bench.exporting.cases import CASES, UNEVEN, WHOLE
from bench.exporting.making import COLUMNS
from bench.exporting.record import FOLDER, SHAPE, TWIN, Rounds, as_run
from bench.onnx.making import write_inputs
from bench.onnx.sitting import seated
from compress.commands.options import DataOption, asked_rows
from compress.deploy import Deploy, Shape
from compress.errors import CompressError
from compress.folder import load
from compress.inputs import timing_inputs
from compress.runtimes.timing import take_turns
from evaluation.measurement import write_run

PUBLISHED = Path("reports/published")
ROUNDS = 20
_SHOWN = 2000


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    from reports.page import write_report

    asked = _parsed(arguments)
    threads = Deploy().thread_count
    try:
        with TemporaryDirectory(prefix="exporting-") as work:
            found = {}
            for case in CASES:
                print(case.name, file=sys.stderr, flush=True)
                given = {
                    "case": asdict(case),
                    "model": asked.model,
                    "train": asked.train,
                    "work": f"{work}/{case.name}",
                }
                found[case.name] = json.loads(_said_by(["-m", "bench.exporting.making", json.dumps(given)]))
            started = perf_counter()
            _said_by(["-m", "compress", "export", asked.model, "-o", f"{work}/command"])
            command_s = perf_counter() - started
            times = _times({case.name: Path(found[case.name]["path"]) for case in (WHOLE, UNEVEN)}, asked, Path(work))
    except (CompressError, RuntimeError) as fault:
        print(f"exporting: {fault}", file=sys.stderr)
        return 2
    about = {"threads": threads, "command": _command(asked), "date": datetime.now(UTC).strftime("%Y-%m-%d")}
    run = as_run(found, times, command_s, about)
    folder = asked.output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_run(run, folder)
    print(f"report: {write_report([run], folder)}")
    for gate in run.gates:
        print(f"{'kept  ' if gate.passed else 'BROKEN'} {gate.name} of {gate.target}: {gate.detail}")
    return 0 if all(gate.passed for gate in run.gates) else 3


def _said_by(words: Sequence[str]) -> str:
    """The last line that a process of our own Python says."""
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words[:2])} ends with {done.returncode}: {done.stderr.strip()[-_SHOWN:]}")
    return done.stdout.splitlines()[-1]


def _times(files: Mapping[str, Path], asked: argparse.Namespace, work: Path) -> dict[str, Rounds]:
    """Each file in a process of its own, the first of them in two, timed in turns."""
    from contextlib import ExitStack

    bundle = load(asked.model)
    rows = asked_rows(DataOption(asked.train, COLUMNS), bundle.task, bundle.labels, labelled=False)
    inputs = write_inputs([timing_inputs(bundle, rows, Shape.parse(SHAPE))], work / "timed.npz")
    opened: dict[str, Any] = dict(files) | {WHOLE.name + TWIN: files[WHOLE.name]}
    with ExitStack() as stack:
        players = {
            name: stack.enter_context(seated(Path(sys.executable), "onnxruntime", file, Deploy().thread_count)).at(
                inputs
            )
            for name, file in opened.items()
        }
        found: dict[str, Rounds] = take_turns(players, seed=13, rounds=asked.rounds)
    return found


def _command(asked: argparse.Namespace) -> str:
    """Places on this machine are told by name alone."""
    named = [word for name in ("model", "train") for word in (f"--{name}", Path(getattr(asked, name)).name)]
    return shlex.join(["python", "-m", "bench.exporting", "--rounds", str(asked.rounds), *named])


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.exporting", description=__doc__)
    parser.add_argument("--model", default="recipes/sst2-minilm-l6", help="the folder of the fine-tuned model")
    parser.add_argument("--train", default="recipes/sst2/train.tsv", help="GLUE's SST-2: what is calibrated on")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of timing; six or more")
    parser.add_argument("--output", type=Path, default=PUBLISHED, help=f"a folder for the report's; {PUBLISHED}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

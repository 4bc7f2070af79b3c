"""Have other people's loaders read what we export; the exit code is 3 where one gets other answers.

Their libraries are installed into environments of their own below `--work`, once.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from bench.clients.asking import Told, ask
from bench.clients.clients import CLIENTS, EXPORTS, FILES
from bench.clients.record import FOLDER, as_run
from compress.batching import batches, in_order
from compress.bundle import Bundle
from compress.commands.options import DataOption, asked_rows
from compress.data import Split
from compress.deploy import Deploy
from compress.errors import CompressError
from compress.folder import load
from compress.runtimes.onnxruntime import open_session
from evaluation.measurement import write_run

PUBLISHED = Path("reports/published")
WORK = Path("runs/clients")
COLUMNS = "text=sentence,label=label"
TEXTS = 96
STRANGE = ("", " ", "émigré ☃ 😀 — “naïve”", "UPPER lower", "a fine film " * 120, "\u65e5\u672c\u8a9e", "x" * 300)
"""Texts that tokenizers read differently where one of them is not the same. None is longer than models read: cutting a
text, transformers.js drops its last separator as well, so that its answers on it are others whatever the file."""
_SHOWN = 300


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    from reports.page import write_report

    asked = _parsed(arguments)
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    try:
        bundle = load(asked.model)
        rows = asked_rows(DataOption(asked.texts, COLUMNS), bundle.task, bundle.labels, labelled=False)
        texts = [*rows.take(TEXTS).texts, *STRANGE]
        wanted = {name: _ours(bundle, _exported(name, asked, work), texts) for name in EXPORTS}
    except (CompressError, RuntimeError) as fault:
        print(f"clients: {fault}", file=sys.stderr)
        return 2
    told: dict[tuple[str, str], Told] = {}
    for client in CLIENTS:
        for name in client.reads:
            print(f"{client.name} reads {name}", file=sys.stderr, flush=True)
            length = bundle.max_tokens
            told[client.name, name] = ask(client, work / name, texts, work, work / "environments", length=length)
    about = {"threads": Deploy().thread_count, "command": _command(asked)}
    run = as_run(told, wanted, about | {"date": datetime.now(UTC).strftime("%Y-%m-%d")})
    folder = asked.output / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_run(run, folder)
    print(f"report: {write_report([run], folder)}")
    for gate in run.gates:
        print(f"{'kept  ' if gate.passed else 'BROKEN'} {gate.target}: {gate.detail}")
    return 0 if all(gate.passed for gate in run.gates) else 3


def _exported(name: str, asked: argparse.Namespace, work: Path) -> Path:
    """The folder, as our own command writes it now."""
    folder, options = work / name, list(EXPORTS[name])
    shutil.rmtree(folder, ignore_errors=True)
    if any(one.startswith("int") for one in options):
        options += ["--data", asked.train, "--columns", COLUMNS]
    command = [sys.executable, "-m", "compress", "export", asked.model, "-o", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: compress export ends with {done.returncode}: {done.stderr.strip()[-_SHOWN:]}")
    return folder


def _ours(bundle: Bundle, folder: Path, texts: Sequence[str]) -> np.ndarray:
    """Scores that others' are held against: torch's for float32 and float16, ours of the same file for others."""
    import torch

    from_file = folder.name not in ("float", "web")
    graph = load(str(folder / "onnx" / FILES[folder.name])).graph
    session = open_session(graph, device="cpu", threads=None) if from_file else None
    split = Split("texts", tuple(texts), None, None, bundle.labels)
    found, index = [], []
    for batch in batches(bundle.task.encode(split, bundle.processor, max_tokens=bundle.max_tokens, seed=0), 8):
        if session is not None:
            found.append(session.outputs(batch.inputs).astype(np.float64))
        else:
            with torch.inference_mode():
                fed = {name: torch.from_numpy(value) for name, value in batch.inputs.items()}
                found.append(bundle.task.scores(bundle.module(**fed), fed).numpy().astype(np.float64))
        index.append(batch.index)
    return in_order(found, index)


def _command(asked: argparse.Namespace) -> str:
    """Places on this machine are told by name alone."""
    named = [word for name in ("model", "train", "texts") for word in (f"--{name}", Path(getattr(asked, name)).name)]
    return shlex.join(["python", "-m", "bench.clients", *named])


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.clients", description=__doc__)
    parser.add_argument("--model", default="recipes/sst2-minilm-l6", help="the folder of a classifier")
    parser.add_argument("--train", default="recipes/sst2/train.tsv", help="what integers are calibrated on")
    parser.add_argument("--texts", default="recipes/sst2/validation.tsv", help="what is read")
    parser.add_argument("--work", type=Path, default=WORK, help=f"where files and environments are kept; {WORK}")
    parser.add_argument("--output", type=Path, default=PUBLISHED, help=f"a folder for the report's; {PUBLISHED}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

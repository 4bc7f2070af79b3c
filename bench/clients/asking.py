"""Give a folder to a client, and take its answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.clients.clients import FILES, Client
from bench.environments import node_folder, python_of

LOADERS = Path(__file__).parent / "loaders"
_SHOWN = 300


@dataclass(frozen=True, eq=False)
class Told:
    """What a client said of a file.

    Attributes:
        scores: (texts, labels); None where it could not read the file.
        versions: of its libraries.
        reason: why there are no scores.
    """

    scores: np.ndarray | None
    versions: dict[str, str]
    reason: str = ""


def ask(client: Client, folder: Path, texts: list[str], work: Path, environments: Path, *, length: int) -> Told:
    """A client's scores of the texts by the file that the folder's name stands for.

    Args:
        length: the most tokens that the model reads.
    """
    given, out = work / "texts.json", work / "told.json"
    given.write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    out.unlink(missing_ok=True)
    try:
        command = [*_command(client, environments), str(folder), FILES[folder.name], str(given), str(out), str(length)]
    except RuntimeError as fault:
        return Told(None, {}, str(fault))
    # Nothing of ours is to be found by it, and nothing is fetched.
    away = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=work, env=away)
    if done.returncode or not out.exists():
        said = done.stderr.strip().splitlines() or ["it says nothing"]
        return Told(None, {}, f"{client.loader} ends with exit code {done.returncode}: {said[-1][:_SHOWN]}")
    told = json.loads(out.read_text(encoding="utf-8"))
    return Told(np.array(told["scores"], dtype=np.float64), told["versions"])


def _command(client: Client, environments: Path) -> list[str]:
    if client.environment != "node":
        return [str(python_of(client.environment, environments)), str(LOADERS / client.loader)]
    # Node looks for packages from where the script lies.
    home = node_folder(environments)
    return ["node", str(shutil.copy(LOADERS / client.loader, home))]

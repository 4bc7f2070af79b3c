"""Runs that are killed (signal 9) again and again, then finished: is every weight what an undisturbed run leaves?

Half of the kills come at moments that are uniform over the undisturbed run's time; the others are aimed into writes of
the store or of the run folder: at the n-th change there, or some milliseconds into it. Trainings write a checkpoint
after every step here (see `quick.py`), so kills come between two of them, and in the middle of writing one.
"""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from bench.faults.sample import Sample, outside, quick_command

WEIGHTS = ("*.safetensors", "*.onnx", "*.onnx.data", "*.onnx_data")
LONGEST_S = 1800.0
ATTEMPTS = 10
MOST_KILLS = 3
"""How often one recipe is killed at most before it may go on to its end."""


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed."""

    digests: dict[str, str]
    """Of every weight file of the result, by path."""
    seconds: float
    writes: int
    """Changes of files in the store and in the run folder."""


@dataclass(frozen=True)
class Killed:
    """One recipe, killed, resumed and finished."""

    moments: tuple[str, ...]
    """What the kills were aimed at."""
    landed: int
    """Kills that met a running process; the others came after its end."""
    seconds: float
    """What the last, finishing process took."""
    fault: str
    """What is wrong with the outcome; empty where nothing is."""
    in_training: int = 0
    """Kills that left the checkpoint of a training that had not ended."""
    in_write: int = 0
    """Kills that left a draft: what was to become a file, all of it or a part."""


def undisturbed(sample: Sample) -> Undisturbed:
    """Run the recipe to its end in `sample`.

    Raises:
        RuntimeError: the run fails, and so there is nothing to compare with.
    """
    count = sample.home / "writes.txt"
    started = time.monotonic()
    done = _start(sample, {"FAULTS_COUNT": str(count)})
    _, errors = done.communicate(timeout=LONGEST_S)
    if done.returncode != 0:
        raise RuntimeError(f"the undisturbed run ends with exit code {done.returncode}: {errors[-2000:]}")
    seconds = time.monotonic() - started
    writes = int(count.read_text(encoding="utf-8"))
    count.unlink()
    return Undisturbed(digests(sample.run / "model"), seconds, writes)


def killed(wanted: Undisturbed, good: Sample, home: Path, random: Random) -> Killed:
    """Run the recipe of `good` in the new folder `home`, kill it once or several times, finish it, and compare."""
    sample = Sample(home)
    shutil.copytree(good.home, home, ignore=shutil.ignore_patterns("cache", "run"))
    moments, landed, in_training, in_write = [], 0, 0, 0
    for _ in range(random.randint(1, MOST_KILLS)):
        aim = _at_a_write if random.random() < 0.5 else _at_a_time
        moment, hit = aim(sample, wanted, random)
        moments.append(moment)
        if not hit:
            break  # it is finished
        landed += 1
        in_training += any(sample.cache.rglob("training-*.safetensors"))
        in_write += any(sample.cache.rglob("*.draft"))
    started = time.monotonic()
    done = _start(sample, {})
    _, errors = done.communicate(timeout=LONGEST_S)
    seconds = time.monotonic() - started
    fault = ""
    if done.returncode != 0:
        fault = f"resumed, it ends with exit code {done.returncode}: {errors[-500:]}"
    elif (found := digests(sample.run / "model")) != wanted.digests:
        differing = sorted(
            name for name in wanted.digests.keys() | found if wanted.digests.get(name) != found.get(name)
        )
        fault = f"other bytes in {', '.join(differing)}"
    return Killed(tuple(moments), landed, seconds, fault, in_training, in_write)


def tried(
    wanted: Undisturbed, good: Sample, count: int, seed: int, tell: Callable[[str], object], workers: int = 1
) -> list[Killed]:
    """`count` killed runs in order, `workers` of them at a time, each seeded by its number."""
    found = []
    with ThreadPoolExecutor(workers) as pool:
        for one in pool.map(partial(_landed, wanted, good, seed), range(count)):
            found.append(one)
            told = one.fault or "as undisturbed"
            tell(f"killed {len(found)} of {count} at {', '.join(one.moments)}: {told}")
    return found


def _landed(wanted: Undisturbed, good: Sample, seed: int, number: int) -> Killed:
    """One killed run in a folder and with a store of its own; one that ended before its kill came is done again."""
    random = Random(f"{seed} kill {number}")
    home = good.home.parent / f"killed-{number}"
    for _ in range(ATTEMPTS):
        one = killed(wanted, good, home, random)
        shutil.rmtree(home)
        if one.landed or one.fault:
            break
    return one


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every weight file and ONNX file below a folder, by path."""
    files = sorted(file for pattern in WEIGHTS for file in folder.rglob(pattern))
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _at_a_time(sample: Sample, wanted: Undisturbed, random: Random) -> tuple[str, bool]:
    seconds = random.uniform(0, wanted.seconds)
    process = _start(sample, {})
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
    return f"{seconds:.2f} s", process.returncode == -signal.SIGKILL


def _at_a_write(sample: Sample, wanted: Undisturbed, random: Random) -> tuple[str, bool]:
    number, delay_ms = random.randint(1, wanted.writes), random.choice([0.0, random.uniform(0, 5)])
    process = _start(sample, {"FAULTS_KILL_AT": f"{number}:{delay_ms}"})
    process.communicate(timeout=LONGEST_S)
    return f"change {number} + {delay_ms:.1f} ms", process.returncode == -signal.SIGKILL


def _start(sample: Sample, aims: dict[str, str]) -> subprocess.Popen[str]:
    within = {"FAULTS_WITHIN": f"{sample.cache}:{sample.run}", **aims}
    return subprocess.Popen(
        quick_command("run", sample.recipe.name, "-o", sample.run.name),
        cwd=sample.home,
        env=outside(sample.cache) | within,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )

"""Whether a graph can be carried elsewhere: nothing of this machine stands in it, and stock onnxruntime opens it in a
process that knows nothing of ours."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.graph.inspect import read_proto
from compress.graph.verify import Finding
from compress.inputs import probes

if TYPE_CHECKING:
    from compress.bundle import Bundle, OnnxGraph

# The same machine, library and inputs: what is left is the order in which threads add up.
FRESH_LIMIT = 1e-4
_SHOWN = 3
_AFRESH = """
import sys
import numpy as np
import onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
with np.load(sys.argv[2]) as given:
    fed = {node.name: given[node.name] for node in session.get_inputs()}
names = [node.name for node in session.get_outputs()]
np.savez(sys.argv[3], **dict(zip(names, session.run(names, fed))))
"""
"""What a stranger would write: it imports numpy and onnxruntime, and names no library of operators."""


def nameless(graph: OnnxGraph) -> Finding:
    """No text in the file names a place or a user of this machine: exporters note source paths and stack traces."""
    ours = re.compile("|".join(map(re.escape, sorted(_places(graph), key=len, reverse=True))))
    found = [text for text in _texts(read_proto(graph.path)) if ours.search(text)]
    detail = f"{len(found)} texts in the file name a place or a user of this machine"
    if found:
        detail += f": {'; '.join(text[:80] for text in found[:_SHOWN])}"
    return Finding("nameless", 0, len(found), not found, detail)


def opens_afresh(bundle: Bundle, graph: OnnxGraph, *, seed: int) -> Finding:
    """The largest relative difference of what a fresh process gets from the file, on padded random tokens, from what
    this one does. That process imports onnxruntime alone, and loads no custom operators."""
    from compress.runtimes.onnxruntime import open_session

    name, inputs = list(probes(bundle, seed=seed))[-1]
    outputs = bundle.task.decided_on
    session = open_session(graph, device="cpu", threads=None, outputs=outputs)
    wanted = session.named_outputs(inputs)
    session.close()
    with tempfile.TemporaryDirectory() as folder:
        given, got = Path(folder, "given.npz"), Path(folder, "got.npz")
        np.savez(given, **inputs)  # type: ignore[arg-type]
        # -I: nothing of this folder, of the user's or of PYTHONPATH is imported
        command = [sys.executable, "-I", "-c", _AFRESH, str(graph.path), str(given), str(got)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            return Finding("opens_afresh", FRESH_LIMIT, None, False, f"a fresh process can't run the file: {reason}")
        with np.load(got) as answers:
            worst = max(_difference(answers[output], value) for output, value in wanted.items())
    finite = bool(np.isfinite(worst))
    return Finding(
        "opens_afresh",
        FRESH_LIMIT,
        worst if finite else None,
        finite and worst <= FRESH_LIMIT,
        f"a fresh process with onnxruntime alone differs by {worst:.2g} at most, on {name}",
    )


def _difference(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(got - wanted).max() / max(1.0, float(np.abs(wanted).max())))


def _places(graph: OnnxGraph) -> set[str]:
    """What must not stand in a file: where things lie here, and who is at work."""
    places = {str(Path.home()), str(Path.cwd()), sys.prefix, sys.base_prefix, str(graph.path.parent.resolve())}
    places |= {tempfile.gettempdir() + os.sep, str(Path(__file__).parents[2]), "site-packages", "Traceback (most"}
    with suppress(OSError, KeyError):  # a user without an entry
        user = getpass.getuser()
        places |= {f"{os.sep}{user}{os.sep}"}
    return {place for place in places if len(place) > 1}


def _texts(message: Any) -> Iterator[str]:
    """Every text in a protobuf message, names and notes alike; the weights' bytes are no text."""
    from google.protobuf.message import Message

    waiting = [message]
    while waiting:
        here = waiting.pop()
        for field, value in here.ListFields():
            if field.message_type is not None:
                waiting += [value] if isinstance(value, Message) else list(value)
            elif field.type == field.TYPE_STRING:
                yield from [value] if isinstance(value, str) else value

"""The bench of clients: what differs is seen, and what could not be read is told as it was said."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import environments
from bench.clients import asking
from bench.clients.asking import Told, ask
from bench.clients.clients import CLIENTS, EXPORTS, FILES, Client
from bench.clients.record import LIMITS, as_run
from bench.environments import NEEDS

WANTED = np.array([[2.0, -2.0], [-1.0, 1.0], [0.5, -0.4], [3.0, -2.5]])
ABOUT = {"threads": 1, "command": "python -m bench.clients"}
VERSIONS = {"onnxruntime": "1.32.0"}


def _gate(scores: np.ndarray | None, reason: str = "", folder: str = "float"):
    told = {("optimum", folder): Told(scores, VERSIONS, reason)}
    [gate] = as_run(told, {folder: WANTED}, ABOUT).gates
    return gate


def test_the_same_answers_pass_and_say_by_what_they_were_given():
    gate = _gate(WANTED + 1e-6)
    assert gate.passed
    assert "1.000 of 4 texts are decided alike; onnxruntime 1.32.0" in gate.detail


@pytest.mark.parametrize(
    "scores",
    [
        WANTED + 0.01,
        WANTED[:, ::-1],
        WANTED[[1, 0, 2, 3]],  # in another order
        np.where(WANTED > 2.5, np.nan, WANTED),
        WANTED[:3],
    ],
)
def test_other_answers_do_not(scores: np.ndarray):
    assert not _gate(scores).passed


def test_what_could_not_be_read_is_told():
    gate = _gate(None, "optimum_onnxruntime.py ends with exit code 1: no such operator")
    assert (gate.passed, gate.value) == (False, None)
    assert "no such operator" in gate.detail


def test_integers_may_differ_by_more_but_not_by_as_much_as_a_lost_mask():
    assert _gate(WANTED * 1.04, folder="calibrated").passed
    assert not _gate(WANTED * 1.1, folder="calibrated").passed
    assert set(LIMITS) == set(EXPORTS) == set(FILES)


def test_every_client_has_a_loader_and_an_environment():
    for client in CLIENTS:
        assert (asking.LOADERS / client.loader).exists()
        assert client.environment in {*NEEDS, "node"}
        assert set(client.reads) <= set(EXPORTS)
    for loader in asking.LOADERS.glob("*.*"):
        assert "compress" not in loader.read_text(encoding="utf-8"), "it imports nothing of ours"


def test_a_client_is_asked_in_a_process_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loaders = tmp_path / "loaders"
    loaders.mkdir()
    monkeypatch.setattr(asking, "LOADERS", loaders)
    monkeypatch.setattr(asking, "python_of", lambda *_: Path(sys.executable))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    client = Client("it", "bare", "it.py", ("float",))
    script = loaders / "it.py"
    script.write_text(
        "import json, os, sys\n"
        "folder, file, texts, out, length = sys.argv[1:]\n"
        "scores = [[len(text), int(length)] for text in json.load(open(texts))]\n"
        "json.dump({'versions': {'path': os.environ.get('PYTHONPATH', '')}, 'scores': scores}, open(out, 'w'))\n"
    )
    told = ask(client, tmp_path / "float", ["", "ab", "\u2603"], tmp_path, tmp_path, length=7)
    assert told.scores is not None
    assert told.scores.tolist() == [[0, 7], [2, 7], [1, 7]]
    assert told.versions == {"path": ""}, "nothing of ours is to be found"
    script.write_text("raise ValueError('no such operator')\n")
    told = ask(client, tmp_path / "float", ["a"], tmp_path, tmp_path, length=7)
    assert told.scores is None, "what an earlier client left is not taken for this one's"
    assert told.reason == "it.py ends with exit code 1: ValueError: no such operator"


def test_an_environment_is_made_once_and_again_where_it_was_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[list[str]] = []
    monkeypatch.setattr(environments, "_run", lambda _name, command, **_: asked.append(list(command)))
    for _ in range(2):
        (tmp_path / "bare").mkdir(exist_ok=True)
        python = environments.python_of("bare", tmp_path)
    assert [command[2] for command in asked] == ["venv", "pip"]
    assert python == tmp_path / "bare" / "bin" / "python"
    (tmp_path / "bare" / "ready").unlink()
    environments.python_of("bare", tmp_path)
    assert len(asked) == 4
    monkeypatch.setitem(environments.NEEDS, "bare", ("onnxruntime==1.33.0",))
    environments.python_of("bare", tmp_path)
    assert asked[-1][-1] == "onnxruntime==1.33.0", "what is asked for now, not what was once installed"
    assert environments.python_of("ours", tmp_path) == Path(sys.executable)
    folder = environments.node_folder(tmp_path)
    assert asked[-1][:2] == ["npm", "install"]
    assert json.loads((folder / "package.json").read_text()) == {"private": True}


def test_a_tool_that_is_not_here_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"node: `npm install --silent --prefix` can't be started"):
        environments.node_folder(tmp_path)
    assert not (tmp_path / "node" / "ready").exists()

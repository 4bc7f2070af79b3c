"""Nothing of somebody else's is run or followed, and nothing of this machine is given away."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from small_run import Small, command, copy_of, finished_run, run_small

from compress.documents import json_list, json_object
from compress.errors import ExportError, ModelError
from compress.external_data import check_external_data, external_files
from compress.leaks import leaks
from compress.security import PICKLES, check_weights, printable, refuse_code

PUBLISHED = Path(__file__).parents[1] / "reports" / "published"


class Opened:
    """Leaves a folder behind when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.trace),))


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Small:
    return finished_run(tmp_path_factory)


# Pickles


@pytest.mark.parametrize("suffix", PICKLES)
def test_a_folder_with_a_pickle_and_no_safetensors_is_refused_by_name(suffix, tmp_path):
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(b"whatever")
    with pytest.raises(ModelError, match=rf"no \*\.safetensors; weights\{suffix} is a pickle, which can run code"):
        check_weights(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
def test_no_command_opens_a_pickle(name, small, tmp_path, monkeypatch):
    folder, trace = tmp_path / "model", tmp_path / "opened"
    shutil.copytree(small.model, folder)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Opened(trace)))
    monkeypatch.chdir(small.home)
    for words in (
        ("measure", folder, "--data", small.table),
        ("plan", small.recipe, "--set", f"model.source={folder}"),
    ):
        answer = command(monkeypatch, *words)
        assert answer.code == 2
        assert str(folder) in answer.message
        assert "Traceback" not in answer.err
        assert not trace.exists()
    with pytest.raises(FileExistsError):  # the pickle would have done it
        trace.mkdir()
        pickle.loads((folder / name).read_bytes())


@pytest.mark.parametrize(
    "shard", ["pytorch_model.bin", "../other.safetensors", "/tmp/x.safetensors", "a/b.safetensors", 7]
)
def test_an_index_names_safetensors_beside_it_and_nothing_else(shard, tmp_path):
    (tmp_path / "model-1.safetensors").write_bytes(b"")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    check_weights(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "model-1.safetensors", "b": shard}}))
    with pytest.raises(ModelError, match=r"wanted a \*\.safetensors file that lies beside it"):
        check_weights(tmp_path)


# Code


def with_code(folder: Path, file: str = "config.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / file).write_text(json.dumps({"model_type": "bert", "auto_map": {"AutoModel": "modeling.Model"}}))
    return folder


def test_a_folder_without_code_is_fine(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    refuse_code(tmp_path)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "processor_config.json"])
def test_code_of_a_folders_own_is_refused(file, tmp_path):
    with pytest.raises(ModelError, match=rf"{file}: wants Python code .* never done here"):
        refuse_code(with_code(tmp_path, file))


# External data


def graph_file(folder: Path, location: str, **part: int) -> tuple[Path, onnx.ModelProto]:
    """A graph that adds a weight which is kept in `location`."""
    weight = numpy_helper.from_array(np.arange(4, dtype=np.float32), "weight")
    set_external_data(weight, location, **part)
    weight.ClearField("raw_data")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("before", "after")]
    node = helper.make_node("Add", ["before", "weight"], ["after"])
    proto = helper.make_model(helper.make_graph([node], "one", ends[:1], ends[1:], [weight]))
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return folder / "model.onnx", onnx.load(folder / "model.onnx", load_external_data=False)


def test_weights_beside_the_graph_are_fine(tmp_path):
    (tmp_path / "model.onnx.data").write_bytes(bytes(16))
    check_external_data(*graph_file(tmp_path, "model.onnx.data", offset=0, length=16))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "weights").write_bytes(bytes(16))
    file, proto = graph_file(tmp_path, "sub/weights")
    assert check_external_data(file, proto) == external_files(file) == (tmp_path / "sub" / "weights",)


@pytest.mark.parametrize(
    "location",
    ["../weights", "/etc/hosts", "sub/../../weights", "..\\weights", "C:\\weights", "", ".", "a\0b", "w" * 5_000],
)
def test_weights_outside_the_graphs_folder_are_refused(location, tmp_path):
    (tmp_path / "weights").write_bytes(bytes(16))
    (folder := tmp_path / "model").mkdir()
    with pytest.raises(ExportError, match=r"model\.onnx: weight is kept in"):
        check_external_data(*graph_file(folder, location))


@pytest.mark.parametrize("linked", ["weights", "sub"])
def test_weights_through_a_link_are_refused(linked, tmp_path):
    (outside := tmp_path / "outside").mkdir()
    (outside / "weights").write_bytes(bytes(16))
    (folder := tmp_path / "model").mkdir()
    (folder / linked).symlink_to(outside / "weights" if linked == "weights" else outside)
    with pytest.raises(ExportError, match="a link; wanted what it leads to"):
        check_external_data(*graph_file(folder, "weights" if linked == "weights" else "sub/weights"))


@pytest.mark.parametrize("part", [{"offset": 10**18}, {"length": 17}, {"offset": 12, "length": 8}, {"length": -1}])
def test_a_part_that_the_file_does_not_have_is_refused(part, tmp_path):
    (tmp_path / "weights").write_bytes(bytes(16))
    with pytest.raises(ExportError, match=r"ends beyond|wanted a number of bytes"):
        check_external_data(*graph_file(tmp_path, "weights", **part))


def test_links_that_lead_to_each_other_are_refused(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(ExportError, match="a link"):
        check_external_data(*graph_file(tmp_path, "one"))


def test_weights_in_a_graph_within_the_graph_are_looked_at_too(tmp_path):
    _, inner = graph_file(tmp_path, "../weights")
    node = helper.make_node("If", ["condition"], ["after"], then_branch=inner.graph, else_branch=inner.graph)
    condition = helper.make_tensor_value_info("condition", TensorProto.BOOL, [])
    outer = helper.make_model(helper.make_graph([node], "outer", [condition], [inner.graph.output[0]]))
    with pytest.raises(ExportError, match=r"kept in '\.\./weights'"):
        check_external_data(tmp_path / "model.onnx", outer)


# JSON


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000, b"{", b"", b"\xff", b"[]", b'{"a": ' + b"9" * 5_000 + b"}"]
)
def test_what_is_no_json_object_is_refused_with_its_file(text, tmp_path):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(ModelError, match=r"config\.json: "):
        json_object(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("text", "message"), [("{}", "holds a dict"), ("7", "holds a int"), ("[{}, 1]", "entry 1 is a int"), ("[", "JSON")]
)
def test_what_is_no_list_of_json_objects_is_refused_with_its_file(text, message, tmp_path):
    (tmp_path / "modules.json").write_text(text)
    with pytest.raises(ModelError, match=rf"modules\.json: .*{message}"):
        json_list(tmp_path / "modules.json")
    (tmp_path / "modules.json").write_text('[{"a": 1}]')
    assert json_list(tmp_path / "modules.json") == [{"a": 1}]


# What is given away


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("see /home/alice/models/bert", "an absolute path"),
        ("see /tmp/compress-x1y2", "an absolute path"),
        (r'"C:\\Users\\alice"', "an absolute path"),
        ("file:///x", "an absolute path"),
        ("source: ../../../home/alice/secret/model", "a way to somebody's home folder"),
        (r"..\\..\\Users\\alice", "a way to somebody's home folder"),
        ("hf_" + "a1" * 17, "a token"),
        ("ghp_" + "a1" * 18, "a token"),
        ("AKIA" + "A1" * 8, "a token"),
        ("Traceback (most recent call last):", "a stack trace"),
        ('File "x/y.py", line 3', "a stack trace"),
    ],
)
def test_a_leak_is_found_in_text_in_binary_and_in_zipped_files(text, what, tmp_path):
    (tmp_path / "a.txt").write_text(f"x {text} y")
    (tmp_path / "b.bin").write_bytes(b"\x00\xff " + text.encode() + b"\x00")
    with zipfile.ZipFile(tmp_path / "c.npz", "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("d", "x" * 1_000 + f" {text} ")
    found = leaks(tmp_path)
    assert [line.partition(": ")[0] for line in found] == ["a.txt", "b.bin", "c.npz"]
    assert all(what in line for line in found)


def test_the_names_of_user_and_machine_are_leaks(tmp_path, monkeypatch):
    monkeypatch.setattr("compress.leaks.getpass.getuser", lambda: "mallory7")
    monkeypatch.setattr("compress.leaks.platform.node", lambda: "weathertop")
    (tmp_path / "a.txt").write_text("made by mallory7 on weathertop; not by mallory77")
    (tmp_path / "b.txt").write_text("mallory77 and weathertop-2")
    assert len(leaks(tmp_path)) == 2


def test_ordinary_text_is_no_leak(tmp_path):
    (tmp_path / "page.html").write_text(
        '<a href="../x/home/y">and/or</a> https://example.org/home/alice and/tmp/x :root{} </etc/> sk-learn'
    )
    assert leaks(tmp_path) == []


def test_a_finished_run_gives_nothing_away(small):
    assert leaks(small.output) == []


def test_a_finished_run_does_not_tell_where_its_sources_lay(small, tmp_path):
    away = tmp_path / "home" / "zebedee"
    run = copy_of(small, tmp_path / "project")
    away.mkdir(parents=True)
    model, table = run.model.rename(away / "secret-model"), run.table.rename(away / "texts.tsv")
    sources = (f"model.source={model}", f"data.tables.texts.source=../home/zebedee/{table.name}")
    run_small(run, *sources, report=True)
    assert leaks(run.output) == []
    assert [file for file in run.output.rglob("*") if file.is_file() and b"zebedee" in file.read_bytes()] == []
    recipe = (run.output / "recipe.yaml").read_text()
    assert "source: secret-model\n" in recipe
    assert "source: texts.tsv\n" in recipe
    head = [line for line in recipe.splitlines() if line.startswith("#")]
    assert [re.sub(r"sha256:\w{64}$", "sha256", line) for line in head[1:]] == [
        "#   model: secret-model, sha256",
        "#   data.tables.texts: texts.tsv, sha256",
    ]
    (run.output / "recipe.yaml").write_text(recipe.replace("secret-model", os.path.relpath(model, run.output)))
    assert any("home folder" in line for line in leaks(run.output))  # what is looked for would have been found


def test_the_published_runs_give_nothing_away():
    assert leaks(PUBLISHED) == []


def test_what_a_terminal_would_obey_is_shown_and_not_sent():
    assert printable("caf\u00e9 \x1b[31m\r\x07\u202e\nline") == "caf\u00e9 \\x1b[31m\\r\\x07\\u202e\nline"

"""What is refused before anything opens it, and what may not stand in anything that is given away.

A model folder is somebody else's. Pickles and code of its own could run anything; an index of weights or an ONNX file
could name files outside the folder, whose content would then come out in a result.
"""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from compress.errors import ExportError, ModelError

if TYPE_CHECKING:
    import onnx

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
"""Suffixes of files that run code when they are opened as what they are."""

CODE_FILES = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files of a hub folder that may name Python code to load."""

SIZES = (
    *("hidden_size", "intermediate_size", "embedding_size", "dim", "hidden_dim", "vocab_size"),
    *("num_attention_heads", "n_heads", "num_hidden_layers", "n_layers", "num_hidden_groups", "inner_group_num"),
)
"""Keys of a config that count something of which every model has at least one."""

MOST_LAYERS = 1_000
"""Building goes layer by layer, also where no memory stands behind the weights."""

INDEX = "model.safetensors.index.json"


def json_object(file: Path, hint: str = "was the folder copied whole?") -> dict[str, Any]:
    """The JSON object that a file of somebody else's holds.

    Raises:
        ModelError: no such file, not UTF-8, not JSON, nested too deep, a number too long, or no object.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{file}: no such file; {hint}") from None
    except (OSError, ValueError, RecursionError) as fault:
        raise ModelError(f"{file}: not readable as JSON: {fault}") from None
    if not isinstance(document, dict):
        raise ModelError(f"{file}: holds a {type(document).__name__}, wanted a JSON object")
    return document


def check_weights(folder: Path) -> None:
    """See that a folder's weights are safetensors, all of them in it. Nothing but their index is opened.

    Raises:
        ModelError: only pickles, or an index that names other files than safetensors of this folder.
    """
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES) if folder.is_dir() else []
    if not any(folder.glob("*.safetensors")):
        hint = f"; {pickles[0]} is a pickle, which can run code when opened: convert it first" if pickles else ""
        raise ModelError(f"{folder}: no *.safetensors{hint}")
    index = folder / INDEX
    if not index.exists():
        return
    shards = json_object(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ModelError(f"{index}: has no weight_map, a mapping from a weight's name to its file")
    for shard in shards.values():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ModelError(f"{index}: names {shard!r}; wanted a *.safetensors file that lies beside it")


def check_sizes(config: Mapping[str, Any]) -> None:
    """See that a config's sizes are sizes, before a model is built by them.

    Raises:
        ModelError: one is no positive whole number, or there are more layers than any model has.
    """
    for key in SIZES:
        value = config.get(key, 1)
        if type(value) is not int or value < 1:
            raise ModelError(f"config.json: {key} is {str(value)[:40]!r}, wanted a whole number from 1")
        if key in ("num_hidden_layers", "n_layers", "num_hidden_groups", "inner_group_num") and value > MOST_LAYERS:
            raise ModelError(f"config.json: {key} is {str(value)[:40]}, wanted at most {MOST_LAYERS}")


def refuse_code(folder: Path) -> None:
    """See that a model folder wants no Python code of its own, or of another repository, to be run.

    Raises:
        ModelError: it does, by an `auto_map`; such code is never run.
    """
    for name in CODE_FILES:
        if (folder / name).exists() and "auto_map" in json_object(folder / name):
            raise ModelError(
                f"{folder / name}: wants Python code of its own to be run (auto_map), which is never done here; "
                "a model of a known architecture loads once that key is taken out, a new one needs a family"
            )


def check_external_data(file: Path, proto: onnx.ModelProto) -> None:
    """See that the weights which an ONNX file keeps elsewhere lie in its folder; nothing of them is opened.

    Args:
        file: the ONNX file.
        proto: what it holds, read without its external data.

    Raises:
        ExportError: a name that leads out of the folder, by itself or through a link; no plain file; or a part of it
            that it does not have.
    """
    folder = file.parent.resolve()
    for name, place in _external(proto):
        location = place.get("location", "")
        path = PurePosixPath(location)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in location or ":" in location:
            raise ExportError(f"{file}: {name} is kept in {location!r}; wanted a file in the same folder")
        data = folder.joinpath(*path.parts)
        if data.resolve() != data:
            raise ExportError(f"{file}: {name} is kept in {location!r}, a link; wanted the file itself, copied there")
        if not data.is_file():
            raise ExportError(f"{file}: {name} is kept in {location!r}, which is not there; was it copied along?")
        offset, length = (_count(place, key, f"{file}: {name}") for key in ("offset", "length"))
        if offset + length > data.stat().st_size:
            raise ExportError(f"{file}: {name} ends beyond {location!r}; was that file cut short?")


def printable(text: str) -> str:
    r"""Text without what a terminal would obey, lines kept.

    >>> printable("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\nc'
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


def leaks(folder: Path) -> list[str]:
    """What the files of a folder tell of the machine or of its user: `FILE: WHAT`, sorted; empty is what is wanted.

    Looked for, in text and in binary files and inside zipped ones: absolute paths, this user's and machine's name,
    tokens of usual forms, and stack traces.
    """
    found = set()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        for content in _contents(file):
            for what, pattern in _patterns().items():
                if match := pattern.search(content):
                    shown = match[0][:60].decode("utf-8", "replace")
                    found.add(f"{file.relative_to(folder).as_posix()}: {what}: {printable(shown)!r}")
    return sorted(found)


def _external(proto: onnx.ModelProto) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Name, and what is said of its place, of every tensor that is kept outside the file, wherever in it it stands."""
    import onnx
    from google.protobuf.message import Message

    waiting: list[Any] = [proto]
    while waiting:
        here = waiting.pop()
        if isinstance(here, onnx.TensorProto):
            if here.data_location == onnx.TensorProto.EXTERNAL or here.external_data:
                yield here.name or "a tensor", {entry.key: entry.value for entry in here.external_data}
            continue
        for field, value in here.ListFields():
            if field.message_type is not None:
                waiting += [value] if isinstance(value, Message) else list(value)


def _count(place: Mapping[str, str], key: str, what: str) -> int:
    text = place.get(key, "0")
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise ExportError(f"{what}: its {key} is {text[:40]!r}, wanted a number of bytes")
    return int(text)


def _contents(file: Path) -> Iterator[bytes]:
    yield file.read_bytes()
    if zipfile.is_zipfile(file):  # .npz
        with zipfile.ZipFile(file) as zipped:
            yield from (zipped.read(name) for name in zipped.namelist())


def _patterns() -> dict[str, re.Pattern[bytes]]:
    patterns = {
        "an absolute path": rb"(?<![\w.:/<-])/(?:home|Users|root|tmp|var|private|work|opt|mnt|srv|usr|etc)/[\w.-]{2,}"
        rb"|\b[A-Za-z]:\\\\?(?:Users|Windows|Temp)\b|file:///",
        "a token": rb"\b(?:hf_[A-Za-z0-9]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}"
        rb"|xox[abp]-[\w-]{20,}|eyJ[\w-]{20,}\.eyJ[\w-]{20,})",
        "a stack trace": rb'Traceback \(most recent call last\)|File "[^"\n]+\.py", line \d+',
    }
    home = os.path.expanduser("~")
    own = {"this user's folder": home if len(home) > 5 else "", "this user's name": getpass.getuser()}
    own["this machine's name"] = platform.node()
    patterns |= {
        what: rb"(?<![\w.-])" + re.escape(text.encode()) + rb"(?![\w.-])"
        for what, text in own.items()
        if len(text) > 3 and text not in ("root", "user", "runner", "localhost")  # ordinary words
    }
    return {what: re.compile(pattern) for what, pattern in patterns.items()}

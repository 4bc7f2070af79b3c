"""Malformed safetensors, and pickles in their place, met by `compress measure`."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from bench.faults.cell import OUTSIDE, Trial

FOLDER = "run/model"
FILE = f"{FOLDER}/model.safetensors"
WORDS = ("measure", FOLDER, "--data", "texts.tsv", "--latency", "1x8", "--threads", "1")
PWNED = "pwned"
"""The folder that a pickle makes when somebody opens it."""

Header = dict[str, Any]
Files = dict[str, "bytes | None"]


def makers(good: Mapping[str, bytes]) -> list[Callable[[Random], Trial]]:
    """One maker for each kind of damage."""
    content = good[FILE]

    def of_content(kind: str, damage: Callable[[Random, bytes], bytes], hopeless: bool) -> Callable[[Random], Trial]:
        return lambda random: Trial(
            f"safetensors: {kind}", "by its seed", WORDS, {FILE: damage(random, content)}, hopeless=hopeless
        )

    def of_header(kind: str, damage: Callable[[Random, Header, str], object]) -> Callable[[Random], Trial]:
        def make(random: Random) -> Trial:
            header, data = _parsed(content)
            name = random.choice(sorted(set(header) - {"__metadata__"}))
            damage(random, header, name)
            return Trial(f"safetensors: {kind}", name, WORDS, {FILE: _written(header, data)})

        return make

    def of_files(kind: str, damage: Callable[[Random, bytes], Files]) -> Callable[[Random], Trial]:
        return lambda random: Trial(f"weights: {kind}", "by its seed", WORDS, damage(random, content))

    return [
        *(of_content(kind, damage, hopeless) for kind, (damage, hopeless) in _CONTENT.items()),
        *(of_header(kind, damage) for kind, damage in _HEADERS.items()),
        *(of_files(kind, damage) for kind, damage in _FILES.items()),
    ]


def _parsed(content: bytes) -> tuple[Header, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _written(header: Header, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data


def _length(random: Random, content: bytes) -> bytes:
    length = random.choice([0, 1, 7, 2**31, 10**18, 2**63, 2**64 - 1, len(content), len(content) - 8])
    return length.to_bytes(8, "little") + content[8:]


def _changed_bytes(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 20)):
        changed[random.randrange(2000)] ^= random.randrange(1, 256)  # in the header; elsewhere bytes are weights
    return bytes(changed)


def _nested(random: Random, content: bytes) -> bytes:
    text = b'{"a":' * random.choice([100, 50_000])
    return len(text).to_bytes(8, "little") + text + content


def _not_a_number(random: Random, content: bytes) -> bytes:
    """Every weight of one matrix is NaN, so that every score is."""
    header, data = _parsed(content)
    names = [name for name in sorted(header) if "word_embeddings" in name or "classifier.weight" in name]
    start, end = header[random.choice(names)]["data_offsets"]
    return _written(header, data[:start] + b"\x00\x00\xc0\x7f" * ((end - start) // 4) + data[end:])


_CONTENT: Mapping[str, tuple[Callable[[Random, bytes], bytes], bool]] = {
    "empty": (lambda _random, _content: b"", True),
    "binary": (lambda random, _content: random.randbytes(random.choice([3, 8, 10_000])), True),
    "cut": (lambda random, content: content[: random.randrange(1, len(content))], True),
    "more at its end": (lambda random, content: content + random.randbytes(random.randint(1, 999)), True),
    "a header of another length": (_length, True),
    "a header that is no JSON": (lambda random, content: content[:9] + random.randbytes(200) + content[209:], True),
    "a header that is very deep": (_nested, True),
    "bytes of the header changed": (_changed_bytes, False),
    "NaN in it": (_not_a_number, True),
}


def _reversed(_random: Random, header: Header, name: str) -> None:
    header[name]["data_offsets"].reverse()


def _overlapping(random: Random, header: Header, name: str) -> None:
    other = random.choice(sorted(set(header) - {"__metadata__", name}))
    header[name]["data_offsets"] = list(header[other]["data_offsets"])


def _set(key: str, *values: Any) -> Callable[[Random, Header, str], None]:
    def damage(random: Random, header: Header, name: str) -> None:
        header[name][key] = random.choice(values)

    return damage


_HEADERS: Mapping[str, Callable[[Random, Header, str], object]] = {
    "a type that there is not": _set("dtype", "F33", "", None, 7, "F16", "F64", "I8"),
    "a shape that does not fit": _set("shape", [], [0], [1], [10**18], [10**9, 10**9, 10**9], [2**63], [3, 5, 7]),
    "a shape that is none": _set("shape", [-1, -4], "32", None, [1.5], [[1]], {"a": 1}),
    "offsets beyond the end": _set("data_offsets", [0, 10**18], [2**63, 2**64 - 1], [10**9, 10**9 + 4]),
    "offsets that are none": _set("data_offsets", [], [1], [-4, 0], "0-4", None, [0.5, 4.5]),
    "offsets that run backwards": _reversed,
    "tensors that overlap": _overlapping,
    "a tensor that is missing": lambda _random, header, name: header.pop(name),
    "a tensor of another name": lambda random, header, name: header.update(
        {f"x{random.randrange(99)}": header.pop(name)}
    ),
}


class _Opened:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (PWNED,))


_PICKLE = pickle.dumps(_Opened())


def _zipped_pickle() -> bytes:
    """As `torch.save` writes it."""
    import io
    import zipfile

    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("archive/data.pkl", _PICKLE)
        archive.writestr("archive/version", "3\n")
    return sink.getvalue()


def _index(random: Random, content: bytes) -> Files:
    names = sorted(set(_parsed(content)[0]) - {"__metadata__"})
    shard = random.choice(
        [f"../../../{OUTSIDE}/model.safetensors", "pytorch_model.bin", "/etc/hosts", "nothing.safetensors"]
    )
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, shard)}
    return {
        FILE: None,
        f"{FOLDER}/model.safetensors.index.json": json.dumps(index).encode(),
        f"{FOLDER}/pytorch_model.bin": _zipped_pickle(),
        f"../{OUTSIDE}/model.safetensors": content,
    }


_FILES: Mapping[str, Callable[[Random, bytes], Files]] = {
    "a pickle in their place": lambda random, _content: {
        FILE: None,
        f"{FOLDER}/onnx/model.onnx": None,
        f"{FOLDER}/onnx/model_int8.onnx": None,
        f"{FOLDER}/{random.choice(_PICKLES)}": random.choice([_PICKLE, _zipped_pickle()]),
    },
    "a pickle under their name": lambda random, _content: {FILE: random.choice([_PICKLE, _zipped_pickle()])},
    "an index that leads elsewhere": _index,
}
_PICKLES: tuple[str, ...] = (
    "pytorch_model.bin",
    "model.pt",
    "weights.pth",
    "model.ckpt",
    "model.pkl",
    "pytorch_model-00001-of-00001.bin",
)

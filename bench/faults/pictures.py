"""Malformed pictures, folders of pictures and tables that name pictures, met by `compress measure`."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Mapping
from random import Random

from bench.faults import stock
from bench.faults.cell import OUTSIDE, Trial

FOLDER = f"{stock.HOME}/pictures"
TABLE = f"{stock.HOME}/pictures.jsonl"
SECRET = "secret.png"
"""A good picture where no reader may look."""
_OF_TABLE = tuple(TABLE if word == FOLDER else word for word in stock.VISION)

Files = dict[str, bytes | None]


def makers(good: Mapping[str, bytes]) -> list[Callable[[Random], Trial]]:
    """One maker for each kind of damage."""
    content = {path: good[path] for path in sorted(good) if path.startswith(f"{FOLDER}/")}
    return [
        *(_of_picture(content, kind, damage, hopeless) for kind, (damage, hopeless) in _PICTURES.items()),
        *(_of_folder(content, kind, damage) for kind, damage in _FOLDERS.items()),
        *(_of_table(content, kind, values) for kind, values in _TABLES.items()),
        lambda random: _link(random, content),
    ]


def _of_picture(
    content: Mapping[str, bytes], kind: str, damage: Callable[[Random, bytes], bytes], hopeless: bool
) -> Callable[[Random], Trial]:
    def make(random: Random) -> Trial:
        path = random.choice(list(content))
        return Trial(f"picture: {kind}", path, stock.VISION, {path: damage(random, content[path])}, hopeless=hopeless)

    return make


def _of_folder(
    content: Mapping[str, bytes], kind: str, damage: Callable[[Random, Mapping[str, bytes]], Files]
) -> Callable[[Random], Trial]:
    return lambda random: Trial(f"pictures: {kind}", "by its seed", stock.VISION, damage(random, content))


def _of_table(content: Mapping[str, bytes], kind: str, values: tuple[object, ...]) -> Callable[[Random], Trial]:
    def make(random: Random) -> Trial:
        rows: list[dict[str, object]] = [
            {"image": path.removeprefix(f"{stock.HOME}/"), "label": path.split("/")[-2]} for path in content
        ]
        value = random.choice(values)
        random.choice(rows)["image"] = value
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()
        files: Files = {TABLE: text, f"../{OUTSIDE}/{SECRET}": next(iter(content.values()))}
        return Trial(f"table of pictures: {kind}", f"image is {str(value)[:40]!r}", _OF_TABLE, files)

    return make


def _link(random: Random, content: Mapping[str, bytes]) -> Trial:
    """A picture of the table is a link to one outside; in a folder of pictures, whoever links may."""
    path = f"{stock.HOME}/linked.png"
    row = {"image": "linked.png", "label": random.choice(stock.CLASSES)}
    files: Files = {TABLE: json.dumps(row).encode(), f"../{OUTSIDE}/{SECRET}": next(iter(content.values()))}
    return Trial("table of pictures: a link", path, _OF_TABLE, files, {path: f"../../{OUTSIDE}/{SECRET}"})


def _bytes_changed(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 20)):
        changed[random.randrange(len(changed))] ^= random.randrange(1, 256)
    return bytes(changed)


def _of_size(random: Random, content: bytes) -> bytes:
    """A picture that says it is larger than any memory, or has no size."""
    sides = random.choice([(10**5, 10**5), (2**31 - 1, 2**31 - 1), (0, 0)])
    header = b"IHDR" + struct.pack(">II", *sides) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


_PICTURES: Mapping[str, tuple[Callable[[Random, bytes], bytes], bool]] = {
    "empty": (lambda _random, _content: b"", True),
    "binary": (lambda random, _content: b"\xff" + random.randbytes(random.choice([1, 5_000])), True),
    "cut": (lambda random, content: content[: random.randrange(1, len(content) // 2)], True),
    "no picture": (lambda random, _content: random.choice([b"<svg/>", b"%PDF-1.4", b"text", b"%!PS\nquit\n"]), True),
    "bytes changed": (_bytes_changed, False),
    "of impossible size": (_of_size, True),
}


def _emptied(_random: Random, content: Mapping[str, bytes]) -> Files:
    return dict.fromkeys(content)


def _flat(_random: Random, content: Mapping[str, bytes]) -> Files:
    return {**_emptied(_random, content), f"{FOLDER}/0.png": next(iter(content.values()))}


def _other_class(random: Random, content: Mapping[str, bytes]) -> Files:
    return {f"{FOLDER}/other{random.randrange(99)}/0.png": next(iter(content.values()))}


_FOLDERS: Mapping[str, Callable[[Random, Mapping[str, bytes]], Files]] = {
    "none in it": _emptied,
    "no folder for a class": _flat,
    "a class that the model does not have": _other_class,
}

_TABLES: Mapping[str, tuple[object, ...]] = {
    "a path that leads elsewhere": (
        *(f"../../{OUTSIDE}/{SECRET}", f"pictures/../../../{OUTSIDE}/{SECRET}", "/etc/hosts", "C:\\a.png"),
        *("file:///etc/hosts", "/dev/zero", "..\\a.png"),
    ),
    "a path to nothing": ("nothing.png", "pictures", "pictures/dark", "x" * 5_000, "a\x00b.png", ".", "tags.conll/x"),
    "no path": (17, [1], {"a": 1}, True, 1.5, {"path": 7}, {"bytes": "text"}),
}

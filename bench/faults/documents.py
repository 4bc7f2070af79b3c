"""Malformed JSON: a model folder's config, tokenizer, anatomy and lineage, and run.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

from bench.faults import weights
from bench.faults.cell import Trial

REPORT = ("report", "run")
PLAN = ("plan", "small.yaml")

Path = tuple[str | int, ...]


def makers(good: Mapping[str, bytes]) -> list[Callable[[Random], Trial]]:
    """One maker for each file and kind of damage."""
    found = []
    for file, words in _FILES.items():
        name = f"{file.split('/')[-1]}{' of the source' if file.startswith('source') else ''}"
        found += [_of_text(good, file, words, f"{name}: {kind}", damage) for kind, damage in _TEXTS.items()]
        found += [_of_values(good, file, words, f"{name}: {kind}", damage) for kind, damage in _VALUES.items()]
        own = _OWN.get(file.split("/")[-1], {})
        found += [_of_own(good, file, words, f"{name}: {kind}", changes) for kind, changes in own.items()]
    return found


_FILES: Mapping[str, tuple[str, ...]] = {
    "run/model/config.json": weights.WORDS,
    "source/config.json": PLAN,
    "run/model/tokenizer.json": weights.WORDS,
    "run/model/tokenizer_config.json": weights.WORDS,
    "run/model/anatomy.json": weights.WORDS,
    "run/model/lineage.json": weights.WORDS,
    "run/run.json": REPORT,
}


def _of_text(
    good: Mapping[str, bytes],
    file: str,
    words: tuple[str, ...],
    kind: str,
    damage: Callable[[Random, bytes], tuple[bytes, bool]],
) -> Callable[[Random], Trial]:
    def make(random: Random) -> Trial:
        content, hopeless = damage(random, good[file])
        return Trial(kind, "by its seed", words, {file: content}, hopeless=hopeless)

    return make


def _of_values(
    good: Mapping[str, bytes],
    file: str,
    words: tuple[str, ...],
    kind: str,
    damage: Callable[[Random, Any], str],
) -> Callable[[Random], Trial]:
    def make(random: Random) -> Trial:
        values = json.loads(good[file])
        what = damage(random, values)
        while values == json.loads(good[file]):  # what stood there was the same already
            what = damage(random, values)
        return Trial(kind, what, words, {file: json.dumps(values).encode()}, hopeless=False)

    return make


def _of_own(
    good: Mapping[str, bytes], file: str, words: tuple[str, ...], kind: str, changes: tuple[tuple[Path, Any], ...]
) -> Callable[[Random], Trial]:
    def make(random: Random) -> Trial:
        path, value = random.choice(changes)
        values = json.loads(good[file])
        here = values
        for key in path[:-1]:
            here = here[key]
        here[path[-1]] = value
        what = f"{'.'.join(map(str, path))} is {str(value)[:40]}"
        # A source gets a new head for the recipe's labels, whatever its own are called.
        hopeless = not (file.startswith("source") and path == ("id2label",))
        return Trial(kind, what, words, {file: json.dumps(values).encode()}, hopeless=hopeless)

    return make


# Damage to the text


def _changed_bytes(random: Random, content: bytes) -> tuple[bytes, bool]:
    changed = bytearray(content)
    for _ in range(random.randint(1, 3)):
        changed[random.randrange(len(changed))] ^= random.randrange(1, 256)
    return bytes(changed), False


def _no_object(random: Random, _content: bytes) -> tuple[bytes, bool]:
    return random.choice([b"", b"[]", b"null", b"17", b'"text"', b"{", b"{}}", b"{'a': 1}", b"\xef\xbb\xbf"]), True


_TEXTS: Mapping[str, Callable[[Random, bytes], tuple[bytes, bool]]] = {
    "no JSON object": _no_object,
    "cut": lambda random, content: (content[: random.randrange(1, len(content) - 2)], True),
    "binary": lambda random, _content: (b"\xff" + random.randbytes(random.choice([1, 5_000])), True),
    "very deep": lambda random, _content: (random.choice([b"[", b'{"a":']) * 100_000, True),
    "bytes changed": _changed_bytes,
}


# Damage to values


def _paths(values: Any, at: Path = ()) -> Iterator[Path]:
    entries = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, value in entries:
        yield (*at, key)
        yield from _paths(value, (*at, key))


def _at(values: Any, path: Path) -> Any:
    for key in path:
        values = values[key]
    return values


def _other_type(random: Random, values: Any) -> str:
    path = random.choice(list(_paths(values)))
    junk = random.choice([None, [], {}, "junk", -1, 10**30, 1e308, True, [[1]], {"a": {"b": 1}}])
    _at(values, path[:-1])[path[-1]] = junk
    return f"{'.'.join(map(str, path))} is {junk!r}"


def _deleted(random: Random, values: Any) -> str:
    path = random.choice(list(_paths(values)))
    del _at(values, path[:-1])[path[-1]]
    return f"without {'.'.join(map(str, path))}"


def _renamed(random: Random, values: Any) -> str:
    path = random.choice([path for path in _paths(values) if isinstance(path[-1], str)])
    owner = _at(values, path[:-1])
    owner[f"{path[-1]}_"] = owner.pop(path[-1])
    return f"{'.'.join(map(str, path))} renamed"


_VALUES: Mapping[str, Callable[[Random, Any], str]] = {
    "a value of another type": _other_type,
    "a key deleted": _deleted,
    "a key renamed": _renamed,
}


# What each file has of its own


def _each(keys: tuple[str, ...], values: tuple[Any, ...]) -> tuple[tuple[Path, Any], ...]:
    return tuple(((key,), value) for key in keys for value in values)


_SIZES = ("hidden_size", "num_attention_heads", "vocab_size", "num_hidden_layers", "intermediate_size")
_OWN: Mapping[str, Mapping[str, tuple[tuple[Path, Any], ...]]] = {
    "config.json": {
        "sizes that are none": _each(_SIZES, (-1, 0, "32", None, 1.5, [32], {})),
        "sizes beyond all memory": _each(_SIZES, (10**9, 10**12, 10**18, 10**30)),
        "a model type that there is not": _each(
            ("model_type",), ("", "nothing", "../bert", None, 7, "__main__", ["bert"])
        ),
        "labels that are none": _each(("id2label",), (None, [], {"1": "a"}, {"x": "a"}, 7, "text")),
        "code of its own": (
            (("auto_map",), {"AutoModel": "modeling.Evil", "AutoConfig": "modeling.EvilConfig"}),
            (("auto_map",), {"AutoModelForSequenceClassification": "other/repository--modeling.Evil"}),
        ),
        "an activation that there is not": _each(("hidden_act",), ("exec", "", None, 7, {"a": 1})),
    },
    "tokenizer.json": {
        "a model that there is not": ((("model",), {"type": "Pickle"}), (("model",), None), (("model", "type"), "x")),
        "a vocabulary that is none": (
            (("model", "vocab"), {}),
            (("model", "vocab"), {"w1": -1}),
            (("model", "vocab"), [1, 2]),
            (("model", "vocab"), {"w1": 10**30}),
        ),
    },
    "tokenizer_config.json": {
        "code of its own": ((("auto_map",), {"AutoTokenizer": ["tokenization.Evil", None]}),),
    },
    "anatomy.json": {
        "a format to come": _each(("format",), (99, None, "1", [])),
        "sizes that are none": (
            (("groups", 0, "units"), -1),
            (("groups", 0, "units"), "4"),
            (("groups", 0, "units"), 10**12),
            (("groups", 0, "units"), 0),
            (("layers",), 10**9),
            (("layers",), -1),
        ),
        "modules that are not there": (
            (("groups", 0, "slices", 0, "module"), "nothing.there"),
            (("groups", 0, "slices", 0, "module"), "__class__"),
            (("groups", 0, "slices", 0, "module"), ""),
        ),
        "groups that are none": _each(("groups",), (None, {}, [[]], [{}], "text", [1])),
        "a task that there is not": _each(("task",), (None, "", "nothing", "../x", 7, [])),
    },
    "lineage.json": {"steps that are none": _each(("steps",), (None, 7, [1], [{}], [{"name": "x"}], "text"))},
    "run.json": {
        "a format to come": _each(("format",), (99, None, "1", [], 1.5)),
        "a figure that is none": (
            (("measurements", 0, "value"), "many"),
            (("measurements", 0, "value"), None),
            (("measurements", 0, "value"), float("nan")),
            (("measurements", 0, "value"), float("inf")),
            (("measurements",), {"a": 1}),
            (("gates",), [{"name": "x"}]),
            (("targets",), [1]),
        ),
    },
}

"""Malformed JSON: what model folders say of themselves, ours and those of the hub, and run.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from bench.faults import stock, weights
from bench.faults.cell import Trial
from bench.faults.nested import Path, dotted, paths, value_at

REPORT = ("report", "run")
PLAN = ("plan", "small.yaml")


Maker = Callable[[Random], Trial]


@dataclass(frozen=True)
class Document:
    """A JSON file of the good folder.

    Attributes:
        words: the command line that meets it.
        of: whose it is, where several folders have one of that name.
        own: the damage to values that is its alone, by kind; by its name where none are given.
    """

    file: str
    words: tuple[str, ...]
    of: str = ""
    own: str = ""

    @property
    def title(self) -> str:
        return self.file.split("/")[-1] + (f" of the {self.of}" if self.of else "")


def makers(good: Mapping[str, bytes]) -> list[Maker]:
    """One maker for each file and kind of damage."""
    found = []
    for document in _DOCUMENTS:
        content = good[document.file]
        found += [_of_text(document, content, kind, damage) for kind, damage in _TEXTS.items()]
        found += [_of_values(document, content, kind, damage) for kind, damage in _VALUES.items()]
        own = _OWN.get(document.own or document.file.split("/")[-1], {})
        found += [_of_own(document, content, kind, changes) for kind, changes in own.items()]
    return found


_DOCUMENTS = (
    Document("run/model/config.json", weights.WORDS),
    Document("source/config.json", PLAN, "source"),
    Document("run/model/tokenizer.json", weights.WORDS),
    Document("run/model/tokenizer_config.json", weights.WORDS),
    Document("run/model/anatomy.json", weights.WORDS),
    Document("run/model/lineage.json", weights.WORDS),
    Document("run/run.json", REPORT),
    Document("stock/classifier/config.json", stock.CLASSIFIER, "stock classifier", "a stock config"),
    Document("stock/classifier/tokenizer.json", stock.CLASSIFIER, "stock classifier"),
    Document("stock/classifier/tokenizer_config.json", stock.CLASSIFIER, "stock classifier"),
    Document("stock/tagger/config.json", stock.TAGGER, "stock tagger", "a stock config"),
    Document("stock/embedder/config.json", stock.EMBEDDER, "stock embedder", "a config without labels"),
    Document("stock/embedder/modules.json", stock.EMBEDDER),
    Document("stock/embedder/1_Pooling/config.json", stock.EMBEDDER, "pooling", "a pooling"),
    Document("stock/embedder/sentence_bert_config.json", stock.EMBEDDER),
    Document("stock/vision/config.json", stock.VISION, "stock vision model", "a config of pictures"),
    Document("stock/vision/preprocessor_config.json", stock.VISION),
)


def _of_text(
    document: Document, content: bytes, kind: str, damage: Callable[[Random, bytes], tuple[bytes, bool]]
) -> Maker:
    def make(random: Random) -> Trial:
        changed, hopeless = damage(random, content)
        return _trial(document, kind, "by its seed", changed, hopeless)

    return make


def _of_values(document: Document, content: bytes, kind: str, damage: Callable[[Random, Any], str]) -> Maker:
    def make(random: Random) -> Trial:
        values = json.loads(content)
        what = damage(random, values)
        while values == json.loads(content):  # what stood there was the same already
            what = damage(random, values)
        return _trial(document, kind, what, json.dumps(values).encode(), False)

    return make


def _of_own(document: Document, content: bytes, kind: str, changes: tuple[tuple[Path, Any], ...]) -> Maker:
    def make(random: Random) -> Trial:
        path, value = random.choice(changes)
        values = json.loads(content)
        if path:
            value_at(values, path[:-1])[path[-1]] = value
        else:
            values = value
        what = f"{dotted(path) or 'all of it'} is {str(value)[:40]}"
        # A source gets a new head for the recipe's labels, whatever its own are called.
        hopeless = not (document.of == "source" and path == ("id2label",))
        return _trial(document, kind, what, json.dumps(values).encode(), hopeless)

    return make


def _trial(document: Document, kind: str, what: str, content: bytes, hopeless: bool) -> Trial:
    return Trial(f"{document.title}: {kind}", what, document.words, {document.file: content}, hopeless=hopeless)


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


def _other_type(random: Random, values: Any) -> str:
    path = random.choice(list(paths(values)))
    junk = random.choice([None, [], {}, "junk", -1, 10**30, 1e308, True, [[1]], {"a": {"b": 1}}])
    value_at(values, path[:-1])[path[-1]] = junk
    return f"{dotted(path)} is {junk!r}"


def _deleted(random: Random, values: Any) -> str:
    path = random.choice(list(paths(values)))
    del value_at(values, path[:-1])[path[-1]]
    return f"without {dotted(path)}"


def _renamed(random: Random, values: Any) -> str:
    path = random.choice([path for path in paths(values) if isinstance(path[-1], str)])
    owner = value_at(values, path[:-1])
    owner[f"{path[-1]}_"] = owner.pop(path[-1])
    return f"{dotted(path)} renamed"


_VALUES: Mapping[str, Callable[[Random, Any], str]] = {
    "a value of another type": _other_type,
    "a key deleted": _deleted,
    "a key renamed": _renamed,
}


# What each file has of its own


def _each(keys: tuple[str, ...], values: tuple[Any, ...]) -> tuple[tuple[Path, Any], ...]:
    return _each_at(tuple((key,) for key in keys), values)


def _each_at(places: tuple[Path, ...], values: tuple[Any, ...]) -> tuple[tuple[Path, Any], ...]:
    return tuple((place, value) for place in places for value in values)


def _each_whole(values: tuple[Any, ...]) -> tuple[tuple[Path, Any], ...]:
    """Values in place of the whole document."""
    return _each_at(((),), values)


_CLASSES: tuple[tuple[Path, Any], ...] = _each(("architectures",), (5, [5], [None], "Nothing", [[]], {}, None, []))
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
    "a stock config": {
        "a class that there is not": _CLASSES,
        "labels that are none": _each(("id2label",), (None, [], {"1": "a"}, {"x": "a"}, 7, "text")),
    },
    "a config without labels": {
        "a class that there is not": _CLASSES,
        "sizes that are none": _each(_SIZES, (-1, 0, "32", None, 1.5, [32], {})),
    },
    "a config of pictures": {
        "a class that there is not": _CLASSES,
        "sizes of a picture that are none": _each(
            ("image_size", "patch_size", "num_channels"), (-1, 0, "8", None, 1.5, [], [8, 8, 8], {}, 10**9)
        ),
        "sizes that its weights do not have": _each(("image_size",), (16, 4, [8, 12])),
    },
    "modules.json": {
        "modules that are none": _each_whole(([1], 7, [{}], {}, [[]], [None], "Pooling", [{"type": 5}])),
        "a module that there is not": _each_at(
            ((1, "type"), (0, "type")), ("sentence_transformers.models.Evil", "os.system", None, 5, [])
        ),
        "a path that leads elsewhere": _each_at(((1, "path"),), ("../elsewhere", "/etc", "nothing", 5, None, "\x00")),
    },
    "a pooling": {
        "a pooling that there is not": (
            *_each(("pooling_mode_mean_tokens",), (False, None, "yes")),
            *_each(("pooling_mode",), ("nothing", 7, ["mean", "cls"], {"a": 1}, [[]])),
            *_each_whole(([1], 7, [], "mean", [{}])),
        ),
    },
    "sentence_bert_config.json": {
        "a length that is none": _each(("max_seq_length",), ("x", -1, 0, 1.5, [24], {}, True)),
        "no object": _each_whole(([], 7, "text", [1])),
    },
    "preprocessor_config.json": {
        "a size that is none": _each(
            ("size",), (-1, 0, "x", {"height": -1, "width": 8}, {"height": 8}, {"a": 1}, {"height": "x", "width": 8})
        ),
        "a size that the model does not take": _each(
            ("size",), ({"height": 4, "width": 8}, {"height": 12, "width": 12})
        ),
        "a size beyond all memory": _each(("size",), ({"height": 10**6, "width": 10**6},)),
        "figures that are none": (
            *_each(("image_mean", "image_std"), ("x", [0.5], {}, ["a", "b", "c"])),
            *_each(("rescale_factor",), ("x", [], {})),
            *_each(("resample",), (99, "x", -1)),
        ),
        "a processor that there is not": (
            *_each(("image_processor_type",), ("Nothing", "../x", 7)),
            (("auto_map",), {"AutoImageProcessor": "processing.Evil"}),
        ),
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

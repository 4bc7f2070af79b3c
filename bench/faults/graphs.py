"""Malformed ONNX files, and ones that keep their weights where they should not, met by `compress measure`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from bench.faults.cell import OUTSIDE, Trial

if TYPE_CHECKING:
    import onnx

FILE = "run/model/onnx/model.onnx"
WORDS = ("measure", FILE, "--data", "texts.tsv", "--latency", "1x8", "--threads", "1")
WEIGHTS = "weights.data"


def makers(good: Mapping[str, bytes]) -> list[Callable[[Random], Trial]]:
    """One maker for each kind of damage."""
    content = good[FILE]

    def of_content(kind: str, damage: Callable[[Random, bytes], bytes], hopeless: bool) -> Callable[[Random], Trial]:
        return lambda random: Trial(
            f"onnx: {kind}", "by its seed", WORDS, {FILE: damage(random, content)}, hopeless=hopeless
        )

    def of_proto(kind: str, damage: Callable[[Random, onnx.ModelProto], object]) -> Callable[[Random], Trial]:
        def make(random: Random) -> Trial:
            import onnx

            proto = onnx.load_from_string(content)
            what = damage(random, proto)
            return Trial(f"onnx: {kind}", str(what or "by its seed"), WORDS, {FILE: proto.SerializeToString()})

        return make

    return [
        *(of_content(kind, damage, hopeless) for kind, (damage, hopeless) in _CONTENT.items()),
        *(of_proto(kind, damage) for kind, damage in _PROTOS.items()),
        *(_elsewhere(content, kind, location, place) for kind, (location, place) in _ELSEWHERE.items()),
        lambda random: _odd_part(random, content),
    ]


def _changed_bytes(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randint(1, 20)):
        changed[random.randrange(len(changed))] ^= random.randrange(1, 256)
    return bytes(changed)


_CONTENT: Mapping[str, tuple[Callable[[Random, bytes], bytes], bool]] = {
    "empty": (lambda _random, _content: b"", True),
    "binary": (lambda random, _content: b"\xff" + random.randbytes(random.choice([1, 9_000])), True),
    "cut": (lambda random, content: content[: random.randrange(1, len(content) - 1)], True),
    "bytes changed": (_changed_bytes, False),
    "a pickle under its name": (
        lambda _random, _content: b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x02os",
        True,
    ),
}


def _node(random: Random, proto: onnx.ModelProto, kind: str | None = None) -> onnx.NodeProto:
    return random.choice([node for node in proto.graph.node if kind in (None, node.op_type)])


def _huge(random: Random, proto: onnx.ModelProto) -> str:
    tensor = random.choice(proto.graph.initializer)
    dims = random.choice([[10**18], [2**40, 2**40], [-1], [2**62, 4]])
    del tensor.dims[:]
    tensor.dims.extend(dims)
    return f"{tensor.name} of shape {dims}"


def _circle(_random: Random, proto: onnx.ModelProto) -> None:
    first, last = proto.graph.node[0], proto.graph.node[-1]
    first.input[0] = last.output[0]


def _inputs(random: Random, proto: onnx.ModelProto) -> None:
    name = random.choice(["input_ids", "attention_mask"])
    for value in proto.graph.input:
        if value.name == name:
            value.name = "other"
    for node in proto.graph.node:
        for index, wanted in enumerate(node.input):
            if wanted == name:
                node.input[index] = "other"


def _opset(random: Random, proto: onnx.ModelProto) -> None:
    for opset in proto.opset_import:
        if opset.domain in ("", "ai.onnx"):
            opset.version = random.choice([0, 999, -1])


_PROTOS: Mapping[str, Callable[[Random, onnx.ModelProto], object]] = {
    "no nodes": lambda _random, proto: proto.graph.ClearField("node"),
    "no outputs": lambda _random, proto: proto.graph.ClearField("output"),
    "inputs of other names": _inputs,
    "an operator that there is not": lambda random, proto: setattr(_node(random, proto), "op_type", "Exec"),
    "a domain that there is not": lambda random, proto: setattr(_node(random, proto), "domain", "evil.example"),
    "operators of a version that there is not": _opset,
    "a format to come": lambda random, proto: setattr(proto, "ir_version", random.choice([999, 10**9])),
    "a weight that is missing": lambda random, proto: proto.graph.initializer.pop(
        random.randrange(len(proto.graph.initializer))
    ),
    "a weight of impossible size": _huge,
    "a circle": _circle,
}


def _kept_in(content: bytes, location: str, **part: Any) -> tuple[bytes, bytes]:
    """The graph with its largest weight kept in a file, and that file's content."""
    import onnx
    from onnx.external_data_helper import set_external_data

    proto = onnx.load_from_string(content)
    tensor = max(proto.graph.initializer, key=lambda one: len(one.raw_data))
    data = tensor.raw_data
    set_external_data(tensor, location, **part)
    tensor.ClearField("raw_data")
    return proto.SerializeToString(), data


def _elsewhere(content: bytes, kind: str, location: str, place: str) -> Callable[[Random], Trial]:
    """A weight that is whole, where a reader that followed its name would find it."""

    def make(random: Random) -> Trial:
        named = location.format(random.randrange(10**6))
        changed, data = _kept_in(content, named)
        files: dict[str, bytes | None] = {FILE: changed}
        links = {}
        if place.startswith("link"):
            files[f"../{OUTSIDE}/{WEIGHTS}"] = data
            links[f"run/model/onnx/{WEIGHTS}"] = f"../../../../{OUTSIDE}/{WEIGHTS}"
        elif place:
            files[place] = data
        return Trial(f"onnx: {kind}", named, WORDS, files, links)

    return make


_ELSEWHERE: Mapping[str, tuple[str, str]] = {
    "weights above its folder": (f"../../../../{OUTSIDE}/{WEIGHTS}", f"../{OUTSIDE}/{WEIGHTS}"),
    "weights beside its folder": (f"../{WEIGHTS}", f"run/model/{WEIGHTS}"),
    "weights by an absolute path": ("/tmp/faults-{}/weights.data", ""),
    "weights in a device": ("/dev/zero", ""),
    "weights through a link": (WEIGHTS, "link"),
    "weights that are not there": ("nothing-{}.data", ""),
}


def _odd_part(random: Random, content: bytes) -> Trial:
    part = random.choice([{"offset": 10**18}, {"length": 10**18}, {"offset": 10**6, "length": 64}, {"length": -5}])
    changed, data = _kept_in(content, WEIGHTS, **part)
    files = {FILE: changed, f"run/model/onnx/{WEIGHTS}": data}
    return Trial("onnx: weights beyond their file's end", str(part), WORDS, files)

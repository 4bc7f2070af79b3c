"""Malformed recipes: mutations of good ones, and what counts as refusing one well.

A mutation that may leave a recipe valid is tried all the same; where it does, another takes its place, and it is
counted: `compress plan` takes the recipe, or refuses it only for what its model or its data turn out to be (a column
that the table does not have), which has no place in the recipe. Where no reader could make sense of a mutation, taking
it is a fault.
"""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import yaml

from bench.faults.cell import Answer, Trial
from bench.faults.nested import Path as Place
from bench.faults.nested import dotted, paths, value_at

FILE = "mutated.yaml"
OPTION = "--set"
SECONDS = 1.0
"""How long a refusal may take, in a process that has its imports behind it."""
LONGEST = 4_000
"""Characters of one line of a message that a person will still read."""

Values = dict[str, Any]
Mutation = Callable[[Random, str], tuple[bytes, str, bool] | None]
"""(random, good recipe) -> content, what was done, hopeless; None where it does not apply to this recipe."""


def mutations(bases: Mapping[str, str], random: Random) -> Iterator[Trial]:
    """Mutations without end, all kinds in turn. `bases`: good recipes by name."""
    while True:
        for kind, mutation in KINDS.items():
            name = random.choice(sorted(bases))
            if made := mutation(random, bases[name]):
                content, what, hopeless = made
                words = ("plan", FILE)
                yield Trial(kind, f"{name}: {what}", words, {FILE: content}, hopeless=hopeless)


def options(random: Random) -> Iterator[Trial]:
    """`--set` that makes no sense, on a good recipe, without end."""
    while True:
        key, value = random.choice(_OPTIONS)
        change = f"{key}{value}".replace("#", str(random.randint(2, 10**6)))
        yield Trial(OPTION, change, ("plan", "small.yaml", "--set", change))


def is_valid(answer: Answer, trial: Trial) -> bool:
    """Whether the mutation left a recipe that is one, as `compress plan` says, or as it reads by itself."""
    if trial.hopeless or answer.escaped or answer.code not in (0, 2):
        return False
    return answer.code == 0 or _reads(trial.files.get(FILE) or b"")


def _reads(content: bytes) -> bool:
    from compress.errors import RecipeError
    from compress.recipe import read_recipe

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, FILE)
        file.write_bytes(content)
        try:
            read_recipe(file)
        except RecipeError:
            return False
    return True


def objection(answer: Answer, trial: Trial, *, seconds: float = SECONDS) -> str:
    """What is wrong with how a malformed recipe was refused; empty where nothing is."""
    if answer.escaped:
        return answer.escaped
    if answer.code != 2:
        return f"exit code {answer.code}"
    if "Traceback" in answer.message:
        return "a traceback"
    if answer.written:
        return f"wrote {answer.written[0]}"
    if answer.seconds >= seconds:
        return f"took {answer.seconds:.2f} s"
    return _unplaced(answer.message, trial)


def _unplaced(message: str, trial: Trial) -> str:
    """What is wrong with a message."""
    lines = message.removeprefix("compress: ").removesuffix("\n").split("\n")
    if re.fullmatch(r"\d+ faults", lines[0]):
        lines = lines[1:]
    if not message.startswith("compress: ") or not lines:
        return f"no message of ours: {message[:80]!r}"
    return next(filter(None, (_unplaced_line(line, trial) for line in lines)), "")


def _unplaced_line(line: str, trial: Trial) -> str:
    """What is wrong with one line of a message."""
    if len(line) > LONGEST:
        return f"a line of {len(line)} characters"
    if not line.isprintable():
        return f"a line with characters that a terminal would obey: {line[:80]!r}"
    placed = re.match(r"[^:]+:(?P<line>[1-9]\d*):[1-9]\d*: \S", line)
    if trial.kind == OPTION:  # what stands on the command line has no line and column
        return "" if placed or line.startswith("--set ") else f"names neither a place nor the option: {line[:120]!r}"
    if not placed:
        return f"no line and column: {line[:120]!r}"
    if int(placed["line"]) > (trial.files[FILE] or b"").count(b"\n") + 2:
        return f"a line that the file does not have: {line[:120]!r}"
    return ""


# Mutations of values


def _dumped(values: Any) -> bytes:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode()


def _picked(random: Random, values: Values, fits: Callable[[Any], bool]) -> Place | None:
    fitting = [path for path in paths(values) if fits(value_at(values, path))]
    return random.choice(fitting) if fitting else None


def _key_deleted(random: Random, text: str) -> tuple[bytes, str, bool]:
    values = yaml.safe_load(text)
    path = random.choice([path for path in paths(values) if isinstance(path[-1], str)])
    del value_at(values, path[:-1])[path[-1]]
    needed = path in _NEEDED
    return _dumped(values), f"without {_dotted(path)}", needed


def _key_renamed(random: Random, text: str) -> tuple[bytes, str, bool]:
    values = yaml.safe_load(text)
    path = random.choice([path for path in paths(values) if isinstance(path[-1], str)])
    old = str(path[-1])
    spot = random.randrange(len(old))
    new = random.choice([old[:spot] + old[spot + 1 :], old + old[spot], old[::-1] + "_", old.upper() + "x", f" {old}_"])
    owner = value_at(values, path[:-1])
    items = [(new if key == old else key, value) for key, value in owner.items()]
    owner.clear()
    owner.update(items)
    return _dumped(values), f"{_dotted(path)} renamed to {new!r}", True


def _key_doubled(random: Random, text: str) -> tuple[bytes, str, bool]:
    lines = text.splitlines()
    keyed = [n for n, line in enumerate(lines) if re.match(r" *[a-z_]+: ", line)]
    number = random.choice(keyed)
    lines.insert(number + 1, lines[number])
    return "\n".join(lines).encode(), f"line {number + 1} twice", True


def _wrong_type(random: Random, text: str) -> tuple[bytes, str, bool]:
    values = yaml.safe_load(text)
    path = random.choice(list(paths(values)))
    old = value_at(values, path)
    junk: Any = random.choice(
        [{"junk": {"a": 1}}, [[[]]], -17.25, "\U0001f600 junk", {}, [], True, None, {1: 2}, [None]]
    )
    value_at(values, path[:-1])[path[-1]] = junk
    hopeless = isinstance(old, dict | list) and isinstance(junk, float | str)
    hopeless |= not isinstance(old, dict | list) and junk in ({"junk": {"a": 1}}, [[[]]], {1: 2})
    return _dumped(values), f"{_dotted(path)} is {junk!r}", hopeless


def _junk_added(random: Random, text: str) -> tuple[bytes, str, bool] | None:
    values = yaml.safe_load(text)
    path = _picked(random, values, lambda value: isinstance(value, dict)) or ()
    junk: Any = {"deeper": [1, {"and": None}]}
    for _ in range(random.randrange(40)):
        junk = random.choice([{"more": junk}, [junk]])
    value_at(values, path)[f"junk{random.randrange(1000)}"] = junk
    return _dumped(values), f"junk in {_dotted(path)}", True


def _out_of_range(random: Random, text: str) -> tuple[bytes, str, bool] | None:
    values = yaml.safe_load(text)
    path = _picked(random, values, lambda value: isinstance(value, int | float) and not isinstance(value, bool))
    if path is None:
        return None
    number = random.choice([-1, -(10**9), float("nan"), float("inf"), -float("inf"), -1e-9, -1e308, -(10**40)])
    value_at(values, path[:-1])[path[-1]] = number
    return _dumped(values), f"{_dotted(path)} is {number!r}", True


def _absurd_number(random: Random, text: str) -> tuple[bytes, str, bool] | None:
    values = yaml.safe_load(text)
    path = _picked(random, values, lambda value: isinstance(value, int | float) and not isinstance(value, bool))
    if path is None:
        return None
    number = random.choice([0, 0.5, 1e308, 10**30, 2**63, 1.0000001, 10**9])
    value_at(values, path[:-1])[path[-1]] = number
    return _dumped(values), f"{_dotted(path)} is {number!r}", False


def _unknown_name(random: Random, text: str) -> tuple[bytes, str, bool] | None:
    values = yaml.safe_load(text)
    path = random.choice([path for path in paths(values) if _names_something(path, value_at(values, path))])
    old = str(value_at(values, path))
    new = random.choice([old + "x", old[1:] + "_", "__import__('os')", "../" + old, "", old.title() + "!", "\x1b[31m"])
    value_at(values, path[:-1])[path[-1]] = new
    return _dumped(values), f"{_dotted(path)} is {new!r}", True


def _names_something(path: Place, value: Any) -> bool:
    named = ("task", "use", "metric", "baseline", "runtime", "table", "from", "attention", "method", "kind")
    inside = ("baselines", "metrics", "axes", "report")
    listed = len(path) > 1 and path[-2] in inside and isinstance(path[-1], int)
    return isinstance(value, str) and (path[-1] in named or listed or (path[-1] == "version"))


def _contradiction(random: Random, text: str) -> tuple[bytes, str, bool] | None:
    values = yaml.safe_load(text)
    name = random.choice(sorted(_CONTRADICTIONS))
    try:
        _CONTRADICTIONS[name](values, random)
    except (KeyError, StopIteration, IndexError):
        return None  # this recipe has no such section
    return _dumped(values), name, True


def _stage(values: Values, name: str) -> Values:
    return next(entry for entry in values["stages"] if name in entry)


def _moved(values: Values, name: str, to: int) -> None:
    entry = _stage(values, name)
    values["stages"].remove(entry)
    values["stages"].insert(to if to >= 0 else len(values["stages"]), entry)


_CONTRADICTIONS: Mapping[str, Callable[[Values, Random], object]] = {
    "splits that are more than all": lambda v, r: [
        v["data"][s].update(split=r.uniform(0.51, 1)) for s in ("dev", "test")
    ],
    "a gate on a baseline that is not measured": lambda v, r: v.update(
        measure={"baselines": ["torch-fp32"]},
        gates={"min_compression": {"baseline": "onnx-fp32", "ratio": r.uniform(1, 9)}},
    ),
    "a gate on a metric that is not measured": lambda v, r: v.update(
        measure={"metrics": ["accuracy"]}, gates={"max_quality_drop": {"metric": "f1", "drop": r.random() + 0.01}}
    ),
    "a gate at a shape that is not timed": lambda v, r: v.update(
        gates={"min_speedup": {"baseline": "torch-fp32", "shape": f"{r.randint(7, 99)}x9", "ratio": 2}}
    ),
    "a gate without its number": lambda v, _r: v.update(gates={"min_compression": {"baseline": "torch-fp32"}}),
    "an interval that is not measured": lambda v, r: v.update(
        gates={"max_quality_drop": {"metric": "accuracy", "drop": 0.1, "bound": r.choice([0.5, 0.99, 95])}}
    ),
    "quantized before it is exported": lambda v, r: _moved(v, "quantize", r.randrange(2)),
    "pruned after it is exported": lambda v, _r: _moved(v, "prune", -1),
    "distilled after it is exported": lambda v, _r: _moved(v, "distill", -1),
    "exported twice": lambda v, _r: v["stages"].append(copy.deepcopy(_stage(v, "export"))),
    "exported in prepare": lambda v, _r: v.update(prepare=[copy.deepcopy(_stage(v, "export"))]),
    "distilled in prepare": lambda v, _r: v.update(prepare=[copy.deepcopy(_stage(v, "distill"))]),
    "no stages": lambda v, r: v.update(stages=r.choice([[], None, {}])),
    "a stage with two names": lambda v, _r: _stage(v, "prune").update(export={}),
    "a student without layers": lambda v, _r: _stage(v, "distill")["distill"].update(student={"layers": 0}),
    "nothing left by a cut": lambda v, _r: _stage(v, "prune")["prune"].update(target={"encoder_parameters": 0}),
    "two targets for a cut": lambda v, _r: _stage(v, "prune")["prune"].update(
        target={"encoder_parameters": 0.5, "parameters": 0.5}
    ),
    "more than came in": lambda v, r: _stage(v, "prune")["prune"].update(
        target={"encoder_parameters": 1 + r.random() * 9 + 0.01}
    ),
    "a table that is not there": lambda v, r: v["data"]["train"].update(table=f"other{r.randrange(99)}"),
    "shapes that are none": lambda v, r: v["deploy"].update(
        shapes=[r.choice(["1*16", "0x16", "1x0", "x", "1x", "-1x8", "1x16x2", "one x two", 16])]
    ),
    "no shapes": lambda v, _r: v["deploy"].update(shapes=[]),
    "a device that there is not": lambda v, r: v["deploy"].update(device=r.choice(["tpu", "cuda:9", 1])),
    "no threads": lambda v, r: v["deploy"].update(threads=-r.randrange(5)),
    "a report of no known kind": lambda v, r: v.update(report=[r.choice(["pdf", "docx", ""])]),
    "a source of no known form": lambda v, r: v["model"].update(
        source=r.choice(["pip:name", "hub:one", "hub:", "pip:a==1", "", " ", "hub:a/b@", [], [""], 7])
    ),
    "a version to come": lambda v, r: v.update(version=r.choice([0, 2, "1.0", 99])),
    "a name that leaves its folder": lambda v, r: v.update(
        name=r.choice(["../up", "/abs", "a/b", "", ".", "..", "a\nb"])
    ),
}

_NEEDED = (
    *((key,) for key in ("version", "name", "model", "data", "stages")),
    *(("model", key) for key in ("task", "source")),
    *(("data", key) for key in ("tables", "train", "test")),
)


def _dotted(path: Place) -> str:
    return dotted(path) or "the recipe"


# Mutations of the text


def _damaged(make: Callable[[Random, str], bytes], *, hopeless: bool = True) -> Mutation:
    """A mutation of the file's bytes."""

    def mutation(random: Random, text: str) -> tuple[bytes, str, bool]:
        return make(random, text), "by its seed", hopeless

    return mutation


def _spliced(random: Random, text: str, piece: str) -> bytes:
    """The text with a line put in."""
    lines = text.splitlines()
    lines.insert(random.randrange(len(lines) + 1), piece)
    return "\n".join(lines).encode()


def _valued(random: Random, text: str, value: str) -> bytes:
    """The text with the value of one plain `key: value` line replaced."""
    lines = text.splitlines()
    number = random.choice([n for n, line in enumerate(lines) if re.match(r" *[a-z_]+: [\w./\"-]+ *(#.*)?$", line)])
    lines[number] = re.sub(r":.*", lambda _: f": {value}", lines[number])
    return "\n".join(lines).encode()


def _bomb(random: Random) -> str:
    """Aliases that grow tenfold at each of some levels."""
    levels = random.randint(5, 12)
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def _flipped(random: Random, text: str) -> bytes:
    content = bytearray(text.encode())
    for _ in range(random.randint(1, 3)):
        content[random.randrange(len(content))] ^= random.randrange(1, 256)
    return bytes(content)


def _tabbed(random: Random, text: str) -> bytes:
    lines = text.splitlines()
    number = random.choice([n for n, line in enumerate(lines) if line.startswith("  ")])
    lines[number] = "\t" + lines[number].strip()
    return "\n".join(lines).encode()


def _shifted(random: Random, text: str) -> bytes:
    lines = text.splitlines()
    number = random.choice([n for n, line in enumerate(lines) if n and line.startswith("  ")])
    lines[number] = " " * random.choice([1, 3, 5, 7]) + lines[number].lstrip()
    return "\n".join(lines).encode()


def _colon_lost(random: Random, text: str) -> bytes:
    lines = text.splitlines()
    number = random.choice([n for n, line in enumerate(lines) if re.match(r" *[a-z_]+:$", line)])
    lines[number] = lines[number].rstrip(":")
    return "\n".join(lines).encode()


def _nested(random: Random, text: str) -> bytes:
    depth = random.choice([200, 1_000, 5_000, 100_000])
    opening, closing = random.choice([("[", "]"), ("{a: ", "}")])
    return _valued(random, text, opening * depth + random.choice([closing * depth, ""]))


KINDS: Mapping[str, Mutation] = {
    "key deleted": _key_deleted,
    "key renamed": _key_renamed,
    "key given twice": _key_doubled,
    "value of another type": _wrong_type,
    "nested junk": _junk_added,
    "number out of range": _out_of_range,
    "number beyond reason": _absurd_number,
    "unknown name": _unknown_name,
    "contradiction": _contradiction,
    "tabs": _damaged(_tabbed),
    "indent shifted": _damaged(_shifted, hopeless=False),
    "colon lost": _damaged(_colon_lost),
    "quote left open": _damaged(lambda r, t: _valued(r, t, r.choice(['"open', "'open", '"\\q"']))),
    "bracket left open": _damaged(lambda r, t: _valued(r, t, r.choice(["[1, 2", "{a: 1", "[1, 2}", "]", "{a: [}"]))),
    "anchor that is not there": _damaged(lambda r, t: _valued(r, t, f"*a{r.randrange(99)}")),
    "alias bomb": _damaged(lambda r, t: r.choice([_bomb(r) + "\n" + t, t + "\n" + _bomb(r)]).encode()),
    "alias of itself": _damaged(lambda r, t: _valued(r, t, r.choice(["&a [*a]", "&a {b: *a}", "&a {<<: *a}"]))),
    "merge key": _damaged(lambda r, t: _spliced(r, t, r.choice(["<<: {junk: 1}", "<<: [1]", "<<: 3", "? <<\n: x"]))),
    "tag that makes an object": _damaged(lambda r, t: _valued(r, t, r.choice(_TAGS))),
    "tag that is unknown": _damaged(
        lambda r, t: _valued(r, t, r.choice(["!env HOME", "!!set {a}", "!<x> 1", "!u!x 1"]))
    ),
    "control character": _damaged(lambda r, t: _valued(r, t, f"a{r.choice(_CONTROLS)}b")),
    "utf-16 or utf-32": _damaged(lambda r, t: t.encode(r.choice(["utf-16", "utf-16-le", "utf-32", "utf-16-be"]))),
    "not utf-8": _damaged(lambda r, t: _valued(r, t, "caf\u00e9").replace("\u00e9".encode(), b"\xe9")),
    "number of many digits": _damaged(lambda r, t: _valued(r, t, "9" * r.choice([400, 5_000, 10**5]))),
    "date": _damaged(lambda r, t: _valued(r, t, r.choice(["2024-02-30", "2024-13-01", "2024-01-01 25:00:00"]))),
    "number that YAML reads otherwise": _damaged(
        lambda r, t: _valued(r, t, r.choice(["0b", "0x", "1:61", ".", "1e", "~x", "0o8", "_"])), hopeless=False
    ),
    "very deep": _damaged(_nested),
    "very long line": _damaged(lambda r, t: _valued(r, t, '"' + "x" * r.choice([10**5, 10**6]) + '": 1')),
    "empty": _damaged(
        lambda r, _t: r.choice([b"", b"\n" * r.randrange(99), b"# nothing\n", b"---\n", b"\xef\xbb\xbf"])
    ),
    "no mapping": _damaged(lambda r, _t: r.choice([b"- 1\n", b"42\n", b"text\n", b"null\n", b"[]\n", b"!!str\n"])),
    "binary": _damaged(lambda r, _t: r.randbytes(r.choice([1, 10, 1_000, 100_000]))),
    "two documents": _damaged(lambda _r, t: f"{t}\n---\n{t}".encode()),
    "cut": _damaged(lambda r, t: t.encode()[: r.randrange(1, len(t))], hopeless=False),
    "bytes changed": _damaged(_flipped, hopeless=False),
}

_TAGS: tuple[str, ...] = (
    '!!python/object/apply:os.system ["true"]',
    "!!python/object:builtins.dict {}",
    "!!python/name:os.system",
    "!!python/module:os",
    "!!python/tuple [1, 2]",
    "!!binary not*base64",
    "!!timestamp never",
    "!!int one",
    "!!float [1]",
)
_CONTROLS: tuple[str, ...] = ("\x00", "\x01", "\x07", "\x1b[2J", "\x7f", "\ufffe")
_OPTIONS = (
    ("", "nonsense#"),
    ("", "=#"),
    ("stages.#.prune.target", "=1"),
    ("stages.prune.nothing#", "=1"),
    ("seed", "=minus#"),
    ("seed", "=-#"),
    ("seed", "=[#"),
    ("seed", "=&a [*a, #]"),
    ("seed", "=!!python/name:os.system#"),
    ("seed", "=\x1b[2J#"),
    ("deploy.shapes", "=#"),
    ("deploy..shapes", "=[1x#]"),
    ("model", "=#"),
    ("stages", "={a: #}"),
    ("data.tables.texts#.source", "=x"),
    ("name", "=../#"),
    ("name", "='#"),
    ("measure.baselines.0", "=torch-#"),
    ("prepare.#", "=finetune"),
    ("version", "=#"),
)


def shipped(folder: Path) -> dict[str, str]:
    """The recipes that the toolkit ships, by name."""
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.yaml"))}

"""Malformed tables: TSV, CSV, JSON lines and Parquet, met by `compress plan`, which reads them to count the splits;
and CoNLL, met by `compress measure`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from random import Random

import yaml

from bench.faults import stock
from bench.faults.cell import Trial

Rows = list[list[str]]
Made = tuple[bytes, bool]
"""Content, and whether no reader could make sense of it."""

RECIPE = "table.yaml"


def makers(good: Mapping[str, bytes]) -> list[Callable[[Random], Trial]]:
    """One maker for each format and kind of damage."""
    rows = [line.split("\t") for line in good["texts.tsv"].decode().splitlines()]
    found = []
    for suffix, write in _WRITERS.items():
        damages = {**_ANY, **(_PARQUET if suffix == "parquet" else _LINES), **(_JSON if suffix == "jsonl" else {})}
        damages |= _CSV if suffix == "csv" else {}
        for kind, damage in damages.items():
            found.append(_maker(good, suffix, write, rows, kind, damage))
    return found + [_of_words(good[_WORDS], kind, damage) for kind, damage in _CONLL.items()]


def _maker(
    good: Mapping[str, bytes],
    suffix: str,
    write: Callable[[Rows], bytes],
    rows: Rows,
    kind: str,
    damage: Callable[[Random, Rows, Callable[[Rows], bytes]], Made],
) -> Callable[[Random], Trial]:
    recipe = yaml.safe_load(good["small.yaml"])
    recipe["data"]["tables"]["texts"]["source"] = f"table.{suffix}"
    text = yaml.safe_dump(recipe, sort_keys=False).encode()

    def make(random: Random) -> Trial:
        content, hopeless = damage(random, [list(row) for row in rows], write)
        files = {RECIPE: text, f"table.{suffix}": content}
        return Trial(f"table: {kind}", suffix, ("plan", RECIPE), files, hopeless=hopeless)

    return make


def _tsv(rows: Rows) -> bytes:
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def _csv(rows: Rows) -> bytes:
    return "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows).encode()


def _jsonl(rows: Rows) -> bytes:
    header, *rest = rows
    # A row with more cells than the header, or fewer, has a key more, or one less.
    names = [*header, *(f"more{n}" for n in range(20))]
    return "".join(json.dumps(dict(zip(names, row, strict=False))) + "\n" for row in rest).encode()


def _parquet(rows: Rows) -> bytes:
    import pyarrow
    from pyarrow import parquet

    header, *rest = rows
    columns = {name: [row[n] if n < len(row) else None for row in rest] for n, name in enumerate(header)}
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), sink)
    return sink.getvalue()


_WRITERS: Mapping[str, Callable[[Rows], bytes]] = {"tsv": _tsv, "csv": _csv, "jsonl": _jsonl, "parquet": _parquet}

Write = Callable[[Rows], bytes]


def _renamed_column(random: Random, rows: Rows, write: Write) -> Made:
    rows[0][random.randrange(2)] = f"other{random.randrange(99)}"
    return write(rows), True


def _strange_label(random: Random, rows: Rows, write: Write) -> Made:
    rows[random.randrange(1, len(rows))][1] = random.choice(
        ["neither", "nan", "\u00df", "1e5", "-1", "positive negative"]
    )
    return write(rows), True


def _few_rows(random: Random, rows: Rows, write: Write) -> Made:
    return write(rows[: random.choice([1, 2])]), True


def _changed_bytes(random: Random, rows: Rows, write: Write) -> Made:
    content = bytearray(write(rows))
    for _ in range(random.randint(1, 30)):
        content[random.randrange(len(content))] ^= random.randrange(1, 256)
    return bytes(content), False


def _cut(random: Random, rows: Rows, write: Write) -> Made:
    content = write(rows)
    return content[: random.randrange(1, len(content) - 1)], write is _parquet


def _ragged(random: Random, rows: Rows, write: Write) -> Made:
    row = rows[random.randrange(1, len(rows))]
    if random.random() < 0.5:
        row.append("one more")
        return write(rows), write is not _jsonl  # a key more is none that anybody asked for
    row.pop()
    return write(rows), True


def _spliced(random: Random, rows: Rows, write: Write, line: bytes) -> bytes:
    lines = write(rows).split(b"\n")
    lines.insert(random.randrange(1, len(lines) - 1), line)
    return b"\n".join(lines)


def _line(choices: Sequence[bytes]) -> Callable[[Random, Rows, Write], Made]:
    def damage(random: Random, rows: Rows, write: Write) -> Made:
        return _spliced(random, rows, write, random.choice(choices)), True

    return damage


_ANY: Mapping[str, Callable[[Random, Rows, Write], Made]] = {
    "empty": lambda _random, _rows, _write: (b"", True),
    "binary": lambda random, _rows, _write: (b"\x00\xff" + random.randbytes(random.choice([9, 5_000])), True),
    "bytes changed": _changed_bytes,
    "cut": _cut,
    "a column that is missing": _renamed_column,
    "a label that is none": _strange_label,
    "hardly a row": _few_rows,
}
_LINES: Mapping[str, Callable[[Random, Rows, Write], Made]] = {
    "a row too long or too short": _ragged,
    "not utf-8": _line([b"caf\xe9 w1\tpositive", b"\xff\xfe", b"\x80"]),
    "utf-16": lambda _random, rows, write: (write(rows).decode().encode("utf-16"), False),
    "a NUL": lambda random, rows, write: (_spliced(random, rows, write, b"a\x00b\tpositive"), False),
}
_CSV: Mapping[str, Callable[[Random, Rows, Write], Made]] = {
    "a quote left open": _line([b'"w1 open,positive', b'w1,"positive', b'"a"b","positive"']),
}
_JSON: Mapping[str, Callable[[Random, Rows, Write], Made]] = {
    "a line that is no row": _line(
        [b"{", b"[1, 2]", b'"text"', b"null", b"nul", b'{"text": 1, "label": [}', b"[" * 100_000, b'{"a":' * 50_000]
    ),
    "a value of another type": _line(
        [
            b'{"text": {"a": 1}, "label": "positive"}',
            b'{"text": 17, "label": "positive"}',
            b'{"text": "w1", "label": {"a": []}}',
            b'{"text": "w1", "label": 1e999}',
            b'{"text": "\\ud800", "label": "positive"}',
            b'{"text": true, "label": true}',
            b'{"text": "w1", "label": ' + b"9" * 5_000 + b"}",
        ]
    ),
}


def _broken_footer(random: Random, rows: Rows, write: Write) -> Made:
    content = bytearray(write(rows))
    length = random.choice([0, 1, 2**31 - 1, 2**32 - 1, len(content) * 2])
    content[-8:-4] = length.to_bytes(4, "little")
    return bytes(content), True


def _other_types(random: Random, rows: Rows, _write: Write) -> Made:
    import pyarrow
    from pyarrow import parquet

    texts = [row[0] for row in rows[1:]]
    odd = random.choice([[1.5] * len(texts), [[1]] * len(texts), [{"a": 1}] * len(texts), [b"\xff"] * len(texts)])
    sink = io.BytesIO()
    parquet.write_table(
        pyarrow.table(random.choice([{"text": texts, "label": odd}, {"text": odd, "label": texts}])), sink
    )
    return sink.getvalue(), True


_PARQUET: Mapping[str, Callable[[Random, Rows, Write], Made]] = {
    "a footer of another length": _broken_footer,
    "columns of another type": _other_types,
    "not parquet": lambda random, _rows, _write: (
        random.choice([b"PAR1", b"PAR1" * 3, b"text\tlabel\nw1\tpositive\n"]),
        True,
    ),
}


# Words and tags

_WORDS = f"{stock.HOME}/tags.conll"


def _of_words(content: bytes, kind: str, damage: Callable[[Random, bytes], Made]) -> Callable[[Random], Trial]:
    def make(random: Random) -> Trial:
        changed, hopeless = damage(random, content)
        return Trial(f"conll: {kind}", "by its seed", stock.TAGGER, {_WORDS: changed}, hopeless=hopeless)

    return make


def _with_line(*choices: bytes) -> Callable[[Random, bytes], Made]:
    def damage(random: Random, content: bytes) -> Made:
        lines = content.split(b"\n")
        lines.insert(random.randrange(1, len(lines) - 1), random.choice(choices))
        return b"\n".join(lines), True

    return damage


def _words_changed(random: Random, content: bytes) -> Made:
    changed = bytearray(content)
    for _ in range(random.randint(1, 30)):
        changed[random.randrange(len(changed))] ^= random.randrange(1, 256)
    return bytes(changed), False


_CONLL: Mapping[str, Callable[[Random, bytes], Made]] = {
    "empty": lambda random, _content: (random.choice([b"", b"\n" * 9, b"\xef\xbb\xbf", b" \t \n"]), True),
    "binary": lambda random, _content: (b"\xff\x00" + random.randbytes(random.choice([9, 5_000])), True),
    "bytes changed": _words_changed,
    "cut": lambda random, content: (content[: random.randrange(1, len(content) - 1)], False),
    "a line of another width": _with_line(b"w1", b"w1\tO\tO", b"w1 O", b"\t\t\t\t"),
    "a tag that is none": _with_line(b"w1\tB-OTHER", b"w1\t", b"w1\t17", b"w1\t\x1b[2J", b"w1\tb-x"),
    "not utf-8": _with_line(b"caf\xe9\tO", b"\xff\xfe\tO", b"\x80\tO"),
    "one column": lambda _random, content: (b"\n".join(line.split(b"\t")[0] for line in content.split(b"\n")), True),
}

"""Formats: what is written is read back equal, in any encoding; what is damaged is told with its place."""

import csv
import io
import json
import random
from pathlib import Path

import datasets
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from pydantic import ValidationError

from compress.errors import CompressError, DataError
from compress.sources import Sources
from compress.tables.columns import Columns, Wanted
from compress.tables.format import FormatSettings, read_columns

ENTRIES = [("fine", "x"), ("ünï, \u2028so", "y")]


@pytest.fixture
def read(tmp_path):
    """Write a file, and read the columns of it that are wanted."""

    def write_and_read(content: str | bytes | None, name: str, wanted: Wanted | None = None, **described) -> Columns:
        if content is not None:
            (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        form = FormatSettings.model_validate(described)
        return read_columns(name, form, wanted or Wanted(), Sources(tmp_path / "cache", tmp_path))

    return write_and_read


def as_tsv(rows: list[tuple[str, str]]) -> str:
    return "".join(f"{text}\t{label}\n" for text, label in [("text", "label"), *rows])


def as_csv(rows: list[tuple[str, str]]) -> str:
    sink = io.StringIO(newline="")
    csv.writer(sink, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
    return sink.getvalue()


def as_jsonl(rows: list[tuple[str, str]]) -> str:
    return "".join(json.dumps({"label": label, "text": text}, ensure_ascii=False) + "\n" for text, label in rows)


def as_parquet(rows: list[tuple[str, str]]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": [row[0] for row in rows], "label": [row[1] for row in rows]}), sink)
    return sink.getvalue()


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
whole = st.lists(st.tuples(cells, cells), min_size=1, max_size=5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(rows=whole)
def test_rows_are_read_back_as_they_were_written(read, rows):
    simple = [tuple(cell.translate(dict.fromkeys(map(ord, "\t\r\n"), " ")) for cell in row) for row in rows]
    lines = [(text.removeprefix("\ufeff"), label) for text, label in simple]
    written = {
        "a.csv": (as_csv(rows), rows),
        "a.jsonl": (as_jsonl(rows), rows),
        "a.parquet": (as_parquet(rows), rows),
        "a.tsv": (as_tsv(lines), lines),
    }
    for name, (content, wanted) in written.items():
        found = read(content, name)
        assert list(zip(found.values["text"], found.values["label"], strict=True)) == wanted, name


# Encodings and line ends


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize(("name", "written"), [("a.tsv", as_tsv), ("a.csv", as_csv), ("a.jsonl", as_jsonl)])
def test_a_byte_order_mark_settles_the_encoding(read, encoding, name, written):
    mark = "\ufeff" if encoding.endswith(("le", "be")) else ""
    content = (mark + written(ENTRIES)).encode(encoding)
    for told in ({}, {"encoding": "latin-1"}, {"encoding": "utf-8"}):
        assert read(content, name, **told).values["text"] == ["fine", "ünï, \u2028so"]


def test_an_encoding_may_be_given(read):
    assert read("text\ncafé\n".encode("latin-1"), "a.tsv", encoding="latin-1").values["text"] == ["café"]
    assert read("text\ncafé\n".encode("utf-16-le"), "a.tsv", encoding="utf-16-le").values["text"] == ["café"]


def test_line_ends_may_be_mixed(read):
    assert read("text\na\r\nb\nc\r\n", "a.tsv").values["text"] == ["a", "b", "c"]
    assert read("text\r\na\nb\r\n", "a.csv").values["text"] == ["a", "b"]
    assert read("text\ra\rb\r", "a.tsv").values["text"] == ["a", "b"]
    assert read("one\rtwo", "a.txt").values["text"] == ["one", "two"]
    with pytest.raises(DataError, match="line 2 has 3 columns, wanted 2"):
        read("text\tlabel\na\tx\rb\ty\nc\tx\n", "a.tsv")


# One format at a time


def test_conll_has_a_word_a_line(read):
    content = "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects  VBZ O\n\n\nBonn\xa0Ost NNP B-LOC"
    found = read(content, "a.conll", Wanted(target="tags"))
    assert found.values["text"] == [["EU", "rejects"], ["Bonn\xa0Ost"]]
    assert found.values["label"] == [["B-ORG", "O"], ["B-LOC"]]
    assert [found.where(row).rsplit(" ", 1)[1] for row in (0, 1)] == ["3", "7"]
    second = read(content, "a.conll", Wanted({"text": 0, "label": 1}, target="tags"))
    assert second.values["label"] == [["NNP", "VBZ"], ["NNP"]]
    assert read(content, "a.conll", Wanted(label=1, target="tags")).values == second.values
    assert read(content, "a.txt", Wanted(target="tags"), kind="conll").values == found.values


def test_conll_with_tabs_may_have_comments(read):
    content = "# id = 1\n1\tThe\tDET\n2\t#\tSYM\n\n"
    found = read(content, "a.conll", Wanted({"text": 1, "label": 2}, target="tags"))
    assert found.values == {"text": [["The", "#"]], "label": [["DET", "SYM"]]}


def test_parquet_and_the_hub_bring_the_names_of_classes_in_lists_too(read, tmp_path, monkeypatch):
    tags = datasets.ClassLabel(names=["O", "B"])
    features = datasets.Features(
        {"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": datasets.Sequence(tags), "label": tags}
    )
    rows = {"tokens": [["a", "b"], ["c"]], "ner_tags": [[0, 1], [0]], "label": [1, 0]}
    data = datasets.Dataset.from_dict(rows, features=features)
    data.to_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
    for name in ("a.parquet", "hub:owner/name"):
        for target, column in (("tags", "ner_tags"), ("class", "label")):
            found = read(None, name, Wanted(target=target))
            assert (found.class_names, found.values["label"]) == (("O", "B"), rows[column]), name
            assert found.values["text"] == rows["tokens"]


def test_a_note_in_a_parquet_file_that_is_not_understood_is_passed_over(read, tmp_path):
    for note in (b"{", b"[]", b'{"info": {"features": {"label": {"names": [1, 2]}}}}', b"[" * 100_000, b"\xff"):
        table = pyarrow.table({"text": ["a"], "label": [1]}).replace_schema_metadata({"huggingface": note})
        parquet.write_table(table, tmp_path / "a.parquet")
        assert read(None, "a.parquet").class_names is None


def test_a_label_that_json_leaves_out_is_a_null_one(read):
    found = read('{"text": "a"}\n{"text": "b", "label": "x"}\n', "a.jsonl")
    assert found.values["label"] == [None, "x"]


# Damage


def huge_number() -> str:
    return '{"text": "a"}\n{"text": ' + "9" * 10_000 + "}\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        *((f"a.{kind}", "", "the file is empty") for kind in ("tsv", "csv", "jsonl", "txt", "conll")),
        *((f"a.{kind}", "\ufeff", "the file is empty") for kind in ("tsv", "csv", "jsonl", "txt", "conll")),
        *((f"a.{kind}", "text\na\0b\n", "line 2 holds a NUL") for kind in ("tsv", "csv", "jsonl", "txt", "conll")),
        ("a.parquet", "", "not a readable parquet file"),
        ("a.parquet", as_parquet(ENTRIES)[:-20], "not a readable parquet file"),
        ("a.conll", "\n\n-DOCSTART-\n", "holds no word"),
        ("a.conll", "a O\n\nb\n", "line 3 has 1 columns, wanted 2 as in line 1"),
        ("a.csv", 'text\n"' + "x" * 200_000 + '"\n', "line 2: field larger than field limit"),
        ("a.csv", 'text\n"a"b\n', "line 2: .*expected after"),
        ("a.jsonl", "[" * 200_000, "line 1 is nested too deeply"),
        ("a.jsonl", '{"text": ' * 200_000, "line 1 is nested too deeply"),
        ("a.jsonl", huge_number(), "line 2 holds a number of too many digits"),
        ("a.jsonl", '{"text": "a"}\r{"text": "b"}\n', "line 1 is not JSON"),
        ("a.tsv", "\ufefftext\na\n".encode("utf-16-be")[:-1], "line 2: byte 0x00 is not utf-16-be"),
        ("a.tsv", "text\nĊĊĊ\n\udc00\n".encode("utf-16-le", "surrogatepass"), "give format|holds a NUL"),
    ],
)
def test_damage_is_told_with_its_place(read, name, content, message):
    with pytest.raises(DataError, match=rf"{name}: .*{message}|{name}: {message}"):
        read(content, name)


def test_a_line_is_counted_in_the_file_s_own_encoding(read):
    content = "text\nĊĊĊ\n\udc00\n".encode("utf-16-le", "surrogatepass")  # the letter holds the byte of a line end
    with pytest.raises(DataError, match="line 3: byte 0x00 is not utf-16-le"):
        read(content, "a.tsv", encoding="utf-16-le")


@pytest.mark.parametrize("encoding", ["utf-9", "hex", "rot13", "undefined", "idna", "punycode", "a\0b", ""])
def test_what_is_no_encoding_of_texts_is_refused(encoding):
    with pytest.raises(ValidationError, match="unknown encoding"):
        FormatSettings(encoding=encoding)


def test_any_damage_is_an_error_of_ours(read, tmp_path):
    """Bytes changed, cut and put in at random: the columns or an error that says where, and no traceback."""
    draw = random.Random(0)
    data = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [[1], [0, 1]]})
    data.to_parquet(tmp_path / "whole.parquet")
    files = {
        "a.csv": as_csv(ENTRIES).encode(), "a.tsv": as_tsv(ENTRIES).encode(), "a.jsonl": as_jsonl(ENTRIES).encode(),
        "a.conll": b"a O\nb B\n\nc O\n", "a.parquet": (tmp_path / "whole.parquet").read_bytes(),
    }  # fmt: skip
    faults = []
    for _ in range(60):
        for name, content in files.items():
            damaged = bytearray(content)
            for _ in range(draw.randint(1, 4)):
                place = draw.randrange(len(damaged))
                damaged[place : place + draw.randint(0, 3)] = draw.randbytes(draw.randint(0, 3))
            try:
                read(bytes(damaged), name)
            except CompressError as fault:
                faults.append((name, str(fault)))
    assert len(faults) > 30
    assert [text for name, text in faults if name not in text] == []


def test_a_file_that_may_not_be_read_is_told(read, tmp_path, monkeypatch):
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.tsv").write_text("text\na\n")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"a\.tsv: can't be read \(Permission denied\)"):
        read(None, "a.tsv")

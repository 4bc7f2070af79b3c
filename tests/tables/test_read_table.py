"""Tables: one content gives one table whatever file it comes in, and a fault in a table is told with its line."""

import hashlib
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from pydantic import TypeAdapter, ValidationError

from compress.errors import DataError, SourceError
from compress.sources import Sources
from compress.tables.table import Table, TableSettings, read_table, rows_digest

SHARED = Path(__file__).parents[3] / "shared" / "data"
ROWS = [("a fine film", "negative"), ("it is said", "positive"), ("ünï, and\u2028so", "negative")]


@pytest.fixture
def read(tmp_path):
    """Write a file, if there is content, and read it as a table."""

    def write_and_read(
        content: str | bytes | None, name: str, label_names=None, target="class", modality="text", **settings: object
    ) -> Table:
        if content is not None:
            (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        table = TableSettings.model_validate({"source": name, **settings})
        sources = Sources(tmp_path / "cache", tmp_path)
        return read_table(table, sources, target=target, modality=modality, label_names=label_names)

    return write_and_read


def places(settings: dict[str, object]) -> list[tuple[int | str, ...]]:
    with pytest.raises(ValidationError) as fault:
        TableSettings.model_validate({"source": "a", **settings})
    return [error["loc"] for error in fault.value.errors()]


# Files


def test_every_kind_of_file_gives_the_same_table(read, tmp_path):
    tsv = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS)
    csv = "label,text\r\n" + "".join(f'{label},"{text}"\r\n' for text, label in ROWS)
    jsonl = "\n\n".join(json.dumps({"more": 1, "label": label, "text": text}) for text, label in ROWS)
    bare = "".join(f"{label}\tx\t{text}\n" for text, label in ROWS)
    columns = {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    tables = [
        read(tsv, "a.tsv"),
        read("\ufeff" + tsv.replace("\n", "\r\n"), "b.tsv"),
        read(csv, "a.csv"),
        read(jsonl, "a.jsonl"),
        read(None, "a.parquet"),
        read(
            bare.encode("utf-16"),
            "bare.txt",
            columns={"text": 2, "label": 0},
            format={"kind": "tsv", "header": False, "encoding": "utf-16"},
        ),
    ]
    assert {table.digest for table in tables} == {tables[0].digest}
    assert tables[0].texts == [text for text, _ in ROWS]
    assert tables[0].labels.tolist() == [0, 1, 0]
    assert tables[0].label_names == ("negative", "positive")


def test_a_text_file_has_a_text_a_line(read):
    table = read("one\n\n two\r\n   \nthree", "a.txt")
    assert (table.texts, table.labels, table.dropped) == (["one", " two", "three"], None, {"empty text": 2})
    with pytest.raises(DataError, match="one text a line"):
        read("one\n", "a.txt", columns={"text": 1})


def test_quotes_are_text_in_tsv_and_marks_in_csv_unless_told_otherwise(read):
    assert read('text\n"a" b\n', "a.tsv").texts == ['"a" b']
    assert read('text,x\n"a, ""b""\nc",1\n', "a.csv").texts == ['a, "b"\nc']
    assert read('text\n"a"\n', "b.csv", format={"quoting": False}).texts == ['"a"']
    assert read('text\n"a"\n', "b.tsv", format={"quoting": True}).texts == ["a"]


def test_usual_names_are_found_and_pairs_kept(read):
    table = read("sentence2\tsentence1\tscore\nb\ta\t1.5\nd\tc\t2\n", "a.tsv")
    assert (table.texts, table.pairs, table.labels) == (["a", "c"], ["b", "d"], None)


def test_a_list_of_sources_gives_the_first_that_is_there(read):
    table = read("text\na\n", "a.tsv", source=["missing.tsv", "a.tsv"])
    assert table.source == "a.tsv"
    with pytest.raises(SourceError, match=r"missing\.tsv: no such file"):
        read(None, "missing.tsv")


def test_a_data_set_of_the_hub_brings_its_class_names(read, monkeypatch):
    asked = []

    def load_dataset(*names: object, **options: object) -> datasets.Dataset:
        asked.append((names, options))
        features = datasets.Features(
            {"sentence": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "maybe"])}
        )
        return datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [1, 0]}, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    table = read(None, "x", source="hub:owner/name@v1/sst2", format={"split": "validation"})
    assert asked == [(("owner/name", "sst2"), {"revision": "v1", "split": "validation"})]
    assert (table.texts, table.labels.tolist(), table.label_names) == (["a", "b"], [1, 0], ("no", "maybe"))


def test_names_in_another_order_do_not_change_what_a_file_s_own_indices_mean(read, tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).to_parquet(
        tmp_path / "a.parquet"
    )
    assert read(None, "a.parquet").label_names == ("neg", "pos")
    for names, labels in ((["pos", "neg"], [0, 1]), (["none", "neg", "pos"], [2, 1]), (["down", "up"], [1, 0])):
        table = read(None, "a.parquet", label={"column": "label", "names": names})
        assert (table.labels.tolist(), table.label_names) == (labels, tuple(names))


# Labels


def test_the_sign_of_a_score_is_the_class_and_zero_is_dropped(read):
    columns, label = {"text": "t", "score": "s"}, {"sign_of": "score", "names": ["bad", "good"]}
    table = read("s\tt\n-0.1\ta\n0.0\tb\n4\tc\n-0\td\n", "a.tsv", columns=columns, label=label)
    assert (table.texts, table.labels.tolist(), table.label_names) == (["a", "c"], [0, 1], ("bad", "good"))
    assert table.dropped == {"score of zero": 2}


def test_given_names_are_matched_by_name_or_by_index(read):
    label = {"column": "label", "names": ["no", "yes"]}
    for content in ("text\tlabel\na\tyes\nb\tno\n", "text\tlabel\na\t1\nb\t0\n"):
        assert read(content, "a.tsv", label=label).labels.tolist() == [1, 0]
    rows = "".join(json.dumps({"text": "a", "label": value}) + "\n" for value in (1, 1.0, "yes", 0))
    assert read(rows, "a.jsonl", label=label).labels.tolist() == [1, 1, 1, 0]


def test_numerals_are_sorted_as_numbers_and_words_as_words(read):
    assert read("text\tlabel\na\t10\nb\t9\nc\t-1\n", "a.tsv").label_names == ("-1", "9", "10")
    assert read("text\tlabel\na\t10\nb\t9\nc\tx\n", "a.tsv").label_names == ("10", "9", "x")


def test_settled_names_are_imposed(read):
    settled = ("c", "b", "a")
    assert read("text\tlabel\nx\ta\ny\tb\n", "a.tsv", settled).labels.tolist() == [2, 1]
    own = {"column": "label", "names": ["a", "c"]}
    assert read("text\tlabel\nx\t0\ny\t1\n", "b.tsv", settled, label=own).labels.tolist() == [2, 0]
    with pytest.raises(DataError, match=r"a\.tsv: line 3: label is 'd', wanted one of c, b, a"):
        read("text\tlabel\nx\ta\ny\td\n", "a.tsv", settled)
    with pytest.raises(DataError, match="has the class d"):
        read("text\tlabel\nx\t0\n", "a.tsv", settled, label={"column": "label", "names": ["a", "d"]})


def test_a_label_may_name_a_role_or_a_column(read):
    content = "text\tkind\na\tx\nb\ty\n"
    by_role = read(content, "a.tsv", columns={"text": "text", "intent": "kind"}, label={"column": "intent"})
    by_column = read(content, "a.tsv", label={"column": "kind"})
    assert by_role.digest == by_column.digest
    assert by_role.label_names == ("x", "y")


# Targets


def written(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_each_target_has_its_own_column_and_array(read):
    rows = [
        {"sentence1": "a b", "sentence2": "was a", "tokens": ["a", "b"], "label": "x", "labels": ["x", "y"],
         "score": 0.5, "ner_tags": ["O", "B"], "question": "a b", "context": "it a was", "answers": "was"},
    ]  # fmt: skip
    found = {target: read(written(rows), "a.jsonl", target=target)
             for target in ("class", "classes", "number", "tags", "span", None)}  # fmt: skip
    assert [None if table.labels is None else table.labels.tolist() for table in found.values()] == [
        [0], [[1, 1]], [0.5], [[1, 0]], [[[5, 8]]], None,
    ]  # fmt: skip
    assert [table.label_names for table in found.values()] == [("x",), ("x", "y"), ("score",), ("B", "O"), (), ()]
    assert [table.target for table in found.values()] == list(found)
    assert found["span"].pairs == ["it a was"]
    assert found["tags"].texts[0].split(" ") == ["a", "b"]
    assert len({table.digest for table in found.values()}) == 6


def test_every_kind_of_file_gives_the_same_tags(read, tmp_path):
    words, tags = [["EU", "rejects"], ["Bonn"]], [["B", "O"], ["B"]]
    parquet.write_table(pyarrow.table({"tokens": words, "ner_tags": tags}), tmp_path / "a.parquet")
    tables = [
        read(written([{"words": a, "tags": b} for a, b in zip(words, tags, strict=True)]), "a.jsonl", target="tags"),
        read("text\ttags\n EU  rejects\tB O\nBonn \tB\n", "a.tsv", target="tags"),
        read("EU X B\nrejects X O\n\nBonn X B\n", "a.conll", target="tags"),
        read(None, "a.parquet", target="tags"),
    ]
    assert {table.digest for table in tables} == {tables[0].digest}
    assert [text.split(" ") for text in tables[0].texts] == words


def test_rows_without_a_text_are_dropped_before_their_labels_are_looked_at(read):
    rows = [{"tokens": [], "tags": ["O"]}, {"tokens": None, "tags": None}, {"tokens": ["a"], "tags": ["O"]}]
    table = read(written(rows), "a.jsonl", target="tags")
    assert (table.texts, table.dropped) == (["a"], {"empty text": 2})


@pytest.mark.parametrize("column", ["label", "s"])
def test_rows_without_a_label_are_dropped_and_counted_if_the_recipe_says_so(read, column):
    content = "text\tlabel\ts\na\tx\t1\nb\t\t\nc\ty\t-1\nd\t \tnan\n"
    columns = {"text": "text", "label": "label", "s": "s"}
    label = {"sign_of": "s"} if column == "s" else {"column": "label"}
    table = read(content, "a.tsv", columns=columns, label={**label, "missing": "drop"})
    assert (table.texts, table.dropped) == (["a", "c"], {"missing label": 2})


def test_a_sign_is_a_class_and_no_number(read):
    with pytest.raises(DataError, match="sign_of makes two classes, but the task's labels are number"):
        read("text\ts\na\t1\n", "a.tsv", target="number", **SIGNED)
    assert read("text\ts\na\t0\n", "a.tsv", target=None, **SIGNED).labels is None
    by_picture = {"columns": {"text": "text", "image": "s"}, "label": {"sign_of": "image"}}
    with pytest.raises(DataError, match="sign_of is image, which the task does not read"):
        read("text\ts\na\t1\n", "a.tsv", **by_picture)


def test_class_indices_are_digested_as_ever_and_all_else_with_its_form():
    """The digest of a table of classes keys what is stored: written out here in the plainest way."""
    texts, labels, names = ["a", "bc"], np.array([1, 0]), ("x", "y")
    plain = hashlib.sha256()
    for strings in (texts, [], names):
        plain.update(len(strings).to_bytes(8, "little"))
        for string in strings:
            plain.update(len(string).to_bytes(8, "little") + string.encode())
    plain.update(labels.astype("<i8").tobytes())
    assert rows_digest(texts, None, labels, names) == f"sha256:{plain.hexdigest()}"
    forms = [
        labels, labels.astype(np.float64), labels[:, None], labels[None, :], labels[:, None].astype(np.int8),
        np.zeros((2, 1, 2), dtype=np.int64), np.zeros((2, 2, 1), dtype=np.int64), np.zeros(4), np.zeros((2, 2)), None,
    ]  # fmt: skip
    assert len({rows_digest(texts, None, form, names) for form in forms}) == len(forms)


# Pictures


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A folder of three pictures in two classes, and a table that names them."""
    for name, content in {"pics/cat/1.png": b"one", "pics/cat/2.JPG": b"two", "pics/dog/1.png": b"three"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_every_way_to_give_pictures_gives_the_same_table(read, pictures):
    files = ["pics/cat/1.png", "pics/cat/2.JPG", "pics/dog/1.png"]
    labels, contents = ["cat", "cat", "dog"], [b"one", b"two", b"three"]
    embedded = [{"bytes": content, "path": "1.png"} for content in contents]
    parquet.write_table(pyarrow.table({"image": embedded, "label": labels}), pictures / "a.parquet")
    parquet.write_table(pyarrow.table({"img": contents, "label": labels}), pictures / "b.parquet")
    rows = "".join(f"{file},{label}\n" for file, label in zip(files, labels, strict=True))
    tables = [
        read("file,label\n" + rows, "a.csv", modality="image"),
        read("x,label\n" + rows, "b.csv", modality="image", columns={"image": "x", "label": "label"}),
        read(None, "a.parquet", modality="image"),
        read(None, "b.parquet", modality="image"),
        read(None, "pics", modality="image", format={"kind": "images"}),
        read(None, "pics", modality="image"),
    ]
    for table in tables:
        assert table.digest == tables[0].digest
        have = [one if isinstance(one, bytes) else one.read_bytes() for one in table.pictures]
        assert have == contents
        assert (table.labels.tolist(), table.label_names) == ([0, 0, 1], ("cat", "dog"))


def test_what_is_no_picture_is_counted_and_hidden_files_are_passed_over(read, pictures):
    for name in ("pics/.DS_Store", "pics/cat/.x.png", "pics/readme.md", "pics/cat/notes.txt"):
        (pictures / name).write_text("x")
    table = read(None, "pics", modality="image", format={"kind": "images"})
    assert (len(table), sum(table.dropped.values())) == (3, 2)
    lacking = read("image,label\npics/cat/1.png,x\n,y\n", "a.csv", modality="image")
    assert (len(lacking), lacking.dropped) == (1, {"no picture": 1})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("../outside.png", "stays in it"),
        ("pics/../../outside.png", "stays in it"),
        ("/etc/passwd", "stays in it"),
        ("C:/x.png", "stays in it"),
        ("pics\\\\1.png", "stays in it"),
        ("link.png", "a link out of the table's folder"),
        ("linked/outside.png", "a link out of the table's folder"),
        ("ring.png", "can't be read"),
        ("pics/none.png", "not there"),
        ("pics/cat", "no plain file"),
        ("pics/cat/1.png/x", "can't be read|not there"),
        ("x" * 5000, "can't be read"),
        ("empty.png", "image is empty"),
    ],
)
def test_a_picture_lies_in_the_tables_folder_or_is_refused(read, pictures, tmp_path_factory, value, message):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "outside.png").write_bytes(b"secret")
    (pictures / "link.png").symlink_to(outside / "outside.png")
    (pictures / "linked").symlink_to(outside)
    (pictures / "ring.png").symlink_to(pictures / "ring.png")
    (pictures / "empty.png").touch()
    content = f'{{"image": "pics/cat/1.png"}}\n{{"image": "{value}"}}\n'
    with pytest.raises(DataError, match=rf"a\.jsonl: line 2: .*({message})"):
        read(content, "a.jsonl", modality="image")


def test_a_link_out_of_a_folder_of_pictures_is_refused_and_one_within_it_followed(read, pictures):
    (pictures / "pics/dog/2.png").symlink_to(pictures / "pics/cat/1.png")
    assert len(read(None, "pics", modality="image", format={"kind": "images"})) == 4
    (pictures / "secret.png").write_bytes(b"secret")
    (pictures / "pics/dog/3.png").symlink_to(pictures / "secret.png")
    with pytest.raises(DataError, match=r"pics: picture 5: .*dog/3\.png.*a link out"):
        read(None, "pics", modality="image", format={"kind": "images"})


def test_a_path_in_a_data_set_of_the_hub_is_not_trusted(read, pictures, monkeypatch):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})

    def load(*values: object) -> Table:
        data = datasets.Dataset.from_dict({"image": list(values), "label": ["a"] * len(values)}, features=features)
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: data)
        return read(None, "x", modality="image", source="hub:owner/name")

    assert load({"bytes": b"one", "path": "none.png"}).pictures == [b"one"]
    file = pictures / "pics/cat/1.png"
    with pytest.raises(DataError, match=r"row 1: .*wanted the picture itself"):
        load({"bytes": None, "path": str(file)})
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", pictures)
    assert load({"bytes": None, "path": str(file)}).pictures == [file]


def test_pictures_and_texts_are_not_taken_for_each_other(read, pictures):
    for name, content, modality in (("a.csv", "image,label\nx,y\n", "text"), ("a.txt", "x\n", "image")):
        with pytest.raises(DataError, match="texts"):
            read(content, name, modality=modality)
    with pytest.raises(DataError, match="the task reads texts"):
        read(None, "pics", format={"kind": "images"})


# Faults in a table


BARE = {"format": {"header": False}}
NAMED = {"label": {"column": "label", "names": ["neg", "pos"]}}
SIGNED = {"columns": {"text": "text", "s": "s"}, "label": {"sign_of": "s"}}


@pytest.mark.parametrize(
    ("name", "content", "settings", "message"),
    [
        ("a.tsv", "text\tlabel\na\tx\nb\n", {}, r"line 3 has 1 columns, wanted 2 as in line 1"),
        ("a.tsv", b"text\nfine\ncaf\xe9\n", {}, r"line 3: byte 0xe9 is not utf-8"),
        (
            "a.tsv",
            "text\tlabl\na\tx\n",
            {"label": {"column": "label"}},
            r"no column called label; columns: text, labl; did you mean 'labl'\?",
        ),
        ("a.tsv", "text\ttext\na\tx\n", {}, "two columns called text"),
        ("a.tsv", "body\na\n", {}, "usual name for texts.*columns: body"),
        ("a.tsv", "a\tb\n", {**BARE, "columns": {"text": 2}}, r"text is column 2, but there are 2"),
        ("a.tsv", "", {}, "the file is empty"),
        ("a.tsv", "text\n", {}, "no row to use"),
        ("a.tsv", "text\tx\n \t1\n", {}, r"no row to use \(1 dropped for empty text\)"),
        ("a.csv", 'text\nfine\n"open\n', {}, "line 3: .*is a quote left open"),
        ("a.jsonl", '{"text": "a"}\n{"text"\n', {}, "line 2 is not JSON"),
        ("a.jsonl", '{"text": "a"}\n[1]\n', {}, r"line 2 holds \[1\]"),
        ("a.jsonl", '{"text": "a"}\n\n{"txt": "b"}\n', {}, "line 3 has no text"),
        ("a.jsonl", '{"text": "a"}\n{"text": 5}\n', {}, "line 2: text is 5, wanted text"),
        ("a.jsonl", '{"text": "a\\ud800"}\n', {}, "line 1: text holds half a surrogate pair"),
        ("a.jsonl", '{"text": "a\\u0000"}\n', {}, "line 1: text holds a NUL"),
        ("a.jsonl", json.dumps({"text": "x" * 10**7}), {}, "line 1: text has 10,000,000 characters, wanted 1,000,000"),
        ("a.jsonl", '{"text": ["a", "b c"]}\n', {}, "line 1: text has 'b c' as word 2"),
        ("a.jsonl", '{"text": "a", "label": "x"}\n{"text": "b", "label": null}\n', {}, "line 2: label is missing"),
        ("a.tsv", "text\tlabel\na\tx\nb\t\nc\t\n", {}, r"line 3: label is missing, got '' \(2 of 3 rows lack it\)"),
        ("a.tsv", "text\tlabel\na\t\n", {}, "give `columns` without a label"),
        ("a.tsv", "text\tlabel\na\tx\n", {"label": {"column": "label", "names": ["x"]}}, "label names one class"),
        ("a.tsv", "text\tlabel\na\tx\n", {"label": {"column": "label", "separator": ";"}}, "label has a separator"),
        ("a.parquet", "no parquet", {}, "not a readable parquet file"),
        ("a.tsv", "text\tlabel\na\tpos\nb\t2\n", NAMED, "line 3: label is '2'"),
        ("a.tsv", "text\ts\na\tx\n", SIGNED, "line 2: s is 'x', wanted a number"),
        ("a.tsv", "text\ts\na\tnan\n", SIGNED, "line 2: s is missing, got 'nan'"),
        ("a.tsv", "text\ts\na\tinf\n", SIGNED, "line 2: s is 'inf', wanted a number"),
        ("a.data", "x", {}, "can't tell the kind"),
    ],
)
def test_a_fault_is_told_with_its_place(read, name, content, settings, message):
    with pytest.raises(DataError, match=rf"{name}: .*{message}|{name}: {message}"):
        read(content, name, **settings)


def test_a_folder_is_no_table(read, tmp_path):
    (tmp_path / "a.tsv").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read(None, "a.tsv")


# Faults in the settings


def test_a_fault_in_the_settings_stands_at_its_key():
    assert places({"format": {"kind": "xml"}}) == [("format", "kind")]
    assert places({"format": {"kind": "jsonl", "header": False}}) == [("format", "header")]
    assert places({"format": {"kind": "tsv", "split": "test"}}) == [("format", "split")]
    assert places({"format": {"encoding": "utf-9"}}) == [("format", "encoding")]
    assert places({"format": {"headers": False}}) == [("format", "headers")]
    assert places({"columns": {"txt": "a"}}) == [("columns",)]
    assert places({"columns": {"text": -1}}) == [("columns", "text")]
    assert places({"columns": {"text": "a"}, "format": {"header": False}}) == [("columns", "text")]
    assert places({"columns": {"text": 0}, "format": {"kind": "jsonl"}}) == [("columns", "text")]
    assert places({"columns": {"text": "a"}, "format": {"kind": "conll"}}) == [("columns", "text")]
    assert places({"columns": {"image": 0}, "format": {"kind": "images"}}) == [("columns",)]
    assert places({"format": {"kind": "conll", "quoting": True}}) == [("format", "quoting")]
    assert places({"label": "label"}) == [("label",)]
    assert places({"label": {"column": "x", "missing": "keep"}}) == [("label", "missing")]
    assert places({"label": {"column": "x", "separator": ""}}) == [("label", "separator")]
    assert places({"label": {}}) == [("label", "column")]
    assert places({"label": {"column": "x", "nmes": ["a"]}}) == [("label", "nmes")]
    assert places({"label": {"column": "x", "names": ["a", "a"]}}) == [("label", "names")]
    assert places({"label": {"sign_of": "score"}}) == [("label", "sign_of")]
    assert places({"label": {"sign_of": "s", "column": "s"}, "columns": {"text": 0, "s": 1}}) == [("label", "column")]


def test_faults_in_several_keys_are_found_at_once():
    found = places({"source": 3, "format": {"kind": "xml"}, "columns": {"txt": 0}, "label": {"names": ["a", "b"]}})
    assert found == [("source",), ("format", "kind"), ("columns",), ("label", "column")]


def test_settings_with_every_default_spelled_out_mean_the_same():
    bare = {"format": {"kind": "tsv", "header": False}, "columns": {"text": 2, "score": 1}}
    for given in (
        {"source": "a", **bare, "label": {"sign_of": "score"}},
        {"source": ["hub:a/b/c", "d"], "format": {"kind": "hub"}, "label": {"column": "label", "names": ["x", "y"]}},
        {"source": "a.txt"},
    ):
        settings = TableSettings.model_validate(given)
        assert TableSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_there_is_a_json_schema():
    schema = TypeAdapter(TableSettings).json_schema()
    assert set(schema["properties"]) == {"source", "format", "columns", "label", "slices"}


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
@pytest.mark.parametrize(
    ("file", "rows", "classes"),
    [("sst2/validation.tsv", 872, 2), ("clinc150/test.jsonl", 5500, 151), ("stsb/test.tsv", 1379, 0)],
)
def test_public_data_sets_are_read_without_a_word_about_them(file, rows, classes, tmp_path):
    table = read_table(TableSettings(source=file), Sources(tmp_path, SHARED))
    assert (len(table), len(table.label_names), table.dropped) == (rows, classes, {})

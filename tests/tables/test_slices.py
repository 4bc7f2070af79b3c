"""Columns to slice by: they go with their rows through tables and splits, and change nothing of what a model sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from compress.data import DataSettings, load_data, whole_split
from compress.errors import DataError
from compress.sources import Sources
from compress.tables.table import Table, TableSettings, read_table

ROWS = 40


@pytest.fixture
def table(tmp_path: Path) -> Path:
    lines = [f"text {row}\t{'ab'[row % 2]}\t{['news', '', 'chat'][row % 3]}\t{row}" for row in range(ROWS)]
    file = tmp_path / "a.tsv"
    file.write_text("\n".join(["text\tlabel\tgenre\tyear", "\ta\tnews\t0", *lines]) + "\n", encoding="utf-8")
    return file


def read(file: Path, **settings: Any) -> Table:
    described = TableSettings.model_validate({"source": file.name, **settings})
    return read_table(described, Sources(file.parent / "cache", file.parent))


def test_each_row_keeps_its_values_where_others_are_dropped(table: Path) -> None:
    found = read(table, slices=["genre", "year"])
    assert found.dropped == {"empty text": 1}
    assert list(found.slices) == ["genre", "year"]
    assert found.slices["year"] == [text.removeprefix("text ") for text in found.texts]
    assert found.slices["genre"][:3] == ["news", "", "chat"]


def test_they_are_no_part_of_the_digest_but_of_the_data_card(table: Path) -> None:
    plain, sliced = read(table), read(table, slices=["genre"])
    assert plain.digest == sliced.digest
    settings = {"tables": {"a": {"source": "a.tsv", "slices": ["genre"]}}}
    settings |= {name: {"table": "a", "split": share} for name, share in (("train", 0.5), ("dev", 0.2), ("test", 0.3))}
    found = load_data(DataSettings.model_validate(settings), Sources(table.parent / "cache", table.parent))
    assert found.card["tables"]["a"]["slices"].keys() == {"genre"}
    other = table.read_text(encoding="utf-8").replace("chat", "talk")
    table.write_text(other, encoding="utf-8")
    changed = load_data(DataSettings.model_validate(settings), Sources(table.parent / "cache", table.parent))
    assert changed.test.digest == found.test.digest
    assert changed.card["tables"]["a"]["slices"] != found.card["tables"]["a"]["slices"]


def test_a_split_keeps_them_with_its_rows(table: Path) -> None:
    split = whole_split("test", read(table, slices=["year"]))
    order = np.array([7, 2, 30])
    assert split.rows(order).slices == {"year": ("7", "2", "30")}
    assert split.rows(order).plus(split.rows(order[:1])).slices == {"year": ("7", "2", "30", "7")}
    assert split.plus(replace(split, slices={})).slices == {}
    assert split.take(5).slices["year"] == tuple(text.removeprefix("text ") for text in split.take(5).texts)


def test_without_a_header_they_go_by_position(tmp_path: Path) -> None:
    file = tmp_path / "b.tsv"
    file.write_text("one\ta\tx\ntwo\tb\ty\n", encoding="utf-8")
    columns = {"text": 0, "label": 1}
    found = read(file, format={"header": False}, columns=columns, slices=[2])
    assert found.slices == {"column 2": ["x", "y"]}


def test_a_column_that_is_not_there_is_refused_with_those_that_are(table: Path) -> None:
    with pytest.raises(DataError, match="no column called gender; columns: text, label, genre, year"):
        read(table, slices=["gender"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slices": ["label"]}, "sliced by already"),
        ({"slices": ["length"]}, "sliced by already"),
        ({"slices": ["genre", "genre"]}, "sliced by already"),
        ({"slices": [2]}, "by name"),
        ({"slices": ["genre"], "format": {"header": False}, "columns": {"text": 0}}, "by position"),
        ({"slices": ["genre"], "format": {"kind": "conll"}}, "no further columns"),
        ({"slices": ["genre"], "format": {"kind": "images"}}, "no further columns"),
    ],
)
def test_what_can_be_no_slice_is_a_fault_of_the_recipe(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as fault:
        TableSettings.model_validate({"source": "a", **settings})
    assert all(error["loc"][0] == "slices" for error in fault.value.errors())

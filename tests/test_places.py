"""YAML with places: where things stand, what is a number, and every way a file can fail to be YAML."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from compress.errors import RecipeError
from compress.places import Document, Place, read_value, read_yaml


def read(folder: Path, text: str | bytes) -> Document:
    file = folder / "recipe.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_yaml(file)


def refusal(folder: Path, text: str | bytes) -> str:
    """The one line that a file is refused with, its path taken off."""
    with pytest.raises(RecipeError) as caught:
        read(folder, text)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"{folder / 'recipe.yaml'}:")
    return line.removeprefix(f"{folder / 'recipe.yaml'}:")


def test_every_key_and_item_stands_where_an_editor_shows_it(tmp_path):
    document = read(tmp_path, "a: 1\nb:\n  - c\n  - {d: 2, e: [3, 4]}\n")
    assert document.values == {"a": 1, "b": ["c", {"d": 2, "e": [3, 4]}]}
    shown = {path: str(place) for path, place in document.places.items()}
    assert shown == {
        (): "1:1",
        ("a",): "1:1",
        ("b",): "2:1",
        ("b", 0): "3:5",
        ("b", 1): "4:5",
        ("b", 1, "d"): "4:6",
        ("b", 1, "e"): "4:12",
        ("b", 1, "e", 0): "4:16",
        ("b", 1, "e", 1): "4:19",
    }


def test_a_path_with_parts_that_are_no_keys_is_placed_at_the_deepest_key(tmp_path):
    document = read(tmp_path, "a:\n  b: {c: 1}\n")
    assert document.place(("a", "function-wrap", "b", "d")) == (("a", "b"), Place(2, 3))
    assert document.place(("nowhere",)) == ((), Place(1, 1))


@pytest.mark.parametrize("text", ["5e-5", "1e3", "2E+2", "-5e-5", "1.5e-4", "+1e5"])
def test_scientific_notation_is_a_number(tmp_path, text):
    assert read(tmp_path, f"a: {text}\n").values == {"a": float(text)}
    assert read_value(text) == float(text)


@pytest.mark.parametrize("text", ["'5e-5'", "5e", "e5", "1x128", "5e-5x"])
def test_what_only_looks_like_a_number_stays_text(tmp_path, text):
    assert read(tmp_path, f"a: {text}\n").values == {"a": text.strip("'")}


def test_a_byte_order_mark_and_dos_line_ends_do_no_harm(tmp_path):
    document = read(tmp_path, b"\xef\xbb\xbfa: 1\r\nb: x\r\n")
    assert document.values == {"a": 1, "b": "x"}
    assert document.places[("b",)] == Place(2, 1)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_file_is_called_empty(tmp_path, text):
    said = refusal(tmp_path, text) if text != "---\n" else "1:1: the file is empty; wanted a recipe"
    assert said == "1:1: the file is empty; wanted a recipe"


@pytest.mark.parametrize(
    ("text", "place"),
    [("a: 1\na: 2\n", "2:1"), ("a:\n  b: {c: 1, d: 2, c: 3}\n", "2:19"), ("- x\n- {y: 1, y: 1}\n", "2:10")],
)
def test_a_key_that_stands_twice_is_refused_at_the_second(tmp_path, text, place):
    assert re.fullmatch(rf"{place}: the key '\w' stands here a second time", refusal(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a:\n\tb: 1\n", "2:1"),
        ("a: [1, 2\nb: 3\n", "2:2"),
        ("a: 'x\n", "2:1"),
        ("a: b: c\n", "1:5"),
        ("a: *nowhere\n", "1:4"),
        ("a: !!python/object:os.system {}\n", "1:4"),
        ("a: 1\n---\nb: 2\n", "2:1"),
        ("{[1, 2]: 3}\n", "1:2"),
        ("a: 2020-99-99\n", "1:4"),
        ("ab: x\nc: \x07\n", "2:4"),
        ("a: &a [*a]\n", "1:8"),
        ("a: !!timestamp never\n", "1:4"),
        ("a: " + "9" * 30 + "\n", "1:4"),
        ("a: " + "9" * 5_000 + "\n", "1:4"),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_place(tmp_path, text, place):
    assert refusal(tmp_path, text).startswith(f"{place}: not YAML: ")


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_said_so(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(RecipeError, match=r"latin\.yaml:1:4: the byte 0xff is not UTF-8"):
        read_yaml(tmp_path / "latin.yaml")
    with pytest.raises(RecipeError, match=r"none\.yaml: no such file"):
        read_yaml(tmp_path / "none.yaml")


def bomb(levels: int) -> str:
    """Text of some hundred bytes whose last line stands for 10^levels values."""
    lines = ["a0: &a0 [" + ", ".join(["x"] * 10) + "]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def test_aliases_count_as_all_that_they_stand_for(tmp_path):
    assert len(read(tmp_path, bomb(2)).values["a1"]) == 10
    started = time.perf_counter()
    assert "values, aliases counted in full" in refusal(tmp_path, bomb(30))
    assert time.perf_counter() - started < 1


def test_an_alias_gives_the_value_that_it_names(tmp_path):
    assert read(tmp_path, "a: &it {b: 1}\nc: *it\n").values == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 5_000 + "x", "[" * 500 + "]" * 500])
def test_what_is_very_deep_is_refused_at_once(tmp_path, text):
    started = time.perf_counter()
    assert "nested more than 64 levels deep" in refusal(tmp_path, text)
    assert time.perf_counter() - started < 1


def test_a_recipe_may_be_as_deep_as_recipes_are(tmp_path):
    assert read(tmp_path, "[" * 60 + "]" * 60).values


def test_a_file_too_large_for_a_recipe_is_not_read(tmp_path):
    assert refusal(tmp_path, b"a: " + b"x" * 1_000_000) == "1:1: more than 1000000 bytes; wanted a recipe"


def test_a_byte_that_is_no_text_has_its_place_counted_in_characters(tmp_path):
    assert refusal(tmp_path, b"\xef\xbb\xbfa: 1\nb\xc3\xa9: \xe9\n").startswith("2:5: the byte 0xe9 is not UTF-8")

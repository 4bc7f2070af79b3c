"""Laws of the page of `compress inspect`: all that was found is on it, what was not looked at is named, equal bytes."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import altair as alt
import pytest
from inspection_sample import ROLES, SHAPES, inspected

from reports.charts.theme import COLOURS
from reports.inspection import in_terminal, inspection_sections, write_inspection
from reports.outline import Chart, charts_in


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sample's page."""
    return write_inspection(inspected(), tmp_path_factory.mktemp("inspected")).parent


def charts(**tables: object) -> dict[str, Chart]:
    return {chart.name: chart for chart in charts_in(inspection_sections(inspected(**tables)))}


def values_of(chart: Chart) -> list[dict[str, object]]:
    """All rows that a chart draws."""
    return [
        row for block in re.findall(r'"values": (\[\{.*?\}\])', json.dumps(chart.draw())) for row in json.loads(block)
    ]


def test_there_is_a_chart_for_each_shape_and_each_role():
    assert set(charts()) == {
        *(f"layers-{batch}x{tokens}" for batch, tokens in SHAPES),
        *(f"role-{name}" for name in (*ROLES, "entropy")),
        "importance",
        "head-counts",
    }


def test_charts_are_valid_and_use_the_theme_s_colours_alone():
    known = {light for light, _ in COLOURS.values()}
    for chart in charts().values():
        spec = chart.draw()
        alt.Chart.from_dict({key: value for key, value in spec.items() if key != "config"})
        assert set(re.findall(r"#[0-9a-f]{6}", json.dumps(spec))) <= known


def test_maps_draw_every_head_and_say_the_highest_in_words():
    found = charts()
    run = inspected()
    for row in run.tables["head_scores"]:
        told = {"layer": row["layer"], "head": row["head"], "value": row["score"]}
        assert any(told.items() <= drawn.items() for drawn in values_of(found["importance"]))
    assert "Highest, as layer-head: 1-2 (0.5)" in found["importance"].alt
    assert all("0-0" in found[f"role-{name}"].alt for name in ROLES)


def test_bars_are_the_medians_of_parts_and_never_the_layer_beside_its_own_parts():
    drawn = values_of(charts()["layers-1x8"])
    assert {(row["row"], row["value"]) for row in drawn} == {
        ("layer 0", 0.75),
        ("layer 0", 1.25),
        ("layer 1", 0.75),
        ("layer 1", 1.25),
        ("outside", 0.25),
    }


def test_the_trade_off_has_every_row_with_its_interval_and_the_uncut_model():
    chart = charts()["head-counts"]
    drawn = values_of(chart)
    for row in inspected().tables["head_counts"]:
        told = {"heads": row["heads"], "low": row["low"], "high": row["high"]}
        assert any(told.items() <= each.items() for each in drawn)
    assert any(each.get("text", "").startswith("uncut: 0.90") for each in drawn)
    assert "4 heads 0.84" in chart.alt


def test_page_and_markdown_tell_every_figure_of_the_tables(written: Path):
    text = (written / "report.md").read_text(encoding="utf-8")
    page = " ".join(
        html.unescape(re.sub(r"<[^>]+>", " ", (written / "index.html").read_text(encoding="utf-8"))).split()
    )
    for figure in ("900 k", "2.00 M", "8.00 MFLOP", "0.75 ms", "1.25 ms", "4.2 ms", "0.86", "70.0 %"):
        assert figure in text, figure
        assert figure in page, figure
    for told in ("rank correlation of 0.90", "no text is in both", "6,372 tokens of 256 texts", "medians of calls"):
        assert told in text
    assert "it can not be had here" in text


@pytest.mark.parametrize(
    ("table", "section"),
    [("head_scores", "importance"), ("head_roles", "roles"), ("head_counts", "head-counts")],
)
def test_what_was_not_looked_at_has_no_section(table: str, section: str):
    sections = {each.name for each in inspection_sections(inspected(**{table: None}))}
    assert section not in sections
    assert section in {each.name for each in inspection_sections(inspected())}


def test_an_onnx_file_s_page_has_layers_without_times():
    sections = {each.name: each for each in inspection_sections(inspected(latency=None))}
    assert [block.kind for block in sections["layers"].blocks] == ["grid"]


def test_what_texts_do_not_have_has_no_map_and_is_named():
    rows = [row | {"separator": None} for row in inspected().tables["head_roles"]]
    assert "role-separator" not in charts(head_roles=rows)
    assert "No head could look at a separator" in in_terminal(inspected(head_roles=rows))


def test_heads_of_kv_groups_are_said_to_share():
    rows = [row | {"kv_group": 0} for row in inspected().tables["head_scores"]]
    assert "Query heads of one KV group leave together" in in_terminal(inspected(head_scores=rows))


def test_the_terminal_s_text_has_tables_and_no_drawings():
    text = in_terminal(inspected())
    assert "| layer 1 | 3 | 128 |" in text
    assert "![" not in text


def test_equal_input_gives_equal_bytes_and_an_earlier_page_goes(written: Path, tmp_path: Path):
    (tmp_path / "notes.svg").write_text("<svg>mine</svg>", encoding="utf-8")
    write_inspection(inspected(), tmp_path)
    assert (tmp_path / "index.html").read_bytes() == (written / "index.html").read_bytes()
    write_inspection(inspected(head_counts=None), tmp_path)
    assert not (tmp_path / "head-counts.svg").exists()
    assert (tmp_path / "notes.svg").exists()

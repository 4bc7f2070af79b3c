"""Laws of publishing: what is made from a `run.json` agrees with it, and nothing that it was made from is lost."""

import re
import shutil
from pathlib import Path

import pytest
from sample import sample_run

from evaluation.measurement import read_run, write_run
from reports import publish
from reports.drawing import headline_chart
from reports.layers import anatomy_rows
from reports.page import render_markdown
from reports.study import is_study

FOLDER = Path("reports") / "published" / "trio"
KEPT = ("run.json", "recipe.yaml", "recipe.lock")
PUBLISHED = sorted((Path(__file__).parents[2] / "reports" / "published").glob("*/run.json"))


def told_in_few_charts():
    """A run without curves, tables and trade-offs: each look at what was published draws all its charts again."""
    run = sample_run()
    kept = [m for m in run.measurements if m.name != "accuracy" or m.target == "result"]
    return run.model_copy(update={"measurements": kept, "series": {}, "tables": {}})


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A tree with a README and one run, published twice."""
    root = tmp_path_factory.mktemp("tree")
    folder = root / FOLDER
    folder.mkdir(parents=True)
    write_run(told_in_few_charts(), folder)
    for name in ("recipe.yaml", "recipe.lock"):
        (folder / name).write_text("kept", encoding="utf-8")
    (root / "README.md").write_text("<!-- results:trio -->\n<!-- /results -->\n", encoding="utf-8")
    before = {name: (folder / name).read_bytes() for name in KEPT}
    assert list(publish.differing(root))
    publish.publish(root)
    publish.publish(root)
    assert {name: (folder / name).read_bytes() for name in KEPT} == before
    return root


@pytest.fixture
def tree(published, tmp_path):
    """The published tree again, to be spoilt."""
    return shutil.copytree(published, tmp_path / "tree")


def test_publishing_makes_all_agree_and_keeps_run_recipe_and_lock(published):
    assert list(publish.differing(published)) == []
    assert (published / FOLDER / "headline.svg").exists()


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("index.html", ">All 3 gates held.<", ">All 4 gates held.<"),
        ("report.md", "9.8x", "9.9x"),
        ("summary.csv", "0.861", "0.961"),
        ("run.json", '"value": 2.93', '"value": 1.93'),
    ],
)
def test_a_figure_that_was_changed_by_hand_is_found(tree, name, before, after):
    file = tree / FOLDER / name
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after), encoding="utf-8")
    assert list(publish.differing(tree))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (r'(id="chart-headline">.*?"value":)9.79', r"\g<1>19.79"),
        (r'(id="chart-latency">.*?<script type="application/json">).*?</script>', r"\g<1>{}</script>"),
        (r'(id="dark-colours">\{"#)[0-9a-f]', r"\g<1>g"),
    ],
    ids=["a figure", "a whole chart", "a colour"],
)
def test_a_chart_that_was_changed_on_the_page_is_found(tree, before, after):
    spoilt(tree / FOLDER / "index.html", before, after)
    assert list(publish.differing(tree)) == [tree / FOLDER / "index.html"]


def spoilt(file, before, after):
    """The file with the first place that fits `before` rewritten."""
    text, changed = re.subn(before, after, file.read_text(encoding="utf-8"), count=1, flags=re.DOTALL)
    assert changed
    file.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", ["latency.svg", "index.html"])
def test_a_wrong_figure_in_a_still_drawing_is_found(tree, name):
    spoilt(tree / FOLDER / name, r'(<svg [^>]*aria-label="Median.*?role-axis-label.*?>)0(</text>)', r"\g<1>7\g<2>")
    assert list(publish.differing(tree)) == [tree / FOLDER / name]


def test_what_another_font_moves_in_a_still_drawing_is_no_difference(tree):
    for name in ("latency.svg", "index.html"):
        spoilt(tree / FOLDER / name, r"(<svg .*?translate\(\d+)", r"\g<1>.7")
    assert list(publish.differing(tree)) == []


def test_a_drawing_that_is_missing_or_of_another_run_is_found_and_one_of_the_user_s_own_is_not(tree):
    folder = tree / FOLDER
    (folder / "headline.svg").unlink()
    (folder / "own.svg").write_text("<svg></svg>", encoding="utf-8")
    shutil.copy(folder / "latency.svg", folder / "latency-of-old.svg")
    assert [file.name for file in publish.differing(tree)] == ["headline.svg", "latency-of-old.svg"]


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.parent.name)
def test_a_published_run_renders_from_its_reference_on(file):
    run = read_run(file)
    has_headline = headline_chart(run, "") is not None and not is_study(run)
    assert ("headline.svg" in render_markdown([run])) is has_headline
    names = [name for name, _, _ in anatomy_rows(run)]
    assert "reference" not in names[1:]

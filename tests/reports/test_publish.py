"""Laws of publishing: what is made from a `run.json` agrees with it, and nothing that it was made from is lost."""

from pathlib import Path

import pytest
from sample import sample_run

from evaluation.measurement import read_run, write_run
from reports import publish
from reports.drawing import anatomy_rows, headline_chart
from reports.page import render_html, render_markdown

PUBLISHED = sorted((Path(__file__).parents[2] / "reports" / "published").glob("*/run.json"))


@pytest.fixture
def tree(tmp_path):
    """A tree with a README and one published run."""
    folder = tmp_path / "reports" / "published" / "trio"
    folder.mkdir(parents=True)
    write_run(sample_run(), folder)
    for name in ("recipe.yaml", "recipe.lock"):
        (folder / name).write_text("kept", encoding="utf-8")
    (tmp_path / "README.md").write_text("<!-- results:trio -->\n<!-- /results -->\n", encoding="utf-8")
    return tmp_path


def test_publishing_makes_all_agree_and_keeps_run_recipe_and_lock(tree):
    folder = tree / "reports" / "published" / "trio"
    kept = {name: (folder / name).read_bytes() for name in ("run.json", "recipe.yaml", "recipe.lock")}
    assert list(publish.differing(tree))
    publish.publish(tree)
    publish.publish(tree)
    assert list(publish.differing(tree)) == []
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert (folder / "headline.svg").exists()


@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.parent.name)
def test_a_published_run_renders_from_its_reference_on(file):
    run = read_run(file)
    has_headline = headline_chart(run, "") is not None
    assert ('<figure class="narrow">' in render_html([run])) is has_headline
    assert ("headline.svg" in render_markdown([run])) is has_headline
    names = [name for name, _, _ in anatomy_rows(run)]
    assert "reference" not in names[1:]

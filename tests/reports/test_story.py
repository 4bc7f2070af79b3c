"""Laws of the story of one run: its sections in the order that was promised, whole for old runs too, commands exact."""

import shlex

import pytest
from sample import old_run, sample_run
from sweep_sample import sample_sweep

from compress.cli import app
from evaluation.measurement import Run, read_run, write_run
from reports.outline import Code
from reports.page import render_html, render_markdown
from reports.story import sections_of

ORDER = ("headline", "steps", "tradeoff", "latency", "anatomy", "importance", "broke", "training", "gates")
ORDER += ("environment", "skipped", "data", "recipe", "reproduce", "measurements")
OF_AN_OLD_RUN = tuple(name for name in ORDER if name not in ("importance", "broke"))


@pytest.mark.parametrize(("run", "names"), [(sample_run(), ORDER), (old_run(), OF_AN_OLD_RUN)], ids=["new", "old"])
def test_the_sections_stand_in_their_order(run, names):
    assert tuple(section.name for section in sections_of(run) if section.name in ORDER) == names


def test_an_old_run_json_still_comes_out_whole(tmp_path):
    write_run(old_run(), tmp_path)
    run = read_run(tmp_path)
    page, text = render_html([run], drawn=False), render_markdown([run])
    for part in ("Step by step", "Quality against latency", "Latency by batch and length", "How to reproduce"):
        assert part in page
        assert part in text
    assert "noise" not in text.lower()


def test_the_commands_that_are_shown_are_ours():
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    for run in (sample_run(), sample_sweep()):
        [section] = [section for section in sections_of(run) if section.name == "reproduce"]
        [code] = [block for block in section.blocks if isinstance(block, Code)]
        lines = [shlex.split(line) for line in code.text.splitlines()]
        assert all(line[0] == "compress" and line[1] in known for line in lines)
        assert len(lines) > 1


def test_a_run_without_a_recipe_shows_the_command_that_was_typed():
    run = Run(name="measure", environment={"command": "compress measure a b --data t.tsv"})
    assert "compress measure a b --data t.tsv" in render_markdown([run])
    assert "recipe.yaml" not in render_markdown([run])


def test_a_device_is_named_only_where_the_recipe_means_another():
    run = sample_run()
    moved = run.model_copy(update={"environment": run.environment | {"device": "cuda"}})
    assert "--device" not in render_markdown([run])
    assert "compress run recipe.yaml -o again --device cuda" in render_markdown([moved])


def test_a_run_of_nothing_has_no_empty_sections():
    assert all(section.blocks for section in sections_of(Run(name="empty")))

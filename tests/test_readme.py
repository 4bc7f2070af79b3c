"""What README and CONTRIBUTING show has to work, and what they quote has to be what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from compress.dissection import hidden_group
from compress.recipe import Recipe
from compress.stages.prune import Prune
from reports.publish import differing

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_recipe_in_the_readme_is_one():
    shown = yaml.safe_load(_blocks(README, "yaml")[0])
    assert Recipe.model_validate(shown).name == "mine"


def test_the_pruning_in_the_readme_is_a_stage():
    [stage] = yaml.safe_load(_blocks(README, "yaml")[1])
    assert Prune.model_validate(stage["prune"]).steps == 3


def test_the_recipes_of_other_tasks_in_the_readme_are_some():
    shown, _, others = _blocks(README, "yaml")
    whole = yaml.safe_load(shown)
    tasks = set()
    for changes in yaml.safe_load_all(others):
        [table] = changes["data"]["tables"]
        splits = {name: split | {"table": table} for name, split in whole["data"].items() if name != "tables"}
        recipe = whole | {"model": changes["model"], "data": changes["data"] | splits, "gates": {}}
        tasks.add(Recipe.model_validate(recipe).model.task)
    assert tasks == {"token-classification", "sentence-embedding", "question-answering"}


def test_the_criterion_in_contributing_scores_every_unit(bundle, make_context):
    [shown] = _blocks(CONTRIBUTING, "python")
    namespace: dict[str, object] = {"__name__": "l1"}
    exec(compile(shown, "shown", "exec", dont_inherit=True), namespace)
    groups = [*bundle.anatomy.groups, hidden_group(bundle.module, bundle.family)]
    scores = namespace["L1"]().score(bundle, groups, make_context())
    assert [len(score) for score in scores] == [group.units for group in groups]


def test_the_stage_in_the_readme_keeps_the_layers_it_names(bundle, make_context):
    [shown] = _blocks(README, "python")[-1:]
    namespace: dict[str, object] = {"__name__": "keep_layers"}
    exec(compile(shown, "shown", "exec", dont_inherit=True), namespace)
    stage = namespace["KeepLayers"].model_validate({"layers": [0, 2]})
    after = stage.apply(bundle, make_context())
    assert after.anatomy.layers == 2
    assert after.anatomy.parameters == stage.predict(bundle.anatomy).parameters


def test_every_command_in_the_readme_exists():
    from compress.cli import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    known |= {group.name for group in app.registered_groups}
    shown = set(re.findall(r"^compress (\w+)", README, flags=re.MULTILINE))
    assert shown == known


def test_tables_and_pages_say_what_the_runs_say():
    assert [file.relative_to(ROOT).as_posix() for file in differing(ROOT)] == []


def test_a_changed_run_is_found_to_disagree(tmp_path):
    quoted = re.search(r"<!-- results:reviews-trio -->.*?<!-- /results -->", README, flags=re.DOTALL)
    (tmp_path / "README.md").write_text(quoted.group(), encoding="utf-8")
    folder = tmp_path / "reports" / "published"
    for name in ("reviews-trio", "sst2-floor"):
        text = (ROOT / "reports" / "published" / name / "run.json").read_text(encoding="utf-8")
        (folder / name).mkdir(parents=True)
        (folder / name / "run.json").write_text(re.sub(r'"value": 0\.8\d+', '"value": 0.1234', text), encoding="utf-8")
    assert tmp_path / "README.md" in list(differing(tmp_path))


@pytest.mark.parametrize("text", [README, CONTRIBUTING])
def test_every_file_that_is_linked_is_there(text):
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / link).exists(), link

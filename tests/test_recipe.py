"""Recipes: every fault at once, each with its place; `--set`; a resolved recipe is the same recipe."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_run import small_recipe, write_recipe

import recipes
from compress import catalog
from compress.baselines import BASELINES
from compress.changes import with_changes
from compress.errors import RecipeError
from compress.places import read_yaml
from compress.recipe import Measure, Recipe, read_recipe, stage_name, to_yaml

SHIPPED = recipes.names()
MUTATIONS = 100


@pytest.fixture
def recipe_with(tmp_path: Path) -> Callable[..., Path]:
    """A maker of recipe files: the small recipe with PATH=VALUE changes in the file itself."""

    def make(*changes: str) -> Path:
        return write_recipe(tmp_path / "recipe.yaml", with_changes(small_recipe(), changes))

    return make


def faults(file: Path, *changes: str) -> list[str]:
    """Every line of a recipe's refusal, without the file; each has to name line and column."""
    with pytest.raises(RecipeError) as caught:
        read_recipe(file, changes)
    lines = str(caught.value).splitlines()
    assert all(re.match(rf"{re.escape(str(file))}:\d+:\d+: \S", line) for line in lines), lines
    return [line.removeprefix(f"{file}:") for line in lines]


def place_of(file: Path, words: str) -> str:
    """Line and column at which `words` begin in a file."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if words in line:
            return f"{number}:{line.index(words) + 1}"
    raise AssertionError(f"{words!r} is not in {file}")


# Reading


@pytest.mark.parametrize("name", SHIPPED)
def test_a_resolved_recipe_reads_back_as_the_same_recipe(name, tmp_path):
    recipe = read_recipe(recipes.find(name))
    again = tmp_path / "recipe.yaml"
    again.write_text(to_yaml(recipe.resolved()), encoding="utf-8")
    assert read_recipe(again) == recipe
    assert read_recipe(again).resolved() == recipe.resolved()


def test_the_resolved_recipe_spells_out_every_default(recipe_with):
    resolved = read_recipe(recipe_with()).resolved()
    assert resolved["measure"]["baselines"] == ["torch-fp32"]
    assert resolved["stages"][0]["distill"]["schedule"]["kind"] == "inverse_sqrt"
    assert resolved["stages"][2] == {"export": {"attention": "fused", "precision": "fp32", "target": None}}
    assert resolved["report"] == ["html", "markdown"]
    assert resolved["data"]["calibration"] == {"from": "train", "examples": 32}


def test_five_e_minus_five_is_a_learning_rate(tmp_path):
    text = yaml.safe_dump(small_recipe(), sort_keys=False)
    file = tmp_path / "recipe.yaml"
    file.write_text(re.sub(r"learning_rate: \S+", "learning_rate: 5e-5", text, count=1), encoding="utf-8")
    assert read_recipe(file).resolved()["prepare"][0]["finetune"]["learning_rate"] == 5e-5


def test_a_stage_without_settings_may_stand_as_its_name_alone(recipe_with):
    named = read_recipe(recipe_with("stages.2=export"))
    assert named == read_recipe(recipe_with("stages.2={export: null}")) == read_recipe(recipe_with())


def test_stages_are_called_by_place_and_kind(recipe_with):
    recipe = read_recipe(recipe_with())
    named = [stage_name(place, stage) for place, stage in enumerate(recipe.stages, start=1)]
    assert named == ["01-distill", "02-prune", "03-export", "04-quantize"]
    assert stage_name(1, recipe.prepare[0], prepare=True) == "p1-finetune"


# Faults


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        ("seeed=3", "seeed", "seeed: unknown key; known: version, .*; did you mean 'seed'"),
        ("stages.distill.epoch=3", "epoch: 3", r"stages\.0\.distill\.epoch: unknown key; .*; did you mean 'epochs'"),
        ("deploy.thread=3", "thread: 3", r"deploy\.thread: unknown key; .*; did you mean 'threads'"),
        ("stages.prune.target.flop=0.5", "flop: 0.5", r"flop: unknown key; .*; did you mean 'flops'"),
        ("stages.3={quantise: {}}", "quantise", "no stage 'quantise'; known: .*; did you mean 'quantize'"),
        ("stages.prune.criterion.use=tailor", "criterion", "no criterion 'tailor'; .*; did you mean 'taylor'"),
        ("measure.metrics=[acuracy]", "acuracy", "no metric 'acuracy'; .*; did you mean 'accuracy'"),
        ("measure.baselines=[torch-fp33]", "torch-fp33", "no baseline 'torch-fp33'; .*; did you mean 'torch-"),
        ("model.task=text-clasification", "task:", "no task 'text-clas.*; did you mean 'text-classification'"),
        ("deploy={runtime: onnx-runtime}", "runtime:", "no runtime 'onnx-runtime'; .*; did you mean 'onnxruntime'"),
        ("deploy={runtime: torch-fp32}", "runtime:", "'torch-fp32' runs torch models; wanted one for ONNX graphs"),
        ("seed=many", "seed:", "seed: input should be a valid integer.*, got 'many'"),
        ("seed=-1", "seed:", "seed: .*greater than or equal to 0, got -1"),
        ("version=2", "version:", "version: input should be 1, got 2"),
        ("name=a b", "name:", "name: .*pattern"),
        ("name=../up", "name:", "name: .*pattern"),
        ("stages.distill.learning_rate=.nan", "learning_rate: .nan", "learning_rate: .*"),
        ("stages.distill.student.layers=[0, 0]", "layers:", "wanted layers in rising order, each once"),
        ("stages=[]", "stages:", "stages: .*at least 1 item"),
        ("stages=5", "stages:", "stages: .*valid tuple"),
        ("stages.0=5", "- 5", "wanted one stage: a name, a colon and its settings"),
        ("stages.0={prune: {}, export: {}}", "prune: {}", "wanted one stage"),
        ("stages.distill.epochs=two", "epochs: two", "epochs: input should be a valid integer"),
        ("deploy.shapes=[16]", "- 16", "shape 16: wanted text of the form BATCHxTOKENS"),
        ("model={task: text-classification}", "model:", "the key 'source' is missing"),
        ("model.source=pip:x", "source: pip", "wanted pip:package==version!path/inside"),
        ("data.dev.table=text", "table: text", "no table is called text; wanted one of texts"),
        ("data.test.split=0.5", "split: 0.5", "the fractions of texts add up to 1.25, wanted 1 at most"),
        ("stages.prune.criterion.use=[taylor]", "criterion", r"no criterion \['taylor'\]"),
        ("stages.prune.criterion=taylor", "criterion", "wanted {use: NAME, ...} with one of"),
    ],
)
def test_a_fault_is_shown_where_it_stands_with_what_was_wanted(recipe_with, change, place, said):
    file = recipe_with(change)
    lines = faults(file)
    assert len(lines) == 1, lines
    assert re.search(said, lines[0]), lines[0]
    line, column = lines[0].split(":")[:2]
    text = file.read_text(encoding="utf-8").splitlines()[int(line) - 1]
    assert text[int(column) - 1 :].startswith(place) or text[: int(column) - 1].endswith("- "), (lines[0], text)


def test_all_faults_come_at_once_in_the_order_of_the_file(recipe_with):
    file = recipe_with(
        "seed=x", "model.task=y", "data.train.split=2", "stages.distill.epochs=0", "stages.3={quantise: {}}", "zzz=1"
    )
    lines = faults(file)
    named = [re.sub(r"^\d+:\d+: ([^:]+):.*", r"\1", line) for line in lines]
    assert named == ["seed", "model.task", "data.train.split", "stages.0.distill.epochs", "stages.3", "zzz"]
    places = [tuple(map(int, line.split(":")[:2])) for line in lines]
    assert places == sorted(places)


def test_quantize_before_export_says_why_it_cannot_be(recipe_with):
    file = recipe_with("stages=[{quantize: {}}, {export: {}}]")
    [first, *_] = faults(file)
    assert "put `export` before it" in first
    assert "a torch model quantized first can't be exported" in first
    assert first.startswith(place_of(file, "quantize") + ": stages.0:")


@pytest.mark.parametrize("name", ["prune", "distill", "finetune", "export"])
def test_work_on_a_torch_model_after_export_is_refused(recipe_with, name):
    settings = small_recipe()["stages"][1]["prune"] if name == "prune" else {}
    file = recipe_with(f"stages=[{{export: {{}}}}, {json.dumps({name: settings})}]")
    [line] = faults(file)
    assert f"stages.1: {name} works on a torch model" in line
    assert "put it before `export`" in line


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_integers_are_not_made_of_half_precision(recipe_with, precision: str):
    half = f"{{export: {{precision: {precision}}}}}"
    [line] = faults(recipe_with(f"stages=[{half}, {{quantize: {{}}}}]"))
    assert f"stages.1: quantize starts from float32: leave out `precision: {precision}` before it" in line
    alone = recipe_with(f"stages=[{half}]", f"deploy.precision={precision}")
    assert read_recipe(alone).stages[0].precision == precision


@pytest.mark.parametrize(
    ("wanted", "stages", "said"),
    [
        ("int8", [{"export": {}}], "the result has fp32: add `quantize` after `export`, or leave it out"),
        ("fp16", [{"export": {}}], "the result has fp32: set `export: {precision: fp16}`, or leave it out"),
        ("fp16", [{"export": {}}, {"quantize": {}}], "the result has int8: leave out `quantize` and set"),
        ("bf16", [{"export": {"precision": "fp16"}}], "the result has fp16: set `export: {precision: bf16}`, or"),
        ("int4", [{"export": {}}, {"quantize": {}}], "add `quantize: {method: weight_int4}` after `export`"),
        ("int8", [{"export": {}}, {"quantize": {"method": "weight_int4"}}], "the result has int4: add"),
        ("int8", [{"export": {"target": "cuda"}}, {"quantize": {}}], "int8 for cuda: onnxruntime carries products"),
        (
            "fp32",
            [{"export": {"target": "web"}}, {"quantize": {}}],
            "but `quantize` makes int8 of it, which needs another graph: set 'int8'",
        ),
        ("fp16", [{"export": {"target": "cpu", "precision": "fp16"}}], "fp16 for cpu: CPUs cast it to float32"),
    ],
)
def test_a_precision_that_no_stage_makes_is_no_deployment(recipe_with, wanted, stages, said):
    file = recipe_with(f"stages={json.dumps(stages)}", f"deploy.precision={wanted}")
    [line] = faults(file)
    assert said in line


def test_a_precision_that_others_will_make_may_be_asked_for(recipe_with):
    file = recipe_with('stages=[{"prune": {"target": {"flops": 0.5}, "criterion": {"use": "magnitude"}}}]')
    assert read_recipe(file).deploy.precision == "int8"


def test_a_block_that_the_recipe_leaves_out_is_made_by_set(tmp_path):
    values = small_recipe()
    del values["measure"]
    file = write_recipe(tmp_path / "recipe.yaml", values)
    assert read_recipe(file, ["measure.rounds=12"]).measure == Measure(rounds=12)
    with pytest.raises(RecipeError, match=r"^--set measure\.roundz=12: measure\.roundz: unknown key; known: baselines"):
        read_recipe(file, ["measure.roundz=12"])


def test_the_order_of_stages_is_judged_even_where_settings_are_faulty(recipe_with):
    lines = faults(recipe_with("stages=[{quantize: {method: none}}]"))
    assert len(lines) == 2
    assert any("put `export` before it" in line for line in lines)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", []),
        (", steps: 2, distill: {}", ["it learns from the reference, not made yet"]),
        (", steps: 2, repair: nonsense", ["repair"]),
    ],
)
def test_what_prepares_the_reference_may_not_learn_from_it_whatever_says_that_it_does(recipe_with, more, told):
    prune = f"{{prune: {{target: {{flops: 0.5}}, criterion: {{use: magnitude}}{more}}}}}"
    file = recipe_with(f"prepare=[{prune}]")
    if not told:
        assert read_recipe(file).prepare[0].steps == 1
        return
    lines = faults(file)
    assert len(lines) == len(told)
    assert all(part in line for part, line in zip(told, lines, strict=True))


def test_an_export_cannot_prepare_the_reference(recipe_with):
    [line] = faults(recipe_with("prepare=[export]"))
    assert "the reference has to stay a torch model" in line


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        ("min_speedup: {baseline: torch-bf16, shape: 1x8, ratio: 2}", "not among measure.baselines"),
        ("min_compression: {baseline: onnx-fp32, ratio: 2}", "not among measure.baselines"),
        ("min_speedup: {baseline: torch-fp32, shape: 1x9, ratio: 2}", r"not among deploy.shapes \(1x8, 2x16\)"),
        ("max_quality_drop: {metric: matthews, drop: 0.1}", r"not among measure.metrics \(accuracy, f1\)"),
        ("max_quality_drop: {metric: f1, drop: 0.1, bound: 0.9}", "wanted 0.95, got 0.9"),
    ],
)
def test_a_gate_on_what_is_not_measured_is_refused(recipe_with, gate, said):
    [line] = faults(recipe_with(f"gates={{{gate}}}"))
    assert re.search(said, line)


def test_a_gate_on_a_metric_that_the_task_does_not_measure_by_itself_is_refused(recipe_with):
    gate = "gates={max_quality_drop: {metric: matthews, drop: 0.1}}"
    assert "not among measure.metrics" in faults(recipe_with("measure={}", gate))[0]
    read_recipe(recipe_with("measure={}", gate.replace("matthews", "f1")))


def test_faults_between_sections_are_listed_beside_faults_in_others(recipe_with):
    file = recipe_with(
        "seed=x",
        "model.source=5",
        "gates={}",
        "gates.min_speedup={baseline: torch-bf16, shape: 1x9, ratio: 2}",
        "gates.max_quality_drop={metric: matthews, drop: 0.1}",
    )
    named = [re.sub(r"^\d+:\d+: ([^:]+):.*", r"\1", line) for line in faults(file)]
    gates = ["min_speedup.baseline", "min_speedup.shape", "max_quality_drop.metric"]
    assert named == ["seed", "model.source", *(f"gates.{name}" for name in gates)]


def test_what_learns_from_the_reference_cannot_prepare_it(recipe_with):
    [line] = faults(recipe_with("prepare=[distill]"))
    assert "distill under `prepare`: it learns from the reference, not made yet" in line


@pytest.mark.parametrize("text", ["5", "- a\n- b\n", "just words", "null"])
def test_a_file_that_is_no_mapping_says_what_a_recipe_is(tmp_path, text):
    file = tmp_path / "recipe.yaml"
    file.write_text(text, encoding="utf-8")
    [line] = faults(file)
    assert "wanted a mapping with keys such as version, name, model" in line


# --set


def test_set_reaches_stages_by_name_and_by_number(recipe_with):
    file = recipe_with()
    by_name = read_recipe(file, ["stages.distill.epochs=3", "stages.export.attention=plain"])
    by_number = read_recipe(file, ["stages.0.distill.epochs=3", "stages.2.export.attention=plain"])
    assert by_name == by_number != read_recipe(file)


def test_set_of_a_stage_by_name_replaces_its_settings(recipe_with):
    changed = read_recipe(recipe_with(), ["stages.export={attention: plain}"])
    assert changed == read_recipe(recipe_with(), ["stages.2={export: {attention: plain}}"])


def test_set_leaves_the_values_it_was_given_alone():
    values = small_recipe()
    with_changes(values, ["seed=99", "deploy.shapes=[1x4]"])
    assert values == small_recipe()


def test_set_reads_values_as_a_recipe_does(recipe_with):
    recipe = read_recipe(recipe_with(), ["stages.distill.learning_rate=5e-5", "deploy.shapes=[1x4, 2x4]"])
    assert recipe.resolved()["stages"][0]["distill"]["learning_rate"] == 5e-5
    assert recipe.resolved()["deploy"]["shapes"] == ["1x4", "2x4"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed", "wanted PATH=VALUE"),
        ("=3", "wanted PATH=VALUE"),
        ("stages.9.distill.epochs=3", "no place 'stages.9.distill.epochs'"),
        ("stages.distil.epochs=3", "no place 'stages.distil.epochs'"),
        ("nowhere.at.all=1", "nowhere: unknown key"),
        ("seed.deep=1", "no place"),
        ("seed.deeper.still=1", "no place"),
        ("seed=[1", "the value is not YAML"),
        ("seed=\x07", "the value is not YAML"),
        ("seed=2020-99-99", "the value is not YAML"),
    ],
)
def test_a_set_that_leads_nowhere_is_refused_and_named(recipe_with, change, said):
    with pytest.raises(RecipeError) as caught:
        read_recipe(recipe_with(), [change])
    assert str(caught.value).startswith(f"--set {change}: ")
    assert said in str(caught.value)


def test_a_fault_that_set_put_in_is_told_by_that_option_and_another_by_its_place(recipe_with):
    with pytest.raises(RecipeError) as caught:
        read_recipe(recipe_with("seed=x"), ["stages.distill.epoch=4"])
    placed, told = str(caught.value).splitlines()
    assert re.search(r"recipe\.yaml:\d+:\d+: seed: ", placed)
    assert told.startswith("--set stages.distill.epoch=4: stages.0.distill.epoch: unknown key")


# The JSON Schema


def test_the_schema_names_everything_that_can_be_chosen():
    schema = json.dumps(Recipe.model_json_schema())
    for name in (*catalog.names("stages"), *catalog.names("criteria")):
        assert f'"{name}"' in schema, name


def test_the_schema_is_json_and_lists_every_key_of_a_shipped_recipe():
    schema = Recipe.model_json_schema()
    assert json.loads(json.dumps(schema)) == schema
    for name in SHIPPED:
        assert set(read_yaml(recipes.find(name)).values) <= set(schema["properties"])
    assert set(schema["required"]) == {"version", "name", "model", "data", "stages"}
    assert schema["additionalProperties"] is False


def test_the_schema_accepts_what_the_reader_accepts():
    schema = Recipe.model_json_schema()
    for name in SHIPPED:
        written = read_yaml(recipes.find(name)).values
        assert objections(schema, written, schema) == []
        assert objections(schema, read_recipe(recipes.find(name)).resolved(), schema) == []
    assert objections(schema, small_recipe(), schema) == []


@pytest.mark.parametrize(
    "change", ["seeed=1", "stages.distill.epoch=1", "stages.0={quantise: {}}", "seed=x", "stages.prune.criterion.use=x"]
)
def test_the_schema_refuses_what_the_reader_refuses(change):
    schema = Recipe.model_json_schema()
    assert objections(schema, with_changes(small_recipe(), [change]), schema) != []


def objections(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> list[str]:
    """What a JSON Schema has against a value; the part of the standard that editors need for this schema."""
    if "$ref" in schema:
        target = root
        for key in schema["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        return objections(target, value, root)
    options = schema.get("anyOf", schema.get("oneOf"))
    if options is not None and all(objections(option, value, root) for option in options):
        return [f"{value!r} fits none of {len(options)}"]
    found = []
    if "const" in schema and value != schema["const"]:
        found.append(f"{value!r} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{value!r} is not among {schema['enum']}")
    if "type" in schema and not isinstance(value, JSON_TYPES[schema["type"]]):
        return [*found, f"{value!r} is no {schema['type']}"]
    if isinstance(value, dict):
        properties, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        found += [f"{key} is missing" for key in schema.get("required", []) if key not in value]
        found += [f"{key} is unknown" for key in value if key not in properties and rest is False]
        for key, item in value.items():
            inner = properties.get(key, rest if isinstance(rest, dict) else {})
            found += objections(inner, item, root)
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        for index, item in enumerate(value):
            found += objections(first[index] if index < len(first) else schema.get("items", {}), item, root)
    return found


JSON_TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def test_every_baseline_runs_on_a_runtime_that_there_is():
    """Or says why it can't be measured."""
    measured = {baseline.runtime for baseline in BASELINES.values() if not baseline.obstacle}
    assert measured <= set(catalog.names("runtimes"))
    assert {name for name, baseline in BASELINES.items() if baseline.obstacle} == {
        "openvino-int8",
    }


# Whatever is done to a recipe, it reads or is refused with places


@pytest.mark.parametrize("name", [*SHIPPED, "small"])
def test_a_mutated_recipe_reads_or_is_refused_with_places(name, tmp_path):
    values = small_recipe() if name == "small" else read_recipe(recipes.find(name)).resolved()
    file = tmp_path / "recipe.yaml"
    random_ = random.Random(13)
    refused = 0
    for _ in range(MUTATIONS):
        mutated = mutate(values, random_)
        write_recipe(file, mutated)
        try:
            read_recipe(file)
        except RecipeError as fault:
            refused += 1
            for line in str(fault).splitlines():
                assert re.match(rf"{re.escape(str(file))}:\d+:\d+: \S", line), (mutated, line)
    assert refused > MUTATIONS / 2


STRANGE = [None, True, 0, -1, 3, 0.5, 1e300, "", "x", "1x8", [], [1], ["x"], [[]], {}, {"x": 1}, {1: 2}, {None: []}]


def mutate(values: dict[str, Any], random_: random.Random) -> Any:
    """A copy with one to three random nodes deleted, renamed, replaced, doubled or emptied."""
    mutated = copy.deepcopy(values)
    for _ in range(random_.randint(1, 3)):
        holder, key = random_.choice(list(nodes(mutated)) or [({"": 0}, "")])
        action = random_.choice(["delete", "rename", "retype", "retype", "double", "misspell"])
        if action == "delete":
            del holder[key]
        elif action == "retype":
            holder[key] = copy.deepcopy(random_.choice(STRANGE))
        elif action == "double" and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif action == "misspell" and isinstance(holder[key], str) and holder[key]:
            holder[key] = holder[key][1:]
        elif action == "rename" and isinstance(holder, dict):
            holder[random_.choice(["x", f"{key}s", 5, 2.5, True])] = holder.pop(key)
    return mutated


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) below a value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(entries):
        yield value, key
        yield from nodes(item)

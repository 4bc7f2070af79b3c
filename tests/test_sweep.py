"""Laws of variants: every combination once, each named apart, faults told before anything is done."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from small_run import small_recipe, write_recipe

from compress.errors import RecipeError
from compress.sweep import read_axis, read_variants

LAYERS = "stages.distill.student.layers"
TARGET = "stages.prune.target"
plain_values = st.recursive(
    st.integers(0, 99) | st.sampled_from(["taylor", "a, b", "it's", 'say "x"', "[", "}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["use", "x,y"]), inner, max_size=2),
    max_leaves=6,
)


@pytest.fixture
def recipe(tmp_path):
    return write_recipe(tmp_path / "small.yaml", small_recipe())


@given(st.lists(plain_values, min_size=1, max_size=4, unique_by=repr))
def test_values_are_parted_as_they_were_joined(values):
    axis = read_axis("a.b=" + ",".join(map(json.dumps, values)))
    assert [yaml.safe_load(text) for text in axis.values] == values


def test_the_variants_are_the_product_of_the_axes_and_the_last_varies_fastest(recipe):
    variants = read_variants(
        recipe, [f"{LAYERS}=2,3", f"{TARGET}={{encoder_parameters: 0.7}},{{encoder_parameters: 0.5}}"]
    )
    found = [(v.recipe.stages[0].student.layers, v.recipe.stages[1].target.encoder_parameters) for v in variants]
    assert found == [(2, 0.7), (2, 0.5), (3, 0.7), (3, 0.5)]


def test_a_variant_is_named_by_what_it_changes(recipe):
    variants = read_variants(recipe, [f"{LAYERS}=[0,2],3", "stages.prune.target.encoder_parameters=0.7,0.5"])
    assert [variant.name for variant in variants] == [
        "layers=0-2,encoder_parameters=0.7",
        "layers=0-2,encoder_parameters=0.5",
        "layers=3,encoder_parameters=0.7",
        "layers=3,encoder_parameters=0.5",
    ]


def test_settings_of_one_name_are_told_apart_by_more_of_their_path(recipe):
    more = small_recipe()
    more["stages"].insert(1, {"distill": {"epochs": 1}})
    write_recipe(recipe, more)
    names = [v.name for v in read_variants(recipe, ["stages.0.distill.epochs=1,2", "stages.2.prune.round_to=4,8"])]
    assert names[0] == "epochs=1,round_to=4"
    [name, *_] = [v.name for v in read_variants(recipe, ["stages.0.distill.batch=1,2", "stages.1.distill.batch=1,2"])]
    assert name.count("batch=1") == 2
    assert len(set(re.findall(r"[^,]*(?==)", name)) - {""}) == 2


@pytest.mark.parametrize("values", ["{use: magnitude},{ use:  magnitude }", "{use: random},{use: {random: {}}}"])
def test_one_recipe_is_not_two_variants(recipe, values):
    with pytest.raises(RecipeError):
        read_variants(recipe, [f"stages.prune.criterion={values}"])


@given(st.lists(st.text(min_size=1, max_size=120), min_size=2, max_size=5, unique=True))
def test_names_are_short_different_and_fit_for_files(values):
    from compress.sweep import Axis, _names

    axis = Axis("stages.distill.student.layers", tuple(values))
    names = _names([axis], [((axis.path, value),) for value in values])
    assert len({name.casefold() for name in names}) == len(values)
    assert all(re.fullmatch(r"layers=[A-Za-z0-9._+-]{1,80}", name) for name in names)


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ([], "at least one --over"),
        (["layers"], "wanted PATH=V1,V2"),
        (["=1,2"], "wanted PATH=V1,V2"),
        ([f"{LAYERS}="], "a value is empty"),
        ([f"{LAYERS}=2,,3"], "a value is empty"),
        ([f"{LAYERS}=2,3,2"], "2 stands there twice"),
        ([f"{LAYERS}=[2,3"], "not YAML"),
        (["seed=1,2"], "only settings under `stages`"),
        (["deploy.threads=1,2"], "only settings under `stages`"),
        ([f"{LAYERS}=2", f"{LAYERS}=3"], "varied already"),
        (["stages.distill.student={layers: 2}", f"{LAYERS}=3"], "varied already"),
        (["stages.7.distill.epochs=1,2"], "^--over stages.7.distill.epochs: the recipe has no place[^\\n]*$"),
    ],
)
def test_what_is_no_axis_is_refused(recipe, over, told):
    with pytest.raises(RecipeError, match=told):
        read_variants(recipe, over)


def test_every_fault_of_every_variant_is_listed_with_the_variants_that_have_it(recipe):
    faulty = small_recipe()
    faulty["prepare"][0]["finetune"]["epochs"] = -1
    write_recipe(recipe, faulty)
    with pytest.raises(RecipeError) as caught:
        read_variants(recipe, ["stages.distill.epochs=3,-2", "stages.prune.round_to=8,0"])
    lines = str(caught.value).splitlines()
    [common] = [line for line in lines if "prepare.0.finetune.epochs" in line]
    [epochs] = [line for line in lines if "distill.epochs: " in line]
    [round_to] = [line for line in lines if "round_to: " in line]
    assert common.startswith(f"{recipe}:")
    assert epochs.startswith("epochs=-2,round_to=8 and epochs=-2,round_to=0: ")
    assert round_to.startswith("epochs=3,round_to=0 and epochs=-2,round_to=0: ")


def test_changes_hold_in_every_variant(recipe):
    variants = read_variants(recipe, [f"{LAYERS}=2,3"], ["seed=5"])
    assert {variant.recipe.seed for variant in variants} == {5}
    with pytest.raises(RecipeError, match=r"--set nothing\.here=1"):
        read_variants(recipe, [f"{LAYERS}=2,3"], ["nothing.here=1"])

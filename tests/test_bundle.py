"""Laws of the bundle: its digest is its identity, its folder holds no path, a bad folder is refused with a reason."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import LABELS, logits_of, mixed_inputs, tiny_bundle

import compress
from compress import catalog
from compress.bundle import Bundle, Form
from compress.dissection import hidden_group
from compress.errors import ModelError
from compress.folder import load, save, source_bundle
from compress.lineage import Lineage, Step
from compress.runtimes.onnxruntime import open_session
from compress.surgery import keep_units


@pytest.fixture
def folder(tmp_path: Path, bundle: Bundle) -> Path:
    """A saved tiny bundle."""
    save(bundle, tmp_path / "model")
    return tmp_path / "model"


def _edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


# Digest


def test_equal_bundles_have_equal_digests(bundle: Bundle):
    assert bundle.digest == tiny_bundle().digest
    assert bundle.digest == bundle.with_model(copy.deepcopy(bundle.module)).digest


def test_the_digest_is_that_of_what_the_bundle_does(bundle: Bundle):
    weight = copy.deepcopy(bundle.module)
    with torch.no_grad():
        weight.classifier.bias[0] += 1e-6
    words = copy.deepcopy(bundle.processor)
    words.add_tokens(["new"])
    changed = {
        "weight": replace(bundle, model=weight),
        "label": replace(bundle, labels=("negative", "glad")),
        "order of labels": replace(bundle, labels=LABELS[::-1]),
        "vocabulary": replace(bundle, processor=words),
        "config": replace(bundle, config={**bundle.config, "hidden_act": "relu"}),
    }
    digests = {name: other.digest for name, other in changed.items()}
    assert bundle.digest not in digests.values()
    assert len(set(digests.values())) == len(digests)


@pytest.mark.parametrize("change", [{"padding_side": "left"}, {"model_max_length": 16}])
def test_the_digest_counts_how_texts_are_cut_and_padded(bundle: Bundle, change: dict[str, Any]):
    tokenizer = copy.deepcopy(bundle.processor)
    for name, value in change.items():
        setattr(tokenizer, name, value)
    assert replace(bundle, processor=tokenizer).digest != bundle.digest


def test_lineage_is_no_part_of_the_digest(bundle: Bundle):
    assert replace(bundle, lineage=Lineage("pip:model==1!model", "sha256:00")).digest == bundle.digest


def test_a_graphs_digest_is_that_of_its_bytes_not_of_its_place(exported, tmp_path: Path):
    made = exported["even-fused"][1]
    moved = tmp_path / "other.onnx"
    shutil.copy(made.graph.path, moved)
    assert replace(made, model=replace(made.graph, path=moved)).digest == made.digest
    proto = onnx.load(moved)
    proto.producer_version += "1"
    onnx.save(proto, moved)
    assert replace(made, model=replace(made.graph, path=moved)).digest != made.digest


def test_a_graphs_digest_and_folder_have_its_weights_whatever_they_are_called(exported, tmp_path: Path):
    bundle = exported["even-fused"][1]
    proto = onnx.load(bundle.graph.path)
    (tmp_path / "made").mkdir()
    inside = {"all_tensors_to_one_file": True, "location": "weights.bin", "size_threshold": 256}
    onnx.save(proto, tmp_path / "made" / "other.onnx", save_as_external_data=True, **inside)
    made = replace(bundle, model=replace(bundle.graph, path=tmp_path / "made" / "other.onnx"))
    assert [file.name for file in made.graph.files] == ["other.onnx", "weights.bin"]
    save(made, tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.digest == made.digest
    inputs = {name: value.numpy() for name, value in mixed_inputs(bundle).items()}
    answers = [open_session(one.graph, device="cpu", threads=1).outputs(inputs) for one in (bundle, again)]
    assert np.array_equal(*answers)
    weights = tmp_path / "saved" / "onnx" / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x55")
    assert load(tmp_path / "saved").digest != made.digest


# Save and load


def test_a_saved_bundle_comes_back_with_all_that_it_was(bundle: Bundle, tmp_path: Path):
    step = Step(
        "01-prune", "prune", {"round_to": 16}, 13, {"parameters": 2.0}, {"parameters": 1.0}, "sha256:a", "sha256:b"
    )
    kept = replace(bundle, lineage=Lineage("pip:model==1!model", "sha256:00").then(step))
    save(kept, tmp_path)
    again = compress.load(tmp_path)
    assert again.digest == kept.digest
    assert again.lineage == kept.lineage
    assert again.task.name == kept.task.name
    assert again.labels == LABELS
    assert again.form is Form.TORCH
    assert not again.module.training
    text = "w0 w5 unheard-of w7"
    assert again.processor(text)["input_ids"] == kept.processor(text)["input_ids"]
    assert again.max_tokens == kept.max_tokens == 64


def test_loading_draws_nothing_from_the_callers_generator(folder: Path):
    state = torch.random.get_rng_state()
    load(folder)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_file_holds_a_path(folder: Path, tmp_path: Path):
    save(load(folder), tmp_path / "again")
    source = source_bundle(tmp_path / "again", load(folder).task, LABELS, Lineage())
    save(source, tmp_path / "third")
    for file in (tmp_path / "third").iterdir():
        content = file.read_bytes()
        assert str(tmp_path).encode() not in content, file.name
        assert b"/model" not in content, file.name
        assert str(Path.home()).encode() + b"/" not in content, file.name


def test_saving_the_same_bundle_twice_writes_the_same_bytes(bundle: Bundle, tmp_path: Path):
    for name in ("one", "two"):
        save(bundle, tmp_path / name)
    files = {file.name for file in (tmp_path / "one").iterdir()}
    assert files >= {"config.json", "anatomy.json", "lineage.json", "model.safetensors", "tokenizer.json"}
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_a_source_folder_gets_the_recipes_labels(folder: Path, bundle: Bundle):
    _edit(folder / "config.json", lambda document: document.update(id2label={"0": "LABEL_0", "1": "LABEL_1"}))
    source = source_bundle(folder, bundle.task, ("bad", "good"), Lineage())
    assert source.labels == ("bad", "good")
    assert source.config["id2label"] == {"0": "bad", "1": "good"}
    inputs = mixed_inputs(bundle)
    assert torch.allclose(logits_of(source.module, inputs), logits_of(bundle.module, inputs), atol=1e-5)


@pytest.mark.parametrize("labels", [LABELS[::-1], ("bad", "good")])
def test_a_trained_head_scores_its_own_labels_in_its_own_order(folder: Path, bundle: Bundle, labels: tuple[str, ...]):
    with pytest.raises(ModelError, match=r"labels are negative, positive, the data's .*names: \[negative, positive\]"):
        source_bundle(folder, bundle.task, labels, Lineage())
    assert source_bundle(folder, bundle.task, labels, Lineage(), new_head_seed=1).labels == labels


def test_a_head_for_other_labels_is_made_only_where_it_will_be_trained(folder: Path, bundle: Bundle):
    three = ("down", "level", "up")
    with pytest.raises(ModelError, match=r"no fitting weights for classifier\.bias, .*made by `prepare: \[finetune"):
        source_bundle(folder, bundle.task, three, Lineage())
    one, same, other = (
        source_bundle(folder, bundle.task, three, Lineage(), new_head_seed=seed).digest for seed in (1, 1, 2)
    )
    assert one == same != other


@pytest.mark.parametrize("seed", [None, 1])
def test_a_source_that_lacks_weights_of_the_encoder_is_refused_even_before_training(
    folder: Path, bundle: Bundle, seed: int | None
):
    weights = load_file(folder / "model.safetensors")
    lost = "bert.encoder.layer.1.output.dense.weight"
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"has no fitting weights for {re.escape(lost)}"):
        source_bundle(folder, bundle.task, LABELS, Lineage(), new_head_seed=seed)


def test_a_folder_without_weights_is_asked_whether_it_was_copied_whole(folder: Path):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor a graph under onnx/"):
        load(folder)


def test_an_onnx_file_is_loaded_by_its_name(folder: Path, exported, tmp_path: Path):
    made = exported["even-fused"][1]
    save(made, folder)  # beside the weights, as in a finished run
    assert load(folder).form is Form.TORCH
    again = load(folder / "onnx" / "model.onnx")
    assert again.form is Form.ONNX
    assert again.digest == made.digest
    shutil.copy(folder / "onnx" / "model.onnx", folder / "onnx" / "model_int8.onnx")
    assert load(folder / "onnx" / "model_int8.onnx").graph.precision == "int8"
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"several ONNX files \(model\.onnx, model_int8\.onnx\); name one"):
        load(folder)
    with pytest.raises(ModelError, match=r"model_fp16\.onnx: no such file"):
        load(folder / "onnx" / "model_fp16.onnx")


# Bad folders


def test_a_bundle_asked_for_the_other_form_says_what_it_is(bundle: Bundle, exported):
    with pytest.raises(ModelError, match=r"model\.onnx: an ONNX graph, no torch module; `\.graph\.path` is its file"):
        _ = exported["even-fused"][1].module
    with pytest.raises(ModelError, match=r"a torch model, no ONNX graph; `\.module` is it"):
        _ = bundle.graph


def test_who_may_read_other_files_may_read_the_weights(bundle: Bundle, tmp_path: Path):
    save(bundle, tmp_path)
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "config.json").stat().st_mode


def test_a_pickle_is_never_opened(folder: Path, bundle: Bundle):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ModelError, match=r"no \*\.safetensors; pytorch_model\.bin is a pickle"):
        source_bundle(folder, bundle.task, LABELS, Lineage())


def test_a_folder_without_a_config_is_refused(folder: Path):
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json: no such file; a model folder has one"):
        load(folder)


def test_a_folder_without_an_anatomy_is_a_stock_model_or_refused(folder: Path, bundle: Bundle, uneven: Bundle):
    (folder / "anatomy.json").unlink()
    assert load(folder).anatomy == bundle.anatomy
    save(uneven, folder)
    (folder / "anatomy.json").unlink()
    with pytest.raises(ModelError, match=r"has no fitting weights for bert\.encoder\.layer\.1"):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", "anatomy.json", "lineage.json"])
@pytest.mark.parametrize("content", ["", "{", "[]", "\x00\x01", "null"])
def test_a_file_that_is_no_json_object_is_refused(folder: Path, name: str, content: str):
    (folder / name).write_text(content)
    with pytest.raises(ModelError, match=name):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", "anatomy.json", "lineage.json"])
def test_an_empty_object_is_refused(folder: Path, name: str):
    (folder / name).write_text("{}")
    with pytest.raises(ModelError, match=name):
        load(folder)


def test_an_edited_anatomy_is_refused(folder: Path):
    def fewer(document: dict[str, Any]) -> None:
        document["groups"][1]["units"] = 60

    _edit(folder / "anatomy.json", fewer)
    with pytest.raises(
        ModelError,
        match=r"model\.safetensors: .* is \[64\], the config and anatomy\.json make it \[60\] .*edited by hand",
    ):
        load(folder)

    def more(document: dict[str, Any]) -> None:
        document["groups"][1]["units"] = 68

    _edit(folder / "anatomy.json", more)
    with pytest.raises(ModelError, match="says 68 units, the config makes 64"):
        load(folder)


def test_an_anatomy_that_counts_falsely_is_refused(folder: Path):
    def dearer(document: dict[str, Any]) -> None:
        document["groups"][1]["unit_parameters"] += 1

    _edit(folder / "anatomy.json", dearer)
    with pytest.raises(ModelError, match=r"anatomy\.json"):
        load(folder)


def test_weights_that_were_cut_short_are_refused(folder: Path, bundle: Bundle):
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load(folder)
    with pytest.raises(ModelError, match="can't load it"):
        source_bundle(folder, bundle.task, LABELS, Lineage())


def test_an_unknown_family_is_named_with_the_known_ones(folder: Path, bundle: Bundle):
    _edit(folder / "config.json", lambda document: document.update(model_type="mamba"))
    for read in (lambda: load(folder), lambda: source_bundle(folder, bundle.task, LABELS, Lineage())):
        with pytest.raises(ModelError, match=r"'mamba' is of no known family; known: .*bert"):
            read()


def test_an_unknown_task_is_named(folder: Path):
    _edit(folder / "anatomy.json", lambda document: document.update(task="text-clasification"))
    with pytest.raises(ModelError, match="did you mean 'text-classification'"):
        load(folder)


def test_a_folder_without_a_tokenizer_is_refused(folder: Path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match=r"the tokenizer has no vocabulary; is tokenizer\.json missing"):
        load(folder)


def test_a_tokenizer_that_pads_and_cuts_by_itself_is_stopped(folder: Path, bundle: Bundle):
    _edit(
        folder / "tokenizer.json",
        lambda document: document.update(
            padding={
                "strategy": {"Fixed": 32},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "[PAD]",
            },
            truncation={"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        ),
    )
    text = "w1 w2 w3 w4 w5"
    again = load(folder)
    assert again.digest == bundle.digest  # asked first: a call sets the tokenizer's truncation anew
    assert again.processor(text)["input_ids"] == bundle.processor(text)["input_ids"]


@pytest.mark.parametrize("named", [5, [5], [None], "BertModel", {"a": 1}, 0])
def test_architectures_that_are_no_list_of_names_are_refused(folder: Path, named: Any):
    (folder / "anatomy.json").unlink()
    _edit(folder / "config.json", lambda document: document.update(architectures=named))
    with pytest.raises(ModelError, match=r"config\.json: architectures is .*, wanted a list"):
        load(folder)


@pytest.mark.parametrize("named", [None, []])
def test_a_config_without_a_class_tells_no_task(folder: Path, named: Any):
    (folder / "anatomy.json").unlink()
    _edit(folder / "config.json", lambda document: document.update(architectures=named))
    with pytest.raises(ModelError, match=r"architectures names no class"):
        load(folder)


# Image processors


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": {"height": 32, "width": 32}}, r"\(3, 32, 32\), and the model takes \(3, 12, 16\)"),
        ({"size": {"height": 16, "width": 12}}, "is it that of another model"),
        ({"do_resize": False}, "is it that of another model"),
        ({"size": {"height": "a"}}, "no usable image processor"),
        ({"size": {"height": "a", "width": "b"}}, "no usable image processor"),
        ({"size": 5.5}, "no usable image processor"),
        ({"image_mean": "a"}, "no usable image processor"),
        ({"image_mean": [0.5]}, "no usable image processor"),
        ({"image_std": [0, 0, 0]}, "pixels that are no numbers"),
        ({"resample": "a"}, "resample is 'a', wanted the number"),
        ({"resample": 99}, "no usable image processor"),
        ({"rescale_factor": "a"}, "no usable image processor"),
    ],
)
def test_an_image_processor_that_does_not_fit_the_model_is_refused(
    change: dict[str, Any], message: str, ours: bool, tmp_path: Path
):
    save(tiny_bundle("vit"), tmp_path)
    if not ours:
        (tmp_path / "anatomy.json").unlink()
    assert load(tmp_path).task.modality == "image"
    _edit(tmp_path / "preprocessor_config.json", lambda document: document.update(change))
    with pytest.raises(ModelError, match=rf"preprocessor_config\.json: .*{message}"):
        load(tmp_path)


def test_a_tokenizer_with_ids_that_the_model_has_not_is_refused(folder: Path):
    def beyond(document: dict[str, Any]) -> None:
        document["model"]["vocab"]["w3"] = 5000

    _edit(folder / "tokenizer.json", beyond)
    with pytest.raises(ModelError, match=r"tokenizer\.json has the id 5000, config\.json a vocab_size of 120"):
        load(folder)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("anatomy.json", {"hidden": 20}, r"make it \[120, 20\]"),
        ("anatomy.json", {"hidden": 64}, r"make it \[120, 64\]"),
        ("anatomy.json", {"hidden": "24"}, "not an anatomy"),
        ("anatomy.json", {"groups": []}, "not an anatomy"),
        ("anatomy.json", {"rest": {}}, "not an anatomy"),
        ("anatomy.json", {"format": 2}, "format 2, wanted 3"),
        ("config.json", {"head_dim": 3}, "head_dim is 3, the weights make 8"),
        ("config.json", {"num_key_value_heads": 3}, "num_attention_heads is 4, num_key_value_heads 3"),
    ],
)
def test_a_cut_folder_that_was_edited_by_hand_is_refused(
    file: str, change: dict[str, Any], message: str, tmp_path: Path
):
    whole = tiny_bundle("llama")
    hidden = hidden_group(whole.module, whole.family)
    cut = keep_units(whole.module, whole.family, [hidden], [torch.arange(hidden.units) < 24])
    save(whole.with_model(cut), tmp_path)
    assert load(tmp_path).anatomy.hidden == 24
    _edit(tmp_path / file, lambda document: document.update(change))
    with pytest.raises(ModelError, match=message):
        load(tmp_path)


@pytest.mark.parametrize("family", ["distilbert", "gpt2", "bert"])
def test_a_width_of_the_ffn_that_was_edited_is_told_whatever_its_key_is(family: str, tmp_path: Path):
    whole = tiny_bundle(family)
    ffn = whole.anatomy.of_axis("ffn")
    masks = [torch.arange(group.units) < 40 for group in ffn]
    save(whole.with_model(keep_units(whole.module, whole.family, ffn, masks)), tmp_path)
    assert load(tmp_path).anatomy.of_axis("ffn")[0].units == 40
    key = whole.family.ffn_key
    _edit(tmp_path / "config.json", lambda document: document.update({key: 80}))
    with pytest.raises(ModelError, match=f"{key} is 80, the weights make 40"):
        load(tmp_path)


def _rename_axes(document: dict[str, Any]) -> None:
    for group in document["groups"]:
        group["axis"] = "kv_groups" if group["axis"] == "heads" else group["axis"]


def _fewer_heads(document: dict[str, Any]) -> None:
    document["groups"][0]["units"] = 2


def _cheaper_units(document: dict[str, Any]) -> None:
    document["groups"][1]["unit_parameters"] -= 1


def _no_axis(document: dict[str, Any]) -> None:
    document["groups"][0]["axis"] = "hands"


def _no_rest(document: dict[str, Any]) -> None:
    document["rest"] = {}


def _one_slice(document: dict[str, Any]) -> None:
    document["groups"][0]["slices"] = document["groups"][0]["slices"][:1]


@pytest.mark.parametrize("form", ["weights", "graph"])
@pytest.mark.parametrize("change", [_rename_axes, _fewer_heads, _cheaper_units, _no_axis, _no_rest, _one_slice])
def test_an_anatomy_that_was_edited_by_hand_is_refused_beside_weights_and_beside_a_graph(
    form: str, change: Any, exported: dict[str, tuple[Bundle, Bundle]], tmp_path: Path
):
    source, made = exported["uneven-fused"]
    for bundle in (source, made):
        save(bundle, tmp_path)
    place = tmp_path if form == "weights" else tmp_path / "onnx" / "model.onnx"
    assert load(place).anatomy == source.anatomy
    _edit(tmp_path / "anatomy.json", change)
    with pytest.raises(ModelError, match="edited by hand"):
        load(place)


def test_heads_that_a_graph_does_not_have_are_told(exported: dict[str, tuple[Bundle, Bundle]], tmp_path: Path):
    """Config and anatomy agree with each other, and the graph is of another cut."""
    save(exported["uneven-fused"][0], tmp_path)
    save(exported["uneven-fused"][1], tmp_path)
    shutil.copyfile(exported["even-fused"][1].graph.path, tmp_path / "onnx" / "model.onnx")
    with pytest.raises(ModelError, match=r"heads \[4, 3, 1, 2\], and model.onnx has \[4, 4, 4, 4\]"):
        load(tmp_path / "onnx" / "model.onnx")


@pytest.mark.parametrize("family", catalog.names("families"))
def test_a_graph_beside_an_uneven_anatomy_loads_in_every_family(
    family: str, exported: dict[str, tuple[Bundle, Bundle]], tmp_path: Path
):
    whole = tiny_bundle(family)
    masks = [torch.arange(g.units) < max(1, g.units - (g.layer or 0)) for g in whole.anatomy.groups]
    cut = whole.with_model(keep_units(whole.module, whole.family, whole.anatomy.groups, masks))
    save(cut, tmp_path)
    (tmp_path / "onnx").mkdir()
    plain = exported["even-plain"][1].graph.path  # it does not tell its heads
    shutil.copyfile(plain, tmp_path / "onnx" / "model.onnx")
    assert load(tmp_path / "onnx" / "model.onnx").anatomy == cut.anatomy

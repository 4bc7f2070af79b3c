"""A run's memory is foretold: torch keeps what is said to be kept, a run takes what was said, none starts in vain."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import ROOT, Small, command, make_small, outside, small_recipe, write_recipe
from tiny import mixed_inputs, tiny_bundle

from compress import catalog, memory, preflight
from compress.anatomy import Amount, Anatomy
from compress.bundle import Bundle
from compress.errors import CompressError
from compress.folder import save
from compress.lengths import Lengths
from compress.memory import Layers, Phase, Room, Term, Texts, foretold, peak, room
from compress.pruning import latency
from compress.pruning.target import Target
from compress.recipe import Recipe, read_recipe
from compress.stages.prune import Prune

SAME = 64


def lengths(count: int, tokens: int) -> Lengths:
    """Examples of one row each, all of one length."""
    return Lengths(np.ones(count, dtype=np.int64), np.full(count, tokens, dtype=np.int64))


def texts(tokens: int, **changes: Lengths) -> Texts:
    """Splits of `SAME` examples, all of `tokens` tokens."""
    given = {name: lengths(SAME, tokens) for name in ("train", "dev", "test", "calibration")}
    return Texts(**{**given, **changes})


def layers(bundle: Bundle) -> Layers:
    return Layers.of(bundle.anatomy, bundle.config, bundle.task)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """The small recipe, which has every kind of stage."""
    return read_recipe(write_recipe(tmp_path / "small.yaml", small_recipe()))


def changed(recipe: Recipe, stage: int, **fields: Any) -> Recipe:
    """The recipe with other settings in one of its stages."""
    stages = list(recipe.stages)
    stages[stage] = stages[stage].model_copy(update=fields)
    return recipe.model_copy(update={"stages": tuple(stages)})


def test_models_that_are_open_to_be_timed_are_foretold(bundle: Bundle, recipe: Recipe) -> None:
    big = replace(layers(bundle), anatomy=replace(bundle.anatomy, rest={**bundle.anatomy.rest, "head": Amount(10**9)}))
    counted = foretold(recipe, big, texts(16))
    timed = foretold(changed(recipe, 1, target=Target(latency=0.5)), big, texts(16))
    place = [phase.name for phase in counted].index("02-prune")
    sessions = [term for term in timed[place].terms if term.what == "weights in sessions"]
    assert sessions
    assert sessions[0].size_bytes >= (latency.TOGETHER + 1) * 4 * 10**9
    assert timed[place].size_bytes > counted[place].size_bytes


# What a backward pass needs


def kept_by_torch(bundle: Bundle, inputs: dict[str, torch.Tensor]) -> int:
    """Bytes of the distinct buffers that autograd saves in a forward pass, weights left out."""
    model = bundle.module.train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage  # held, so that no later one gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(**inputs)
    return sum(storage.nbytes() for storage in saved.values())


@pytest.mark.parametrize("family", catalog.names("families"))
def test_what_is_said_to_be_kept_is_what_torch_keeps(family: str) -> None:
    bundle = tiny_bundle(family)
    inputs = mixed_inputs(bundle, batch=8, tokens=48)
    pictures = bundle.task.modality == "image"
    tokens = bundle.max_tokens if pictures else 48
    assert layers(bundle).kept(8, tokens) == pytest.approx(kept_by_torch(bundle, inputs), rel=0.25)


def test_dropped_attention_keeps_every_pair_of_tokens() -> None:
    one, two = (layers(tiny_bundle(attention_probs_dropout_prob=rate)).kept for rate in (0.0, 0.1))
    assert one(4, 64) == 2 * one(4, 32)
    assert two(4, 64) > 2 * two(4, 32)
    assert two(8, 64) == 2 * two(4, 64)


# Phases


def test_every_stage_and_the_measuring_is_a_phase(recipe: Recipe, bundle: Bundle) -> None:
    phases = foretold(recipe, layers(bundle), texts(16))
    assert [phase.name for phase in phases] == [
        *("p1-finetune", "01-distill", "02-prune", "03-export", "04-quantize", "measure")
    ]
    assert all(term.size_bytes >= 0 for phase in phases for term in phase.terms)
    assert peak(phases).size_bytes == max(phase.size_bytes for phase in phases)


def test_larger_batches_longer_texts_and_more_baselines_take_more(recipe: Recipe, bundle: Bundle) -> None:
    model = layers(bundle)
    plain = foretold(recipe, model, texts(16))
    batch = foretold(changed(recipe, 0, batch=32), model, texts(16))
    longer = foretold(recipe, model, texts(32))
    measured = recipe.measure.model_copy(update={"baselines": ("torch-fp32", "torch-dynamic-int8", "onnx-fp32")})
    more = foretold(recipe.model_copy(update={"measure": measured}), model, texts(16))
    assert batch[1].size_bytes > plain[1].size_bytes
    assert [a.size_bytes > b.size_bytes for a, b in zip(longer[:2], plain[:2], strict=True)] == [True, True]
    assert more[-1].size_bytes > plain[-1].size_bytes
    assert [phase.size_bytes for phase in more[:-1]] == [phase.size_bytes for phase in plain[:-1]]


def test_transfer_texts_count_for_the_stage_that_is_taught_alone(recipe: Recipe, bundle: Bundle) -> None:
    plain = foretold(recipe, layers(bundle), texts(16))
    wider = foretold(recipe, layers(bundle), texts(16, transfer=lengths(SAME, 48)))

    def activations(phase: Phase) -> float:
        return sum(term.size_bytes for term in phase.terms if term.what.startswith("activations"))

    assert activations(wider[0]) == activations(plain[0])
    assert activations(wider[1]) > activations(plain[1])


def test_a_stage_that_trains_between_its_cuts_takes_what_the_dearest_of_all_that_takes(
    recipe: Recipe, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, taught, cut, *_ = foretold(recipe, layers(bundle), texts(16))
    teaching, short = recipe.stages[0], bundle.anatomy.with_layers((0, 3))

    def with_trainings(*anatomies: Anatomy) -> Phase:
        trainings = [(teaching, anatomy) for anatomy in anatomies]
        monkeypatch.setattr(Prune, "trainings", lambda *_: trainings, raising=False)
        return foretold(recipe, layers(bundle), texts(16))[2]

    def own(phase: Phase) -> list[Term]:
        return [term for term in phase.terms if term.what not in ("libraries", "data", "models kept at hand")]

    assert with_trainings() == cut
    once = with_trainings(recipe.stages[0].predict(bundle.anatomy))
    assert own(once) == own(taught) != own(cut)
    assert with_trainings(short) != with_trainings(bundle.anatomy)
    assert with_trainings(bundle.anatomy, short) == with_trainings(bundle.anatomy)


@pytest.mark.slow
def test_a_run_takes_what_was_foretold(tmp_path: Path) -> None:
    small = make_small(tmp_path)
    environment = outside(small.cache)

    def asked(*words: str) -> str:
        command = [sys.executable, "-m", "compress", *words, "small.yaml"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    said = json.loads(asked("plan", "--json"))["memory_bytes"]
    assert str(ROOT) in environment["PYTHONPATH"]
    asked("run")
    run = json.loads((small.output / "run.json").read_text(encoding="utf-8"))
    assert run["environment"]["peak_memory_bytes"] == pytest.approx(said, rel=0.25)


# The wide run's activations are several times what the libraries take: of them alone something is shown.
WIDE_TOKENS, WIDE_BATCH = 256, 64
MEASURED = """
import re, sys
from pathlib import Path
{work}
text = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", text)[1]) * 1024)
"""
LOADED = "import accelerate, torch, transformers.models.bert.modeling_bert, compress.runner"
EXECUTED = """
from compress.recipe import read_recipe
from compress.runner import Runner
from compress.sources import Lock, Sources
from compress.store.store import Store
home = Path.cwd()
sources = Sources(home / "cache", home, Lock())
Runner(read_recipe(home / "small.yaml"), sources, Store(home / "cache"), "cpu").execute()
"""


def peak_of(work: str, home: Path) -> int:
    """Bytes that a process of its own takes at most for this work."""
    code = MEASURED.replace("{work}", work)
    environment = outside(home / "cache")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, env=environment, capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc, for a child's own peak holds its parent's elsewhere")
def test_activations_take_what_was_foretold_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Small(tmp_path)
    shape = {"hidden_size": 256, "num_hidden_layers": 2, "intermediate_size": 1024, "max_position_embeddings": 256}
    save(tiny_bundle(**shape), small.model)
    for extra in ("anatomy.json", "lineage.json"):
        (small.model / extra).unlink()
    words = " ".join(f"w{number % 50}" for number in range(WIDE_TOKENS))
    rows = [f"w{60 + number % 40} w{number} {words}\t{number % 2}" for number in range(100)]
    rows += [f"w1 w{number}\t{number % 2}" for number in range(20)]
    small.table.write_text("\n".join(["text\tlabel", *rows]) + "\n", encoding="utf-8")
    recipe = small_recipe()
    recipe["data"]["tables"]["texts"]["label"] = {"column": "label", "names": ["0", "1"]}
    recipe["data"] |= {"train": {"table": "texts", "split": 0.8}, "dev": {"table": "texts", "split": 0.1}}
    recipe["data"] |= {"test": {"table": "texts", "split": 0.1}}
    recipe["prepare"] = [{"finetune": {"epochs": 1, "batch": WIDE_BATCH}}]
    recipe["stages"] = recipe["stages"][2:3]
    recipe["deploy"]["precision"] = "fp32"
    write_recipe(small.recipe, recipe)

    monkeypatch.chdir(tmp_path)
    told = json.loads(command(monkeypatch, "plan", "small.yaml", "--json", cache=small.cache).out)
    said, beyond = told["memory_bytes"], told["memory_bytes"] - memory.LIBRARIES_BYTES
    assert beyond > 500e6
    libraries, taken = peak_of(LOADED, tmp_path), peak_of(EXECUTED, tmp_path)
    assert taken == pytest.approx(said, rel=0.25)
    assert taken - libraries == pytest.approx(beyond, rel=0.4)


# What is there


def phase(size_bytes: float) -> Phase:
    return Phase("01-distill", (Term("weights", 1e6), Term("activations", size_bytes - 1e6, "a smaller `batch`")))


@pytest.fixture
def one_gigabyte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "room", lambda: Room(10**9, "left in this container"))


@pytest.mark.usefixtures("one_gigabyte")
def test_what_can_not_fit_is_refused_with_what_helps() -> None:
    preflight.check_memory([phase(0.9e9)])
    with pytest.raises(CompressError) as fault:
        preflight.check_memory([phase(0.5e9), phase(2e9)])
    assert fault.value.exit_code == 2
    for said in ("01-distill needs about 2.0 GB", "1.0 GB is left in this container", "a smaller `batch`"):
        assert said in str(fault.value)


@pytest.mark.usefixtures("one_gigabyte")
def test_what_may_yet_fit_is_told_and_not_refused() -> None:
    within = phase(1.2e9)  # a foretold peak may be a fourth too high
    preflight.check_memory([within])
    assert "needs about 1.2 GB" in preflight.shortage([within])
    assert preflight.shortage([phase(0.9e9)]) == ""


def test_there_is_room_for_what_runs_now() -> None:
    import psutil

    assert psutil.Process().memory_info().rss / 2 < room().size_bytes <= psutil.virtual_memory().total * 1.1


@pytest.mark.parametrize(
    ("allowed", "left"), [("1000000", 1_000_000 - 300_000 + 50_000), ("max", None), (str(2**62), None)]
)
def test_a_container_leaves_what_its_limit_says_files_not_counted(
    tmp_path: Path, allowed: str, left: int | None
) -> None:
    (tmp_path / "memory.max").write_text(allowed + "\n")
    (tmp_path / "memory.current").write_text("300000\n")
    (tmp_path / "memory.stat").write_text("anon 200000\ninactive_file 50000\n")
    assert memory._left(tmp_path, "memory.max", "memory.current", "inactive_file") == left


def test_a_cut_model_takes_less(recipe: Recipe, bundle: Bundle) -> None:
    whole = layers(bundle)
    half = replace(whole, anatomy=bundle.anatomy.with_layers((0, 3)))
    assert half.kept(8, 32) == whole.kept(8, 32) / 2
    thin = replace(whole, anatomy=bundle.anatomy.with_units({"layers.0.ffn": 8, "layers.2.heads": 1}))
    assert peak(foretold(recipe, thin, texts(16))).size_bytes < peak(foretold(recipe, whole, texts(16))).size_bytes

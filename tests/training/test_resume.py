"""A training that was interrupted anywhere ends in the very weights of one that was not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from accelerate import Accelerator
from tiny import tiny_bundle, tiny_context, tiny_split

from compress.bundle import Bundle
from compress.stage import Context, Stage
from compress.stages.distill import Distill, Student
from compress.stages.finetune import Finetune
from compress.surgery import keep_layers
from compress.training import checkpoint
from compress.training import loop as training
from compress.training.checkpoint import Checkpoints
from compress.training.distillation import Distillation, LabelsLoss, Losses, spread
from compress.training.state import TrainingState

SETTINGS: dict[str, Any] = {"epochs": 3, "batch": 16, "learning_rate": 1e-2}
STEPS = 15
"""Of 80 examples in batches of 16, three times: epochs end after steps 5, 10 and 15."""

STAGES: dict[str, Stage] = {
    "finetune": Finetune(**SETTINGS),
    "finetune to the last epoch": Finetune(**SETTINGS, keep="last"),
    "finetune in bf16": Finetune(**SETTINGS, precision="bf16"),
    "distill": Distill(**SETTINGS, student=Student(layers=2)),
    "distill on labels": Distill(**SETTINGS, losses=Losses(labels=LabelsLoss())),
}


class Gradual:
    """Drops a layer and teaches what is left, twice: epochs end after steps 5 and 10 of each training."""

    teaching = Distillation(epochs=2, batch=16, learning_rate=1e-2)

    def apply(self, bundle: Bundle, context: Context) -> Bundle:
        for step in (1, 2):
            part = context.within(f"step-{step}", start=(step - 1) / 2, end=step / 2)
            kept = spread(bundle.anatomy.layers, bundle.anatomy.layers - 1)
            cut = bundle.with_model(keep_layers(bundle.module, bundle.family, kept))
            bundle = self.teaching.teach(cut, part)
        return bundle


MOMENTS: dict[str, tuple[object, str]] = {
    "before the update": (Accelerator, "backward"),
    "after the update": (Checkpoints, "due"),
    "while writing a checkpoint": (safetensors.torch, "save_file"),
}


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def work(stage: Stage | Gradual, scratch: Path) -> tuple[str, dict[str, Any], list[str]]:
    """Apply a stage; gives the outcome's digest, the curves, and what progress was told."""
    curves: dict[str, Any] = {}
    told: list[str] = []
    context = tiny_context(
        scratch,
        train=tiny_split("train", 80, seed=1),
        reference=tiny_bundle(seed=4),
        record=curves.__setitem__,
        progress=lambda _fraction, message: told.append(message),
    )
    torch.manual_seed(len(list(scratch.iterdir())))  # a new process has another random state of its own
    return stage.apply(tiny_bundle(), context).digest, curves, told


def counted(patch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with each step of any training."""
    steps: list[int] = []
    backward = Accelerator.backward
    patch.setattr(Accelerator, "backward", lambda *args, **more: (steps.append(1), backward(*args, **more)))
    return steps


def killed_in(step: int, moment: str) -> pytest.MonkeyPatch:
    """Have the process die in that step, until the patch is undone."""
    patch = pytest.MonkeyPatch()
    owner, name = MOMENTS[moment]
    original = getattr(owner, name)
    calls: list[int] = []

    def watched(*args: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == step:
            if moment == "while writing a checkpoint":
                original(*args, **more)
                content = args[1].read_bytes()
                args[1].write_bytes(content[: len(content) // 2])
            raise Killed
        return original(*args, **more)

    patch.setattr(owner, name, watched)
    return patch


@pytest.fixture
def every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each step, as if steps took very long."""
    monkeypatch.setattr(checkpoint, "EVERY_S", 0.0)
    monkeypatch.setattr(checkpoint, "SHARE", math.inf)


@pytest.fixture
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each epoch and none between, as if steps took no time."""
    monkeypatch.setattr(checkpoint, "EVERY_S", math.inf)
    monkeypatch.setattr(checkpoint, "SHARE", math.inf)


@pytest.mark.slow
@pytest.mark.usefixtures("every_step")
@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES.keys())
def test_killed_again_and_again_a_training_ends_as_if_nothing_had_happened(stage: Stage, tmp_path: Path):
    digest, curves, _ = work(stage, tmp_path / "calm")
    # Counted from where each try begins: within an epoch, right before its end, at it, right after it, at the very end.
    for step, moment in (
        (3, "before the update"),
        (2, "while writing a checkpoint"),
        (2, "before the update"),
        (1, "after the update"),
        (1, "while writing a checkpoint"),
        (2, "before the update"),
        (8, "after the update"),
        (2, "while writing a checkpoint"),
    ):
        patch = killed_in(step, moment)
        with pytest.raises(Killed):
            work(stage, tmp_path / "killed")
        patch.undo()
    resumed, again, told = work(stage, tmp_path / "killed")
    assert told[0].startswith("goes on after step")
    assert resumed == digest
    assert again == curves


@pytest.mark.usefixtures("every_epoch")
@pytest.mark.parametrize("step", [1, 4, 5, 6, 9, 10, 11, 15])
def test_killed_in_any_step_it_goes_on_from_the_last_epoch(step: int, tmp_path: Path):
    wanted = work(STAGES["distill"], tmp_path / "calm")
    patch = killed_in(step, "before the update")
    with pytest.raises(Killed):
        work(STAGES["distill"], tmp_path / "killed")
    patch.undo()
    digest, curves, told = work(STAGES["distill"], tmp_path / "killed")
    assert (digest, curves) == wanted[:2]
    assert (told[0] == f"goes on after step {(step - 1) // 5 * 5}") == (step > 5)


@pytest.mark.usefixtures("every_step")
def test_steps_that_are_done_are_not_done_again(tmp_path: Path, monkeypatch):
    patch = killed_in(12, "after the update")
    with pytest.raises(Killed):
        work(STAGES["finetune"], tmp_path)
    patch.undo()
    steps = counted(monkeypatch)
    work(STAGES["finetune"], tmp_path)
    assert len(steps) == STEPS - 11
    work(STAGES["finetune"], tmp_path)
    assert len(steps) == STEPS - 11, "a finished training was found"


def test_a_stage_that_trains_twice_is_resumed_in_the_training_that_it_was_in(tmp_path: Path, monkeypatch):
    digest, curves, _ = work(Gradual(), tmp_path / "calm")
    assert {name.partition(".")[0] for name in curves} == {"step-1", "step-2"}
    for step, moment in (
        (4, "before the update"),
        (2, "while writing a checkpoint"),  # at the end of the first training, whose first epoch is kept
        (6, "before the update"),  # five steps end the first training; the second one's first is never done
        (7, "after the update"),
    ):
        patch = killed_in(step, moment)
        with pytest.raises(Killed):
            work(Gradual(), tmp_path / "killed")
        patch.undo()
    steps = counted(monkeypatch)
    resumed, again, told = work(Gradual(), tmp_path / "killed")
    assert (resumed, again) == (digest, curves)
    assert [message for message in told if "goes on" in message] == [
        "step-1: goes on after step 10",
        "step-2: goes on after step 5",
    ]
    assert len(steps) == 5


def test_a_finished_training_is_found_though_no_checkpoint_was_due(tmp_path: Path, monkeypatch):
    digest, curves, _ = work(Gradual(), tmp_path / "calm")
    monkeypatch.setattr(checkpoint, "SHARE", -1.0)
    patch = killed_in(11, "before the update")
    with pytest.raises(Killed):
        work(Gradual(), tmp_path / "killed")
    patch.undo()
    steps = counted(monkeypatch)
    assert work(Gradual(), tmp_path / "killed")[:2] == (digest, curves)
    assert len(steps) == 10, "the second training's alone"


def test_the_end_of_a_training_is_kept_without_the_optimizer(tmp_path: Path):
    work(STAGES["finetune"], tmp_path)
    [file] = tmp_path.glob("*.safetensors")
    kinds = {name.partition("/")[0] for name in safetensors.torch.load_file(file)}
    assert kinds == {"model", "best", "random"}


@pytest.mark.usefixtures("every_step")
def test_a_checkpoint_of_other_settings_data_seed_or_model_is_left_alone(tmp_path: Path):
    def told_by(stage: Stage, bundle: Bundle, **changes: Any) -> list[str]:
        told: list[str] = []
        context = tiny_context(tmp_path, progress=lambda _fraction, message: told.append(message), **changes)
        stage.apply(bundle, context)
        return told

    stage, other = Finetune(epochs=1, batch=16), Finetune(epochs=2, batch=16)
    told_by(stage, tiny_bundle())
    assert told_by(stage, tiny_bundle())[0] == "goes on after step 4"
    for told in (
        told_by(other, tiny_bundle()),
        told_by(stage, tiny_bundle(seed=9)),
        told_by(stage, tiny_bundle(), seed=9),
        told_by(stage, tiny_bundle(), train=tiny_split("train", 64, seed=9)),
    ):
        assert not told[0].startswith("goes on")


@pytest.mark.usefixtures("every_step")
def test_a_checkpoint_damaged_by_hand_is_not_trusted(tmp_path: Path):
    wanted = work(STAGES["finetune"], tmp_path / "calm")
    patch = killed_in(7, "after the update")
    with pytest.raises(Killed):
        work(STAGES["finetune"], tmp_path / "killed")
    patch.undo()
    [file] = (tmp_path / "killed").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    digest, curves, told = work(STAGES["finetune"], tmp_path / "killed")
    assert not told[0].startswith("goes on")
    assert (digest, curves) == wanted[:2]


@pytest.mark.usefixtures("every_step")
def test_the_epoch_that_is_kept_may_lie_before_the_kill(tmp_path: Path):
    scores = iter([0.9, 0.5, 0.4])
    patch = pytest.MonkeyPatch()
    patch.setattr(training, "dev_score", lambda *_: next(scores))
    wanted = work(STAGES["finetune"], tmp_path / "calm")
    scores = iter([0.9, 0.5, 0.4])
    kill = killed_in(12, "before the update")
    with pytest.raises(Killed):
        work(STAGES["finetune"], tmp_path / "killed")
    kill.undo()
    assert work(STAGES["finetune"], tmp_path / "killed")[:2] == wanted[:2]
    patch.undo()


@pytest.mark.parametrize(
    ("rises", "scores", "kept"),
    [
        (True, [0.1, 0.3, 0.3, 0.2], 1),
        (False, [9.0, 4.0, 4.0, 5.0], 1),
        (True, [math.nan, 0.1, math.nan], 1),
        (False, [math.nan, math.nan], 0),
    ],
)
def test_the_first_best_score_is_kept_whichever_way_the_metric_goes(rises: bool, scores: list[float], kept: int):
    model = tiny_bundle().module
    state = TrainingState(model, torch.optim.AdamW(model.parameters()), torch.device("cpu"), rises)
    for number, score in enumerate(scores):
        with torch.no_grad():
            model.classifier.bias.fill_(number)
        state.score(score)
    state.restore_best()
    assert set(model.classifier.bias.tolist()) == {float(kept)}

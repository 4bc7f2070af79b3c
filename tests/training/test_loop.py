"""Laws of the training loop: it learns, keeps the best epoch, and stops when the loss is no number."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny import tiny_split

from compress.bundle import Bundle
from compress.errors import ModelError
from compress.feed import TensorBatch
from compress.stage import Context
from compress.training.judge import dev_score
from compress.training.loop import LossOf, Training, train
from compress.training.schedules import Schedule


def _loss(model: torch.nn.Module, batch: TensorBatch) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(model(**batch.inputs).logits, batch.labels)


def test_it_learns_the_toy_task(bundle: Bundle, make_context: Callable[..., Context]):
    context = make_context(
        train=tiny_split("train", 512, seed=1, words=20), dev=tiny_split("dev", 64, seed=2, words=20)
    )
    settings = Training(epochs=5, learning_rate=3e-3, batch=16, schedule=Schedule(kind="linear"))
    trained = train(bundle, _loss, context.train, settings, context)
    assert dev_score(bundle, bundle.module, context) < 0.8
    assert dev_score(trained, trained.module, context) > 0.95
    assert not trained.module.training
    before, after = (dict(some.module.named_parameters()) for some in (bundle, trained))
    still = {name for name, value in before.items() if torch.equal(value, after[name])}
    # Softmax does not see what is added to all keys alike, so their biases get next to no gradient.
    assert {name for name in still if "key.bias" not in name} == set(), "every matrix and every vector is trained"


def test_the_best_epoch_is_kept_and_all_are_recorded(bundle: Bundle, make_context: Callable[..., Context]):
    recorded: dict = {}
    dev = tiny_split("dev", 32, seed=2)
    mostly_positive = dev.rows(np.flatnonzero((dev.labels == 1) | (np.arange(32) < 8)))
    context = make_context(dev=mostly_positive, record=recorded.__setitem__)
    settings = Training(epochs=6, learning_rate=1.0, batch=8, weight_decay=0.0, schedule=Schedule(kind="constant"))

    def pulled() -> LossOf:
        """First to the label that most of dev has, then, for longer, to the other."""
        steps = iter(range(48))
        return lambda model, _batch: (1 if next(steps) < 12 else -1) * model.classifier.bias.diff(dim=0).neg().sum()

    best = train(bundle, pulled(), context.train, settings, context)
    scores = recorded["dev"]["y"]
    assert len(scores) == 6
    assert scores[-1] < max(scores), f"{scores}: this run has to end below its best, or it shows nothing"
    assert dev_score(best, best.module, context) == max(scores)
    last = train(bundle, pulled(), context.train, settings.model_copy(update={"keep": "last"}), context)
    assert dev_score(last, last.module, context) == scores[-1]
    assert recorded["loss"]["x"][-1] == recorded["dev"]["x"][-1] == 48


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    bundle: Bundle, make_context: Callable[..., Context]
):
    settings = Training(epochs=1, batch=16)
    contexts = [make_context(seed=seed) for seed in (1, 1, 2)]
    first, again, other = (train(bundle, _loss, some.train, settings, some).digest for some in contexts)
    assert first == again
    assert first != other


def test_a_loss_that_is_no_number_stops_the_run(bundle: Bundle, make_context: Callable[..., Context]):
    def broken(model: torch.nn.Module, batch: TensorBatch) -> torch.Tensor:
        return _loss(model, batch) * float("nan")

    context = make_context()
    with pytest.raises(ModelError, match="the loss is nan at step 1; a lower learning_rate"):
        train(bundle, broken, context.train, Training(epochs=1), context)


def test_dropout_draws_nothing_from_the_callers_generator(bundle: Bundle, make_context: Callable[..., Context]):
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    context = make_context()
    train(bundle, _loss, context.train, Training(epochs=1), context)
    assert torch.equal(torch.rand(3), wanted)


def test_dropout_is_on_and_biases_do_not_decay(bundle: Bundle, make_context: Callable[..., Context]):
    modes = []

    def watched(model: torch.nn.Module, batch: TensorBatch) -> torch.Tensor:
        modes.append(model.training)
        # No gradient at all, so that decay is the one thing that moves a weight.
        return 0.0 * sum(parameter.sum() for parameter in model.parameters())

    settings = Training(epochs=1, weight_decay=0.5, learning_rate=1e-2)
    context = make_context()
    trained = train(bundle, watched, context.train, settings, context)
    assert modes == [True, True]
    for (name, before), after in zip(bundle.module.named_parameters(), trained.module.parameters(), strict=True):
        assert torch.equal(before, after) == (before.ndim <= 1), name


def test_scoring_leaves_the_mode_as_it_was(bundle: Bundle, make_context: Callable[..., Context]):
    for training in (True, False):
        bundle.module.train(training)
        dev_score(bundle, bundle.module, make_context())
        assert bundle.module.training is training

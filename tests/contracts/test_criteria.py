"""The laws of every importance criterion; a new file in `compress/criteria/` is found and held to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny import example_stage, tiny_bundle

from compress import catalog
from compress.anatomy import Group
from compress.bundle import Bundle
from compress.choices import name_of
from compress.dissection import hidden_group
from compress.feed import feed
from compress.linear import weight_of
from compress.stage import Context, Criterion

CRITERIA = catalog.names("criteria")
# One of each kind of layer: plain, run several times, with fused weights, with transposed ones, with shared keys.
FAMILIES = ("bert", "albert", "modernbert", "gpt2", "llama")


@pytest.fixture(params=CRITERIA)
def criterion(request: pytest.FixtureRequest) -> Criterion:
    """Each criterion, as the recipe in its docstring sets it up."""
    chosen = example_stage(catalog.load("criteria", request.param)).criterion  # type: ignore[attr-defined]
    assert name_of("criteria", chosen) == request.param
    return chosen


def test_each_unit_has_one_finite_score(criterion: Criterion, uneven: Bundle, make_context: Callable[..., Context]):
    scores = criterion.score(uneven, uneven.anatomy.groups, make_context())
    assert [score.shape for score in scores] == [(group.units,) for group in uneven.anatomy.groups]
    assert all(bool(score.isfinite().all()) for score in scores)
    assert any(len(score.unique()) > 1 for score in scores)


def test_same_seed_same_scores(criterion: Criterion, bundle: Bundle, make_context: Callable[..., Context]):
    torch.manual_seed(1)
    first = criterion.score(bundle, bundle.anatomy.groups, make_context())
    torch.manual_seed(2)
    second = criterion.score(bundle, bundle.anatomy.groups, make_context())
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_scoring_leaves_the_bundle_and_the_random_state_alone(
    criterion: Criterion, bundle: Bundle, make_context: Callable[..., Context]
):
    state = torch.random.get_rng_state()
    criterion.score(bundle, bundle.anatomy.groups, make_context())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert bundle.digest == tiny_bundle().digest
    assert all(parameter.grad is None for parameter in bundle.module.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in bundle.module.modules())


def test_scores_of_some_groups_are_those_of_all(
    criterion: Criterion, bundle: Bundle, make_context: Callable[..., Context]
):
    if name_of("criteria", criterion) == "random":
        pytest.skip("its draws follow the order of the groups")
    groups = bundle.anatomy.groups
    every = criterion.score(bundle, groups, make_context())
    some = criterion.score(bundle, groups[2:4], make_context())
    assert all(torch.allclose(a, b, rtol=1e-5) for a, b in zip(every[2:4], some, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_magnitude_equals_the_plain_loop(family: str, make_context: Callable[..., Context]):
    bundle = tiny_bundle(family)
    groups = bundle.anatomy.groups[:2]
    scores = catalog.load("criteria", "magnitude")().score(bundle, groups, make_context())
    for group, score in zip(groups, scores, strict=True):
        plain = [_plain_squares(bundle, group, unit) for unit in range(group.units)]
        assert torch.allclose(score, torch.tensor(plain), rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_taylor_equals_the_gradient_of_a_mask_variable(family: str, make_context: Callable[..., Context]):
    bundle, context = tiny_bundle(family), make_context()
    groups = dict.fromkeys(bundle.anatomy.groups[:2] + bundle.anatomy.groups[-2:])
    scores = catalog.load("criteria", "taylor")(batch=7).score(bundle, list(groups), context)
    for group, score in zip(groups, scores, strict=True):
        assert torch.allclose(score, _plain_taylor(bundle, group, context), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_fisher_without_interactions_is_the_diagonal_and_with_them_no_removal_is_cheaper_than_one_before(
    family: str, make_context: Callable[..., Context]
):
    bundle, context = tiny_bundle(family), make_context()
    groups = bundle.anatomy.groups[:2]
    fisher = catalog.load("criteria", "fisher")
    plain, beside = (fisher(interactions=flag, batch=7).score(bundle, groups, context) for flag in (False, True))
    for group, diagonal, added in zip(groups, plain, beside, strict=True):
        gradients = _plain_gradients(bundle, group, context).double()
        assert torch.allclose(diagonal, gradients.square().mean(dim=0) / 2, rtol=1e-3, atol=1e-12)
        first = int(diagonal.argmin())
        assert int(added.argmin()) == first
        assert len(added.unique()) == group.units


def test_a_unit_that_undoes_another_is_worth_less_once_that_has_left(make_context: Callable[..., Context]):
    from compress.criteria.fisher import _added

    gradients = torch.tensor([[1.0, -1.1, 3.0], [2.0, -2.1, 0.5]], dtype=torch.float64)
    order = _added(gradients).argsort().tolist()
    assert order == [0, 1, 2]
    alone = gradients.square().sum(dim=0)
    assert _added(gradients)[1] < alone[1]  # what the first took, the second gives back


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_a_channel_of_the_hidden_size_is_masked_wherever_it_is_read(family: str, make_context: Callable[..., Context]):
    bundle, context = tiny_bundle(family), make_context()
    group = hidden_group(bundle.module, bundle.family)
    assert len(group.readers) > 2 * bundle.anatomy.layers
    gradients = _plain_gradients(bundle, group, context).double()
    [taylor] = catalog.load("criteria", "taylor")(batch=7).score(bundle, [group], context)
    assert torch.allclose(taylor.double(), gradients.abs().mean(dim=0), rtol=1e-3, atol=1e-7)
    [fisher] = catalog.load("criteria", "fisher")(interactions=False, batch=7).score(bundle, [group], context)
    assert torch.allclose(fisher, gradients.square().mean(dim=0) / 2, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["flap", "wanda"])
def test_criteria_of_activations_equal_the_plain_loop(name: str, family: str, make_context: Callable[..., Context]):
    bundle, context = tiny_bundle(family), make_context()
    groups = bundle.anatomy.groups[:2]
    settings = {"standardize": False} if name == "flap" else {}
    scores = catalog.load("criteria", name)(batch=5, **settings).score(bundle, groups, context)
    for group, score in zip(groups, scores, strict=True):
        linear, values = bundle.module.get_submodule(group.readers[0].module), _plain_inputs(bundle, group, context)
        spread = values.var(dim=0) if name == "flap" else values.square().mean(dim=0)
        plain = (spread * weight_of(linear).detach().square().sum(dim=0)).view(group.units, -1).sum(dim=-1)
        assert torch.allclose(score.float(), plain, rtol=1e-3, atol=1e-9)


def _plain_inputs(bundle: Bundle, group: Group, context: Context) -> torch.Tensor:
    """What the group's reader is given, token by token."""
    seen: list[torch.Tensor] = []
    reader = bundle.module.get_submodule(group.readers[0].module)
    hook = reader.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach().flatten(0, 1)))
    for batch in feed(context.calibration, bundle, context.device, size=1):
        bundle.module(**batch.inputs)
    hook.remove()
    return torch.cat(seen)


def _plain_squares(bundle: Bundle, group: Group, unit: int) -> float:
    """Every weight and bias of one unit, squared and added up one by one."""
    total = 0.0
    for part in group.slices:
        linear = bundle.module.get_submodule(part.module)
        weight = weight_of(linear)
        starts = [(block * group.units + unit) * part.span for block in range(part.blocks)]
        for place in [start + step for start in starts for step in range(part.span)]:
            weights = weight[place] if part.side == "rows" else weight[:, place]
            total += sum(weight**2 for weight in weights.tolist())
            if part.side == "rows" and linear.bias is not None:
                total += linear.bias[place].item() ** 2
    return total


def _plain_taylor(bundle: Bundle, group: Group, context: Context) -> torch.Tensor:
    return _plain_gradients(bundle, group, context).abs().mean(dim=0)


def _plain_gradients(bundle: Bundle, group: Group, context: Context) -> torch.Tensor:
    """A variable of ones is multiplied into the units' outputs; its gradient is taken one example at a time."""
    mask = torch.ones(group.units, requires_grad=True)
    span = group.readers[0].span

    def multiply(_module: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (args[0] * mask.repeat_interleave(span),)

    readers = dict.fromkeys(reader.module for reader in group.readers)
    hooks = [bundle.module.get_submodule(path).register_forward_pre_hook(multiply) for path in readers]
    found = []
    try:
        for batch in feed(context.calibration, bundle, context.device, size=1):
            loss = torch.nn.functional.cross_entropy(bundle.module(**batch.inputs).logits, batch.labels)
            found.append(torch.autograd.grad(loss, mask)[0])
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(found)

"""Forward passes that end at chosen linear layers, and begin where an earlier one of the same batch had got to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from compress.family import Family


class Passes:
    """Passes of one model over batches that come again and again, deeper each time.

    The layers before the one that is looked at are not run again: what it was given is kept of each batch, which takes
    tokens x hidden size numbers. Weights may change between passes from the layer that was looked at last onwards.
    Where layers share weights, which run again later, every pass begins at the first.
    """

    def __init__(self, model: PreTrainedModel, family: Family) -> None:
        every = list(family.layers(model))
        names = {module: name for name, module in model.named_modules()}
        self._model = model
        self._layers = every if len(set(every)) == len(every) else []
        self._names = [names[layer] for layer in self._layers]
        self._reached: dict[int, tuple[int, Tensor]] = {}
        self._in_tuples = False

    def seen(
        self, number: int, inputs: dict[str, Tensor], paths: Sequence[str], runs: int
    ) -> dict[str, list[tuple[Tensor, Tensor]]]:
        """Input and output of linear layers of one Transformer layer, in each of their first `runs` runs.

        Args:
            number: the batch's, the same each time.
        """
        seen: dict[str, list[tuple[Tensor, Tensor]]] = {path: [] for path in paths}
        with ExitStack() as closing:
            self._begin(number, paths[0], closing)
            for path in paths:
                hook = self._model.get_submodule(path).register_forward_hook(_noting(seen, path, runs))
                closing.callback(hook.remove)
            with suppress(_Seen):
                self._model(**inputs)
        return seen

    def _begin(self, number: int, path: str, closing: ExitStack) -> None:
        """Skip what has been run, and keep what the layer that holds `path` is given."""
        start, state = self._reached.get(number, (0, None))
        for layer in self._layers[:start]:
            closing.enter_context(_skipped(layer, in_tuples=self._in_tuples))
        if state is not None:
            closing.callback(_given(self._layers[start], lambda _hidden: state).remove)
        held = [place for place, name in enumerate(self._names) if path.startswith(f"{name}.")]
        if held and held[0] > start:

            def keep(hidden: Tensor) -> Tensor:
                self._reached[number] = (held[0], hidden)
                return hidden

            closing.callback(_given(self._layers[held[0]], keep).remove)
            closing.callback(self._layers[start].register_forward_hook(self._note_kind).remove)

    def _note_kind(self, _layer: object, _args: object, output: object) -> None:
        self._in_tuples = isinstance(output, tuple)


class _Seen(Exception):
    """Ends a forward pass as soon as the layers that were waited for have run: the rest would be thrown away."""


def _noting(seen: dict[str, list[tuple[Tensor, Tensor]]], path: str, runs: int) -> Callable[..., None]:
    def hook(_module: object, args: tuple[Tensor, ...], output: Tensor) -> None:
        if len(seen[path]) < runs:
            seen[path].append((args[0], output))
        if all(len(each) == runs for each in seen.values()):
            raise _Seen

    return hook


def _given(layer: nn.Module, change: Callable[[Tensor], Tensor]) -> Any:
    """A hook that has a layer run on what `change` makes of its hidden states."""

    def hook(_layer: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return layer.register_forward_pre_hook(hook, with_kwargs=True)


@contextmanager
def _skipped(layer: nn.Module, *, in_tuples: bool) -> Iterator[None]:
    """While it is open, the layer hands on what it is given."""

    def hand_on(*args: Any, **kwargs: Any) -> Any:
        hidden = args[0] if args else kwargs["hidden_states"]
        return (hidden,) if in_tuples else hidden

    layer.forward = hand_on
    try:
        yield
    finally:
        del layer.forward

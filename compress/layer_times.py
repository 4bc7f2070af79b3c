"""How long each layer of a torch model takes, and its attention apart from the rest of it, on one machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.feed import placed
from compress.runtimes.timing import no_garbage_collection

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import nn

    from compress.anatomy import Group
    from compress.bundle import Bundle

ROUNDS = 8
ROUND_SECONDS = 0.5
"""Of counted calls, about, of each kind in each round."""
FEWEST_CALLS, MOST_CALLS = 2, 10
"""Of each kind in each round."""
WARMUP_CALLS = 2
"""At the start of each round, not counted."""


@dataclass(frozen=True)
class LayerTimes:
    """Milliseconds, one array a round. Rounds lie apart, so that they are not all of one mood of the machine.

    Attributes:
        whole: calls of the model as it is.
        watched: calls of the model with hooks around its layers, each made right after one of `whole`.
        layers: of the watched calls, each layer that runs, in order; one that runs several times stands there as often.
        attention: that part of each layer which the module of its attention takes.
    """

    whole: list[Float[np.ndarray, "call"]]
    watched: list[Float[np.ndarray, "call"]]
    layers: list[Float[np.ndarray, "call layer"]]
    attention: list[Float[np.ndarray, "call layer"]]

    @property
    def others(self) -> list[Float[np.ndarray, "call layer"]]:
        """What is left of each layer beside its attention: the FFN, and norms and residual sums around it."""
        return [layers - attention for layers, attention in zip(self.layers, self.attention, strict=True)]

    @property
    def outside(self) -> list[Float[np.ndarray, "call"]]:
        """What is left of each watched call beside its layers: embeddings, head, masks, and what hooks cost."""
        return [calls - layers.sum(axis=1) for calls, layers in zip(self.watched, self.layers, strict=True)]


def layer_times(
    bundle: Bundle, inputs: Mapping[str, np.ndarray], device: torch.device, *, rounds: int = ROUNDS
) -> LayerTimes:
    """Time the model and its layers on these inputs, eager, in the precision of its weights, in turns.

    On a GPU the marks are events on its stream: nothing waits for them, and a layer that the host is slow to launch
    counts with the wait. Threads are as many as torch uses now.
    """
    import torch

    model = placed(bundle.module, device)
    given = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
    watch = _Watch(device)
    modules = {"layer": list(dict.fromkeys(bundle.family.layers(model)))}
    modules["attention"] = [model.get_submodule(_attention_path(g)) for g in bundle.anatomy.groups if g.heads]
    found = LayerTimes([], [], [], [])
    with torch.inference_mode(), no_garbage_collection():
        typical_ms = min(watch.time(lambda: model(**given)) for _ in range(1 + WARMUP_CALLS))
        calls = round(min(max(1000 * ROUND_SECONDS / max(typical_ms, 1e-3), FEWEST_CALLS), MOST_CALLS))
        for _ in range(rounds):
            for _ in range(WARMUP_CALLS):
                model(**given)
            taken = [_both(watch, model, given, modules) for _ in range(calls)]
            for samples, values in zip(vars(found).values(), zip(*taken, strict=True), strict=True):
                samples.append(np.array(values))
    return found


def _both(
    watch: _Watch, model: nn.Module, given: Mapping[str, Any], modules: Mapping[str, list[nn.Module]]
) -> tuple[float, float, list[float], list[float]]:
    """One call as it is and one with hooks, which are taken away again."""
    whole = watch.time(lambda: model(**given))
    with ExitStack() as closing:
        for name, listed in modules.items():
            for module in listed:
                for hook in watch.hooks(name, module):
                    closing.callback(hook.remove)
        watched = watch.time(lambda: model(**given))
    return whole, watched, watch.taken("layer"), watch.taken("attention")


def _attention_path(group: Group) -> str:
    """The module that all linear layers of a layer's attention lie below."""
    levels = zip(*(part.module.split(".") for part in group.slices), strict=False)
    return ".".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, levels))


class _Watch:
    """Marks in time, and milliseconds between them: of the clock, or on a GPU of events on its stream."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._passed: dict[str, list[tuple[Any, Any]]] = {}

    def time(self, call: Callable[[], object]) -> float:
        """Milliseconds of a call, the device's work included."""
        self._passed = {}
        self._wait()
        start = self._mark()
        call()
        end = self._mark()
        self._wait()
        return self._between(start, end)

    def hooks(self, name: str, module: nn.Module) -> tuple[Any, Any]:
        """Two hooks that note each run of the module under `name`."""
        started: list[Any] = []

        def begin(*_: object) -> None:
            started.append(self._mark())

        def end(*_: object) -> None:
            self._passed.setdefault(name, []).append((started.pop(), self._mark()))

        return module.register_forward_pre_hook(begin), module.register_forward_hook(end)

    def taken(self, name: str) -> list[float]:
        """Milliseconds of each run under `name` in the last call that was timed."""
        return [self._between(start, end) for start, end in self._passed[name]]

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end)) if self._on_gpu else 1000 * float(end - start)

    def _wait(self) -> None:
        if self._on_gpu:
            import torch

            torch.cuda.synchronize()

"""How much memory a torch model's intermediate tensors hold at once, watched while it runs.

The figure has the definition of a graph's (`compress.graph.activations`), but for what decides when a tensor dies:
there the last node that reads it, here that nothing in the program holds it any longer. Views are no tensors of their
own; weights, buffers and inputs are not counted, nor what a kernel needs for itself or an allocator rounds up.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def live_bytes(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor]) -> int:
    """The most bytes that intermediate tensors hold at once in one forward pass of the model as it stands.

    Args:
        inputs: by the names of the model's parameters, on its device.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    now = most = 0
    known = weakref.WeakSet[Any]()

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            for one in tree_leaves(made):
                if isinstance(one, torch.Tensor):
                    hold(one.untyped_storage())
            return made

    def hold(storage: Any) -> None:
        nonlocal now, most
        if storage in known:
            return
        known.add(storage)
        now += storage.nbytes()
        most = max(most, now)
        weakref.finalize(storage, free, storage.nbytes())

    def free(size_bytes: int) -> None:
        nonlocal now
        now -= size_bytes

    for given in (*model.parameters(), *model.buffers(), *inputs.values()):
        known.add(given.untyped_storage())
    # Not inference mode, in which composite operators stay whole and hide what is made inside of them.
    with torch.no_grad(), Watch():
        model(**inputs)
    return most

"""Ways to run a model, behind one protocol: a `Runtime` opens a bundle and gives a `Session`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

from compress import catalog
from compress.bundle import Form
from compress.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Shaped

    from compress.bundle import Bundle


class Session(Protocol):
    """A model that is loaded and ready."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weight files that this way of running needs; tokenizer not included."""

    def outputs(self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]]) -> Float[np.ndarray, "row ..."]:
        """What the task decides on, in float32."""

    def bind(self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]]) -> Callable[[], object]:
        """A call that runs the model once on these inputs, which already lie where the model does."""

    def close(self) -> None:
        """Give threads and memory back."""


class Runtime(Protocol):
    """One way to run a model. Its file's name in `runtimes/` is what recipes and the command line call it."""

    form: ClassVar[Form]
    """The form of bundle that it opens."""

    def obstacle(self, device: str) -> str | None:
        """Why it can't run here, in one line; None when it can."""

    def open(self, bundle: Bundle, *, device: str, threads: int) -> Session: ...


def runtime_of(name: str) -> Runtime:
    """The runtime called `name`.

    Raises:
        ModelError: there is none; the message names the known ones.
    """
    try:
        runtime: Runtime = catalog.load("runtimes", name)()
    except KeyError:
        known = catalog.names("runtimes")
        raise ModelError(f"no runtime {name!r}; known: {', '.join(known)}{catalog.closest(name, known)}") from None
    return runtime

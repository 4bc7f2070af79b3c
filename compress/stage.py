"""The protocols that stages and criteria obey, and the context they work in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from compress.lineage import digest_of

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from compress.anatomy import Anatomy, Group
    from compress.bundle import Bundle, Form
    from compress.data import Split
    from compress.deploy import Deploy


Sight = Literal["train", "dev", "calibration", "transfer", "deploy", "reference"]


def _ignore(*_told: object, **_more: object) -> None:
    """What a context tells when nobody listens."""


def _made_now(_about: Mapping[str, Any], make: Callable[[], Any]) -> Any:
    """What is kept where there is nowhere to keep it."""
    return make()


@dataclass(frozen=True)
class Context:
    """What a stage may see and use besides the bundle. The test split is not here to be reached."""

    train: Split
    dev: Split
    calibration: Split
    deploy: Deploy
    device: torch.device
    seed: int
    scratch: Path
    """A folder of the stage's own: empty at first, and as it was left when an interrupted stage is done again. What the
    returned bundle refers to may lie here."""
    transfer: Split | None = None
    """Further texts to distil on, labelled or not; None where the recipe gives none."""
    reference: Bundle | None = None
    """The model after `prepare`: the teacher. None while it is still being prepared."""
    record: Callable[[str, Any], None] = _ignore
    """`record(name, value)` keeps a curve or a table for `run.json`."""
    check: Callable[..., None] = _ignore
    """`check(name=, limit=, value=, passed=, detail=)` reports a gate; the runner keeps all artifacts, then fails."""
    kept: Callable[[Mapping[str, Any], Callable[[], Any]], Any] = _made_now
    """`kept(about, make)` is what `make()` gave when it was first asked for with this `about` on this machine, by any
    recipe: JSON values. What is measured to choose by is so measured once, and chosen by alike ever after."""
    progress: Callable[[float, str], None] = _ignore
    """`progress(fraction of the stage that is done, what is going on)`."""

    def within(self, name: str, *, start: float, end: float) -> Context:
        """The context of a part of the stage, for a stage that does several times what others do once.

        The part has a scratch folder of its own, in which it finds after an interruption what it had left, and a seed
        of its own, the same each time. What it records has its name in front: `step-2.loss`.

        Args:
            start: the fraction of the stage that is done when the part begins; its progress counts from there.
            end: the same when it ends.
        """
        scratch = self.scratch / name
        scratch.mkdir(exist_ok=True)
        return replace(
            self,
            scratch=scratch,
            # Not the next number, which the same stage of a run with the next seed would draw by as well.
            seed=int(digest_of([self.seed, name])[-7:], 16),
            record=lambda what, value: self.record(f"{name}.{what}", value),
            progress=lambda done, message: self.progress(start + done * (end - start), f"{name}: {message}"),
        )


@runtime_checkable
class Stage(Protocol):
    """A settings object with one method: a bundle goes in, a new bundle comes out.

    The bundle that goes in is never changed; equal inputs, settings and seed give an equal bundle.
    """

    consumes: ClassVar[Form]
    produces: ClassVar[Form]

    @property
    def weight_bytes(self) -> float | None:
        """What each stored weight takes after the stage; None: what it took before."""

    @property
    def sees(self) -> tuple[Sight, ...]:
        """What of the context the stage looks at. The rest is withheld, and leaves a finished stage valid when it
        changes: recipes with different deployments share a teacher."""

    def apply(self, bundle: Bundle, context: Context) -> Bundle: ...

    def predict(self, anatomy: Anatomy) -> Anatomy:
        """The anatomy that the stage would leave, known without running it; `compress plan` asks."""


@runtime_checkable
class Deploys(Protocol):
    """A stage that may time models as they are deployed, and refuses before anything is done what it can't time."""

    @property
    def timed_at_once(self) -> int:
        """How many models it holds open at a time for that."""

    def check_deployment(self, deploy: Deploy, longest: int, *, fixed: bool) -> None: ...


@runtime_checkable
class Criterion(Protocol):
    """What a unit is worth: one score per unit of each group, higher = keep."""

    def score(self, bundle: Bundle, groups: Sequence[Group], context: Context) -> list[Float[Tensor, "unit"]]: ...

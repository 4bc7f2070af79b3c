"""Fit a cut to a latency: time a few widths on the machine, choose by that table, time the choice, correct it once.

Rooflines and FLOPs mislead on small models: a layer with half the heads seldom takes half the time. So the model is
exported and timed with all layers at each of a few widths, in one sitting with the whole model, in rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.anatomy import Group
from compress.bundle import Form
from compress.dissection import hidden_group
from compress.errors import ModelError
from compress.inputs import timing_inputs
from compress.pruning.allocation import Block, Kept, Scored
from compress.pruning.knapsack import optimal
from compress.pruning.latency_table import LatencyTable, Timed
from compress.pruning.target import Target
from compress.runtime import Runtime, runtime_of
from compress.runtimes.timing import CallPlayer, Limits, clock_of, take_turns
from compress.surgery import keep_layers, keep_units

if TYPE_CHECKING:
    from compress.bundle import Bundle
    from compress.data import Split
    from compress.deploy import Deploy, Shape
    from compress.graph.build import AttentionForm
    from compress.stage import Context

WIDTHS = 6
"""Widths of each axis that are timed; between them latency is taken to follow a straight line."""
ROUNDS = 32
TOGETHER = 4
"""Variants that are open at a time: each takes as much memory as a session of the whole model at most."""
TRIES = 2
"""Cuts that are exported and timed for a latency: the first, and one after a correction."""
MISSED = 0.1
"""How far, relatively, the best cut's measured latency may lie above what is asked before a gate fails."""
NEAR = 0.02
"""How far, relatively, a cut's measured latency may lie from what is asked without being corrected."""
LIMITS = Limits(block_seconds=0.1, block_calls=5, pause_seconds=0.03, warmup_calls=3, fewest_calls=1)

Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class Timing:
    """How variants are timed: as the recipe deploys them.

    Attributes:
        texts: whose tokens fill the shape.
        scratch: where graphs are kept meanwhile.
    """

    deploy: Deploy
    shape: Shape
    attention: AttentionForm
    texts: Split
    scratch: Path
    seed: int
    tell: Tell

    def fractions(self, whole: Bundle, variants: Mapping[str, Callable[[], Bundle]]) -> tuple[float, dict[str, float]]:
        """The whole model's median in milliseconds, and each variant's time as a fraction of it: the median over rounds
        of the ratio of both medians in a round, so that a machine that drifts does not enter. A few variants at a time
        are open beside the whole model."""
        runtime = runtime_of(self.deploy.runtime)
        if obstacle := runtime.obstacle(self.deploy.device):
            raise ModelError(f"prune: latency can't be measured on {self.deploy.runtime}: {obstacle}")
        names, steps = list(variants), 2 * len(variants) + 1
        whole_ms, parts = list[float](), dict[str, float]()
        with ExitStack() as closing:
            self.tell(0.0, "export the whole model")
            players = {"": self._player(runtime, whole, whole, 0, closing)}
            for start in range(0, len(names), TOGETHER):
                few = names[start : start + TOGETHER]
                with ExitStack() as closing_few:
                    for place, name in enumerate(few, start=start + 1):
                        self.tell((start + place) / steps, f"export {name}")
                        players[name] = self._player(runtime, variants[name](), whole, place, closing_few)
                    self.tell((2 * start + len(few) + 1) / steps, f"time {', '.join(few)} at {self.shape}")
                    times = take_turns(players, seed=self.seed, rounds=ROUNDS)
                medians = {name: np.array([np.median(block) for block in rounds]) for name, rounds in times.items()}
                whole_ms.append(float(np.median(medians[""])))
                parts |= {name: float(np.median(medians[name] / medians[""])) for name in few}
                players = {"": players[""]}
        return float(np.median(whole_ms)), parts

    def _player(self, runtime: Runtime, bundle: Bundle, whole: Bundle, place: int, closing: ExitStack) -> CallPlayer:
        """A model that is open, given texts of the shape, until `closing` is left."""
        if runtime.form is Form.ONNX:
            bundle = self._exported(bundle, self.scratch / f"latency-{place}")
        session = runtime.open(bundle, device=self.deploy.device, threads=self.deploy.thread_count)
        closing.callback(session.close)
        return CallPlayer(
            session.bind(timing_inputs(whole, self.texts, self.shape)), clock_of(self.deploy.device), LIMITS
        )

    def _exported(self, bundle: Bundle, stem: Path) -> Bundle:
        from compress.graph.build import build_graph
        from compress.graph.half import float16
        from compress.graph.quantize import dynamic_int8
        from compress.graph.target import kernels_of, target_of

        check_precision(self.deploy)
        kernels = kernels_of(target_of(self.deploy.device, self.deploy.precision), self.deploy.precision)
        graph = build_graph(bundle, stem.with_suffix(".onnx"), attention=self.attention, kernels=kernels)
        if self.deploy.precision == "int8":
            graph = dynamic_int8(graph, stem.with_name(f"{stem.name}-int8.onnx"))
        elif self.deploy.precision == "fp16":
            graph, _ = float16(graph, stem.with_name(f"{stem.name}-fp16.onnx"), [])  # what it says is not looked at
        # In bfloat16 a graph is as fast as in float32, which it is once it is loaded.
        return replace(bundle, model=graph)


def check_precision(deploy: Deploy) -> None:
    """See that what is deployed can be made to be timed.

    Raises:
        ModelError: no graph can be made in its precision.
    """
    if runtime_of(deploy.runtime).form is Form.ONNX and deploy.precision == "int4":
        raise ModelError("prune: latency: no graph can be made in int4; deploy fp32, fp16, bf16 or int8")


def for_latency(
    scored: Scored,
    whole: Bundle,
    cut: Callable[[Kept], Bundle],
    target: Target,
    fraction: float,
    axes: Sequence[str],
    context: Context,
    *,
    last: bool,
) -> Kept:
    """What loses least within the latency that a table foretells; then exported, measured and corrected once.

    Table and choice are kept: done again, or resumed, a stage cuts just alike.

    Args:
        whole: what `fraction` is of.
        cut: the model that a choice leaves.
        axes: that may be cut.
        last: of several cuts; a gate judges that one alone.
    """
    shape, deploy = target.shape or context.deploy.shapes[0], context.deploy
    if deploy.device == "auto":
        deploy = deploy.model_copy(update={"device": context.device.type})
    timing = Timing(
        deploy, shape, target.attention, context.calibration, context.scratch, context.seed, context.progress
    )
    blocks = {group.axis: scored.block(group) for group in scored.groups}
    how = [*deploy.model_dump(mode="json", exclude={"shapes"}).items(), str(shape), target.attention, blocks]
    about = {"latency table": [whole.anatomy.as_json(), whole.config, list(axes)], "timed": how}
    made = context.kept(about, lambda: measure_table(whole, axes, scored.block, timing).as_json())
    table = LatencyTable.from_json(made)
    context.record("latency_table", table.rows())

    def choose(budget: float) -> Kept:
        return optimal(scored, budget=budget, costs_of=partial(Timed, table=table, of=whole.anatomy), of=1.0)

    def fitted() -> list[Any]:
        kept, rows = fit(fraction, choose, cut, whole, timing)
        return [kept.as_json(), rows]

    scores = [score.tolist() for score in scored.scores]
    settled = {"latency": [whole.digest, made, scored.layers, scores, fraction], "timed": how}
    chosen, rows = context.kept(settled, fitted)
    context.record("latency", rows)
    nearest = min((row["measured"] for row in rows), key=lambda part: _missed(part, fraction))
    if last:
        context.check(
            name="latency",
            limit=fraction * (1 + MISSED),
            value=nearest,
            passed=nearest <= fraction * (1 + MISSED),
            detail=f"the cut takes {nearest:.3f} of the time at {shape}, asked for were {fraction:.3f}",
        )
    return Kept.from_json(chosen)


def measure_table(whole: Bundle, axes: Sequence[str], block: Block, timing: Timing) -> LatencyTable:
    """Export and time the model with every layer of one axis at each of a few widths.

    Args:
        axes: `hidden` and `layers` among them where they may be cut.
        block: units of a group that leave together: widths are multiples of it.
    """
    wanted = {axis: _widths(whole, axis, block) for axis in axes}
    variants = {
        f"{axis} {units}": partial(_narrowed, whole, axis, units)
        for axis, counts in wanted.items()
        for units in counts[:-1]
    }
    whole_ms, parts = timing.fractions(whole, variants)
    widths = {}
    for axis, counts in wanted.items():
        taken = [*(parts[f"{axis} {units}"] for units in counts[:-1]), 1.0]
        # Fewer units never take longer: where a timing says so it is noise, or a kernel that pads to a larger width.
        widths[axis] = list(zip(counts, np.minimum.accumulate(taken[::-1])[::-1].tolist(), strict=True))
    return LatencyTable(whole_ms, widths)


def fit(
    asked: float, choose: Callable[[float], Kept], cut: Callable[[Kept], Bundle], whole: Bundle, timing: Timing
) -> tuple[Kept, list[dict[str, Any]]]:
    """The choice whose exported graph takes nearest to `asked` of the whole model's time, and what was tried.

    The first is what the table foretells; where it misses, a second one is made with the budget corrected by as much,
    if these axes reach that far.

    Args:
        choose: what to keep within a budget, as the table has it.
    """
    budget, rows, tried = asked, list[dict[str, Any]](), list[tuple[float, Kept]]()
    while len(tried) < TRIES:
        try:
            kept = choose(budget)
        except ModelError:
            if not tried:
                raise
            break  # the corrected budget is beyond what the axes can reach; the first cut stands
        _, parts = timing.fractions(whole, {"cut": partial(cut, kept)})
        rows.append({"shape": str(timing.shape), "asked": asked, "budget": budget, "measured": parts["cut"]})
        tried.append((parts["cut"], kept))
        if abs(parts["cut"] / asked - 1) <= NEAR:
            break
        budget *= asked / parts["cut"]
    return min(tried, key=lambda each: _missed(each[0], asked))[1], rows


def _missed(part: float, asked: float) -> tuple[bool, float]:
    """How badly a latency misses: too slow by more than is let pass is worse than too fast by anything."""
    off = part / asked - 1
    return off > MISSED, abs(off)


def _widths(whole: Bundle, axis: str, block: Block) -> list[int]:
    """Up to `WIDTHS` widths from one block to the widest layer's units, evenly spaced; of layers, half and all."""
    if axis == "layers":
        return sorted({max(1, whole.anatomy.layers // 2), whole.anatomy.layers})
    widest = max(_groups(whole, axis), key=lambda group: group.units)
    size = block(widest)
    steps = np.linspace(1, widest.units // size, WIDTHS).round().astype(int)
    return sorted({*(int(step) * size for step in steps), widest.units})


def _groups(whole: Bundle, axis: str) -> Sequence[Group]:
    if axis == "hidden":
        return [hidden_group(whole.module, whole.family)]
    return [group for group in whole.anatomy.groups if group.axis == axis]


def _narrowed(whole: Bundle, axis: str, units: int) -> Bundle:
    """The model in which each layer of the axis has so many units at most; which ones does not matter."""
    import torch

    if axis == "layers":
        return whole.with_model(keep_layers(whole.module, whole.family, range(units)))
    groups = _groups(whole, axis)
    keep = [torch.arange(group.units) < units for group in groups]
    return whole.with_model(keep_units(whole.module, whole.family, groups, keep))

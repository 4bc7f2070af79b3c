"""The export stage: it hands over what its gates found, and chooses a form by the deployment's times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compress.bundle import Bundle, OnnxGraph
from compress.runtimes import timing
from compress.stage import Context
from compress.stages import export
from compress.stages.export import Export

Exported = dict[str, tuple[Bundle, Bundle]]


@pytest.fixture
def ready(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Hands the stage graphs that are there already; `ready("plain")` gives that form whatever is asked for."""

    def use(always: str | None) -> None:
        def build(_bundle: Bundle, path: Path, *, attention: str, kernels: str) -> OnnxGraph:
            assert kernels == "cpu"
            path.parent.mkdir(parents=True, exist_ok=True)
            return exported[f"even-{always or attention}"][1].graph

        monkeypatch.setattr(export, "build_graph", build)

    return use


def _gates(stage: Export, bundle: Bundle, make_context: Callable[..., Context]) -> dict[str, bool]:
    gates: list[dict] = []
    stage.apply(bundle, make_context(check=lambda **gate: gates.append(gate)))
    return {gate["name"]: gate["passed"] for gate in gates}


def test_every_gate_is_reported(exported: Exported, ready, make_context: Callable[..., Context]):
    source = exported["even-fused"][0]
    ready(None)
    every = dict.fromkeys(("fusion", "parity", "nameless", "opens_afresh"), True)
    assert _gates(Export(attention="fused"), source, make_context) == every
    assert _gates(Export(attention="plain"), source, make_context) == every


def test_a_gate_that_fails_is_reported_and_does_not_raise(exported: Exported, ready, make_context):
    ready("plain")
    assert _gates(Export(attention="fused"), exported["even-fused"][0], make_context) == {
        "fusion": False,
        "parity": True,
        "nameless": True,
        "opens_afresh": True,
    }


def test_the_graph_of_another_model_fails_parity(uneven: Bundle, ready, make_context):
    ready(None)
    assert _gates(Export(attention="plain"), uneven, make_context)["parity"] is False


@pytest.mark.parametrize(("fused_ms", "plain_ms", "wanted"), [(1.0, 2.0, "fused"), (2.0, 1.0, "plain")])
def test_fastest_keeps_the_faster_form(
    exported: Exported,
    ready,
    make_context,
    monkeypatch: pytest.MonkeyPatch,
    fused_ms: float,
    plain_ms: float,
    wanted: str,
):
    times = {"fused": [np.array([fused_ms, fused_ms])], "plain": [np.array([plain_ms, plain_ms])]}
    monkeypatch.setattr(timing, "time_interleaved", lambda calls, **_settings: {name: times[name] for name in calls})
    ready(None)
    recorded: dict = {}
    source = exported["even-fused"][0]
    outcome = Export(attention="fastest").apply(source, make_context(record=recorded.__setitem__))
    assert outcome.graph == exported[f"even-{wanted}"][1].graph
    assert {row["form"] for row in recorded["attention_forms"]} == {"fused", "plain"}
    assert min(recorded["attention_forms"], key=lambda row: row["latency_ms"])["form"] == wanted


def test_a_resumed_stage_chooses_as_it_chose_before(exported: Exported, ready, make_context, monkeypatch):
    source, context = exported["even-fused"][0], make_context()
    ready(None)
    for fused_ms, plain_ms in ((2.0, 1.0), (1.0, 2.0)):  # the second time measuring would say the opposite
        times = {"fused": [np.array([fused_ms])], "plain": [np.array([plain_ms])]}
        monkeypatch.setattr(
            timing, "time_interleaved", lambda calls, now=times, **_settings: {c: now[c] for c in calls}
        )
        assert Export(attention="fastest").apply(source, context).graph == exported["even-plain"][1].graph

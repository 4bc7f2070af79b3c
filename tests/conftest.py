"""Fixtures that many tests share; what is dear to make is made once a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from exporter import remembering
from filelock import FileLock
from small_run import shared_folder
from tiny import mixed_inputs, tiny_bundle, tiny_context

from compress.bundle import Bundle, OnnxGraph
from compress.graph import build
from compress.graph.build import build_graph, torch_graph
from compress.graph.quantize import dynamic_int8
from compress.stage import Context
from compress.surgery import keep_units


@pytest.fixture(autouse=True)
def _remembered_exports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.node.get_closest_marker("exporter") is None:
        folder = shared_folder(tmp_path_factory) / "exporter"
        monkeypatch.setattr(build, "torch_graph", remembering(torch_graph, folder))


@pytest.fixture
def bundle() -> Bundle:
    """A tiny BERT."""
    return tiny_bundle()


@pytest.fixture
def inputs(bundle: Bundle) -> dict[str, torch.Tensor]:
    """Inputs for `bundle`, padded in every way."""
    return mixed_inputs(bundle)


@pytest.fixture
def make_context(tmp_path: Path) -> Callable[..., Context]:
    """A maker of contexts, each with an empty scratch folder of its own."""
    made: list[Context] = []

    def make(**changes: Any) -> Context:
        made.append(tiny_context(tmp_path / f"scratch-{len(made)}", **changes))
        return made[-1]

    return make


@pytest.fixture(scope="session")
def uneven() -> Bundle:
    """A tiny BERT whose layers have 4, 3, 1 and 2 heads and FFNs of 64, 40, 5 and 17 channels."""
    whole = tiny_bundle(seed=5)
    wanted = {"heads": (4, 3, 1, 2), "ffn": (64, 40, 5, 17)}
    masks = [torch.arange(group.units) < wanted[group.axis][group.layer] for group in whole.anatomy.groups]
    return whole.with_model(keep_units(whole.module, whole.family, whole.anatomy.groups, masks))


class Exports(dict[str, tuple[Bundle, Bundle]]):
    """Torch and ONNX form of a tiny BERT, exported when first asked for, whichever process of a session asks."""

    def __init__(self, folder: Path, sources: dict[str, Bundle]) -> None:
        super().__init__()
        self._folder = folder
        self._sources = sources

    def __missing__(self, name: str) -> tuple[Bundle, Bundle]:
        cut, form = name.split("-")
        source, path = self._sources[cut], self._folder / name / "model.onnx"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / f"{name}.lock"):
            if not path.exists():
                draft = self._folder / "drafts" / name / "model.onnx"
                build_graph(source, draft, attention=form).path.rename(path)
        self[name] = (source, replace(source, model=OnnxGraph(path)))
        return self[name]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, uneven: Bundle) -> dict[str, tuple[Bundle, Bundle]]:
    """Torch and ONNX form of an even and of an uneven tiny BERT, by name of cut and form of attention."""
    return Exports(shared_folder(tmp_path_factory) / "exported", {"even": tiny_bundle(), "uneven": uneven})


@pytest.fixture(scope="session")
def quantized_bundle(tmp_path_factory: pytest.TempPathFactory, exported: dict[str, tuple[Bundle, Bundle]]) -> Bundle:
    """The even, fused graph in int8."""
    before = exported["even-fused"][1]
    # In 7 bits, so that what tests say of it does not depend on the CPU.
    path = tmp_path_factory.mktemp("int8") / "model_int8.onnx"
    graph = dynamic_int8(before.graph, path, reduce_range=True)
    return replace(before, model=graph)

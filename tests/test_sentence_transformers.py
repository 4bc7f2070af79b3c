"""sentence-transformers loads our embedding models, and we load its own: the same text, the same vector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from task_samples import fitting_families, sample, task_bundle

from compress.batching import in_order
from compress.bundle import Bundle
from compress.data import Split
from compress.errors import ModelError
from compress.feed import feed
from compress.folder import load, save
from compress.stage import Context
from compress.stages.distill import Distill
from compress.surgery import keep_units
from compress.task import task_of
from compress.tasks.sentence_embedding import SentenceEmbedding

TEXTS = sample(task_of("text-classification"), "test", 12, seed=8).texts
TASK = task_of("sentence-embedding")


def stock(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def vectors(bundle: Bundle) -> np.ndarray:
    """Our own: float (texts, width)."""
    parts, index = [], []
    with torch.no_grad():
        for batch in feed(Split("test", TEXTS), bundle, torch.device("cpu"), size=5):
            scores = bundle.task.scores(bundle.module(**batch.inputs), batch.inputs)
            parts.append(scores.numpy())
            index.append(batch.source.index)
    return in_order(parts, index)


def described(bundle: Bundle, **how: Any) -> Bundle:
    """The bundle, pooled in another way."""
    bundle.module.config.sentence_embedding = vars(SentenceEmbedding(**how))
    again = bundle.with_model(bundle.module)
    return replace(again, task=TASK.fitted(again.config))


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_it_gives_our_vectors(pooling: str, normalize: bool, tmp_path: Path):
    bundle = described(task_bundle(TASK), pooling=pooling, normalize=normalize)
    save(bundle, tmp_path)
    assert np.allclose(stock(tmp_path).encode(list(TEXTS)), vectors(bundle), atol=1e-5)
    lengths = np.linalg.norm(vectors(bundle), axis=1)
    assert np.allclose(lengths, 1, atol=1e-5) == normalize


@pytest.mark.parametrize("family", fitting_families(TASK))
def test_it_loads_every_family_cut_to_fewer_layers(family: str, make_context: Callable[..., Context], tmp_path: Path):
    bundle = task_bundle(TASK, family)
    context = make_context(train=sample(TASK, "train", 16), dev=sample(TASK, "dev", 8), reference=bundle)
    small = Distill.model_validate({"student": {"layers": 2}, "epochs": 1, "batch": 8}).apply(bundle, context)
    save(small, tmp_path)
    assert np.allclose(stock(tmp_path).encode(list(TEXTS)), vectors(small), atol=1e-4)


def test_an_even_cut_of_ffn_channels_loads_there_too(tmp_path: Path):
    bundle = task_bundle(TASK)
    groups = bundle.anatomy.of_axis("ffn")
    masks = [torch.arange(group.units) % 2 == 0 for group in groups]
    cut = bundle.with_model(keep_units(bundle.module, bundle.family, groups, masks))
    save(cut, tmp_path)
    assert np.allclose(stock(tmp_path).encode(list(TEXTS)), vectors(cut), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_what_it_saved_is_read_as_it_meant_it(pooling: str, tmp_path: Path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    save(task_bundle(TASK), tmp_path / "ours")
    inner = Transformer(str(tmp_path / "ours"), max_seq_length=17)
    made = SentenceTransformer(modules=[inner, Pooling(32, pooling_mode=pooling), Normalize()], device="cpu")
    made.save(str(tmp_path / "theirs"))
    again = load(tmp_path / "theirs")
    assert (again.task.pooling, again.task.normalize, again.max_tokens) == (pooling, True, 17)
    assert np.allclose(vectors(again), made.encode(list(TEXTS)), atol=1e-5)
    save(again, tmp_path / "again")
    assert stock(tmp_path / "again").max_seq_length == 17


@pytest.mark.parametrize(
    ("modules", "pooling", "message"),
    [
        (["Transformer", "Pooling", "Dense"], {"pooling_mode_mean_tokens": True}, "modules.json has a Dense"),
        (["Transformer", "Pooling"], {"pooling_mode_lasttoken": True}, "pools by lasttoken"),
        (["Transformer", "Pooling"], {"pooling_mode": ["mean", "max"]}, "pools by mean, max"),
        (["Transformer", "Pooling"], {}, "pools by nothing"),
    ],
)
def test_what_is_pooled_otherwise_is_refused(modules: list[str], pooling: dict[str, Any], message: str, tmp_path: Path):
    import json

    save(task_bundle(TASK), tmp_path)
    (tmp_path / "anatomy.json").unlink()
    listed = [{"idx": place, "path": f"{place}_{kind}", "type": f"x.{kind}"} for place, kind in enumerate(modules)]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(ModelError, match=message):
        load(tmp_path)

"""sentence-transformers loads our embedding models, and we load its own: the same text, the same vector."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from task_samples import fitting_families, sample, task_bundle
from tiny import mixed_inputs

from compress.batching import in_order
from compress.bundle import Bundle
from compress.data import Split
from compress.errors import DataError, ModelError
from compress.feed import feed
from compress.folder import load, save
from compress.graph.build import build_graph
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
        ([], {}, "modules.json: names no Transformer"),
        (["Transformer", "Pooling", "Dense"], {"pooling_mode_mean_tokens": True}, r"modules\.json: has a Dense"),
        (["Transformer", "Pooling"], {"pooling_mode_lasttoken": True}, "pools by lasttoken"),
        (["Transformer", "Pooling"], {"pooling_mode": ["mean", "max"]}, "pools by mean, max"),
        (["Transformer", "Pooling"], {}, "pools by nothing"),
    ],
)
def test_what_is_pooled_otherwise_is_refused(modules: list[str], pooling: dict[str, Any], message: str, tmp_path: Path):
    save(task_bundle(TASK), tmp_path)
    (tmp_path / "anatomy.json").unlink()
    listed = [{"idx": place, "path": f"{place}_{kind}", "type": f"x.{kind}"} for place, kind in enumerate(modules)]
    (tmp_path / "modules.json").write_text(json.dumps(listed))
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(ModelError, match=message):
        load(tmp_path)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as sentence-transformers leaves it; a test may change a copy."""
    folder = tmp_path_factory.mktemp("foreign") / "model"
    save(task_bundle(TASK), folder)
    (folder / "anatomy.json").unlink()
    _edit(folder / "config.json", lambda config: config.pop("sentence_embedding", None))
    return folder


def _edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("modules.json", "[1]", "entry 0 is a int, wanted a JSON object"),
        ("modules.json", "7", "holds a int, wanted a list"),
        ("modules.json", "[{}]", "entry 0 has no type"),
        ("modules.json", '[{"type": "x.Pooling", "path": ""}]', "names no Transformer"),
        ("modules.json", '{"a": 1}', "holds a dict, wanted a list"),
        ("modules.json", '[{"type": 5}]', "entry 0 has no type"),
        *(
            ("modules.json", f'[{{"type": "x.Transformer"}}, {{"type": "x.Pooling"{path}}}]', message)
            for path, message in (
                (', "path": 5', "path of Pooling is '5', wanted a path inside"),
                ("", "path of Pooling is '', wanted a path inside"),
                (', "path": "../../../../etc"', "wanted a path inside"),
                (', "path": "/etc"', "wanted a path inside"),
            )
        ),
        ("1_Pooling/config.json", "[]", "holds a list, wanted a JSON object"),
        ("1_Pooling/config.json", '{"pooling_mode": 5}', "pools by 5"),
        ("1_Pooling/config.json", '{"pooling_mode": [["mean"]]}', "pools by"),
        ("sentence_bert_config.json", "[]", "holds a list, wanted a JSON object"),
        *(
            (
                "sentence_bert_config.json",
                json.dumps({"max_seq_length": value}),
                "wanted a whole number from 1, or null",
            )
            for value in ("x", -1, 0, True, 1.5, [])
        ),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_named(
    file: str, content: str, message: str, foreign: Path, tmp_path: Path
):
    folder = shutil.copytree(foreign, tmp_path / "model")
    assert load(folder).task.pooling == "mean"
    (folder / file).write_text(content)
    with pytest.raises(ModelError, match=rf"{re.escape(file)}: .*{message}"):
        load(folder)


def test_a_pooling_that_is_linked_from_elsewhere_is_refused(foreign: Path, tmp_path: Path):
    folder = shutil.copytree(foreign, tmp_path / "model")
    (folder / "1_Pooling").rename(tmp_path / "elsewhere")
    (folder / "1_Pooling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match=r"modules\.json: the path of Pooling is '1_Pooling', a link"):
        load(folder)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(
    "how",
    [
        *(5, None, "mean", [], {"pooling": "last"}, {"pooling": ["mean"]}, {"pooling": None}, {"normalize": 1}),
        *({"max_tokens": value} for value in ("x", -1, 0, True, 1.5)),
        {"other": 1},
    ],
)
def test_what_a_config_says_of_pooling_is_known_or_refused(how: Any, ours: bool, foreign: Path, tmp_path: Path):
    folder = tmp_path / "model"
    if ours:
        save(task_bundle(TASK), folder)
    else:
        shutil.copytree(foreign, folder)
    _edit(folder / "config.json", lambda config: config.update(sentence_embedding=how))
    with pytest.raises(ModelError, match=r"config\.json: sentence_embedding is .*, wanted an object with pooling"):
        load(folder)


def test_a_folder_without_modules_is_pooled_as_its_config_says(foreign: Path, tmp_path: Path):
    folder = shutil.copytree(foreign, tmp_path / "model")
    (folder / "modules.json").unlink()
    assert load(folder).task == SentenceEmbedding()
    _edit(folder / "config.json", lambda config: config.update(sentence_embedding={"pooling": "max"}))
    assert load(folder).task == SentenceEmbedding("max")


def test_the_graph_gives_what_its_onnx_backend_pools_and_our_vectors_too(tmp_path: Path):
    """That backend runs the graph for `last_hidden_state`, and pools it itself by the folder's own modules."""
    import onnxruntime
    from sentence_transformers.sentence_transformer.modules import Pooling

    bundle = task_bundle(TASK)
    save(bundle, tmp_path)
    graph = build_graph(bundle, tmp_path / "onnx" / "model.onnx", attention="fused")
    session = onnxruntime.InferenceSession(graph.path)
    inputs = {name: array.numpy() for name, array in mixed_inputs(bundle).items()}
    states, ours = session.run(["last_hidden_state", "sentence_embedding"], inputs)
    features = {
        "token_embeddings": torch.from_numpy(states),
        "attention_mask": torch.from_numpy(inputs["attention_mask"]),
    }
    theirs = Pooling.load(str(tmp_path / "1_Pooling"))(features)["sentence_embedding"].numpy()
    assert np.allclose(theirs / np.linalg.norm(theirs, axis=1, keepdims=True), ours, atol=1e-5)


def test_a_label_without_a_second_text_is_refused():
    split = Split("train", TEXTS, None, np.ones(len(TEXTS)), ("score",))
    with pytest.raises(DataError, match=r"train: a label says how alike two texts are; .* role text_pair"):
        TASK.encode(split, task_bundle(TASK).processor, max_tokens=16, seed=0)

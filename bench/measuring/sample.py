"""What the bench times: a BERT of MiniLM's size with random weights, which take as long as trained ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from compress.bundle import Bundle
from compress.data import Split
from compress.deploy import Deploy
from compress.runtime import Session, runtime_of
from evaluation.measurement import Target
from evaluation.sitting import Conditions, Opened, Subject

LABELS = ("negative", "positive")
ROUNDS = Conditions.rounds
"""As many as a recipe's sitting has where it says nothing else."""
_WORDS = 30_000


def sample_bundle(folder: Path, *, tiny: bool = False) -> dict[str, Bundle]:
    """The model in both forms, `torch` and `onnx`; its graph lies in `folder`.

    Args:
        tiny: two narrow layers, to try the bench itself out.
    """
    import torch
    from transformers import BertConfig

    from compress.bundle import plain_config
    from compress.dissection import anatomy_of
    from compress.family import family_of
    from compress.graph.build import build_graph
    from compress.task import task_of

    size = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    if tiny:
        size = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    task = task_of("text-classification")
    config = BertConfig(vocab_size=_WORDS, max_position_embeddings=512, **size)
    config.update(task.settings(LABELS))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build(config).eval()
    bundle = Bundle(model, plain_config(model), anatomy_of(model, family_of("bert")), word_tokenizer(), task, LABELS)
    return {
        "torch": bundle,
        "onnx": replace(bundle, model=build_graph(bundle, folder / "model.onnx", attention="fused")),
    }


def sitting_conditions(shapes: Sequence[str], *, seed: int, rounds: int) -> Conditions:
    """One sitting at these shapes, with as many threads as there are cores."""
    texts = tuple(" ".join(f"w{(7 * row + 3 * place) % 1000}" for place in range(20)) for row in range(40))
    test = Split("test", texts, None, None, LABELS)
    return Conditions(test, Deploy(shapes=tuple(shapes)), "cpu", (), seed, rounds=rounds, footprint=False)


@contextmanager
def opened(
    wanted: Mapping[str, tuple[str, Bundle]], threads: int, wrap: Mapping[str, Callable[[Session], Session]]
) -> Iterator[list[Opened]]:
    """Targets by name, each a runtime and a bundle, opened with sessions of their own.

    Args:
        wrap: what is put around a target's session.
    """
    made = []
    for name, (runtime, bundle) in wanted.items():
        opening = partial(_open, runtime, bundle, threads, wrap.get(name, lambda same: same))
        target = Target(name=name, kind="baseline", title=name, runtime=runtime, form=bundle.form.value)
        made.append(Opened(Subject(target, bundle), opening(), {}, opening))
    try:
        yield made
    finally:
        for one in made:
            one.session.close()


def _open(runtime: str, bundle: Bundle, threads: int, wrap: Callable[[Session], Session]) -> Session:
    return wrap(runtime_of(runtime).open(bundle, device="cpu", threads=threads))


class Slowed:
    """A session whose every call takes a share longer: it waits busily for that share of what the call has taken."""

    def __init__(self, session: Session, share: float) -> None:
        self._session = session
        self._share = share

    @property
    def weight_bytes(self) -> int:
        return self._session.weight_bytes

    def outputs(self, inputs: Mapping[str, Any]) -> Any:
        return self._session.outputs(inputs)

    def bind(self, inputs: Mapping[str, Any]) -> Callable[[], object]:
        call = self._session.bind(inputs)

        def slowed() -> object:
            start = perf_counter_ns()
            answer = call()
            done = perf_counter_ns()
            until = done + self._share * (done - start)
            while perf_counter_ns() < until:
                pass
            return answer

        return slowed

    def close(self) -> None:
        self._session.close()


def word_tokenizer(inputs: Sequence[str] = ("input_ids", "token_type_ids", "attention_mask")) -> Any:
    """Words are `w0` to `w999`; `inputs` are what its model takes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    words = [*special, *(f"w{number}" for number in range(1000))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
        model_input_names=list(inputs),
    )

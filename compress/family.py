"""What the toolkit must know of a model family: where its layers, heads and FFN channels are. One file of
`families/` holds one family; this one holds the protocol and finds the family of a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from compress import catalog
from compress.errors import ModelError

if TYPE_CHECKING:
    from jaxtyping import Bool
    from torch import Tensor
    from torch.nn import ModuleList
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.anatomy import Anatomy, Group

Part = Literal["embeddings", "encoder", "head"]


class Family(Protocol):
    """Where a family keeps its parts. Implementations subclass it; they have no state, and read counts from weights."""

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    """The values of `config.model_type` that this family serves."""
    inputs: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")
    """What the forward pass takes of that which a tokenizer or an image processor can give."""

    normed_last: ClassVar[bool] = False
    """Whether the last of the model's `hidden_states` has been through a norm that the others have not."""

    ffn_key: ClassVar[str] = "intermediate_size"
    """The config's key for the width of the FFN, which holds where all layers have the same."""

    causal: ClassVar[bool] = False
    """Whether a token sees only itself and what stands before it. A head that gives one answer a text then runs on
    every token, and the last one's answer counts."""

    pads_behind: ClassVar[bool] = False
    """Whether positions are counted from the start of a row, padding included, so that padding has to stand behind the
    text; said of families whose tokenizers are also set to pad in front."""

    def tiny(self, labels: int) -> PretrainedConfig:
        """The config of a model small enough for a test, with the family's every peculiarity."""

    def longest(self, config: Mapping[str, Any]) -> int | None:
        """The most tokens that the positions of a `config.json` allow, special ones included; None for no limit.

        For images it is the one number of tokens that the model reads.
        """

    def layers(self, model: PreTrainedModel) -> ModuleList:
        """The Transformer layers in the order in which they run; one that runs several times stands there as often.

        Where none does it is the model's own list, not a copy.
        """

    def groups(self, model: PreTrainedModel) -> Sequence[Group]:
        """Every group of units that can be cut, counted from the weights."""

    def part(self, parameter: str) -> Part:
        """The part of the model that a parameter, or a module, belongs to, by its dotted name."""

    def settle(self, model: PreTrainedModel) -> None:
        """Bring the modules' attributes and the config in line with the weights, after a cut."""

    def fits_stock_class(self, model: PreTrainedModel) -> bool:
        """Whether transformers' own class, built from the config alone, has the shapes of this model."""

    def reach(self, config: Mapping[str, Any]) -> int | None:
        """How far to each side a token attends in the layers that attend locally, in tokens; None where none does.

        A padding token that has only padding within reach has nothing to attend to: it has no right answer, and every
        runtime has its own.
        """
        return None

    def keep_layers(self, model: PreTrainedModel, kept: Sequence[int]) -> None:
        """Leave only the named layers of `layers`, in the given order; `settle` is called afterwards.

        Raises:
            ModelError: the family can't run just those.
        """
        layers = self.layers(model)
        chosen = [layers[index] for index in kept]
        del layers[:]
        layers.extend(chosen)

    def after_cut(self, model: PreTrainedModel, group: Group, keep: Bool[Tensor, "unit"]) -> None:
        """Follow a cut of a group's linear layers in whatever else knows its units; most families have no such thing.

        What must be known to run the cut model belongs into a buffer, which is saved with the weights.
        """
        return

    def config_from(self, document: Mapping[str, Any]) -> PretrainedConfig:
        """The stock config that the content of a `config.json` describes, also one of a cut model that the stock config
        would refuse.

        Raises:
            Exception: of transformers, of no common class: the document describes no model.
        """
        from transformers import AutoConfig

        config: PretrainedConfig = AutoConfig.for_model(**document)
        return config

    def widen(self, config: PretrainedConfig, hidden: int) -> None:
        """Give a config another hidden size, and whatever is bound to be as large."""
        config.hidden_size = hidden

    def make_room(self, config: PretrainedConfig, anatomy: Anatomy) -> None:
        """Give a config a hidden size and heads of which the stock class makes each group at least as wide as
        `anatomy` has it, and a head just as wide."""
        if getattr(config, "head_dim", None) is None:
            attention = next(group for group in anatomy.groups if group.heads)
            width = attention.slices[0].span
            heads = max(-(-anatomy.hidden // width), *anatomy.heads_by_layer(), 1)
            self.widen(config, heads * width)
            config.num_attention_heads = heads

    def restore(self, model: PreTrainedModel) -> None:
        """Give a stock model the parts that `settle` noted in the config and that the stock class does not make."""
        return

    def sequence_macs(self, model: PreTrainedModel) -> int:
        """Multiply-accumulates for each sequence in front of the layers that are no linear layer's: of patches."""
        return 0

    @contextmanager
    def sdpa(self, model: PreTrainedModel) -> Iterator[None]:
        """While it is open, attention is one call of torch's scaled_dot_product_attention for each layer that runs.

        A bundle's model is not for others to change: on leaving, it is as before.
        """
        before = model.config._attn_implementation
        model.set_attn_implementation("sdpa")
        try:
            yield
        finally:
            model.set_attn_implementation(before)


def family_of(model_type: str) -> Family:
    """The family that serves `model_type`.

    Raises:
        ModelError: no family does; the message names the known ones and how to add one.
    """
    families: list[Family] = [catalog.load("families", name)() for name in catalog.names("families")]
    for family in families:
        if model_type in family.model_types:
            return family
    known = sorted(kind for family in families for kind in family.model_types)
    raise ModelError(
        f"model type {model_type!r} is of no known family; known: {', '.join(known)}"
        f"{catalog.closest(model_type, known)}. A family is one file in compress/families/ that says where its heads, "
        "FFN channels and layers are (see CONTRIBUTING.md, 'Add a family')"
    )

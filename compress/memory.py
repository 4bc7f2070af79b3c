"""How much memory a run will take at its peak: a sum of named terms for each phase, from shapes and lengths alone.

Terms follow from what the phases hold: weights and their copies, optimizer state, what a backward pass needs again.
The few constants that no shape gives were measured on CPU runs of BERT models of 11 to 67 million parameters, batch 8
to 64 and 16 to 270 tokens, with torch 2.13, onnxruntime 1.31 and glibc; each says what it stands for. The peak of a run
is that of its dearest phase: an allocator keeps what was freed, and the next phase uses it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.anatomy import Anatomy, Group
from compress.baselines import BASELINES
from compress.bundle import Form
from compress.recipe import Recipe, stage_name
from compress.stage import Deploys
from compress.training.distillation import Distillation
from compress.training.loop import Training, trainings_of

if TYPE_CHECKING:
    from compress.lengths import Lengths
    from compress.task import Task

LIBRARIES_BYTES = 470_000_000
"""Resident once torch, transformers and the table readers are loaded."""
EXPORT_LIBRARIES_BYTES = 150_000_000
"""The same of the exporter, onnx and onnxruntime, which stay loaded."""
COMPILER_BYTES = 400_000_000
"""The same of torch's compiler and what it keeps of a compiled model."""
EXPORT_COPIES = 2.0
"""Of the weights while a model is exported: the file's content, and the same as one message to be written."""
REWRITE_COPIES = 5.2
"""Of a graph's weights while onnxruntime's tools quantize it: they read, infer, save and read it again."""
SESSION_COPIES = 1.4
"""Of a graph's weights in an open onnxruntime session, which lays some of them out anew for its kernels."""
ARENA_GROWTH = 1.6
"""A session's arena over what the graph needs at once: it grows by doubling and returns nothing."""
FRAGMENTATION = 1.5
"""Resident over asked for, of buffers that share glibc's heap and come and go in other sizes with every batch."""
LARGE_BYTES = 32 * 2**20
"""Larger buffers glibc takes from the system one by one, and gives them back at once."""
EXAMPLE_BYTES = 1500
"""Of an example's text and token arrays beside their content: headers, references, and what tokenizing leaves."""
SCORED = 32
"""Examples at a time when test examples are scored, and a criterion or a repair looks at calibration."""
JUDGED = 64
"""Examples at a time when dev is scored."""

_FLOAT = 4


@dataclass(frozen=True)
class Term:
    """Something that a phase holds."""

    what: str
    size_bytes: float
    mend: str = ""
    """What makes it smaller, where anything in a recipe does."""


@dataclass(frozen=True)
class Phase:
    """A part of a run, and all that it holds at its worst moment."""

    name: str
    terms: tuple[Term, ...]

    @property
    def size_bytes(self) -> int:
        return round(sum(term.size_bytes for term in self.terms))


@dataclass(frozen=True)
class Texts:
    """What a run reads: the lengths of each split's examples."""

    train: Lengths
    dev: Lengths
    test: Lengths
    calibration: Lengths
    transfer: Lengths | None = None

    @property
    def size_bytes(self) -> int:
        """Texts as Python objects, and each text's tokens as arrays of their own, with what an object costs."""
        splits = [self.train, self.dev, self.test, *([self.transfer] if self.transfer else [])]
        return sum(EXAMPLE_BYTES * len(split) + 2 * split.characters + 16 * split.total for split in splits)

    def seen_in(self, training: Training) -> Lengths:
        """What a training passes over in an epoch: one that teaches, the transfer split as well."""
        if self.transfer is None or not isinstance(training, Distillation):
            return self.train
        return self.train.plus(self.transfer)


@dataclass(frozen=True)
class Layers:
    """What of a model's layers its activations depend on.

    Attributes:
        attention_drops: whether attention probabilities are dropped out in training. torch's fused kernels for the CPU
            can't do that: all pairs of tokens then stand in memory.
        gelu_parts: further buffers of the FFN's width where its activation function is written out in Python.
        vocabulary: scores of each token, in a task that predicts tokens; else 0.
    """

    anatomy: Anatomy
    attention_drops: bool
    gelu_parts: int
    vocabulary: int

    @classmethod
    def of(cls, anatomy: Anatomy, config: Mapping[str, Any], task: Task) -> Layers:
        """From a `config.json` and what the model is for."""
        dropped = [config.get(key, 0.0) for key in ("attention_probs_dropout_prob", "attention_dropout", "attn_pdrop")]
        written_out = "gelu_new" in (config.get(key) for key in ("hidden_act", "activation", "activation_function"))
        vocabulary = int(config.get("vocab_size", 0)) if task.scores_words else 0
        return cls(anatomy, any(dropped), 3 if written_out else 0, vocabulary)

    def kept(self, rows: int, tokens: int, *, training: bool = True) -> float:
        """Bytes that a forward pass keeps for the backward pass.

        Counted in torch's saved tensors: of each layer 7.5 vectors of the hidden size (inputs of projections, norms,
        dropout masks), queries, keys and values, the FFN's vectors before and after its activation; and three numbers
        for each pair of tokens and head where attention is dropped out: probabilities, mask, product.
        """
        return sum(count * size for count, size in self._buffers(rows, tokens, training))

    def resident(self, rows: int, tokens: int, *, training: bool = True) -> float:
        """What `kept` takes in memory, with what the allocator wastes on it."""
        return sum(
            count * size * (1.0 if size > LARGE_BYTES else FRAGMENTATION)
            for count, size in self._buffers(rows, tokens, training)
        )

    def _buffers(self, rows: int, tokens: int, training: bool) -> Iterator[tuple[float, float]]:
        """How many buffers of how many bytes are kept."""
        each = _FLOAT * rows * tokens
        for group in self.anatomy.groups:
            if group.heads:
                yield 7.5 * group.repeats, each * _hidden(group)
                yield 3 * group.repeats, each * _made(group) / 3
                if training and self.attention_drops:
                    yield 3 * group.repeats, each * tokens * group.units * group.heads
            else:
                yield 2 * group.repeats, each * _made(group)
                yield self.gelu_parts * group.repeats, each * group.units
        yield 3, each * self.vocabulary

    def passing(self, rows: int, tokens: int, *, pairs: int = 0) -> float:
        """Bytes that one layer needs at once and then gives back, in inference or beside what is kept.

        Args:
            pairs: how many numbers stand there for each pair of tokens and head.
        """
        widest = 0.0
        for group in self.anatomy.groups:
            if group.heads:
                widest = max(widest, 4 * _hidden(group) + group.units * group.heads * tokens * pairs)
            else:
                widest = max(widest, 4 * _hidden(group) + 2 * _made(group))
        return _FLOAT * rows * tokens * (widest + 2 * self.vocabulary)

    def states(self, rows: int, tokens: int) -> float:
        """Bytes of all layers' outputs."""
        hidden = max((_hidden(group) for group in self.anatomy.groups), default=0)
        return _FLOAT * rows * tokens * hidden * (self.anatomy.layers + 1)


def foretold(recipe: Recipe, layers: Layers, texts: Texts) -> list[Phase]:
    """Every phase of a run on a CPU, in order.

    Args:
        layers: of the model that goes in.
    """
    common = [Term("libraries", LIBRARIES_BYTES), Term("data", texts.size_bytes)]
    phases, torch_sizes, graph_sizes = list[Phase](), [_size(layers.anatomy)], list[float]()
    now, reference, width = layers, layers, float(_FLOAT)
    for position, stage in enumerate((*recipe.prepare, *recipe.stages)):
        prepared = position < len(recipe.prepare)
        name = stage_name(position + 1 if prepared else position + 1 - len(recipe.prepare), stage, prepare=prepared)
        before, now = now, replace(now, anatomy=stage.predict(now.anatomy))
        width = stage.weight_bytes or width
        held = Term("models kept at hand", sum(torch_sizes))
        phases.append(Phase(name, (*common, held, *_working(stage, before, now, reference, texts))))
        if stage.produces is Form.TORCH:
            torch_sizes.append(_size(now.anatomy))
        else:
            if not graph_sizes:
                common.append(Term("libraries of the export", EXPORT_LIBRARIES_BYTES))
            graph_sizes.append(now.anatomy.parameters * width)
        if prepared:
            reference = now
    held = Term("models kept at hand", sum(torch_sizes))
    started = torch_sizes[len(recipe.prepare) + 1 :]
    return [*phases, Phase("measure", (*common, held, *_measuring(recipe, reference, started, graph_sizes, texts)))]


def peak(phases: Sequence[Phase]) -> Phase:
    """The dearest phase."""
    return max(phases, key=lambda phase: phase.size_bytes)


@dataclass(frozen=True)
class Room:
    """What a process may still take, what it holds already included, and who sets the limit."""

    size_bytes: int
    limit: str


def room() -> Room:
    """What this process may take now: of the machine's memory and of its container's."""
    import psutil

    mine = psutil.Process().memory_info().rss
    free = Room(psutil.virtual_memory().available + mine, "free on this machine")
    allowed = [Room(left + mine, "left in this container") for left in _left_in_groups()]
    return min([free, *allowed], key=lambda one: one.size_bytes)


def _working(stage: Any, before: Layers, now: Layers, teacher: Layers, texts: Texts) -> list[Term]:
    """What a stage holds at its worst moment, besides the models that are there already."""
    moments = [
        list(_training(training, replace(now, anatomy=anatomy), teacher, texts))
        for training, anatomy in trainings_of(stage, before.anatomy)
    ]
    if not isinstance(stage, Training):  # another stage may train too, before or after its own work
        moments.append(list(_changing(stage, now, texts)))
    if isinstance(stage, Deploys) and stage.timed_at_once:
        moments.append(list(_timing(stage.timed_at_once, before)))
    return max(moments, key=lambda terms: sum(term.size_bytes for term in terms))


def _changing(stage: Any, now: Layers, texts: Texts) -> Iterator[Term]:
    """What a stage holds while it cuts, exports or quantizes."""
    if stage.consumes is Form.TORCH and stage.produces is Form.TORCH:
        # A criterion may ask for gradients, dropout off; a repair works on a copy of the cut model.
        size = max(
            (now.resident(*batch, training=False) for batch in texts.calibration.batches(SCORED // 2)), default=0
        )
        yield Term("the cut model and its repair", 2 * _size(now.anatomy))
        yield Term("activations", size, "fewer or shorter `data.calibration` texts")
    elif stage.consumes is Form.TORCH:
        yield Term("libraries of the export", EXPORT_LIBRARIES_BYTES)
        yield Term("copies while exporting", EXPORT_COPIES * _size(now.anatomy))
    else:
        yield Term("copies while quantizing", REWRITE_COPIES * _size(now.anatomy))
        yield _arena(now, texts.calibration.batches(SCORED), "shorter `data.calibration` texts", sessions=1)


def _timing(sessions: int, whole: Layers) -> Iterator[Term]:
    """What a stage holds while it times variants of the whole model as they are deployed."""
    yield Term("libraries of the export", EXPORT_LIBRARIES_BYTES)
    yield Term("copies while exporting", EXPORT_COPIES * _size(whole.anatomy))
    yield Term("weights in sessions", SESSION_COPIES * sessions * _size(whole.anatomy))


def _training(training: Training, now: Layers, teacher: Layers, texts: Texts) -> Iterator[Term]:
    weights = _size(now.anatomy)
    # A gradient is as large as its weight, and lives until the next backward pass.
    yield Term("weights that are trained, gradients, and AdamW's two moments", 4 * weights)
    if training.keep == "best" and training.epochs > 1:
        yield Term("weights of the best epoch", weights)
    drops = 3 if now.attention_drops else 0

    def needed(rows: int, tokens: int) -> float:
        taught = isinstance(training, Distillation)
        states = 3 * now.states(rows, tokens) + teacher.states(rows, tokens) if taught else 0
        return now.resident(rows, tokens) + now.passing(rows, tokens, pairs=drops) + states

    batches = texts.seen_in(training).batches(training.batch, shuffled=True)
    rows, tokens = max(batches, key=lambda batch: needed(*batch))
    mend = f"a smaller `batch` than {training.batch}, or shorter texts"
    yield Term(f"activations of {rows} rows of {tokens} tokens", needed(rows, tokens), mend)


def _measuring(
    recipe: Recipe, reference: Layers, started: Sequence[float], graphs: Sequence[float], texts: Texts
) -> Iterator[Term]:
    """All targets open at once: the reference in every form, each stage's outcome."""
    names = dict.fromkeys(("torch-fp32", *recipe.measure.baselines))
    chosen = [BASELINES[name] for name in names if not BASELINES[name].obstacle]
    size = _size(reference.anatomy)
    eager = [size * _SHARE.get(baseline.runtime, 1.0) for baseline in chosen if baseline.attention is None]
    exported = [size for baseline in chosen if baseline.attention is not None]
    fewer = "fewer `measure.baselines`"
    yield Term("torch models that are measured", sum(eager) + sum(started), fewer)
    if any(baseline.runtime == "torch-compile" for baseline in chosen):
        yield Term("torch's compiler", COMPILER_BYTES, "leave out the baseline torch-compile")
    yield Term("weights in sessions", SESSION_COPIES * (sum(exported) + sum(graphs)), fewer)
    batches = [*texts.test.batches(SCORED), *((shape.batch, shape.tokens) for shape in recipe.deploy.shapes)]
    yield _arena(reference, batches, f"{fewer}, smaller `deploy.shapes`", sessions=len(exported) + len(graphs))
    yield Term("activations in torch", max(reference.passing(*batch) for batch in batches))


def _arena(layers: Layers, batches: Sequence[tuple[int, int]], mend: str, *, sessions: int) -> Term:
    """onnxruntime's attention writes all pairs of tokens out; an arena keeps the room of the dearest batch."""
    needed = max((layers.passing(*batch, pairs=1) for batch in batches), default=0.0)
    return Term("arenas of sessions", ARENA_GROWTH * sessions * needed, mend)


_SHARE = {"torch-bf16": 0.5, "torch-fp16": 0.5, "torch-dynamic-int8": 1.25}
"""Of the float32 weights, what a runtime's own copy takes; dynamic int8 keeps the embeddings and adds packed layers."""


def _size(anatomy: Anatomy) -> float:
    return float(_FLOAT * anatomy.parameters)


def _hidden(group: Group) -> int:
    """The width of the vectors that a group reads and writes: what its linear layers have on their other side."""
    return group.unit_macs // sum(part.places for part in group.slices)


def _made(group: Group) -> int:
    """Numbers that a group's first linear layers make of each token: queries, keys and values, or FFN channels."""
    return group.units * sum(part.places for part in group.slices if part.side == "rows")


def _left_in_groups() -> Iterator[int]:
    """What the control groups of this process leave it, on Linux; files that they hold in memory can be given back."""
    root, unified = Path("/sys/fs/cgroup"), "memory.max"
    try:
        listed = Path("/proc/self/cgroup").read_text(encoding="ascii").split()
    except OSError:
        return
    for line in listed:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            folder, limit, used, cached = root / path.strip("/"), unified, "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            folder, limit = root / "memory" / path.strip("/"), "memory.limit_in_bytes"
            used, cached = "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        # Inside a container its own group is often mounted as the root.
        for place in dict.fromkeys((folder, *folder.parents)):
            if place.is_relative_to(root) and (left := _left(place, limit, used, cached)) is not None:
                yield left


def _left(group: Path, limit: str, used: str, cached: str) -> int | None:
    try:
        allowed = (group / limit).read_text(encoding="ascii").strip()
        if not allowed.isdigit() or int(allowed) >= 2**60:  # `max`, or version 1's way to say so
            return None
        taken = int((group / used).read_text(encoding="ascii"))
        counts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
    except (OSError, ValueError):
        return None
    return int(allowed) - taken + int(counts.get(cached, 0))

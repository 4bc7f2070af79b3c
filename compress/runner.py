"""Run a recipe: fetch, prepare, compress; every finished stage is kept in the store and never done twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import catalog
from compress.bundle import Bundle
from compress.data import Split, Splits, load_data
from compress.deploy import Deploy
from compress.folder import load, save, source_bundle
from compress.lineage import Lineage, Step, digest_of
from compress.preflight import check, check_labels, check_memory, check_runtime, check_sources, needs, texts_of
from compress.provenance import code_digest, processor, versions
from compress.recipe import Recipe, stage_name
from compress.runtime import runtime_of
from compress.sources import Found, Sources
from compress.stage import Context, Stage
from compress.step import applied, settings_of
from compress.store.inventory import trim
from compress.store.refusals import writing
from compress.store.store import Store
from compress.task import task_of

if TYPE_CHECKING:
    import torch

RECORD = "record.json"
VALUE = "value.json"

Sights = Mapping[str, "Split | Deploy | Bundle | None"]
"""What a stage may ask to see, by the name of the context's field."""

Progress = Callable[[str, float, str], None]
"""Told (stage, fraction done, what is going on)."""


@dataclass(frozen=True)
class Outcome:
    """What one stage left: a folder in the store that holds the bundle, and a record of how it came about."""

    name: str
    folder: Path
    step: Step
    source: str
    """The model's source as this recipe spells it."""
    curves: Mapping[str, Any]
    gates: tuple[Mapping[str, Any], ...]
    reused: bool

    @cached_property
    def bundle(self) -> Bundle:
        """Read from the store at first use; a fresh and a reused outcome so give the very same model."""
        bundle = load(self.folder)
        # A recipe in another folder may have made it, for which the same source had another path.
        return replace(bundle, lineage=replace(bundle.lineage, source=self.source))


@dataclass(frozen=True)
class Executed:
    """A recipe's models: the reference, and each stage's outcome in order."""

    source: Found
    splits: Splits
    reference: Bundle
    prepared: tuple[Outcome, ...]
    stages: tuple[Outcome, ...]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return (*self.prepared, *self.stages)


@dataclass
class Runner:
    """Runs recipes on one device, with one store."""

    recipe: Recipe
    sources: Sources
    store: Store
    device: str
    fresh: bool = False
    progress: Progress = field(default=lambda *_told: None)

    def execute(self) -> Executed:
        """Every stage done, or found done.

        Raises:
            CompressError: the class says whose fault it is; finished stages stay in the store.
        """
        check_runtime(self.recipe, self.device)
        check_sources(self.recipe, self.sources)
        self.progress("sources", 0.0, "fetch the model")
        source = self.sources.fetch(self.recipe.model.source)
        self.progress("sources", 0.5, "read the data")
        task = task_of(self.recipe.model.task)
        splits = load_data(self.recipe.data, self.sources, target=task.target, modality=task.modality)
        check_labels(self.recipe, splits)
        lineage = Lineage(source.source, source.digest)
        head = self.recipe.seed if self.recipe.prepare else None
        start = source_bundle(source.path, task, splits.label_names, lineage, new_head_seed=head)
        check(self.recipe, start.anatomy, longest=start.max_tokens)
        if self.device == "cpu":  # what a GPU takes is not foretold
            texts = texts_of(self.recipe, splits, source.path, longest=start.max_tokens)
            check_memory(needs(self.recipe, start.anatomy, start.config, texts))
        self.progress("sources", 1.0, f"{len(splits.train)} train, {len(splits.dev)} dev, {len(splits.test)} test")

        reference, prepared = start, list[Outcome]()
        for position, stage in enumerate(self.recipe.prepare, start=1):
            name = stage_name(position, stage, prepare=True)
            prepared.append(self._outcome(name, stage, reference, self._sights(splits, None)))
            reference = prepared[-1].bundle
        bundle, stages, sights = reference, list[Outcome](), self._sights(splits, reference)
        for position, stage in enumerate(self.recipe.stages, start=1):
            stages.append(self._outcome(stage_name(position, stage), stage, bundle, sights))
            bundle = stages[-1].bundle
        return Executed(source, splits, reference, tuple(prepared), tuple(stages))

    def _sights(self, splits: Splits, reference: Bundle | None) -> Sights:
        """All that a stage may ask to see; the test split is not among it."""
        shown = {"train": splits.train, "dev": splits.dev, "calibration": splits.calibration}
        return {**shown, "transfer": splits.transfer, "deploy": self.recipe.deploy, "reference": reference}

    def _outcome(self, name: str, stage: Stage, bundle: Bundle, sights: Sights) -> Outcome:
        key = self._key(stage, bundle, sights)
        folder = None if self.fresh else self.store.find(key)
        reused = folder is not None
        if folder is None:
            reused = self._claim(name, key, stage, bundle, sights)
            folder = self.store.find(key)
            assert folder is not None, "what was just made is there and whole"
        self.progress(name, 1.0, "done before" if reused else "done")
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        step = replace(Step(**record["step"]), name=name)
        source = bundle.lineage.source
        return Outcome(name, folder, step, source, record["curves"], tuple(record["gates"]), reused)

    def _claim(self, name: str, key: str, stage: Stage, bundle: Bundle, sights: Sights) -> bool:
        """Make a stage's entry, one process at a time. Gives whether another one made it while this one waited."""
        damaged = self.store.folder(key).exists() and not self.fresh
        self.progress(name, 0.0, "what is stored is damaged, done again" if damaged else "")

        def waiting(holder: str) -> None:
            self.progress(name, 0.0, f"waits: the same is being made by {holder}")

        with self.store.claimed(key, waiting) as claim:
            if (claim.waited or not self.fresh) and self.store.find(key):
                return True
            scratch = claim.scratch(fresh=self.fresh)
            with claim.making({"stage": name, "recipe": self.recipe.name}) as draft:
                self._make(name, stage, bundle, sights, draft, scratch)
        if self.store.use is not None:  # else nothing keeps this very recipe's stages from being trimmed
            trim(self.store)
        return False

    def _make(self, name: str, stage: Stage, bundle: Bundle, sights: Sights, draft: Path, scratch: Path) -> None:
        """Apply one stage and write bundle and record into `draft`."""
        curves: dict[str, Any] = {}
        gates: list[dict[str, Any]] = []
        context = Context(
            **_shown(stage, sights),
            device=_torch_device(self.device, self.recipe.deploy.thread_count),
            seed=self.recipe.seed,
            scratch=scratch,
            record=curves.__setitem__,
            check=lambda **gate: gates.append(gate),
            kept=partial(self._kept, name),
            progress=lambda fraction, message: self.progress(name, fraction, message),
        )
        with writing(self.store.root, f"the outcome of {name}"):
            after = applied(name, stage, bundle, context)
            save(after, draft)
            record = {"step": asdict(after.lineage.steps[-1]), "curves": curves, "gates": gates}
            (draft / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def _kept(self, name: str, about: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """A value that stages of this and of other recipes share: from the store, or made now and put there."""
        runtime = type(runtime_of(self.recipe.deploy.runtime)).__module__  # found by name: no import leads to it
        code = [code_digest(module) for module in (make.__module__, runtime)]
        key = digest_of({"kept": about, "machine": processor(), "code": code, "versions": versions()})

        def stored() -> Any:
            folder = self.store.find(key)
            return None if folder is None else json.loads((folder / VALUE).read_text(encoding="utf-8"))

        if (value := stored()) is not None:
            return value
        with self.store.claimed(key, lambda holder: self.progress(name, 0.0, f"waits for {holder}")) as claim:
            if (value := stored()) is not None:  # another process may have made it since
                return value
            made = make()
            with claim.making({"stage": name, "recipe": self.recipe.name}) as draft:
                (draft / VALUE).write_text(json.dumps(made), encoding="utf-8")
        return stored()

    def _key(self, stage: Stage, bundle: Bundle, sights: Sights) -> str:
        """Everything that can change the stage's outcome."""
        return digest_of(
            {
                "stage": type(stage).__module__,
                "settings": settings_of(stage),
                "input": bundle.digest,
                "lineage": bundle.lineage.digest,
                "sees": {name: _digest_of_sight(sights[name]) for name in sorted(stage.sees)},
                "device": self.device,
                "threads": self.recipe.deploy.thread_count,
                "seed": self.recipe.seed,
                "code": _code(stage, bundle, self.recipe.deploy),
                "versions": versions(),
            }
        )


class _Withheld:
    """Stands where a stage has not declared that it looks, so that a key can't miss what an outcome depends on."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        raise AssertionError(f"the stage looks at {self._name!r} without naming it in `sees`")


def _shown(stage: Stage, sights: Sights) -> dict[str, Any]:
    return {name: value if name in stage.sees else _Withheld(name) for name, value in sights.items()}


def _digest_of_sight(sight: Split | Deploy | Bundle | None) -> Any:
    if isinstance(sight, Deploy):
        return [sight.model_dump(mode="json"), processor()]  # what is chosen by timing is chosen for this machine
    return sight.digest if sight is not None else None


def _code(stage: Stage, bundle: Bundle, deploy: Deploy) -> list[str]:
    """Digests of the code that makes a stage's outcome; what is found by name, its own imports do not reach."""
    metric = catalog.load("metrics", bundle.task.metrics[0])
    used: list[Any] = [type(stage), save, type(bundle.family), type(bundle.task), metric]
    if criterion := getattr(stage, "criterion", None):
        used.append(type(criterion))
    if "deploy" in stage.sees:
        used.append(type(runtime_of(deploy.runtime)))
    return [code_digest(thing.__module__) for thing in used]


def _torch_device(name: str, threads: int) -> torch.device:
    import torch

    torch.set_num_threads(threads)
    return torch.device(name)

"""Data sets of the hub, through its own library: no code of a data set is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress.errors import SourceError
from compress.sources import HubSource, hub_fault
from compress.tables.columns import Columns, Wanted


def read(source: str, repository: HubSource, split: str, wanted: Wanted) -> Columns:
    """The wanted columns of one of the data set's own splits. Pictures are not decoded.

    Raises:
        SourceError: the data set can't be had.
        DataError: a column that is wanted is not there.
    """
    import datasets

    try:
        found = datasets.load_dataset(
            repository.repository, repository.config, revision=repository.revision, split=split
        )
    except Exception as fault:  # the client's errors share no class, and its HTTP library's differ between versions
        raise SourceError(f"{source}: {hub_fault(fault)}") from None
    names = wanted.names(source, found.column_names)
    for name in set(names.values()):
        if isinstance(found.features[name], datasets.Image):
            found = found.cast_column(name, datasets.Image(decode=False))
    values = {role: list(found[name]) for role, name in names.items()}
    if "image" in values:
        values["image"] = [_fetched(value) for value in values["image"]]
    class_names = _class_names(found.features[names["label"]]) if "label" in names else None
    return Columns(source, values, range(1, found.num_rows + 1), class_names, unit="row")


def _class_names(feature: Any) -> tuple[str, ...] | None:
    """The names of a class label, or of those in a list."""
    import datasets

    while not isinstance(feature, datasets.ClassLabel):
        if (feature := getattr(feature, "feature", None)) is None:
            return None
    return tuple(feature.names)


def _fetched(value: Any) -> Any:
    """A picture that the client has put into its own cache as a `Path`; a path to anywhere else stays untrusted."""
    import datasets
    from huggingface_hub import constants

    if not isinstance(value, dict) or value.get("bytes") is not None or not isinstance(value.get("path"), str):
        return value
    file = Path(value["path"])
    caches = (Path(constants.HF_HUB_CACHE), Path(datasets.config.HF_DATASETS_CACHE))
    inside = any(file.resolve().is_relative_to(cache.resolve()) for cache in caches)
    return file if inside else value

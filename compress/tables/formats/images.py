"""Pictures in a folder: one sub-folder a class, which is named after it."""

from __future__ import annotations

from pathlib import Path

from compress.errors import DataError
from compress.tables.columns import Columns, Wanted

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")


def read(path: Path, wanted: Wanted) -> Columns:
    """One row a picture, in order of class and file name. Hidden files are passed over; others are counted.

    Raises:
        DataError: no folder of folders, or the task does not read pictures.
    """
    if wanted.modality != "image":
        raise DataError(f"{path}: a folder of pictures, but the task reads texts")
    if wanted.columns is not None or wanted.label not in (None, "label"):
        raise DataError(f"{path}: a folder of pictures has no columns; its sub-folders are the classes")
    if not path.is_dir():
        raise DataError(f"{path}: is no folder, wanted one with a sub-folder of pictures for each class")
    entries = _visible(path)
    folders = [entry for entry in entries if entry.is_dir()]
    if not folders:
        raise DataError(f"{path}: has no sub-folder, wanted one of pictures for each class")
    outside = len(entries) - len(folders)
    found = [(folder.name, file) for folder in folders for file in _visible(folder)]
    pictures = [(name, file.relative_to(path).as_posix()) for name, file in found if file.suffix.lower() in SUFFIXES]
    dropped = {"outside of the classes' folders": outside, "no picture by its suffix": len(found) - len(pictures)}
    values = {"image": [file for _, file in pictures], "label": [name for name, _ in pictures]}
    if wanted.target is None:
        del values["label"]
    return Columns(
        str(path),
        values,
        range(1, len(pictures) + 1),
        tuple(folder.name for folder in folders),
        unit="picture",
        folder=path,
        dropped={reason: count for reason, count in dropped.items() if count},
    )


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as fault:
        raise DataError(f"{folder}: can't be read ({fault.strerror})") from None

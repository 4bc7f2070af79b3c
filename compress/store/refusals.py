"""What a disk refuses, told as something for the user to mend: full, read-only, over a quota or a size limit."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compress.errors import StoreError

IN_THE_WAY = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
REFUSALS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENODEV),
    *IN_THE_WAY,
)


@contextmanager
def writing(place: Path, what: str) -> Iterator[None]:
    """Report what the disk refuses while the block writes to `place`; other faults pass as they are.

    Raises:
        StoreError: no space, no permission, a file in the way.
    """
    try:
        yield
    except OSError as fault:
        if fault.errno not in REFUSALS and not _has_no_home(fault, place):
            raise
        advice = "a file is in the way, choose" if fault.errno in IN_THE_WAY else "free space or choose"
        raise _refused(fault.filename or place, what, fault.strerror or str(fault), advice) from fault
    except Exception as fault:
        if not _is_safetensors_own(fault):
            raise
        raise _refused(place, what, str(fault), "free space or choose") from fault


def check_place(place: Path, what: str) -> None:
    """See, before any work, that a folder can be made and written at `place`.

    Raises:
        StoreError: a file is in the way, or the disk lets nobody write there.
    """
    there = next(one for one in (place, *place.absolute().parents) if os.path.exists(one))
    if not os.path.isdir(there):
        raise _refused(place, what, os.strerror(errno.ENOTDIR), "a file is in the way, choose")
    if not os.access(there, os.W_OK):
        raise _refused(there, what, os.strerror(errno.EACCES), "free space or choose")


def _has_no_home(fault: OSError, place: Path) -> bool:
    """Whether the place itself, or a folder that it lies in, can't be made, as under /proc."""
    missing = fault.errno == errno.ENOENT and isinstance(fault.filename, str)
    return missing and Path(fault.filename) in (place, *place.parents)


def _refused(place: Path | str, what: str, reason: str, advice: str) -> StoreError:
    return StoreError(f"{place}: {what} can't be written: {reason}; {advice} another folder")


def _is_safetensors_own(fault: Exception) -> bool:
    """safetensors writes outside Python, and hands on what the disk said in words."""
    from safetensors import SafetensorError

    return isinstance(fault, SafetensorError) and "os error" in str(fault)

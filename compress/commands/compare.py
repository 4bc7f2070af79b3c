"""`compress report`: one report over any number of runs, compared pair by pair where there are several."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from compress.commands.keep import check_output
from compress.security import printable
from evaluation.across.across import across
from evaluation.across.kept import Kept
from evaluation.measurement import Across, Run, read_run
from reports.cast import labels_of
from reports.charts.script import bundle_ahead
from reports.page import write_report


def compare(paths: Sequence[Path], output: Path | None) -> Path:
    """Write the report and return its page.

    What can't be compared, and where a file contradicts itself, stands in the report; the latter is also printed.

    Args:
        paths: run folders, or run.json files; a run's predictions are looked for beside its run.json.
        output: the folder to write; None: the one run's own, or `report` here for several.

    Raises:
        DataError: a run.json is missing, cut short, or of a future format.
    """
    if len(paths) > 1:
        bundle_ahead()
    runs = [read_run(path) for path in paths]
    folder = output or (paths[0] / "report" if len(paths) == 1 and paths[0].is_dir() else Path("report"))
    check_output(folder, "the report")
    found = compared(runs, paths)
    for label, sentences in found.doubts.items():
        for sentence in sentences:
            print(f"compress: {printable(label)}: {printable(sentence)}; edited by hand?", file=sys.stderr)
    return write_report(runs, folder, across=found if len(runs) > 1 else None)


def compared(runs: Sequence[Run], paths: Sequence[Path]) -> Across:
    """The runs compared with each other; of one alone, whether it contradicts itself."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    labels = labels_of(runs)
    return across([Kept(label, run, folder) for label, run, folder in zip(labels, runs, folders, strict=True)])

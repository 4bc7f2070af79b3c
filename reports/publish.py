"""Make the published pages, and README's tables, from the `run.json` files in the tree: `python -m reports.publish`.

A figure in README is never typed: it stands between markers, and this program writes it. With `--check` nothing is
written, and the exit code says whether anything differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from evaluation.measurement import FILE_NAME, Run, read_run
from reports.page import render_markdown, write_report
from reports.summary import summary_csv
from reports.table import fill_markers

ROOT = Path(__file__).parent.parent
PUBLISHED = Path("reports") / "published"


def published_runs(root: Path = ROOT) -> dict[str, Run]:
    """Every published run by the name of its folder."""
    return {file.parent.name: read_run(file) for file in sorted((root / PUBLISHED).glob(f"*/{FILE_NAME}"))}


def publish(root: Path = ROOT) -> None:
    """Write every page and README's tables anew."""
    for name, run in published_runs(root).items():
        write_report([run], root / PUBLISHED / name)
    readme = root / "README.md"
    readme.write_text(fill_markers(readme.read_text(encoding="utf-8"), published_runs(root)), encoding="utf-8")


def differing(root: Path = ROOT) -> Iterator[Path]:
    """Texts in the tree that say something else than the `run.json` they are made from."""
    runs = published_runs(root)
    wanted = {root / "README.md": fill_markers((root / "README.md").read_text(encoding="utf-8"), runs)}
    for name, run in runs.items():
        wanted[root / PUBLISHED / name / "report.md"] = render_markdown([run])
        wanted[root / PUBLISHED / name / "summary.csv"] = summary_csv([run])
    for file, text in wanted.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            yield file


def main(arguments: list[str]) -> int:
    """0 when all is made, or agrees; 1 when `--check` finds a difference."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m reports.publish [--check]", file=sys.stderr)
        return 2
    if not arguments:
        publish()
        return 0
    stale = [file.relative_to(ROOT).as_posix() for file in differing()]
    for name in stale:
        print(f"{name} disagrees with its run.json; `make reports` writes it anew", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Make the published pages, and README's tables, from the `run.json` files in the tree: `python -m reports.publish`.

A figure in README is never typed: it stands between markers, and this program writes it. With `--check` nothing is
written, and the exit code says whether anything differs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from evaluation.measurement import FILE_NAME, Run, read_run
from reports.page import charts_of, render_html, render_markdown, specs_of, write_report
from reports.readme import fill_markers
from reports.summary import summary_csv

ROOT = Path(__file__).parent.parent
PUBLISHED = Path("reports") / "published"
_DRAWINGS = re.compile(
    r"""<svg\b.*?</svg>|<script(?: type="application/json")?>.*?</script>|'sha256-[^']*'""", re.DOTALL
)
_SPECS = re.compile(r'<figure [^>]*id="chart-([^"]*)">.*?<script type="application/json">(.*?)</script>', re.DOTALL)


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
    """Files in the tree that say something else than the `run.json` they are made from, and charts that are missing.

    Of a page the words, tables, links and each chart's spec are compared, not its still drawings: where a letter ends
    in those depends on the fonts of the machine that drew them.
    """
    runs = published_runs(root)
    wanted = {root / "README.md": fill_markers((root / "README.md").read_text(encoding="utf-8"), runs)}
    for name, run in runs.items():
        folder = root / PUBLISHED / name
        wanted[folder / "report.md"] = render_markdown([run])
        wanted[folder / "summary.csv"] = summary_csv([run])
        if not _says(folder / "index.html", render_html([run], drawn=False), specs_of([run])):
            yield folder / "index.html"
        yield from (file for file in charts_of([run], folder) if not file.exists())
    for file, text in wanted.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            yield file


def _says(page: Path, undrawn: str, specs: list[tuple[str, str]]) -> bool:
    """Whether the page holds the charts' specs, and all else that it holds without drawings and program."""
    if not page.exists():
        return False
    text = page.read_text(encoding="utf-8")
    return _SPECS.findall(text) == specs and _DRAWINGS.sub("", text) == _DRAWINGS.sub("", undrawn)


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

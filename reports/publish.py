"""Make the published pages, and README's tables, from the `run.json` files in the tree: `python -m reports.publish`.

A figure in README is never typed: it stands between markers, and this program writes it. With `--check` nothing is
written, and the exit code says whether anything differs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from evaluation.measurement import FILE_NAME, Run, read_run
from reports.charts.script import digest
from reports.likeness import alike
from reports.outline import SVG_OPENING
from reports.page import Drawing, drawings_of, render_html, render_markdown, write_report
from reports.readme import fill_markers
from reports.summary import summary_csv

ROOT = Path(__file__).parent.parent
PUBLISHED = Path("reports") / "published"
_DRAWINGS = re.compile(
    r"""<svg\b.*?</svg>|<script(?: type="application/json")?>.*?</script>|'sha256-[^']*'""", re.DOTALL
)
_POLICY = re.compile(r"'(sha256-[^']*)'")
_PROGRAMS = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_STILLS = re.compile(r'<figure [^>]*id="chart-([^"]*)">.*?<div class="still scroll">(.*?)</div>', re.DOTALL)
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
    """Files in the tree that say something else than the `run.json` they are made from, that are missing, or are left
    from another one.

    Of still drawings, beside a page and on it, all is compared but where a letter ends: that depends on the fonts of
    the machine that drew them.
    """
    runs = published_runs(root)
    wanted = {root / "README.md": fill_markers((root / "README.md").read_text(encoding="utf-8"), runs)}
    for name, run in runs.items():
        folder = root / PUBLISHED / name
        wanted[folder / "report.md"] = render_markdown([run])
        wanted[folder / "summary.csv"] = summary_csv([run])
        drawings = drawings_of([run])
        if not _says(folder / "index.html", render_html([run], drawn=False), drawings):
            yield folder / "index.html"
        yield from _differing_drawings(folder, drawings)
    for file, text in wanted.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            yield file


def _says(page: Path, undrawn: str, drawings: Mapping[str, Drawing]) -> bool:
    """Whether the page holds the charts as they are drawn, all else that it holds without drawings and program, and
    lets the program run that it holds."""
    if not page.exists():
        return False
    text = page.read_text(encoding="utf-8")
    stills = _STILLS.findall(text)
    return (
        _SPECS.findall(text) == [(name, drawing.spec_on_page) for name, drawing in drawings.items()]
        and [name for name, _ in stills] == list(drawings)
        and all(alike(still, drawings[name].still_on_page) for name, still in stills)
        and _DRAWINGS.sub("", text) == _DRAWINGS.sub("", undrawn)
        and _POLICY.findall(text) == [digest(program) for program in _PROGRAMS.findall(text)]
    )


def _differing_drawings(folder: Path, drawings: Mapping[str, Drawing]) -> Iterator[Path]:
    for name, drawing in drawings.items():
        file = folder / f"{name}.svg"
        if not file.exists() or not alike(file.read_text(encoding="utf-8"), drawing.still):
            yield file
    for file in sorted(folder.glob("*.svg")):
        if file.stem not in drawings and file.read_text(encoding="utf-8").startswith(SVG_OPENING):
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

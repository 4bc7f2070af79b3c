"""What a model folder's own card says of its license; nothing is guessed from other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_CARD = "README.md"
_FENCE = "---"
_KEYS = ("license", "license_name", "license_link")  # the latter two name a license that the hub has no word for


def stated_license(folder: Path) -> dict[str, Any]:
    """The front matter's keys on the license, as a model hub reads them; empty where it states none, or can't be read.

    `license` is a name such as `apache-2.0`, or a list of them.
    """
    import yaml

    try:
        lines = (folder / _CARD).read_text(encoding="utf-8-sig").splitlines()
        if not lines or lines[0].rstrip() != _FENCE:
            return {}
        end = [line.rstrip() for line in lines].index(_FENCE, 1)
        matter = yaml.safe_load("\n".join(lines[1:end]))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}  # a card is for people: one that is missing or broken stops no run
    if not isinstance(matter, dict) or not _is_license(matter.get("license")):
        return {}
    return {key: matter[key] for key in _KEYS if _is_license(matter.get(key))}


def _is_license(value: object) -> bool:
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and name.strip() for name in names)

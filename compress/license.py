"""What a model folder's own card says of its license; nothing is guessed from other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_CARD = "README.md"
_FENCE = "---"
_MOST_LETTERS = 64_000
_MOST_NAMES = 10
_LONGEST_NAME = 200
_KEYS = ("license", "license_name", "license_link")  # the latter two name a license that the hub has no word for


def stated_license(folder: Path) -> dict[str, Any]:
    """The front matter's keys on the license, as a model hub reads them; empty where it states none, or can't be read.

    `license` is a name such as `apache-2.0`, or a list of them.
    """
    import yaml

    try:
        with (folder / _CARD).open(encoding="utf-8-sig") as card:
            lines = card.read(_MOST_LETTERS).splitlines()
        if not lines or lines[0].rstrip() != _FENCE:
            return {}
        end = [line.rstrip() for line in lines].index(_FENCE, 1)
        matter = yaml.load("\n".join(lines[1:end]), Loader=yaml.BaseLoader)  # strings alone: nothing is built of them
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return {}  # a card is for people: one that is missing or broken stops no run
    if not isinstance(matter, dict) or not _is_license(matter.get("license")):
        return {}
    return {key: matter[key] for key in _KEYS if _is_license(matter.get(key))}


def _is_license(value: object) -> bool:
    names = value if isinstance(value, list) else [value]
    return 0 < len(names) <= _MOST_NAMES and all(isinstance(name, str) and _is_name(name) for name in names)


def _is_name(text: str) -> bool:
    """Whether it could name a license: BaseLoader gives `null` and `7` as strings, too."""
    printable = text.isprintable() and len(text) <= _LONGEST_NAME
    return printable and any(letter.isalpha() for letter in text) and text.lower() not in ("null", "true", "false")

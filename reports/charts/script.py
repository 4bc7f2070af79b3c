"""What a page carries so that its charts live: the drawing library, once, and each chart's spec as data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from functools import cache
from importlib.resources import files

from reports.charts.still import VEGA_LITE
from reports.charts.theme import COLOURS, Spec

# The library leaves its authors' notices out when it is bundled.
_NOTICE = """/* Vega, Vega-Lite, Vega-Embed and vega-tooltip: Copyright University of Washington Interactive Data Lab
and contributors, BSD 3-Clause License. D3: Copyright Mike Bostock, ISC License. All come with vl-convert-python. */"""


_BUNDLING = threading.Lock()


def bundle_ahead() -> None:
    """Have the library bundled beside what is done meanwhile; `script` waits for it."""
    threading.Thread(target=_library, daemon=True).start()


def _library() -> str:
    with _BUNDLING:  # who comes second finds it done
        return _bundled()


@cache
def _bundled() -> str:
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE))


@cache
def script(*, charts: bool) -> str:
    """The one script of a page: Vega, Vega-Lite and Vega-Embed where it has charts, then our own lines."""
    library = _library() if charts else ""
    ours = files("reports").joinpath("templates/page.js").read_text(encoding="utf-8")
    text = f"{_NOTICE}\n{library}\n{ours}" if charts else ours
    assert not re.search(r"</script|<!--|\r", text, re.IGNORECASE), "the script would end where it must not"
    return text


def digest(text: str) -> str:
    """The digest by which a page's security policy lets this script run, and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def as_data(value: Spec | dict[str, str]) -> str:
    """A value as JSON that can stand inside a page: no text in it ends its element or a line.

    >>> as_data({"a": "</script>"})
    '{"a":"\\\\u003c/script\\\\u003e"}'
    """
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def dark_pairs() -> dict[str, str]:
    """The dark colour that stands in for each light one."""
    return dict(COLOURS.values())

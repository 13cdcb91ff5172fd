"""The scripts of the page, each inline and each named by its hash in the page's policy.

Vega, Vega-Lite and Vega-Embed come as one script out of vl-convert-python, which carries them
(about 900 kB); `page.js` is ours. Specifications go beside them as JSON, which no browser runs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

# What ends a script, or hides its end, wherever it stands; both only occur in strings and patterns,
# where the backslash changes nothing.
ENDS_SCRIPT: Final = re.compile(r"<(?=/script|!--)", re.IGNORECASE)
# In JSON these occur in strings only. U+2028 and U+2029 are escaped by json.dumps itself.
IN_JSON: Final = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


@dataclass(frozen=True, slots=True)
class Inline:
    """A script or style sheet as it stands between its tags."""

    text: str

    @property
    def digest(self) -> str:
        """As a Content-Security-Policy names it."""
        of = hashlib.sha256(self.text.encode()).digest()
        return f"'sha256-{base64.b64encode(of).decode()}'"


@cache
def vega() -> Inline:
    """Vega-Embed and what it needs, as `window.vegaEmbed`."""
    import vl_convert  # noqa: PLC0415 - slow, and only a page needs it

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    # Its names would be global otherwise.
    return script(f"(() => {{{bundle}\n}})();")


def script(text: str) -> Inline:
    """*text* as a script that ends where its closing tag is."""
    return Inline(ENDS_SCRIPT.sub(r"<\\", text).replace("\r\n", "\n"))


def page_script() -> Inline:
    """What makes the page answer."""
    return script(_own("page.js"))


def page_style() -> Inline:
    """How the page looks."""
    return Inline(_own("page.css"))


def _own(name: str) -> str:
    return files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def data(name: str, value: object) -> str:
    """*value* as JSON that a script finds by the id *name*, and a browser takes for no markup."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).translate(IN_JSON)
    return f'<script type="application/json" id="{name}">{text}</script>\n'

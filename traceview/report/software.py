"""What a report was computed with: versions, and no room for words, because readers repeat them.

Versions are those of PEP 440 (packaging.python.org, version specifiers); of a local one what git
and distributions add.
"""

from __future__ import annotations

import platform
import re
from importlib.metadata import version as installed
from typing import Final

import traceview

LONGEST: Final = 40
PACKAGES: Final = ("polars", "numpy", "scipy")
SOFTWARE: Final = ("python", "machine", *PACKAGES)
VERSION: Final = re.compile(
    r"[0-9]{1,4}(\.[0-9]{1,8}){0,3}((a|b|rc)[0-9]{1,4})?(\.post[0-9]{1,4})?(\.dev[0-9]{1,6})?"
    r"(\+(g[0-9a-f]{4,40}|[a-z]{0,6}[0-9]{1,8}[a-z]?[0-9]{0,4})(\.d?[0-9]{1,8})?)?"
)


def software() -> dict[str, str]:
    """What the numbers were computed with: other versions may round otherwise."""
    found = {name: installed(name) for name in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **found}


def is_version(text: str) -> bool:
    """Whether *text* is a version that traceview can have."""
    return text == traceview.__version__ or VERSION.fullmatch(text) is not None

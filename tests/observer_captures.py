"""The captures of one workload, traced more and less and not at all, analysed once per process.

Those of executed instructions take seconds to read: tests that use them bear the mark SLOW_TO_READ,
which keeps them in one process when tests run in several.
"""

from __future__ import annotations

from functools import cache

import pytest

from tests.truth import TRACES
from traceview import Analysis, analyze, open_trace

SLOW_TO_READ = pytest.mark.xdist_group("executed instructions")


@cache
def observed(kernel: str, name: str) -> Analysis:
    """*name*: insn (executed instructions), or untraced, top, split, deep."""
    folder = "insn" if name == "insn" else "observer"
    (path,) = (TRACES / folder / kernel).glob(f"{name}.txt*")
    return analyze(open_trace(str(path)))

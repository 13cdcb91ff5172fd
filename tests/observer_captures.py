"""The captures of one workload, traced more and less and not at all, analysed once per process.

Those of executed instructions take seconds to read. Tests run in several processes, file by file
(`make test`), so each file reads them once.
"""

from __future__ import annotations

from functools import cache

from tests.truth import TRACES
from traceview import Analysis, analyze, open_trace


@cache
def observed(kernel: str, name: str) -> Analysis:
    """*name*: insn (executed instructions), or untraced, top, split, deep."""
    folder = "insn" if name == "insn" else "observer"
    (path,) = (TRACES / folder / kernel).glob(f"{name}.txt*")
    return analyze(open_trace(str(path)))

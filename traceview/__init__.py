"""Latency breakdowns of KVM/arm64 stage-2 unmaps, from traces of real hosts.

    trace = traceview.open_trace("trace.perfetto")
    for batch in trace.batches(): ...          # events, args, losses, as they stream
    analysis = traceview.analyze(trace)        # unmaps, triggers, flushes, diagnostics
    traceview.unmaps(trace)                    # one row per kvm_pgtable_stage2_unmap
    traceview.calls(trace)                     # every traced call with its parent
    traceview.compare(analysis, other)         # two sides

Names are resolved on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traceview.errors import (
        EventNotFoundError,
        ParseError,
        QueryError,
        TraceviewError,
        TruncatedError,
        UnknownFormatError,
        UnsupportedError,
    )
    from traceview.parsers import open_trace
    from traceview.queries.analysis import Analysis, analyze, calls, unmaps
    from traceview.queries.comparison import compare
    from traceview.trace import Batch, Diagnostic, Trace

__version__ = "0.1.0"

_HOMES = {
    "Analysis": "traceview.queries.analysis",
    "Batch": "traceview.trace",
    "Diagnostic": "traceview.trace",
    "EventNotFoundError": "traceview.errors",
    "ParseError": "traceview.errors",
    "QueryError": "traceview.errors",
    "Trace": "traceview.trace",
    "TraceviewError": "traceview.errors",
    "TruncatedError": "traceview.errors",
    "UnknownFormatError": "traceview.errors",
    "UnsupportedError": "traceview.errors",
    "analyze": "traceview.queries.analysis",
    "calls": "traceview.queries.analysis",
    "compare": "traceview.queries.comparison",
    "open_trace": "traceview.parsers",
    "unmaps": "traceview.queries.analysis",
}

__all__ = [
    "Analysis",
    "Batch",
    "Diagnostic",
    "EventNotFoundError",
    "ParseError",
    "QueryError",
    "Trace",
    "TraceviewError",
    "TruncatedError",
    "UnknownFormatError",
    "UnsupportedError",
    "__version__",
    "analyze",
    "calls",
    "compare",
    "open_trace",
    "unmaps",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'traceview' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Questions asked of a trace. `analyze` answers them all in one pass over the file."""

from __future__ import annotations

from traceview.queries.analysis import Analysis, analyze

__all__ = ("Analysis", "analyze")

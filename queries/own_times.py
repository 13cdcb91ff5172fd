"""How short the traced calls of a source are: what bounds the cost of tracing a call.

A traced call costs time in two places. What is spent between its two time stamps (the entry
record is written after `calltime` is read, kernel/trace/fgraph.c and trace_functions_graph.c) lies
within its own duration: no less than the shortest call that contains no traced call. What is
spent before the first and after the second (the trampolines, the exit record) falls into the own
time of the call that contains it: no less than that own time per call inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.call_table import names, nesting
from traceview.queries.calls import STATUS
from traceview.queries.rows import NIL
from traceview.schema import EVIDENCE, EVIDENCE_KIND, OPERATION, conform, frame

if TYPE_CHECKING:
    from traceview.queries.functions import Functions
    from traceview.queries.rows import Ints
    from traceview.queries.unmaps import Placed

# Means need no more; the rest of a long trace costs nothing.
ENOUGH: Final = 200_000
CALLS: Final = tuple(EVIDENCE.index(name) for name in ("fgraph", "kprobe", "fprobe"))
SEVERAL: Final = 2
TRIM: Final = 0.1
FETCHED: Final = ("ipa", "length_bytes", "level", "mmu", "object_addr")


class OwnTimes:
    """Of the first complete calls of a source: their own time, by what is traced inside them."""

    def __init__(self, functions: Functions) -> None:
        """Start with none."""
        self._functions = functions
        self._seen = 0
        self._parts: list[pl.DataFrame] = []

    def add(self, placed: Placed) -> None:
        """Take the calls of a chunk, until there are enough."""
        if self._seen >= ENOUGH or placed.start.size == 0:
            return
        first = np.arange(placed.start.size) < ENOUGH
        last = int(placed.start[first][-1])
        some = placed.pick(first)
        parent, _ = nesting(some)
        duration, evidence = some.calls["duration_ns"], some.calls["evidence"]
        counted = (parent >= 0) & (duration != NIL)
        size = parent.size
        inside = np.bincount(parent[counted], minlength=size)
        time = np.bincount(parent[counted], weights=duration[counted], minlength=size)
        unsure = np.bincount(parent[(parent >= 0) & ~counted], minlength=size) > 0
        keep = np.isin(evidence, CALLS) & (some.calls["status"] == STATUS["complete"])
        keep &= (duration != NIL) & (some.end <= last) & ~unsure
        self._seen += size
        self._parts.append(
            pl.DataFrame(
                {
                    "evidence": evidence[keep].astype(np.uint8),
                    "function": some.calls["function"][keep].astype(np.int64),
                    "operation": some.calls["operation"][keep].astype(np.uint8),
                    "nested": np.minimum(inside[keep], SEVERAL).astype(np.int64),
                    "arguments": self._fetched(some, evidence)[keep],
                    "own_ns": (duration[keep] - time[keep]) / np.maximum(inside[keep], 1),
                }
            )
        )

    @staticmethod
    def _fetched(calls: Placed, evidence: Ints) -> Ints:
        """How many arguments an entry probe fetched, after its time stamp; a graph entry none."""
        known = sum((calls.calls[name] != NIL).astype(np.int64) for name in FETCHED)
        return np.where(evidence == EVIDENCE.index("fgraph"), 0, known)

    def table(self) -> pl.DataFrame:
        """schema.OWN_TIMES, the shortest first.

        Trimmed means: times are differences of time stamps that tick in steps, of which a median
        is one step or the next, while a mean is right; interrupts are cut off.
        """
        if not self._parts:
            return frame("own_times")
        rows = pl.concat(self._parts).filter(pl.col("function") >= 0)
        own = pl.col("own_ns")
        found = (
            rows.group_by("evidence", "function", "operation", "nested")
            .agg(
                pl.col("arguments").max(),
                pl.len().cast(pl.Int64).alias("calls"),
                own.filter(own.is_between(own.quantile(TRIM), own.quantile(1 - TRIM))).mean(),
            )
            .sort("own_ns", "function", "nested")
        )
        return conform(
            "own_times",
            found.with_columns(
                names(self._functions, found["function"].to_numpy()).alias("symbol"),
                found["evidence"].cat.to(EVIDENCE_KIND),
                found["operation"].cat.to(OPERATION),
            ),
        )

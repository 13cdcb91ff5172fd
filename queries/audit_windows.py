"""How long a cleared entry waits for its invalidation: the stale window.

An entry is cleared by a store that no trace shows. What is known before it bounds the window from
above: the walker's visit of the entry, else the end of what came before it in the unmap, else the
unmap's entry. It ends when the invalidation that covers it returns. So a window is *at most* so
long. Per-PTE, each invalidation of a leaf has a window of its own; deferred, all leaves of an unmap
wait for the one flush of the range. Without timestamps (function_graph's default) a deferred window
is at most the unmap's own duration, and per-PTE ones are unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.audit_order import flush_kinds
from traceview.queries.leaves import TABLE
from traceview.queries.rows import NIL

if TYPE_CHECKING:
    from traceview.queries.audit_order import Part, Parts
    from traceview.queries.rows import Ints

# Windows are kept by value and count, rounded up to so many significant bits: 0.1%.
BITS: Final = 10
SCHEMA: Final = {"unmap_id": pl.Int64(), "window_ns": pl.Int64(), "windows": pl.Int64()}


def observe_windows(found: Parts, page_bytes: int) -> pl.DataFrame:
    """The windows of each unmap: SCHEMA. Those that cannot be bounded are left out."""
    unmap, window = (
        np.concatenate(columns)
        for columns in zip(_deferred(found), _per_pte(found, page_bytes), strict=True)
    )
    known = window != NIL
    ids = found.unmaps.calls["start_seq"]
    rows = pl.DataFrame({"unmap_id": ids[unmap[known]], "window_ns": _rounded_up(window[known])})
    return (
        rows.group_by("unmap_id", "window_ns", maintain_order=True)
        .agg(pl.len().cast(pl.Int64).alias("windows"))
        .cast(SCHEMA)  # type: ignore[arg-type]
    )


def _deferred(found: Parts) -> tuple[Ints, Ints]:
    """One window per unmap that flushes its range: up to the return of the last such flush."""
    ranges, visits, unmaps = found.ranges, found.visits, found.unmaps
    last = np.full(found.size, -1, dtype=np.int64)
    last[ranges.unmap] = np.arange(ranges.unmap.size)
    unmap = np.flatnonzero(last >= 0)
    begun = unmaps.calls["start_ns"][unmap]
    # The first visit that dropped a reference; holes are visited too.
    visit = visits.latest_before(found.puts)
    first = np.full(found.size, -1, dtype=np.int64)
    dropped = visit[visit >= 0][::-1]
    first[visits.unmap[dropped]] = dropped
    seen = first[unmap] >= 0
    if seen.any():
        visited = visits.calls["start_ns"][np.maximum(first[unmap], 0)]
        begun = np.where(seen & (visited != NIL), visited, begun)
    ended = _ends(ranges)[last[unmap]] if unmap.size else begun
    # Without a time of its own the flush has returned when the unmap has.
    duration = unmaps.calls["duration_ns"][unmap]
    window = np.where((begun != NIL) & (ended != NIL), ended - begun, duration)
    return unmap, window


def _per_pte(found: Parts, page_bytes: int) -> tuple[Ints, Ints]:
    """One window per invalidation of a leaf, and of what may be one."""
    flushes = found.flushes
    alone = found.last_range()[flushes.unmap] < 0
    wanted = alone & (flush_kinds(found, page_bytes) != TABLE)
    ended = _ends(flushes)
    begun = np.where(found.size > 0, found.unmaps.calls["start_ns"][flushes.unmap], NIL)
    known = begun != NIL
    for part in (found.puts, found.cmos, flushes):
        before = part.latest_before(flushes)
        if not part.start.size:
            continue
        end = _ends(part, or_start=True)[np.maximum(before, 0)]
        begun = np.where(known & (before >= 0) & (end != NIL), np.maximum(begun, end), begun)
    visit = found.visits.latest_before(flushes)
    if found.visits.start.size:
        visited = found.visits.calls["start_ns"][np.maximum(visit, 0)]
        later = known & (visit >= 0) & (visited != NIL)
        begun = np.where(later, np.maximum(begun, visited), begun)
    window = np.where(known & (ended != NIL), ended - begun, NIL)
    return flushes.unmap[wanted], window[wanted]


def _ends(part: Part, *, or_start: bool = False) -> Ints:
    """When each call ended; NIL without a duration, or then when it began."""
    start, duration = part.calls["start_ns"], part.calls["duration_ns"]
    timed = (start != NIL) & (duration != NIL)
    return np.where(timed, start + np.maximum(duration, 0), start if or_start else NIL)


def _rounded_up(window: Ints) -> Ints:
    """*window* to BITS significant bits: at most so long stays true."""
    window = np.maximum(window, 0)
    _, exponent = np.frexp(window.astype(np.float64))
    shift = np.maximum(exponent.astype(np.int64) - BITS, 0)
    return ((window + (np.int64(1) << shift) - 1) >> shift) << shift

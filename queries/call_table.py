"""Closed calls as rows of schema.CALLS: parents, depth, own time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.queries.arguments import ARGUMENTS
from traceview.queries.calls import OPEN, STATUS
from traceview.queries.functions import categorical
from traceview.queries.rows import NIL
from traceview.queries.unmaps import owner, place, unmap_calls
from traceview.schema import EVIDENCE_KIND, NAME, OPERATION, conform
from traceview.schema import STATUS as STATUS_TYPE

UNSIGNED = ("ipa", "length_bytes", "mmu", "object_addr")

if TYPE_CHECKING:
    from traceview.queries.calls import Chunk
    from traceview.queries.functions import Functions
    from traceview.queries.rows import Ints
    from traceview.queries.unmaps import Columns, Placed


class CallTable:
    """The closed calls of one source as rows, chunk by chunk."""

    def __init__(self, functions: Functions) -> None:
        """Start with none."""
        self._functions = functions
        # Of frames that are still open: the time of the calls inside them that are not.
        self._children_ns: dict[int, int] = {}

    def rows(self, chunk: Chunk) -> pl.DataFrame:
        """The final calls of *chunk*: schema.CALLS, in order of start within a task.

        `self_ns` is what no traced call inside accounts for; null without a duration.
        """
        placed = place(chunk)
        parent, depth = nesting(placed)
        calls, ids = placed.calls, placed.calls["start_seq"]
        unmaps = unmap_calls(placed)
        unmap = owner(unmaps, placed.start)
        rows = pl.DataFrame(
            {
                "call_id": ids,
                "parent_id": np.where(parent >= 0, ids[parent], NIL),
                "unmap_id": _ids_of(unmaps, unmap),
                "cpu": calls["cpu"],
                "tid": calls["tid"],
                "start_ns": calls["start_ns"],
                "duration_ns": calls["duration_ns"],
                "self_ns": self._own_time(calls, parent),
                "depth": depth,
                **{name: calls[name] for name in ARGUMENTS},
            }
        )
        rows = rows.with_columns(pl.when(pl.all() != NIL).then(pl.all()))
        rows = rows.with_columns(pl.col(name).reinterpret(signed=False) for name in UNSIGNED)
        rows = rows.with_columns(
            names(self._functions, calls["function"]).alias("symbol"),
            _codes("operation", calls["operation"]).cat.to(OPERATION),
            _codes("status", np.minimum(calls["status"], OPEN - 1)).cat.to(STATUS_TYPE),
            _codes("evidence", calls["evidence"]).cat.to(EVIDENCE_KIND),
        )
        return conform("calls", rows.filter(pl.Series(calls["status"] != OPEN)))

    def _own_time(self, calls: Columns, parent: Ints) -> Ints:
        duration, ids = calls["duration_ns"], calls["start_seq"]
        children = np.array([self._children_ns.pop(i, 0) for i in ids.tolist()]) if (
            self._children_ns
        ) else np.zeros(ids.size, dtype=np.int64)  # fmt: skip
        counted = (parent >= 0) & (duration != NIL) & (calls["status"] != OPEN)
        np.add.at(children, parent[counted], duration[counted])
        for at in np.flatnonzero(calls["status"] == OPEN).tolist():
            self._children_ns[int(ids[at])] = int(children[at])
        return np.where(duration == NIL, NIL, duration - children)


def nesting(placed: Placed) -> tuple[Ints, Ints]:
    """The index of the call that each call lies in (-1: none), and how deep it lies (0: none)."""
    size = placed.start.size
    points = placed.calls["status"] == STATUS["point"]
    frame = np.flatnonzero(~points & (placed.end > placed.start))
    begin, end = placed.start[frame], placed.end[frame]
    # At a call's start: the frames begun before it, less those ended before it.
    before = np.searchsorted(begin, placed.start, side="left")
    ended = np.searchsorted(np.sort(end), placed.start, side="left")
    depth = (before - ended).astype(np.int64)
    parent = np.full(size, -1, dtype=np.int64)
    latest: dict[int, Ints] = {}
    for level in range(int(depth.max(initial=0))):
        mine = frame[depth[frame] == level]
        latest[level] = mine
        below = np.flatnonzero(depth == level + 1)
        at = np.searchsorted(placed.start[mine], placed.start[below]) - 1
        parent[below] = np.where(at >= 0, mine[np.maximum(at, 0)], -1)
    return parent, depth


def names(functions: Functions, numbers: Ints) -> pl.Series:
    """The symbol (Categorical) of each function number, null at -1."""
    if not functions.symbols:
        return pl.Series([None] * numbers.size, dtype=NAME)
    known = pl.Series(functions.symbols, dtype=NAME).to_physical().to_numpy().astype(np.int64)
    return categorical(np.where(numbers >= 0, known[numbers], -1))


def _ids_of(calls: Placed, of: Ints) -> Ints:
    if calls.start.size == 0:
        return np.full(of.size, NIL, dtype=np.int64)
    return np.where(of >= 0, calls.calls["start_seq"][of], NIL)


def _codes(name: str, values: Ints) -> pl.Series:
    return pl.Series(name, values.astype(np.uint8))

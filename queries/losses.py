"""Holes in a trace: which stretches of which CPU's events are missing.

A hole lies after event `from_seq` and before event `to_seq` of its CPU. A call that ran on that
CPU and overlaps the hole cannot be vouched for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.queries.rows import NIL, whole
from traceview.schema import frame

if TYPE_CHECKING:
    from traceview.queries.rows import Ints

FOREVER = np.iinfo(np.int64).max


class Losses:
    """The losses of one source, collected batch by batch."""

    def __init__(self) -> None:
        """Start with none."""
        self.table: pl.DataFrame = frame("losses")
        self._holes: dict[int, tuple[Ints, Ints]] | None = {}

    def add(self, losses: pl.DataFrame) -> None:
        """Add the losses of a batch (schema.LOSSES)."""
        if not losses.is_empty():
            self.table = pl.concat([self.table, losses])
            self._holes = None

    def overlap(self, cpu: Ints, start_seq: Ints, end_seq: Ints) -> np.ndarray:
        """Whether each stretch of events on its CPU overlaps a hole; NIL cpu: any CPU's."""
        hit = np.zeros(cpu.size, dtype=bool)
        for where, (opens, closes) in self._by_cpu().items():
            here = np.flatnonzero((cpu == where) | (cpu == NIL) | (where == NIL))
            first = np.searchsorted(closes, start_seq[here], side="right")
            known = np.minimum(first, closes.size - 1)
            hit[here] |= (first < closes.size) & (opens[known] < end_seq[here])
        return hit

    def _by_cpu(self) -> dict[int, tuple[Ints, Ints]]:
        if self._holes is None:
            placed = self.table.filter(
                pl.col("from_seq").is_not_null() | pl.col("to_seq").is_not_null()
            )
            opens, closes = whole(placed["from_seq"]), whole(placed["to_seq"])
            closes = np.where(closes == NIL, FOREVER, closes)
            cpu = whole(placed["cpu"])
            self._holes = {}
            for where in np.unique(cpu).tolist():
                mine = np.flatnonzero(cpu == where)
                order = mine[np.argsort(closes[mine], kind="stable")]
                # Holes of one CPU cannot overlap; where a file says so, the earlier opening holds.
                earliest = np.minimum.accumulate(opens[order][::-1])[::-1]
                self._holes[where] = (earliest, closes[order])
        return self._holes

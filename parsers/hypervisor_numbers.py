"""New numbers for events among which others were put, and for all that speaks of the old ones."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


class Numbers:
    """Old numbers to new ones, batch by batch."""

    def __init__(self) -> None:
        """Begin with nothing inserted."""
        self._begins: list[int] = []  # of each batch, the old number of its first event
        self._old: list[Ints] = []  # where something was inserted: the old numbers that follow
        self._shift: list[int] = []  # how much was inserted before the batch
        self.next = 0

    def add(self, old: Ints) -> Ints:
        """Number a batch in its new order; *old*: the old numbers, -1 of what is inserted."""
        inserted = old < 0
        known = old[~inserted]
        first = int(known[0])
        behind = np.cumsum(~inserted)[inserted]
        shift = self._shift[-1] + len(self._old[-1]) if self._shift else 0
        self._begins.append(first)
        self._old.append(np.append(known, known[-1] + 1)[behind])
        self._shift.append(shift)
        begin = first + shift
        self.next = begin + len(old)
        return np.arange(begin, self.next)

    def new(self, old: pl.Series) -> pl.Series:
        """The new numbers of events that were added, or of the one that comes next."""
        if old.null_count() == len(old) or not self._begins:
            return old
        values = old.fill_null(self._begins[-1]).to_numpy().astype(np.int64)
        moved = values.copy()
        batch = len(self._begins) - 1
        of = np.full(len(values), batch)
        for at in np.flatnonzero(values < self._begins[-1]).tolist():  # of holes alone
            of[at] = max(0, bisect_right(self._begins, int(values[at])) - 1)
        for one in np.unique(of).tolist():
            mine = of == one
            before = np.searchsorted(self._old[one], values[mine], side="right")
            moved[mine] += self._shift[one] + before
        return pl.select(pl.when(old.is_not_null()).then(pl.Series(old.name, moved))).to_series()

    def moved(self, rows: pl.DataFrame, *names: str) -> pl.DataFrame:
        """*rows* with new numbers in the columns *names*."""
        return rows.with_columns(self.new(rows[name]).alias(name) for name in names)

"""Stretches of time as plain arrays: which overlap, and how much of one set lies in another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from traceview.queries.rows import Ints


def overlapping(start: Ints, end: Ints, of_start: Ints, of_end: Ints) -> tuple[Ints, Ints]:
    """Pairs (row of the first, row of the second) that have time in common.

    The second are disjoint and in order; the first may be in any, and be moments.
    """
    low = np.searchsorted(of_end, start, side="right")
    high = np.maximum(np.searchsorted(of_start, end, side="left"), low)
    return spread(low, high)


def spread(low: Ints, high: Ints) -> tuple[Ints, Ints]:
    """Each i with every number from low[i] up to high[i]."""
    count = high - low
    row = np.repeat(np.arange(low.size), count)
    first = np.cumsum(count) - count
    return row, np.arange(row.size) - np.repeat(first - low, count)


def by_value(values: Ints) -> Iterator[tuple[int, Ints]]:
    """Each distinct value and the rows that have it, in order."""
    order = np.argsort(values, kind="stable")
    found, first = np.unique(values[order], return_index=True)
    yield from zip(found.tolist(), np.split(order, first[1:]), strict=False)


class Union:
    """The union of stretches: how much of it lies before a moment, or in a stretch."""

    def __init__(self, start: Ints, end: Ints) -> None:
        """Stretches in any order; they may overlap, and be empty."""
        real = end > start
        order = np.argsort(start[real], kind="stable")
        start, end = start[real][order], end[real][order]
        reach = np.maximum.accumulate(end) if end.size else end
        opens = np.r_[True, start[1:] > reach[:-1]][: start.size]
        self.start: Ints = start[opens]
        self.end: Ints = reach[np.r_[opens[1:], True][: start.size]]
        length = self.end - self.start
        self._before = np.cumsum(length) - length

    def within(self, start: Ints, end: Ints) -> Ints:
        """How much of the union lies in each stretch."""
        return self._until(end) - self._until(start)

    def holds(self, moment: Ints) -> NDArray[np.bool_]:
        """Whether each moment lies in the union (its beginnings do, its ends do not)."""
        at = np.searchsorted(self.start, moment, side="right") - 1
        inside: NDArray[np.bool_] = at >= 0
        inside[inside] = moment[inside] < self.end[at[inside]]
        return inside

    def touches(self, start: Ints, end: Ints) -> NDArray[np.bool_]:
        """Whether each stretch has something in common with the union, were it a moment."""
        low = np.searchsorted(self.end, start, side="left")
        high = np.searchsorted(self.start, end, side="right")
        return high > low

    def _until(self, moment: Ints) -> Ints:
        if self.start.size == 0:
            return np.zeros(moment.size, dtype=np.int64)
        at = np.searchsorted(self.start, moment, side="right") - 1
        known = np.maximum(at, 0)
        last = np.minimum(moment, self.end[known]) - self.start[known]
        return np.where(at >= 0, self._before[known] + last, 0)

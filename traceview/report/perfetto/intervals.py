"""Slices of one track must nest: what overlaps without nesting is cut short, or gets a lane.

The calls of one task nest; where their times are coarse (1 us in text) or their stated durations
longer than the distance of their times, they seem to overlap. Such a slice is drawn up to where
the next one begins; its annotations keep the durations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable


def one_after_another(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """*rows* with `end_ns` (of start_ns and duration_ns), in order of *key* and start.

    No row of a *key* reaches into the next one.
    """
    rows = rows.sort(key, "start_ns", maintain_order=True)
    following = pl.col("start_ns").shift(-1).over(key)
    end = pl.col("start_ns") + pl.col("duration_ns").clip(lower_bound=0)
    return rows.with_columns(end_ns=pl.min_horizontal(end, following))


def lanes(intervals: Iterable[tuple[int, int]]) -> list[int]:
    """The lane of each interval: in a lane they nest or follow one another.

    For few intervals (steps), in order of start, longer ones first.
    """
    open_: list[list[int]] = []  # per lane, the ends of what is open
    found = []
    for start, end in intervals:
        for lane, ends in enumerate(open_):
            while ends and ends[-1] <= start:
                ends.pop()
            if not ends or ends[-1] >= end:
                ends.append(end)
                found.append(lane)
                break
        else:
            open_.append([end])
            found.append(len(open_) - 1)
    return found

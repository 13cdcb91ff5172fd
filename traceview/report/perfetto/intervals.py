"""Slices of one track must nest: what overlaps without nesting is cut, united, or gets a lane.

The calls of one task nest; where their times are coarse (1 us in text) or their stated durations
longer than the distance of their times, they seem to overlap. Such a slice is drawn up to where
the next one begins; its annotations keep the durations. Losses of several buffers do overlap:
together they are one slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_NAMED: Final = 4  # of what overlaps


def one_after_another(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """*rows* with `end_ns` (of start_ns and duration_ns), in order of *key* and start.

    No row of a *key* reaches into the next one.
    """
    rows = rows.sort(key, "start_ns", maintain_order=True)
    following = pl.col("start_ns").shift(-1).over(key)
    end = pl.col("start_ns") + pl.col("duration_ns").clip(lower_bound=0)
    return rows.with_columns(end_ns=pl.min_horizontal(end, following))


def united(rows: pl.DataFrame, named: str) -> pl.DataFrame:
    """*rows* (with start_ns and end_ns) in order of start; those that overlap are one row.

    A row that is of several is called by the *named* of each, and has nothing else of theirs.
    """
    rows = rows.sort("start_ns", maintain_order=True)
    before = pl.col("end_ns").cum_max().shift(1)
    alone = pl.len() == 1
    others = [name for name in rows.columns if name not in {"start_ns", "end_ns", named}]
    return rows.group_by(
        (pl.col("start_ns") >= before).fill_null(value=True).cum_sum().alias("united"),
        maintain_order=True,
    ).agg(
        pl.col("start_ns").min(),
        pl.col("end_ns").max(),
        pl.when(alone)
        .then(pl.col(named).first())
        .otherwise(
            pl.format("{} that overlap: {}{}", pl.len(),
                      pl.col(named).head(MOST_NAMED).str.join("; "),
                      pl.when(pl.len() > MOST_NAMED).then(pl.lit("; ...")).otherwise(pl.lit("")))
        ).alias(named),
        *(pl.when(alone).then(pl.col(name).first()).alias(name) for name in others),
    ).drop("united")  # fmt: skip


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

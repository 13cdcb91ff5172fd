"""What unmaps consist of, as slices below them: the calls as they were made, or their sums.

An unmap with more than MOST_SLICES such calls is drawn with those of one component that follow
one another as one slice, from the first to the last of them; if that is still too many, with one
slice per component, as long as its calls together, one behind the other: those show shares, not
places. The names say which it is.
"""

from __future__ import annotations

from typing import Final

import polars as pl

MOST_SLICES: Final = 20_000


def component_slices(calls: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Slices of *calls*: task, unmap_id, name, calls, start_ns, end_ns, duration_ns.

    *calls* (component_calls.COMPONENT_CALLS) in order of start within each unmap, with `task` and
    `low` and `high`, between which the unmap is drawn. Also returned: how many unmaps are drawn
    with merged calls.
    """
    counted = calls.with_columns(
        many=pl.len().over("unmap_id") > MOST_SLICES, component=pl.col("component").cast(pl.String)
    )
    single = counted.filter(~pl.col("many")).with_columns(
        name=pl.col("component"), calls=pl.lit(1, pl.Int64),
        end_ns=pl.col("start_ns") + pl.col("duration_ns"),
    )  # fmt: skip
    crowded = counted.filter("many")
    runs = _runs(crowded)
    fewer = runs.with_columns(still=pl.len().over("unmap_id") > MOST_SLICES)
    columns = [
        "task",
        "unmap_id",
        "name",
        "calls",
        "start_ns",
        "end_ns",
        "duration_ns",
        "low",
        "high",
    ]
    parts = [single, fewer.filter(~pl.col("still")), _sums(fewer.filter("still"))]
    slices = pl.concat([part.select(columns) for part in parts])
    return _inside(slices), crowded["unmap_id"].n_unique()


def _runs(calls: pl.DataFrame) -> pl.DataFrame:
    """Calls of one component that follow one another, as one."""
    run = pl.struct("unmap_id", "component").rle_id()
    return (
        calls.with_columns(run=run)
        .group_by("run", maintain_order=True)
        .agg(
            pl.first("task", "unmap_id", "component", "low", "high", "start_ns"),
            (pl.last("start_ns") + pl.last("duration_ns")).alias("end_ns"),
            pl.col("duration_ns").sum(),
            pl.len().cast(pl.Int64).alias("calls"),
        )
        .with_columns(
            name=pl.when(pl.col("calls") == 1)
            .then("component")
            .otherwise(pl.format("{}, {} calls", "component", "calls"))
        )
    )


def _sums(runs: pl.DataFrame) -> pl.DataFrame:
    """One slice per component of each unmap, one behind the other."""
    sums = runs.group_by("unmap_id", "component", maintain_order=True).agg(
        pl.first("task", "low", "high"), pl.col("duration_ns", "calls").sum()
    )
    before = pl.col("duration_ns").cum_sum().over("unmap_id") - pl.col("duration_ns")
    return sums.with_columns(
        start_ns=pl.col("low") + before,
        name=pl.format("{}: sum of {} calls, not in place", "component", "calls"),
    ).with_columns(end_ns=pl.col("start_ns") + pl.col("duration_ns"))


def _inside(slices: pl.DataFrame) -> pl.DataFrame:
    """Slices that lie inside their unmap, each before the next of its task."""
    rows = slices.sort("task", "low", "start_ns", maintain_order=True).with_columns(
        start_ns=pl.col("start_ns").clip("low", "high"), end_ns=pl.min_horizontal("end_ns", "high")
    )
    following = pl.col("start_ns").shift(-1).over("task")
    return rows.with_columns(
        end_ns=pl.max_horizontal(pl.min_horizontal("end_ns", following), "start_ns")
    ).drop("low", "high")

"""Unmaps over time, small enough to draw: bins of time, the slowest, and where events were lost.

Times are since the first event of each source (schema.SOURCES `first_ns`), else since the first
unmap that has a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.groups import median_ns

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

SLOWEST: Final = 20  # as many as have a waterfall (slow_calls.py)
MOST_BANDS: Final = 120
NEAR: Final = 0.002  # of the span of a source: losses closer than this are one band


def spans(analysis: Analysis) -> pl.DataFrame:
    """One row per source that has times: `source_id`, `from_ns`, `to_ns`."""
    unmaps = analysis.unmaps.select("source_id", "start_ns", "duration_ns").drop_nulls("start_ns")
    ends = unmaps.group_by("source_id").agg(
        pl.col("start_ns").min().alias("begins"),
        (pl.col("start_ns") + pl.col("duration_ns").fill_null(0)).max().alias("ends"),
    )
    return (
        analysis.sources.select("source_id", "first_ns", "last_ns")
        .join(ends, on="source_id", how="inner", maintain_order="left")
        .select(
            "source_id",
            pl.min_horizontal("first_ns", "begins").alias("from_ns"),
            pl.max_horizontal("last_ns", "ends").alias("to_ns"),
        )
    )


def placed(unmaps: pl.DataFrame, of: pl.DataFrame) -> pl.DataFrame:
    """*unmaps* that have a time, with `at_ns` since the beginning of their source (spans())."""
    begin = of.select("source_id", pl.col("from_ns").alias("begin_ns"))
    rows = unmaps.drop_nulls("start_ns").join(
        begin, on="source_id", how="inner", maintain_order="left"
    )
    return rows.with_columns((pl.col("start_ns") - pl.col("begin_ns")).alias("at_ns"))


def slowest(unmaps: pl.DataFrame, number: int = SLOWEST) -> pl.DataFrame:
    """The *number* slowest of *unmaps*, in the order in which reports name them."""
    order = ["duration_ns", "source_id", "unmap_id"]
    return unmaps.sort(order, descending=[True, False, False]).head(number)


def bins(unmaps: pl.DataFrame, of: pl.DataFrame, number: int) -> pl.DataFrame:
    """*unmaps* (placed()) in *number* stretches of the span of each source, one row per `group`.

    `at_ns` is the middle of the unmaps of the row; `unmaps`, `median_ns`, `max_ns`.
    """
    length = of.select("source_id", (pl.col("to_ns") - pl.col("from_ns") + 1).alias("span"))
    rows = unmaps.join(length, on="source_id", how="left", maintain_order="left").with_columns(
        (pl.col("at_ns") * number // pl.col("span")).alias("bin")
    )
    return rows.group_by("source_id", "group", "bin", maintain_order=True).agg(
        ((pl.col("at_ns").min() + pl.col("at_ns").max()) // 2).alias("at_ns"),
        pl.len().cast(pl.Int64).alias("unmaps"),
        median_ns("duration_ns").alias("median_ns"),
        pl.col("duration_ns").max().alias("max_ns"),
    )


def loss_bands(losses: pl.DataFrame, of: pl.DataFrame) -> pl.DataFrame:
    """When events of any CPU were lost: `source_id`, `from_ns`, `to_ns` since the beginning.

    `losses` of them and `lost` events (null: not stated by one of them). Losses that overlap, or
    nearly touch, are one band. An end that is not known is that of the source; losses without any
    time are in none.
    """
    rows = losses.filter(pl.col("from_ns").is_not_null() | pl.col("to_ns").is_not_null()).join(
        of.rename({"from_ns": "begin_ns", "to_ns": "end_ns"}), on="source_id", how="inner"
    )
    begin, end = pl.col("begin_ns"), pl.col("end_ns")
    first = pl.col("from_ns").fill_null(begin).clip(begin, end) - begin
    rows = rows.select(
        "source_id", "count", (end - begin).alias("span"), first.alias("from_ns"),
        (pl.col("to_ns").fill_null(end).clip(begin, end) - begin).alias("to_ns"),
    ).sort("source_id", "from_ns", "to_ns")  # fmt: skip
    near = NEAR
    found = _merged(rows, near)
    while len(found) > MOST_BANDS and near < 1:
        near *= 2
        found = _merged(rows, near)
    return found


def _merged(rows: pl.DataFrame, near: float) -> pl.DataFrame:
    before = pl.col("to_ns").cum_max().shift().over("source_id")
    apart = (pl.col("from_ns") - before > pl.col("span") * near).fill_null(value=True)
    count = pl.col("count")
    return (
        rows.with_columns(apart.cum_sum().alias("band"))
        .group_by("source_id", "band", maintain_order=True)
        .agg(
            pl.col("from_ns").min(),
            pl.col("to_ns").max(),
            pl.len().cast(pl.Int64).alias("losses"),
            pl.when(count.null_count() == 0).then(count.sum()).alias("lost"),
        )
        .drop("band")
    )

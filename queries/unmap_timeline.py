"""Unmaps over time, small enough to draw: bins of time, the slowest, and where events were lost.

Times are since the first event of each source (schema.SOURCES `first_ns`), else since the first
unmap that has a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.groups import median_ns

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

SLOWEST: Final = 20  # as many as have a waterfall (slow_calls.py)
# Shares of the span of a source: holes closer than NEAR are one band, and where those of many
# sources are more than MOST_BANDS, holes closer than FARTHEST (a few pixels) at most.
NEAR: Final = 0.002
FARTHEST: Final = 0.008
MOST_BANDS: Final = 600


@dataclass(frozen=True, slots=True)
class LossBands:
    """When events of any CPU were lost.

    `bands`: `source_id`, `from_ns`, `to_ns` since the beginning, `losses` in it and `lost` events
    (null: not stated by one of them). `lost_ns`: how long the holes are together, what lies between
    two of one band not among it. `nearer`: holes closer than this share of the span of their source
    are one band; 0 where no two of them are.
    """

    bands: pl.DataFrame
    lost_ns: int
    nearer: float


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


def loss_bands(losses: pl.DataFrame, of: pl.DataFrame) -> LossBands:
    """The bands of *losses* in the sources *of* (spans()).

    An end that is not known is that of the source; losses without any time are in no band.
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
    holes = _merged(rows, 0)
    near = NEAR
    found = _merged(rows, near)
    while len(found) > MOST_BANDS and near < FARTHEST:
        near *= 2
        found = _merged(rows, near)
    lost_ns = int((holes["to_ns"] - holes["from_ns"]).sum())
    return LossBands(found, lost_ns, near if len(found) < len(holes) else 0.0)


def _merged(rows: pl.DataFrame, near: float) -> pl.DataFrame:
    """*rows*, in order, with those as one that overlap, or are at most *near* apart."""
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

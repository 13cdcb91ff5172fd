"""The empirical distribution function of a column, in a few points with exact ends."""

from __future__ import annotations

from typing import Final

import polars as pl

POINTS: Final = 200


def ecdf(rows: pl.DataFrame, by: str, column: str, points: int = POINTS) -> pl.DataFrame:
    """Per value of *by*, at most *points* of its distribution: `value`, `at_most`, `share`, `of`.

    `at_most` of the `of` non-null values of *column* are not above `value`, a measured one; `share`
    is their ratio. The smallest and the largest are always there, the others at even ranks.
    """
    size = pl.len().over(by).cast(pl.Int64)
    rank = pl.int_range(1, pl.len() + 1).over(by).cast(pl.Int64)
    # The ranks at which another step of size / points begins; the last one always does.
    step = (rank * points // size) > ((rank - 1) * points // size)
    ordered = (
        rows.select(by, pl.col(column).alias("value"))
        .drop_nulls("value")
        .sort(by, "value", maintain_order=True)
        .with_columns(size.alias("of"), rank.alias("rank"))
    )
    # Of equal values the last rank counts: so many are not above them.
    ordered = ordered.with_columns(
        pl.col("rank").max().over(by, "value").alias("at_most"), step.alias("kept")
    )
    chosen = ordered.filter(pl.col("kept") | (pl.col("rank") == 1))
    return chosen.unique([by, "value"], keep="first", maintain_order=True).select(
        by, "value", "at_most", (pl.col("at_most") / pl.col("of")).alias("share"), "of"
    )

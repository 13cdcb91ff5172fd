"""What unmaps cost by their number of leaves: a few points per group, and the line through them.

Other percentiles than the median are nearest ranks, as in groups.py. Beyond MOST_SIZES distinct
numbers of leaves in a group, numbers within an eighth of an octave are one point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.groups import median_ns, nearest_rank
from traceview.queries.relative_line import relative_line
from traceview.queries.run_estimates import MIN_SIZES

if TYPE_CHECKING:
    from traceview.queries.relative_line import RelativeLine

MOST_SIZES: Final = 200
PER_OCTAVE: Final = 8
# A line is fitted to so many unmaps at most: of sizes with more, to every n-th by duration.
MOST_FITTED: Final = 4_000


def leaf_costs(unmaps: pl.DataFrame) -> pl.DataFrame:
    """One row per `group` and number of `leaves`, both of which *unmaps* have with `duration_ns`.

    `unmaps`; `fewest` and `most` leaves, and `leaves`, their median; `median_ns`, `p5_ns` and
    `p95_ns` of the time per leaf, `duration_ns` the median of the unmaps.
    """
    known = unmaps.filter((pl.col("leaves") > 0) & (pl.col("duration_ns") > 0))
    sizes = pl.col("leaves").n_unique().over("group")
    bins = (pl.col("leaves").log(2.0) * PER_OCTAVE).floor().cast(pl.Int64)
    place = pl.when(sizes > MOST_SIZES).then(-1 - bins).otherwise(pl.col("leaves"))
    rows = known.with_columns(
        place.alias("place"), (pl.col("duration_ns") / pl.col("leaves")).alias("per_leaf")
    )
    return (
        rows.group_by("group", "place", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("unmaps"),
            pl.col("leaves").min().alias("fewest"),
            pl.col("leaves").max().alias("most"),
            nearest_rank("leaves", 50).alias("leaves"),
            pl.col("per_leaf").median().alias("median_ns"),
            nearest_rank("per_leaf", 5).alias("p5_ns"),
            nearest_rank("per_leaf", 95).alias("p95_ns"),
            median_ns("duration_ns").alias("duration_ns"),
        )
        .drop("place")
        .sort("group", "leaves", maintain_order=True)
    )


def leaf_line(unmaps: pl.DataFrame) -> RelativeLine | None:
    """The line through the durations of *unmaps*, of one group; every size weighs the same.

    None with fewer than MIN_SIZES sizes, as in a comparison (run_estimates.py): a line through two
    says nothing of its fit.
    """
    rows = unmaps.filter((pl.col("leaves") > 0) & (pl.col("duration_ns") > 0))
    rows = _thinned(rows.select("leaves", "duration_ns"))
    if rows["leaves"].n_unique() < MIN_SIZES:
        return None
    weights = rows.select((1 / pl.len().over("leaves")).alias("weight"))["weight"]
    return relative_line(
        rows["leaves"].to_numpy(), rows["duration_ns"].to_numpy(), weights.to_numpy()
    )


def _thinned(rows: pl.DataFrame) -> pl.DataFrame:
    """At most about MOST_FITTED of *rows*, evenly over the durations of each size."""
    if len(rows) <= MOST_FITTED:
        return rows
    in_order = rows.sort("leaves", "duration_ns")
    most = MOST_FITTED // in_order["leaves"].n_unique()
    if most < 1:
        return in_order.gather_every(len(rows) // MOST_FITTED + 1)
    size, rank = pl.len().over("leaves"), pl.int_range(pl.len()).over("leaves")
    # As many as `most` ranks of each size begin a new step, the last rank among them.
    steps = ((rank + 1) * most // size) > (rank * most // size)
    return in_order.filter((size <= most) | steps)

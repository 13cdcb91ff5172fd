"""How many unmaps the statistics of each source stand on, and what became of the others.

Every unmap that began is in exactly one of PLACES. Those that lie wholly in a hole of the recording
left no event: they are in no count, here or anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.filters import Filters, undecided_unmaps
from traceview.queries.groups import source_labels

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

# Left out by the filters, not to be decided by them; then by what is lacking; then what is left.
PLACES: Final = (
    "left_out", "undecided", "censored", "contaminated", "entry_only", "no_duration", "counted",
)  # fmt: skip
IDS: Final = ("source_id", "unmap_id")


def ledger(whole: Analysis, kept: Analysis, filters: Filters | None = None) -> pl.DataFrame:
    """One row per source, in order: `source_id`, `label`, `began`, and one column per PLACES.

    `began` is the sum of PLACES: *kept* is what *filters* kept of *whole*, `counted` are its
    unmaps that are complete and have a duration. Of these, `loss_unknown` are of a source that
    cannot say whether it lost events, `cost_bounded` have only a bound of what tracing cost, and
    of `cost_unknown` not even that is known.
    """
    maybe = undecided_unmaps(filters or Filters(), whole).select(*IDS)
    unmaps = (
        whole.unmaps.select(*IDS, "status", "duration_ns", "probe_ns", "probe_high_ns")
        .join(kept.unmaps.select(*IDS, kept=True), on=IDS, how="left")
        .join(maybe.with_columns(maybe=True), on=IDS, how="left")
        .with_columns(_place().alias("place"))
    )
    counted = pl.col("place") == "counted"
    no_cost = counted & pl.col("probe_ns").is_null()
    bounded = pl.col("probe_high_ns").is_not_null()
    numbers = unmaps.group_by("source_id").agg(
        pl.len().cast(pl.Int64).alias("began"),
        *((pl.col("place") == name).sum().cast(pl.Int64).alias(name) for name in PLACES),
        (no_cost & bounded).sum().cast(pl.Int64).alias("cost_bounded"),
        (no_cost & ~bounded).sum().cast(pl.Int64).alias("cost_unknown"),
    )
    unsure = ~pl.col("loss_known").fill_null(value=False)
    return (
        source_labels(whole.sources)
        .hstack(whole.sources.select("loss_known"))
        .join(numbers, on="source_id", how="left", maintain_order="left")
        .with_columns(pl.col("began", *PLACES, "cost_bounded", "cost_unknown").fill_null(0))
        .with_columns(pl.when(unsure).then("counted").otherwise(0).alias("loss_unknown"))
        .drop("loss_known")
    )


def _place() -> pl.Expr:
    status = pl.col("status").cast(pl.String)
    return (
        pl.when(pl.col("kept").is_null() & pl.col("maybe").is_null())
        .then(pl.lit("left_out"))
        .when(pl.col("kept").is_null())
        .then(pl.lit("undecided"))
        .when(status == "point")
        .then(pl.lit("entry_only"))
        .when(status != "complete")
        .then(status)
        .when(pl.col("duration_ns").is_null())
        .then(pl.lit("no_duration"))
        .otherwise(pl.lit("counted"))
    )

"""Which unmap of one capture did the same work as which of another.

By step, and order within the step: the same workload asks for the same unmaps in the same order.
A step id that ends in `.N` is the N-th repetition of the step named before the point
(docs/steps.md), its *stem*. Without steps the whole capture is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

REPETITION: Final = r"\.\d+$"


def numbered(unmaps: pl.DataFrame) -> pl.DataFrame:
    """*unmaps* (in order, with source_id) and `stem`, `order` within the step, `of` how many.

    Unmaps of every status count, so that a lost half of one does not shift the others; a step
    that lost a whole one has another `of` than its twin, and matches nothing. `placed` is false
    where several tasks unmap in one capture without steps: their order is chance.
    """
    within = ["source_id", "step"]
    several = pl.col("tid").drop_nulls().n_unique().over("source_id") > 1
    return unmaps.with_columns(
        (pl.col("step").is_not_null() | ~several).alias("placed"),
        pl.col("step").str.replace(REPETITION, "").alias("stem"),
        pl.int_range(pl.len()).over(within).alias("order"),
        pl.len().over(within).cast(pl.Int64).alias("of"),
    )


def known_to_differ(one: Mapping[str, Any], other: Mapping[str, Any], facts: Iterable[str]) -> bool:
    """Whether one of the *facts* is known of both captures, and is not the same."""
    unknown = (None, "unknown")
    return any(
        one[fact] != other[fact]
        for fact in facts
        if one[fact] not in unknown and other[fact] not in unknown
    )

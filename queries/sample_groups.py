"""How many samples fell into each part of the unmaps, with what counting alone leaves open.

The interval is Wilson's for a proportion (E. B. Wilson, JASA 22, 1927), at 95%. It speaks of the
samples of this recording; how much another run would differ it cannot say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.groups import source_labels

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

Z95: Final = 1.959963984540054
KEYS: Final = ("label", "event")
# What the unmap itself and its walk do is what is left over.
REST: Final = ("unmap", "walk", "other")


def sample_groups(analysis: Analysis) -> pl.DataFrame:
    """One row per `label`, `event` and `operation`, the commonest first.

    `operation` is that of the samples (schema.SAMPLES) with the unmap itself as `walk`, null where
    the frames have no names. `samples` of `of` inside unmaps, `share` (0 to 1) with its interval
    `share_low`, `share_high`; `of_unmaps`: how many of them fell into an unmap recorded beside.
    """
    operation = pl.col("operation").cast(pl.String)
    labels = source_labels(analysis.sources)
    rows = (
        analysis.samples.join(labels, on="source_id", maintain_order="left")
        .with_columns(
            pl.when(operation.is_in(REST)).then(pl.lit("walk")).otherwise(operation)
            .alias("operation")
        )
        .group_by(*KEYS, "operation", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("samples"),
            pl.col("unmap_id").is_not_null().sum().cast(pl.Int64).alias("of_unmaps"),
        )
        .with_columns(pl.col("samples").sum().over(KEYS).alias("of"))
    )  # fmt: skip
    share, n = pl.col("samples") / pl.col("of"), pl.col("of")
    centre = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = (share * (1 - share) / n + Z95**2 / (4 * n**2)).sqrt() * Z95 / (1 + Z95**2 / n)
    found = rows.select(
        *KEYS, "operation", "samples", "of", "of_unmaps",
        share.alias("share"),
        (centre - half).clip(0, 1).alias("share_low"),
        (centre + half).clip(0, 1).alias("share_high"),
    )  # fmt: skip
    return found.sort(*KEYS, "samples", descending=[False, False, True], maintain_order=True)

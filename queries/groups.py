"""Statistics over unmaps of one kind: strategy, leaf level, trigger, and label of the source.

Only `complete` unmaps have statistics. Unmaps of a source that records entries only (`point`)
form groups of their own, without times; `censored` and `contaminated` ones enter no group.

The median and the 95th percentile are nearest ranks: the smallest measured value that at least
50 or 95 percent of the values do not exceed. So they are whole nanoseconds that were measured,
never the mean of two neighbours, which a clock that ticks in steps cannot show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.schema import COMPONENTS, COUNTS, INSN_COUNTS

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

KEYS: Final = ("label", "strategy", "leaf_level", "trigger", "status")
LEVELS: Final = ("leaves_l1", "leaves_l2", "leaves_l3")
# l1 .. l3: all leaves of the unmap are at that level; none: nothing was mapped.
LEAF_LEVELS: Final = ("l1", "l2", "l3", "mixed", "none", "unknown")
SPLIT: Final = tuple(name for name in COMPONENTS if name != "rest_ns")


def nearest_rank(column: str, percent: int) -> pl.Expr:
    """The *percent* nearest rank of the non-null values of *column*, null where there is none."""
    rank = (pl.col(column).count().cast(pl.Int64) * percent + 99) // 100
    return pl.col(column).drop_nulls().sort().get(rank.clip(lower_bound=1) - 1, null_on_oob=True)


def source_labels(sources: pl.DataFrame) -> pl.DataFrame:
    """`source_id` and `label`: what the user called the source, else its path."""
    return sources.select("source_id", pl.coalesce("label", "path").alias("label"))


def leaf_level() -> pl.Expr:
    """The level of an unmap's leaves, one of LEAF_LEVELS."""
    used = pl.sum_horizontal(pl.col(name).fill_null(0) > 0 for name in LEVELS)
    placed = pl.sum_horizontal(pl.col(name).fill_null(0) for name in LEVELS)
    level = pl.coalesce(
        pl.when(pl.col(name) > 0).then(pl.lit(name.removeprefix("leaves_"))) for name in LEVELS
    )
    return (
        pl.when(pl.col("leaves") == 0)
        .then(pl.lit("none"))
        .when(pl.col("leaves").is_null() | (placed != pl.col("leaves")))
        .then(pl.lit("unknown"))
        .when(used > 1)
        .then(pl.lit("mixed"))
        .otherwise(level)
        .alias("leaf_level")
    )


def groups(analysis: Analysis) -> pl.DataFrame:
    """One row per label, strategy, leaf level and trigger, the most expensive first.

    `count` unmaps with `leaves` (null: unknown), `duration_ns` in all, `median_ns`, `p95_ns`,
    `min_ns`, `max_ns`, `ns_per_leaf` (all time over all leaves); the counts of operations, and the
    components in all. A sum is null when one of its unmaps has a null, so that what is summed is
    the same unmaps everywhere. `separated` lists the components that all unmaps of the group
    have; the time of the others is in `rest_ns`, and the non-null components sum to `duration_ns`.
    Where one unmap cannot tell the invalidations of leaves from those of tables, they are one
    component (`invalidate_ipa`) of its group.
    """
    unmaps = (
        analysis.unmaps.filter(pl.col("status").is_in(["complete", "point"]))
        .join(source_labels(analysis.sources), on="source_id", how="left", maintain_order="left")
        .with_columns(leaf_level(), pl.col("leaves").is_null().alias("no_leaves"))
        .with_columns(*_flushes("_ns"), *_flushes(""))
    )
    rows = unmaps.group_by(*KEYS, "no_leaves", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("count"),
        _sum_of_all("leaves"),
        _sum_of_all("duration_ns"),
        nearest_rank("duration_ns", 50).alias("median_ns"),
        nearest_rank("duration_ns", 95).alias("p95_ns"),
        pl.col("duration_ns").min().alias("min_ns"),
        pl.col("duration_ns").max().alias("max_ns"),
        *(_sum_of_all(name) for name in (*COUNTS, *INSN_COUNTS, *SPLIT)),
    )
    return (
        rows.drop("no_leaves")
        .with_columns(_per_leaf(), _rest(), _separated())
        .sort("duration_ns", "count", descending=True, nulls_last=True, maintain_order=True)
    )


def _flushes(unit: str) -> list[pl.Expr]:
    """Leaf, table and either: only the last where one unmap of the group has them as one."""
    leaf, table, either = (f"invalidate_{what}{unit}" for what in ("leaf", "table", "ipa"))
    merged = pl.col(either).is_not_null().any().over(*KEYS, "no_leaves")
    both = pl.coalesce(either, pl.col(leaf) + pl.col(table))
    return [
        pl.when(~merged).then(leaf).alias(leaf),
        pl.when(~merged).then(table).alias(table),
        pl.when(merged).then(both).alias(either),
    ]


def _sum_of_all(name: str) -> pl.Expr:
    whole = pl.col(name).null_count() == 0
    return pl.when(whole).then(pl.col(name).sum()).alias(name)


def _per_leaf() -> pl.Expr:
    known = pl.col("leaves") > 0
    return pl.when(known).then(pl.col("duration_ns") / pl.col("leaves")).alias("ns_per_leaf")


def _rest() -> pl.Expr:
    split = pl.sum_horizontal(pl.col(name).fill_null(0) for name in SPLIT)
    return (pl.col("duration_ns") - split).alias("rest_ns")


def _separated() -> pl.Expr:
    names = pl.concat_list(
        pl.when(pl.col(name).is_not_null()).then(pl.lit(name)) for name in SPLIT
    ).list.drop_nulls()
    return names.alias("separated")


def trigger_groups(analysis: Analysis) -> pl.DataFrame:
    """One row per label, kind and function of the requests, the most expensive first.

    Of `count` requests `complete` have their entry and exit. Of these `idle` are known to have
    caused no unmap (null where unmaps were not traced); of the others are the times: `median_ns`,
    `p95_ns`, `duration_ns` in all, and `between_ns`, the median of what was no unmap. `unmaps` are
    those of the requests of which it is known; `unknown` counts the requests of which it is not.
    """
    whole = pl.col("status") == "complete"
    known = pl.col("unmaps").is_not_null()
    timed = whole & (pl.col("unmaps").fill_null(1) > 0)
    triggers = analysis.triggers.join(
        source_labels(analysis.sources), on="source_id", how="left", maintain_order="left"
    ).with_columns(
        pl.when(timed).then("duration_ns").alias("duration_ns"),
        pl.when(timed).then("between_ns").alias("between_ns"),
    )
    idle = (whole & (pl.col("unmaps") == 0)).sum().cast(pl.Int64)
    return (
        triggers.group_by("label", "kind", "symbol", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            whole.sum().cast(pl.Int64).alias("complete"),
            pl.when((~whole | known).all()).then(idle).alias("idle"),
            (~known).sum().cast(pl.Int64).alias("unknown"),
            pl.when(known.any()).then(pl.col("unmaps").sum()).alias("unmaps"),
            pl.when(timed.any()).then(pl.col("duration_ns").sum()).alias("duration_ns"),
            nearest_rank("duration_ns", 50).alias("median_ns"),
            nearest_rank("duration_ns", 95).alias("p95_ns"),
            nearest_rank("between_ns", 50).alias("between_ns"),
        )
        .sort("duration_ns", "count", descending=True, nulls_last=True, maintain_order=True)
    )

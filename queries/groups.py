"""Statistics over unmaps of one kind: strategy, leaf level, trigger, and label of the source.

Only `complete` unmaps have statistics. Unmaps of a source that records entries only (`point`)
form groups of their own, without times; `censored` and `contaminated` ones enter no group.

The median is the middle value, or the mean of the two middle ones, here as in a comparison. Other
percentiles are nearest ranks: the smallest measured value that at least as many percent of the
values do not exceed. Of fewer than 20 values the 95th would be the longest, and is not given.

What tracing cost is taken out beside it (correction.py): both are there, raw and corrected.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.correction import CORRECTED, corrected
from traceview.schema import COMPONENTS, COUNTS, INSN_COUNTS

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

KEYS: Final = ("label", "strategy", "leaf_level", "trigger", "status")
LEVELS: Final = ("leaves_l1", "leaves_l2", "leaves_l3")
# l1 .. l3: all leaves of the unmap are at that level; none: nothing was mapped.
LEAF_LEVELS: Final = ("l1", "l2", "l3", "mixed", "none", "unknown")
SPLIT: Final = tuple(name for name in COMPONENTS if name != "rest_ns")
# The estimate, and between what it lies.
BOUNDS: Final = ("", "_low", "_high")
TOTALS: Final = tuple(
    f"{what}{which}_ns" for what in ("probe", "corrected") for which in BOUNDS
)  # fmt: skip
ENOUGH_FOR_P95: Final = 20
# Of these the same fact is known of an unmap that is in no statistics, or is unknown.
BELONGS: Final = ("strategy", "leaf_level", "trigger")


def median_ns(column: str) -> pl.Expr:
    """The median of the non-null values of *column* to the nanosecond, null where there is none."""
    return pl.col(column).median().round().cast(pl.Int64)


def p95_ns(column: str) -> pl.Expr:
    """The 95th percentile of the non-null values of *column*, null of fewer than ENOUGH_FOR_P95."""
    enough = pl.col(column).count() >= ENOUGH_FOR_P95
    return pl.when(enough).then(nearest_rank(column, 95))


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


def groups(analysis: Analysis, undecided: pl.DataFrame | None = None) -> pl.DataFrame:
    """One row per label, strategy, leaf level and trigger, the most expensive first.

    `count` unmaps with `leaves` (null: unknown), `duration_ns` in all, `median_ns`, `p95_ns`,
    `min_ns`, `max_ns`, `ns_per_leaf` (all time over all leaves); the counts of operations, and the
    components in all. A sum is null when one of its unmaps has a null, so that what is summed is
    the same unmaps everywhere. `separated` lists the components that all unmaps of the group
    have; the time of the others is in `rest_ns`, and the non-null components sum to `duration_ns`.
    Where one unmap cannot tell the invalidations of leaves from those of tables, they are one
    component (`invalidate_ipa`) of its group.

    Without tracing: `probe_ns` in all, `corrected_ns`, `corrected_median_ns`,
    `corrected_ns_per_leaf`, and each component as `cmo_corrected_ns`; each with `_low` and `_high`.

    `excluded`: unmaps without a usable duration that may belong to the group, those of *undecided*
    (which filters could not place) among them; `median_worst_low_ns`, `median_worst_high_ns`: the
    median if all of them were shorter, or longer, than every one that is in it (null: no bound).
    """
    labels = source_labels(analysis.sources)
    named = (
        corrected(analysis)
        .drop("separated")
        .join(labels, on="source_id", how="left", maintain_order="left")
    )
    rows = named.with_columns(leaf_level(), pl.col("leaves").is_null().alias("no_leaves"))
    unmaps = rows.filter(pl.col("status").is_in(["complete", "point"])).with_columns(
        *_flushes("_ns"), *_flushes(""), *(e for w in BOUNDS for e in _flushes(f"_corrected{w}_ns"))
    )
    out = [rows.filter(~pl.col("status").is_in(["complete", "point"])).select("label", *BELONGS)]
    if undecided is not None:
        more = undecided.join(labels, on="source_id", how="left", maintain_order="left")
        out.append(more.with_columns(leaf_level()).select("label", *BELONGS))
    unmaps = unmaps.join(
        _may_belong(unmaps.select(*KEYS).unique(maintain_order=True), pl.concat(out)),
        on=KEYS, how="left", maintain_order="left",
    )  # fmt: skip
    found = unmaps.group_by(*KEYS, "no_leaves", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("count"),
        _sum_of_all("leaves"),
        _sum_of_all("duration_ns"),
        median_ns("duration_ns").alias("median_ns"),
        p95_ns("duration_ns").alias("p95_ns"),
        pl.col("duration_ns").min().alias("min_ns"),
        pl.col("duration_ns").max().alias("max_ns"),
        pl.col("excluded").first(),
        *_worst_medians(),
        *(_sum_of_all(name) for name in (*COUNTS, *INSN_COUNTS, *SPLIT, *TOTALS)),
        *_corrected_medians(),
        *(_sum_of_all(f"{name}_corrected{w}_ns") for w in BOUNDS for name in CORRECTED),
        *_hidden(),
    )
    return (
        found.drop("no_leaves")
        .with_columns(*_per_leaf(), _rest(), _separated(), *_corrected_rest())
        .drop(f"hidden{which}" for which in BOUNDS)
        .sort("duration_ns", "count", descending=True, nulls_last=True, maintain_order=True)
    )


def _flushes(unit: str) -> list[pl.Expr]:
    """Leaf, table and either: only the last where one unmap of the group has them as one."""
    leaf, table, either = (f"invalidate_{what}{unit}" for what in ("leaf", "table", "ipa"))
    as_one = pl.col("invalidate_ipa_ns" if unit else "invalidate_ipa").is_not_null()
    merged = as_one.any().over(*KEYS, "no_leaves")
    both = pl.coalesce(either, pl.col(leaf) + pl.col(table))
    return [
        pl.when(~merged).then(leaf).alias(leaf),
        pl.when(~merged).then(table).alias(table),
        pl.when(merged).then(both).alias(either),
    ]


def _may_belong(keys: pl.DataFrame, out: pl.DataFrame) -> pl.DataFrame:
    """*keys* and `excluded`: how many of *out* have the same, or an unknown, value of each."""
    kinds = out.group_by("label", *BELONGS).len("excluded")
    pairs = keys.join(kinds, on="label", suffix="_out")
    for name in BELONGS:
        other = pl.col(f"{name}_out").cast(pl.String).fill_null("unknown")
        pairs = pairs.filter((other == "unknown") | (other == pl.col(name).cast(pl.String)))
    numbers = pairs.group_by(*KEYS).agg(pl.col("excluded").sum().cast(pl.Int64))
    return keys.join(numbers, on=KEYS, how="left", maintain_order="left").with_columns(
        pl.col("excluded").fill_null(0)
    )


def _worst_medians() -> list[pl.Expr]:
    """The medians with those excluded below, or above, all durations.

    One that is below all may be nothing, one that is above all anything.
    """
    times = pl.col("duration_ns").drop_nulls().sort()
    out = pl.col("excluded").first()
    size = pl.col("duration_ns").count().cast(pl.Int64)
    middle = ((size + out + 1) // 2, (size + out) // 2 + 1)  # ranks, from 1

    def at(rank: pl.Expr) -> pl.Expr:
        return times.get((rank - 1).clip(lower_bound=0), null_on_oob=True)

    low = [pl.when(rank <= out).then(0).otherwise(at(rank - out)) for rank in middle]
    high = [at(rank) for rank in middle]
    return [
        pl.when(size > 0).then(_mean(*low)).alias("median_worst_low_ns"),
        pl.when(middle[1] <= size).then(_mean(*high)).alias("median_worst_high_ns"),
    ]


def _mean(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    return ((one + other) / 2).round().cast(pl.Int64)


def _corrected_medians() -> list[pl.Expr]:
    return [
        pl.when(pl.col(f"corrected{which}_ns").null_count() == 0)
        .then(pl.col(f"corrected{which}_ns").median())
        .alias(f"corrected_median{which}_ns")
        for which in BOUNDS
    ]


def _hidden() -> list[pl.Expr]:
    """The time of components that the group lacks, because one of its unmaps lacks them."""
    found = []
    for which in BOUNDS:
        parts = [(f"{name}_ns", f"{name}_corrected{which}_ns") for name in CORRECTED[:-1]]
        parts.append(("off_cpu_ns", "off_cpu_ns"))
        lacking = [
            pl.when(pl.col(raw).null_count() > 0).then(pl.col(time).sum()).otherwise(0)
            for raw, time in parts
        ]
        found.append(pl.sum_horizontal(lacking).alias(f"hidden{which}"))
    return found


def _corrected_rest() -> list[pl.Expr]:
    return [
        (pl.col(f"rest_corrected{which}_ns") + pl.col(f"hidden{which}")).alias(
            f"rest_corrected{which}_ns"
        )
        for which in BOUNDS
    ]


def _sum_of_all(name: str) -> pl.Expr:
    whole = pl.col(name).null_count() == 0
    return pl.when(whole).then(pl.col(name).sum()).alias(name)


def _per_leaf() -> list[pl.Expr]:
    known = pl.col("leaves") > 0
    times = {"duration_ns": "ns_per_leaf"}
    times |= {f"corrected{which}_ns": f"corrected{which}_ns_per_leaf" for which in BOUNDS}
    return [
        pl.when(known).then(pl.col(time) / pl.col("leaves")).alias(name)
        for time, name in times.items()
    ]


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
            median_ns("duration_ns").alias("median_ns"),
            p95_ns("duration_ns").alias("p95_ns"),
            median_ns("between_ns").alias("between_ns"),
        )
        .sort("duration_ns", "count", descending=True, nulls_last=True, maintain_order=True)
    )

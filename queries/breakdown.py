"""Raw observations of unmaps -> schema.UNMAPS, once the whole source is known.

What was traced at all, whether leaf and table flushes can be told apart, and whether tables are
flushed eagerly are facts of a source, not of one unmap. A component whose function was not
traced is null and its time stays in `rest_ns`; the others sum to the duration exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.schema import COMPONENTS, STATUS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.vocabulary import Vocabulary

RANGE_FUNCTIONS: Final = frozenset({"kvm_tlb_flush_vmid_range", "__kvm_tlb_flush_vmid_range"})


@dataclass(slots=True)
class Traced:
    """What was traced in a source: hit at least once, or stated by its sidecar.

    `counted`: operations of which calls are seen; `timed`: those whose calls have a duration;
    `functions` and `timed_functions`: the same as names without compiler suffix; `visits`: the
    unmap walker's visits.
    """

    counted: set[str] = field(default_factory=set)
    timed: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    timed_functions: set[str] = field(default_factory=set)
    visits: bool = False

    def state(self, functions: Iterable[str], vocabulary: Vocabulary) -> None:
        """Add functions that somebody states were traced, once all events were seen.

        One that was hit, and never with a duration, was traced by its entry alone.
        """
        for symbol in functions:
            meaning = vocabulary.meaning(symbol)
            if symbol not in self.functions or symbol in self.timed_functions:
                self.timed.add(meaning.operation)
            self.functions.add(symbol)
            self.counted.add(meaning.operation)
            self.visits |= meaning.visit


def without_cut_off() -> pl.Expr:
    """The status of raw unmaps: one in which a call is cut off is not complete."""
    cut_off = (pl.col("cut_off") > 0) & (pl.col("status") == "complete")
    return pl.when(cut_off).then(pl.lit("contaminated", STATUS)).otherwise("status").alias("status")


def break_down(raw: pl.DataFrame, traced: Traced) -> tuple[pl.DataFrame, str]:
    """*raw* with the columns of schema.UNMAPS, and `table_invalidation` of the source.

    *raw* has a row per unmap, the columns that unmaps.py fills and `trigger_kind`, `step`.
    """
    eager = _table_invalidation(raw)
    whole = pl.col("status") == "complete"
    found = raw.with_columns(_strategy(traced, whole).alias("strategy"))
    found = found.with_columns(_tables(eager, traced))
    found = found.with_columns(_leaf_counts(traced, whole))
    found = found.with_columns(_leaves())
    found = found.with_columns(_levels())
    found = found.with_columns(*_counts(traced), *_times(traced))
    found = found.with_columns(_calls_of_flushes())
    found = _rest(found)
    return found.with_columns(pl.col("trigger_kind").alias("trigger")), eager


def _table_invalidation(raw: pl.DataFrame) -> str:
    """Eager if any freed table was flushed by itself; deferred if none was where one must be."""
    seen = raw.select(
        (pl.col("n_table") > 0).any().alias("eager"),
        (
            (pl.col("n_range") > 0)
            & (pl.col("table_visits") > pl.col("n_table"))
            & (pl.col("status") == "complete")
        )
        .any()
        .alias("deferred"),
    ).row(0)
    if seen[1]:
        return "deferred"
    return "eager" if seen[0] else "unknown"


def _strategy(traced: Traced, whole: pl.Expr) -> pl.Expr:
    """Detected from events. A machine that does cache maintenance has no FWB and never defers."""
    flush_traced = "invalidate_ipa" in traced.counted
    range_traced = bool(RANGE_FUNCTIONS & traced.functions)
    no_range = pl.lit(range_traced) | (pl.col("n_cmo") > 0)
    # Where entries were cleared and no flush was seen, the flushes are hidden (nVHE), not absent.
    cleared = (pl.col("n_cmo") > 0) | (pl.col("n_put") > 0) | (pl.col("leaf_visits") > 0)
    none = (
        whole
        & ~cleared
        & pl.lit(flush_traced)
        & (pl.col("n_table") + pl.col("n_ipa") == 0)
        & (pl.lit(range_traced) | ((pl.col("n_leaf") > 0) | (pl.col("n_cmo") > 0)).any())
    )
    return (
        pl.when(pl.col("status") == "point")
        .then(pl.lit("unknown"))
        .when(pl.col("n_range") > 0)
        .then(pl.lit("deferred_range"))
        .when(pl.col("n_leaf") > 0)
        .then(pl.lit("per_pte"))
        .when((pl.col("n_ipa") > 0) & no_range)
        .then(pl.lit("per_pte"))
        .when(none)
        .then(pl.lit("none"))
        .otherwise(pl.lit("unknown"))
    )


def _tables(eager: str, traced: Traced) -> pl.Expr:
    """Freed tables per unmap, null where they cannot be counted."""
    flushed = pl.col("n_ipa") == 0
    deferring = pl.col("strategy") == "deferred_range"
    visited = pl.lit(traced.visits) & (pl.col("odd_visits") == 0)
    known = (
        flushed
        & (~deferring | pl.lit(eager == "eager"))
        & pl.lit("invalidate_ipa" in traced.counted)
    )
    return (
        pl.when(visited)
        .then("table_visits")
        .when(known & (pl.col("strategy") != "unknown"))
        .then("n_table")
        .alias("tables")
    )


def _leaf_counts(traced: Traced, whole: pl.Expr) -> list[pl.Expr]:
    put = pl.lit("table_put" in traced.counted) & whole
    flush = pl.lit("invalidate_ipa" in traced.counted) & whole & (pl.col("n_ipa") == 0)
    by_put = (
        pl.when(put & pl.lit(traced.visits) & (pl.col("odd_visits") == 0))
        .then("leaf_visits")
        .when(put & (pl.col("n_put") == 0))
        .then(0)
        .when(put & (pl.col("n_put") >= 2 * pl.col("tables")))
        .then(pl.col("n_put") - 2 * pl.col("tables"))
    )
    # A leaf that is not cacheable drops a reference and needs no cache maintenance, and two of them
    # drop as many as a table: what is left of the references must be that of tables that are known.
    of_tables = 2 * pl.col("tables").fill_null(0)
    agrees = pl.col("n_put") == pl.col("n_cmo") + of_tables
    cmo = whole & (pl.col("n_cmo") > 0) & (~put | agrees)
    by_flush = pl.when(flush & pl.col("strategy").is_in(["per_pte", "none"])).then("n_leaf")
    return [
        pl.when(cmo).then("n_cmo").alias("by_cmo"),
        by_put.alias("by_put"),
        by_flush.alias("by_flush"),
    ]


def _leaves() -> list[pl.Expr]:
    """The best evidence. A leaf that is not cacheable has no CMO: then the others count more."""
    cmo = pl.col("by_cmo").is_not_null()
    for other in ("by_put", "by_flush"):
        cmo &= pl.col(other).is_null() | (pl.col(other) == pl.col("by_cmo"))
    evidence = (
        pl.when(cmo)
        .then(pl.lit("cmo"))
        .when(pl.col("by_put").is_not_null())
        .then(pl.lit("put"))
        .when(pl.col("by_flush").is_not_null())
        .then(pl.lit("invalidate"))
        .otherwise(pl.lit("none"))
    )
    leaves = pl.when(cmo).then("by_cmo").otherwise(pl.coalesce("by_put", "by_flush"))
    return [leaves.alias("leaves"), evidence.alias("leaves_evidence")]


def _levels() -> list[pl.Expr]:
    """Leaves per level, from the first evidence that accounts for all of them."""
    sets = [
        [pl.col(f"{kind}_l{level}") for level in (1, 2, 3)] for kind in ("flush", "visit", "cmo")
    ]
    fits = [(pl.sum_horizontal(columns) == pl.col("leaves")) for columns in sets]
    return [
        pl.coalesce(
            *(pl.when(fit).then(columns[at]) for fit, columns in zip(fits, sets, strict=True))
        ).alias(f"leaves_l{at + 1}")
        for at in range(3)
    ]


def _counts(traced: Traced) -> list[pl.Expr]:
    extent = pl.col("status") != "point"
    deferring = pl.col("strategy") == "deferred_range"
    by_leaf = pl.col("strategy").is_in(["per_pte", "none"])
    flush = extent & pl.lit("invalidate_ipa" in traced.counted)
    told = flush & (deferring | (pl.col("n_ipa") == 0))
    seen = {
        "pte_visits": (traced.visits, "n_visit"),
        "cmo": ("cmo" in traced.counted, "n_cmo"),
        "table_put": ("table_put" in traced.counted, "n_put"),
        "hypercall": ("hypercall" in traced.counted, "n_hypercall"),
        "irq": ("irq" in traced.counted, "n_irq"),
    }
    n_flush = pl.col("n_leaf") + pl.col("n_table") + pl.col("n_ipa")
    return [
        pl.when(told | (extent & deferring)).then("n_leaf").alias("invalidate_leaf"),
        pl.when(told).then("n_table").alias("invalidate_table"),
        pl.when(flush & ~told).then(n_flush).alias("invalidate_ipa"),
        pl.when(extent & pl.lit("invalidate_range" in traced.counted))
        .then("n_range")
        .when(by_leaf)
        .then(0)
        .alias("invalidate_range"),
        *(
            pl.when(extent & pl.lit(counted)).then(column).alias(name)
            for name, (counted, column) in seen.items()
        ),
    ]


def _times(traced: Traced) -> list[pl.Expr]:
    timed = pl.col("duration_ns").is_not_null()
    deferring = pl.col("strategy") == "deferred_range"
    by_leaf = pl.col("strategy").is_in(["per_pte", "none"])
    flush = timed & pl.lit("invalidate_ipa" in traced.timed)
    told = flush & (deferring | (pl.col("n_ipa") == 0))
    simple = {
        "cmo": "t_cmo", "table_put": "t_put", "hypercall": "t_hypercall", "irq": "t_irq",
        "sched": "t_off_cpu",
    }  # fmt: skip
    named = {"cmo": "cmo_ns", "table_put": "table_put_ns", "hypercall": "hypercall_ns",
             "irq": "irq_ns", "sched": "off_cpu_ns"}  # fmt: skip
    return [
        pl.when(told).then("t_leaf").when(timed & deferring).then(0).alias("invalidate_leaf_ns"),
        pl.when(told).then("t_table").alias("invalidate_table_ns"),
        pl.when(flush & ~told)
        .then(pl.col("t_leaf") + pl.col("t_table") + pl.col("t_ipa"))
        .alias("invalidate_ipa_ns"),
        pl.when(timed & pl.lit("invalidate_range" in traced.timed))
        .then("t_range")
        .when(timed & by_leaf)
        .then(0)
        .alias("invalidate_range_ns"),
        *(
            pl.when(timed & pl.lit(operation in traced.timed))
            .then(simple[operation])
            .when(timed & pl.lit(operation in traced.counted) & _absent(operation))
            .then(0)
            .alias(name)
            for operation, name in named.items()
        ),
    ]


def _calls_of_flushes() -> list[pl.Expr]:
    """The traced calls of leaf, table and either: in the component that their time is in."""
    one = pl.col("invalidate_ipa_ns").is_not_null()
    kinds = ("invalidate_leaf", "invalidate_table", "invalidate_ipa")
    found = []
    for what in ("calls", "nested"):
        total = pl.sum_horizontal(f"{kind}_{what}" for kind in kinds)
        found += [
            pl.when(one).then(0).otherwise(f"{kind}_{what}").alias(f"{kind}_{what}")
            for kind in kinds[:2]
        ]
        found.append(pl.when(one).then(total).otherwise(0).alias(f"invalidate_ipa_{what}"))
    return found


def _absent(operation: str) -> pl.Expr:
    """Whether an operation under an entry probe alone did not happen: then it took no time."""
    counts = {"cmo": "n_cmo", "table_put": "n_put"}
    return pl.col(counts[operation]) == 0 if operation in counts else pl.lit(value=False)


def _rest(found: pl.DataFrame) -> pl.DataFrame:
    parts = [name for name in COMPONENTS if name != "rest_ns"]
    found = found.with_columns((pl.col("duration_ns") - pl.sum_horizontal(parts)).alias("rest_ns"))
    names = pl.concat_list(
        [pl.when(pl.col(name).is_not_null()).then(pl.lit(name)) for name in COMPONENTS]
    ).list.drop_nulls()
    return found.with_columns(names.alias("separated"))

"""What is asked of every unmap: leaves invalidated, tables released late enough, the range covered.

Each question is decided by what the trace has; what it lacks is a reason, not a pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.audit_order import COUNTS, EVIDENCE
from traceview.queries.audit_results import judged
from traceview.queries.range_operations import whole

if TYPE_CHECKING:
    from traceview.queries.audit_results import Check
    from traceview.queries.audit_source import Facts, Heard

BY_VISITS: Final = "the walker's visits"
BY_ADDRESSES: Final = "the addresses of kvm_s2_put_page"
BY_COUNTS: Final = (
    "the number of references dropped; a leaf that was not invalidated can look like a part of a"
    " table"
)
BY_RANGE: Final = "the flush of the range, which came last"
BY_RANGE_ALONE: Final = f"{BY_RANGE}; whether any entry was cleared is not known"
BY_TABLES: Final = "the tables that were invalidated; one that was not would look like two leaves"
BY: Final = dict(zip(EVIDENCE, (BY_VISITS, BY_ADDRESSES, BY_COUNTS), strict=True))

CENSORED: Final = "censored: the entry or exit is missing"
CONTAMINATED: Final = "contaminated: events were lost, or a call inside is cut off"
ENTRY_ONLY: Final = "recorded by entry only: nothing can be placed inside"
SAMPLED: Final = "not every hit of the probes was recorded (perf record -F, -c)"
NOT_SEEN: Final = (
    "__kvm_tlb_flush_vmid_ipa was never hit: not traced, or invisible (nVHE), or not called; state"
    " what was traced in the sidecar (traced)"
)
NO_RANGE_TRACED: Final = (
    "whether the kernel defers is not known: no invalidation of a leaf was seen, and"
    " kvm_tlb_flush_vmid_range was not traced"
)
NO_REFERENCES: Final = (
    "nothing says which entries were cleared: kvm_s2_put_page was not traced (nor cache maintenance"
    " done)"
)
PUTS_NOT_TRACED: Final = "kvm_s2_put_page was not traced: no release is seen"
ALIKE: Final = (
    "references of leaves and of tables look alike: trace stage2_unmap_walker, or kvm_s2_put_page"
    " with its address"
)
UNPLACED: Final = "the unmap's address and length were not recorded"
NOTHING_FLUSHED: Final = "nothing was invalidated, and whether anything was mapped is not known"
FLUSH_UNPLACED: Final = "addresses of its invalidations were not recorded"

UNFIXED: Final = "the order before f62d4c3eb687 (6.6.0 to 6.6.46, 6.7, 6.8)"


def unmap_rows(unmaps: pl.DataFrame, heard: Heard, facts: Facts) -> pl.DataFrame:
    """*unmaps* (schema.UNMAPS of one source) with what audit_order.py observed of each."""
    order = heard.order.select(
        "unmap_id", *(name for name in heard.order.columns if name not in unmaps.columns),
    )  # fmt: skip
    rows = unmaps.join(order, on="unmap_id", how="left", maintain_order="left")
    status = pl.col("status").cast(pl.String)
    by = pl.col("order_evidence").replace_strict(
        range(len(EVIDENCE)), [BY[name] for name in EVIDENCE], return_dtype=pl.String
    )
    reason = (
        pl.when(status == "censored").then(pl.lit(CENSORED))
        .when(status == "contaminated").then(pl.lit(CONTAMINATED))
        .when(status == "point").then(pl.lit(ENTRY_ONLY))
        .when(pl.lit(facts.sampled)).then(pl.lit(SAMPLED))
    )  # fmt: skip
    return rows.with_columns(
        reason.alias("excluded"),
        by.alias("by"),
        pl.col("table_put").is_not_null().alias("referenced"),
        (pl.col("length_bytes").reinterpret(signed=True) // facts.page_bytes).alias("pages"),
    )


def flushed_before_return(
    source_id: int, rows: pl.DataFrame, facts: Facts
) -> tuple[Check, pl.DataFrame]:
    """Whether an invalidation of every cleared leaf completed inside its unmap."""
    ranged = pl.col("n_ranges") > 0
    referenced = pl.col("referenced")
    cmo = pl.col("cmo").fill_null(0)
    idle = referenced & (pl.col("n_puts") == 0)
    reason = (
        pl.when(pl.col("excluded").is_not_null()).then("excluded")
        .when(ranged | idle).then(None)
        .when(~pl.lit(facts.flush_seen)).then(pl.lit(NOT_SEEN))
        .when(_may_defer(rows, facts)).then(pl.lit(NO_RANGE_TRACED))
        .when(~referenced & (cmo == 0)).then(pl.lit(NO_REFERENCES))
    )  # fmt: skip
    missing = pl.when(referenced).then("uncovered").otherwise(cmo - pl.col("n_flushes")).clip(0)
    bad = pl.when(ranged).then(referenced & (pl.col("uncovered") > 0)).otherwise(missing > 0)
    by = (
        pl.when(ranged & ~referenced & (cmo == 0)).then(pl.lit(BY_RANGE_ALONE))
        .when(ranged).then(pl.lit(BY_RANGE))
        .when(~referenced).then(pl.lit("the number of cache maintenance calls"))
        .otherwise("by")
    )  # fmt: skip
    cleared = _plural(missing, "entry was", "entries were")
    text = (
        pl.when(ranged)
        .then(pl.format("{} cleared after the last flush of the range had begun, and no"
                        " invalidation follows before the unmap returns",
                        _plural(pl.col("uncovered"), "entry was", "entries were")))
        .when(pl.col("n_flushes") == 0)
        .then(pl.format("{} cleared, and no invalidation follows before the unmap returns",
                        cleared))
        .otherwise(pl.format("{} cleared without an invalidation of their own ({} in all)",
                             cleared, _plural(pl.col("n_flushes"), "invalidation",
                                              "invalidations")))
    )  # fmt: skip
    given = rows.with_columns(
        reason.alias("reason"), idle.alias("idle"), bad.alias("bad"), by.alias("by"),
        text.alias("text"),
    )  # fmt: skip
    return judged(source_id, "flushed-before-return", "unmap", given, doubt=facts.doubt)


def tables_before_release(
    source_id: int, rows: pl.DataFrame, facts: Facts
) -> tuple[Check, pl.DataFrame]:
    """Whether page-table pages were released after the invalidation of the entry that led there."""
    by_counts = pl.col("order_evidence") == COUNTS
    ranged = pl.col("n_ranges") > 0
    seen = pl.lit(facts.flush_seen)
    # What references exceed one per page of the range and two per table known are tables' too.
    excess = pl.col("n_puts") - 2 * pl.col("n_flushes") - pl.col("pages")
    proven = (by_counts & ranged & (excess > 0)).fill_null(value=False)
    early = pl.when(proven).then((excess + 1) // 2).otherwise("early")
    none = pl.when(by_counts).then(pl.col("n_puts") == 0).otherwise(pl.col("released") == 0)
    idle = pl.col("referenced") & none
    reason = (
        pl.when(pl.col("excluded").is_not_null()).then("excluded")
        .when(~pl.col("referenced")).then(pl.lit(PUTS_NOT_TRACED))
        .when(idle).then(None)
        .when(~seen & ((early > 0) | by_counts)).then(pl.lit(NOT_SEEN))
        .when(proven).then(None)
        .when(by_counts & ranged & (pl.col("n_flushes") == 0)).then(pl.lit(ALIKE))
        .when(by_counts & ~ranged & ((pl.col("uncovered") > 0) | (pl.col("strategy") == "unknown")))
        .then(pl.lit(ALIKE))
    )  # fmt: skip
    by = (
        pl.when(proven).then(pl.lit("more references than the range has pages"))
        .when(by_counts & ranged).then(pl.lit(BY_TABLES))
        .otherwise("by")
    )  # fmt: skip
    least = pl.when(proven).then(pl.lit("at least ")).otherwise(pl.lit(""))
    pages = _plural(early, "page-table page was", "page-table pages were")
    text = pl.when(ranged).then(
        pl.format("{}{} released before the invalidation, which the flush of the range makes"
                  " later: {}", least, pages, pl.lit(UNFIXED))
    ).otherwise(pl.format("{} released without an invalidation before", pages))  # fmt: skip
    given = rows.with_columns(
        reason.alias("reason"), idle.alias("idle"), (early > 0).alias("bad"), by.alias("by"),
        text.alias("text"),
    )  # fmt: skip
    return judged(source_id, "table-before-release", "unmap", given, doubt=facts.doubt)


def range_covered(
    source_id: int, rows: pl.DataFrame, heard: Heard, facts: Facts
) -> tuple[Check, pl.DataFrame]:
    """Whether the addresses that were invalidated are those that were unmapped."""
    rows = rows.join(_asked(rows, heard), on="unmap_id", how="left", maintain_order="left")
    ranged = pl.col("n_ranges") > 0
    placed = pl.col("ipa").is_not_null() & pl.col("length_bytes").is_not_null()
    idle = placed & ~ranged & pl.col("referenced") & (pl.col("n_puts") == 0)
    reason = (
        pl.when(pl.col("excluded").is_not_null()).then("excluded")
        .when(~placed).then(pl.lit(UNPLACED))
        .when(idle).then(None)
        .when(ranged & pl.col("asked_bytes").is_null()).then(pl.lit(FLUSH_UNPLACED))
        .when(ranged).then(None)
        .when(~pl.lit(facts.flush_seen)).then(pl.lit(NOT_SEEN))
        .when(_may_defer(rows, facts)).then(pl.lit(NO_RANGE_TRACED))
        .when(pl.col("flushes_placed") < pl.col("n_flushes")).then(pl.lit(FLUSH_UNPLACED))
        .when(pl.col("n_flushes") == 0).then(pl.lit(NOTHING_FLUSHED))
    )  # fmt: skip
    length = pl.col("length_bytes").reinterpret(signed=True)
    short = ranged & (pl.col("asked_bytes") < length)
    wrong = {
        "flushes_outside": "{} of the invalidations lie outside the range that was unmapped",
        "flushes_again": "{} of the leaves were invalidated twice, so that others were not",
        "visits_elsewhere": "{} of the entries were visited at one address, invalidated at another",
        "levels_other": "{} of the leaves were invalidated with the hint of another level",
    }
    said = pl.concat_str(
        [pl.when(pl.col(name) > 0).then(pl.format(text, name)) for name, text in wrong.items()]
        + [pl.when(short).then(
            pl.format("the flush of the range covers {} of {} bytes", "asked_bytes", length))],
        separator="; ", ignore_nulls=True,
    )  # fmt: skip
    bad = short.fill_null(value=False) | pl.any_horizontal(pl.col(name) > 0 for name in wrong)
    by = (
        pl.when(ranged).then(pl.lit("the range of the flush"))
        .when(pl.col("visits_compared") > 0).then(pl.lit("the address of each visit"))
        .otherwise(pl.lit("the address of each invalidation"))
    )  # fmt: skip
    given = rows.with_columns(
        reason.alias("reason"), idle.alias("idle"), bad.alias("bad"), by.alias("by"),
        said.alias("text"),
    )  # fmt: skip
    return judged(source_id, "range-covered", "unmap", given, doubt=facts.doubt)


def _asked(rows: pl.DataFrame, heard: Heard) -> pl.DataFrame:
    """Of each unmap the bytes of its range that its range flushes asked for; null: not recorded."""
    flushes = heard.ranges.flushes.filter(pl.col("unmap_id").is_not_null())
    asked = flushes.join(heard.ranges.pieces, on="flush_id", how="left", maintain_order="left")
    asked = asked.with_columns(
        pl.when("whole_vmid").then(0).otherwise("ipa").alias("from"),
        pl.when("whole_vmid").then(1 << 60).otherwise(pl.col("ipa") + pl.col("length_bytes"))
        .alias("to"),
    ).drop_nulls(["from", "to"])  # fmt: skip
    unmaps = rows.select("unmap_id", "ipa", "length_bytes").drop_nulls()
    joined = asked.select("unmap_id", "from", "to").join(unmaps, on="unmap_id", how="inner")
    low = pl.col("ipa").reinterpret(signed=True)
    high = low + pl.col("length_bytes").reinterpret(signed=True)
    grouped = joined.with_columns(low.alias("low"), high.alias("high")).group_by("unmap_id").agg(
        pl.len().alias("n"), "from", "to", pl.col("low").first(), pl.col("high").first()
    )  # fmt: skip
    one = grouped.filter(pl.col("n") == 1).select(
        "unmap_id",
        (pl.min_horizontal(pl.col("to").list.first(), "high")
         - pl.max_horizontal(pl.col("from").list.first(), "low")).clip(0).alias("asked_bytes"),
    )  # fmt: skip
    several = [
        (unmap, whole(list(zip(starts, ends, strict=True)), first, last)[0])
        for unmap, _, starts, ends, first, last in grouped.filter(pl.col("n") > 1).iter_rows()
    ]
    schema = {"unmap_id": pl.Int64(), "asked_bytes": pl.Int64()}
    return pl.concat([one.cast(schema), pl.DataFrame(several, schema=schema, orient="row")])  # type: ignore[arg-type]


def _may_defer(rows: pl.DataFrame, facts: Facts) -> pl.Expr:
    """Whether the flush of an unmap's range may be missing because it was not traced."""
    seen = facts.ranges_traced or (rows["strategy"].cast(pl.String) == "per_pte").any()
    maintained = pl.col("cmo").fill_null(0) > 0
    return (pl.col("strategy") == "unknown") & ~maintained & pl.lit(not seen)


def _plural(number: pl.Expr, one: str, several: str) -> pl.Expr:
    """The number and its noun."""
    return pl.format("{} {}", number, pl.when(number == 1).then(pl.lit(one)).otherwise(
        pl.lit(several)))  # fmt: skip

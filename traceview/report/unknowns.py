"""Caveats about what the trace does not tell of unmaps, each with the true reason.

The reason depends on what was hit: a function that was recorded, if only by its entry, is never
said to be untraced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.reasons import why_no_leaves, why_no_strategy, why_no_trigger
from traceview.report.caveat import Caveat
from traceview.report.separation import LEAVES_AND_TABLES, RANGES, hidden
from traceview.report.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from traceview.queries.recorded import Recorded

INVALIDATIONS_NS: Final = (
    "invalidate_leaf_ns", "invalidate_table_ns", "invalidate_ipa_ns", "invalidate_range_ns",
)  # fmt: skip


def unknowns(complete: pl.DataFrame, recorded: Recorded) -> Iterable[Caveat]:
    """What is unknown of some of the *complete* unmaps."""
    for column, code, why, more in (
        ("leaves", "leaves-unknown", why_no_leaves, "; the length of a range is no count"),
        ("strategy", "strategy-unknown", why_no_strategy, ""),
        ("trigger", "trigger-unknown", why_no_trigger, ""),
    ):
        value = pl.col(column)
        is_lacking = value.is_null() if column == "leaves" else value == "unknown"
        lacking = complete.lazy().filter(is_lacking).select("source_id").collect()
        for said, number in _reasons(lacking, recorded, why):
            text = f"{column} unknown for {plural(number, 'unmap')}: {said}{more}"
            yield Caveat(code, text, counts=True)
    level = pl.coalesce("leaves_l1", "leaves_l2", "leaves_l3")
    sizeless = int(complete.select(((pl.col("leaves") > 0) & level.is_null()).sum()).item())
    if sizeless:
        yield Caveat(
            "leaf-size-unknown",
            f"leaf size unknown for {plural(sizeless, 'unmap')}: pages and blocks may be in one"
            " group, where a time per leaf means little",
            counts=True,
        )


def _reasons(
    lacking: pl.DataFrame, recorded: Recorded, why: Callable[[Recorded, int], str]
) -> Iterable[tuple[str, int]]:
    """Each distinct reason with the number of unmaps that it holds for."""
    found: dict[str, int] = {}
    for source_id, number in lacking.group_by("source_id", maintain_order=True).len().iter_rows():
        said = why(recorded, source_id)
        found[said] = found.get(said, 0) + number
    return found.items()


def invalidations(complete: pl.DataFrame, recorded: Recorded) -> Iterable[Caveat]:
    """What is not separated: of the invalidations, and into the rest of the walk."""
    parts = list(hidden(complete, recorded))
    of_invalidation = [part for part in parts if part.what in {LEAVES_AND_TABLES, RANGES}]
    if not _timed(complete) and of_invalidation:
        yield Caveat(
            "invalidation-not-separated",
            "invalidation is not separated, its time is in the rest of the walk: "
            + ", ".join(map(str, of_invalidation)),
            counts=any(part.counts for part in of_invalidation),
        )
        parts = [part for part in parts if part not in of_invalidation]
    else:
        yield from _not_separable(complete)
    if parts:
        yield Caveat(
            "not-separated",
            "not separated everywhere, so their time is in the rest of the walk: "
            + ", ".join(map(str, parts)),
            counts=any(part.counts for part in parts),
        )


def _timed(complete: pl.DataFrame) -> bool:
    """Whether any invalidation was timed: a zero by construction is no time."""
    return any((complete[name].fill_null(0) > 0).any() for name in INVALIDATIONS_NS)


def _not_separable(complete: pl.DataFrame) -> Iterable[Caveat]:
    blurred = len(complete) - complete["invalidate_ipa_ns"].null_count()
    if blurred:
        yield Caveat(
            "leaf-table-not-separable",
            f"for {blurred:,} of {plural(len(complete), 'unmap')} a flush could be a leaf's or a"
            " table's: neither its arguments nor the page-table puts beside it tell, so that both"
            " are one component there and in their group",
            counts=True,
        )
    counts = complete["tlbi_insns"].null_count() < len(complete)
    yield Caveat(
        "tlbi-dsb-not-separable",
        "an invalidate call holds TLBI, DSB and ISB; their times are not separable"
        + (" (the counts of instructions are)" if counts else " from function timings"),
    )

"""Caveats about what the trace does not tell of unmaps, each with the true reason.

The reason depends on what was hit: a function that was recorded, if only by its entry, is never
said to be untraced.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.reasons import why_no_leaves, why_no_strategy, why_no_trigger
from traceview.report.caveat import Caveat
from traceview.report.separation import CMO, LEAVES_AND_TABLES, RANGES, TABLES, hidden
from traceview.report.wording import count, plural, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from traceview.queries.recorded import Recorded
    from traceview.report.separation import Hidden

INVALIDATIONS: Final = frozenset({LEAVES_AND_TABLES, RANGES})
AT_EL2_OF_PKVM: Final = frozenset({CMO, TABLES})
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
    # Whoever calls EL2 has it invalidate: what is not timed there is no matter of functions.
    elsewhere = complete.lazy().filter(pl.col("hypercall").is_null()).collect()
    parts = list(_hidden(complete, elsewhere, recorded))
    of_invalidation = [part for part in parts if part.what in INVALIDATIONS]
    called = complete.lazy().filter(pl.col("hypercall") > 0).collect()
    if len(called):
        yield _hypercalls(called, recorded)
    if not _timed(complete) and of_invalidation:
        yield Caveat(
            "invalidation-not-separated",
            "invalidation is not separated, its time is in the rest of the walk: "
            + ", ".join(map(str, of_invalidation)),
            counts=any(part.counts for part in of_invalidation),
        )
        parts = [part for part in parts if part not in of_invalidation]
    elif len(elsewhere):
        yield from _not_separable(complete)
    if parts:
        yield Caveat(
            "not-separated",
            "not separated everywhere, so their time is in the rest of the walk: "
            + ", ".join(map(str, parts)),
            counts=any(part.counts for part in parts),
        )


def _hidden(
    complete: pl.DataFrame, elsewhere: pl.DataFrame, recorded: Recorded
) -> Iterable[Hidden]:
    """As `hidden`, without what the hypercalls hold; *elsewhere*: unmaps of which none is known."""
    if len(elsewhere) == len(complete):
        return hidden(complete, recorded)
    sources = complete["source_id"].unique().to_list()
    protected = [one for one in sources if _is_protected(recorded, [one]) == {True}]
    at_el1 = complete.lazy().filter(
        pl.col("hypercall").is_null() | ~pl.col("source_id").is_in(protected)
    )
    return chain(
        (one for one in hidden(elsewhere, recorded) if one.what in INVALIDATIONS),
        (one for one in hidden(at_el1.collect(), recorded) if one.what in AT_EL2_OF_PKVM),
        (
            one
            for one in hidden(complete, recorded)
            if one.what not in INVALIDATIONS | AT_EL2_OF_PKVM
        ),
    )


def _is_protected(recorded: Recorded, sources: list[int]) -> set[bool]:
    """Whether what unmaps in *sources* is that of pKVM."""
    return {hit.name.startswith("pkvm_") for hit in recorded.hits(sources, "unmap")}


def _hypercalls(called: pl.DataFrame, recorded: Recorded) -> Caveat:
    """What the hypercalls of unmaps are: on nVHE the walk calls EL2 for nothing but invalidation.

    pgtable.c, pkvm.c and hyp/nvhe/tlb.c in arch/arm64/kvm of Linux 7.1.
    """
    protected = _is_protected(recorded, called["source_id"].unique().to_list())
    nvhe = (
        "on nVHE they are its TLB invalidations, of leaves, ranges and tables alike (and calls of"
        " interrupts, if any)"
    )
    pkvm = (
        "on pKVM they hold all that EL2 does to unmap: its own walk, invalidation and cache"
        " maintenance, and stage-2 faults of the host"
    )
    means = "; ".join([nvhe] * (protected != {True}) + [pkvm] * (protected != {False}))
    counts = (pl.min("hypercall"), pl.max("hypercall"), pl.median("hypercall"))
    least, most, middle = (count(round(called.select(of).item())) for of in counts)
    each = f"{least} to {most} in each of {plural(len(called), 'unmap')} (median {middle})"
    part = share(int(called["hypercall_ns"].sum()), int(called["duration_ns"].sum()))
    return Caveat(
        "hypercalls",
        f"stays at EL2: {each}, {part} of their time: {means}; neither parts of them nor the"
        " exceptions around them are timed",
        counts=True,
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

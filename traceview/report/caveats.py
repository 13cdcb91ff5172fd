"""What a reader must know before quoting a number: one sentence per reason, only those that apply.

Every output repeats them; JSON gives them with their stable codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.queries.groups import source_labels
from traceview.report.wording import clean, count, plural, share, step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from traceview.queries.analysis import Analysis

ORIGINS: Final = {
    "emulated": "recorded in an emulator: counts and order are real, the times are no evidence"
    " about hardware",
    "synthetic": "made by a simulator: counts and times follow its model, nothing here is evidence"
    " about hardware",
    "unknown": "nobody stated whether this was recorded on hardware (--origin), and a trace cannot"
    " tell: do not quote the times as hardware latencies",
}

# Component -> what hides in the rest of the walk when it is not separated; the column that counts
# its calls; what would have had to be traced.
HIDDEN: Final = (
    ("cmo_ns", "cmo", "cache maintenance", "clean_dcache_guest_page"),
    ("table_put_ns", "table_put", "table release", "kvm_s2_put_page"),
    ("irq_ns", "irq", "interrupts", "no interrupt function or event"),
)


@dataclass(frozen=True, slots=True)
class Caveat:
    """`code` is a stable name; `sources` the source_ids that it is about, none if about all."""

    code: str
    text: str
    sources: tuple[int, ...] = ()


def caveats(analysis: Analysis) -> tuple[Caveat, ...]:
    """Everything that limits what *analysis* may be quoted for, the gravest first."""
    found = [*_origins(analysis), *_per_source(analysis, "loss-unknown", _loss_unknown)]
    complete = analysis.unmaps.filter(pl.col("status") == "complete")
    if len(analysis.unmaps):
        found += _excluded(analysis.unmaps)
    if len(complete):
        found += _unknowns(complete)
        found += _invalidations(complete)
        found += _hidden(complete)
        found += _overhead(complete)
        found += _per_source(analysis, "clock-resolution", _resolution(complete))
        found += _runs(analysis)
        found.append(
            Caveat(
                "elsewhere-not-measured",
                "what the invalidations cost other CPUs and the guest was not measured",
            )
        )
    return tuple(found)


def _origins(analysis: Analysis) -> Iterable[Caveat]:
    for origin, text in ORIGINS.items():
        of = analysis.sources.filter(pl.col("origin") == origin)
        if len(of):
            yield _about(analysis, f"origin-{origin}", f"origin {origin}: {text}", of)


def _per_source(
    analysis: Analysis, code: str, says: Callable[[dict[str, Any]], str | None]
) -> Iterable[Caveat]:
    """One caveat per distinct text, about the sources of which *says* says it."""
    texts: dict[str, list[int]] = {}
    for row in analysis.sources.iter_rows(named=True):
        text = says(row)
        if text is not None:
            texts.setdefault(text, []).append(row["source_id"])
    for text, sources in texts.items():
        yield _about(
            analysis, code, text, analysis.sources.filter(pl.col("source_id").is_in(sources))
        )


def _about(analysis: Analysis, code: str, text: str, sources: pl.DataFrame) -> Caveat:
    """The caveat, with the names of its sources where it is not about all of them."""
    if len(sources) == len(analysis.sources):
        return Caveat(code, text)
    names = sorted({clean(label) for label in source_labels(sources)["label"]})
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return Caveat(code, f"{shown}: {text}", tuple(sources["source_id"]))


def _loss_unknown(source: dict[str, Any]) -> str | None:
    if source["loss_known"]:
        return None
    return (
        f"loss unknown: {source['format']} does not say here whether events were lost, so an unmap"
        " that looks complete may have lost a part"
    )


def _excluded(unmaps: pl.DataFrame) -> Iterable[Caveat]:
    began = len(unmaps)
    for status, why in (
        ("censored", "their entry or exit is missing"),
        ("contaminated", "they overlap a loss of events"),
    ):
        number = len(unmaps.filter(pl.col("status") == status))
        if number:
            yield Caveat(
                f"excluded-{status}",
                f"{plural(number, 'unmap')} of {began:,} ({share(number, began)}) {status}"
                f" ({why}): in no statistics",
            )
    entries = len(unmaps.filter(pl.col("status") == "point"))
    if entries:
        yield Caveat(
            "entries-only",
            f"{plural(entries, 'unmap')} of {began:,} recorded by their entry only: no durations,"
            " and nothing can be placed inside them",
        )


def _unknowns(complete: pl.DataFrame) -> Iterable[Caveat]:
    leafless = complete["leaves"].null_count()
    if leafless:
        yield Caveat(
            "leaves-unknown",
            f"leaves unknown for {plural(leafless, 'unmap')}: no page-table put, invalidation or"
            " cache maintenance per leaf was traced; the length of a range is no count",
        )
    level = pl.coalesce("leaves_l1", "leaves_l2", "leaves_l3")
    sizeless = len(complete.filter((pl.col("leaves") > 0) & level.is_null()))
    if sizeless:
        yield Caveat(
            "leaf-size-unknown",
            f"leaf size unknown for {plural(sizeless, 'unmap')}: pages and blocks may be in one"
            " group, where a time per leaf means little",
        )
    for column, code, why in (
        ("strategy", "strategy-unknown", "no TLB flush function was traced, or the host runs nVHE"),
        ("trigger", "trigger-unknown", "no function that asks for unmaps was traced around them"),
    ):
        number = len(complete.filter(pl.col(column) == "unknown"))
        if number:
            yield Caveat(code, f"{column} unknown for {plural(number, 'unmap')}: {why}")


def _invalidations(complete: pl.DataFrame) -> Iterable[Caveat]:
    separated = set(complete["separated"].explode().drop_nulls())
    calls = {
        "invalidate_leaf_ns",
        "invalidate_table_ns",
        "invalidate_ipa_ns",
        "invalidate_range_ns",
    }
    if not separated & calls:
        yield Caveat(
            "invalidation-not-separated",
            "invalidation is not separated: no TLB flush function was traced, or the host runs"
            " nVHE; its time is in the rest of the walk",
        )
        return
    if "invalidate_ipa_ns" in separated and "invalidate_leaf_ns" not in separated:
        yield Caveat(
            "leaf-table-not-separable",
            "invalidations of leaves and of tables are not separable: __kvm_tlb_flush_vmid_ipa was"
            " traced without arguments and without kvm_s2_put_page",
        )
    counts = complete["tlbi_insns"].null_count() < len(complete)
    yield Caveat(
        "tlbi-dsb-not-separable",
        "an invalidate call holds TLBI, DSB and ISB; their times are not separable"
        + (" (the counts of instructions are)" if counts else " from function timings"),
    )


def _hidden(complete: pl.DataFrame) -> Iterable[Caveat]:
    hidden = []
    for column, count_column, what, function in HIDDEN:
        lacking = complete.filter(pl.col(column).is_null())
        if lacking.is_empty():
            continue
        counted = lacking[count_column].null_count() < len(lacking)
        was_not = "" if function.startswith("no ") else " not"
        why = f"{function} by entry only" if counted else f"{function} was{was_not} traced"
        hidden.append(f"{what} ({why})")
    if hidden:
        yield Caveat(
            "not-separated",
            "not separated everywhere, so their time is in the rest of the walk: "
            + ", ".join(hidden),
        )


def _overhead(complete: pl.DataFrame) -> Iterable[Caveat]:
    timed = complete.filter(pl.col("evidence") != "insn")
    calls, leaves = int(timed["traced_calls"].sum()), int(timed["leaves"].sum())
    if calls:
        per_leaf = f" ({calls / leaves:,.1f} per leaf)" if leaves else ""
        yield Caveat(
            "overhead-not-calibrated",
            f"tracing overhead not calibrated: the times contain what tracing {count(calls)} calls"
            f"{per_leaf} cost; a trace of kvm_pgtable_stage2_unmap alone is nearer the truth",
        )


def _resolution(complete: pl.DataFrame) -> Callable[[dict[str, Any]], str | None]:
    """Of a source: whether its clock is coarse beside what a leaf costs.

    The durations of function_graph are not made of two times of the trace's clock.
    """
    timed = complete.filter((pl.col("evidence") != "fgraph") & (pl.col("leaves") > 0))

    def says(source: dict[str, Any]) -> str | None:
        of = timed.filter(pl.col("source_id") == source["source_id"])
        resolution, per_leaf = source["ts_resolution_ns"], (of["duration_ns"] / of["leaves"]).min()
        if resolution is None or resolution <= 1 or not isinstance(per_leaf, float):
            return None
        if resolution < per_leaf / 100:
            return None
        return (
            f"times are multiples of {step(resolution)}: no call is timed more finely, and short"
            " calls may read 0"
        )

    return says


def _runs(analysis: Analysis) -> Iterable[Caveat]:
    sources = source_labels(analysis.sources).hstack(analysis.sources.select("run"))
    labels = sources.group_by("label").agg(
        pl.len().alias("sources"),
        pl.col("run").n_unique().alias("runs"),
        pl.col("run").null_count().alias("unstated"),
    )
    unstated = (pl.col("unstated") > 0) & (pl.col("sources") > 1)
    if len(labels.filter((pl.col("runs") == 1) & ~unstated)):
        yield Caveat(
            "one-run",
            "one run: unmaps of one boot are not independent, so these are effect sizes that permit"
            " no inference" + ("" if len(labels) == 1 else " (a label with one run)"),
        )
    if len(labels.filter(unstated)):
        yield Caveat(
            "runs-unknown",
            "runs not stated (--run, sidecar): traces of one label may be of one boot, and permit"
            " no inference",
        )

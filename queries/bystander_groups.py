"""What unmaps cost other vCPUs, summed up; and why that is not known of a source.

The numbers of a group are of the unmaps beside which a vCPU of another task was seen and of which
nothing is missing. Beside them stands what the same vCPUs did outside unmaps: a vCPU that handles
faults half of its time does so during unmaps, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.groups import median_ns, p95_ns, source_labels

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

NEEDED: Final = ("kvm_exit", "kvm_entry", "kvm_guest_fault")
SUMS: Final = (
    "duration_ns", "vcpu_ns", "stalls", "stall_ns", "off_cpu_ns", "stalled_ns", "guest_faults",
)  # fmt: skip
SUMS_AFTER: Final = ("window_vcpu_ns", "guest_faults_after", "refaults")
OUTSIDE: Final = ("outside_ns", "outside_stall_ns", "outside_guest_faults")


def bystander_groups(analysis: Analysis) -> pl.DataFrame:
    """One row per label, strategy, `empty` (nothing was mapped) and `vm`, the most stalled first.

    Of `count` unmaps `alone` had no vCPU of another task beside them, and of `unknown` something is
    missing; the sums and ranks are of the others, and null if one of these has a null. `after` is
    how many of them have a window of which nothing is missing. `vcpus`: the most at once.
    `outside_*`: of the same vCPUs, all strategies together.
    """
    unmaps = analysis.unmaps.select("source_id", "unmap_id", "strategy", "leaves", "duration_ns")
    rows = (
        analysis.bystanders.join(unmaps, on=["source_id", "unmap_id"], maintain_order="left")
        .join(source_labels(analysis.sources), on="source_id", maintain_order="left")
        .with_columns((pl.col("leaves") == 0).fill_null(value=False).alias("empty"))
        .with_columns(
            (pl.col("vcpus") > 0).alias("beside"),
            pl.col("guest_faults").is_not_null().alias("during"),
        )
    )
    asked = pl.col("beside") & pl.col("during")
    after = asked & pl.col("guest_faults_after").is_not_null()
    known = rows.with_columns(
        asked.alias("asked"),
        after.alias("after"),
        pl.when(asked).then(pl.col("stall_ns", "longest_stall_ns", "vcpus")),
    )
    stalls = pl.col("stall_ns").null_count() == (~pl.col("asked")).sum()
    found = (
        known.group_by("label", "strategy", "empty", "vm", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            (~pl.col("beside")).sum().cast(pl.Int64).alias("alone"),
            (pl.col("beside") & ~pl.col("during")).sum().cast(pl.Int64).alias("unknown"),
            pl.col("after").sum().cast(pl.Int64).alias("whole"),
            pl.col("vcpus").max(),
            pl.when(stalls).then(median_ns("stall_ns")).alias("median_stall_ns"),
            pl.when(stalls).then(p95_ns("stall_ns")).alias("p95_stall_ns"),
            pl.when(stalls).then(pl.col("longest_stall_ns").max()).alias("longest_stall_ns"),
            *(_sum(name, "asked") for name in SUMS),
            *(_sum(name, "after") for name in SUMS_AFTER),
        )
        .rename({"whole": "after"})
    )
    return found.join(_outside(analysis), on="label", how="left", maintain_order="left").sort(
        "stall_ns", "count", descending=True, nulls_last=True, maintain_order=True
    )


def _sum(name: str, of: str) -> pl.Expr:
    """The sum over the unmaps *of* which it is asked; null where there is none, or one is null."""
    values = pl.col(name).filter(pl.col(of))
    whole = (values.len() > 0) & (values.null_count() == 0)
    return pl.when(whole).then(values.sum()).alias(name)


def _outside(analysis: Analysis) -> pl.DataFrame:
    """What bystanders did outside unmaps, per label; null where it is not known of all of them."""
    of = analysis.vcpus.filter(pl.col("unmaps") > 0).join(
        source_labels(analysis.sources), on="source_id", maintain_order="left"
    )
    return of.group_by("label", maintain_order=True).agg(
        pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum()).alias(name)
        for name in OUTSIDE
    )


def unmeasured(analysis: Analysis) -> dict[int, str]:
    """Of each source that has complete unmaps: why their cost to others is not known, if so."""
    unmaps = analysis.unmaps.filter(pl.col("status") == "complete")
    beside = analysis.bystanders.filter(pl.col("vcpus") > 0)
    known = beside.filter(pl.col("guest_faults").is_not_null())
    return {
        source: why
        for source in unmaps["source_id"].unique().sort().to_list()
        if source not in known["source_id"]
        and (why := _why(analysis, source, seen=source in beside["source_id"]))
    }


def _why(analysis: Analysis, source: int, *, seen: bool) -> str:
    of = pl.col("source_id") == source
    counts = analysis.event_counts.filter(of & pl.col("symbol").is_null() & (pl.col("count") > 0))
    names = set(counts["name"].cast(pl.String))
    missing = [name for name in NEEDED if name not in names]
    if "kvm_guest_fault" in missing:
        show, were = ("shows", "was") if len(missing) == 1 else ("show", "were")
        return f"{_listed(missing)}, which {show} it, {were} not recorded"
    if analysis.sources["clock"][source] == "local":
        return "the clock `local` need not agree between CPUs; mono and boot do"
    if seen:
        return "events may be missing beside all unmaps that had other vCPUs beside them"
    if analysis.vcpus.filter(of).is_empty():
        return "the kvm events have no times or no tasks"
    return "no vCPU of another task was seen during an unmap"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))

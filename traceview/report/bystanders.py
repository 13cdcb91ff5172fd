"""What unmaps cost others: the section of `analyze`, and what a reader must not take it for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl
from rich.text import Text

from traceview.report.layout import Column, bullets, heading, table, wrapped
from traceview.report.wording import UNKNOWN, clean, count, duration, number, plural, share

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.report.contents import Contents

TITLE: Final = "Cost to others (vCPUs of other tasks, during unmaps and in the 1 ms after each)"
STALL: Final = (
    "stall: from kvm_exit to kvm_entry of a stage-2 fault, as far as it lies in the unmap, whose"
    " mmu_lock it needs; an upper bound of the wait, as handling a fault takes time anyway: so"
    " beside it stands what the same vCPUs did outside all unmaps and the 1 ms after each"
)
S_NS: Final = 10**9
Grid = tuple[tuple[Column, ...], list[list[str]]]


def bystanders(found: Contents, width: int) -> list[Text]:
    """Stalls and faults of other vCPUs, by strategy; nothing where none were seen."""
    rows = found.bystander_groups.filter(pl.col("vcpus").is_not_null())
    if rows.is_empty():
        return []
    lines = heading(TITLE, width)
    lines += wrapped(STALL, width, indent=2, hang=2)
    several = rows["label"].n_unique() > 1 or len(found.analysis.sources) > 1
    for (label,), of in rows.group_by("label", maintain_order=True):
        if several:
            lines += wrapped(Text(clean(label), style="bold"), width, indent=2)
        groups = list(of.iter_rows(named=True))
        lines += table(*stalls(groups), width)
        lines += [Text(), *table(*rates(groups), width)]
        lines += bullets(notes(found.bystander_groups.filter(pl.col("label") == label)), width)
    return lines + bullets(about_all(found), width)


def _name(row: dict[str, Any]) -> str:
    return f"{row['strategy']}, empty" if row["empty"] else str(row["strategy"])


def stalls(groups: list[dict[str, Any]]) -> Grid:
    """How long others waited."""
    columns = (
        Column("strategy"), Column("unmaps", right=True), Column("vCPUs", right=True, drop=2),
        Column("stalls", right=True), Column("median", right=True),
        Column("p95", right=True, drop=1), Column("longest", right=True),
        Column("some vCPU stalled", right=True), Column("fault outside", right=True),
    )  # fmt: skip
    values = [
        [
            _name(row), count(row["count"] - row["alone"] - row["unknown"]), count(row["vcpus"]),
            count(row["stalls"]), duration(row["median_stall_ns"]), duration(row["p95_stall_ns"]),
            duration(row["longest_stall_ns"]), _part(row["stalled_ns"], row["duration_ns"]),
            duration(_mean(row["outside_stall_ns"], row["outside_guest_faults"])),
        ]
        for row in groups
    ]  # fmt: skip
    return columns, values


def rates(groups: list[dict[str, Any]]) -> Grid:
    """Per vCPU: the share of its time in faults, and how many of these in a second."""
    columns = (
        Column("of a vCPU"), Column("stalled", right=True), Column("outside", right=True),
        Column("faults/s", right=True), Column("1 ms after", right=True),
        Column("faults/s outside", right=True), Column("refaults/unmap", right=True),
    )  # fmt: skip
    values = [
        [
            _name(row), _part(row["stall_ns"], row["vcpu_ns"]),
            _part(row["outside_stall_ns"], row["outside_ns"]),
            _per_second(row["guest_faults"], row["vcpu_ns"]),
            _per_second(row["guest_faults_after"], row["window_vcpu_ns"]),
            _per_second(row["outside_guest_faults"], row["outside_ns"]),
            number(None if row["refaults"] is None else row["refaults"] / row["after"]),
        ]
        for row in groups
    ]  # fmt: skip
    return columns, values


def _mean(time_ns: int | None, events: int | None) -> int | None:
    return None if time_ns is None or not events else round(time_ns / events)


def _part(part: int | None, whole: int | None) -> str:
    return UNKNOWN if part is None or not whole else share(part, whole)


def _per_second(events: int | None, ns: int | None) -> str:
    return UNKNOWN if events is None or not ns else number(events * S_NS / ns)


def notes(rows: pl.DataFrame) -> Iterable[str]:
    """What the tables of a label leave open."""
    known = rows.filter(pl.col("vcpus").is_not_null())
    if (known["vm"] == "any").any():
        yield (
            "the VM is not known (no process ids, or an unmap by a process that has no vCPU):"
            " vCPUs of all VMs count, also of one that has another mmu_lock, unless they themselves"
            " unmapped and only from other MMUs"
        )
    alone, unknown = int(rows["alone"].sum()), int(rows["unknown"].sum())
    if alone:
        yield f"{plural(alone, 'unmap')} without a vCPU of another task: not in here"
    if unknown:
        yield f"{plural(unknown, 'unmap')} beside which events may be missing: not in here"
    if known["outside_ns"].is_null().any():
        yield "outside unmaps: not known, events were lost"
    off_cpu = known["off_cpu_ns"]
    if off_cpu.is_null().any() and not known["stall_ns"].is_null().all():
        yield "sched_switch was not recorded: stalls contain time off the CPU"
    elif off_cpu.sum():
        yield f"not in the stalls: {duration(int(off_cpu.sum()))} that they were off the CPU"
    if known["stall_ns"].is_null().any():
        yield "stalls: not known without kvm_exit and kvm_entry"


def about_all(found: Contents) -> Iterable[str]:
    """What holds for every table: the clock, and what the columns are."""
    sources = found.analysis.sources.filter(
        pl.col("source_id").is_in(found.analysis.bystanders["source_id"].unique().implode())
    )
    if sources["clock"].is_null().any():
        yield (
            "the trace does not state its clock (a sidecar can): if it is `local`, times of"
            " different CPUs need not agree, and none of this holds"
        )
    yield (
        "median, p95: of the time that all vCPUs were stalled in one unmap; fault outside: the mean"
        " time of a fault outside unmaps"
    )
    yield (
        "refaults: faults on what the unmap took, in the 1 ms after it; later ones are not looked"
        " for"
    )

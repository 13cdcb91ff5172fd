"""What was read: one block of facts per source, or one table where there are many."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.report.layout import Column, facts, table, wrapped
from traceview.report.wording import UNKNOWN, bytes_size, clean, count, duration, plural, step

if TYPE_CHECKING:
    from rich.text import Text

    from traceview.queries.analysis import Analysis

BLOCKS: Final = 3
FEATURES: Final = (
    ("fwb", "FWB"), ("tlbirange", "TLBIRANGE"), ("lpa2", "LPA2"), ("dic", "DIC"), ("idc", "IDC"),
)  # fmt: skip
# Of the many in trace_options of tracefs, those that change what function_graph measures or writes
# (Documentation/trace/ftrace.rst); of most of these it matters that they are set, of some that not.
OPTIONS_SET: Final = re.compile(
    "funcgraph-.*|latency-format|sleep-time|graph-time|overwrite|fields|raw|hex|bin"
)
OPTIONS_UNSET: Final = frozenset({"sleep-time", "graph-time", "overwrite", "funcgraph-irqs"})
# One of these is in every trace_options, and in no command line, which perf states instead.
WHOLE_LIST: Final = frozenset({"print-parent", "noprint-parent"})
STATUSES: Final = (
    ("complete", "complete"),
    ("censored", "censored"),
    ("contaminated", "contaminated"),
    ("point", "entry only"),
)


def sources(analysis: Analysis, width: int) -> list[Text]:
    """What is known of every source of *analysis*."""
    if len(analysis.sources) > BLOCKS:
        return _compact(analysis, width)
    lines: list[Text] = []
    for row in analysis.sources.iter_rows(named=True):
        lines += wrapped(clean(row["path"]), width)
        lines += facts(source_facts(row, analysis), width)
    return lines


def source_facts(row: dict[str, Any], analysis: Analysis) -> list[tuple[str, str]]:
    """Names and values for one row of schema.SOURCES; facts that nobody states are left out."""
    of = pl.col("source_id") == row["source_id"]
    pairs = [
        ("format", clean(row["format"])),
        ("label", ", ".join(clean(row[name]) for name in ("label", "run") if row[name])),
        ("host", host(row)),
        ("tracer", _joined(row["tracer"], options(row["tracer_options"]), _buffer(row))),
        ("origin", clean(row["origin"])),
        ("clock", _clock(row)),
        ("span", span(row)),
        ("events", count(events(analysis, row["source_id"]))),
        ("loss", loss(row, analysis.losses.filter(of))),
        ("unmaps", statuses(analysis.unmaps.filter(of))),
    ]
    return [(name, value) for name, value in pairs if value]


def events(analysis: Analysis, source_id: int) -> int:
    """How many events a source holds, looked at or not."""
    return int(analysis.event_counts.filter(pl.col("source_id") == source_id)["count"].sum())


def host(row: dict[str, Any]) -> str:
    """Kernel, machine and features of a host, as far as they are known."""
    features = [
        name if row[key] else f"no {name}" for key, name in FEATURES if row[key] is not None
    ]
    page = row["page_size_bytes"]
    return _joined(
        None if row["kernel"] is None else f"kernel {row['kernel']}",
        row["machine"],
        None if row["midr"] is None else f"MIDR {row['midr']}",
        None if row["cpus"] is None else plural(row["cpus"], "CPU"),
        None if page is None else f"{bytes_size(page)} pages",
        *(features or ["features (FWB, TLBIRANGE) not stated"]),
        "no errata workarounds" if row["errata"] == "none" else row["errata"],
    )


def loss(row: dict[str, Any], losses: pl.DataFrame) -> str:
    """Every kind of loss with its count: `none` only where the format would have said so."""
    said = []
    for kind, rows in losses.group_by("kind", maintain_order=True):
        known = rows["count"].drop_nulls()
        events = plural(int(known.sum()), "event") if len(known) else "count unknown"
        more = ", more uncounted" if 0 < len(known) < len(rows) else ""
        said.append(f"{clean(kind[0])}: {plural(len(rows), 'hole')}, {events}{more}")
    if not row["loss_known"]:
        said.append("more is unknown" if said else "unknown (this format does not say here)")
    return "; ".join(said) or "none"


def statuses(unmaps: pl.DataFrame) -> str:
    """How unmaps divide: the parts add up to all that began."""
    if unmaps.is_empty():
        return "none"
    number = {name: len(unmaps.filter(pl.col("status") == name)) for name, _ in STATUSES}
    parts = " + ".join(f"{number[name]:,} {said}" for name, said in STATUSES)
    return f"{len(unmaps):,} began = {parts}"


def _compact(analysis: Analysis, width: int) -> list[Text]:
    columns = (
        Column("trace"), Column("label", drop=2), Column("run", drop=3), Column("origin"),
        Column("kernel", drop=4), Column("events", right=True), Column("loss", drop=1),
        Column("unmaps", right=True), Column("complete", right=True),
    )  # fmt: skip
    rows = []
    for row in analysis.sources.iter_rows(named=True):
        of = pl.col("source_id") == row["source_id"]
        unmaps = analysis.unmaps.filter(of)
        rows.append(
            [
                clean(row["path"]),
                clean(row["label"]),
                clean(row["run"]),
                clean(row["origin"]),
                clean(row["kernel"]),
                count(events(analysis, row["source_id"])),
                loss(row, analysis.losses.filter(of)).partition(" (")[0],
                count(len(unmaps)),
                count(len(unmaps.filter(pl.col("status") == "complete"))),
            ]
        )
    lines = table(columns, rows, width)
    return [*lines, *wrapped(f"all traces: {statuses(analysis.unmaps)}", width, indent=2, hang=2)]


def _clock(row: dict[str, Any]) -> str:
    resolution = row["ts_resolution_ns"]
    return _joined(
        "not stated" if row["clock"] is None else row["clock"],
        None if resolution is None else f"steps of {step(resolution)}",
    )


def span(row: dict[str, Any]) -> str:
    """From the first to the last event that has a time."""
    if row["first_ns"] is None or row["last_ns"] is None:
        return "no event that was looked at has a time"
    return duration(row["last_ns"] - row["first_ns"])


def options(stated: str | None) -> str | None:
    """Those of the tracer's options that matter to a reader; JSON has all."""
    words = (stated or "").split()
    if WHOLE_LIST.isdisjoint(words):
        return stated
    said = [word for word in words if _matters(word)]
    return " ".join(said) + (" ..." if said else "...")


def _matters(option: str) -> bool:
    name = option.removeprefix("no")
    return name in OPTIONS_UNSET if name != option else bool(OPTIONS_SET.fullmatch(option))


def _buffer(row: dict[str, Any]) -> str | None:
    size = row["buffer_size_kb"]
    return None if size is None else f"buffer {size:,} kB per CPU"


def _joined(*values: object) -> str:
    said = [clean(value) for value in values if value not in {None, ""}]
    return ", ".join(said) if said != [UNKNOWN] else ""

"""The summary of an analysis for a person: lines of text no wider than the terminal.

The same lines serve a terminal (bars on coloured ground) and a pipe (letters alone).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl
from rich.text import Text

from traceview.queries.filters import there
from traceview.queries.groups import BOUNDS, median_ns, p95_ns, source_labels
from traceview.report.absent import why_no_unmap
from traceview.report.bystanders import bystanders
from traceview.report.layout import Column, bullets, heading, table, tables, wrapped
from traceview.report.ledger import count_column, excluded
from traceview.report.samples import samples
from traceview.report.sources import sources, statuses
from traceview.report.split import split
from traceview.report.time_units import NANOSECONDS, Unit
from traceview.report.tracing import between, nanoseconds, traced, tracing, tracing_share
from traceview.report.verdict import verdict
from traceview.report.wording import (
    UNKNOWN,
    bytes_size,
    clean,
    count,
    duration,
    number,
    paragraph,
    plural,
    seconds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.analysis import Analysis
    from traceview.report.contents import Contents

DESTROYS: Final = "VM destructions (no unmap: their walker invalidates nothing)"
FLUSHES: Final = "Invalidations outside unmaps (dirty logging, break-before-make)"
UNPLACED_FLUSHES: Final = (
    "Invalidations not seen inside an unmap (dirty logging, break-before-make, or unmaps of which"
    " the beginning is not in the trace)"
)
EMPTY: Final = "Empty unmaps (nothing was mapped)"
SAID_AS_CAVEATS: Final = frozenset({"censored-unmaps", "contaminated-unmaps"})
LEAF_SIZES: Final = {"mixed": "mixed", "unknown": UNKNOWN, "none": "none"}


def summary(found: Contents, width: int, *, top: int = 5, blocks: bool = False) -> list[Text]:
    """The whole summary; *blocks* draws the bars' letters on coloured ground."""
    analysis = found.analysis
    lines = sources(found.whole, width)
    if found.filters:
        kept = f"{len(analysis.unmaps):,} of {plural(len(found.whole.unmaps), 'unmap')}"
        lines += heading(f"Only {clean(found.filters)}", width)
        lines += wrapped(f"kept: {kept}; {statuses(analysis.unmaps)}", width, indent=2, hang=2)
    sizes = leaf_sizes(analysis.sources)
    lines += _unmaps(found, width)
    lines += excluded(found, width, sizes)
    lines += split(found, width, sizes, blocks=blocks)
    lines += _instructions(found, width)
    lines += tracing(analysis, found.calibration, width)
    lines += verdict(found.verdicts, width, sizes)
    lines += samples(found, width)
    lines += _empty(found, width)
    lines += _slowest(found, width, top)
    lines += _triggers(found, width)
    lines += bystanders(found, width)
    lines += _functions(DESTROYS, analysis.destroys, width)
    lines += _functions(_flushes_title(found.whole), analysis.flushes, width)
    lines += _caveats(found, width)
    lines += diagnostics(found.whole, width, besides=SAID_AS_CAVEATS)
    if found.calibration is not None:
        title = "Diagnostics of the calibration"
        lines += diagnostics(found.calibration, width, besides=SAID_AS_CAVEATS, title=title)
    return lines


def _unmaps(found: Contents, width: int) -> list[Text]:
    rows = found.groups.filter(pl.col("leaf_level") != "none")
    lines = heading("Unmaps, by strategy, leaf size and trigger", width)
    if found.whole.unmaps.is_empty():
        return lines + bullets(why_no_unmap(found.whole), width)
    if rows.is_empty():
        return lines + wrapped(why_none(found), width, indent=2, hang=2)
    columns = (
        Column("strategy"), Column("leaf"), Column("trigger"), count_column(found.ledger),
        Column("leaves", right=True), Column("median", right=True),
        Column("p95", right=True, drop=4), Column("ns/leaf", right=True),
        *corrected_columns(rows),
    )  # fmt: skip
    sizes = leaf_sizes(found.analysis.sources)
    parts = [
        (
            label,
            [
                [
                    row["strategy"], sizes[row["leaf_level"]], row["trigger"], count(row["count"]),
                    count(row["leaves"]), duration(row["median_ns"]), duration(row["p95_ns"]),
                    number(row["ns_per_leaf"]), *corrected_cells(row, rows),
                ]
                for row in of.iter_rows(named=True)
            ],
        )
        for label, of in by_label(rows, found)
    ]  # fmt: skip
    return lines + tables(columns, parts, width, keys=3)


def corrected_columns(rows: pl.DataFrame) -> tuple[Column, ...]:
    """Without tracing, between what that lies, and how much tracing was.

    Beside ns per leaf; beside the median where no leaves are known.
    """
    if not traced(rows):
        return ()
    per_leaf = rows["ns_per_leaf"].count() > 0
    title, of = ("corrected", "ns/leaf") if per_leaf else ("corrected median", "median")
    most = (rows["probe_ns"].is_null() & rows["probe_high_ns"].is_not_null()).any()
    share = "its share of the times" + (" (<=: at most)" if most else "")
    return (
        Column(title, right=True, drop=2, note=f"{of} without tracing"),
        # An estimate without its bounds says too much: they go last.
        Column("untraced", right=True, drop=1, note=f"bounds of {of} without tracing"),
        Column("tracing", right=True, drop=3, note=share),
    )  # fmt: skip


def corrected_cells(row: dict[str, Any], rows: pl.DataFrame) -> tuple[str, ...]:
    """What `corrected_columns` has of a group."""
    if not traced(rows):
        return ()
    per_leaf = rows["ns_per_leaf"].count() > 0
    keys = [
        f"corrected{which}_ns_per_leaf" if per_leaf else f"corrected_median{which}_ns"
        for which in BOUNDS
    ]
    value, low, high = (row[key] for key in keys)
    if per_leaf:
        return number(value), between(low, high), tracing_share(row)
    said = UNKNOWN if value is None else nanoseconds(value)
    return said, between(low, high, nanoseconds), tracing_share(row)


def why_none(found: Contents) -> str:
    """Why there is no group of unmaps with leaves, though there are unmaps."""
    if found.filters and len(found.whole.unmaps):
        said = "no unmap with leaves passes the filters"
        known = there(found.filters, found.whole) if found.analysis.unmaps.is_empty() else []
        return f"{said}; the unmaps have: {clean('; '.join(known))}" if known else said
    return "no unmap with leaves is complete"


def _instructions(found: Contents, width: int) -> list[Text]:
    columns, values = instructions(found)
    if not values:
        return []
    return heading("Instructions executed in them", width) + table(columns, values, width, keys=3)


def instructions(found: Contents) -> tuple[tuple[Column, ...], list[list[str]]]:
    """What was executed in the unmaps of each group, where that was recorded."""
    rows = found.groups.filter(pl.col("tlbi_insns").is_not_null())
    columns = (
        Column("strategy"), Column("leaf"), Column("trigger"), Column("unmaps", right=True),
        Column("leaves", right=True, drop=1), Column("TLBI", right=True),
        Column("DSB", right=True), Column("CMO lines", right=True), Column("TLBI/leaf", right=True),
    )  # fmt: skip
    sizes = leaf_sizes(found.analysis.sources)
    values = [
        [
            row["strategy"], sizes[row["leaf_level"]], row["trigger"], count(row["count"]),
            count(row["leaves"]), count(row["tlbi_insns"]), count(row["dsb_insns"]),
            count(row["cmo_lines"]),
            number(row["tlbi_insns"] / row["leaves"] if row["leaves"] else None),
        ]
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    return columns, values


def _empty(found: Contents, width: int) -> list[Text]:
    columns, values = empty_unmaps(found)
    if not values:
        return []
    keys = 2 + len(_label_column(found))
    return heading(EMPTY, width) + table(columns, values, width, keys=keys)


def empty_unmaps(
    found: Contents, unit: Unit = NANOSECONDS
) -> tuple[tuple[Column, ...], list[list[str]]]:
    """The groups of unmaps of ranges in which nothing was mapped."""
    rows = found.groups.filter(pl.col("leaf_level") == "none")
    columns = (
        *_label_column(found), Column("strategy"), Column("trigger"), Column("count", right=True),
        Column("median", right=True), Column("p95", right=True),
    )  # fmt: skip
    columns += (Column("corrected", right=True, drop=1),) if traced(rows) else ()
    values = [
        [
            *_label(found, row["label"]), row["strategy"], row["trigger"], count(row["count"]),
            unit.amount(row["median_ns"]), unit.amount(row["p95_ns"]), *_median(row, rows),
        ]
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    return columns, values


def _median(row: dict[str, Any], rows: pl.DataFrame) -> tuple[str, ...]:
    """The median without tracing."""
    if not traced(rows):
        return ()
    ns = row["corrected_median_ns"]
    return (UNKNOWN if ns is None else nanoseconds(ns),)


def _slowest(found: Contents, width: int, top: int) -> list[Text]:
    unmaps = found.analysis.unmaps
    rows = unmaps.filter(pl.col("status") == "complete").drop_nulls("duration_ns")
    rows = rows.join(source_labels(found.analysis.sources), on="source_id", how="left").sort(
        "duration_ns", "source_id", "unmap_id", descending=[True, False, False]
    )
    if rows.is_empty() or not top:
        return []
    columns = (
        Column("duration", right=True), Column("corrected", right=True, drop=1),
        Column("leaves", right=True), Column("ns/leaf", right=True),
        Column("strategy", drop=4), Column("trigger", drop=3), *_label_column(found),
        Column("step", drop=5), Column("at (s)", drop=2), Column("CPU", right=True, drop=6),
        Column("tid", right=True, drop=7), Column("comm", drop=8),
        Column("unmap", right=True, drop=1),  # with `at`: how the unmap is found again
    )  # fmt: skip
    values = [_slow(row, found) for row in rows.head(min(top, len(rows))).iter_rows(named=True)]
    title = "The slowest unmap" if len(values) == 1 else f"The {len(values)} slowest unmaps"
    return heading(title, width) + table(columns, values, width, keys=0)


def _slow(row: dict[str, Any], found: Contents) -> list[str]:
    leaves, probe = row["leaves"], row["probe_ns"]
    return [
        duration(row["duration_ns"]), duration(row["duration_ns"] - probe) if probe else UNKNOWN,
        count(leaves),
        number(row["duration_ns"] / leaves if leaves else None), row["strategy"], row["trigger"],
        *_label(found, row["label"]), clean(row["step"]), seconds(row["start_ns"]),
        clean(row["cpu"]), clean(row["tid"]), clean(row["comm"]), clean(row["unmap_id"]),
    ]  # fmt: skip


def _triggers(found: Contents, width: int) -> list[Text]:
    if found.trigger_groups.is_empty():
        return []
    columns = (
        Column("requested by"), Column("kind", drop=2), Column("count", right=True),
        Column("complete", right=True, note="entry and exit are in the trace"),
        Column("idle", right=True, note="complete, and caused no unmap"),
        Column("unmaps", right=True),
        Column("median", right=True, note="of complete ones that were not idle"),
        Column("p95", right=True, drop=3, note="of the same"),
        Column("between", right=True, drop=1, note="median of what was no unmap"),
    )  # fmt: skip
    parts = [
        (
            label,
            [
                [
                    clean(row["symbol"]), row["kind"], count(row["count"]), count(row["complete"]),
                    count(row["idle"]), count(row["unmaps"]), duration(row["median_ns"]),
                    duration(row["p95_ns"]), duration(row["between_ns"]),
                ]
                for row in of.iter_rows(named=True)
            ],
        )
        for label, of in by_label(found.trigger_groups, found)
    ]  # fmt: skip
    return heading("Triggers (what asked for unmaps)", width) + tables(columns, parts, width)


def _flushes_title(analysis: Analysis) -> str:
    """Whether invalidations can be told to lie outside unmaps."""
    known = analysis.sources["loss_known"].fill_null(value=False).all()
    whole = analysis.unmaps["status"].is_in(["complete", "point"]).all()
    certain = known and whole and analysis.losses.is_empty() and len(analysis.unmaps) > 0
    return FLUSHES if certain else UNPLACED_FLUSHES


def _functions(title: str, rows: pl.DataFrame, width: int) -> list[Text]:
    """Count and times of calls, per function; only complete ones have times."""
    if rows.is_empty():
        return []
    columns = (
        Column("function"), Column("count", right=True), Column("median", right=True),
        Column("p95", right=True, drop=1),
    )  # fmt: skip
    values = [
        [clean(row["symbol"]), count(row["count"]), duration(row["median"]), duration(row["p95"])]
        for row in _times_by(rows, "symbol")
    ]
    return heading(title, width) + table(columns, values, width)


def _times_by(rows: pl.DataFrame, column: str) -> Iterator[dict[str, Any]]:
    timed = rows.with_columns(
        pl.when(pl.col("status") == "complete").then("duration_ns").alias("duration_ns")
    )
    return (
        timed.with_columns(pl.col(column).cast(pl.String))
        .group_by(column)
        .agg(
            pl.len().alias("count"),
            median_ns("duration_ns").alias("median"),
            p95_ns("duration_ns").alias("p95"),
        )
        .sort("count", column, descending=[True, False])
        .iter_rows(named=True)
    )


def _caveats(found: Contents, width: int) -> list[Text]:
    if not found.caveats:
        return []
    texts = (Text(c.text, style="bold" if c.severity == "strong" else "") for c in found.caveats)
    return heading("Before quoting this", width) + bullets(texts, width)


def diagnostics(
    analysis: Analysis,
    width: int,
    *,
    besides: frozenset[str] = frozenset(),
    title: str = "Diagnostics",
) -> list[Text]:
    """What was wrong with the input, the gravest first; not those whose code is in *besides*."""
    styles = {"error": "bold red", "warning": "yellow", "info": "dim"}
    texts = [
        Text.assemble((severity, styles.get(severity, "")), f": {text}")
        for severity, text in diagnostic_texts(analysis, besides)
    ]
    return heading(title, width) + bullets(texts, width) if texts else []


def diagnostic_texts(
    analysis: Analysis, besides: frozenset[str] = frozenset()
) -> Iterator[tuple[str, str]]:
    """Severity and text of each diagnostic, the gravest first."""
    shown = [(of, what) for of, what in analysis.diagnostics if what.code not in besides]
    order = {"error": 0, "warning": 1, "info": 2}
    several = len(analysis.sources) > 1
    for source_id, what in sorted(shown, key=lambda d: order.get(d[1].severity, 3)):
        where = f"{clean(analysis.sources['path'][source_id])}: " if several else ""
        yield what.severity, f"{where}{paragraph(what.message)} [{clean(what.code)}]"


def leaf_sizes(sources: pl.DataFrame) -> dict[str, str]:
    """How the leaf levels are written: sizes where all sources state one page size."""
    sizes = set(sources["page_size_bytes"].to_list())
    page = sizes.pop() if len(sizes) == 1 else None
    names = dict(LEAF_SIZES)
    for level in (1, 2, 3):
        size = None if page is None else page * (page // 8) ** (3 - level)
        names[f"l{level}"] = f"level {level}" if size is None else bytes_size(size)
    return names


def _label_column(found: Contents) -> list[Column]:
    return [Column("label")] if len(found.analysis.sources) > 1 else []


def _label(found: Contents, label: str) -> list[str]:
    return [clean(label)] if len(found.analysis.sources) > 1 else []


def by_label(rows: pl.DataFrame, found: Contents) -> Iterator[tuple[str | None, pl.DataFrame]]:
    """*rows* per label of their source; the label is None where there is only one."""
    if found.groups["label"].n_unique() <= 1 and len(found.analysis.sources) == 1:
        yield None, rows
        return
    for label, of in rows.group_by("label", maintain_order=True):
        yield clean(label[0]), of

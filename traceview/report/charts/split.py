"""Where the time of each group went: recorded, and below it what is left without tracing.

Bars are shares, so that groups of very different cost stand side by side; the times are written
out. Where tracing is not estimated but only bounded, the second bar is of the recorded time: the
least that is left of each component, and what may be either is drawn as unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.report.bar import PARTS, corrected_values
from traceview.report.charts.bars import LETTERS, PART_OF, UNKNOWN_PART, Bar, Segment, bars
from traceview.report.charts.chart import Chart
from traceview.report.charts.groups import no_unmaps
from traceview.report.charts.time_sentences import sentences, time_sentences
from traceview.report.tracing import between, nanoseconds
from traceview.report.wording import duration, number, plural, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.report.charts.groups import Groups
    from traceview.report.contents import Contents

CODE: Final = "split"


def split_chart(found: Contents, groups: Groups) -> Chart:
    """The chart, or why there is none."""
    rows = groups.rows.filter(
        (pl.col("leaf_level") != "none") & pl.col("group").is_in(groups.drawn)
    )
    if rows.is_empty():
        return Chart(CODE, "Where the time went", "", None, _absent(found, groups))
    drawn = [bar for row in rows.iter_rows(named=True) for bar in _of_group(row)]
    return Chart(
        CODE,
        _title(rows),
        "One bar per group, its components as shares of its recorded time, in the order of the"
        " legend and with their letters; below it what is left without tracing, where that is"
        " known.",
        bars(drawn, "share of the time of the bar"),
        subtitle=sentences([*time_sentences(found.analysis), *_bounds(rows), *_unseparated(rows),
                            _more(groups)]),
    )  # fmt: skip


def _absent(found: Contents, groups: Groups) -> str:
    if groups.unmaps.is_empty():
        return no_unmaps(found)
    return "nothing was mapped in any complete unmap"


def _more(groups: Groups) -> str:
    having = groups.rows.filter(pl.col("leaf_level") != "none")
    more = len(having.filter(~pl.col("group").is_in(groups.drawn)))
    return f"{plural(more, 'smaller group')} not drawn" if more else ""


def _title(rows: pl.DataFrame) -> str:
    """The largest component of the group with the most time."""
    row = rows.row(0, named=True)
    known = [part for part in PARTS if row[part.column]]
    largest = max(known, key=lambda part: row[part.column], default=None)
    if largest is None or not _is_split(row):
        return f"No component of {duration(row['duration_ns'])} is separated ({row['group']})"
    part = share(row[largest.column], row["duration_ns"])
    what = largest.what[0].upper() + largest.what[1:]
    what = f"The {largest.what}" if largest.column == "rest_ns" else what
    verb = "are" if largest.what.endswith("s") else "is"
    return f"{what} {verb} {part} of the recorded time ({row['group']})"


def _is_split(row: dict[str, Any]) -> bool:
    return any(row[part.column] for part in PARTS if part.column != "rest_ns")


def _bounds(rows: pl.DataFrame) -> Iterator[str]:
    bounded = rows.filter(pl.col("corrected_ns").is_null() & (pl.col("probe_high_ns") > 0))
    if len(bounded):
        yield (
            "what tracing cost is bounded, not estimated: the lower bars show the least that is"
            " left of each component"
        )
    unknown = rows.filter(pl.col("probe_high_ns").is_null())
    if len(unknown):
        yield "what tracing cost is not known" + (
            "" if len(unknown) == len(rows) else f" of {plural(len(unknown), 'group')}"
        )


def _unseparated(rows: pl.DataFrame) -> Iterator[str]:
    """Components whose time is in the rest of some group."""
    names = [
        part.what for part in PARTS
        if part.column in {"invalidate_range_ns", "cmo_ns", "table_put_ns", "irq_ns"}
        and rows[part.column].null_count()
    ]  # fmt: skip
    if names:
        yield f"not separated everywhere, so in the rest of the walk: {', '.join(names)}"


# ---- bars


def _of_group(row: dict[str, Any]) -> Iterator[Bar]:
    total, group = row["duration_ns"], row["group"]
    parts = [_Part(part.column, float(row[part.column] or 0)) for part in PARTS]
    whole = f"{duration(total)} in {plural(row['count'], 'unmap')}"
    said = f"recorded: {_per(total, row)}, {whole}" if row["leaves"] else f"recorded: {whole}"
    yield Bar(group, group, said, tuple(_stacked(parts, row, total)))
    if not row["probe_high_ns"]:
        return
    yield _least(row) if row["corrected_ns"] is None else _estimated(row)


def _estimated(row: dict[str, Any]) -> Bar:
    """What is left of each component, as shares of what is left in all."""
    left = corrected_values(row)
    parts = [
        _Part(part.column, max(0.0, left[part.column] or 0.0), _interval(part.column, row))
        for part in PARTS
    ]
    ends = _between(row, "corrected_low_ns", "corrected_high_ns")
    said = f"without tracing: {_per(row['corrected_ns'], row)}" + (f" ({ends})" if ends else "")
    kept = share(round(max(0.0, row["corrected_ns"])), row["duration_ns"])
    drawn = _stacked(parts, row, sum(part.ns for part in parts))
    return Bar("", row["group"], f"{said}, {kept} of the recorded time", tuple(drawn))


def _least(row: dict[str, Any]) -> Bar:
    """The least that is left of each component, and what may be work or tracing."""
    parts = []
    for part in PARTS:
        name = part.column.removesuffix("_ns")
        low = row.get(f"{name}_corrected_low_ns", row[part.column])
        parts.append(_Part(part.column, max(0.0, low or 0.0), "this or more"))
    unknown = row["duration_ns"] - sum(part.ns for part in parts)
    parts.append(_Part(UNKNOWN_PART, max(0.0, unknown)))
    low = row["corrected_low_ns"]
    said = "an unknown part" if low is None else f"at least {_per(low, row)}"
    return Bar(
        "",
        row["group"],
        f"without tracing: {said}",
        tuple(_stacked(parts, row, row["duration_ns"])),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A component (its column), or what is none (its name), and between what its time lies."""

    column: str
    ns: float
    between: str = ""


def _interval(column: str, row: dict[str, Any]) -> str:
    name = column.removesuffix("_ns")
    return _between(row, f"{name}_corrected_low_ns", f"{name}_corrected_high_ns")


def _between(row: dict[str, Any], low: str, high: str) -> str:
    """The ends of a time, in the unit of _per(); empty where there are none, or only one."""
    first, last = row.get(low), row.get(high)
    if first is None or last is None:
        return ""
    ends = between(max(0.0, first), max(0.0, last), lambda ns: _number(ns, row))
    return ends if ".." in ends else ""


def _stacked(parts: list[_Part], row: dict[str, Any], total: float) -> Iterator[Segment]:
    at = 0.0
    for part in parts:
        if part.ns > 0:
            name = part.column.removesuffix("_ns")
            known = PART_OF.get(name)
            yield Segment(
                part.column if known is None else known.what, LETTERS.get(name, ""),
                at / total, (at + part.ns) / total, share(round(part.ns), round(total)),
                round(part.ns), _per(part.ns, row), part.between,
            )  # fmt: skip
            at += part.ns


def _per(ns: float, row: dict[str, Any]) -> str:
    return _number(ns, row) + (" ns per leaf" if row["leaves"] else "")


def _number(ns: float, row: dict[str, Any]) -> str:
    return number(ns / row["leaves"]) if row["leaves"] else nanoseconds(ns)

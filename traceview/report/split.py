"""Where the time of each group of unmaps went: raw, and below it without tracing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl
from rich.text import Text

from traceview.report.bar import PARTS, bar, corrected_shares, corrected_values, legend, shares
from traceview.report.layout import flow, heading, wrapped
from traceview.report.time_units import NANOSECONDS, Unit
from traceview.report.tracing import between, nanoseconds
from traceview.report.wording import UNKNOWN, clean, plural

if TYPE_CHECKING:
    from traceview.report.contents import Contents

BAR_WIDTH: Final = 60
SPLITS: Final = 12


def split(found: Contents, width: int, sizes: dict[str, str], *, blocks: bool) -> list[Text]:
    """One bar per group, and one without tracing where that is known."""
    rows = found.groups.filter((pl.col("leaf_level") != "none") & (pl.col("duration_ns") > 0))
    if rows.is_empty():
        return []
    rows, more = rows.head(SPLITS), len(rows) - SPLITS
    drawn = {part.column for part in PARTS if (rows[part.column].fill_null(0) > 0).any()}
    lines = heading("Where the time went (share of it, and ns per leaf)", width)
    lines += flow(legend(drawn), width, indent=2)
    several = found.groups["label"].n_unique() > 1
    for row in rows.iter_rows(named=True):
        values = {part.column: row[part.column] or 0 for part in PARTS}
        title = group_title(row, sizes, several=several)
        lines += [Text(), *wrapped(title, width, indent=2, hang=2)]
        lines += wrapped(bar(values, min(BAR_WIDTH, width - 4), blocks=blocks), width, indent=4)
        lines += flow(shares(values, row["leaves"]), width, indent=4)
        lines += _without_tracing(row, width, blocks=blocks)
    if more > 0:
        text = f"and {plural(more, 'smaller group')} (--json has them all)"
        lines += [Text(), *wrapped(text, width, indent=2, hang=2)]
    return lines


def group_name(row: dict[str, Any], sizes: dict[str, str], *, several: bool) -> str:
    """What a group is of: strategy, leaf size, trigger; with its label where there are several."""
    name = [clean(row["label"])] if several else []
    size = sizes[row["leaf_level"]]
    name += [row["strategy"], "leaves of unknown size" if size == UNKNOWN else size]
    name.append("trigger unknown" if row["trigger"] == "unknown" else row["trigger"])
    return ", ".join(name)


def group_title(
    row: dict[str, Any], sizes: dict[str, str], *, several: bool, unit: Unit = NANOSECONDS
) -> str:
    """The same with all of its time."""
    whole = unit.named(row["duration_ns"])
    return f"{group_name(row, sizes, several=several)}: {whole} in all"


def _without_tracing(row: dict[str, Any], width: int, *, blocks: bool) -> list[Text]:
    """The same once more, below the raw times."""
    several = sum(bool(row[part.column]) for part in PARTS) > 1
    if not row["probe_high_ns"] or not several:
        return []
    low, high = row["corrected_low_ns"], row["corrected_high_ns"]
    if row["corrected_ns"] is None:
        least = "an unknown part" if low is None else nanoseconds(low)
        lead = Text(f"without tracing at least {least}:")
        return flow([lead, *corrected_shares(row)], width, indent=4)
    ends = between(low, high, nanoseconds)
    text = f"without tracing {nanoseconds(row['corrected_ns'])}"
    text += f" ({ends})" if ".." in ends else ""
    left = {name: max(0, round(ns or 0)) for name, ns in corrected_values(row).items()}
    drawn = bar(left, min(BAR_WIDTH, width - 4), blocks=blocks)
    lines = wrapped(text, width, indent=4) + wrapped(drawn, width, indent=4)
    return lines + flow(corrected_shares(row), width, indent=4)

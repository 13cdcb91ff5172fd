"""What the numbers stand on: how many unmaps, what became of the others, and the worst of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.report.layout import Column, heading, table, wrapped
from traceview.report.wording import UNKNOWN, clean, count, duration

if TYPE_CHECKING:
    from rich.text import Text

    from traceview.report.contents import Contents

PLACES: Final = {
    "began": "began", "left_out": "filtered out", "undecided": "undecided by filters",
    "censored": "censored", "contaminated": "contaminated", "entry_only": "entry only",
    "no_duration": "no duration", "counted": "counted",
}  # fmt: skip
# What takes unmaps out of the statistics, other than that nobody asked for them.
EXCLUDED: Final = ("undecided", "censored", "contaminated", "entry_only", "no_duration")
GROUPS: Final = 6


def excluded(found: Contents, width: int, sizes: dict[str, str]) -> list[Text]:
    """Where every unmap is, per label, and what the excluded ones could make of the medians."""
    if not is_any_excluded(found.ledger):
        return []
    lines = heading("What the numbers stand on", width)
    columns, values = places(found.ledger)
    lines += table(columns, values, width, keys=int(columns[0].title == "label"))
    return lines + _worst(found, width, sizes)


def is_any_excluded(ledger: pl.DataFrame) -> bool:
    """Whether an unmap that was asked for is in no statistics."""
    return bool(ledger.select(pl.sum_horizontal(pl.col(EXCLUDED).sum())).item())


def places(ledger: pl.DataFrame) -> tuple[list[Column], list[list[str]]]:
    """Where every unmap is, per label."""
    numbers = [*PLACES]
    rows = ledger.group_by("label", maintain_order=True).agg(pl.col(numbers).sum())
    said = [name for name in numbers if name in {"began", "counted"} or rows[name].sum()]
    several = len(rows) > 1
    columns = [Column("label")] if several else []
    columns += [Column(PLACES[name], right=True) for name in said]
    # Where no unmap was recorded it is not known that none happened.
    values = [
        [
            *([clean(row["label"])] if several else []),
            *(count(row[name]) if row["began"] else UNKNOWN for name in said),
        ]
        for row in rows.iter_rows(named=True)
    ]
    return columns, values


def count_column(ledger: pl.DataFrame, title: str = "count") -> Column:
    """How many unmaps a group has; says of which it is where some of them have no times."""
    entries, timed = (int(ledger[name].sum()) for name in ("entry_only", "counted"))
    whole = "complete unmaps, and those" if timed else "unmaps"
    note = f"{whole} recorded by their entry alone, which have no times" if entries else ""
    return Column(title, right=True, note=note)


def _worst(found: Contents, width: int, sizes: dict[str, str]) -> list[Text]:
    columns, values = worst_medians(found, sizes)
    if not values:
        return []
    lines = wrapped(worst_text(found), width, indent=2, hang=2)
    lines += table(columns, values[:GROUPS], width, keys=len(columns) - 4)
    if len(values) > GROUPS:
        lines += wrapped(
            f"and {len(values) - GROUPS} smaller groups (--json has them)", width, indent=2
        )
    return lines


def worst_text(found: Contents) -> str:
    """What the table of worst medians says."""
    text = (
        "The median if all that are excluded and may belong to a group were shorter, or longer,"
        " than all that are in it"
    )
    if (
        len(found.whole.losses)
        or not found.whole.sources["loss_known"].fill_null(value=False).all()
    ):
        text += "; unmaps that lie wholly in a hole are in no count, and not in this"
    return text


def worst_medians(found: Contents, sizes: dict[str, str]) -> tuple[list[Column], list[list[str]]]:
    """What the excluded unmaps could make of the median of each group that they may belong to."""
    rows = found.groups.filter((pl.col("excluded") > 0) & pl.col("median_ns").is_not_null())
    several = found.groups["label"].n_unique() > 1
    columns = [Column("label")] if several else []
    columns += [
        Column("strategy"), Column("leaf"), Column("trigger"),
        Column("excluded", right=True), Column("if shorter", right=True),
        Column("median", right=True), Column("if longer", right=True),
    ]  # fmt: skip
    values = [
        [*([clean(row["label"])] if several else []), *_row(row, sizes)]
        for row in rows.iter_rows(named=True)
    ]
    return columns, values


def _row(row: dict[str, Any], sizes: dict[str, str]) -> list[str]:
    low, high = row["median_worst_low_ns"], row["median_worst_high_ns"]
    return [
        row["strategy"], sizes.get(row["leaf_level"], UNKNOWN), row["trigger"],
        count(row["excluded"]), "any" if low == 0 else duration(low),
        duration(row["median_ns"]), "any" if high is None else duration(high),
    ]  # fmt: skip

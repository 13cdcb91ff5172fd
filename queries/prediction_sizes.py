"""Unmaps of other sizes: what they hold, what they take, and how far that can be trusted.

A range of that size is taken to be wholly mapped by leaves of one level, and to free tables as the
measured ones did. Its time is that of costs fitted to the measured sizes (size_costs.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.errors import SettingError
from traceview.queries.predicted_cell import NARROW
from traceview.queries.size_costs import LEVELS, WIDE, SizeFit, fitted_costs, interval_of
from traceview.queries.strategy_counts import (
    LARGEST_BYTES,
    LEAF_PUTS,
    TABLE_PUTS,
    Counts,
    counts,
    range_operations,
)
from traceview.queries.unmap_costs import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.queries.prediction import Cell
    from traceview.queries.prediction_refusals import Host
    from traceview.queries.strategy_counts import Strategy, Tables

SIZE: Final = re.compile(r"(?P<number>\d{1,12})\s*(?P<unit>[KMG]?)(?:i?B)?|(?P<leaves>\d{1,9})")
UNITS: Final = {"": 0, "K": 10, "M": 20, "G": 30}


@dataclass(frozen=True, slots=True)
class AskedSize:
    """A range in bytes, or a number of leaves."""

    text: str
    range_bytes: int | None
    leaves: int | None


@dataclass(frozen=True, slots=True)
class Size:
    """An asked size: its counts and its time, or why it has none (`refused`).

    `freed`: fewest and most tables that it frees; `counts` has what lies between.
    """

    asked: AskedSize
    counts: Counts | None
    value: float | None
    low: float | None
    high: float | None
    refused: str | None
    level: str | None = None
    freed: tuple[int, int] = (0, 0)

    @property
    def half_width(self) -> float | None:
        """Of the interval, relative to the value."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return (self.high - self.low) / 2 / self.value

    @property
    def usable(self) -> bool:
        """Whether the value can be used as a number."""
        return self.half_width is not None and self.half_width <= NARROW


def parse_sizes(text: str) -> tuple[AskedSize, ...]:
    """`2M,16M` (ranges), `512,4096` (leaves); raises SettingError for anything else."""
    found = []
    for part in text.split(","):
        match = SIZE.fullmatch(part.strip())
        number = int(match["number"] or match["leaves"]) if match else 0
        if match is None or number == 0:
            raise SettingError(
                f"not a size: {part.strip()!r}\nvalid: 64K, 2M, 1G (bytes of the range), or a"
                " number of leaves without a unit: 512"
            )
        unit = match["unit"]
        size = number << UNITS[unit] if unit else None
        found.append(AskedSize(part.strip(), size, None if unit else number))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What sizes are asked of: `level` of the leaves (None: unknown), `name` of their cost."""

    cells: Sequence[Cell]
    host: Host
    to: Strategy
    tables: Tables
    level: str | None
    name: str | None


def sizes_of(
    cells: Sequence[Cell], asked: Sequence[AskedSize], host: Host, to: Strategy, tables: Tables,
    stated_level: str | None,
) -> tuple[SizeFit | str, tuple[Size, ...]]:  # fmt: skip
    """The fitted costs, or why there are none; and each of the sizes that are *asked*."""
    fitted = fitted_costs(cells)
    seen = _one_level(cells)
    level = seen if seen in LEVELS else stated_level
    name = seen if seen is None or seen in LEVELS else "leaf"
    of = _Asked(cells, host, to, tables, level, name)
    return fitted, tuple(_size(one, fitted, of) for one in asked)


def _one_level(cells: Sequence[Cell]) -> str | None:
    """The level of all leaves: l1, l2, l3; `unknown`; None where there are several."""
    levels = {cell.location.cell["level"] for cell in cells if cell.before.leaves}
    return str(next(iter(levels))) if len(levels) == 1 else None


def leaf_bytes(level: str, page_bytes: int) -> int:
    """What a leaf of that level maps: 4K, 2M or 1G with pages of 4K."""
    return int(page_bytes * (page_bytes // 8) ** (3 - LEVELS[level]))


def _size(asked: AskedSize, fitted: SizeFit | str, of: _Asked) -> Size:
    if isinstance(fitted, str):
        return _refused(asked, fitted, of)
    why, leaves = _unlike(asked, of), 0
    if why is None:
        leaves, why = _leaves(asked, of.level, of.host)
    if why is None and leaves > fitted.trust * fitted.largest:
        why = _too_far(leaves, fitted)
    if why is None and leaves < fitted.smallest:
        why = f"smaller than the smallest that was measured ({fitted.smallest:,.0f} leaves)"
    return _timed(asked, leaves, fitted, of) if why is None else _refused(asked, why, of)


def _refused(asked: AskedSize, why: str, of: _Asked) -> Size:
    return Size(asked, None, None, None, None, why, of.level)


def _unlike(asked: AskedSize, of: _Asked) -> str | None:
    """Why it is not clear which leaves a size is of."""
    if of.name is None:
        return "the leaves are of several levels: say which one with --level"
    if asked.range_bytes is not None and of.level is None:
        return (
            "the trace does not say of which level its leaves are (no arguments recorded): give a"
            " number of leaves, or say the level with --level"
        )
    return None


def _too_far(leaves: int, fitted: SizeFit) -> str:
    factor = leaves / fitted.largest
    shown = (
        f"leaving sizes out bears {fitted.trust:.3g} times"
        if fitted.trust > 1
        else "leaving the larger sizes out, the smaller ones did not predict them"
    )
    return (
        f"{leaves:,} leaves are {factor:.3g} times the {fitted.largest:,.0f} of the largest size"
        f" measured; {shown}"
    )


def _misfit(fitted: SizeFit) -> str:
    return (
        "costs that add up do not describe these unmaps: the measured sizes lie"
        f" {100 * fitted.then.misfit:.0f}% off (leaves of several levels, or noise)"
    )


def _leaves(asked: AskedSize, level: str | None, host: Host) -> tuple[int, str | None]:
    if asked.range_bytes is None:
        leaves = asked.leaves or 0
        if level is None or leaves * leaf_bytes(level, host.page_bytes) <= _largest(host):
            return leaves, None
        return leaves, "one unmap is never of more than 1 GiB (4K pages): larger ranges are several"
    assert level is not None
    if asked.range_bytes > _largest(host):
        return 0, "one unmap is never of more than 1 GiB (4K pages): larger ranges are several"
    each = leaf_bytes(level, host.page_bytes)
    if asked.range_bytes % each:
        return 0, f"it is no whole number of leaves of {each:,} bytes"
    return asked.range_bytes // each, None


def _largest(host: Host) -> int:
    return LARGEST_BYTES[host.page_bytes]


def _freed(leaves: int, cells: Sequence[Cell], level: str | None, host: Host) -> tuple[int, int]:
    """Fewest and most tables that a range of so many leaves frees.

    All that hold it alone, where every measured unmap freed these; none, where none freed any.
    """
    entries = host.page_bytes // 8
    alone = [cell for cell in cells if cell.before.leaves]
    if level is not None:
        depth = LEVELS[level]
        if all(_whole(c.before.leaves, depth, entries) == c.before.tables for c in alone):
            return (_whole(leaves, depth, entries),) * 2
    if all(cell.before.tables == 0 for cell in alone):
        return 0, 0
    return 0, _whole(leaves, 3 if level is None else LEVELS[level], entries)


def _whole(leaves: int, depth: int, entries: int) -> int:
    """The tables of levels 2 .. *depth* that hold so many leaves and nothing else."""
    found = 0
    for _ in range(depth - 1):
        leaves = -(-leaves // entries)
        found += leaves
    return found


def _timed(asked: AskedSize, leaves: int, fitted: SizeFit, of: _Asked) -> Size:
    freed = _freed(leaves, of.cells, of.level, of.host)
    further = float(np.median([cell.location.further for cell in of.cells]))
    held = ((of.name or "leaf", float(leaves)),)
    (value, error), (least, _), (most, _) = (
        (0.0, 0.0) if one is None else one.at(Work(held, number))
        for one, number in (
            (fitted.then, sum(freed) / 2), (fitted.least, freed[0]), (fitted.most, freed[1])
        )
    )  # fmt: skip
    if value <= 0:
        return _refused(asked, "the fitted costs leave no time for it", of)
    low, high = interval_of(value, least, most, fitted.then.reach * fitted.widening, error, further)
    low = 0.0 if fitted.least is None else low
    if fitted.then.reach * error > WIDE:
        return _refused(asked, _misfit(fitted), of)
    return Size(asked, _counts(asked, leaves, round(sum(freed) / 2), of), value, low, high, None,
                of.level, freed)  # fmt: skip


def _counts(asked: AskedSize, leaves: int, freed: int, of: _Asked) -> Counts:
    range_bytes = asked.range_bytes
    if range_bytes is None and of.level is not None:
        range_bytes = leaves * leaf_bytes(of.level, of.host.page_bytes)
    known = [cell.after.cmo for cell in of.cells if cell.after.cmo is not None]
    done = {
        "leaves": leaves, "invalidate_table": freed,
        "table_put": LEAF_PUTS * leaves + TABLE_PUTS * freed,
        "cmo": leaves * bool(max(known)) if known else None,
    }  # fmt: skip
    operations = range_operations(
        range_bytes, of.host.page_bytes, of.host.kernel, lpa2=of.host.lpa2
    )
    return counts(done, of.to, of.tables, operations)

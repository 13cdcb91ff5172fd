"""Unmaps on another number of CPUs: only between numbers that were measured.

Each DSB of an invalidation waits for all CPUs, and how much longer for more of them is a matter of
the machine. With captures of at least three numbers of CPUs the time of each cell is taken to be
a line over them; beyond the least and the most nothing is said.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from traceview.errors import QueryError
from traceview.queries.moderated_noise import reach
from traceview.queries.prediction_cells import CELL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.queries.prediction import Cell

MIN_COUNTS: Final = 3


def at_cpus(cells: Sequence[Cell], wanted: int) -> tuple[Cell, ...]:
    """The *cells* on *wanted* CPUs; raises QueryError where those measured do not bear it."""
    stated = (cell.location.cell["cpus"] for cell in cells)
    counts = sorted({number for number in stated if number is not None})
    if len(counts) < MIN_COUNTS:
        said = ", ".join(map(str, counts)) if counts else "nobody states any"
        raise QueryError(
            f"--cpus {wanted} takes captures with at least {MIN_COUNTS} different numbers of CPUs"
            f" (here: {said}): each DSB waits for all CPUs, and how long for each of them is not"
            " known\nvalid: captures of the same host booted with maxcpus=, each with its number"
            " in the sidecar"
        )
    if not counts[0] <= wanted <= counts[-1]:
        raise QueryError(
            f"--cpus {wanted} lies outside of what was measured ({counts[0]} to {counts[-1]}): how"
            " the wait grows there is not known"
        )
    found = [_between(of, wanted) for of in _alike(cells) if len(of) >= MIN_COUNTS]
    if not found:
        raise QueryError(
            f"no kind of unmap was measured with {MIN_COUNTS} numbers of CPUs: nothing to draw a"
            " line through"
        )
    return tuple(found)


def _alike(cells: Sequence[Cell]) -> list[list[Cell]]:
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        key = tuple(cell.location.cell[name] for name in CELL if name != "cpus")
        if cell.location.cell["cpus"] is not None:
            groups.setdefault(key, []).append(cell)
    return list(groups.values())


def _between(cells: list[Cell], wanted: int) -> Cell:
    """The line through one kind of unmap at *wanted*."""
    x = np.array([cell.location.cell["cpus"] for cell in cells], dtype=np.float64)
    nearest = cells[int(np.argmin(np.abs(x - wanted)))]
    lines = {}
    for end in ("value", "low", "high", "least", "most"):
        y = np.array([getattr(cell.then, end) for cell in cells])
        slope, base = np.polyfit(x, y, 1)
        residual = y - base - slope * x
        lines[end] = (float(base + slope * wanted), float((residual**2).sum()))
    freedom = len(cells) - 2
    spread = np.sqrt(lines["value"][1] / freedom)
    away = (wanted - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
    half = reach(freedom) * float(spread * np.sqrt(1 + 1 / len(cells) + away))
    value = lines["value"][0]
    low, high = min(value, lines["low"][0]) - half, max(value, lines["high"][0]) + half
    then = replace(
        nearest.then, value=value, low=max(0.0, low), high=high, least=lines["least"][0],
        most=lines["most"][0], effects={},
    )  # fmt: skip
    where = replace(nearest.location, cell={**nearest.location.cell, "cpus": wanted})
    return replace(nearest, location=where, then=then)

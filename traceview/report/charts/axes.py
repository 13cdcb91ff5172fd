"""Axes of times and counts: where they end, where they have ticks, how these are written.

The expressions below are constants: no text of a trace ever becomes part of one.
"""

from __future__ import annotations

from math import ceil, floor, log2, log10
from typing import TYPE_CHECKING, Any, Final

import altair as alt

if TYPE_CHECKING:
    from collections.abc import Iterable

# As report.wording.duration writes them: ns, us, ms, s.
TIME_LABELS: Final = (
    "datum.value == 0 ? '0' : abs(datum.value) >= 1e9 ? format(datum.value / 1e9, '~g') + ' s'"
    " : abs(datum.value) >= 1e6 ? format(datum.value / 1e6, '~g') + ' ms'"
    " : abs(datum.value) >= 1e3 ? format(datum.value / 1e3, '~g') + ' us'"
    " : format(datum.value, '~g') + ' ns'"
)
MOST_TICKS: Final = 8
# Multiples of powers of ten, the finest that is not too many.
STEPS: Final = (
    tuple(tenths / 10 for tenths in range(10, 100)),
    tuple(tenths / 10 for tenths in range(10, 100, 2)),
    (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,),
)  # fmt: skip
LEAST_SPAN: Final = 2.0
MARGIN: Final = 1.15
OF_SPAN: Final = 0.04  # of what a logarithmic axis spans, on either side


def log_ends(values: Iterable[float]) -> tuple[float, float]:
    """The ends of a logarithmic axis for *values*, which are above 0."""
    known = list(values)
    low, high = min(known), max(known)
    margin = max(MARGIN, (high / low) ** OF_SPAN)
    low, high = low / margin, high * margin
    widen = (LEAST_SPAN / (high / low)) ** 0.5
    return (low / widen, high * widen) if widen > 1 else (low, high)


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between *low* and *high*, not too many."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    inside: list[float] = []
    for steps in STEPS:
        ticks = [float(f"{step * 10.0**power:.6g}") for power in powers for step in steps]
        inside = [tick for tick in ticks if low <= tick <= high]
        if len(inside) <= MOST_TICKS:
            return inside
    return inside[:: ceil(len(inside) / MOST_TICKS)]


def power_ticks(low: float, high: float) -> list[float]:
    """Powers of two between *low* and *high*, every second, third, ... where these are many."""
    powers = range(max(0, ceil(log2(low))), floor(log2(high)) + 1)
    every = max(1, ceil(len(powers) / MOST_TICKS))
    first = powers.start + (-powers.start) % every
    return [2.0**power for power in powers if power >= first and (power - first) % every == 0]


def log_scale(values: Iterable[float], **more: Any) -> tuple[alt.Scale, list[float]]:
    """A logarithmic scale for *values*, and its ticks."""
    low, high = log_ends(values)
    return alt.Scale(type="log", domain=[low, high], nice=False, **more), log_ticks(low, high)


def log_times(field: str, title: str, values: Iterable[float]) -> dict[str, Any]:
    """What `alt.X` and `alt.Y` take for times on a logarithmic axis."""
    scale, ticks = log_scale(values)
    axis = alt.Axis(title=title, values=ticks, labelExpr=TIME_LABELS)
    return {"shorthand": f"{field}:Q", "scale": scale, "axis": axis}


def times(field: str, title: str, low: float, high: float) -> dict[str, Any]:
    """The same for times on a straight axis."""
    axis = alt.Axis(title=title, labelExpr=TIME_LABELS, tickCount=6)
    scale = alt.Scale(domain=[low, high], nice=False, zero=False)
    return {"shorthand": f"{field}:Q", "scale": scale, "axis": axis}


def log_leaves(
    field: str, title: str, values: Iterable[float], sizes: Iterable[float] | None = None
) -> dict[str, Any]:
    """The same for numbers of leaves: with ticks at the *sizes* if few, else at powers of two."""
    known = list(values)
    low, high = log_ends(known)
    few = sorted(set(known if sizes is None else sizes))
    ticks = few if len(few) <= MOST_TICKS else power_ticks(low, high)
    axis = alt.Axis(title=title, values=ticks, format=",")
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    return {"shorthand": f"{field}:Q", "scale": scale, "axis": axis}

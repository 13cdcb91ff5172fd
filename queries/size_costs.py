"""The costs of measured unmaps, and how well they predict sizes that they were not fitted to.

Each number of leaves is left out in turn, and predicted by costs that are fitted to the others. How
far beyond the largest size a prediction may go is what the sizes themselves show: costs fitted to
the smaller ones alone predict the larger ones, and as far as that succeeds it is trusted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.queries.stated_spread import ENOUGH
from traceview.queries.unmap_costs import Fit, Work, fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.queries.prediction import Cell

LEVELS: Final = {"l1": 1, "l2": 2, "l3": 3}
# A size that was left out counts as predicted if it is so near, and in its interval.
NEAR: Final = 0.15
# An interval wider than this, relative, shows nothing by holding what was measured.
WIDE: Final = 0.5
# Below this, an exact interval of a machine without noise would be one of rounding.
LEAST: Final = 1e-4


@dataclass(frozen=True, slots=True)
class Held:
    """One size that was predicted from others: `measured` and `value` (ns), its interval.

    `factor`: how many times the leaves of the largest size that the costs were fitted to.
    """

    leaves: float
    measured: float
    value: float
    low: float
    high: float
    factor: float

    @property
    def covered(self) -> bool:
        """Whether the interval holds what was measured."""
        return self.low <= self.measured <= self.high

    @property
    def off(self) -> float:
        """Relative to what was measured."""
        return self.value / self.measured - 1

    @property
    def half_width(self) -> float:
        """Of the interval, relative to the value."""
        return (self.high - self.low) / 2 / self.value if self.value > 0 else float("inf")


@dataclass(frozen=True, slots=True)
class SizeFit:
    """`now` fits what was measured, `then` what is predicted (`least`, `most`: its corners).

    `left_out`: each size predicted from the others; `beyond`: larger ones from smaller ones;
    `trust`: how many times the leaves of the largest size may be predicted; `widening`: how much
    wider intervals of other sizes are than the fit states, so that they hold what was left out.
    """

    now: Fit
    then: Fit
    least: Fit | None
    most: Fit | None
    left_out: tuple[Held, ...]
    beyond: tuple[Held, ...]
    trust: float
    smallest: float
    largest: float
    widening: float


def work_of(cell: Cell) -> Work:
    """What the unmaps of a cell hold."""
    where = cell.location.cell
    level, leaves = where["level"], float(cell.before.leaves)
    name = level if level in LEVELS else "leaf"
    return Work(((name, leaves),) if leaves else (), float(cell.before.tables))


def fitted_costs(cells: Sequence[Cell]) -> SizeFit | str:
    """The costs of *cells*, or why there are none."""
    works = [work_of(cell) for cell in cells]
    now = _fit(works, [cell.location.ns for cell in cells], [c.location.error for c in cells])
    then = _fit(works, [cell.then.value for cell in cells], [c.then.error for c in cells])
    if now is not None and then is None:
        return (
            "of some sizes what is predicted may be nothing: no costs are fitted, and other sizes"
            " not predicted"
        )
    if now is None or then is None:
        different = len({work.total for work in works if work.total})
        said = "1 number of leaves does" if different == 1 else f"{different} numbers of leaves do"
        return (
            f"{said} not tell a cost per leaf from a base: it takes three at least, of a time that"
            " is more than the calls in it"
        )
    ends = [
        _fit(works, [getattr(cell.then, end) for cell in cells], [c.then.error for c in cells])
        for end in ("least", "most")
    ]
    left_out, beyond = _leave_one_out(cells, works), _beyond(cells, works)
    sizes = sorted(work.total for work in works if work.total)
    return SizeFit(now, then, ends[0], ends[1], left_out, beyond, _trust(beyond), sizes[0],
                   sizes[-1], _widening(left_out))  # fmt: skip


def _fit(works: Sequence[Work], times: Sequence[float], errors: Sequence[float]) -> Fit | None:
    variances = np.minimum(np.array(errors, dtype=np.float64), 10.0) ** 2
    return fit(works, np.array(times, dtype=np.float64), variances)


def _leave_one_out(cells: Sequence[Cell], works: Sequence[Work]) -> tuple[Held, ...]:
    """Each size predicted from all others; unmaps of as many leaves go together."""
    found = []
    for at, work in enumerate(works):
        others = [n for n, other in enumerate(works) if other.total != work.total]
        held = _held(cells, works, others, at)
        found += [] if held is None or not work.total else [held]
    return tuple(found)


def _beyond(cells: Sequence[Cell], works: Sequence[Work]) -> tuple[Held, ...]:
    """All larger sizes predicted from the smaller ones, for each size as the largest."""
    found = []
    for most in sorted({work.total for work in works if work.total}):
        smaller = [n for n, work in enumerate(works) if work.total <= most]
        for at, work in enumerate(works):
            held = _held(cells, works, smaller, at) if work.total > most else None
            found += [] if held is None else [held]
    return tuple(found)


def _held(
    cells: Sequence[Cell], works: Sequence[Work], others: Sequence[int], at: int
) -> Held | None:
    """Cell *at* as the cells *others* predict it, of what was measured."""
    names = {name for n in others for name, number in works[n].leaves if number}
    if not {name for name, number in works[at].leaves if number} <= names:
        return None
    found = _fit([works[n] for n in others], [cells[n].location.ns for n in others],
                 [cells[n].location.error for n in others])  # fmt: skip
    if found is None or found.cells - len(found.names) < 1:
        return None
    value, error = found.at(works[at])
    if value <= 0:
        return None
    own = cells[at].location
    low, high = interval_of(value, value, value, found.reach, error, own.further)
    largest = max(works[n].total for n in others)
    return Held(works[at].total, own.ns, value, low, high, works[at].total / largest)


def interval_of(
    value: float, least: float, most: float, reach: float, error: float, further: float
) -> tuple[float, float]:
    """On the log scale, where an error may be more than the whole."""
    half = min(50.0, max(LEAST, reach * float(np.hypot(error, further))))
    return min(value, least) * float(np.exp(-half)), max(value, most) * float(np.exp(half))


def _widening(left_out: Sequence[Held]) -> float:
    """1 where enough of the sizes left out lie in their interval, else what holds all of them."""
    covered = sum(one.covered for one in left_out)
    if covered >= ENOUGH * len(left_out):
        return 1.0
    return max(
        abs(float(np.log(one.measured / one.value) / np.log(one.high / one.value)))
        for one in left_out
    )


def _trust(beyond: Sequence[Held]) -> float:
    """The largest factor up to which every larger size was predicted."""
    trusted = 1.0
    beyond = [one for one in beyond if one.half_width <= WIDE]
    for factor in sorted({one.factor for one in beyond}):
        if not all(one.covered and abs(one.off) <= NEAR for one in beyond if one.factor <= factor):
            break
        trusted = factor
    return trusted

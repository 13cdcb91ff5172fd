"""Where in the distribution two sides differ: the deciles of the unmaps of one size, side by side.

The shift function (Doksum 1974; Wilcox, "Comparing two independent groups via multiple
quantiles", The Statistician 44, 1995; Rousselet, Pernet and Wilcox 2017), with runs as the
replicates: deciles are taken inside each run (Hyndman and Fan's type 8, which is nearly unbiased
for the median whatever the distribution), and each run has one vote in their mean over runs.
Pooling all unmaps would weigh runs by their number of unmaps and would make a slow run look like
a slow tail of every run.

A decile is thereby one estimate per run, so its interval is that of run_intervals.py. A bootstrap
over runs, the usual way, covers less: simulations/README.md has both. Each interval speaks of its
own decile; `adjusted_p` (Holm) of all of them. Intervals are given when every run has FEWEST_UNMAPS
and every side FEWEST runs, otherwise values alone.

A clock's quantum makes deciles equal; `tied` says how many of the unmaps share their duration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.errors import QueryError
from traceview.queries.recording_plan import FEWEST
from traceview.queries.run_intervals import (
    NO_QUANTUM,
    Interval,
    holm,
    paired_difference,
    paired_ratio,
    welch_difference,
    welch_ratio,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

QUANTILES: Final = tuple(tenths / 10 for tenths in range(1, 10))
FEWEST_UNMAPS: Final = 20


@dataclass(frozen=True, slots=True)
class QuantileShift:
    """One quantile: its mean over the runs of each side, and what they differ by.

    `ratio` (base / with, of geometric means) is None where a run has a quantile of 0.
    `adjusted_p` is that of the ratio, of the difference where there is none.
    """

    quantile: float
    base: float
    with_: float
    ratio: Interval | None
    difference: Interval
    adjusted_p: float | None = None


@dataclass(frozen=True, slots=True)
class Shift:
    """All quantiles. `descriptive` says why there are no intervals, None where there are.

    `tied` is the largest share of the unmaps of a run that have one and the same duration.
    """

    quantiles: tuple[QuantileShift, ...]
    descriptive: str | None
    base_unmaps: int
    with_unmaps: int
    tied: float


def quantile_shift(
    base: Sequence[ArrayLike],
    with_: Sequence[ArrayLike],
    *,
    paired: bool = False,
    quantum: tuple[float, float] = NO_QUANTUM,
    quantiles: Sequence[float] = QUANTILES,
) -> Shift:
    """Compare durations (any unit) of unmaps of one size: one array per run and side.

    With *paired*, base[i] and with_[i] were recorded together. Raises QueryError when a side has
    no run, a run no unmap or a duration that is no number, and when paired sides differ in length.
    """
    sides = [[_unmaps(run) for run in side] for side in (base, with_)]
    descriptive = _descriptive(sides)
    deciles = [_quantiles(side, quantiles) for side in sides]
    shifts = []
    for at, one in enumerate(quantiles):
        pair = (deciles[0][:, at], deciles[1][:, at])
        shifts.append(_shift(one, pair, quantum, paired=paired))
    if descriptive is not None:
        shifts = [_values_alone(one, descriptive) for one in shifts]
    tested = [(one.ratio or one.difference).p_value for one in shifts]
    shifts = [replace(one, adjusted_p=p) for one, p in zip(shifts, holm(tested), strict=True)]
    counts = [sum(len(run) for run in side) for side in sides]
    tied = max(_tied(run) for side in sides for run in side)
    return Shift(tuple(shifts), descriptive, counts[0], counts[1], tied)


def _unmaps(durations: ArrayLike) -> NDArray[np.float64]:
    run = np.asarray(durations, dtype=np.float64)
    if run.ndim != 1 or not run.size or not np.isfinite(run).all():
        raise QueryError("a run without unmaps, or with a duration that is no number")
    return run


def _descriptive(sides: Sequence[Sequence[NDArray[np.float64]]]) -> str | None:
    runs = min(len(side) for side in sides)
    if not runs:
        raise QueryError("a side without runs cannot be compared")
    unmaps = min(len(run) for side in sides for run in side)
    if runs < FEWEST:
        return f"{runs} {'run' if runs == 1 else 'runs'} on a side, intervals want {FEWEST}"
    if unmaps < FEWEST_UNMAPS:
        return f"a run has {unmaps} unmaps of this size, intervals want {FEWEST_UNMAPS}"
    return None


def _quantiles(
    runs: Sequence[NDArray[np.float64]], quantiles: Sequence[float]
) -> NDArray[np.float64]:
    """A row per run."""
    return np.array([np.quantile(run, quantiles, method="median_unbiased") for run in runs])


def _shift(
    quantile: float,
    sides: tuple[NDArray[np.float64], NDArray[np.float64]],
    quantum: tuple[float, float],
    *,
    paired: bool,
) -> QuantileShift:
    difference = (paired_difference if paired else welch_difference)(*sides, quantum=quantum)
    ratio = None
    if min(side.min() for side in sides) > 0:
        ratio = (paired_ratio if paired else welch_ratio)(*sides, quantum=quantum)
    means = [float(side.mean()) for side in sides]
    return QuantileShift(quantile, means[0], means[1], ratio, difference)


def _values_alone(shift: QuantileShift, why: str) -> QuantileShift:
    ratio = None if shift.ratio is None else shift.ratio.value_alone(why)
    return replace(shift, ratio=ratio, difference=shift.difference.value_alone(why))


def _tied(run: NDArray[np.float64]) -> float:
    """The share of the most frequent duration; 0 where all differ."""
    most = int(np.unique(run, return_counts=True)[1].max())
    return most / len(run) if most > 1 else 0.0

"""Whether values lie as near to each other as their spread states, and else by how much not.

The interval of a typical time rests on the spread of few values (moderated_noise.py). Where most
of them are alike and some are a hundred times as long (a host that is preempted), half of the few
may hold none of the long ones, and knows nothing of them. What the values themselves show of that:
of each group a part predicts the rest, as the whole is to predict further ones. If fewer than
ENOUGH of these lie in their interval, `widening` is what brings 95% of them into it; if not, 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from statistics import fmean
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.queries.moderated_noise import (
    CONFIDENCE,
    median_factor,
    moderated,
    reach,
    variances_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from traceview.queries.moderated_noise import Noise

    Floats = NDArray[np.float64]

ENOUGH: Final = 0.9
SEED: Final = 20230414
SPLITS: Final = 20
# A half of fewer is no half.
IN_HALF: Final = 2
MOST: Final = 1e6


@dataclass(frozen=True, slots=True)
class Halves:
    """The values of one group in two halves, by run."""

    one: list[Floats]
    other: list[Floats]

    @property
    def value(self) -> float:
        """The typical time of the first half."""
        return typical(self.one)

    @property
    def truth(self) -> float:
        """That of the second."""
        return typical(self.other)

    def factor(self, halves: Sequence[list[Floats]]) -> float:
        """The variance of the typical time of *halves*, of 1 for one value."""
        each = [median_factor(of.size) for half in halves for of in half]
        return sum(each) / len(self.one) ** 2


@dataclass(frozen=True, slots=True)
class Spread:
    """Of the values of one group within a run: variance of the logarithm, and its freedom.

    `tick`: half a step of the clock, relative, where the noise is too small to average it out.
    """

    variance: float
    freedom: float
    tick: float

    @property
    def reach(self) -> float:
        """How many standard errors an interval is wide to each side."""
        return reach(self.freedom)


def typical(runs: Sequence[Floats]) -> float:
    """The median of a run, and over runs the geometric mean of those."""
    return exp(fmean(log(_median(of)) for of in runs))


def _median(values: Floats) -> float:
    """As np.median, which takes ten times as long for a few values."""
    ordered = np.sort(values)
    middle = ordered.size // 2
    if ordered.size % 2:
        return float(ordered[middle])
    return float(ordered[middle - 1] + ordered[middle]) / 2


def split(runs: Sequence[Floats], random: Generator) -> Halves:
    """The values of each run in two halves at random."""
    mixed = [random.permutation(of) for of in runs]
    return Halves([of[: of.size // 2] for of in mixed], [of[of.size // 2 :] for of in mixed])


def spreads(noise: Noise, ticks: Floats, widening: float) -> list[Spread]:
    """*noise*, each as wide as the values show it to be."""
    return [
        Spread(widening**2 * variance, freedom, tick / 2 if variance < tick**2 / 4 else 0.0)
        for variance, freedom, tick in zip(
            noise.variance.tolist(), noise.freedom.tolist(), ticks.tolist(), strict=True
        )
    ]


def spreads_of(groups: Sequence[Sequence[Floats]], step_ns: float, splits: int) -> list[Spread]:
    """Of each group the spread within its runs; *splits*: tried to see whether that is all."""
    random = np.random.default_rng(SEED)
    kept = [runs for of in groups if (runs := [run for run in of if run.size >= 2 * IN_HALF])]
    tried = ([split(runs, random) for runs in kept] for _ in range(splits if kept else 0))
    return _within(groups, step_ns, _widening(_distances(halves, step_ns) for halves in tried))


def _within(groups: Sequence[Sequence[Floats]], step_ns: float, widening: float) -> list[Spread]:
    ticks = step_ns / np.array([typical(runs) for runs in groups])
    freedom = np.array([sum(run.size - 1.0 for run in runs) for runs in groups])
    sums = [
        sum((run.size - 1) * v for run, v in zip(runs, variances_of(runs), strict=True))
        for runs in groups
    ]
    noise = moderated(np.array(sums) / np.maximum(freedom, 1.0), freedom, ticks**2 / 12)
    return spreads(noise, ticks, widening)


def _distances(halves: Sequence[Halves], step_ns: float) -> Floats:
    """How far the second halves are from the first, in half-widths of what these state."""
    found = []
    for of, spread in zip(halves, _within([of.one for of in halves], step_ns, 1.0), strict=True):
        error = float(np.sqrt(spread.variance * of.factor([of.one, of.other])))
        value = of.value
        found.append((abs(log(of.truth / value)), spread.reach * error + spread.tick, value))
    apart, stated, values = np.array(found).T
    ticks = step_ns / values
    # What is nearer than a step of the clock is equal.
    return np.where(apart <= ticks, 0.0, apart / np.maximum(stated, 1e-12))


def _widening(found: Iterable[Floats]) -> float:
    """What brings 95% of the distances into their intervals, where too few lie in them."""
    parts = list(found)
    distances = np.concatenate(parts) if parts else np.zeros(1)
    if float((distances <= 1).mean()) >= ENOUGH:
        return 1.0
    return min(MOST, max(1.0, float(np.quantile(distances, CONFIDENCE))))

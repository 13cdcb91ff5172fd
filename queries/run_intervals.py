"""Intervals over runs: one estimate per run and side, nothing else is a replicate.

A run is a boot or a VM. What is measured inside it shares its state, so a million leaves of one
run are one estimate. `base` and `with_` hold those estimates, one per run, and a ratio is
base / with: above 1, `with` is faster. Ratios are taken on the log scale, so they speak of
geometric means over runs; differences are of plain means, in the unit of the estimates.

The methods: Welch's t with Satterthwaite's degrees of freedom (Welch 1938, 1947; Satterthwaite
1946), Student's t on the differences of pairs, Holm's step-down adjustment (Holm 1979). Where one
side has more than UNEQUAL times the runs of the other, the degrees of freedom are those of the
smaller side: with skewed noise Welch's interval covers too little then. Noise that both sides
share in kind cancels out of a ratio but not out of a difference, so a difference also gets the
interval of Hall's transformation, which removes skewness (Hall, J. R. Statist. Soc. B 54, 1992;
for two samples Zhou and Dinh, Biostatistics 6, 2005), and the outer ends of both are taken.
simulations/README.md shows what all of them cover, and where five runs are too few.

The clock's quantum: a run's estimate is usually a median of times that are multiples of the
quantum, and lies within half of it of what a finer clock would give. While the runs of a side
spread over less than half a quantum (standard deviation), they share that error and no number of
runs averages it out: half a quantum is then added to the interval, for each side. Where runs
spread further, their rounding errors differ and average out: for normal noise, about
quantum * exp(-2 (pi sd / quantum)^2) / pi is left (Sheppard's corrections rest on the same), 0.2%
of the quantum at an sd of half of it. No standard deviation is taken to be smaller than that of
rounding, quantum / sqrt(12).

Nothing here knows whether an interval may be used for inference: see recording_plan.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import copysign, exp, inf, log, log1p, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

from traceview.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

CONFIDENCE: Final = 0.95
NO_QUANTUM: Final = (0.0, 0.0)
UNEQUAL: Final = 2
LARGEST: Final = 700.0  # exp() of more is no longer a float
TINY: Final = 1e-6  # a skewness that moves nothing


@dataclass(frozen=True, slots=True)
class Interval:
    """A ratio (base / with) or a difference (base - with) over runs, and its interval.

    `low`, `high`, `p_value` (two-sided, that the ratio is 1 or the difference 0) and
    `degrees_of_freedom` are None where none can be given: one run on a side, or runs that do not
    differ at all under a clock of unknown quantum; `method` then says why. `undecided` is what
    the quantum added on each end, relative for a ratio, in the unit of the estimates for a
    difference; 0 where it added nothing. Paired: both numbers of runs are that of the pairs.
    """

    value: float
    low: float | None
    high: float | None
    p_value: float | None
    degrees_of_freedom: float | None
    base_runs: int
    with_runs: int
    method: str
    undecided: float = 0.0

    def value_alone(self, why: str) -> Interval:
        """The same without an interval; *why* takes the place of the method."""
        return Interval(
            self.value, None, None, None, None, self.base_runs, self.with_runs, why
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of one side on a scale: `tick` is the quantum there and `half` half of it."""

    values: NDArray[np.float64]
    tick: float
    half: float
    scale: str

    @property
    def variance(self) -> float | None:
        """None with one run; at least that of rounding."""
        return _variance(self.values, self.tick)

    @property
    def undecided(self) -> float:
        """Half a quantum while the runs spread over less than that."""
        resolved = len(self.values) > 1 and float(self.values.std(ddof=1)) >= self.tick / 2
        return 0.0 if resolved else self.half

    @property
    def third_cumulant(self) -> float:
        """Of the mean of the runs, 0 where logarithms or too few runs leave skewness aside."""
        return 0.0 if self.scale else _third_cumulant(self.values)


@dataclass(frozen=True, slots=True)
class Spread:
    """What an interval is made of: the variances of its sides (one: of pairs) and their runs.

    `third_cumulant` is that of the estimate.
    """

    variances: tuple[float, ...]
    runs: tuple[int, ...]
    undecided: float
    third_cumulant: float

    def error(self, runs: tuple[int, ...]) -> float:
        """The standard error with that many runs."""
        return sqrt(sum(one / many for one, many in zip(self.variances, runs, strict=True)))

    def freedom(self, runs: tuple[int, ...]) -> float:
        """Satterthwaite's degrees of freedom with that many runs; n - 1 for pairs."""
        if max(runs) > UNEQUAL * min(runs):
            return min(runs) - 1
        parts = [(one / many, many) for one, many in zip(self.variances, runs, strict=True)]
        return self.error(runs) ** 4 / sum(one * one / (many - 1) for one, many in parts)


def welch_ratio(
    base: ArrayLike,
    with_: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    quantum: tuple[float, float] = NO_QUANTUM,
) -> Interval:
    """The ratio of two independent sets of runs. *quantum* per side, in the unit of the runs.

    Raises QueryError when a side is empty or has an estimate that is not positive.
    """
    sides = both_sides(log_runs, base, with_, quantum)
    return _as_ratio(_interval(*sides, confidence, paired=False))


def welch_difference(
    base: ArrayLike,
    with_: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    quantum: tuple[float, float] = NO_QUANTUM,
) -> Interval:
    """The difference of two independent sets of runs; estimates may be zero or negative.

    Raises QueryError when a side is empty or has an estimate that is not finite.
    """
    sides = both_sides(linear_runs, base, with_, quantum)
    return _interval(*sides, confidence, paired=False)


def paired_ratio(
    base: ArrayLike,
    with_: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    quantum: tuple[float, float] = NO_QUANTUM,
) -> Interval:
    """The ratio over pairs: base[i] and with_[i] were recorded together.

    Raises QueryError when the sides differ in length, and as welch_ratio does.
    """
    sides = both_sides(log_runs, base, with_, quantum)
    return _as_ratio(_interval(*sides, confidence, paired=True))


def paired_difference(
    base: ArrayLike,
    with_: ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    quantum: tuple[float, float] = NO_QUANTUM,
) -> Interval:
    """The difference over pairs; raises QueryError as paired_ratio and welch_difference do."""
    sides = both_sides(linear_runs, base, with_, quantum)
    return _interval(*sides, confidence, paired=True)


def joined_ratio(
    ratio: Interval, least: float | None, most: float | None, *, confidence: float = CONFIDENCE
) -> Interval:
    """*ratio* with a second, independent error: the ends between which that alone would move it.

    For what was taken out of both sides and is itself an estimate with an interval of the same
    *confidence*, as the cost of tracing is. The distances are added in quadrature on the log scale
    (Zou and Donner, Statist. Med. 27, 2008). Where an end is None (all that was measured may be
    that cost), the interval is open on that end. Returned as it is when it has no interval.
    """
    if ratio.low is None or ratio.high is None or ratio.degrees_of_freedom is None:
        return ratio
    down = _joined(_log_ratio(ratio.value, ratio.low), _log_ratio(ratio.value, least or 0.0))
    up = _joined(_log_ratio(ratio.high, ratio.value), _log_ratio(most or inf, ratio.value))
    towards = down if ratio.value > 1 else up
    away = abs(log(ratio.value))
    return replace(
        ratio,
        low=ratio.value * exp(-down),
        high=ratio.value * exponential(up),
        p_value=_p_value(away, towards, ratio.degrees_of_freedom, confidence),
        method=f"{ratio.method}, joined with the cost's interval",
    )


def joined_difference(
    difference: Interval, least: float | None, most: float | None, *,
    confidence: float = CONFIDENCE,
) -> Interval:  # fmt: skip
    """The same of a *difference*, with distances on the linear scale.

    Without both ends nothing is known of the second error, and no interval is given.
    """
    if difference.low is None or difference.high is None or difference.degrees_of_freedom is None:
        return difference
    if least is None or most is None:
        return difference.value_alone("the error of the cost of tracing is not known: no interval")
    down = _joined(difference.value - difference.low, difference.value - least)
    up = _joined(difference.high - difference.value, most - difference.value)
    towards = down if difference.value > 0 else up
    away = abs(difference.value)
    return replace(
        difference,
        low=difference.value - down,
        high=difference.value + up,
        p_value=_p_value(away, towards, difference.degrees_of_freedom, confidence),
        method=f"{difference.method}, joined with the cost's interval",
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """*p_values* adjusted for their number; None stays None and is not counted."""
    known = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, at) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        adjusted[at] = least
    return adjusted


def linear_runs(estimates: ArrayLike, quantum: float) -> Runs:
    """The estimates as they are; raises QueryError when there is none or one is not finite."""
    runs = np.asarray(estimates, dtype=np.float64)
    if runs.ndim != 1 or not runs.size:
        raise QueryError("a side without runs cannot be compared")
    bad = int(np.count_nonzero(~np.isfinite(runs)))
    if bad:
        raise QueryError(f"{bad} of {len(runs)} runs have no finite estimate")
    return Runs(runs, quantum, quantum / 2, "")


def log_runs(estimates: ArrayLike, quantum: float) -> Runs:
    """Their logarithms; raises QueryError when one is not positive."""
    runs = linear_runs(estimates, quantum).values
    bad = int(np.count_nonzero(runs <= 0))
    if bad:
        raise QueryError(f"{bad} of {len(runs)} runs have no positive estimate, so no ratio")
    logs = np.log(runs)
    tick = quantum / exp(float(logs.mean()))
    # log(1 - h) is further from 0 than log(1 + h): taken both ways, so conservative.
    return Runs(logs, tick, -log1p(-tick / 2) if tick < 2 else inf, ", log scale")


def both_sides(
    scale: Callable[[ArrayLike, float], Runs],
    base: ArrayLike,
    with_: ArrayLike,
    quantum: tuple[float, float],
) -> tuple[Runs, Runs]:
    """Both sides on one *scale*, linear_runs or log_runs."""
    return scale(base, quantum[0]), scale(with_, quantum[1])


def _variance(values: NDArray[np.float64], tick: float) -> float | None:
    """At least that of rounding; exactly 0 for equal values, which a float's mean would blur."""
    if len(values) < 2:
        return None
    seen = float(values.var(ddof=1)) if np.ptp(values) else 0.0
    return max(seen, tick * tick / 12)


def spread_of(base: Runs, with_: Runs, *, paired: bool) -> Spread | None:
    """None where there is none: one run on a side, or runs that do not differ at all."""
    undecided = base.undecided + with_.undecided
    runs: tuple[int, ...] = (len(base.values), len(with_.values))
    if paired:
        if runs[0] != runs[1]:
            raise QueryError(f"not pairs: {runs[0]} runs against {runs[1]}")
        tick = float(np.hypot(base.tick, with_.tick))
        apart = replace(base, values=base.values - with_.values)
        variances = [_variance(apart.values, tick)]
        third_cumulant = apart.third_cumulant
        runs = runs[:1]
    else:
        variances = [base.variance, with_.variance]
        third_cumulant = base.third_cumulant - with_.third_cumulant
    known = tuple(one for one in variances if one is not None)
    if len(known) < len(variances) or not sum(known):
        return None
    return Spread(known, runs, undecided, third_cumulant)


def _interval(base: Runs, with_: Runs, confidence: float, *, paired: bool) -> Interval:
    """The interval and the p-value that belongs to it: what the quantum hides is no evidence."""
    value = float(base.values.mean() - with_.values.mean())
    runs = (len(base.values), len(with_.values))
    seen = spread_of(base, with_, paired=paired)
    if seen is None:
        why = "runs that do not differ, on a clock of unknown quantum: no interval"
        why = "one run on a side: no interval" if min(runs) < 2 else why
        return Interval(value, None, None, None, None, *runs, why)
    error, freedom = seen.error(seen.runs), seen.freedom(seen.runs)
    skewness = seen.third_cumulant / error**3
    reach = float(special.stdtrit(freedom, (1 + confidence) / 2))
    low = value - error * max(reach, _unskewed(reach, skewness)) - seen.undecided
    high = value - error * min(-reach, _unskewed(-reach, skewness)) + seen.undecided
    beyond = copysign(max(0.0, abs(value) - seen.undecided) / error, value)
    least = min(abs(beyond), abs(_skewed(beyond, skewness)))
    p_value = 2 * float(special.stdtr(freedom, -least))
    method = ("paired t" if paired else "Welch's t") + base.scale
    method += ", widened for skewness" if abs(skewness) >= TINY else ""
    method += ", widened by the clock's quantum" if seen.undecided else ""
    return Interval(value, low, high, p_value, freedom, *runs, method, seen.undecided)


def _third_cumulant(values: NDArray[np.float64]) -> float:
    """Of the mean of *values*, from the unbiased estimate; 0 with fewer than three."""
    many = len(values)
    if many < 3:
        return 0.0
    cubes = float(np.sum((values - values.mean()) ** 3))
    return cubes * many / ((many - 1) * (many - 2)) / many**2


def _skewed(moved: float, skewness: float) -> float:
    """Hall's transformation of a t statistic."""
    bent = skewness * moved
    return moved + bent * moved / 3 + bent * bent * moved / 27 + skewness / 6


def _unskewed(moved: float, skewness: float) -> float:
    """Its inverse."""
    if abs(skewness) < TINY:
        return moved
    return 3 / skewness * (float(np.cbrt(1 + skewness * (moved - skewness / 6))) - 1)


def _as_ratio(logs: Interval) -> Interval:
    return replace(
        logs,
        value=exponential(logs.value),
        low=None if logs.low is None else exponential(logs.low),
        high=None if logs.high is None else exponential(logs.high),
        undecided=exponential(logs.undecided) - 1,
    )


def _log_ratio(larger: float, smaller: float) -> float:
    return log(larger / smaller) if smaller > 0 and larger < inf else inf


def _p_value(away: float, half: float, freedom: float, confidence: float) -> float:
    """Of an estimate that far *away* from no effect, whose interval reaches *half* towards it."""
    reach = float(special.stdtrit(freedom, (1 + confidence) / 2))
    moved = reach * away / half if half else inf
    return 2 * float(special.stdtr(freedom, -moved))


def _joined(one: float, other: float) -> float:
    return sqrt(one * one + max(0.0, other) ** 2)


def exponential(power: float) -> float:
    """The exponential function; infinite where the result is no float."""
    return exp(power) if power < LARGEST else inf

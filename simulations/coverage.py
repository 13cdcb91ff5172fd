"""How often the intervals of `traceview compare` contain the truth.

A trial makes the runs of both sides from a generator of its own and says whether the interval held
the truth, and how wide it was, relative to the truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from simulations import rival_intervals
from simulations.synthetic_runs import BASE_NS, NOISES, RATIO, WITH_NS, estimates, unmaps
from traceview.queries.quantile_shift import quantile_shift
from traceview.queries.relative_line import relative_line
from traceview.queries.run_intervals import (
    Interval,
    paired_difference,
    paired_ratio,
    welch_difference,
    welch_ratio,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Trial = Callable[[Generator], tuple[bool, float]]
    Trials = Callable[[Generator], list[tuple[bool, float]]]

ENOUGH: Final = 0.93
SEED: Final = 20230811
UNMAPS: Final = 21
FEW_TO_MANY: Final = (4, 200)
LEAVES: Final = 2.0 ** np.arange(0, 11, 2)
INTERCEPT_NS: Final = 2600.0
MANY: Final = 400_000


@dataclass(frozen=True, slots=True)
class Covered:
    """The share of trials whose interval held the truth, and the median width."""

    share: float
    width: float

    @property
    def holds(self) -> bool:
        """Whether that is as often as is asked for."""
        return self.share >= ENOUGH


def covered(trial: Trial, trials: int) -> Covered:
    """Repeat *trial*, each time with a generator of its own."""
    return covered_each(lambda made: [trial(made)], trials)[0]


def covered_each(trial: Trials, trials: int) -> list[Covered]:
    """The same for a trial of several intervals."""
    found = [trial(np.random.default_rng((SEED, at))) for at in range(trials)]
    each = [zip(*one, strict=True) for one in zip(*found, strict=True)]
    return [
        Covered(float(np.mean(hits)), float(np.nanmedian(widths))) for hits, widths in each
    ]  # fmt: skip


def held(interval: Interval | tuple[float, float], truth: float) -> tuple[bool, float]:
    """Whether *interval* holds the *truth*, and its width relative to it; none holds nothing."""
    low, high = (interval.low, interval.high) if isinstance(interval, Interval) else interval
    if low is None or high is None:
        return False, np.nan
    return low <= truth <= high, (high - low) / abs(truth)


def one_side(
    made: Generator,
    truth_ns: float,
    noise: str | None,
    runs: int,
    many: tuple[int, int] = (UNMAPS, UNMAPS),
) -> Floats:
    """The estimates of the runs of a side. *many*: the fewest and the most unmaps of a run."""
    factors = np.ones(runs) if noise is None else NOISES[noise](made, runs)
    if many[0] == many[1]:
        return estimates(made, truth_ns * factors, many[0])
    return estimates(made, truth_ns * factors, made.integers(*many, runs, endpoint=True).tolist())


@cache
def expected(noise: str | None) -> tuple[float, float]:
    """The mean of a run's estimate for a truth of 1, and that of its logarithm."""
    made = np.random.default_rng(SEED)
    runs = np.concatenate([one_side(made, 1.0, noise, MANY // 10) for _ in range(10)])
    return float(runs.mean()), float(np.log(runs).mean())


def ratio(noise: str, runs: tuple[int, int], many: tuple[int, int] = (UNMAPS, UNMAPS)) -> Trial:
    """The ratio of one size."""

    def trial(made: Generator) -> tuple[bool, float]:
        base = one_side(made, BASE_NS, noise, runs[0], many)
        return held(welch_ratio(base, one_side(made, WITH_NS, noise, runs[1], many)), RATIO)

    return trial


def noisy_base(noise: str, runs: int) -> Trial:
    """The ratio where only the base is disturbed, so that nothing cancels."""
    truth = RATIO * np.exp(expected(noise)[1] - expected(None)[1])

    def trial(made: Generator) -> tuple[bool, float]:
        base = one_side(made, BASE_NS, noise, runs)
        return held(welch_ratio(base, one_side(made, WITH_NS, None, runs)), truth)

    return trial


def paired(noise: str, pairs: int) -> Trial:
    """The ratio over concurrent pairs: what disturbs both comes on top of each side's own."""

    def trial(made: Generator) -> tuple[bool, float]:
        shared = NOISES[noise](made, pairs)
        base, with_ = (one_side(made, truth, noise, pairs) for truth in (BASE_NS, WITH_NS))
        return held(paired_ratio(base * shared, with_ * shared), RATIO)

    return trial


def slopes(noise: str, runs: int) -> Trial:
    """The ratio of slopes over sizes, a line for each run; the sides have unlike intercepts."""

    def side(made: Generator, slope: float, constant: float) -> Floats:
        found = []
        for factor in NOISES[noise](made, runs):
            times = unmaps(made, (constant + slope * LEAVES) * factor, UNMAPS)
            line = relative_line(LEAVES, np.median(times, axis=1))
            found.append(np.nan if line is None else line.slope)
        return np.array(found)

    def trial(made: Generator) -> tuple[bool, float]:
        base = side(made, BASE_NS, INTERCEPT_NS)
        return held(welch_ratio(base, side(made, WITH_NS, 2 * INTERCEPT_NS)), RATIO)

    return trial


def difference(
    noise: str, runs: tuple[int, int], many: tuple[int, int] = (UNMAPS, UNMAPS)
) -> Trial:
    """The difference of one size."""
    truth = (BASE_NS - WITH_NS) * expected(noise)[0]

    def trial(made: Generator) -> tuple[bool, float]:
        base = one_side(made, BASE_NS, noise, runs[0], many)
        return held(welch_difference(base, one_side(made, WITH_NS, noise, runs[1], many)), truth)

    return trial


def plain_difference(noise: str, runs: tuple[int, int]) -> Trial:
    """The same with Welch's interval alone."""
    truth = (BASE_NS - WITH_NS) * expected(noise)[0]

    def trial(made: Generator) -> tuple[bool, float]:
        base = one_side(made, BASE_NS, noise, runs[0])
        with_ = one_side(made, WITH_NS, noise, runs[1])
        return held(rival_intervals.plain_welch(base, with_), truth)

    return trial


def difference_of_pairs(noise: str, pairs: int) -> Trial:
    """The difference over concurrent pairs."""
    truth = (BASE_NS - WITH_NS) * expected(noise)[0] * expected_factor(noise)

    def trial(made: Generator) -> tuple[bool, float]:
        shared = NOISES[noise](made, pairs)
        base, with_ = (one_side(made, truth, noise, pairs) for truth in (BASE_NS, WITH_NS))
        return held(paired_difference(base * shared, with_ * shared), truth)

    return trial


@cache
def expected_factor(noise: str) -> float:
    """The mean of a noise."""
    return float(NOISES[noise](np.random.default_rng(SEED), 10 * MANY).mean())


def ties(spread: float, runs: int, within: float, quantum_ns: float = 40.0) -> Trial:
    """The ratio where a tick of the clock is 9% of the faster side; truths lie anywhere in a tick.

    *spread* of the runs and *within* them, relative.
    """

    def trial(made: Generator) -> tuple[bool, float]:
        truths = [mid + quantum_ns * made.random() for mid in (BASE_NS, WITH_NS)]
        sides = []
        for truth in truths:
            factors = truth * (1 + spread * made.standard_normal(runs))
            times = unmaps(made, factors, UNMAPS, quantum_ns, within)
            sides.append(np.median(times, axis=1))
        quantum = (quantum_ns, quantum_ns)
        return held(welch_ratio(*sides, quantum=quantum), truths[0] / truths[1])

    return trial


def no_difference(noise: str, runs: int) -> Trial:
    """A/A: both sides are alike, so an interval without 1 is a false alarm."""

    def trial(made: Generator) -> tuple[bool, float]:
        base, with_ = (one_side(made, WITH_NS, noise, runs) for _ in range(2))
        return held(welch_ratio(base, with_), 1.0)

    return trial


def bootstrap(noise: str, runs: int, *, accelerated: bool) -> Trial:
    """The ratio of one size by the percentile bootstrap over runs, or by its BCa kind."""
    method = rival_intervals.bca_bootstrap if accelerated else rival_intervals.percentile_bootstrap

    def trial(made: Generator) -> tuple[bool, float]:
        base, with_ = (one_side(made, truth, noise, runs) for truth in (BASE_NS, WITH_NS))
        return held(method(made, base, with_), RATIO)

    return trial


def decile(noise: str, runs: int, quantile: float, method: str) -> Trial:
    """A decile of both sides; *method*: ours, percentile or BCa."""

    def trial(made: Generator) -> tuple[bool, float]:
        sides = [
            unmaps(made, truth * NOISES[noise](made, runs), UNMAPS) for truth in (BASE_NS, WITH_NS)
        ]
        if method == "ours":
            shift = quantile_shift(list(sides[0]), list(sides[1]), quantiles=[quantile])
            found = shift.quantiles[0].ratio
            return (False, np.nan) if found is None else held(found, RATIO)
        rival = {"percentile": rival_intervals.percentile_bootstrap}
        rival["BCa"] = rival_intervals.bca_bootstrap
        base, with_ = (
            np.quantile(side, quantile, axis=1, method="median_unbiased") for side in sides
        )
        return held(rival[method](made, base, with_), RATIO)

    return trial


def power(runs: Sequence[int], truth: float, spread: float) -> Trial:
    """How often a true ratio is found: a hit is an interval without 1."""

    def trial(made: Generator) -> tuple[bool, float]:
        base, with_ = (np.exp(spread * made.standard_normal(many)) for many in runs)
        outside, width = held(welch_ratio(truth * base, with_), 1.0)
        return not outside, width

    return trial

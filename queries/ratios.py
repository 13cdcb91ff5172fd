"""The ratio of two sides, and whether what tracing cost could turn it round."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from typing import TYPE_CHECKING, Literal

from traceview.queries.run_intervals import (
    Interval,
    joined_ratio,
    paired_difference,
    paired_ratio,
    welch_difference,
    welch_ratio,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.queries.recording_plan import Plan
    from traceview.queries.run_estimates import Variant

    Estimates = dict[Variant, list[float] | None]

Direction = Literal["with", "base", "undecided"]
Robustness = Literal["robust", "not_robust", "unknown"]


@dataclass(frozen=True, slots=True)
class Setup:
    """What holds for every ratio of a comparison: the plan, the pairs of runs, the quantum."""

    plan: Plan
    pairs: tuple[tuple[str, str], ...] | None
    quantum: tuple[float, float]

    def of_slopes(self, sizes: Sequence[int]) -> Setup:
        """The same for slopes: half a quantum at either end of the sizes turns a line."""
        span = max(sizes) - min(sizes)
        return replace(self, quantum=(self.quantum[0] / span, self.quantum[1] / span))


@dataclass(frozen=True, slots=True)
class Ratio:
    """base / with, of one estimate per run.

    `variant` is what `interval` stands on: `corrected`, or `raw` where tracing is not estimated.
    The interval of a corrected ratio is that of the runs and of what tracing cost, together.
    `base`, `with_`: geometric means over runs (ns, or ns per leaf), `raw` the ratio of recorded
    times. `least`, `most`: intervals with what tracing can have cost on whichever side makes the
    ratio smallest, largest; None where that is not known. `adjusted_p` (Holm) over the sizes.
    `estimates`: per side, one of each run, of `variant`; `quantum`: what they are multiples of.
    """

    interval: Interval
    variant: Variant
    base: float
    with_: float
    raw: float
    least: Interval | None
    most: Interval | None
    estimates: tuple[tuple[float, ...], tuple[float, ...]]
    quantum: tuple[float, float]
    adjusted_p: float | None = None

    def value_alone(self, why: str) -> Ratio:
        """The same without intervals; *why* takes the place of their method."""
        least, most = (one and one.value_alone(why) for one in (self.least, self.most))
        return replace(self, interval=self.interval.value_alone(why), least=least, most=most)

    def direction(self, plan: Plan, interval: Interval | None = None) -> Direction:
        """Which side is faster: by the interval where there is one, else by its value.

        Where the plan permits no inference the value alone speaks, of these runs and no others.
        """
        of = interval or self.interval
        low, high = (of.value, of.value) if not plan.allows_inference else (of.low, of.high)
        if low is None or high is None:
            return "undecided"
        return "with" if low > 1 else "base" if high < 1 else "undecided"

    def robustness(self, plan: Plan) -> Robustness:
        """Whether what tracing can have cost leaves the direction as it is."""
        if self.least is None or self.most is None:
            return "unknown"
        ends = {self._leaning(plan, end) for end in (self.least, self.most)}
        return "robust" if ends == {self._leaning(plan, self.interval)} else "not_robust"

    def _leaning(self, plan: Plan, interval: Interval) -> Direction:
        """The direction; without an interval there is the value alone, which is no agreement."""
        if self.interval.low is not None:
            return self.direction(plan, interval)
        value = interval.value
        return "with" if value > 1 else "base" if value < 1 else "undecided"


def ratio_of(base: Estimates, with_: Estimates, setup: Setup) -> Ratio | None:
    """The ratio of one estimate per run, in every variant.

    What tracing cost is an estimate too: its own interval joins that of the corrected ratio, which
    else covers too little (simulations/README.md). None where an estimate of the recorded times is
    not positive.
    """

    def interval(one: Variant, other: Variant) -> Interval | None:
        ours, theirs = base[one], with_[other]
        if ours is None or theirs is None or min(*ours, *theirs) <= 0:
            return None
        of = welch_ratio if setup.pairs is None else paired_ratio
        return of(ours, theirs, quantum=setup.quantum)

    raw, corrected = interval("raw", "raw"), interval("corrected", "corrected")
    if raw is None:
        return None
    least, most = interval("low", "high"), interval("high", "low")
    variant: Variant = "raw" if corrected is None else "corrected"
    main = raw
    if corrected is not None:
        ends = (None if end is None else end.value for end in (least, most))
        main = joined_ratio(corrected, *ends)
    ours, theirs = (tuple(side[variant] or ()) for side in (base, with_))
    return Ratio(
        main, variant, _geometric(ours), _geometric(theirs), raw.value, least, most,
        (ours, theirs), setup.quantum,
    )  # fmt: skip


def difference_of(base: Sequence[float], with_: Sequence[float], setup: Setup) -> Interval:
    """Base - with, of one estimate per run."""
    of = welch_difference if setup.pairs is None else paired_difference
    return of(base, with_, quantum=setup.quantum)


def _geometric(values: Sequence[float]) -> float:
    logs = [log(value) for value in values]
    return exp(sum(logs) / len(logs))

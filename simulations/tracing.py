"""A comparison of traced runs: what it reads, and what is left after the cost of tracing is out.

Eager unmaps trace two calls per leaf (its invalidation and the put of its page), deferred ones
one, so tracing hides a part of the gain. The cost is estimated as `compare` does it, from captures
of the same workload that trace the unmap alone (calibration.py), for each side by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from simulations.coverage import held
from simulations.synthetic_runs import BASE_NS, RATIO, WITH_NS, unmaps
from traceview.queries.calibration import MEDIAN_FACTOR, cost_per_call
from traceview.queries.ratios import Ratio, Setup, ratio_of
from traceview.queries.recording_plan import RecordedRun, recording_plan
from traceview.queries.relative_line import relative_line
from traceview.queries.run_intervals import welch_ratio

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from simulations.coverage import Trials
    from traceview.queries.ratios import Estimates
    from traceview.queries.run_estimates import Variant

    Floats = NDArray[np.float64]
    # Rows: runs; columns: sizes; third: the unmaps of one size.
    Capture = NDArray[np.float64]

LEAVES: Final = np.array([1.0, 16.0, 64.0, 256.0, 512.0])
INTERCEPT_NS: Final = 2600.0
CALLS_PER_LEAF: Final = {BASE_NS: 2, WITH_NS: 1}
UNMAPS: Final = 20
SPREAD: Final = 0.05  # between runs, of the unmaps and of the cost per call
UNLIKE: Final = 0.03  # of the cost per call between sizes
INTERLEAVED: Final = [RecordedRun("base" if at % 4 in {0, 3} else "with", at) for at in range(12)]
SETUP: Final = Setup(recording_plan(INTERLEAVED), None, (0.0, 0.0))


def capture(
    made: Generator, slope_ns: float, factors: Floats, cost_ns: Floats, calls: Floats
) -> Capture:
    """The durations of every unmap; *cost_ns* per run and size."""
    truths = (INTERCEPT_NS + slope_ns * LEAVES) * factors[:, None] + cost_ns * calls
    return unmaps(made, truths.ravel(), UNMAPS).reshape(*truths.shape, UNMAPS)


def slopes(times: Capture, taken_ns: Floats) -> list[float]:
    """The slope of each run, with *taken_ns* per size taken out of every unmap."""
    found = []
    for run in np.median(times, axis=2) - taken_ns:
        line = relative_line(LEAVES, run)
        found.append(np.nan if line is None else line.slope)
    return found


def costs(detailed: Capture, plain: Capture, calls: Floats) -> tuple[float, float, float]:
    """What calibration.py makes of two captures: the cost per call, and its interval."""
    medians, variance = [], np.zeros(len(LEAVES))
    for times in (detailed, plain):
        pooled = times.transpose(1, 0, 2).reshape(len(LEAVES), -1)
        medians.append(np.median(pooled, axis=1))
        away = np.median(np.abs(pooled - np.median(pooled, axis=1, keepdims=True)), axis=1)
        variance += (away * MEDIAN_FACTOR) ** 2 / pooled.shape[1]
    found = cost_per_call(medians[0], medians[1], calls, variance)
    if found is None:
        raise AssertionError
    return found.value, found.low, found.high


def comparison(cost_ns: float, runs: int, *, same_boot: bool = True) -> Trials:
    """The ratio of slopes from detailed captures: raw, corrected, joined, and bounds.

    raw: as they were recorded. corrected: without the estimated costs, as if these were known.
    joined: that interval and the costs' own, in quadrature. bounds: from the lowest to the highest
    end over the costs' intervals. *same_boot*: every run has a capture of either kind; otherwise
    those that calibrate are of boots of their own.
    """

    def side(made: Generator, slope_ns: float) -> Estimates:
        factors = 1 + SPREAD * made.standard_normal(runs)
        other = factors if same_boot else 1 + SPREAD * made.standard_normal(runs)
        calls = CALLS_PER_LEAF[slope_ns] * LEAVES
        cost = cost_ns * (1 + SPREAD * made.standard_normal((runs, 1)))
        cost = cost * (1 + UNLIKE * made.standard_normal(len(LEAVES)))
        detailed = capture(made, slope_ns, factors, cost, calls)
        plain = capture(made, slope_ns, other, np.zeros((runs, 1)), calls)
        value, low, high = costs(detailed, plain, calls)
        # The most that tracing can have cost leaves the least.
        taken: dict[Variant, float] = {"raw": 0, "corrected": value, "low": high, "high": low}
        return {name: slopes(detailed, one * calls) for name, one in taken.items()}

    def trial(made: Generator) -> list[tuple[bool, float]]:
        base, with_ = (side(made, slope) for slope in (BASE_NS, WITH_NS))
        found = ratio_of(base, with_, SETUP)
        raw = ratio_of({**base, "corrected": None}, {**with_, "corrected": None}, SETUP)
        known, others = base["corrected"], with_["corrected"]
        if found is None or raw is None or known is None or others is None:
            return [(False, np.nan)] * 4
        intervals = (raw.interval, welch_ratio(known, others), found.interval, bounds(found))
        return [held(one, RATIO) for one in intervals]

    return trial


def bounds(found: Ratio) -> tuple[float, float]:
    """Where tracing may have cost all that was measured, that end is open."""
    low = None if found.least is None else found.least.low
    high = None if found.most is None else found.most.high
    return low or 0.0, np.inf if high is None else high


def reads(cost_ns: float) -> float:
    """The ratio of the slopes that a traced comparison reads, without noise."""
    base, with_ = (slope + cost_ns * CALLS_PER_LEAF[slope] for slope in (BASE_NS, WITH_NS))
    return base / with_

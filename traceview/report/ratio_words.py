"""How ratios of two sides and their intervals are written.

A ratio is base / with. An end of an interval is never rounded across 1, nor across the number of
a claim: what is printed must not contradict what is said of it.
"""

from __future__ import annotations

from dataclasses import replace
from math import isclose, isinf
from typing import TYPE_CHECKING, Final

from traceview.report.wording import UNKNOWN, duration, number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.queries.recording_plan import Plan
    from traceview.queries.run_intervals import Interval

MOST_DIGITS: Final = 10
NO_SPREAD: Final = "runs that do not differ"  # run_intervals.py
ONE: Final = (1.0,)
# Why there is no interval, by what the plan permits.
WITHOUT: Final = {
    "confounded": "drift is confounded with side: no interval",
    "effect_only": "one run on a side: no interval",
    "no_spread": "all runs of a side gave the same times: no interval",
}


def ratio_text(value: float, bounds: Iterable[float] = ONE) -> str:
    """Three significant digits, more where fewer would put it on the other side of a bound."""
    if isinf(value):
        return "unbounded"
    if value <= 0:
        return "0"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    if value < 0.1:
        return f"{value:#.3g}"
    apart = [one for one in bounds if not isclose(value, one, rel_tol=1e-12)]

    def keeps_side(digits: int) -> bool:
        printed = round(value, digits)
        return all(printed < one if value < one else printed > one for one in apart)

    digits = next(filter(keeps_side, range(digits, MOST_DIGITS)), MOST_DIGITS)
    return f"{value:,.{digits}f}"


def ratio_ends(interval: Interval, bounds: Iterable[float] = ONE) -> str:
    """`4.10 .. 4.80`, or `-` where there is no interval."""
    if interval.low is None or interval.high is None:
        return UNKNOWN
    bounds = tuple(bounds)
    return f"{ratio_text(interval.low, bounds)} .. {ratio_text(interval.high, bounds)}"


def inverse(interval: Interval) -> Interval:
    """With / base."""
    if interval.low is None or interval.high is None:
        return replace(interval, value=1 / interval.value)
    low = 1 / interval.high
    high = 1 / interval.low if interval.low else float("inf")
    return replace(interval, value=1 / interval.value, low=low, high=high)


def given(interval: Interval, plan: Plan) -> Interval:
    """What of *interval* the plan permits to show: no p-value without inference.

    Where drift is confounded with side, with one run on a side, and where the runs of a side do not
    differ, the value alone.
    """
    if plan.standing == "inference":
        return interval
    if plan.standing == "descriptive":
        return replace(interval, p_value=None)
    return interval.value_alone(WITHOUT[plan.standing])


def no_interval(interval: Interval) -> str:
    """Why there is none, in plain words."""
    same = "all runs of a side gave the same value; no spread, so no interval"
    return f"{same} ({interval.method})" if interval.method.startswith(NO_SPREAD) else (
        interval.method
    )  # fmt: skip


def ns_ends(interval: Interval) -> str:
    """The ends of a difference in ns per leaf."""
    if interval.low is None or interval.high is None:
        return UNKNOWN
    return f"{number(interval.low)} .. {number(interval.high)}"


def p_text(p_value: float | None) -> str:
    """A p-value; what is not nothing is not written as 0."""
    if p_value is None:
        return UNKNOWN
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def time_text(ns: float | None) -> str:
    """A time that is a mean over runs: whole nanoseconds from 100 on."""
    if ns is None:
        return UNKNOWN
    return f"{number(ns)} ns" if abs(ns) < 100 else duration(round(ns))


def runs_text(base_runs: int, with_runs: int, *, paired: bool) -> str:
    """`6 pairs of runs`, `6 runs a side`, `6 runs against 5`."""
    if paired:
        return "1 pair of runs" if base_runs == 1 else f"{base_runs} pairs of runs"
    if base_runs == with_runs:
        return "1 run a side" if base_runs == 1 else f"{base_runs} runs a side"
    return f"{base_runs} run{'' if base_runs == 1 else 's'} against {with_runs}"

"""The headline of a comparison: one sentence that claims no more than its runs can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.report.compared import SIDES, cell_words, label_of
from traceview.report.ratio_words import (
    given,
    inverse,
    no_interval,
    ratio_ends,
    ratio_text,
    runs_text,
)
from traceview.report.time_words import time_words

if TYPE_CHECKING:
    from traceview.queries.ratios import Direction, Ratio
    from traceview.queries.recording_plan import Plan
    from traceview.report.compared import Compared

LONGEST_LABEL: Final = 24
BARE: Final = 0.01  # a ratio that tracing changes by less is that of the times without it
NO_LARGEST: Final = "no headline: leaves are not known, so no ratio below stands for the others"
NO_RATIO: Final = (
    "no ratio can be made: no size was unmapped, with a time above 0, in every run of both sides"
)


def headline_text(found: Compared, *, method: bool = True) -> str:
    """One sentence: which side is faster, how much, and by what interval.

    *method*: with how the interval is made.
    """
    comparison = found.comparison
    ratio, plan = comparison.headline, comparison.plan
    if ratio is None:
        some = any(size.ratio is not None for size in comparison.sizes)
        return NO_LARGEST if some else NO_RATIO
    said = _comparison(found, ratio)
    if ratio.variant == "raw" and not _is_bare(ratio):
        said = f"as recorded, {said}"
    elif ratio.robustness(plan) != "robust":
        said = f"by the estimate of what tracing cost, {said}"
    said = time_words(comparison.base, comparison.with_) + said
    turned = _is_turned(found, ratio)
    return f"{said} ({_stands_on(ratio, plan, turned=turned, method=method)})"


def _is_bare(ratio: Ratio) -> bool:
    """Whether tracing, whatever it cost, leaves the ratio as it is."""
    ends = [ratio.least, ratio.most]
    return all(end is not None and abs(end.value / ratio.interval.value - 1) < BARE for end in ends)


def side_names(found: Compared) -> tuple[str, str]:
    """What the sides are called in a sentence: with their labels, where these tell them apart."""
    if found.one_set:
        return "per_pte", "deferred_range"
    labels = [label_of(side) for side in (found.comparison.base, found.comparison.with_)]
    if labels[0] == labels[1] or max(map(len, labels)) > LONGEST_LABEL:
        return SIDES
    base, with_ = (
        name if name == label else f"{name} ({label})"
        for name, label in zip(SIDES, labels, strict=True)
    )
    return base, with_


def headline_of(found: Compared) -> str:
    """What the headline is a ratio of."""
    line = found.headline_line
    if line is not None:
        return f"per further leaf, over {len(line.sizes)} sizes"
    of = found.comparison.headline
    cell = next((size.cell for size in found.comparison.sizes if size.ratio is of), {})
    return f"for {cell_words(cell, found.leaf_sizes)}"


def _comparison(found: Compared, ratio: Ratio) -> str:
    """Which side is faster, true of the plan; a ratio alone where that may be noise."""
    plan, what, names = found.comparison.plan, headline_of(found), side_names(found)
    direction, interval = ratio.direction(plan), given(ratio.interval, plan)
    value = interval.value
    if plan.allows_inference and direction == "undecided" and interval.low is not None:
        return (
            f"not decided, no difference is shown: {what}, {names[0]} takes {ratio_text(value)}"
            f" times as long as {names[1]}"
        )
    # Without an interval the value alone speaks, of these runs.
    direction = _by_value(value) if interval.low is None else direction
    noise = None if direction == "undecided" else noise_text(found, ratio)
    if noise is not None:
        return (
            f"in these runs {names[0]} took {ratio_text(value)} times as long as {names[1]},"
            f" {what}; {noise}"
        )
    said = _faster(direction, value, what, names)
    return said if plan.allows_inference and interval.low is not None else f"in these runs, {said}"


def noise_text(found: Compared, ratio: Ratio) -> str | None:
    """Why these runs cannot call a side faster; None where what is known of noise is less."""
    plan, interval = found.comparison.plan, given(ratio.interval, found.comparison.plan)
    if plan.standing == "no_spread":
        return None
    if interval.low is not None and interval.high is not None:
        if plan.allows_inference or not interval.low <= 1 <= interval.high:
            return None
        return "runs of one side differ by as much"
    floors = [floor for floor in found.comparison.noise if floor is not None]
    if len(floors) < len(SIDES):
        return "whether that is noise is not known"
    most = max(floor.ratio for floor in floors)
    if max(interval.value, 1 / interval.value) > most:
        return None
    return f"runs of one side differ by as much: their halves by up to {ratio_text(most)}"


def _by_value(value: float) -> Direction:
    return "with" if value > 1 else "base" if value < 1 else "undecided"


def _faster(direction: Direction, value: float, what: str, names: tuple[str, str]) -> str:
    base, with_ = names
    if direction == "with":
        return f"{with_} is faster: {what}, {base} takes {ratio_text(value)} times as long"
    if direction == "base":
        return (
            f"{with_} is slower: {what}, it takes {ratio_text(1 / value)} times as long as {base}"
        )
    return f"both sides take the same time {what}"


def _stands_on(ratio: Ratio, plan: Plan, *, turned: bool, method: bool) -> str:
    """The interval, in the direction of the sentence, and the runs."""
    interval = given(ratio.interval, plan)
    runs = runs_text(interval.base_runs, interval.with_runs, paired=plan.paired)
    if interval.low is None:
        if plan.standing in {"inference", "descriptive"}:
            return f"{runs}; {no_interval(ratio.interval)}"
        return f"{runs}; {interval.method}" if plan.standing == "no_spread" else runs
    shown = inverse(interval) if turned else interval
    if plan.standing == "descriptive":
        return f"{runs}; interval of so few runs, descriptive only: {ratio_ends(shown)}"
    how = f"; {interval.method}" if method else ""
    return f"95% interval {ratio_ends(shown)}; {runs}{how}"


def _is_turned(found: Compared, ratio: Ratio) -> bool:
    """Whether the sentence tells with / base."""
    slower = ratio.direction(found.comparison.plan) == "base"
    return slower and noise_text(found, ratio) is None

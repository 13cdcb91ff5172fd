"""The tables of README.md: which trials make their cells, and what they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from simulations import coverage, drift, tracing
from simulations.coverage import FEW_TO_MANY, Covered, covered, covered_each
from simulations.synthetic_runs import NOISES
from traceview.queries.noise_floor import noise_floor
from traceview.queries.run_power import runs_needed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from simulations.coverage import Trial

Rows = list[tuple[str, list["Trial"]]]

RUNS: Final = (5, 10, 20)
UNEQUAL: Final = ((5, 10), (10, 5), (5, 20), (20, 5), (10, 40))
DRIFT_SIZES: Final = (0.1, 0.3)
COSTS_NS: Final = (100, 200, 300)
PER_RUNS: Final = tuple(f"{runs} runs" for runs in RUNS)


@dataclass(frozen=True, slots=True)
class Table:
    """A heading, what it shows, the columns, and what makes the lines of its body."""

    title: str
    text: str
    columns: tuple[str, ...]
    lines: Callable[[int], Iterator[tuple[str, list[str]]]]


def as_markdown(table: Table, trials: int) -> str:
    """The table with everything computed."""
    head = f"| | {' | '.join(table.columns)} |\n|{'---|' * (1 + len(table.columns))}\n"
    body = "".join(
        f"| {name} | {' | '.join(cells)} |\n" for name, cells in table.lines(trials)
    )  # fmt: skip
    return f"## {table.title}\n\n{table.text}\n\n{head}{body}"


def cell(found: Covered) -> str:
    """Coverage in percent, bold where it falls short; the width of the interval beside it."""
    share = f"{100 * found.share:.1f}"
    width = "open" if np.isinf(found.width) else f"{100 * found.width:.0f}%"
    return f"{share if found.holds else f'**{share}**'} ({width})"


def _covering(rows: Callable[[], Rows]) -> Callable[[int], Iterator[tuple[str, list[str]]]]:
    """Rows of trials, made only when they are asked for: some look for their truth first."""

    def lines(trials: int) -> Iterator[tuple[str, list[str]]]:
        for name, row in rows():
            yield name, [cell(covered(trial, trials)) for trial in row]

    return lines


def _by_noise(of: Callable[[str, int], Trial]) -> Callable[[int], Iterator[tuple[str, list[str]]]]:
    return _covering(lambda: [(noise, [of(noise, runs) for runs in RUNS]) for noise in NOISES])


def _unequal() -> Rows:
    made = {"ratio": coverage.ratio, "difference": coverage.difference}
    return [
        (f"{what}, {noise}", [of(noise, runs) for runs in UNEQUAL])
        for what, of in made.items()
        for noise in NOISES
    ]


def _ties() -> Rows:
    return [
        (
            f"runs spread by {spread:.0%}, unmaps by {within:.1%}",
            [coverage.ties(spread, runs, within) for runs in RUNS],
        )
        for spread in (0.0, 0.01, 0.02, 0.05, 0.1)
        for within in (0.001, 0.1)
    ]


def _drifts() -> Rows:
    rows: Rows = []
    for order, made in drift.ORDERS.items():
        for kind in drift.DRIFTS:
            for size in (0.0,) if kind == "none" else DRIFT_SIZES:
                rows.append((
                    f"{order}: {kind}" + (f", {size:.0%}" if size else ""),
                    [
                        drift.drifting(made, kind, size, runs, method)
                        for runs in (5, 20)
                        for method in ("ours", "adjusted", "neighbours")
                    ],
                ))  # fmt: skip
    return rows


def _concurrent() -> Rows:
    return [
        (f"{kind}, {size:.0%}", [drift.concurrent(kind, size, runs) for runs in RUNS])
        for kind in ("straight line", "random walk")
        for size in DRIFT_SIZES
    ]


def _shuffled(trials: int) -> Iterator[tuple[str, list[str]]]:
    made = np.random.default_rng(coverage.SEED)
    for runs in (5, 10, 20):
        some = [drift.permitted(drift.shuffled(made, runs)) for _ in range(trials // 10)]
        cells = [f"{100 * np.mean(some):.0f}"]
        for only in (True, False):
            for kind in ("straight line", "rising and falling", "random walk"):
                one = drift.drifting(drift.shuffled, kind, 0.3, runs, only=only)
                cells.append(cell(covered(one, trials // 5)))
        yield f"{runs} runs", cells


def _false_alarms(trials: int) -> Iterator[tuple[str, list[str]]]:
    for noise in NOISES:
        cells = []
        for runs in RUNS:
            found = covered(coverage.no_difference(noise, runs), trials)
            alarms = f"{100 * (1 - found.share):.1f}"
            cells.append(alarms if found.share >= 0.94 else f"**{alarms}**")
        halves = [
            noise_floor(NOISES[noise](np.random.default_rng((coverage.SEED, at)), 10))
            for at in range(trials // 20)
        ]
        shares = [one.false_alarms for one in halves if one is not None]
        yield noise, [*cells, f"{100 * np.mean(shares):.1f}"]


def _bootstrap() -> Rows:
    rows: Rows = []
    for noise in ("normal", "t3", "exponential, skewness 2"):
        rows += [
            (
                f"{noise}, {name}",
                [coverage.bootstrap(noise, runs, accelerated=bca) for runs in RUNS],
            )
            for name, bca in (("percentile", False), ("BCa", True))
        ]
        rows.append((f"{noise}, Welch's t", [coverage.ratio(noise, (runs, runs)) for runs in RUNS]))
    return rows


def _deciles() -> Rows:
    return [
        (
            f"{noise}, {quantile:.0%}, {method}",
            [coverage.decile(noise, runs, quantile, method) for runs in RUNS],
        )
        for noise in ("normal", "exponential, skewness 2")
        for quantile in (0.1, 0.5, 0.9)
        for method in ("ours", "percentile", "BCa")
    ]


def _power(trials: int) -> Iterator[tuple[str, list[str]]]:
    for ratio in (1.03, 1.05, 1.1, 1.2, 1.5):
        # Two runs whose standard deviation on the log scale is exactly the spread.
        pilot = np.exp(drift.SPREAD * np.array([-1, 1]) / np.sqrt(2))
        runs = runs_needed(pilot, pilot, ratio, paired=False)
        if runs is None:
            raise AssertionError
        found = [covered(coverage.power((many, many), ratio, drift.SPREAD), trials)
                 for many in (runs, runs - 1) if many > 1]  # fmt: skip
        shares = [f"{100 * one.share:.1f}" for one in found]
        yield f"{ratio}", [str(runs), *shares, *[""] * (2 - len(shares))]


def _tracing(trials: int) -> Iterator[tuple[str, list[str]]]:
    for cost in COSTS_NS:
        for runs in (5, 10, 20):
            for same in (True, False):
                found = covered_each(tracing.comparison(cost, runs, same_boot=same), trials // 5)
                boots = "" if same else ", calibrated on other boots"
                name = f"{cost} ns a call, {runs} runs{boots}"
                yield name, [f"{tracing.reads(cost):.2f}x", *map(cell, found)]


def _fewer(rows: Callable[[int], Iterator[tuple[str, list[str]]]], part: int) -> Callable[
    [int], Iterator[tuple[str, list[str]]]
]:  # fmt: skip
    return lambda trials: rows(trials // part)


TABLES: Final = (
    Table(
        "Ratio of one size",
        "Welch's t on the log scale, one median per run.",
        PER_RUNS,
        _by_noise(lambda noise, runs: coverage.ratio(noise, (runs, runs))),
    ),
    Table(
        "Ratio of slopes",
        "A line per run through six sizes (relative_line.py), Welch's t on the slopes; a fifth of"
        " the trials.",
        PER_RUNS,
        _fewer(_by_noise(coverage.slopes), 5),
    ),
    Table(
        "Ratio over concurrent pairs",
        "Paired t on the log scale; half of what disturbs a run also disturbs its partner.",
        PER_RUNS,
        _by_noise(coverage.paired),
    ),
    Table(
        "Ratio with between 4 and 200 unmaps in a run",
        "Every run of either side draws its own number.",
        PER_RUNS,
        _by_noise(lambda noise, runs: coverage.ratio(noise, (runs, runs), FEW_TO_MANY)),
    ),
    Table(
        "Ratio where only the base is disturbed",
        "Nothing cancels here, and runs that did not meet a tail do not know of it.",
        PER_RUNS,
        _by_noise(coverage.noisy_base),
    ),
    Table(
        "Difference of one size",
        "The outer ends of Welch's and Hall's intervals. The base is 4.42 times as slow, so its"
        " noise hardly cancels.",
        PER_RUNS,
        _by_noise(lambda noise, runs: coverage.difference(noise, (runs, runs))),
    ),
    Table(
        "Difference of one size by Welch's t alone",
        "Why Hall's is added.",
        PER_RUNS,
        _by_noise(lambda noise, runs: coverage.plain_difference(noise, (runs, runs))),
    ),
    Table(
        "Difference over concurrent pairs",
        "The outer ends of Student's and Hall's intervals.",
        PER_RUNS,
        _by_noise(coverage.difference_of_pairs),
    ),
    Table(
        "Unlike numbers of runs",
        "Base runs against with runs.",
        tuple(f"{base} and {with_}" for base, with_ in UNEQUAL),
        _covering(_unequal),
    ),
    Table(
        "Ties",
        "A clock that ticks every 40 ns, 9% of the faster side; where in a tick the truth of a side"
        " lies is chance. While runs spread over less than half a tick, the interval is wider by"
        " half a tick for each side, so it covers more than it promises.",
        PER_RUNS,
        _covering(_ties),
    ),
    Table(
        "Drift of runs that are recorded one after the other",
        "Runs spread by 5%. Given is the drift from the first run to the last (of a random walk the"
        " standard deviation of it). ours: Welch's t, which takes no notice of the order. adjusted:"
        " a line over the positions taken out. neighbours: paired t of the first run of each side,"
        " the second, and so on.",
        tuple(
            f"{one}, {runs} runs" for runs in (5, 20) for one in ("ours", "adjusted", "neighbours")
        ),
        _covering(_drifts),
    ),
    Table(
        "Drift of concurrent pairs",
        "Paired t: both sides have the drift in common.",
        PER_RUNS,
        _covering(_concurrent),
    ),
    Table(
        "Orders drawn at random, and those that recording_plan.py refuses",
        "How many of all orders are permitted, and what the interval covers under a drift of 30% in"
        " permitted and in refused ones; a fifth of the trials.",
        (
            "permitted, %",
            *(
                f"{which}, {kind}"
                for which in ("permitted", "refused")
                for kind in ("straight line", "rising and falling", "random walk")
            ),
        ),
        _shuffled,
    ),
    Table(
        "False alarms",
        "Both sides alike: intervals without 1, in percent. Last, the mean over all splits of 10"
        " runs of one side into halves (noise_floor.py).",
        (*PER_RUNS, "splits of 10 runs"),
        _false_alarms,
    ),
    Table(
        "The bootstrap over runs, beside Welch's t",
        "999 resamples of whole runs. Why it is not used.",
        PER_RUNS,
        _covering(_bootstrap),
    ),
    Table(
        "Deciles",
        "One decile per run of 21 unmaps. ours: Welch's t on the log scale (quantile_shift.py); the"
        " others resample runs.",
        PER_RUNS,
        _covering(_deciles),
    ),
    Table(
        "Power",
        "Runs per side that runs_needed() asks for at a spread of 5%, for a power of 80%; how often"
        " that many find the ratio, and how often one less. It never asks for fewer than three.",
        ("runs", "found, %", "with one run less, %"),
        _power,
    ),
    Table(
        "What tracing hides",
        "A true 4.42x. Eager unmaps trace two calls per leaf, deferred ones one. raw: as recorded."
        " corrected: without the estimated cost, as if that were known. joined: with the cost's own"
        " interval in quadrature (joined_ratio). bounds: from the lowest to the highest end over"
        " the cost's interval. A fifth of the trials.",
        ("reads, without noise", "raw", "corrected", "joined", "bounds"),
        _tracing,
    ),
)

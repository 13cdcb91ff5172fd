"""The intervals keep their promise on synthetic runs: a small part of simulations/README.md.

Every trial has a generator of its own with a fixed seed, so the shares do not vary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from simulations import coverage, drift, tracing
from simulations.coverage import ENOUGH, covered, covered_each

if TYPE_CHECKING:
    from simulations.coverage import Trial

pytestmark = pytest.mark.simulations
TRIALS = 600
NOISES = ("normal", "t3", "lognormal, skewness 1.75", "exponential, skewness 2")


def share(trial: Trial, trials: int = TRIALS) -> float:
    return covered(trial, trials).share


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("runs", [5, 10, 20])
def test_the_ratio_of_a_size_is_covered(noise: str, runs: int) -> None:
    assert share(coverage.ratio(noise, (runs, runs))) >= ENOUGH


@pytest.mark.parametrize("noise", NOISES)
def test_the_ratio_over_pairs_is_covered(noise: str) -> None:
    assert share(coverage.paired(noise, 5)) >= ENOUGH


@pytest.mark.parametrize("noise", ["normal", "exponential, skewness 2"])
def test_the_ratio_of_slopes_is_covered(noise: str) -> None:
    assert share(coverage.slopes(noise, 5), 200) >= ENOUGH


@pytest.mark.parametrize("noise", NOISES[:3])
@pytest.mark.parametrize("runs", [(5, 5), (10, 10), (5, 10)])
def test_the_difference_is_covered(noise: str, runs: tuple[int, int]) -> None:
    assert share(coverage.difference(noise, runs)) >= ENOUGH


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("runs", [(5, 10), (5, 20), (20, 5)])
def test_unlike_numbers_of_runs_are_covered(noise: str, runs: tuple[int, int]) -> None:
    assert share(coverage.ratio(noise, runs)) >= ENOUGH


def test_unlike_numbers_of_unmaps_are_covered() -> None:
    assert share(coverage.ratio("t3", (10, 10), coverage.FEW_TO_MANY), 200) >= ENOUGH


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("runs", [5, 20])
def test_ties_are_covered(spread: float, runs: int) -> None:
    assert share(coverage.ties(spread, runs, 0.001)) >= ENOUGH


@pytest.mark.parametrize("order", ["ABBA", "ABAB", "random order inside pairs"])
@pytest.mark.parametrize("kind", ["straight line", "rising and falling", "random walk"])
def test_drift_is_covered_when_the_sides_take_turns(order: str, kind: str) -> None:
    assert share(drift.drifting(drift.ORDERS[order], kind, 0.1, 5)) >= ENOUGH


def test_drift_passes_for_a_difference_when_one_side_came_first() -> None:
    assert share(drift.drifting(drift.sequential, "straight line", 0.1, 10)) < 0.6
    assert share(drift.drifting(drift.sequential, "random walk", 0.3, 10)) < 0.6


def test_drift_is_common_to_concurrent_pairs() -> None:
    assert share(drift.concurrent("random walk", 1.0, 5)) >= ENOUGH


@pytest.mark.parametrize("noise", NOISES)
def test_equal_sides_raise_few_alarms(noise: str) -> None:
    assert 1 - share(coverage.no_difference(noise, 5)) <= 0.06


def test_the_bootstrap_over_runs_covers_less() -> None:
    assert share(coverage.bootstrap("normal", 5, accelerated=False), 300) < 0.9
    assert share(coverage.decile("normal", 5, 0.9, "percentile"), 300) < 0.9
    assert share(coverage.decile("normal", 5, 0.9, "ours"), 300) >= ENOUGH


def test_tracing_hides_a_gain_that_the_corrected_interval_holds() -> None:
    raw, _, joined, bounds = covered_each(tracing.comparison(300.0, 5), 60)
    assert tracing.reads(300) == pytest.approx(3.43, abs=0.005)
    assert raw.share < 0.05
    assert joined.share >= ENOUGH
    assert bounds.share >= ENOUGH
    assert np.isfinite(joined.width)

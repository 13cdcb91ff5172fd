"""How far predictions are off, as they say themselves: held out, and what widens an interval."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest

from simulations.synthetic_unmaps import STEPS, Machine, captures
from tests.predicting import MACHINE, observed, trials
from traceview.queries.moderated_noise import moderated
from traceview.queries.predicted_cell import NARROW, key_of
from traceview.queries.prediction import Wish, predict
from traceview.queries.prediction_cells import measured
from traceview.queries.prediction_holdout import hold_out
from traceview.queries.prediction_locations import cells_of, locations
from traceview.queries.shortest_call import own_work_ns
from traceview.queries.stated_spread import ENOUGH, spreads_of

if TYPE_CHECKING:
    from traceview.queries.strategy_counts import Strategy


# ---- held out


@pytest.mark.parametrize("strategy", ["per_pte", "deferred_range"])
def test_held_out_halves_lie_in_narrow_intervals(strategy: Strategy) -> None:
    found = [trials(predict(observed(strategy, seed), Wish())) for seed in range(3)]
    for kind in ("halves", "costs"):
        tried = sum(one[kind].tried for one in found)
        assert sum(one[kind].covered for one in found) >= ENOUGH * tried
        assert all(one[kind].half_width <= NARROW for one in found)


def test_held_out_runs_lie_in_their_intervals() -> None:
    found = trials(predict(observed(runs=5), Wish()))["runs"]
    assert found.tried == 35
    assert found.coverage >= ENOUGH


def test_one_run_says_nothing_of_another() -> None:
    assert "runs" not in trials(predict(observed(), Wish()))


def test_held_out_splits_are_the_same_each_time() -> None:
    found = predict(observed(), Wish())
    assert hold_out(found, 5) == hold_out(found, 5)


def test_times_without_spread_are_said_to_have_none() -> None:
    still = Machine(spread=0, interrupted=0)
    assert predict(observed(machine=still), Wish()).no_spread
    assert not predict(observed(), Wish()).no_spread


def test_a_moderated_variance_lies_between_its_own_and_that_of_all() -> None:
    own = np.array([0.01, 0.04, 0.02, 0.03])
    found = moderated(own, np.full(4, 5.0), np.zeros(4)).variance
    assert found.max() < own.max()
    assert found.min() > own.min()


def test_a_group_of_one_has_the_variance_of_the_others() -> None:
    found = moderated(np.array([0.0, 0.04, 0.05]), np.array([0.0, 9.0, 9.0]), np.zeros(3))
    assert 0.03 < found.variance[0] < 0.06


# ---- what the shortest call leaves room for


def test_the_shortest_call_works_no_longer_than_a_put_takes_longer() -> None:
    taken, most = own_work_ns(observed(), None) or (0.0, 0.0)
    assert most == pytest.approx(MACHINE.put - MACHINE.shortest)
    assert 0 < taken < most / 2


def test_a_shortest_call_that_is_another_says_nothing() -> None:
    whole = observed()
    slower = whole.own_times.with_columns(
        pl.when(pl.col("operation") == "cmo").then(5000.0).otherwise("own_ns").alias("own_ns")
    )
    assert own_work_ns(replace(whole, own_times=slower), None) is None


# ---- spreads that are no spreads of a few values


def preempted(random: np.random.Generator, groups: int = 12) -> list[list[Any]]:
    """Times of which a quarter is a hundred times as long."""
    return [[np.where(random.random(8) < 0.25, 1e7, 1e5) * np.exp(random.normal(0, 0.1, 8))]
            for _ in range(groups)]  # fmt: skip


def test_times_of_which_some_are_far_longer_have_wider_intervals() -> None:
    groups = preempted(np.random.default_rng(3))
    wide, plain = (
        np.array([one.variance for one in spreads_of(groups, 1.0, splits)]) for splits in (20, 0)
    )
    assert (wide > 1.2 * plain).all()


def test_times_that_are_like_their_spread_have_no_wider_intervals() -> None:
    random = np.random.default_rng(3)
    groups = [[1e5 * np.exp(random.normal(0, 0.1, 8))] for _ in range(12)]
    assert spreads_of(groups, 1.0, 20) == spreads_of(groups, 1.0, 0)


def test_cells_that_one_slow_boot_slows_together_are_no_more_runs() -> None:
    """Two runs tell a spread by one degree of freedom, however many cells they hold."""
    held = tried = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        whole = captures(Machine(between_runs=0.05, spread=0.01, interrupted=0), "per_pte", random,
                         runs=3, steps=STEPS[:4])  # fmt: skip
        rows = measured(whole, None).timed
        last = rows.filter(pl.col("run") == "run-2")
        truth = {key_of(cell): float(np.median(of["ns"].to_numpy())) for cell, of in cells_of(last)}
        for at in locations(rows.filter(pl.col("run") != "run-2"), 1.0):
            low, high = at.interval()
            held, tried = held + (low <= truth[key_of(at.cell)] <= high), tried + 1
    assert held / tried >= ENOUGH


def test_an_interval_of_more_than_fifteen_percent_is_no_number_to_use() -> None:
    narrow = predict(observed(), Wish()).cells
    assert all(cell.then.usable for cell in narrow)
    noisy = predict(observed(machine=Machine(spread=0.5)), Wish()).cells
    assert not any(cell.then.usable for cell in noisy)
    assert not any(cell.then.assumed for cell in noisy)

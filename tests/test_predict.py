"""Predictions on unmaps whose costs are known: counts, times, sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.synthetic_unmaps import STEPS, Machine, Step
from tests.predicting import MACHINE, WHICH, observed, step_of, untraceable
from traceview.errors import QueryError, SettingError
from traceview.queries.call_costs import CallCost, leaf_from_range, range_from_leaf
from traceview.queries.prediction import Wish, predict
from traceview.queries.prediction_check import check
from traceview.queries.prediction_sizes import parse_sizes
from traceview.queries.range_operations import DESCENDING_31, sequence
from traceview.queries.strategy_counts import counts, range_operations
from traceview.queries.unmap_costs import Work, fit

if TYPE_CHECKING:
    from traceview.queries.strategy_counts import Strategy


# ---- counts


DONE = {"leaves": 512, "invalidate_table": 2, "table_put": 516, "cmo": 0}


def test_a_deferring_kernel_makes_one_range_call_and_none_per_leaf() -> None:
    found = counts(DONE, "deferred_range", "eager", (1, 2))
    assert (found.invalidate_leaf, found.invalidate_table, found.invalidate_range) == (0, 2, 1)
    assert (found.leaves, found.tables, found.table_put) == (512, 2, 516)


def test_deferred_tables_have_no_call_of_their_own() -> None:
    found = counts(DONE, "deferred_range", "deferred", (1, 2))
    assert (found.invalidate_table, found.tables) == (0, 2)


def test_an_empty_unmap_makes_a_range_call_all_the_same() -> None:
    empty = {"leaves": 0, "invalidate_table": 0, "table_put": 0, "cmo": 0}
    assert counts(empty, "deferred_range", "eager", (1, 1)).invalidate_range == 1
    assert counts(empty, "per_pte", "eager", (0, 0)).invalidate_leaf == 0


def test_tables_whose_flush_was_deferred_are_known_by_their_puts() -> None:
    done = {"leaves": 512, "invalidate_table": 0, "table_put": 516, "cmo": 0}
    assert counts(done, "per_pte", "eager", (0, 0)).invalidate_table == 2


def test_what_was_not_counted_is_not_predicted() -> None:
    done = {"leaves": 4, "invalidate_table": 0, "table_put": None, "cmo": None}
    found = counts(done, "deferred_range", "eager", (1, 1))
    assert (found.cmo, found.table_put) == (None, None)


@given(st.integers(1, 1 << 18))
def test_the_operations_of_an_unknown_range_hold_those_of_any(pages: int) -> None:
    fewest, most = range_operations(None, 4096, "6.12.0", lpa2=False)
    assert fewest <= len(sequence(DESCENDING_31, 0, pages, 4096)) <= most


def test_the_operations_of_a_range_are_those_of_the_kernels_formula() -> None:
    assert range_operations(511 * 4096, 4096, "6.12.0", lpa2=False) == (3, 3)
    assert range_operations(2 << 20, 4096, "6.1.0", lpa2=False) == (1, 1)
    assert range_operations(511 * 4096, 4096, None, lpa2=None)[1] > 3


@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 5)), min_size=3, max_size=8,
             unique=True),
)  # fmt: skip
@settings(max_examples=20)
def test_counts_there_and_back_are_the_same(kinds: list[tuple[int, int]]) -> None:
    for leaves, tables in kinds:
        done = {
            "leaves": leaves, "invalidate_table": tables, "table_put": leaves + 2 * tables,
            "cmo": 0,
        }  # fmt: skip
        there = counts(done, "deferred_range", "eager", (1, 3))
        back = counts(
            {
                "leaves": there.leaves, "invalidate_table": there.invalidate_table,
                "table_put": there.table_put, "cmo": there.cmo,
            }, "per_pte", "eager", (0, 0),
        )  # fmt: skip
        assert (back.invalidate_leaf, back.invalidate_table) == (leaves, tables)
        assert (back.invalidate_range, back.table_put) == (0, leaves + 2 * tables)


# ---- times


@pytest.mark.parametrize(("of", "to"), WHICH)
def test_the_other_strategy_lies_in_the_interval_predicted(of: Strategy, to: Strategy) -> None:
    held = 0
    for seed in range(3):
        for cell in predict(observed(of, seed), Wish(to)).cells:
            true = MACHINE.time(step_of(cell.location.cell["stem"]), to) + MACHINE.inside
            held += cell.then.low <= true <= cell.then.high
    assert held >= 20  # of 21


@pytest.mark.parametrize(("of", "to"), WHICH)
def test_the_middle_of_what_is_predicted_is_near_the_truth(of: Strategy, to: Strategy) -> None:
    for cell in predict(observed(of, machine=Machine(spread=0, interrupted=0)), Wish(to)).cells:
        true = MACHINE.time(step_of(cell.location.cell["stem"]), to) + MACHINE.inside
        if cell.before.leaves >= 128:
            assert cell.then.value == pytest.approx(true, rel=0.05)


def test_predicted_counts_are_those_of_the_other_strategy_one_by_one() -> None:
    found = check(predict(observed(), Wish("deferred_range")), observed("deferred_range", 2))
    assert found.counts_hold
    assert {one.name: one.compared for one in found.counts}["invalidate_leaf"] == 84
    assert all(time.inside for time in found.times)


def test_a_count_that_is_not_as_predicted_is_named_with_its_step() -> None:
    other = [replace(step, tables=step.tables + 1) for step in STEPS]
    found = check(
        predict(observed(), Wish("deferred_range")), observed("deferred_range", 2, steps=other)
    )
    assert not found.counts_hold
    (tables,) = [one for one in found.counts if one.name == "invalidate_table"]
    assert tables.equal == 0
    assert tables.first == ("64k.1", 2, 3)


def test_a_prediction_is_held_against_every_run_that_is_given() -> None:
    """One of three runs did other work: a third of the unmaps is not as predicted."""
    there = observed("deferred_range", 2, runs=3)
    last = pl.col("source_id") == 5
    other = there.unmaps.with_columns(
        pl.when(last).then(pl.col("invalidate_table") + 1).otherwise("invalidate_table")
    )
    found = check(predict(observed(), Wish("deferred_range")), replace(there, unmaps=other))
    assert found.unmaps == 3 * 84
    (tables,) = [one for one in found.counts if one.name == "invalidate_table"]
    assert (tables.compared, tables.equal) == (252, 168)


def test_captures_of_another_strategy_cannot_hold_a_prediction() -> None:
    with pytest.raises(QueryError, match="84 of 84 unmaps of --against do not invalidate by def"):
        check(predict(observed(), Wish("deferred_range")), observed("per_pte", 2))


def test_times_with_tracing_are_not_held_against_times_without() -> None:
    there = untraceable(observed("deferred_range", 2))
    found = check(predict(observed(), Wish("deferred_range")), there)
    assert found.counts_hold
    assert not found.times
    assert "detailed captures with what tracing cost them" in str(found.no_times)


def test_an_unmap_with_more_calls_takes_no_less_than_nothing() -> None:
    noisy = Machine(spread=0.6, interrupted=0.2, between_runs=0.3)
    for cell in predict(observed("deferred_range", 4, noisy, runs=2), Wish("per_pte")).cells:
        assert 0 < cell.then.low < cell.then.value < cell.then.high


def test_what_goes_with_a_range_call_is_open_too() -> None:
    empty = [Step("empty", 0, 0), *STEPS]
    still = Machine(spread=0, interrupted=0)
    found = predict(observed("deferred_range", machine=still, steps=empty), Wish("per_pte"))
    none = next(cell for cell in found.cells if cell.before.leaves == 0)
    assert none.then.low < none.then.value < none.then.high
    assert "around" in none.then.effects


def test_the_same_strategy_is_what_was_measured() -> None:
    found = predict(observed(), Wish())
    assert found.to == "per_pte"
    assert all(cell.then.value == cell.location.ns for cell in found.cells)


def test_assumptions_move_the_prediction_within_its_interval() -> None:
    for cell in predict(observed(), Wish("deferred_range")).cells:
        assert {"call", "range", "around"} <= cell.then.effects.keys()
        for low, high in cell.then.effects.values():
            assert cell.then.low <= low <= cell.then.value <= high <= cell.then.high


def test_a_cost_that_no_trace_shows_is_a_bracket() -> None:
    leaf = CallCost(1000.0, 950.0, 1100.0, 0.0, "measured")
    call = range_from_leaf(leaf, (1, 3))
    assert (call.low, call.value, call.high) == (950.0, 1500.0, 4400.0)
    back = leaf_from_range(CallCost(1500.0, 1500.0, 1500.0, 0.0, "measured"), (1, 3))
    assert back.low < 1000 < back.high


def test_without_a_calibration_the_prediction_holds_tracing_and_says_so() -> None:
    found = predict(untraceable(observed()), Wish("deferred_range"))
    assert found.measured.basis == "traced"
    cell = max(found.cells, key=lambda one: one.before.leaves)
    assert cell.location.ns > 1.1 * MACHINE.time(step_of("8m"), "per_pte")


# ---- costs, sizes


def test_costs_that_are_a_sum_are_found() -> None:
    works = [Work((("l3", float(n)),), float(t)) for n, t in ((1, 2), (16, 2), (128, 2), (512, 2),
                                                             (1024, 3), (2048, 5))]  # fmt: skip
    times = np.array([1000 + 250 * work.total + 600 * work.tables for work in works])
    found = fit(works, times, np.zeros(len(works)))
    assert found is not None
    assert dict(zip(found.names, found.costs, strict=True)) == pytest.approx(
        {"base": 1000, "l3": 250, "table": 600}, rel=1e-6
    )


def test_tables_that_never_vary_are_in_the_base() -> None:
    works = [Work((("l3", float(n)),), 2.0) for n in (1, 16, 128, 512)]
    found = fit(works, np.array([1200.0 + 250 * work.total for work in works]), np.zeros(4))
    assert found is not None
    assert found.names == ("base", "l3")


def test_two_sizes_tell_no_cost() -> None:
    works = [Work((("l3", float(n)),), 2.0) for n in (1, 16)]
    assert fit(works, np.array([1000.0, 5000.0]), np.zeros(2)) is None


def test_sizes_between_and_somewhat_beyond_are_predicted_and_far_ones_refused() -> None:
    wish = Wish("deferred_range", sizes=parse_sizes("768,3M,8192,1G,2G,3K"))
    found = predict(observed(), wish)
    assert not isinstance(found.fitted, str)
    said = {one.asked.text: one for one in found.sizes}
    for name, leaves in (("768", 768), ("3M", 768)):
        true = MACHINE.time(Step("", leaves, 3), "deferred_range")
        low, high = said[name].low, said[name].high
        assert low is not None
        assert high is not None
        assert low <= true <= high
    assert "times the 2,048 of the largest size" in str(said["1G"].refused)
    assert "never of more than 1 GiB" in str(said["2G"].refused)
    assert "no whole number of leaves" in str(said["3K"].refused)


def test_a_level_without_leaves_is_refused() -> None:
    with pytest.raises(QueryError, match="no unmap has leaves of level 2"):
        predict(observed(), Wish("deferred_range", level="l2"))


@pytest.mark.parametrize("text", ["", "0", "2X", "-1", "1.5M", "2M,,", "9" * 20])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="not a size"):
        parse_sizes(text)

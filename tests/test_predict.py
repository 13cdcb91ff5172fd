"""Predictions on unmaps whose costs are known: counts, times, intervals, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.synthetic_unmaps import STEPS, Machine, Step, captures
from traceview.errors import QueryError, SettingError
from traceview.queries.call_costs import CallCost, leaf_from_range, range_from_leaf
from traceview.queries.moderated_noise import moderated
from traceview.queries.predicted_cell import NARROW, key_of
from traceview.queries.prediction import Prediction, Wish, predict
from traceview.queries.prediction_cells import measured
from traceview.queries.prediction_check import check
from traceview.queries.prediction_holdout import Trial, hold_out
from traceview.queries.prediction_locations import cells_of, locations
from traceview.queries.prediction_sizes import parse_sizes
from traceview.queries.range_operations import DESCENDING_31, sequence
from traceview.queries.shortest_call import own_work_ns
from traceview.queries.stated_spread import ENOUGH, spreads_of
from traceview.queries.strategy_counts import counts, range_operations
from traceview.queries.unmap_costs import Work, fit

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.queries.strategy_counts import Strategy

MACHINE = Machine()
WHICH: tuple[tuple[Strategy, Strategy], ...] = (
    ("per_pte", "deferred_range"), ("deferred_range", "per_pte"),
)  # fmt: skip


def observed(
    strategy: Strategy = "per_pte", seed: int = 1, machine: Machine = MACHINE, **options: Any
) -> Analysis:
    return captures(machine, strategy, np.random.default_rng(seed), **options)


def trials(found: Prediction, splits: int = 10) -> dict[str, Trial]:
    return {one.kind: one for one in hold_out(found, splits)}


def untraceable(whole: Analysis) -> Analysis:
    """The detailed captures alone, with nothing that says what tracing cost them."""
    detailed = pl.col("source_id") % 2 == 1
    traced = replace(
        whole, sources=whole.sources.filter(detailed), unmaps=whole.unmaps.filter(detailed)
    )
    bare = replace(traced, tracing_costs=traced.tracing_costs.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name) for name in ("own_ns", "inside_ns", "call_ns")
    ))  # fmt: skip
    return replace(bare, unmaps=bare.unmaps.with_columns(pl.lit(None, pl.Int64).alias("probe_ns")))


def step_of(name: str) -> Step:
    return next(step for step in STEPS if step.name == name)


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


# ---- CPUs


def cpu_captures(*numbers: int) -> Analysis:
    parts = [
        captures(Machine(ipa=600 + 50 * n, spread=0.01, interrupted=0), "per_pte",
                 np.random.default_rng(n), cpus=n)
        for n in numbers
    ]  # fmt: skip
    frames = {}
    for name in ("sources", "unmaps", "traced_calls", "own_times", "tracing_costs"):
        shifted = [
            getattr(part, name).with_columns(
                (pl.col("source_id") + 2 * at).cast(pl.Int32),
                *([pl.lit(f"cpus-{numbers[at]}").alias("run")] if name == "sources" else []),
            )
            for at, part in enumerate(parts)
        ]
        frames[name] = pl.concat(shifted)
    return replace(parts[0], **frames)


def test_other_numbers_of_cpus_are_predicted_between_those_measured() -> None:
    found = predict(cpu_captures(2, 4, 16), Wish(cpus=8))
    for cell in found.cells:
        true = Machine(ipa=1000).time(step_of(cell.location.cell["stem"]), "per_pte")
        assert cell.then.low <= true <= cell.then.high
        assert cell.location.cell["cpus"] == 8


@pytest.mark.parametrize(
    ("numbers", "wanted", "why"),
    [((4,), 8, "at least 3 different numbers of CPUs"), ((2, 4), 3, "at least 3"),
     ((2, 4, 16), 64, "lies outside of what was measured")],
)  # fmt: skip
def test_other_numbers_of_cpus_are_refused_where_nothing_shows_them(
    numbers: tuple[int, ...], wanted: int, why: str
) -> None:
    with pytest.raises(QueryError, match=why):
        predict(cpu_captures(*numbers), Wish(cpus=wanted))


def test_traces_of_unlike_numbers_of_cpus_are_refused_together() -> None:
    with pytest.raises(QueryError, match="an invalidation waits for all of them"):
        predict(cpu_captures(2, 4, 16), Wish())


# ---- refusals


@pytest.mark.parametrize("fact", ["fwb", "tlbirange"])
def test_a_host_that_cannot_defer_is_refused_unless_as_if(fact: str) -> None:
    without = observed("per_pte", 1, MACHINE, **{fact: False})
    with pytest.raises(QueryError, match=f"would not defer.*no {fact.upper()}"):
        predict(without, Wish("deferred_range"))
    assert predict(without, Wish("deferred_range", as_if=True)).cells


def test_cache_maintenance_says_that_there_is_no_fwb() -> None:
    whole = observed(fwb=None)
    some = whole.unmaps.with_columns(pl.when(pl.col("cmo").is_not_null()).then(1).alias("cmo"))
    with pytest.raises(QueryError, match="so it has no FWB"):
        predict(replace(whole, unmaps=some), Wish("deferred_range"))


def test_several_kernels_are_refused() -> None:
    whole = observed(runs=2)
    kernels = pl.Series("kernel", ["6.1", "6.1", "6.12", "6.12"])
    two = replace(whole, sources=whole.sources.with_columns(kernels))
    with pytest.raises(QueryError, match="2 kernels"):
        predict(two, Wish("deferred_range"))


def test_both_strategies_are_measured_and_not_predicted() -> None:
    whole = observed()
    half = pl.int_range(pl.len()) % 2 == 0
    kind = whole.unmaps["strategy"].dtype
    mixed = whole.unmaps.with_columns(
        pl.when(half & (pl.col("strategy") == "per_pte"))
        .then(pl.lit("deferred_range", dtype=kind))
        .otherwise("strategy")
        .alias("strategy")
    )
    with pytest.raises(QueryError, match="compare --group strategy"):
        predict(replace(whole, unmaps=mixed), Wish("deferred_range"))


def test_an_unknown_strategy_is_refused_with_what_it_takes() -> None:
    whole = observed()
    kind = whole.unmaps["strategy"].dtype
    blind = whole.unmaps.with_columns(pl.lit("unknown", dtype=kind).alias("strategy"))
    with pytest.raises(QueryError, match="nVHE"):
        predict(replace(whole, unmaps=blind), Wish("deferred_range"))


def test_mostly_contaminated_unmaps_are_refused() -> None:
    whole = observed()
    kind = whole.unmaps["status"].dtype
    most = (pl.int_range(pl.len()) % 4 != 0) & (pl.col("traced_calls") > 0)
    lossy = whole.unmaps.with_columns(
        pl.when(most).then(pl.lit("contaminated", dtype=kind)).otherwise("status").alias("status")
    )
    with pytest.raises(QueryError, match="contaminated by loss"):
        predict(replace(whole, unmaps=lossy), Wish("deferred_range"))


def test_too_few_unmaps_are_refused() -> None:
    few = observed(steps=[Step("a", 4, 1, 3), Step("b", 8, 1, 3)])
    with pytest.raises(QueryError, match="6 unmaps can be used, fewer than the 8"):
        predict(few, Wish("deferred_range"))


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
                         runs=3)  # fmt: skip
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

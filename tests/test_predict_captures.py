"""Predictions held against captures: the other strategy, measured, on the same workload."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from traceview.parsers import open_trace
from traceview.queries import analyze
from traceview.queries.observer import priced
from traceview.queries.predicted_cell import NARROW
from traceview.queries.prediction import Prediction, Wish, predict
from traceview.queries.prediction_check import Check, check
from traceview.queries.prediction_holdout import hold_out
from traceview.queries.prediction_sizes import parse_sizes
from traceview.queries.stated_spread import ENOUGH

if TYPE_CHECKING:
    from traceview.queries import Analysis
    from traceview.queries.strategy_counts import Strategy

TRACES = Path(__file__).parent.parent.parent / "shared" / "traces"
SWITCH = Path(__file__).parent.parent / "sample_traces" / "switch-6.12"
captures = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.exists(), reason=f"the captures are not there: {TRACES}"),
]
SIDES = {"per_pte": "per-leaf-run-0[146]", "deferred_range": "deferred-run-0[235]"}


@cache
def observed(kernel: str, name: str) -> Analysis:
    folder = TRACES / "observer" / kernel
    return analyze(open_trace(next(folder.glob(f"{name}.txt*"))))


@cache
def calibrated(kernel: str) -> Analysis:
    return priced(observed(kernel, "split"), observed(kernel, "top"))


@cache
def side(strategy: Strategy) -> Analysis:
    from traceview.host import read_settings  # noqa: PLC0415

    paths = sorted(SWITCH.glob(f"{SIDES[strategy]}-*.xz"))
    return analyze([open_trace(path, settings=read_settings(path)) for path in paths])


@cache
def switched(of: Strategy, to: Strategy) -> tuple[Prediction, Check]:
    found = predict(side(of), Wish(to))
    return found, check(found, side(to))


@cache
def deferral_of_6_1() -> tuple[Prediction, Check]:
    found = predict(calibrated("6.1-max"), Wish("deferred_range"), observed("6.1-max", "top"))
    return found, check(found, calibrated("6.12-max"), observed("6.12-max", "top"))


@pytest.mark.captures
@captures[1]
def test_6_1_predicts_every_count_of_6_12_one_by_one() -> None:
    _, held = deferral_of_6_1()
    assert held.counts_hold
    assert {one.name: one.equal for one in held.counts} == dict.fromkeys(
        ("leaves", "invalidate_leaf", "invalidate_table", "invalidate_range", "cmo", "table_put"),
        42,
    )
    assert held.not_matched == 0


@pytest.mark.captures
@captures[1]
def test_times_of_6_12_lie_in_what_6_1_predicts_and_the_walk_says_why_they_differ() -> None:
    _, held = deferral_of_6_1()
    assert len(held.times) == 8
    assert all(time.inside for time in held.times)
    assert max(abs(time.off) for time in held.times) < 0.12
    largest = max(held.times, key=lambda time: time.cell.before.leaves)
    assert largest.walk_now is not None
    assert largest.walk_there is not None
    assert largest.walk_now / largest.walk_there == pytest.approx(1.053, abs=0.002)


@pytest.mark.captures
@captures[1]
@pytest.mark.parametrize("kernel", ["6.1-max", "6.12-max", "6.12-neoverse-n1"])
def test_a_half_of_the_captures_predicts_the_other(kernel: str) -> None:
    found = predict(calibrated(kernel), Wish(), observed(kernel, "top"))
    halves = next(one for one in hold_out(found) if one.kind == "halves")
    assert halves.coverage >= ENOUGH
    assert halves.half_width <= NARROW


@pytest.mark.captures
@captures[1]
def test_a_host_that_maintains_the_cache_is_told_that_it_cannot_defer() -> None:
    from traceview.errors import QueryError  # noqa: PLC0415

    with pytest.raises(QueryError, match="14,742 calls"):
        predict(
            calibrated("6.12-neoverse-n1"), Wish("deferred_range"),
            observed("6.12-neoverse-n1", "top"),
        )  # fmt: skip


@pytest.mark.captures
@captures[1]
def test_sizes_are_predicted_as_far_as_smaller_ones_predicted_larger_ones() -> None:
    wish = Wish("deferred_range", sizes=parse_sizes("4096,20000,16M"))
    found = predict(calibrated("6.1-max"), wish, observed("6.1-max", "top"))
    near, far, unknown = found.sizes
    assert near.refused is None
    assert "the largest size measured" in str(far.refused)
    assert "does not say of which level" in str(unknown.refused)


@pytest.mark.parametrize(
    ("of", "to"), [("per_pte", "deferred_range"), ("deferred_range", "per_pte")]
)
def test_the_switch_flipped_gives_what_was_predicted(of: Strategy, to: Strategy) -> None:
    found, held = switched(of, to)
    assert found.no_spread
    assert held.counts_hold
    assert min(one.compared for one in held.counts) == 102
    assert all(time.inside for time in held.times)
    assert max(abs(time.off) for time in held.times) < 0.04


def test_runs_that_are_held_out_are_predicted() -> None:
    found, _ = switched("per_pte", "deferred_range")
    trials = {one.kind: one for one in hold_out(found)}
    assert trials.keys() == {"halves", "costs", "sizes", "runs"}
    for one in trials.values():
        assert one.coverage >= ENOUGH
    assert trials["halves"].narrow == trials["halves"].tried

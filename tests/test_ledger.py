"""The exclusion ledger: every unmap is somewhere, once."""

from __future__ import annotations

import statistics
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.writers.analyses import analysis, source, unmap
from traceview.queries.filters import Filters, apply, undecided_unmaps
from traceview.queries.groups import groups
from traceview.queries.ledger import PLACES, ledger

unmaps_of_any_kind = st.fixed_dictionaries(
    {
        "source_id": st.integers(0, 1),
        "status": st.sampled_from(["complete", "censored", "contaminated", "point"]),
        "duration_ns": st.sampled_from([None, 1000]),
        "step": st.sampled_from([None, "s01", "s02"]),
        "trigger": st.sampled_from(["notifier", "memslot", "unknown"]),
        "cpu": st.sampled_from([None, 0, 1]),
        "start_ns": st.sampled_from([None, 10**9, 2 * 10**9]),
        "probe_ns": st.sampled_from([None, 10]),
        "probe_high_ns": st.sampled_from([None, 20]),
    }
)
filters_of_any_kind = st.sampled_from(
    [
        Filters(),
        Filters(triggers=("notifier",)),
        Filters(cpus=(1,)),
        Filters(from_ns=2 * 10**9),
        Filters(triggers=("memslot",), cpus=(0,), to_ns=10**9),
    ]
)


@given(st.lists(unmaps_of_any_kind, max_size=12), filters_of_any_kind)
@settings(deadline=None)
def test_every_unmap_that_began_is_in_one_place(
    unmaps: list[dict[str, Any]], filters: Filters
) -> None:
    whole = analysis([unmap(**one) for one in unmaps], [source(), source(source_id=1)])
    unmaps_with_times = whole.unmaps["start_ns"].null_count() < len(whole.unmaps)
    if (filters.from_ns or filters.to_ns) and len(whole.unmaps) and not unmaps_with_times:
        return  # refused: no times to filter by
    kept = apply(filters, whole)
    found = ledger(whole, kept, filters)
    assert found["source_id"].to_list() == [0, 1]
    assert found["began"].sum() == len(unmaps)
    assert found.filter(pl.sum_horizontal(PLACES) != pl.col("began")).is_empty()
    statistics = groups(kept)
    counted = statistics.filter(pl.col("status") == "complete")["count"].sum()
    assert int(found["counted"].sum()) + int(found["no_duration"].sum()) == counted
    assert found.filter(
        pl.sum_horizontal("cost_bounded", "cost_unknown") > pl.col("counted")
    ).is_empty()


def test_what_the_filters_leave_out_is_told_from_what_they_cannot_place() -> None:
    whole = analysis(
        [unmap(), unmap(trigger="memslot"), unmap(None, trigger="unknown", status="censored")]
    )
    filters = Filters(triggers=("notifier",))
    (row,) = ledger(whole, apply(filters, whole), filters).to_dicts()
    assert {name: row[name] for name in PLACES if row[name]} == {
        "left_out": 1, "undecided": 1, "counted": 1,
    }  # fmt: skip


def test_unmaps_of_a_source_that_cannot_say_what_it_lost_are_counted_and_flagged() -> None:
    whole = analysis([unmap(), unmap()], [source(loss_known=False)])
    (row,) = ledger(whole, whole).to_dicts()
    assert (row["counted"], row["loss_unknown"], row["cost_unknown"]) == (2, 2, 2)


def worst(excluded: list[dict[str, Any]], durations: list[int]) -> tuple[Any, ...]:
    found = groups(analysis([*(unmap(ns) for ns in durations), *excluded]))
    columns = ("excluded", "median_worst_low_ns", "median_ns", "median_worst_high_ns")
    return tuple(found.filter(pl.col("status") == "complete").select(columns).row(0))


CUT: dict[str, Any] = {"status": "censored", "leaves": None, "strategy": "unknown"}


def test_the_worst_case_is_that_all_excluded_were_shorter_or_longer() -> None:
    times = [100, 200, 300, 400, 500]
    assert worst([], times) == (0, 300, 300, 300)
    assert worst([unmap(None, **CUT)], times) == (1, 250, 300, 350)
    assert worst([unmap(None, **CUT)] * 2, times) == (2, 200, 300, 400)


def test_more_excluded_than_counted_leave_no_bound() -> None:
    assert worst([unmap(None, **CUT)] * 2, [100, 200]) == (2, 50, 150, None)
    assert worst([unmap(None, **CUT)] * 3, [100, 200]) == (3, 0, 150, None)


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=9), st.lists(st.integers(0, 50), max_size=9)
)
@settings(deadline=None)
def test_no_duration_of_the_excluded_takes_the_median_out_of_its_worst_case(
    counted: list[int], lost: list[int]
) -> None:
    out, low, _, high = worst([unmap(None, **CUT) for _ in lost], counted)
    truth = statistics.median(counted + lost)
    assert out == len(lost)
    assert low <= truth + 0.5  # whole nanoseconds
    assert high is None or truth <= high + 0.5


def test_only_what_may_be_of_the_group_is_excluded_from_it() -> None:
    elsewhere = [
        unmap(None, status="censored", strategy="deferred_range"),
        unmap(None, status="contaminated", trigger="memslot"),
        unmap(None, status="censored", leaves=1, leaves_l2=1, leaves_l3=0),
    ]
    assert worst(elsewhere, [100])[0] == 0
    assert worst([*elsewhere, unmap(None, **CUT)], [100])[0] == 1


def test_unmaps_that_a_filter_cannot_place_may_be_of_every_group() -> None:
    whole = analysis([unmap(100), unmap(None, trigger="unknown", **CUT)])
    filters = Filters(triggers=("notifier",))
    found = groups(apply(filters, whole), undecided_unmaps(filters, whole))
    assert found["excluded"].to_list() == [1]

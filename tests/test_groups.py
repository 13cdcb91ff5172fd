"""Statistics per group of unmaps."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.writers.analyses import analysis, source, unmap
from traceview.queries.correction import CORRECTED
from traceview.queries.groups import groups, median_ns, nearest_rank, p95_ns, trigger_groups
from traceview.schema import COMPONENTS, TIMED_COMPONENTS


def rank(values: list[int], percent: int) -> int:
    """The definition: the smallest value that percent % of the values do not exceed."""
    ordered = sorted(values)
    return next(v for v in ordered if sum(w <= v for w in ordered) * 100 >= percent * len(ordered))


@given(st.lists(st.integers(-(2**53), 2**53), min_size=1), st.sampled_from([1, 50, 95, 100]))
def test_the_nearest_rank_is_a_measured_value(values: list[int], percent: int) -> None:
    frame = pl.DataFrame({"v": values}, schema={"v": pl.Int64})
    assert frame.select(nearest_rank("v", percent)).item() == rank(values, percent)


def test_the_nearest_rank_of_nothing_is_null() -> None:
    frame = pl.DataFrame(
        {"k": [1, 2, 2], "v": [None, 5, None]}, schema={"k": pl.Int64, "v": pl.Int64}
    )
    got = frame.group_by("k", maintain_order=True).agg(nearest_rank("v", 95))
    assert got["v"].to_list() == [None, 5]


def test_the_median_of_an_even_number_is_the_mean_of_the_two_middle_ones() -> None:
    frame = pl.DataFrame({"v": [10, 30, 21, 40, None]})
    assert frame.select(median_ns("v")).item() == 26
    nothing = pl.DataFrame({"v": [None]}, schema={"v": pl.Int64})
    assert nothing.select(median_ns("v")).item() is None


def test_of_few_values_there_is_no_95th_percentile() -> None:
    few = pl.DataFrame({"v": range(19)})
    assert few.select(p95_ns("v")).item() is None
    assert pl.DataFrame({"v": range(20)}).select(p95_ns("v")).item() == 18


def test_only_complete_unmaps_enter_the_statistics() -> None:
    found = groups(
        analysis(
            [
                unmap(1000),
                unmap(3000),
                unmap(10**9, status="contaminated"),
                unmap(10**9, status="censored"),
            ]
        )
    )
    assert found.select("count", "leaves", "duration_ns", "median_ns", "p95_ns").rows() == [
        (2, 16, 4000, 2000, None)
    ]
    assert found["ns_per_leaf"].to_list() == [250.0]


def test_strategy_level_and_trigger_separate_groups_and_the_dearest_comes_first() -> None:
    found = groups(
        analysis(
            [
                unmap(100),
                unmap(200, trigger="memslot"),
                unmap(400, strategy="deferred_range"),
                unmap(800, leaves=2, leaves_l2=2, leaves_l3=0),
                unmap(50, leaves=3, leaves_l2=1, leaves_l3=2),
                unmap(10, leaves=0),
                unmap(5, leaves=None),
            ]
        )
    )
    assert found.select("strategy", "leaf_level", "trigger").rows() == [
        ("per_pte", "l2", "notifier"),
        ("deferred_range", "l3", "notifier"),
        ("per_pte", "l3", "memslot"),
        ("per_pte", "l3", "notifier"),
        ("per_pte", "mixed", "notifier"),
        ("per_pte", "none", "notifier"),
        ("per_pte", "unknown", "notifier"),
    ]


def test_unknown_leaves_give_no_time_per_leaf() -> None:
    found = groups(analysis([unmap(5, leaves=None)]))
    assert found.select("leaves", "ns_per_leaf").rows() == [(None, None)]


def test_known_leaves_of_unknown_level_are_kept_apart_from_unknown_leaves() -> None:
    placed = {"leaves_l1": None, "leaves_l2": None, "leaves_l3": None}
    found = groups(analysis([unmap(5, leaves=None), unmap(7, leaves=2, **placed)]))
    assert found.select("leaf_level", "leaves").rows() == [("unknown", 2), ("unknown", None)]


def test_a_component_that_one_unmap_lacks_goes_to_the_rest_of_the_group() -> None:
    found = groups(analysis([unmap(1000), unmap(2000, cmo_ns=None, rest_ns=130 * 2 + 400)]))
    row = found.row(0, named=True)
    assert row["cmo_ns"] is None
    assert "cmo_ns" not in row["separated"]
    assert row["invalidate_leaf_ns"] == 1800
    assert sum(row[name] or 0 for name in COMPONENTS) == row["duration_ns"] == 3000


@given(st.lists(st.tuples(st.integers(1, 10**12), st.booleans()), min_size=1))
@settings(deadline=None)
def test_components_always_sum_to_the_duration(drawn: list[tuple[int, bool]]) -> None:
    unmaps = [unmap(ns, table_put_ns=None) if lacks else unmap(ns) for ns, lacks in drawn]
    row = groups(analysis(unmaps)).row(0, named=True)
    assert sum(row[name] or 0 for name in COMPONENTS) == row["duration_ns"]
    assert math.isclose(row["ns_per_leaf"], row["duration_ns"] / row["leaves"])


def test_unmaps_recorded_by_entry_are_counted_without_times() -> None:
    found = groups(analysis([unmap(None, leaves=4, status="point"), unmap(100)]))
    assert found.select("status", "count", "leaves", "median_ns").rows() == [
        ("complete", 1, 8, 100),
        ("point", 1, 4, None),
    ]


def test_sources_of_one_label_are_one_group_and_paths_name_the_others() -> None:
    sources = [
        source(source_id=0, path="a", label="base"),
        source(source_id=1, path="b", label="base"),
        source(source_id=2, path="c"),
    ]
    found = groups(analysis([unmap(1), unmap(2, source_id=1), unmap(9, source_id=2)], sources))
    assert found.select("label", "count").rows() == [("c", 1), ("base", 2)]


def test_no_unmaps_give_no_groups() -> None:
    assert groups(analysis()).is_empty()


REQUEST = {
    "source_id": 0, "kind": "notifier", "symbol": "kvm_unmap_gfn_range", "status": "complete",
}  # fmt: skip


def test_requests_without_unmaps_are_idle_and_have_no_times() -> None:
    found = trigger_groups(
        analysis(
            triggers=[
                {**REQUEST, "trigger_id": 0, "duration_ns": 10, "unmaps": 0, "between_ns": 10},
                {**REQUEST, "trigger_id": 1, "duration_ns": 500, "unmaps": 2, "between_ns": 40},
            ]
        )
    )
    columns = ("count", "complete", "idle", "unknown", "unmaps", "median_ns", "between_ns")
    assert found.select(columns).rows() == [(2, 2, 1, 0, 2, 500, 40)]


def test_a_request_that_is_not_complete_is_counted_and_not_idle() -> None:
    found = trigger_groups(
        analysis(
            triggers=[
                {**REQUEST, "trigger_id": 0, "duration_ns": 500, "unmaps": 2, "between_ns": 40},
                {**REQUEST, "trigger_id": 1, "status": "censored"},
                {**REQUEST, "trigger_id": 2, "status": "contaminated", "duration_ns": 9},
            ]
        )
    )
    columns = ("count", "complete", "idle", "unknown", "unmaps", "median_ns")
    assert found.select(columns).rows() == [(3, 1, 0, 2, 2, 500)]


def test_where_unmaps_were_not_traced_nothing_is_known_to_be_idle() -> None:
    found = trigger_groups(
        analysis(triggers=[{**REQUEST, "trigger_id": at, "duration_ns": at} for at in (1, 5, 9)])
    )
    columns = ("count", "complete", "idle", "unknown", "unmaps", "median_ns", "between_ns")
    assert found.select(columns).rows() == [(3, 3, None, 3, None, 5, None)]


def test_flushes_that_one_unmap_cannot_tell_apart_stay_together_in_its_group() -> None:
    blurred = {"invalidate_leaf_ns": None, "invalidate_table_ns": None, "invalidate_ipa_ns": 620}
    told = {"invalidate_leaf": 8, "invalidate_table": 1, "invalidate_ipa": None}
    mixed = {"invalidate_leaf": None, "invalidate_table": None, "invalidate_ipa": 9}
    row = groups(analysis([unmap(1000, **told), unmap(1000, **blurred, **mixed)])).row(
        0, named=True
    )
    assert (row["invalidate_leaf_ns"], row["invalidate_table_ns"]) == (None, None)
    assert (row["invalidate_ipa_ns"], row["rest_ns"]) == (1240, 260)
    assert (row["invalidate_leaf"], row["invalidate_table"], row["invalidate_ipa"]) == (
        None, None, 18,
    )  # fmt: skip


def calibrated(**numbers: float) -> dict[str, Any]:
    return {
        "source_id": 0, "evidence": "fgraph", "method": "calibrated",
        "own_ns": 10.0, "own_low_ns": 8.0, "own_high_ns": 12.0,
        "inside_ns": 10.0, "inside_low_ns": 8.0, "inside_high_ns": 12.0,
        "call_ns": 20.0, "call_low_ns": 18.0, "call_high_ns": 22.0, **numbers,
    }  # fmt: skip


def counted_calls(unmap_id: int, source_id: int = 0, **counts: int) -> dict[str, Any]:
    none = {f"{name}_{what}": 0 for name in TIMED_COMPONENTS for what in ("calls", "nested")}
    return {"source_id": source_id, "unmap_id": unmap_id, "traced_calls": 3, **none, **counts}


def test_components_without_tracing_sum_to_the_whole_without_it() -> None:
    probe = {"probe_ns": 70, "probe_low_ns": 62, "probe_high_ns": 78, "traced_calls": 3}
    merged = {"invalidate_leaf_ns": None, "invalidate_table_ns": None, "invalidate_ipa_ns": 500}
    unmaps = [unmap(1000, **probe), unmap(2000, **probe, **merged, rest_ns=1000), unmap(
        1000, **probe, cmo_ns=None, rest_ns=330)]  # fmt: skip
    calls = [
        counted_calls(0, invalidate_leaf_calls=1, cmo_calls=2),
        counted_calls(1, invalidate_ipa_calls=2, cmo_calls=1),
        counted_calls(2, invalidate_table_calls=2),
    ]
    found = groups(analysis(unmaps, traced_calls=calls, tracing_costs=[calibrated()]))
    (row,) = found.to_dicts()
    assert row["probe_ns"] == 210
    assert row["corrected_ns"] == 4000 - 210
    assert row["corrected_median_ns"] == 930
    assert row["corrected_ns_per_leaf"] == (4000 - 210) / 24
    # The three as one, and cache maintenance, which one lacks, in the rest.
    assert row["invalidate_leaf_corrected_ns"] is row["cmo_corrected_ns"] is None
    assert row["invalidate_ipa_corrected_ns"] == 620 + 500 + 620 - 5 * 10
    parts = [f"{name}_corrected_ns" for name in CORRECTED]
    assert sum(row[name] or 0 for name in parts) == pytest.approx(row["corrected_ns"])
    assert row["cmo_ns"] is None
    assert row["rest_corrected_low_ns"] < row["rest_corrected_ns"] < row["rest_corrected_high_ns"]


def test_one_unmap_without_an_estimate_leaves_its_group_without_one() -> None:
    bound = calibrated(source_id=1) | {
        "method": "bounded",
        "own_ns": None,
        "inside_ns": None,
        "call_ns": None,
    }
    unmaps = [
        unmap(1000, probe_ns=70, probe_low_ns=62, probe_high_ns=78),
        unmap(1000, source_id=1, probe_low_ns=0, probe_high_ns=78),
    ]
    found = groups(
        analysis(
            unmaps, [source(label="a"), source(source_id=1, label="a")],
            traced_calls=[counted_calls(0), counted_calls(1, source_id=1)],
            tracing_costs=[calibrated(), bound],
        )
    )  # fmt: skip
    (row,) = found.to_dicts()
    assert row["corrected_ns"] is row["corrected_median_ns"] is row["rest_corrected_ns"] is None
    assert (row["corrected_low_ns"], row["corrected_high_ns"]) == (2 * (1000 - 78), 2000 - 62)
    assert row["table_put_corrected_high_ns"] == 100

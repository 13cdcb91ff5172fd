"""The calls that waterfalls draw: those of the slowest unmaps, without losing any of their time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from traceview import open_trace
from traceview.queries.analysis import Analysis, analyze
from traceview.queries.slow_calls import CALLS, SLOW_CALLS, UNMAPS, SlowCalls, fewer, slow_calls
from traceview.schema import TIMED_COMPONENTS

SAMPLES = Path(__file__).parent.parent / "sample_traces"
NAMES = (
    "fgraph-6.12-neoverse-n1.perfetto",
    "fgraph-6.12-max.txt.zst",
    "kprobes-6.1-max.dat.xz",
    "kprobes-6.12-max.perf.data",
    "insn-6.12-max.txt.xz",
)


def heard(*names: str) -> tuple[Analysis, pl.DataFrame]:
    slow = SlowCalls()
    found = analyze([open_trace(SAMPLES / name) for name in names], hear=slow.hear)
    return found, slow.table()


def slowest(found: Analysis) -> list[tuple[int, int]]:
    whole = found.unmaps.filter(pl.col("status") == "complete").drop_nulls("duration_ns")
    order = whole.sort(
        "duration_ns", "source_id", "unmap_id", descending=[True, False, False]
    ).head(UNMAPS)
    return order.select("source_id", "unmap_id").rows()


@pytest.mark.parametrize("name", NAMES)
def test_the_slowest_unmaps_are_kept_the_longest_first(name: str) -> None:
    found, calls = heard(name)
    assert dict(calls.schema) == SLOW_CALLS
    kept = calls.select("source_id", "unmap_id").unique(maintain_order=True).rows()
    assert kept == slowest(found)


def test_of_several_traces_the_slowest_of_all_are_kept() -> None:
    found, calls = heard(*NAMES[:3])
    kept = calls.select("source_id", "unmap_id").unique(maintain_order=True).rows()
    assert kept == slowest(found)


@pytest.mark.parametrize("name", NAMES)
def test_own_times_add_up_to_the_components_also_of_merged_calls(name: str) -> None:
    found, calls = heard(name)
    own = calls.group_by("unmap_id", "component").agg(pl.col("self_ns").sum())
    for unmap in found.unmaps.join(calls.select("unmap_id").unique(), on="unmap_id").iter_rows(
        named=True
    ):
        sums = dict(
            own.filter(pl.col("unmap_id") == unmap["unmap_id"])
            .select("component", "self_ns")
            .iter_rows()
        )
        assert sum(sums.values()) == unmap["duration_ns"]
        for part in (*TIMED_COMPONENTS, "rest"):
            assert sums.get(part, 0) == (unmap[f"{part}_ns"] or 0), part


@pytest.mark.parametrize("name", [*NAMES, "kprobes-6.12-neoverse-n1.txt.zst"])
def test_no_call_is_lost_by_merging_and_none_gets_a_time(name: str) -> None:
    found, calls = heard(name)
    counted = calls.group_by("unmap_id").agg(pl.col("calls").sum() - 1)
    assert (
        counted.join(found.unmaps, on="unmap_id")
        .filter(pl.col("calls") != pl.col("traced_calls"))
        .is_empty()
    )
    points = calls.filter(pl.col("status") == "point")
    assert points["duration_ns"].null_count() == len(points)


def test_calls_without_a_time_are_merged_by_themselves() -> None:
    _, calls = heard("kprobes-6.12-neoverse-n1.txt.zst")
    merged = calls.filter(pl.col("duration_ns").is_null() & (pl.col("calls") > 1))
    assert len(merged)
    assert merged["symbol"].null_count() == len(merged)
    found = fewer(calls.filter(pl.col("unmap_id") == calls["unmap_id"][0]), 50)
    without = found.filter(pl.col("duration_ns").is_null())
    assert without.select(pl.struct("depth", "component").is_unique()).to_series().all()


def test_an_unmap_with_very_many_calls_is_merged_and_says_how_many() -> None:
    found, calls = heard("insn-6.12-max.txt.xz")
    rows = calls.group_by("unmap_id", maintain_order=True).agg(
        pl.len().alias("rows"), pl.col("calls").sum(), pl.col("symbol").null_count().alias("merged")
    )
    many = rows.filter(pl.col("calls") > CALLS)
    assert len(many)
    assert (many["merged"] > 0).all()
    assert (rows["rows"] < 3 * CALLS).all()
    counted = rows.join(found.unmaps, on="unmap_id").with_columns(
        (pl.col("traced_calls") + 1).alias("expected")
    )
    assert counted["calls"].to_list() == counted["expected"].to_list()


def test_calls_of_named_unmaps_are_kept_on_request() -> None:
    trace = open_trace(SAMPLES / NAMES[0])
    ids = analyze(trace).unmaps["unmap_id"].to_list()
    wanted = {(0, ids[-1]), (0, ids[1])}
    slow = SlowCalls(wanted=wanted)
    analyze(trace, hear=slow.hear)
    assert set(slow.table().select("source_id", "unmap_id").rows()) == wanted


def test_what_filters_left_is_read_again_where_it_was_not_kept() -> None:
    traces = [open_trace(SAMPLES / name) for name in NAMES[1:4]]
    slow = SlowCalls(unmaps=2)
    found = analyze(traces, hear=slow.hear)
    fewest = found.unmaps.filter(pl.col("duration_ns") < found.unmaps["duration_ns"].median())
    left = replace(found, unmaps=fewest)
    calls = slow_calls(left.unmaps, slow, traces)
    kept = calls.select("source_id", "unmap_id").unique(maintain_order=True).rows()
    assert kept == slowest(left)
    own = calls.filter(pl.col("depth") == 0)
    assert own["duration_ns"].is_sorted(descending=True)
    assert len(own) == UNMAPS


@pytest.mark.parametrize("most", [5, 40, 150])
def test_merged_calls_lie_one_behind_another(most: int) -> None:
    _, calls = heard("insn-6.12-max.txt.xz")
    for _, of in calls.group_by("unmap_id"):
        left = fewer(of, most)
        assert left["self_ns"].sum() == of["self_ns"].sum()
        assert left["calls"].sum() == of["calls"].sum()
        behind = left.sort("depth", "offset_ns").select(
            (pl.col("offset_ns") - (pl.col("offset_ns") + pl.col("duration_ns")).shift(1))
            .over("depth")
            .alias("gap_ns")
        )
        assert (behind["gap_ns"].drop_nulls() >= 0).all()

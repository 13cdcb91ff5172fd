"""The calls of one unmap: all of them counted, drawn where they have a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from tests.drawn import calls, data, spec
from tests.writers.analyses import analysis, unmap
from traceview import open_trace
from traceview.queries.analysis import analyze
from traceview.queries.slow_calls import SLOW_CALLS, SlowCalls
from traceview.report.charts.waterfall import waterfall_chart
from traceview.report.wording import plural

SAMPLES = Path(__file__).parent.parent / "sample_traces"
WITH_CALLS = (
    "fgraph-6.12-max.txt.zst", "fgraph-6.12-neoverse-n1.perfetto",
    "insn-2-vcpus-6.12-max.txt.xz", "insn-6.12-max.txt.xz", "kprobes-6.1-max.dat.xz",
    "kprobes-6.1-max.perfetto.xz", "kprobes-6.12-max.perf.data", "kprobes-6.12-neoverse-n1.txt.zst",
)  # fmt: skip
WITHOUT_TIMES = "fgraph-latency-6.12-neoverse-n1.txt.zst"

if TYPE_CHECKING:
    from traceview.report.charts.chart import Chart


def unmaps_in(chart: Chart) -> list[str]:
    return list(dict.fromkeys(row["unmap"] for row in data(chart)))


def test_the_calls_of_the_slowest_unmap_are_shown_first() -> None:
    of = analysis([unmap(2000, 8, traced_calls=3), unmap(1000, 8)])
    chart = waterfall_chart(of, calls(of))
    assert chart.title == "The slowest unmap took 2.00 us and made 3 traced calls"
    assert unmaps_in(chart) == ["0:0", "0:1"]
    picked = {param["name"]: param.get("value") for param in spec(chart)["params"]}
    assert picked == {"picked_unmap": "0:0"}


def test_an_unmap_traced_alone_says_so() -> None:
    of = analysis([unmap(2000, 8, traced_calls=0)])
    chart = waterfall_chart(of, calls(of, number=0))
    assert chart.title == "The slowest unmap took 2.00 us; no call in it was traced"


def test_calls_of_unmaps_that_filters_left_out_are_not_drawn() -> None:
    of = analysis([unmap(2000, 8), unmap(1000, 8)])
    kept = analysis([unmap(1000, 8, unmap_id=1)])
    assert unmaps_in(waterfall_chart(kept, calls(of))) == ["0:1"]
    assert waterfall_chart(analysis([]), calls(of)).chart is None


def test_very_many_calls_stay_small_and_are_all_counted() -> None:
    of = analysis([unmap(10_000 - at, 8) for at in range(20)])
    table = calls(of, number=900)
    chart = waterfall_chart(of, table)
    assert "one bar" in chart.subtitle
    assert len(json.dumps(spec(chart))) < 350_000
    assert sum(row.get("calls", 1) for row in data(chart)) == table["calls"].sum()


def test_calls_without_a_time_are_counted_and_not_drawn() -> None:
    of = analysis([unmap(2000, 8, traced_calls=3, probe_high_ns=10), unmap(1000, 8)])
    inside = pl.col("depth") == 1
    at_entry = inside & (pl.col("call_id") > 1000)
    table = calls(of).with_columns(
        pl.when(~at_entry).then("duration_ns").alias("duration_ns"),
        pl.when(at_entry).then(pl.lit("point")).otherwise(pl.lit("complete"))
        .cast(SLOW_CALLS["status"]).alias("status"),
    )  # fmt: skip
    chart = waterfall_chart(of, table)
    assert chart.title == "The slowest unmap took 2.00 us and made 3 traced calls"
    assert (
        "Calls without a time are not drawn (only their entry was recorded): 2 in the slowest"
        " unmap." in chart.subtitle
    )
    assert len(data(chart)) == 4
    assert "Times are as recorded, what tracing cost included." in chart.subtitle


def test_a_page_that_shows_another_unmap_is_not_contradicted() -> None:
    of = analysis([unmap(2000, 8), unmap(1000, 8)])
    said = (
        "Drawn are the calls of the slowest unmap; on a page those of the one that is chosen, of 2."
    )
    assert said in waterfall_chart(of, calls(of)).subtitle
    alone = analysis([unmap(2000, 8)])
    assert "page" not in waterfall_chart(alone, calls(alone)).subtitle


def test_the_slowest_of_both_sides_is_first() -> None:
    of = analysis([unmap(1000, 8), unmap(2000, 8)])
    chart = waterfall_chart(of, calls(of))
    assert chart.title.startswith("The slowest unmap took 2.00 us")
    assert unmaps_in(chart) == ["0:1", "0:0"]
    assert {param["name"]: param.get("value") for param in spec(chart)["params"]} == {
        "picked_unmap": "0:1"
    }


@pytest.mark.parametrize("name", WITH_CALLS)
def test_the_title_counts_the_calls_that_the_report_counts(name: str) -> None:
    heard = SlowCalls()
    of = analyze(open_trace(SAMPLES / name), hear=heard.hear)
    table = heard.table()
    row = of.unmaps.filter(pl.col("status") == "complete").sort(
        "duration_ns", "unmap_id", descending=[True, False]
    ).row(0, named=True)  # fmt: skip
    chart = waterfall_chart(of, table)
    assert f"made {plural(row['traced_calls'], 'traced call')}" in chart.title
    mine = table.filter(pl.col("unmap_id") == row["unmap_id"])
    assert mine["calls"].sum() - 1 == row["traced_calls"]
    drawn = sum(
        one.get("calls", 1) for one in data(chart) if one["unmap"] == f"0:{row['unmap_id']}"
    )
    without = mine.filter(pl.col("duration_ns").is_null())["calls"].sum()
    assert drawn + without == row["traced_calls"] + 1
    assert (f": {without:,} in the slowest unmap" in chart.subtitle) == bool(without)


def test_durations_without_times_have_no_waterfall() -> None:
    heard = SlowCalls()
    of = analyze(open_trace(SAMPLES / WITHOUT_TIMES), hear=heard.hear)
    chart = waterfall_chart(of, heard.table())
    assert chart.absent == "there are no times of the calls, only durations"


def test_no_bundled_trace_is_missing_here() -> None:
    there = {path.name for path in SAMPLES.glob("*-6.*") if path.is_file()}
    known = {
        *WITH_CALLS,
        WITHOUT_TIMES,
        "cpuclock-6.12-neoverse-n1.script.txt.zst",
        "function-6.12-max.txt.zst",
    }
    assert {name for name in there if not name.endswith(".host.json")} - {"README.md"} == known

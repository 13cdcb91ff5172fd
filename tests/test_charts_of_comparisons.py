"""Charts of a comparison: titles that claim what the runs permit, intervals where there are any."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl
import pytest

from tests.drawn import HOSTILE, check, data, spec
from tests.writers.analyses import analysis, source, unmap
from tests.writers.sides import noisy, side
from traceview.queries.comparison import compare
from traceview.queries.observer import priced
from traceview.queries.slow_calls import SLOW_CALLS
from traceview.report.charts.compared_leaves import leaves_chart
from traceview.report.charts.comparison import comparison_charts
from traceview.report.charts.ratios import ratios_chart
from traceview.report.charts.runs import runs_chart
from traceview.report.charts.shift import shift_chart
from traceview.report.charts.sides import sides_of
from traceview.report.charts.time_sentences import headline_and_basis
from traceview.report.compared import compared

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.report.charts.chart import Chart
    from traceview.report.compared import Compared


def comparison(base: Analysis, with_: Analysis) -> Compared:
    return compared(compare(base, with_), {"base": base, "with": with_})


def compared_charts(base: Analysis, with_: Analysis) -> dict[str, Chart]:
    empty = pl.DataFrame(schema=SLOW_CALLS)
    return {one.code: one for one in comparison_charts(comparison(base, with_), empty)}


@pytest.fixture(scope="module")
def six_runs() -> dict[str, Chart]:
    orders = list(range(0, 12, 2))
    return compared_charts(
        side(100, label="before", factors=noisy(6, 1), orders=orders),
        side(50, label="after", strategy="deferred_range", factors=noisy(6, 2),
             orders=[at + 1 for at in orders]),
    )  # fmt: skip


def test_a_comparison_has_its_charts(six_runs: dict[str, Chart]) -> None:
    assert tuple(six_runs) == (
        "ratios", "leaves", "split", "split-recorded", "ecdf", "shift", "timeline", "waterfall",
    )  # fmt: skip
    for chart in six_runs.values():
        assert bool(chart.absent) == (chart.chart is None)


def test_the_title_of_the_ratios_is_the_headline_and_its_basis_stands_below(
    six_runs: dict[str, Chart],
) -> None:
    chart = six_runs["ratios"]
    assert chart.title.startswith(
        "With (after) is faster: per further leaf, over 4 sizes, base (before)"
    )
    assert chart.subtitle.startswith("95% interval ")
    rows = [row for row in data(chart) if "ratio" in row]
    assert [row["headline"] for row in rows] == [True, False, False, False, False]
    assert all(row["low"] < row["ratio"] < row["high"] for row in rows)


def test_one_run_a_side_has_points_and_no_intervals() -> None:
    found = sides_of(comparison(side(100, runs=1), side(50, runs=1, label="b")))
    ratios = ratios_chart(found)
    rows = [row for row in data(ratios) if "ratio" in row]
    assert not any("low" in row or "high" in row for row in rows)
    assert all(row["text"].endswith(", no interval") for row in rows)
    assert "no inference" in ratios.subtitle
    assert runs_chart(found).title == "One run a side: nothing is known of what runs differ by"


def test_the_split_without_tracing_and_the_recorded_one_have_axes_of_their_own(
    six_runs: dict[str, Chart],
) -> None:
    ends = [max(row["end"] for row in data(six_runs[code]) if "end" in row)
            for code in ("split", "split-recorded")]  # fmt: skip
    assert ends[0] < ends[1]
    assert "Times are without what tracing cost." in six_runs["split"].subtitle
    assert "Times are as recorded, with what tracing cost." in six_runs["split-recorded"].subtitle


def test_runs_stand_in_the_order_in_which_they_were_recorded(six_runs: dict[str, Chart]) -> None:
    rows = [row for row in data(six_runs["timeline"]) if "estimate" in row]
    assert [row["place"] for row in rows] == list(range(1, 13))
    assert [row["group"][:4] for row in rows] == ["base", "with"] * 6


def test_an_order_that_nobody_stated_is_not_made_up() -> None:
    nothing: list[int | None] = [None] * 2
    found = comparison(
        side(100, runs=2, orders=nothing), side(50, runs=2, orders=nothing, label="b")
    )
    assert "the order of the runs is not stated" in runs_chart(sides_of(found)).subtitle.lower()


def test_few_unmaps_have_no_shift_function(six_runs: dict[str, Chart]) -> None:
    assert six_runs["shift"].absent == "no size has 20 unmaps in every run of both sides"


def test_the_shift_function_has_a_point_per_decile() -> None:
    def many(per_leaf: int, label: str) -> Analysis:
        unmaps, sources = [], []
        for run in range(6):
            sources.append(source(source_id=run, run=f"{label}{run}", label=label, order=run))
            unmaps += [unmap(64 * per_leaf + 100 * run + at, 64, source_id=run) for at in range(30)]
        return priced(analysis(unmaps, sources))

    chart = shift_chart(sides_of(comparison(many(200, "a"), many(100, "b"))))
    rows = [row for row in data(chart) if "decile" in row]
    assert [row["decile"] for row in rows] == list(range(10, 100, 10))
    assert all(row["low"] < row["ratio"] < row["high"] for row in rows)
    assert chart.title.startswith("base / with is ")


def test_a_headline_is_taken_apart_at_its_last_bracket() -> None:
    assert headline_and_basis("with (b) is faster (1 run; method (x))") == (
        "With (b) is faster", "1 run; method (x)",
    )  # fmt: skip
    assert headline_and_basis("no headline") == ("No headline", "")


def test_names_of_sides_are_data_and_never_part_of_an_expression() -> None:
    found = comparison(
        side(100, label=HOSTILE), side(60, label=HOSTILE + "!", strategy="deferred_range")
    )
    for chart in comparison_charts(found, pl.DataFrame(schema=SLOW_CALLS)):
        if chart.chart is not None:
            check(chart)


@pytest.fixture(scope="module")
def alike() -> dict[str, Chart]:
    """Runs of a side that gave the same times."""
    turns = [0, 3, 5, 6, 8, 11], [1, 2, 4, 7, 9, 10]
    return compared_charts(same(200, "before", turns[0]), same(100, "after", turns[1]))


def same(per_leaf: int, label: str, orders: list[int]) -> Analysis:
    unmaps, sources = [], []
    for run, order in enumerate(orders):
        sources.append(source(source_id=run, run=f"{label}{run}", label=label, order=order))
        for leaves in (16, 64, 256):
            unmaps += [
                unmap(leaves * per_leaf + 100 + at, leaves, source_id=run) for at in range(20)
            ]
    return priced(analysis(unmaps, sources))


def test_runs_that_do_not_differ_have_no_interval_anywhere(alike: dict[str, Chart]) -> None:
    for code in ("ratios", "shift"):
        rows = [row for row in data(alike[code]) if "ratio" in row]
        assert rows
        assert not any("low" in row or "high" in row for row in rows)
    assert "interval" not in alike["ratios"].title
    assert "per further leaf" in alike["ratios"].title
    assert alike["ratios"].subtitle.startswith("6 runs a side; all runs of a side gave the same")
    assert "No intervals: all runs of a side gave the same times." in alike["shift"].subtitle
    assert alike["timeline"].title == (
        "The 6 runs of base (before) do not differ, the 6 runs of with (after) do not differ"
    )
    assert "grey" not in alike["ratios"].subtitle.lower()


def test_a_line_is_of_further_leaves_on_the_axis_too(alike: dict[str, Chart]) -> None:
    assert '"time per further leaf of a run"' in json.dumps(spec(alike["timeline"]))


def test_deciles_say_whether_tracing_is_in_them(alike: dict[str, Chart]) -> None:
    assert "what tracing cost" in alike["shift"].subtitle


def test_points_of_all_runs_together_are_not_called_those_of_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = sides_of(comparison(side(100, runs=2), side(50, runs=2, label="b")))
    assert "of a run, of the unmaps" in leaves_chart(found).description
    monkeypatch.setattr("traceview.report.charts.compared_leaves.MOST_POINTS", 10)
    pooled = leaves_chart(found)
    assert "of a run," not in pooled.description
    assert "the median over the runs of a side" in pooled.description
    assert "Points are medians over the runs of a side." in pooled.subtitle
    assert {row["run"] for row in data(pooled) if "run" in row} == {"all runs"}

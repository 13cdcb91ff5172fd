"""Charts: true titles, small data, no text of a trace in an expression, words where nothing is."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from tests.writers.analyses import analysis, source, unmap
from tests.writers.sides import noisy, side
from traceview.queries.comparison import compare
from traceview.queries.filters import Filters
from traceview.queries.observer import priced
from traceview.queries.slow_calls import SLOW_CALLS
from traceview.report.bar import PARTS
from traceview.report.charts.analysis import analysis_charts
from traceview.report.charts.axes import MOST_TICKS, log_ends, log_ticks, power_ticks
from traceview.report.charts.bars import ORDER
from traceview.report.charts.comparison import comparison_charts
from traceview.report.charts.groups import distinct, group_names, named_groups, short
from traceview.report.charts.leaves import leaves_chart
from traceview.report.charts.theme import (
    COMPONENTS,
    DASHES,
    GROUND,
    GROUPS,
    LETTERS,
    MUTED,
    SHAPES,
    TEXT,
    theme,
)
from traceview.report.charts.time_sentences import headline_and_basis
from traceview.report.charts.waterfall import waterfall_chart
from traceview.report.compared import compared
from traceview.report.contents import contents
from traceview.report.terminal import leaf_sizes
from traceview.schema import TIMED_COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.analysis import Analysis
    from traceview.report.charts.chart import Chart
    from traceview.report.compared import Compared
    from traceview.report.contents import Contents

HOSTILE = "</script><img src=x onerror=alert(1)>' + alert(1) + '\"\\\n\u202e" + "long " * 40
CODES = ("split", "leaves", "ecdf", "timeline", "waterfall")
# What Vega reads as code, wherever it stands in a specification.
EXPRESSIONS = frozenset({"expr", "filter", "calculate", "test", "labelExpr", "format", "update"})


def charts_of(of: Analysis, calls: pl.DataFrame | None = None) -> dict[str, Chart]:
    table = pl.DataFrame(schema=SLOW_CALLS) if calls is None else calls
    return {chart.code: chart for chart in analysis_charts(contents(of), table)}


def spec(chart: Chart) -> Any:
    assert chart.chart is not None, chart.absent
    return chart.chart.to_dict()


def data(chart: Chart) -> list[dict[str, Any]]:
    return [row for rows in spec(chart)["datasets"].values() for row in rows]


def leaves_of(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in a specification with the names that lead to it; not those of the data."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name not in {"datasets", "values"}:
                yield from leaves_of(value, (*path, name))
    elif isinstance(found, list):
        for value in found:
            yield from leaves_of(value, path)
    else:
        yield path, found


def sizes(*pairs: tuple[int, int], **columns: Any) -> list[dict[str, Any]]:
    return [unmap(ns, leaves, **columns) for leaves, ns in pairs]


# ---- an analysis


def test_every_chart_is_there_with_words_and_without_a_title_of_its_own() -> None:
    of = analysis(sizes((1, 1050), (8, 1400), (64, 4200)))
    found = charts_of(of, calls(of))
    assert tuple(found) == CODES
    for chart in found.values():
        assert chart.title
        assert chart.description
        assert not chart.absent
        assert "title" not in spec(chart)
        assert spec(chart)["width"] == "container"


def test_nothing_to_draw_is_said_in_one_sentence() -> None:
    found = charts_of(analysis([]))
    assert all(chart.chart is None for chart in found.values())
    assert found["split"].absent == "no unmap: there is no event at all"
    censored = charts_of(analysis([unmap(None, status="censored")]))
    assert censored["ecdf"].absent == "none of 1 unmap is complete and has a time above 0"


def test_one_unmap_is_called_one() -> None:
    found = charts_of(analysis([unmap(79_300, 8)]))
    assert found["timeline"].title == "One unmap, of 79.3 us"
    assert found["ecdf"].title == "One unmap took 79.3 us"
    assert found["leaves"].title == "Time per leaf of 1 unmap with 8 leaves"


def test_filters_that_keep_nothing_are_said() -> None:
    of = contents(analysis([unmap()]), Filters(cpus=(9,)))
    assert {chart.absent for chart in analysis_charts(of)} == {"no unmap passes the filters"}


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ("emulated", "Emulated time: no evidence about hardware."),
        ("synthetic", "Simulated time: no evidence about hardware."),
        ("unknown", "Origin unknown: not to be quoted as hardware latencies."),
        ("hardware", ""),
    ],
)
def test_times_that_are_not_of_hardware_are_called_so_in_every_chart(
    origin: str, said: str
) -> None:
    of = analysis(sizes((1, 1050), (8, 1400), (64, 4200)), [source(origin=origin)])
    for chart in charts_of(of, calls(of)).values():
        assert chart.subtitle.startswith(said)
        assert ("no evidence" in chart.subtitle) == (origin in {"emulated", "synthetic"})


# ---- leaves


def test_the_line_through_the_sizes_is_said_with_what_it_stands_on() -> None:
    chart = charts_of(analysis(sizes((1, 1050), (8, 1400), (64, 4200))))["leaves"]
    assert chart.title == "By the fitted line a further leaf takes 50.0 ns (3 unmaps of 3 sizes)"
    drawn = [row for row in data(chart) if "line_ns" in row]
    assert {round(row["line_ns"] * row["leaves"] - 1000 - 50 * row["leaves"]) for row in drawn} == {
        0
    }


@pytest.mark.parametrize(
    ("unmaps", "said"),
    [
        (sizes((1, 1000), (8, 2000)), "2 sizes, a line wants 3"),
        (sizes((1, 1000), (8, 9000), (64, 2000), (512, 90_000)), "more than 25% off"),
        (sizes((1, 900), (8, 900), (64, 900)), "more leaves do not take longer"),
        (sizes((1, 1050), (8, 1400), (64, 4200), leaves_l3=None), "may be of several sizes"),
    ],
)
def test_a_line_that_says_nothing_is_not_drawn_and_that_is_said(
    unmaps: list[dict[str, Any]], said: str
) -> None:
    chart = charts_of(analysis(unmaps))["leaves"]
    assert not [row for row in data(chart) if "line_ns" in row]
    assert "No line is drawn: " in chart.subtitle
    assert said in chart.subtitle
    assert chart.title.startswith("Time per leaf of ")


def test_unknown_leaves_have_no_chart_of_leaves() -> None:
    found = charts_of(analysis([unmap(1000, None)]))
    assert found["leaves"].absent == "the number of leaves of no complete unmap is known"
    empty = charts_of(analysis([unmap(1000, 0)]))
    assert empty["leaves"].absent == "no complete unmap of known size has a leaf"
    assert empty["split"].absent == "nothing was mapped in any complete unmap"
    assert empty["ecdf"].chart is not None


# ---- split


def test_the_segments_of_a_bar_are_the_shares_of_the_components() -> None:
    chart = charts_of(analysis([unmap(1000, 8)]))["split"]
    assert (
        chart.title
        == "Leaf invalidate calls are 60.0% of the recorded time (per_pte, 4K, notifier)"
    )
    segments = [row for row in data(chart) if "begin" in row]
    assert [(row["what"], row["ns"]) for row in segments] == [
        ("leaf invalidate calls", 600), ("table invalidate calls", 20),
        ("cache maintenance", 200), ("table release", 50), ("rest of the walk", 130),
    ]  # fmt: skip
    assert segments[0]["begin"] == 0
    assert segments[-1]["end"] == 1
    assert all(one["end"] == then["begin"] for one, then in pairwise(segments))


def test_where_tracing_is_only_bounded_the_least_is_drawn_and_the_rest_is_unknown() -> None:
    chart = charts_of(traced_in_detail())["split"]
    assert "bounded, not estimated" in chart.subtitle
    texts = [row["text"] for row in data(chart) if row.get("style") == "note"]
    assert any(text.startswith("without tracing: at least ") for text in texts)
    unknown = [row for row in data(chart) if row.get("unknown")]
    assert [row["what"] for row in unknown] == ["work or tracing, not known which"]
    assert unknown[0]["end"] == 1


def test_what_is_left_without_tracing_is_a_bar_of_its_own() -> None:
    of = side(100, runs=1)
    chart = charts_of(of)["split"]
    rows = contents(of).groups.filter(pl.col("leaves").is_not_null())
    texts = [row["text"] for row in data(chart) if row.get("style") == "note"]
    left = f"{rows['corrected_ns_per_leaf'][0]:.0f} ns per leaf"
    assert any(text.startswith(f"without tracing: {left}") for text in texts)
    assert not [row for row in data(chart) if row.get("unknown")]


def traced_in_detail() -> Analysis:
    """What tracing cost is known by the shortest calls only."""
    ends = {"low_ns": 0.0, "high_ns": 20.0}
    cost = {f"{what}_{end}": ns for what in ("inside", "own", "call") for end, ns in ends.items()}
    counts = {f"{name}_{what}": 4 for name in TIMED_COMPONENTS for what in ("calls", "nested")}
    return analysis(
        [unmap(1000, 8, probe_low_ns=0, probe_high_ns=400, traced_calls=100)],
        tracing_costs=[{"source_id": 0, "evidence": "fgraph", "method": "bounded", **cost}],
        traced_calls=[{"source_id": 0, "unmap_id": 0, "traced_calls": 100, **counts}],
    )


# ---- ecdf and timeline


def test_the_distribution_rises_from_nothing_to_all() -> None:
    chart = charts_of(analysis([unmap(ns, 8) for ns in range(1, 41)]))["ecdf"]
    assert chart.title == "Half of 40 unmaps took at most 20 ns, 95% at most 38 ns"
    shares = [row["share"] for row in data(chart)]
    assert (min(shares), max(shares)) == (0, 1)


def test_few_unmaps_have_no_95th_percentile() -> None:
    chart = charts_of(analysis([unmap(1000, 8), unmap(3000, 8)]))["ecdf"]
    assert chart.title == "2 unmaps took 1.00 us to 3.00 us"


def test_what_was_lost_is_shaded_and_said() -> None:
    losses = [{"source_id": 0, "kind": "lost_events", "cpu": 0, "from_ns": 2 * 10**9, "count": 9}]
    of = analysis([unmap(), unmap(), unmap(None, status="censored")], losses=losses)
    chart = charts_of(of)["timeline"]
    assert "events of some CPU were lost, in 50.0% of the time" in chart.subtitle
    assert "At the bottom: 1 unmap without a usable duration" in chart.subtitle
    bands = [row for row in data(chart) if "lost" in row]
    assert [(row["from_ns"], row["to_ns"], row["lost"]) for row in bands] == [(10**9, 2 * 10**9, 9)]


def test_loss_that_no_format_tells_of_is_unknown_and_not_none() -> None:
    chart = charts_of(analysis([unmap()], [source(loss_known=False)]))["timeline"]
    assert "Whether events were lost is not known." in chart.subtitle


def test_a_loss_without_a_time_is_counted() -> None:
    losses = [{"source_id": 0, "kind": "kprobe_missed", "count": 3}]
    chart = charts_of(analysis([unmap()], losses=losses))["timeline"]
    assert "1 loss of events without a time not drawn" in chart.subtitle


def test_the_slowest_unmaps_can_be_told_by_their_ids() -> None:
    of = analysis([unmap(at, 8) for at in range(1, 101)])
    rows = [row for row in data(charts_of(of)["timeline"]) if "unmap" in row]
    assert [row["unmap"] for row in rows] == [f"0:{at}" for at in range(99, 79, -1)]


def test_a_short_while_late_in_a_trace_is_seen_from_its_beginning() -> None:
    late = [unmap(1000, start_ns=2 * 10**9 + 5000 * at) for at in range(3)]
    axis = next(
        value for path, value in leaves_of(spec(charts_of(analysis(late))["timeline"]))
        if path[-3:] == ("x", "axis", "title") and value
    )  # fmt: skip
    assert axis == "began, since the first unmap (1.00 s after the trace's first event)"


def test_durations_without_times_have_no_timeline() -> None:
    found = charts_of(analysis([unmap(start_ns=None)]))
    assert found["timeline"].absent == "there are no times of the trace, only durations"
    assert found["ecdf"].chart is not None


def test_of_several_traces_a_page_asks_which_and_a_picture_shows_the_first() -> None:
    of = analysis(
        [unmap(1000 + at, source_id=at) for at in range(8)],
        [source(source_id=at, label=f"run {at}") for at in range(8)],
    )
    chart = charts_of(of)["timeline"]
    bound = [param for param in spec(chart)["params"] if "bind" in param]
    assert [param["name"] for param in bound] == ["picked_source"]
    assert bound[0]["value"] == 7
    assert bound[0]["bind"]["labels"] == [f"run {at}" for at in range(8)]
    assert chart.picture is not None
    assert len(chart.picture.to_dict()["vconcat"]) == 6


# ---- waterfall


def calls(of: Analysis, symbol: str = "stage2_unmap_walker", number: int = 3) -> pl.DataFrame:
    """Each unmap with *number* calls inside."""
    found = []
    for row in of.unmaps.iter_rows(named=True):
        ids = {"source_id": row["source_id"], "unmap_id": row["unmap_id"], "status": "complete",
               "cpu": 1, "calls": 1}  # fmt: skip
        found.append(ids | {
            "call_id": row["unmap_id"], "symbol": "kvm_pgtable_stage2_unmap", "depth": 0,
            "operation": "unmap", "component": "rest", "offset_ns": 0, "self_ns": 10,
            "duration_ns": row["duration_ns"],
        })  # fmt: skip
        found += [
            ids | {
                "call_id": 1000 + at, "parent_id": row["unmap_id"], "symbol": symbol, "depth": 1,
                "operation": "cmo", "component": "cmo", "offset_ns": 10 * at, "self_ns": 9,
                "duration_ns": 9,
            }
            for at in range(number)
        ]  # fmt: skip
    return pl.DataFrame(found, schema=SLOW_CALLS)


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


# ---- size


def test_the_data_of_a_chart_does_not_grow_with_the_number_of_unmaps() -> None:
    rows = [
        unmap(900 + 7 * at % 4099, 1 + at % 700, start_ns=10**9 + at * 1000,
              trigger="memslot" if at % 3 else "notifier")
        for at in range(12_000)
    ]  # fmt: skip
    for chart in charts_of(analysis(rows)).values():
        if chart.chart is not None:
            assert len(json.dumps(spec(chart))) < 200_000, chart.code


# ---- names


def hostile() -> tuple[Contents, pl.DataFrame]:
    of = analysis(
        [unmap(1000 + at, 1 << at % 9, source_id=at % 3, step=HOSTILE, comm=HOSTILE)
         for at in range(30)],
        [source(source_id=at, label=HOSTILE + "!" * at, path=HOSTILE, run=HOSTILE)
         for at in range(3)],
    )  # fmt: skip
    return contents(of), calls(of, HOSTILE)


def test_names_of_traces_are_data_and_never_part_of_an_expression() -> None:
    found, table = hostile()
    for chart in analysis_charts(found, table):
        check(chart)


def test_names_of_sides_are_data_and_never_part_of_an_expression() -> None:
    found = comparison(
        side(100, label=HOSTILE), side(60, label=HOSTILE + "!", strategy="deferred_range")
    )
    for chart in comparison_charts(found, pl.DataFrame(schema=SLOW_CALLS)):
        if chart.chart is not None:
            check(chart)


def check(chart: Chart) -> None:
    for drawing in (chart.chart, chart.picture):
        if drawing is None:
            continue
        text = json.dumps(drawing.to_dict())
        assert "\\n" not in text.replace("\\\\n", "")
        for path, value in leaves_of(drawing.to_dict()):
            is_code = path and path[-1] in EXPRESSIONS
            assert not (is_code and "script" in str(value)), path
            assert not {"href", "url"} & set(path)
            assert not (path[-1] == "type" and value == "image")
    assert "\n" not in chart.title + chart.subtitle
    assert len(chart.title) < 400


def test_names_are_no_longer_than_a_legend_can_show_and_stay_apart() -> None:
    found, _ = hostile()
    names = named_groups(found).rows["group"].to_list()
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 90


def test_a_long_name_keeps_its_ends() -> None:
    assert short("a" * 50 + "-run-07", 20) == "aaaaa...aaaaa-run-07"
    assert short("a\nb") == "a\\nb"
    assert distinct(["a", "a", "a (2)"]) == ["a", "a (2)", "a (2) (2)"]


def test_groups_are_called_what_the_report_calls_them() -> None:
    found = contents(analysis([
        unmap(9000, 8), unmap(8000, None), unmap(7000, 0, strategy="deferred_range"),
        unmap(6000, 0, strategy="none"), unmap(5000, 8, strategy="unknown", trigger="unknown"),
    ]))  # fmt: skip
    assert group_names(found.groups, leaf_sizes(found.analysis.sources)) == [
        "per_pte, 4K, notifier", "per_pte, leaves of unknown size, notifier",
        "deferred_range, nothing mapped, notifier", "nothing mapped, notifier",
        "strategy unknown, 4K, trigger unknown",
    ]  # fmt: skip


def test_more_groups_than_have_a_colour_are_counted() -> None:
    sources = [source(source_id=at, label=f"run {at}") for at in range(12)]
    found = charts_of(analysis([unmap(1000 + at, 8, source_id=at) for at in range(12)], sources))
    for code in ("split", "leaves", "ecdf", "timeline"):
        assert "4 smaller groups not drawn" in found[code].subtitle


# ---- a comparison


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
    found = compared_charts(side(100, runs=1), side(50, runs=1, label="b"))
    rows = [row for row in data(found["ratios"]) if "ratio" in row]
    assert not any("low" in row or "high" in row for row in rows)
    assert all(row["text"].endswith(", no interval") for row in rows)
    assert "no inference" in found["ratios"].subtitle
    assert found["timeline"].title == "One run a side: nothing is known of what runs differ by"


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
    found = compared_charts(
        side(100, runs=2, orders=nothing), side(50, runs=2, orders=nothing, label="b")
    )
    assert "the order of the runs is not stated" in found["timeline"].subtitle.lower()


def test_few_unmaps_have_no_shift_function(six_runs: dict[str, Chart]) -> None:
    assert six_runs["shift"].absent == "no size has 20 unmaps in every run of both sides"


def test_the_shift_function_has_a_point_per_decile() -> None:
    def many(per_leaf: int, label: str) -> Analysis:
        unmaps, sources = [], []
        for run in range(6):
            sources.append(source(source_id=run, run=f"{label}{run}", label=label, order=run))
            unmaps += [unmap(64 * per_leaf + 100 * run + at, 64, source_id=run) for at in range(30)]
        return priced(analysis(unmaps, sources))

    chart = compared_charts(many(200, "a"), many(100, "b"))["shift"]
    rows = [row for row in data(chart) if "decile" in row]
    assert [row["decile"] for row in rows] == list(range(10, 100, 10))
    assert all(row["low"] < row["ratio"] < row["high"] for row in rows)
    assert chart.title.startswith("base / with is ")


def test_a_headline_is_taken_apart_at_its_last_bracket() -> None:
    assert headline_and_basis("with (b) is faster (1 run; method (x))") == (
        "With (b) is faster", "1 run; method (x)",
    )  # fmt: skip
    assert headline_and_basis("no headline") == ("No headline", "")


# ---- looks


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, "contrast ratio"."""
    first, second = sorted((luminance(one), luminance(other)), reverse=True)
    return (first + 0.05) / (second + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_told_from_the_ground_and_letters_read(*, dark: bool) -> None:
    assert all(contrast(color, GROUND[dark]) >= 3 for color in GROUPS[dark])
    assert contrast(TEXT[dark], GROUND[dark]) >= 7
    assert contrast(MUTED[dark], GROUND[dark]) >= 4.5
    assert all(contrast(color, LETTERS) >= 4.5 for color in COMPONENTS)


def test_groups_differ_in_shape_and_dash_too() -> None:
    assert len(SHAPES) == len(DASHES) == len(GROUPS[False]) == len(GROUPS[True])
    assert len(set(SHAPES)) == len(SHAPES)
    assert len({tuple(dash) for dash in DASHES}) == len(DASHES)
    assert len(ORDER) == len(COMPONENTS) == len(PARTS)


@pytest.mark.parametrize("dark", [False, True])
def test_a_theme_is_plain_json(*, dark: bool) -> None:
    assert json.loads(json.dumps(theme(dark))) == theme(dark)


@pytest.mark.parametrize(
    ("low", "high"), [(1, 1), (9, 11), (1, 1e9), (0.02, 3), (41, 43), (7, 900)]
)
def test_an_axis_has_ticks_that_are_few_and_inside(low: float, high: float) -> None:
    ends = log_ends([low, high])
    ticks = log_ticks(*ends)
    assert ends[0] < low <= high < ends[1]
    assert 1 <= len(ticks) <= MOST_TICKS
    assert all(ends[0] <= tick <= ends[1] for tick in ticks)


def test_leaves_have_ticks_at_powers_of_two() -> None:
    assert power_ticks(0.8, 600) == [1, 4, 16, 64, 256]
    assert power_ticks(7, 40) == [8, 16, 32]


def test_a_group_alone_can_be_drawn() -> None:
    found = contents(analysis(sizes((1, 1050), (8, 1400), (64, 4200))))
    assert leaves_chart(found, named_groups(found)).chart is not None

"""Charts of an analysis: what their titles claim, what they draw, and what they say is not."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from tests.drawn import chart_of, data, leaves_of, sizes, spec
from tests.writers.analyses import analysis, source, unmap
from tests.writers.sides import side
from traceview.report.charts.samples import samples_chart
from traceview.report.charts.time_sentences import ORIGIN_WORDS
from traceview.report.contents import contents
from traceview.schema import TIMED_COMPONENTS

TRACING = "Times are as recorded, what tracing cost included."

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.report.charts.chart import Chart


# ---- leaves


def test_the_line_through_the_sizes_is_said_with_what_it_stands_on() -> None:
    chart = chart_of("leaves", analysis(sizes((1, 1050), (8, 1400), (64, 4200))))
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
    chart = chart_of("leaves", analysis(unmaps))
    assert not [row for row in data(chart) if "line_ns" in row]
    assert "No line is drawn: " in chart.subtitle
    assert said in chart.subtitle
    assert chart.title.startswith("Time per leaf of ")


def test_unknown_leaves_have_no_chart_of_leaves() -> None:
    unknown = chart_of("leaves", analysis([unmap(1000, None)]))
    assert unknown.absent == "the number of leaves of no complete unmap is known"
    empty = analysis([unmap(1000, 0)])
    assert chart_of("leaves", empty).absent == "no complete unmap of known size has a leaf"
    assert chart_of("split", empty).absent == "nothing was mapped in any complete unmap"
    assert chart_of("ecdf", empty).chart is not None


# ---- split


def test_the_segments_of_a_bar_are_the_shares_of_the_components() -> None:
    chart = chart_of("split", analysis([unmap(1000, 8)]))
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
    chart = chart_of("split", traced_in_detail())
    assert "bounded, not estimated" in chart.subtitle
    texts = [row["text"] for row in data(chart) if row.get("style") == "note"]
    assert any(text.startswith("without tracing: at least ") for text in texts)
    unknown = [row for row in data(chart) if row.get("unknown")]
    assert [row["what"] for row in unknown] == ["work or tracing, not known which"]
    assert unknown[0]["end"] == 1


def test_what_is_left_without_tracing_is_a_bar_of_its_own() -> None:
    of = side(100, runs=1)
    chart = chart_of("split", of)
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
    chart = chart_of("ecdf", analysis([unmap(ns, 8) for ns in range(1, 41)]))
    assert chart.title == "Half of 40 unmaps took at most 20 ns, 95% at most 38 ns"
    shares = [row["share"] for row in data(chart)]
    assert (min(shares), max(shares)) == (0, 1)


def test_few_unmaps_have_no_95th_percentile() -> None:
    chart = chart_of("ecdf", analysis([unmap(1000, 8), unmap(3000, 8)]))
    assert chart.title == "2 unmaps took 1.00 us to 3.00 us"


def test_what_was_lost_is_shaded_and_said() -> None:
    losses = [{"source_id": 0, "kind": "lost_events", "cpu": 0, "from_ns": 2 * 10**9, "count": 9}]
    of = analysis([unmap(), unmap(), unmap(None, status="censored")], losses=losses)
    chart = chart_of("timeline", of)
    assert "events of some CPU were lost, in 50.0% of the time" in chart.subtitle
    assert "At the bottom: 1 unmap without a usable duration" in chart.subtitle
    bands = [row for row in data(chart) if "lost" in row]
    assert [(row["from_ns"], row["to_ns"], row["lost"]) for row in bands] == [(10**9, 2 * 10**9, 9)]


def test_loss_that_no_format_tells_of_is_unknown_and_not_none() -> None:
    chart = chart_of("timeline", analysis([unmap()], [source(loss_known=False)]))
    assert "Whether events were lost is not known." in chart.subtitle


def test_a_loss_without_a_time_is_counted() -> None:
    losses = [{"source_id": 0, "kind": "kprobe_missed", "count": 3}]
    chart = chart_of("timeline", analysis([unmap()], losses=losses))
    assert "1 loss of events without a time not drawn" in chart.subtitle


def test_the_slowest_unmaps_can_be_told_by_their_ids() -> None:
    of = analysis([unmap(at, 8) for at in range(1, 101)])
    rows = [row for row in data(chart_of("timeline", of)) if "unmap" in row]
    assert [row["unmap"] for row in rows] == [f"0:{at}" for at in range(99, 79, -1)]


def test_a_short_while_late_in_a_trace_is_seen_from_its_beginning() -> None:
    late = [unmap(1000, start_ns=2 * 10**9 + 5000 * at) for at in range(3)]
    axis = next(
        value for path, value in leaves_of(spec(chart_of("timeline", analysis(late))))
        if path[-3:] == ("x", "axis", "title") and value
    )  # fmt: skip
    assert axis == "began, since the first unmap (1.00 s after the trace's first event)"


def test_durations_without_times_have_no_timeline() -> None:
    of = analysis([unmap(start_ns=None)])
    assert chart_of("timeline", of).absent == "there are no times of the trace, only durations"
    assert chart_of("ecdf", of).chart is not None


def test_of_several_traces_a_page_asks_which_and_a_picture_shows_the_first() -> None:
    of = analysis(
        [unmap(1000 + at, source_id=at) for at in range(8)],
        [source(source_id=at, label=f"run {at}") for at in range(8)],
    )
    chart = chart_of("timeline", of)
    bound = [param for param in spec(chart)["params"] if "bind" in param]
    assert [param["name"] for param in bound] == ["picked_source"]
    assert bound[0]["value"] == 7
    assert bound[0]["bind"]["labels"] == [f"run {at}" for at in range(8)]
    assert chart.picture is not None
    assert len(chart.picture.to_dict()["vconcat"]) == 6


def test_unmaps_that_print_alike_have_one_time() -> None:
    chart = chart_of("ecdf", analysis([unmap(16_104, 8), unmap(16_096, 8)]))
    assert chart.title == "2 unmaps took 16.1 us each"


def test_bands_that_were_drawn_as_one_are_not_counted_as_lost() -> None:
    step = 2 * 10**9 // 5000
    losses = [
        {"source_id": 0, "kind": "lost_events", "cpu": 0, "from_ns": 10**9 + at * step,
         "to_ns": 10**9 + at * step + step // 4}
        for at in range(5000)
    ]  # fmt: skip
    chart = chart_of("timeline", analysis([unmap()], losses=losses))
    assert (
        "events of some CPU were lost, in 25.0% of the time; stretches closer than 0.2% of the"
        " trace are drawn as one." in chart.subtitle
    )


@pytest.mark.parametrize("code", ["leaves", "ecdf", "timeline"])
@pytest.mark.parametrize(("cost", "said"), [(None, True), (40, True), (0, False)])
def test_whether_tracing_is_in_the_times_is_said(
    code: str, cost: int | None, *, said: bool
) -> None:
    costs = dict.fromkeys(("probe_ns", "probe_low_ns", "probe_high_ns"), cost)
    of = analysis(sizes((1, 1050), (8, 1400), **costs))
    assert (TRACING in chart_of(code, of).subtitle) == said


# ---- samples


def sampled(*pairs: tuple[int, str], origin: str = "hardware") -> Chart:
    """Ten samples each of these sources and events, most of them in cache maintenance."""
    rows = [
        {"source_id": at, "event": event, "operation": "cmo" if one < 7 else "walk", "ts_ns": one}
        for at, event in pairs for one in range(10)
    ]  # fmt: skip
    sources = [source(source_id=at, label=f"run {at}", origin=origin) for at, _ in pairs]
    found = samples_chart(contents(analysis([], sources[:1] + sources[2:], samples=rows)))
    assert found is not None
    return found


def test_the_title_of_samples_names_the_label_and_the_event_where_there_are_several() -> None:
    one = "70.0% of 10 samples inside unmaps fell into cache maintenance (39.7% to 89.2%"
    assert sampled((0, "cycles")).title == f"{one})"
    assert sampled((0, "cycles"), (0, "dtlb")).title == f"{one}; cycles)"
    assert sampled((0, "cycles"), (0, "dtlb"), (1, "dtlb")).title == f"{one}; run 0; cycles)"


@pytest.mark.parametrize("origin", ["emulated", "synthetic", "unknown"])
def test_samples_that_are_not_of_hardware_are_called_so(origin: str) -> None:
    assert sampled((0, "cycles"), origin=origin).subtitle.startswith(ORIGIN_WORDS[origin])

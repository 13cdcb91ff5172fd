"""Where in the distribution of one size the sides differ: the ratio of each decile."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import altair as alt

from traceview.queries.quantile_shift import FEWEST_UNMAPS
from traceview.queries.run_estimates import VARIANTS, of_cell
from traceview.report.charts.axes import log_ends, log_ticks
from traceview.report.charts.chart import Chart
from traceview.report.charts.compared_ecdf import largest
from traceview.report.charts.marks import exact, plain
from traceview.report.charts.sides import tracing_of
from traceview.report.charts.time_sentences import sentences, time_sentences
from traceview.report.compared import cell_words
from traceview.report.ratio_words import WITHOUT, given, ratio_ends, ratio_text
from traceview.report.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traceview.queries.quantile_shift import Shift
    from traceview.queries.recording_plan import Plan
    from traceview.report.charts.chart import Drawing
    from traceview.report.charts.sides import Sides

CODE: Final = "shift"
HEIGHT: Final = 260


def shift_chart(sides: Sides) -> Chart:
    """The chart, or why there is none."""
    size = largest(sides)
    of = size.shift
    data = [] if of is None else list(_data(sides))
    if of is None or not data:
        return Chart(
            CODE, "Ratio by decile", "", None,
            f"no size has {FEWEST_UNMAPS} unmaps in every run of both sides"
            if of is None else "a run has a decile of 0",
        )  # fmt: skip
    where = cell_words(size.cell, sides.found.leaf_sizes)
    first, last = data[0], data[-1]
    comparison = sides.found.comparison
    return Chart(
        CODE,
        f"base / with is {first['said']} at the {first['decile']}% decile and {last['said']} at the"
        f" {last['decile']}% ({where})",
        "One point per decile of the durations of one size: base / with of the means over runs;"
        " lines are intervals, where the runs permit any. Above the line at 1 with is faster.",
        _chart(data),
        subtitle=sentences([
            *time_sentences(comparison.base, comparison.with_), *_tracing(sides),
            _no_interval(data, of, comparison.plan), *_ties(of.tied),
        ]),
    )  # fmt: skip


def _no_interval(data: Sequence[dict[str, Any]], of: Shift, plan: Plan) -> str:
    """Why no decile has one: too few runs or unmaps, or what the plan says."""
    if any("low" in one for one in data):
        return ""
    why = of.descriptive or WITHOUT.get(plan.standing, "")
    return f"no intervals: {why.removesuffix(': no interval')}" if why else "no intervals"


def _tracing(sides: Sides) -> Iterator[str]:
    """Which times the deciles are of: without what tracing cost where all of the size are."""
    if not sides.found.untraced:
        cell = largest(sides).cell
        known = not any(
            of_cell(rows, cell)[VARIANTS["corrected"]].null_count()
            for rows in (sides.base, sides.with_)
        )
        yield tracing_of("corrected" if known else "raw")


def _ties(tied: float) -> Iterator[str]:
    if tied:
        yield f"up to {tied:.0%} of the unmaps of a run have one and the same duration"


def _data(sides: Sides) -> Iterator[dict[str, Any]]:
    of, plan = largest(sides).shift, sides.found.comparison.plan
    for one in of.quantiles if of is not None else ():
        if one.ratio is None or not isfinite(one.ratio.value) or one.ratio.value <= 0:
            continue
        interval = given(one.ratio, plan)
        ends = ratio_ends(interval)
        datum = {
            "decile": round(100 * one.quantile), "ratio": interval.value,
            "said": ratio_text(interval.value), "ends": "none" if ends == UNKNOWN else ends,
            "base_ns": one.base, "with_ns": one.with_,
        }  # fmt: skip
        if interval.low and interval.high and isfinite(interval.high):
            datum |= {"low": interval.low, "high": interval.high}
        yield datum


def _chart(data: list[dict[str, Any]]) -> Drawing:
    known = [one[name] for one in data for name in ("ratio", "low", "high") if name in one]
    low, high = log_ends([1.0, *known])
    y_axis = alt.Axis(title="base / with (log scale)", values=log_ticks(low, high), format="~g")
    scale = alt.Scale(type="log", domain=[low, high], nice=False)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=scale, axis=y_axis)

    x = alt.X(
        "decile:Q",
        scale=alt.Scale(domain=[5, 95], nice=False),
        axis=alt.Axis(title="decile of the durations (%)", values=list(range(10, 100, 10))),
    )
    base = alt.Chart(alt.InlineData(values=data))
    tooltip = [
        exact("decile", "decile (%)"), plain("said", "base / with"), plain("ends", "interval"),
        exact("base_ns", "base (ns, mean over runs)"), exact("with_ns", "with (ns)"),
    ]  # fmt: skip
    one = alt.Chart(alt.InlineData(values=[{"one": 1}])).mark_rule(style="reference")
    return alt.layer(
        one.encode(y=y("one")),
        base.mark_line(style="estimate", strokeWidth=1, opacity=0.5).encode(x=x, y=y("ratio")),
        base.transform_filter("isValid(datum.low)")
        .mark_rule(style="estimate", strokeWidth=3, opacity=0.7)
        .encode(x=x, y=y("low"), y2="high:Q"),
        base.mark_point(style="estimate", filled=True, size=90, opacity=1).encode(
            x=x, y=y("ratio"), tooltip=tooltip
        ),
        width="container",
        height=HEIGHT,
    )

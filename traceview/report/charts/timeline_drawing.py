"""How unmaps over time are drawn: in a page one trace at a time, in a picture several."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import altair as alt
import polars as pl

from traceview.report.charts.axes import log_times, times
from traceview.report.charts.marks import (
    IS_PICKED,
    PICKED_UNMAP,
    dimming,
    exact,
    group_color,
    group_fill,
    group_shape,
    picked_group,
    plain,
    values,
)
from traceview.report.charts.theme import DIMMED
from traceview.report.wording import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.report.charts.chart import Drawing

HEIGHT: Final = 300
ROW_HEIGHT: Final = 110  # of one of several traces in a picture
MOST_ROWS: Final = 6
WIDTH: Final = 760
PICKED_SOURCE: Final = "picked_source"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Tables by `source`: unmaps or stretches of them, the slowest, those without a time, losses.

    `groups`, `sources` (id: name) are those that are drawn; `time_ends` and `durations` make the
    axes, which are the same for every trace; the time axis begins to count at `origin_ns`.
    """

    points: pl.DataFrame
    slow: pl.DataFrame
    excluded: pl.DataFrame
    losses: pl.DataFrame
    groups: tuple[str, ...]
    sources: dict[int, str]
    time_ends: tuple[int, int]
    origin_ns: int
    durations: tuple[float, float]

    def of(self, source: int) -> Timeline:
        """The same of one trace."""
        mine = pl.col("source") == source
        return replace(
            self, points=self.points.filter(mine), slow=self.slow.filter(mine),
            excluded=self.excluded.filter(mine), losses=self.losses.filter(mine),
        )  # fmt: skip


def page(of: Timeline) -> Drawing:
    """One trace, of several the one that is chosen; first that of the slowest unmap."""
    several = len(of.sources) > 1
    chart = alt.layer(*_layers(of, chosen=several), width="container", height=HEIGHT)
    chart = chart.add_params(picked_group(), alt.param(name=PICKED_UNMAP, value=""))
    if not several:
        return chart
    box = alt.binding_select(
        options=list(of.sources), labels=list(of.sources.values()), name="trace "
    )
    first = int(of.slow["source"][0])
    return chart.add_params(alt.param(name=PICKED_SOURCE, value=first, bind=box))


def picture(of: Timeline) -> Drawing | None:
    """The first few traces below each other; None where there is one."""
    if len(of.sources) == 1:
        return None
    shown = list(of.sources.items())[:MOST_ROWS]
    rows = []
    for at, (source, name) in enumerate(shown):
        last = at == len(shown) - 1
        layers = _layers(of.of(source), titles=last)
        title = alt.TitleParams(name, fontSize=12, offset=6, fontWeight=500)
        rows.append(alt.layer(*layers, width=WIDTH, height=ROW_HEIGHT, title=title))
    chart = alt.vconcat(*rows, spacing=18)
    return chart.add_params(picked_group(), alt.param(name=PICKED_UNMAP, value=""))


def _layers(of: Timeline, *, chosen: bool = False, titles: bool = True) -> Iterator[alt.Chart]:
    """From the ground to the front; *chosen*: only of the trace that is chosen."""
    first, last = (end - of.origin_ns for end in of.time_ends)
    margin = 0 if len(of.losses) else max(1, (last - first) // 20)
    x = times("x_ns", _began(of) if titles else "", first - margin, last + margin)
    y = log_times("median_ns", "duration (log scale)" if titles else "duration", of.durations)
    if len(of.losses):
        yield _losses(_rows(of, of.losses, chosen=chosen), x)
    color, shape = group_color(of.groups), group_shape(of.groups)
    points = _rows(of, of.points, chosen=chosen).encode(x=alt.X(**x), opacity=dimming(0.85))
    if (of.points["unmaps"] > 1).any():
        yield points.mark_rule(strokeWidth=1).encode(y=alt.Y(**y), y2="max_ns:Q", color=color)
    yield points.mark_point(filled=True, size=36).encode(
        y=alt.Y(**y), color=color, shape=shape,
        tooltip=[
            plain("group", "group"), exact("at_ns", "began after (ns)"),
            exact("unmaps", "unmaps"), exact("median_ns", "duration (ns; of several, median)"),
            exact("max_ns", "longest (ns)"),
        ],
    )  # fmt: skip
    # One legend tells colour, filling and shape: Vega-Lite wants them alike.
    fill = group_fill(of.groups).legend(color["legend"])
    yield _slowest(_rows(of, of.slow, chosen=chosen), x, y).encode(
        color=color, shape=shape, fill=fill
    )
    if len(of.excluded):
        yield _without_time(_rows(of, of.excluded, chosen=chosen), x)


def _began(of: Timeline) -> str:
    if not of.origin_ns:
        return "began, since the trace's first event"
    return f"began, since the first unmap ({duration(of.origin_ns)} after the trace's first event)"


def _rows(of: Timeline, rows: pl.DataFrame, *, chosen: bool) -> alt.Chart:
    """*rows* with their place `x_ns` on the time axis."""
    chart = alt.Chart(values(rows))
    if chosen:
        chart = chart.transform_filter(f"datum.source == {PICKED_SOURCE}")
    return chart.transform_calculate(x_ns=f"datum.at_ns - {of.origin_ns}")


def _losses(rows: alt.Chart, x: dict[str, Any]) -> alt.Chart:
    """Bands in which events of some CPU were lost."""
    bands: alt.Chart = rows.mark_rect(style="loss", clip=True)
    return bands.encode(
        x=alt.X(**x | {"shorthand": "from_ns:Q"}), x2="to_ns:Q",
        tooltip=[
            exact("from_ns", "events lost from (ns)"), exact("to_ns", "to (ns)"),
            exact("losses", "losses"), exact("lost", "events"),
        ],
    )  # fmt: skip


def _slowest(rows: alt.Chart, x: dict[str, Any], y: dict[str, Any]) -> alt.Chart:
    """Ringed, larger, and to be clicked; the one that is picked is filled."""
    ringed: alt.Chart = rows.mark_point(size=130, strokeWidth=2.5, cursor="pointer")
    is_picked = f"datum.unmap == {PICKED_UNMAP}"
    return ringed.encode(
        x=alt.X(**x), y=alt.Y(**y | {"shorthand": "duration_ns:Q"}),
        opacity=alt.condition(IS_PICKED, alt.value(1), alt.value(DIMMED)),
        fillOpacity=alt.condition(is_picked, alt.value(1), alt.value(0.25)),
        tooltip=[
            plain("group", "group"), exact("duration_ns", "duration (ns)"),
            exact("leaves", "leaves"), exact("at_ns", "began after (ns)"), exact("cpu", "CPU"),
            plain("step", "step"), plain("unmap", "trace and unmap"),
        ],
    )  # fmt: skip


def _without_time(rows: alt.Chart, x: dict[str, Any]) -> alt.Chart:
    """Marks on the axis: these unmaps have no duration to be placed by."""
    ticks: alt.Chart = rows.mark_tick(style="excluded", yOffset=-7)
    return ticks.encode(
        x=alt.X(**x), y=alt.value({"expr": "height"}),
        tooltip=[
            plain("status", "unmaps without a usable duration"), exact("unmaps", "unmaps"),
            exact("at_ns", "began after (ns)"),
        ],
    )  # fmt: skip

"""The runs of both sides in the order in which they were recorded: what drifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import altair as alt
import polars as pl

from traceview.queries.matched_unmaps import UNKNOWN_RUN
from traceview.report.charts.axes import log_times, times
from traceview.report.charts.chart import Chart
from traceview.report.charts.groups import short
from traceview.report.charts.marks import (
    dimming,
    exact,
    group_color,
    group_dash,
    group_shape,
    picked_group,
    plain,
    values,
)
from traceview.report.charts.time_sentences import sentences
from traceview.report.compare_headline import headline_of
from traceview.report.ratio_words import ratio_text

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.report.charts.chart import Drawing
    from traceview.report.charts.sides import Sides

CODE: Final = "timeline"
HEIGHT: Final = 260
STRAIGHT: Final = 5  # runs that differ by more stand on a logarithmic axis


def runs_chart(sides: Sides) -> Chart:
    """The chart, or why there is none."""
    of = sides.found.comparison
    ratio = of.headline
    if ratio is None:
        return Chart(CODE, "Runs in order", "", None, "there is no ratio that stands for a run")
    runs = (of.base_runs, of.with_runs)
    if [len(side) for side in ratio.estimates] != [len(side) for side in runs]:
        return Chart(CODE, "Runs in order", "", None, "the largest size is not in every run")
    rows, known = _rows(sides)
    unit = (
        "time per further leaf" if sides.found.headline_line is not None else "duration of an unmap"
    )
    order = "" if known else "the order of the runs is not stated: they stand as they were given"
    return Chart(
        CODE, _title(ratio.estimates, sides),
        f"One point per run: {headline_of(sides.found)}; the runs of each side are connected in"
        " the order of recording.",
        _chart(rows, sides, f"{unit} of a run", known=known),
        subtitle=sentences([*sides.words, order, headline_of(sides.found)]),
    )  # fmt: skip


def _title(estimates: tuple[tuple[float, ...], ...], sides: Sides) -> str:
    if all(len(side) == 1 for side in estimates):
        return "One run a side: nothing is known of what runs differ by"
    parts = zip(sides.names, estimates, strict=True)
    text = ", ".join(_spread(name, of_side) for name, of_side in parts)
    return text[0].upper() + text[1:]


def _spread(name: str, estimates: tuple[float, ...]) -> str:
    if len(estimates) == 1:
        return f"one run of {name}"
    ratio = max(estimates) / min(estimates)
    percent = 100 * (ratio - 1)
    runs = f"the {len(estimates)} runs of {name}"
    if not percent:
        return f"{runs} do not differ"
    if ratio >= 2:
        return f"{runs} differ by up to a factor of {ratio_text(ratio)}"
    amount = f"up to {percent:.1f}%" if percent >= 0.05 else "less than 0.05%"
    return f"{runs} differ by {amount}"


def _rows(sides: Sides) -> tuple[pl.DataFrame, bool]:
    """One row per run with its place; whether the places are those of the recording."""
    of = sides.found.comparison
    assert of.headline is not None
    found: list[dict[str, Any]] = []
    for at, (side, runs) in enumerate(((of.base, of.base_runs), (of.with_, of.with_runs))):
        stated = _stated(side)
        for run, estimate in zip(runs, of.headline.estimates[at], strict=True):
            order, recorded = stated.get(run, (None, None))
            found.append({
                "group": sides.names[at], "run": short(run), "order": order,
                "recorded_at": recorded, "estimate": estimate, "given": len(found),
            })  # fmt: skip
    rows = pl.DataFrame(found, infer_schema_length=None)
    for column in ("order", "recorded_at"):
        if rows[column].null_count() == 0:
            place = pl.col(column).rank("dense").cast(pl.Int64).alias("place")
            return rows.with_columns(place).sort("place", maintain_order=True), True
    return rows.with_columns((pl.col("given") + 1).alias("place")), False


def _stated(side: Analysis) -> dict[str, tuple[int | None, str | None]]:
    rows = (
        side.sources.with_columns(pl.col("run").fill_null(UNKNOWN_RUN))
        .group_by("run")
        .agg(pl.col("order").min(), pl.col("recorded_at").min())
    )
    return {run: (order, at) for run, order, at in rows.iter_rows()}


def _chart(rows: pl.DataFrame, sides: Sides, title: str, *, known: bool) -> Drawing:
    names = sides.names
    places = sorted(set(rows["place"]))
    x = alt.X(
        "place:O",
        scale=alt.Scale(domain=places),
        axis=alt.Axis(
            title="position in the order of recording" if known else "run, as given",
            labelAngle=0,
        ),
    )
    ends = rows["estimate"]
    if max(ends) > STRAIGHT * min(ends):
        y = alt.Y(**log_times("estimate", f"{title} (log scale)", ends))
    else:
        y = alt.Y(**times("estimate", title, 0, 1.1 * max(ends)))
    base = alt.Chart(values(rows.drop("given"))).encode(x=x, y=y, detail="group:N")
    color = group_color(names)
    line = base.mark_line(strokeWidth=1.5).encode(
        color=color.legend(None), strokeDash=group_dash(names), opacity=dimming(0.7)
    )
    points = base.mark_point(filled=True, size=90).encode(
        color=color, shape=group_shape(names), opacity=dimming(),
        tooltip=[
            plain("group", "side"), plain("run", "run"), exact("estimate", "ns"),
            exact("order", "order"), plain("recorded_at", "recorded at"),
        ],
    )  # fmt: skip
    chart: Drawing = alt.layer(line, points, width="container", height=HEIGHT).resolve_scale(
        color="independent", shape="independent"
    )
    return chart.add_params(picked_group())

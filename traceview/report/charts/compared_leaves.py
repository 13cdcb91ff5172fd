"""ns per leaf against leaves, both sides, with the lines through the sizes of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import altair as alt
import numpy as np
import polars as pl

from traceview.queries.run_estimates import run_medians
from traceview.report.charts.axes import log_leaves, log_times
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
from traceview.report.compared import line_words
from traceview.report.wording import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.comparison import Line
    from traceview.report.charts.chart import Drawing
    from traceview.report.charts.sides import Sides

CODE: Final = "leaves"
POINTS: Final = 40
HEIGHT: Final = 320
MOST_POINTS: Final = 1_200  # of more run medians, runs are summed up
OF_RUNS: Final = "the median time per leaf of a run, of the unmaps of one size"
POOLED: Final = "the median over the runs of a side, of their median time per leaf of one size"
JITTER: Final = 1.06  # the sides stand beside each other


def leaves_chart(sides: Sides) -> Chart:
    """The chart, or why there is none."""
    rows, pooled = _points(sides)
    if rows.is_empty():
        return Chart(
            CODE, "Time per leaf of both sides", "", None,
            "the number of leaves of the unmaps that are compared is not known, or none",
        )  # fmt: skip
    lines = [line for line in sides.found.comparison.lines if line.ratio.variant == sides.variant]
    fitting = [line for line in lines if line.fits]
    drawn = pl.concat([_line_frame(), *(_drawn(line, sides) for line in fitting)])
    return Chart(
        CODE, _title(fitting, sides),
        f"Points: {POOLED if pooled else OF_RUNS}; the sides stand a little apart. Lines: the mean"
        " over the runs of a side of the line through its sizes. Both axes are logarithmic.",
        _chart(rows, drawn, sides),
        subtitle=sentences([
            *sides.words, "points are medians over the runs of a side" if pooled else "",
            *_not_drawn(lines, sides),
        ]),
    )  # fmt: skip


def _points(sides: Sides) -> tuple[pl.DataFrame, bool]:
    """The median of each run and size; of very many that over the runs, and whether they are."""
    frames = []
    for name, rows in zip(sides.names, (sides.base, sides.with_), strict=True):
        medians = run_medians(rows.filter(pl.col("leaves") > 0)).with_columns(
            pl.lit(name).alias("group"), pl.col(sides.variant).cast(pl.Float64).alias("time")
        )
        frames.append(medians.select("group", "run", "leaves", "unmaps", "time"))
    rows = pl.concat(frames).filter(pl.col("time") > 0)
    pooled = len(rows) > MOST_POINTS
    if pooled:
        rows = rows.group_by("group", "leaves", maintain_order=True).agg(
            pl.lit("all runs").alias("run"), pl.col("unmaps").sum(), pl.col("time").median()
        )
    runs = pl.col("run").cast(pl.String).map_elements(short, return_dtype=pl.String)
    apart = pl.when(pl.col("group") == sides.names[0]).then(1 / JITTER).otherwise(JITTER)
    found = rows.select(
        "group", runs.alias("run"), "leaves", (pl.col("leaves") * apart).alias("place"), "unmaps",
        "time", (pl.col("time") / pl.col("leaves")).alias("per_leaf"),
    )  # fmt: skip
    return found, pooled


def _line_frame() -> pl.DataFrame:
    text, number_type = pl.String(), pl.Float64()
    return pl.DataFrame(
        schema={"group": text, "line": text, "place": number_type, "per_leaf": number_type}
    )


def _drawn(line: Line, sides: Sides) -> pl.DataFrame:
    """Both sides of a line, per leaf."""
    at = np.geomspace(min(line.sizes), max(line.sizes), POINTS)
    words = line_words(line, sides.found.leaf_sizes)
    parts = []
    for name, slope, intercept in (
        (sides.names[0], line.base_slope, line.base_intercept),
        (sides.names[1], line.with_slope, line.with_intercept),
    ):
        per_leaf = slope + intercept / at
        parts.append(
            pl.DataFrame({
                "group": [name] * POINTS, "line": [f"{name}: {words}"] * POINTS, "place": at,
                "per_leaf": per_leaf,
            })
        )  # fmt: skip
    return pl.concat(parts).filter(pl.col("per_leaf") > 0)


def _title(fitting: list[Line], sides: Sides) -> str:
    longest = max(fitting, key=lambda line: max(line.sizes), default=None)
    if longest is None:
        return "Time per leaf of both sides, by the number of leaves"
    base, with_ = (f"{number(one)} ns" for one in (longest.base_slope, longest.with_slope))
    of = f", {line_words(longest, sides.found.leaf_sizes)}" if len(fitting) > 1 else ""
    return (
        f"By the fitted lines a further leaf takes {base} on {sides.names[0]} and {with_} on"
        f" {sides.names[1]}{of}"
    )


def _not_drawn(lines: list[Line], sides: Sides) -> Iterator[str]:
    off = [line for line in lines if not line.fits]
    for line in off[:2]:
        words = line_words(line, sides.found.leaf_sizes)
        yield f"no line is drawn for {words}: a size is {line.misfit:.0%} off it"
    if not sides.found.comparison.lines:
        yield "no line is drawn: fewer than 3 sizes in every run of both sides"
    elif not lines:
        yield "no line is drawn: the lines are of other times than the points"


def _chart(rows: pl.DataFrame, lines: pl.DataFrame, sides: Sides) -> Drawing:
    names = sides.names
    places = [*rows["place"], *lines["place"]]
    x = alt.X(**log_leaves("place", "leaves of the unmap (log scale)", places, rows["leaves"]))
    ends = [*rows["per_leaf"], *lines["per_leaf"]]
    y = alt.Y(**log_times("per_leaf", "time per leaf (log scale)", ends))
    color = group_color(names)
    points = (
        alt.Chart(values(rows))
        .mark_point(filled=False, size=60, strokeWidth=1.8)
        .encode(
            x=x, y=y, color=color, shape=group_shape(names), opacity=dimming(0.9),
            tooltip=[
                plain("group", "side"), plain("run", "run"), exact("leaves", "leaves"),
                exact("unmaps", "unmaps"), exact("time", "median (ns)"),
                exact("per_leaf", "ns per leaf"),
            ],
        )
    )  # fmt: skip
    layers = [points]
    if len(lines):
        drawn = alt.Chart(values(lines)).mark_line(strokeWidth=2)
        layers.insert(0, drawn.encode(
            x=x, y=y, color=color.legend(None), strokeDash=group_dash(names), detail="line:N",
            opacity=dimming(), tooltip=[plain("line", "line"), exact("per_leaf", "ns per leaf")],
        ))  # fmt: skip
    chart: Drawing = alt.layer(*layers, width="container", height=HEIGHT).resolve_scale(
        color="independent", shape="independent"
    )
    return chart.add_params(picked_group())

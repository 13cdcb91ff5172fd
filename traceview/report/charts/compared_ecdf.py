"""The durations of one size on both sides, as distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.ecdf import ecdf
from traceview.queries.run_estimates import VARIANTS, as_float, of_cell
from traceview.report.charts.chart import Chart
from traceview.report.charts.ecdf import ecdf_drawing
from traceview.report.charts.time_sentences import sentences
from traceview.report.compared import cell_words
from traceview.report.ratio_words import time_text

if TYPE_CHECKING:
    from traceview.queries.comparison import Size
    from traceview.report.charts.sides import Sides

CODE: Final = "ecdf"


def ecdf_chart(sides: Sides) -> Chart:
    """The chart of the largest size."""
    size = largest(sides)
    frames = []
    for name, rows in zip(sides.names, (sides.base, sides.with_), strict=True):
        times = of_cell(rows, size.cell)[VARIANTS[sides.variant]].cast(pl.Float64)
        frames.append(pl.DataFrame({"value": times}).with_columns(pl.lit(name).alias("group")))
    rows = pl.concat(frames).filter(pl.col("value") > 0)
    if rows.is_empty():
        return Chart(CODE, "Distribution of durations", "", None, "no unmap has a time above 0")
    points = ecdf(rows, "group", "value")
    where = cell_words(size.cell, sides.found.leaf_sizes)
    medians = [time_text(_median(points, name)) for name in sides.names]
    more = len(sides.found.comparison.sizes) - 1
    return Chart(
        CODE,
        f"Half of the unmaps took at most {medians[0]} on {sides.names[0]}, {medians[1]} on"
        f" {sides.names[1]} ({where})",
        "Share of the unmaps of each side that took at most the time below, which is on a"
        " logarithmic axis; all runs of a side together.",
        ecdf_drawing(points, sides.names, "duration of an unmap (log scale)"),
        subtitle=sentences([
            *sides.words, "all runs of a side together: the spread of unmaps is no interval",
            f"the largest of {more + 1} sizes" if more else "",
        ]),
    )  # fmt: skip


def _median(points: pl.DataFrame, name: str) -> float | None:
    """The smallest duration that half of the unmaps do not exceed, among the points."""
    half = points.filter((pl.col("group") == name) & (pl.col("share") >= 0.5))
    return as_float(half["value"].min())


def largest(sides: Sides) -> Size:
    """The size with the most leaves, of those with a shift function where there is one."""
    sizes = sides.found.comparison.sizes
    having = [size for size in sizes if size.shift is not None] or sizes
    return max(having, key=lambda size: size.cell["leaves"] or 0)

"""All charts of a comparison, in the order in which a report shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.report.charts.compared_ecdf import ecdf_chart
from traceview.report.charts.compared_leaves import leaves_chart
from traceview.report.charts.compared_split import split_charts
from traceview.report.charts.ratios import ratios_chart
from traceview.report.charts.runs import runs_chart
from traceview.report.charts.shift import shift_chart
from traceview.report.charts.sides import sides_of
from traceview.report.charts.waterfall import waterfall_chart
from traceview.report.compared import joined

if TYPE_CHECKING:
    import polars as pl

    from traceview.report.charts.chart import Chart
    from traceview.report.compared import Compared


def comparison_charts(found: Compared, slow_calls: pl.DataFrame) -> list[Chart]:
    """The charts of *found*; *slow_calls*: those of single unmaps, sources as joined() has them."""
    sides = sides_of(found)
    return [
        ratios_chart(sides), leaves_chart(sides), *split_charts(sides), ecdf_chart(sides),
        shift_chart(sides), runs_chart(sides), waterfall_chart(joined(found), slow_calls),
    ]  # fmt: skip

"""All charts of an analysis, in the order in which a report shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.report.charts.ecdf import ecdf_chart
from traceview.report.charts.groups import named_groups
from traceview.report.charts.leaves import leaves_chart
from traceview.report.charts.samples import samples_chart
from traceview.report.charts.split import split_chart
from traceview.report.charts.timeline import timeline_chart
from traceview.report.charts.waterfall import waterfall_chart

if TYPE_CHECKING:
    import polars as pl

    from traceview.report.charts.chart import Chart
    from traceview.report.contents import Contents


def analysis_charts(found: Contents, slow_calls: pl.DataFrame | None = None) -> list[Chart]:
    """The charts of *found*; with *slow_calls* (SlowCalls.table()) also that of single unmaps."""
    groups = named_groups(found)
    charts = [
        split_chart(found, groups),
        leaves_chart(found, groups),
        ecdf_chart(found, groups),
        timeline_chart(found, groups),
    ]
    samples = samples_chart(found)
    charts += [] if samples is None else [samples]
    return charts if slow_calls is None else [*charts, waterfall_chart(found.analysis, slow_calls)]

"""How the durations of unmaps are distributed, group by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import altair as alt
import polars as pl

from traceview.queries.ecdf import ecdf
from traceview.report.charts.axes import log_times
from traceview.report.charts.chart import Chart
from traceview.report.charts.groups import no_unmaps
from traceview.report.charts.marks import (
    dimming,
    exact,
    group_color,
    group_dash,
    picked_group,
    plain,
    values,
)
from traceview.report.charts.time_sentences import sentences, time_sentences, tracing_sentences
from traceview.report.wording import duration, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.report.charts.chart import Drawing
    from traceview.report.charts.groups import Groups
    from traceview.report.contents import Contents

CODE: Final = "ecdf"
HEIGHT: Final = 300
FEW: Final = 20  # of fewer, a 95th percentile is the longest


def ecdf_chart(found: Contents, groups: Groups) -> Chart:
    """The chart, or why there is none."""
    if groups.unmaps.is_empty():
        return Chart(CODE, "Distribution of durations", "", None, no_unmaps(found))
    rows = ecdf(groups.of_drawn(), "group", "duration_ns")
    names = [name for name in groups.drawn if name in rows["group"].unique()]
    return Chart(
        CODE,
        _title(groups),
        "Share of the unmaps of each group that took at most the time below, which is on a"
        " logarithmic axis; the ends are the shortest and the longest that were measured.",
        ecdf_drawing(rows, names, "duration of an unmap (log scale)"),
        subtitle=sentences([
            *time_sentences(found.analysis), *tracing_sentences(groups.rows), _excluded(found),
            groups.not_drawn,
        ]),
    )  # fmt: skip


def _excluded(found: Contents) -> str:
    """That some unmaps are not in it, and which these are likely to be."""
    if (found.analysis.unmaps["status"].cast(pl.String) == "complete").all():
        return ""
    why = "; long ones are likelier to meet a loss" if len(found.whole.losses) else ""
    return f"only complete unmaps{why}"


def _title(groups: Groups) -> str:
    """Of the group with the most time."""
    row = groups.rows.row(0, named=True)
    name = f" ({row['group']})" if len(groups.rows) > 1 else ""
    if row["count"] == 1:
        return f"One unmap took {duration(row['median_ns'])}{name}"
    if row["count"] < FEW:
        ends = [duration(row[end]) for end in ("min_ns", "max_ns")]
        said = f"{ends[0]} each" if ends[0] == ends[1] else " to ".join(ends)
        return f"{plural(row['count'], 'unmap')} took {said}{name}"
    if row["median_ns"] == row["p95_ns"]:
        return f"Half of {row['count']:,} unmaps took at most {duration(row['median_ns'])}{name}"
    return (
        f"Half of {row['count']:,} unmaps took at most {duration(row['median_ns'])}, 95% at most"
        f" {duration(row['p95_ns'])}{name}"
    )


def ecdf_drawing(rows: pl.DataFrame, names: Sequence[str], title: str) -> Drawing:
    """*rows* of queries.ecdf.ecdf() by `group`, as steps that rise from 0."""
    begins = rows.group_by("group", maintain_order=True).first()
    begins = begins.with_columns(
        pl.lit(0, pl.Int64).alias("at_most"), pl.lit(0.0).alias("share")
    ).select(rows.columns)
    x = alt.X(**log_times("value", title, [*rows["value"]]))
    y = alt.Y(
        "share:Q",
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(title="share of unmaps at most as long", format=".0%", tickCount=5),
    )
    base = alt.Chart(values(pl.concat([begins, rows])))
    line = (
        base.mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=x, y=y, color=group_color(names, lines=True),
            strokeDash=group_dash(names, lines=True), detail="group:N",
            opacity=dimming(),
        )
    )  # fmt: skip
    points = (
        base.transform_filter("datum.at_most > 0")
        .mark_point(filled=True, size=30)
        .encode(
            x=x, y=y, color=group_color(names, lines=True), opacity=dimming(_of_points(rows)),
            tooltip=[
                plain("group", "group"), exact("value", "duration (ns)"),
                exact("at_most", "unmaps at most as long"), exact("of", "unmaps"),
                alt.Tooltip("share:Q", title="share", format=".1%"),
            ],
        )
    )  # fmt: skip
    return (
        alt.layer(line, points)
        .properties(width="container", height=HEIGHT)
        .add_params(picked_group())
    )


def _of_points(rows: pl.DataFrame) -> float:
    """Many points hide the steps they stand on: then they are only there to be asked."""
    most = rows.group_by("group").len()["len"].max()
    return 1.0 if isinstance(most, int) and most <= 25 else 0.0

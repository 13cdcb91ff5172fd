"""Where a profiler's samples fell inside unmaps: shares, with what counting alone leaves open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import altair as alt

from traceview.report.charts.chart import Chart
from traceview.report.charts.groups import short
from traceview.report.charts.marks import exact, plain
from traceview.report.charts.time_sentences import sentences, time_sentences
from traceview.report.samples import DOING, HOW_TO_READ
from traceview.report.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from traceview.report.charts.chart import Drawing
    from traceview.report.contents import Contents

CODE: Final = "samples"
MOST_ROWS: Final = 24
TEXT: Final = 20
BAR: Final = 16
GAP: Final = 8
UNNAMED: Final = "unknown (frames without names)"


def samples_chart(found: Contents) -> Chart | None:
    """The chart; None without samples inside unmaps."""
    rows = found.sample_groups
    if rows.is_empty():
        return None
    first = rows.row(0, named=True)
    more = len(rows) - MOST_ROWS
    of = "".join(f"; {name}" for name in _names(first, rows))
    title = (
        f"{_percent(first['share'])} of {plural(first['of'], 'sample')} inside unmaps fell into"
        f" {_doing(first)} ({_percent(first['share_low'])} to {_percent(first['share_high'])}{of})"
    )
    return Chart(
        CODE, title,
        "One bar per part of an unmap: its share of the samples that fell inside unmaps; the thin"
        " line is the 95% interval of counting alone.",
        _drawing(found),
        subtitle=sentences([
            *time_sentences(found.analysis), HOW_TO_READ,
            f"{plural(more, 'smaller part')} not drawn" if more > 0 else "",
        ]),
    )  # fmt: skip


def _percent(part: float) -> str:
    return f"{100 * part:.1f}%"


def _doing(row: dict[str, Any]) -> str:
    return DOING[row["operation"]] if row["operation"] is not None else UNNAMED


def _names(row: dict[str, Any], rows: pl.DataFrame) -> list[str]:
    """The label and the event that the samples of *row* are of, where there are several."""
    return [short(row[name]) for name in ("label", "event") if rows[name].n_unique() > 1]


def _drawing(found: Contents) -> Drawing:
    rows = found.sample_groups
    data = [
        _datum(row, at * (TEXT + BAR + GAP), _names(row, rows))
        for at, row in enumerate(rows.head(MOST_ROWS).iter_rows(named=True))
    ]
    height = len(data) * (TEXT + BAR + GAP)
    down = alt.Scale(domain=[0, height], reverse=True, nice=False)
    axis = alt.Axis(
        title="share of the samples inside unmaps", format=".0%", tickCount=5, grid=False
    )
    scale = alt.Scale(domain=[0, 1], nice=False)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=down, axis=None)

    base = alt.Chart(alt.InlineData(values=data))
    tooltip = [
        plain("what", "doing"), exact("samples", "samples"), exact("of", "of"),
        alt.Tooltip("share:Q", title="share", format=".1%"),
        alt.Tooltip("low:Q", title="at least", format=".1%"),
        alt.Tooltip("high:Q", title="at most", format=".1%"),
    ]  # fmt: skip
    return alt.layer(
        base.mark_rect(style="share").encode(
            x=x("zero"), x2="share:Q", y=y("top"), y2="bottom:Q", tooltip=tooltip
        ),
        base.mark_rule(style="estimate", strokeWidth=2).encode(
            x=x("low"), x2="high:Q", y=y("middle"), tooltip=tooltip
        ),
        base.mark_text(
            align="left", baseline="middle", style="label", limit={"expr": "width"}
        ).encode(x=alt.value(0), y=y("text_y"), text="text:N"),
        width="container", height=height,
    )  # fmt: skip


def _datum(row: dict[str, Any], top: float, names: Sequence[str]) -> dict[str, Any]:
    what = _doing(row)
    of = f"{', '.join(names)}: " if names else ""
    return {
        "what": what, "text": f"{of}{what}: {_percent(row['share'])}, {row['samples']:,} of"
        f" {row['of']:,}",
        "samples": row["samples"], "of": row["of"], "share": row["share"], "zero": 0,
        "low": row["share_low"], "high": row["share_high"], "text_y": top + TEXT / 2,
        "top": top + TEXT, "middle": top + TEXT + BAR / 2, "bottom": top + TEXT + BAR,
    }  # fmt: skip

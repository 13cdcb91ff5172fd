"""The calls of one unmap, each a bar from its begin to its end, below the call that made it.

The calls of all unmaps that were kept are in the data; `picked_unmap` says which are drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import altair as alt
import polars as pl

from traceview.queries.slow_calls import fewer
from traceview.report.charts.axes import TIME_LABELS
from traceview.report.charts.bars import ORDER, PART_OF
from traceview.report.charts.chart import Chart
from traceview.report.charts.groups import short
from traceview.report.charts.marks import PICKED_UNMAP, exact, plain, values
from traceview.report.charts.time_sentences import sentences, time_sentences, tracing_sentences
from traceview.report.wording import count, duration, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.analysis import Analysis
    from traceview.report.charts.chart import Drawing

CODE: Final = "waterfall"
KEYS: Final = ["source_id", "unmap_id"]
ROW: Final = 24
MOST_ROWS: Final = 1_200  # of all unmaps together, but for
MOST_FIRST: Final = 400  # the slowest, which is shown first
LONGEST_SYMBOL: Final = 64
NAMELESS: Final = "a short call"
# Whether the bar is wider than the name of its call, at 7 pixels a character.
IS_WIDE: Final = "scale('x', datum.end_ns) - scale('x', datum.offset_ns) > 4"
HAS_ROOM: Final = (
    "scale('x', datum.end_ns) - scale('x', datum.offset_ns) > 7 * length(datum.symbol) + 8"
)
WHAT: Final = {name: part.what for name, part in PART_OF.items()}


def waterfall_chart(analysis: Analysis, calls: pl.DataFrame) -> Chart:
    """The chart of *calls* (queries.slow_calls.SLOW_CALLS), the slowest unmap first."""
    calls = _in_order(calls, analysis)
    timed = calls.drop_nulls(["offset_ns", "duration_ns", "depth"])
    if timed.is_empty():
        return Chart(
            CODE, "The calls of one unmap", "", None,
            "no calls of a complete unmap were kept" if calls.is_empty()
            else "there are no times of the calls, only durations",
        )  # fmt: skip
    rows = _rows(timed)
    unmaps = analysis.unmaps.join(calls, on=KEYS, how="semi")
    first = rows.row(0, named=True)
    depths = int(rows["depth"].max() or 0) + 1  # type: ignore[arg-type]
    return Chart(
        CODE, _title(calls, unmaps),
        "Bars: the calls of the chosen unmap, from when each began to when it returned; the row is"
        " how deep it was called, the unmap itself on top; the colour is the component that its"
        " time counts to.",
        _chart(rows, str(first["unmap"]), depths),
        subtitle=sentences([
            *time_sentences(analysis), *tracing_sentences(unmaps), *_shown(unmaps),
            *_without_time(calls), *_merged(rows),
        ]),
    )  # fmt: skip


def _in_order(calls: pl.DataFrame, analysis: Analysis) -> pl.DataFrame:
    """Of several tables behind one another the slowest unmap of all is first."""
    took = pl.col("duration_ns").alias("took_ns")
    found = calls.join(
        analysis.unmaps.select(*KEYS, took), on=KEYS, how="inner", maintain_order="left"
    )
    return found.sort("took_ns", descending=True, maintain_order=True).drop("took_ns")


def _slowest(calls: pl.DataFrame) -> pl.DataFrame:
    """The calls of the first unmap."""
    return calls.join(calls.select(KEYS).head(1), on=KEYS, how="semi", maintain_order="left")


def _title(calls: pl.DataFrame, unmaps: pl.DataFrame) -> str:
    """Of the slowest unmap, whichever is chosen; its calls are those that the report counts."""
    slowest = unmaps.join(calls.select(KEYS).head(1), on=KEYS, how="semi").row(0, named=True)
    took, inside = duration(slowest["duration_ns"]), slowest["traced_calls"]
    if inside is None:
        return f"The slowest unmap took {took}"
    if not inside:
        return f"The slowest unmap took {took}; no call in it was traced"
    return f"The slowest unmap took {took} and made {plural(inside, 'traced call')}"


def _shown(unmaps: pl.DataFrame) -> Iterator[str]:
    if len(unmaps) > 1:
        yield (
            "drawn are the calls of the slowest unmap; on a page those of the one that is chosen,"
            f" of {len(unmaps)}"
        )


def _without_time(calls: pl.DataFrame) -> Iterator[str]:
    """How many calls are no bar: of most that lack a time only the entry was recorded."""
    no_time = pl.col("duration_ns").is_null() | pl.col("offset_ns").is_null()
    without = calls.filter(no_time)
    if len(without):
        of = int(_slowest(calls).filter(no_time)["calls"].sum())
        entries = " (only their entry was recorded)" if _are_points(without) else ""
        yield f"calls without a time are not drawn{entries}: {count(of)} in the slowest unmap"


def _are_points(calls: pl.DataFrame) -> bool:
    return bool((calls["status"].cast(pl.String) == "point").all())


def _merged(rows: pl.DataFrame) -> Iterator[str]:
    if rows["calls"].count():
        yield (
            "of unmaps with many calls the short ones of one component and stretch of time are one"
            " bar, as long as all of them together"
        )


def _rows(calls: pl.DataFrame) -> pl.DataFrame:
    """The calls with their words; of too many the short ones of each unmap are merged further."""
    most = max(40, MOST_ROWS // calls.select(KEYS).n_unique())
    parts = [
        fewer(of, most if at else MOST_FIRST)
        for at, (_, of) in enumerate(calls.group_by(KEYS, maintain_order=True))
    ]
    rows = pl.concat(parts)
    symbol = pl.col("symbol").cast(pl.String).map_elements(_symbol, return_dtype=pl.String)
    symbol = symbol.fill_null(NAMELESS)
    several = pl.col("calls").map_elements(
        lambda number: f"{count(number)} calls merged", return_dtype=pl.String
    )
    status = pl.col("status").cast(pl.String)
    return rows.select(
        pl.concat_str("source_id", "unmap_id", separator=":").alias("unmap"),
        pl.when(pl.col("calls") > 1).then(several).otherwise(symbol).alias("symbol"),
        pl.col("component").cast(pl.String).replace_strict(WHAT, default=WHAT["rest"])
        .alias("component"),
        "offset_ns", "duration_ns", "self_ns", "depth",
        pl.when(pl.col("calls") > 1).then("calls").alias("calls"),
        pl.when(status != "complete").then(status).alias("status"),
    )  # fmt: skip


def _symbol(text: str) -> str:
    return short(text, LONGEST_SYMBOL)


def _chart(rows: pl.DataFrame, first: str, depths: int) -> Drawing:
    axis = alt.Axis(title="since the unmap began", labelExpr=TIME_LABELS, tickCount=6, grid=False)
    x = alt.X("offset_ns:Q", scale=alt.Scale(nice=False, zero=True), axis=axis)
    y = alt.Y(
        "depth:O",
        scale=alt.Scale(domain=list(range(depths)), paddingInner=0.18),
        axis=alt.Axis(title="depth", labelAngle=0, ticks=False, domain=False),
    )
    seen = set(rows["component"])
    shown = [name for name in ORDER if name in seen]
    color = alt.Color(
        "component:N", scale=alt.Scale(domain=list(ORDER), range="ordinal"),
        legend=alt.Legend(
            title=None, orient="bottom", direction="horizontal", columns=2, values=shown,
            symbolType="square",
        ),
    )  # fmt: skip
    base = (
        alt.Chart(values(rows))
        .transform_filter(f"datum.unmap == {PICKED_UNMAP}")
        .transform_calculate(
            end_ns="datum.offset_ns + datum.duration_ns",
            middle_ns="datum.offset_ns + datum.duration_ns / 2",
        )
        .encode(x=x, y=y)
    )
    bars = base.mark_bar(style="segment", opacity=1).encode(
        x2="end_ns:Q", color=color,
        strokeWidth=alt.condition(IS_WIDE, alt.value(1), alt.value(0)),
        tooltip=[
            plain("symbol", "call"), plain("component", "counts to"),
            exact("offset_ns", "began after (ns)"), exact("duration_ns", "duration (ns)"),
            exact("self_ns", "own time (ns)"), exact("depth", "depth"),
            exact("calls", "calls"), plain("status", "status"),
        ],
    )  # fmt: skip
    labels = base.mark_text(style="letter", align="left", dx=5, fontWeight=500).encode(
        text="symbol:N", opacity=alt.condition(HAS_ROOM, alt.value(1), alt.value(0))
    )
    return (
        alt.layer(bars, labels)
        .properties(width="container", height=ROW * max(depths, 2))
        .add_params(alt.param(name=PICKED_UNMAP, value=first))
    )

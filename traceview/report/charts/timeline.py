"""When unmaps ran and how long they took, with the stretches in which events were lost.

A page shows one trace at a time, chosen by name; a picture shows the first few below each other.
Of many unmaps those of one stretch of time are one point; the slowest are always points of their
own, which a page can be asked for the calls of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import altair as alt
import polars as pl

from traceview.queries.groups import nearest_rank
from traceview.queries.unmap_timeline import bins, loss_bands, placed, slowest, spans
from traceview.report.charts.axes import log_times, times
from traceview.report.charts.chart import Chart
from traceview.report.charts.groups import no_unmaps, source_names
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
from traceview.report.charts.time_words import sentences, time_words
from traceview.report.wording import clean, count, duration, number, plural, share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traceview.report.charts.chart import Drawing
    from traceview.report.charts.groups import Groups
    from traceview.report.contents import Contents

CODE: Final = "timeline"
HEIGHT: Final = 300
ROW_HEIGHT: Final = 110  # of one of several traces in a picture
MOST_POINTS: Final = 1_000  # of more unmaps, stretches of time are points
MOST_EXCLUDED: Final = 100  # stretches of time
MOST_SOURCES: Final = 24
MOST_ROWS: Final = 6
WIDTH: Final = 760
PICKED_SOURCE: Final = "picked_source"


def timeline_chart(found: Contents, groups: Groups) -> Chart:
    """The chart, or why there is none."""
    whole = spans(found.analysis)
    unmaps = placed(groups.of_drawn(), whole)
    if unmaps.is_empty():
        why = (
            no_unmaps(found) if groups.unmaps.is_empty()
            else "there are no times of the trace, only durations"
        )  # fmt: skip
        return Chart(CODE, "Unmaps over time", "", None, why)
    sources = _sources(unmaps)
    shown = unmaps.filter(pl.col("source_id").is_in(sources))
    of = whole.filter(pl.col("source_id").is_in(sources))
    slow = slowest(shown)
    names = [name for name in groups.drawn if name in shown["group"].unique()]
    out = _excluded(found.analysis.unmaps, of)
    drawn = _Drawn(
        excluded=out,
        points=_points(shown, slow, of), slow=_slow(slow), names=names, spans=of,
        losses=loss_bands(found.whole.losses, of), sources=sources,
        source_names=source_names(found.analysis.sources, sources),
    )  # fmt: skip
    return Chart(
        CODE, _title(unmaps),
        "Each unmap by when it began and how long it took, on a logarithmic axis; stretches in"
        " which events were lost are shaded. The slowest unmaps are ringed and can be chosen.",
        drawn.page(), subtitle=sentences(_said(found, groups, unmaps, drawn)),
        picture=drawn.picture(),
    )  # fmt: skip


def _sources(unmaps: pl.DataFrame) -> list[int]:
    """Those with the most time in unmaps, in their order."""
    times_of = unmaps.group_by("source_id", maintain_order=True).agg(pl.col("duration_ns").sum())
    most = times_of.sort("duration_ns", descending=True, maintain_order=True).head(MOST_SOURCES)
    return sorted(most["source_id"].to_list())


def _title(unmaps: pl.DataFrame) -> str:
    longest, median = unmaps.select(
        pl.col("duration_ns").max(), nearest_rank("duration_ns", 50).alias("median")
    ).row(0)
    if len(unmaps) == 1:
        return f"One unmap, of {duration(unmaps['duration_ns'][0])}"
    return (
        f"The slowest of {count(len(unmaps))} unmaps took {duration(longest)},"
        f" {number(longest / median)} times the median"
    )


def _said(found: Contents, groups: Groups, unmaps: pl.DataFrame, drawn: _Drawn) -> Iterator[str]:
    yield from time_words(found.analysis)
    yield _loss_words(found, drawn)
    if len(drawn.points) + len(drawn.slow) < len(unmaps):
        yield (
            "points are the medians of the unmaps of one stretch of time, lines reach to their"
            " longest"
        )
    several = unmaps["source_id"].n_unique()
    if several > len(drawn.sources):
        yield f"{len(drawn.sources)} of {several} traces, those with the most time in unmaps"
    yield groups.not_drawn
    out = int(drawn.excluded["unmaps"].sum())
    if out:
        yield f"at the bottom: {plural(out, 'unmap')} without a usable duration"
    missing = len(groups.of_drawn()) - len(unmaps)
    if missing:
        yield f"{plural(missing, 'unmap')} without a time not drawn"


def _loss_words(found: Contents, drawn: _Drawn) -> str:
    """Whether events were lost, as far as the traces say."""
    losses = found.whole.losses
    if losses.is_empty():
        known = found.whole.sources["loss_known"].fill_null(value=False).all()
        return "" if known else "whether events were lost is not known"
    nowhere = losses["from_ns"].is_null() & losses["to_ns"].is_null()
    said = []
    if len(drawn.losses):
        lost = int((drawn.losses["to_ns"] - drawn.losses["from_ns"]).sum())
        span = int((drawn.spans["to_ns"] - drawn.spans["from_ns"]).sum())
        said.append(f"shaded: events of some CPU were lost, in {share(lost, span)} of the time")
    if nowhere.any():
        said.append(
            f"{plural(int(nowhere.sum()), 'loss')} without a time not drawn".replace(
                "losss", "losses"
            )
        )
    return "; ".join(said)


def _points(unmaps: pl.DataFrame, slow: pl.DataFrame, of: pl.DataFrame) -> pl.DataFrame:
    """Unmaps that are none of the slowest, each for itself or by stretches of time."""
    others = unmaps.join(slow, on=["source_id", "unmap_id"], how="anti", maintain_order="left")
    if len(others) <= MOST_POINTS:
        rows = others.select(
            "source_id", "group", "at_ns", pl.lit(1, pl.Int64).alias("unmaps"),
            pl.col("duration_ns").alias("median_ns"), pl.col("duration_ns").alias("max_ns"),
        )  # fmt: skip
    else:
        series = others.select("source_id", "group").n_unique()
        rows = bins(others, of, max(4, MOST_POINTS // series)).drop("bin")
    return rows.with_columns(pl.col("source_id").alias("source")).drop("source_id")


def _excluded(unmaps: pl.DataFrame, of: pl.DataFrame) -> pl.DataFrame:
    """When unmaps began that have no duration to use, those of one moment as one."""
    status = pl.col("status").cast(pl.String)
    used = unmaps.select("source_id", "start_ns", "duration_ns", "status")
    rows = placed(used.filter(status.is_in(["censored", "contaminated"])), of)
    rows = rows.select("source_id", "at_ns", "duration_ns", status.alias("group"))
    return bins(rows, of, MOST_EXCLUDED).select(
        pl.col("source_id").alias("source"), pl.col("group").alias("status"), "at_ns", "unmaps"
    )


def _slow(slow: pl.DataFrame) -> pl.DataFrame:
    text = pl.col("step").map_elements(clean, return_dtype=pl.String)
    return slow.select(
        pl.col("source_id").alias("source"), "group", "at_ns", "duration_ns", "leaves", "cpu",
        pl.concat_str("source_id", "unmap_id", separator=":").alias("unmap"),
        text.alias("step"),
    )  # fmt: skip


class _Drawn:
    """The parts of the drawing, which a page and a picture put together differently."""

    def __init__(
        self, *, points: pl.DataFrame, slow: pl.DataFrame, excluded: pl.DataFrame,
        names: Sequence[str], spans: pl.DataFrame, losses: pl.DataFrame, sources: Sequence[int],
        source_names: Sequence[str],
    ) -> None:  # fmt: skip
        self.points, self.slow, self.names, self.spans = points, slow, names, spans
        self.losses, self.sources, self.source_names = losses, sources, source_names
        self.excluded = excluded

    def page(self) -> Drawing:
        """One trace, of several the one that is chosen."""
        several = len(self.sources) > 1
        layers = self._layers("datum.source == " + PICKED_SOURCE if several else None)
        chart = alt.layer(*layers).properties(width="container", height=HEIGHT)
        chart = chart.add_params(picked_group(), alt.param(name=PICKED_UNMAP, value=""))
        if not several:
            return chart
        box = alt.binding_select(
            options=list(self.sources), labels=list(self.source_names), name="trace "
        )
        return chart.add_params(alt.param(name=PICKED_SOURCE, value=self._longest(), bind=box))

    def picture(self) -> Drawing | None:
        """The first few traces below each other; None where there is one."""
        if len(self.sources) == 1:
            return None
        rows = []
        kept = list(zip(self.sources, self.source_names, strict=True))[:MOST_ROWS]
        for at, (source, name) in enumerate(kept):
            last = at == len(kept) - 1
            layers = self._layers(f"datum.source == {int(source)}", legend=last, title=last)
            title = alt.TitleParams(name, fontSize=12, offset=6, fontWeight=500)
            rows.append(alt.layer(*layers).properties(width=WIDTH, height=ROW_HEIGHT, title=title))
        return alt.vconcat(*rows, spacing=18).add_params(
            picked_group(), alt.param(name=PICKED_UNMAP, value="")
        )

    def _longest(self) -> int:
        """The trace of the slowest unmap."""
        return int(self.slow["source"][0])

    def _layers(
        self, only: str | None, *, legend: bool = True, title: bool = True
    ) -> list[alt.Chart]:
        x, y = self._axes(title=title)
        found = []
        if len(self.losses):
            bands = self.losses.rename({"source_id": "source"})
            found.append(
                self._of(bands, only).mark_rect(style="loss").encode(
                    x=alt.X(**x | {"shorthand": "from_ns:Q"}), x2="to_ns:Q",
                    tooltip=[
                        exact("from_ns", "events lost from (ns)"), exact("to_ns", "to (ns)"),
                        exact("losses", "losses"), exact("lost", "events"),
                    ],
                )
            )  # fmt: skip
        color, shape = group_color(self.names), group_shape(self.names)
        if not legend:
            color, shape = color.legend(None), shape.legend(None)
        binned = bool((self.points["unmaps"] > 1).any())
        points = self._of(self.points, only).encode(x=alt.X(**x), opacity=dimming(0.85))
        if binned:
            found.append(points.mark_rule(strokeWidth=1).encode(
                y=alt.Y(**y), y2="max_ns:Q", color=color
            ))  # fmt: skip
        found.append(points.mark_point(filled=True, size=36).encode(
            y=alt.Y(**y), color=color, shape=shape,
            tooltip=[
                plain("group", "group"), exact("at_ns", "began after (ns)"),
                exact("unmaps", "unmaps"), exact("median_ns", "duration (ns; of several, median)"),
                exact("max_ns", "longest (ns)"),
            ],
        ))  # fmt: skip
        found.append(self._slowest(x, y, color, shape, only))
        return found if self.excluded.is_empty() else [*found, self._without_time(x, only)]

    def _without_time(self, x: dict[str, Any], only: str | None) -> alt.Chart:
        """Marks on the axis: these unmaps have no duration to be placed by."""
        ticks: alt.Chart = self._of(self.excluded, only).mark_tick(style="excluded", yOffset=-7)
        return ticks.encode(
            x=alt.X(**x), y=alt.value({"expr": "height"}),
            tooltip=[
                plain("status", "unmaps without a usable duration"), exact("unmaps", "unmaps"),
                exact("at_ns", "began after (ns)"),
            ],
        )  # fmt: skip

    def _slowest(
        self, x: dict[str, Any], y: dict[str, Any], color: alt.Color, shape: alt.Shape,
        only: str | None,
    ) -> alt.Chart:  # fmt: skip
        """Ringed, larger, and to be clicked; the one that is picked is filled."""
        picked = f"datum.unmap == {PICKED_UNMAP}"
        ringed: alt.Chart = self._of(self.slow, only).mark_point(
            size=130, strokeWidth=2.5, cursor="pointer"
        )
        return ringed.encode(
            x=alt.X(**x), y=alt.Y(**y | {"shorthand": "duration_ns:Q"}),
            color=color, shape=shape,
            opacity=alt.condition(IS_PICKED, alt.value(1), alt.value(DIMMED)),
            fillOpacity=alt.condition(picked, alt.value(1), alt.value(0.25)),
            # One legend tells colour, filling and shape: Vega-Lite wants them alike.
            fill=group_fill(self.names).legend(color["legend"]),
            tooltip=[
                plain("group", "group"), exact("duration_ns", "duration (ns)"),
                exact("leaves", "leaves"), exact("at_ns", "began after (ns)"),
                exact("cpu", "CPU"), plain("step", "step"),
                plain("unmap", "trace and unmap"),
            ],
        )  # fmt: skip

    def _of(self, rows: pl.DataFrame, only: str | None) -> alt.Chart:
        chart = alt.Chart(values(rows))
        return chart if only is None else chart.transform_filter(only)

    def _axes(self, *, title: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        begun = "began, since the trace's first event" if title else ""
        ends = [*self.points["median_ns"], *self.points["max_ns"], *self.slow["duration_ns"]]
        return times("at_ns", begun, *self._ends()), log_times(
            "median_ns", "duration (log scale)" if title else "duration", ends
        )

    def _ends(self) -> tuple[float, float]:
        """Of the time axis: the unmaps, and where events were lost the whole trace."""
        if len(self.losses):
            span = self.spans["to_ns"] - self.spans["from_ns"]
            return 0, int(span.max() or 1)  # type: ignore[arg-type]
        begin = pl.concat([self.points["at_ns"], self.slow["at_ns"]])
        end = pl.concat([begin, self.slow["at_ns"] + self.slow["duration_ns"]])
        first, last = int(begin.min() or 0), int(end.max() or 1)  # type: ignore[arg-type]
        margin = max(1, (last - first) // 20)
        return first - margin, last + margin

"""When unmaps ran and how long they took, with the stretches in which events were lost.

A page shows one trace at a time, chosen by name; a picture shows the first few below each other.
Of many unmaps those of one stretch of time are one point; the slowest are always points of their
own, which a page can be asked for the calls of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.groups import median_ns
from traceview.queries.unmap_timeline import LossBands, bins, loss_bands, placed, slowest, spans
from traceview.report.charts.chart import Chart
from traceview.report.charts.groups import no_unmaps, source_names
from traceview.report.charts.time_sentences import sentences, time_sentences, tracing_sentences
from traceview.report.charts.timeline_drawing import MOST_ROWS, Timeline, page, picture
from traceview.report.wording import clean, count, duration, number, plural, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.report.charts.groups import Groups
    from traceview.report.contents import Contents

CODE: Final = "timeline"
MOST_POINTS: Final = 1_000  # of more unmaps, stretches of time are points
MOST_EXCLUDED: Final = 100  # stretches of time
MOST_SOURCES: Final = 24
SHORT: Final = 20  # times its length, before it


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
    drawn, lost = _drawn(found, groups, unmaps, whole)
    said = [
        *time_sentences(found.analysis), *tracing_sentences(groups.rows),
        *_loss_words(found, lost, _length(whole, drawn)), *_said(groups, unmaps, drawn),
    ]  # fmt: skip
    return Chart(
        CODE, _title(unmaps),
        "Each unmap by when it began and how long it took, on a logarithmic axis; stretches in"
        " which events were lost are shaded. The slowest unmaps are ringed and can be chosen.",
        page(drawn), subtitle=sentences(said),
        picture=picture(drawn),
    )  # fmt: skip


def _drawn(
    found: Contents, groups: Groups, unmaps: pl.DataFrame, whole: pl.DataFrame
) -> tuple[Timeline, LossBands]:
    sources = _sources(unmaps)
    shown = unmaps.filter(pl.col("source_id").is_in(sources))
    of = whole.filter(pl.col("source_id").is_in(sources))
    slow = slowest(shown)
    points = _points(shown, slow, of)
    present = set(shown["group"].unique())
    lost = loss_bands(found.whole.losses, of)
    losses = lost.bands.rename({"source_id": "source"})
    first, last = ends = _time_ends(shown, of, losses)
    times = pl.concat([points["max_ns"], points["median_ns"], slow["duration_ns"]])
    shortest, longest = int(times.min() or 1), int(times.max() or 1)  # type: ignore[arg-type]
    origin = first if first > SHORT * (last - first) else 0
    drawn = Timeline(
        points, _slow(slow), _excluded(found.analysis.unmaps, of), losses,
        tuple(name for name in groups.drawn if name in present),
        dict(zip(sources, source_names(found.analysis.sources, sources), strict=True)),
        ends, origin, (shortest, longest),
    )  # fmt: skip
    return drawn, lost


def _sources(unmaps: pl.DataFrame) -> list[int]:
    """Those with the most time in unmaps, in their order."""
    times_of = unmaps.group_by("source_id", maintain_order=True).agg(pl.col("duration_ns").sum())
    most = times_of.sort("duration_ns", descending=True, maintain_order=True).head(MOST_SOURCES)
    return sorted(most["source_id"].to_list())


def _time_ends(unmaps: pl.DataFrame, of: pl.DataFrame, losses: pl.DataFrame) -> tuple[int, int]:
    """Of the time axis: the unmaps, and where events were lost the whole trace."""
    if len(losses):
        return 0, int((of["to_ns"] - of["from_ns"]).max() or 1)  # type: ignore[arg-type]
    ends = pl.concat([unmaps["at_ns"], unmaps["at_ns"] + unmaps["duration_ns"]])
    return int(ends.min() or 0), int(ends.max() or 1)  # type: ignore[arg-type]


def _title(unmaps: pl.DataFrame) -> str:
    longest, median = unmaps.select(
        pl.col("duration_ns").max(), median_ns("duration_ns").alias("median")
    ).row(0)
    if len(unmaps) == 1:
        return f"One unmap, of {duration(longest)}"
    return (
        f"The slowest of {count(len(unmaps))} unmaps took {duration(longest)},"
        f" {number(longest / median)} times the median"
    )


# ---- what is said of it


def _said(groups: Groups, unmaps: pl.DataFrame, drawn: Timeline) -> Iterator[str]:
    if (drawn.points["unmaps"] > 1).any():
        yield (
            "points are the medians of the unmaps of one stretch of time, lines reach to their"
            " longest"
        )
    several, shown = unmaps["source_id"].n_unique(), len(drawn.sources)
    if several > shown:
        yield f"{shown} of {several} traces, those with the most time in unmaps"
    yield groups.not_drawn
    out = int(drawn.excluded["unmaps"].sum())
    if out:
        yield f"at the bottom: {plural(out, 'unmap')} without a usable duration"
    missing = len(groups.of_drawn()) - len(unmaps)
    if missing:
        yield f"{plural(missing, 'unmap')} without a time not drawn"
    if shown > MOST_ROWS:
        yield f"a picture shows the first {MOST_ROWS} of {shown} traces"


def _length(whole: pl.DataFrame, drawn: Timeline) -> int:
    """The time of all traces that are drawn."""
    of = whole.filter(pl.col("source_id").is_in(list(drawn.sources)))
    return int((of["to_ns"] - of["from_ns"]).sum())


def _loss_words(found: Contents, lost: LossBands, length: int) -> Iterator[str]:
    """Whether events were lost, as far as the traces say."""
    losses = found.whole.losses
    if losses.is_empty():
        if not found.whole.sources["loss_known"].fill_null(value=False).all():
            yield "whether events were lost is not known"
        return
    if len(lost.bands):
        near = f"; stretches closer than {100 * lost.nearer:.1f}% of the trace are drawn as one"
        yield (
            f"shaded: events of some CPU were lost, in {share(lost.lost_ns, length)} of the time"
            f"{near if lost.nearer else ''}"
        )
    nowhere = int((losses["from_ns"].is_null() & losses["to_ns"].is_null()).sum())
    if nowhere:
        noun = "loss" if nowhere == 1 else "losses"
        yield f"{nowhere:,} {noun} of events without a time not drawn"


# ---- tables


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
    return rows.rename({"source_id": "source"})


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

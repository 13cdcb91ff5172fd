"""base / with of each size, with what is known of its interval (a forest plot).

The text of a row stands above its mark, so that long names leave the axis its width.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import altair as alt

from traceview.report.charts.axes import log_ends, log_ticks
from traceview.report.charts.chart import Chart
from traceview.report.charts.marks import plain
from traceview.report.charts.time_sentences import headline_and_basis, sentences
from traceview.report.compare_effect import plan_texts
from traceview.report.compare_headline import headline_of, headline_text
from traceview.report.compared import cell_words
from traceview.report.ratio_words import given, ratio_ends, ratio_text
from traceview.report.wording import UNKNOWN, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.queries.ratios import Ratio
    from traceview.report.charts.chart import Drawing
    from traceview.report.charts.sides import Sides
    from traceview.report.compared import Compared

    Channel = Callable[[str], Any]

CODE: Final = "ratios"
MOST_ROWS: Final = 24
TEXT: Final = 20
MARK: Final = 22
GAP: Final = 6
SEEN: Final = 0.05  # a thin line that reaches less far is none


@dataclass(frozen=True, slots=True)
class Row:
    """One ratio: its name, the ratio, whether it is the headline."""

    name: str
    ratio: Ratio
    headline: bool = False


def ratios_chart(sides: Sides) -> Chart:
    """The chart, or why there is none."""
    found = sides.found
    rows, more = _rows(found)
    title, stands_on = headline_and_basis(headline_text(found))
    if not rows:
        return Chart(
            CODE, "Ratio of the sides, size by size", "", None,
            "no size was unmapped, with a time above 0, in every run of both sides",
        )  # fmt: skip
    floor = _noise(found)
    said = [
        stands_on, *sides.words, *list(plan_texts(found))[:1],
        *_tracing_words(rows, found),
        "" if floor is None else (
            f"grey: halves of the runs of one side differ by up to {ratio_text(floor)}"
        ),
        f"{plural(more, 'further size')} not drawn" if more else "",
    ]  # fmt: skip
    return Chart(
        CODE, title,
        "One row per size: the ratio of the times of base and with as a point, its interval as a"
        " thick line where the runs permit one. Right of the line at 1 with is faster. The axis is"
        " logarithmic.",
        _chart(rows, floor, found), subtitle=sentences(said),
    )  # fmt: skip


def _rows(found: Compared) -> tuple[list[Row], int]:
    """The headline, then the sizes in the order of reports; and how many are left out."""
    of = found.comparison
    rows = []
    line = found.headline_line
    if of.headline is not None and line is not None:
        rows.append(Row(headline_of(found), of.headline, headline=True))
    sizes = [
        Row(cell_words(size.cell, found.leaf_sizes), size.ratio, size.ratio is of.headline)
        for size in of.sizes if size.ratio is not None
    ]  # fmt: skip
    most = MOST_ROWS - len(rows)
    return [*rows, *sizes[-most:]], max(0, len(sizes) - most)


def _noise(found: Compared) -> float | None:
    """What halves of the runs of one side differ by, of the headline."""
    floors = [floor.ratio for floor in found.comparison.noise if floor is not None]
    return max(floors) if len(floors) == 2 and all(map(isfinite, floors)) else None


def _tracing_words(rows: list[Row], found: Compared) -> Iterator[str]:
    if found.untraced:
        return
    known = [
        abs(end.value / row.ratio.interval.value - 1)
        for row in rows for end in (row.ratio.least, row.ratio.most) if end is not None
    ]  # fmt: skip
    if known and max(known) >= SEEN:
        yield "thin lines: with the least and the most that tracing can have cost"
    elif known:
        yield f"what tracing can have cost changes these ratios by less than {SEEN:.0%}"
    if any(row.ratio.least is None or row.ratio.most is None for row in rows):
        yield "what tracing can have cost is not known everywhere"


def _datum(row: Row, top: float, found: Compared) -> dict[str, Any]:
    ratio, plan = row.ratio, found.comparison.plan
    interval = given(ratio.interval, plan)
    ends = ratio_ends(interval)
    shown = f" ({ends})" if ends != UNKNOWN else ", no interval"
    datum: dict[str, Any] = {
        "name": row.name, "text": f"{row.name}: {ratio_text(interval.value)}{shown}",
        "said": ratio_text(interval.value), "ends": ends if ends != UNKNOWN else "none",
        "ratio": interval.value, "headline": row.headline, "top": top + TEXT / 2,
        "upper": top + TEXT, "place": top + TEXT + MARK / 2 - 2, "lower": top + TEXT + MARK - 4,
        "one": 1, "method": interval.method,
        "runs": f"{interval.base_runs} / {interval.with_runs}",
    }  # fmt: skip
    if interval.low is not None and interval.high is not None:
        datum |= {"low": interval.low, "high": interval.high}
    if ratio.least is not None and ratio.most is not None and not found.untraced:
        datum |= {"least": ratio.least.value, "most": ratio.most.value}
    return {
        name: value for name, value in datum.items()
        if not isinstance(value, float) or (isfinite(value) and value > 0)
    }  # fmt: skip


def _chart(rows: list[Row], floor: float | None, found: Compared) -> Drawing:
    step = TEXT + MARK + GAP
    data = [_datum(row, at * step, found) for at, row in enumerate(rows)]
    height = step * len(rows)
    names = ("ratio", "low", "high", "least", "most")
    known = [datum[name] for datum in data for name in names if name in datum]
    low, high = log_ends([1.0, *known, *([] if floor is None else [floor, 1 / floor])])
    title = "base / with (log scale); right of 1: with is faster"
    axis = alt.Axis(title=title, values=log_ticks(low, high), format="~g", grid=False)
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    down = alt.Scale(domain=[0, height], reverse=True, nice=False)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=down, axis=None)

    base = alt.Chart(alt.InlineData(values=data))
    layers = [*_grounds(base, floor, x, y), *_marks(base, x, y)]
    for test, style in (("datum.headline", "heading"), ("!datum.headline", "label")):
        layers.append(
            base.transform_filter(test)
            .mark_text(align="left", baseline="middle", style=style, limit={"expr": "width"})
            .encode(x=alt.value(0), y=y("top"), text="text:N")
        )
    return alt.layer(*layers, width="container", height=height)


def _grounds(base: alt.Chart, floor: float | None, x: Channel, y: Channel) -> Iterator[alt.Chart]:
    """In every row: what noise makes of a ratio, and where the sides are alike."""
    if floor is not None and floor > 1:
        ends = base.transform_calculate(noise_low=f"{1 / floor}", noise_high=f"{floor}")
        yield ends.mark_rect(style="noise").encode(
            x=x("noise_low"), x2="noise_high:Q", y=y("upper"), y2="lower:Q"
        )
    yield base.mark_rule(style="reference").encode(x=x("one"), y=y("upper"), y2="lower:Q")


def _marks(base: alt.Chart, x: Channel, y: Channel) -> Iterator[alt.Chart]:
    """The ratio, its interval, and between what it lies by what tracing can have cost."""
    tooltip = [
        plain("name", "size"), plain("said", "base / with"), plain("ends", "interval"),
        plain("runs", "runs of base / with"), plain("method", "method"),
    ]  # fmt: skip
    yield (
        base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_rule(style="estimate", strokeWidth=6, opacity=0.5)
        .encode(x=x("low"), x2="high:Q", y=y("place"), tooltip=tooltip)
    )
    yield (
        base.transform_filter("isValid(datum.least) && isValid(datum.most)")
        .mark_rule(style="estimate", strokeWidth=1.5)
        .encode(x=x("least"), x2="most:Q", y=y("place"))
    )
    yield base.mark_point(style="estimate", filled=True, opacity=1).encode(
        x=x("ratio"), y=y("place"), tooltip=tooltip,
        shape=alt.condition("datum.headline", alt.value("diamond"), alt.value("circle")),
        size=alt.condition("datum.headline", alt.value(170), alt.value(90)),
    )  # fmt: skip

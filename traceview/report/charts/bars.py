"""Horizontal stacked bars, each below a line of text that says what it is and its numbers.

The text stands above and not beside the bars, so that long names leave them their width. Places
are computed here, not by Vega: a bar is a row of rectangles with a text in each that holds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import altair as alt

from traceview.report.bar import PARTS
from traceview.report.charts.marks import dimming, exact, picked_group, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from traceview.report.charts.chart import Drawing

ORDER: Final = tuple(part.what for part in PARTS)
PART_OF: Final = {part.column.removesuffix("_ns"): part for part in PARTS}  # by component
LETTERS: Final = {name: part.letter.replace(".", "rest") for name, part in PART_OF.items()}
UNKNOWN_PART: Final = "work or tracing, not known which"
# Pixels: of a bar, of a line of text, and between bars and groups.
BAR: Final = 26
TEXT: Final = 18
GAP: Final = 10
BETWEEN: Final = 16
CHARACTER: Final = 7.5  # of a label, at its widest
LETTER: Final = 14  # a letter alone with its margins


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar, from `begin` to `end` on its axis; `said` is what its label says."""

    what: str
    letter: str
    begin: float
    end: float
    said: str
    ns: int | None
    per: str
    interval: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; `name` begins a new group of bars, `said` is the line above the bar."""

    name: str
    group: str
    said: str
    segments: tuple[Segment, ...]


def bars(drawn: Sequence[Bar], title: str, *, share: bool = True, most: float = 1.0) -> Drawing:
    """The bars on one axis from 0 to *most*; a *share* is written in percent."""
    texts, segments, height = _placed(drawn)
    percent: dict[str, Any] = {"format": ".0%"} if share else {}
    axis = alt.Axis(title=title, tickCount=5, grid=False, **percent)
    scale = alt.Scale(domain=[0, most], nice=False)
    reverse = alt.Scale(domain=[0, height], reverse=True, nice=False)

    def across(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    def down(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", scale=reverse, axis=None)

    base = alt.Chart(alt.InlineData(values=segments))
    layers = _segment_layers(base, across, down, {str(one["what"]) for one in segments}, most)
    text = alt.Chart(alt.InlineData(values=texts)).encode(
        y=down("top"), text="text:N", opacity=dimming()
    )
    limit = {"expr": "width"}
    for style in ("heading", "note"):
        layers.append(
            text.transform_filter(f"datum.style == '{style}'")
            .mark_text(align="left", baseline="middle", style=style, limit=limit)
            .encode(x=alt.value(0))
        )
    return (
        alt.layer(*layers).properties(width="container", height=height).add_params(picked_group())
    )


def _placed(drawn: Sequence[Bar]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], float]:
    """The texts and the segments with their places from above, and where they end."""
    texts: list[dict[str, Any]] = []
    segments: list[dict[str, Any]] = []
    at = 0.0
    for bar in drawn:
        if bar.name:
            at += BETWEEN if at else 0
            texts.append(_text(bar, bar.name, "heading", at))
            at += TEXT
        texts.append(_text(bar, bar.said, "note", at))
        at += TEXT
        segments += [_segment(bar, one, at) for one in bar.segments]
        at += BAR + GAP
    return texts, segments, at


def _text(bar: Bar, text: str, style: str, top: float) -> dict[str, Any]:
    return {"group": bar.group, "text": text, "style": style, "top": top + TEXT / 2}


def _segment(bar: Bar, of: Segment, top: float) -> dict[str, Any]:
    found = {
        "group": bar.group, "what": of.what, "begin": round(of.begin, 6), "end": round(of.end, 6),
        "middle": round((of.begin + of.end) / 2, 6), "top": top, "bottom": top + BAR,
        "centre": top + BAR / 2, "letter": of.letter, "label": _label(of),
        "said": of.said, "per": of.per, "unknown": of.what == UNKNOWN_PART,
    }  # fmt: skip
    known = {"ns": of.ns, "interval": of.interval}
    return found | {name: value for name, value in known.items() if value}


def _label(of: Segment) -> str:
    if of.what == UNKNOWN_PART:
        return "work or tracing"
    return f"{of.letter or of.what} {of.said}"


def _segment_layers(
    base: alt.Chart, across: Callable[[str], alt.X], down: Callable[[str], alt.Y], what: set[str],
    most: float,
) -> list[alt.Chart]:  # fmt: skip
    """Rectangles of components and of what is none, and their labels where these have room."""
    shown = [name for name in ORDER if name in what]
    tooltip = [
        plain("group", "group"), plain("what", "part"), exact("ns", "ns in all"),
        plain("per", "that is"), plain("said", "share"), plain("interval", "between"),
    ]  # fmt: skip
    legend = alt.Legend(
        title=None, orient="bottom", direction="horizontal", columns=2, values=shown,
        symbolType="square",
    )  # fmt: skip
    color = alt.Color("what:N", scale=alt.Scale(domain=list(ORDER), range="ordinal"), legend=legend)
    place = {"x": across("begin"), "x2": "end:Q", "y": down("top"), "y2": "bottom:Q"}
    shown_as = {"opacity": dimming(), "tooltip": tooltip}
    known = base.transform_filter("!datum.unknown")
    found = [known.mark_rect(style="segment").encode(**place, **shown_as, color=color)]
    if UNKNOWN_PART in what:
        unknown = base.transform_filter("datum.unknown")
        found.append(unknown.mark_rect(style="unknown").encode(**place, **shown_as))
    return [*found, *_labels(base, across, down, most)]


def _labels(
    base: alt.Chart, across: Callable[[str], alt.X], down: Callable[[str], alt.Y], most: float
) -> Iterator[alt.Chart]:
    """A label in each segment that is wide enough for it, in others the letter."""
    pixels = f"(datum.end - datum.begin) * width / {most}"
    wide = f"{pixels} > {CHARACTER} * length(datum.label) + {CHARACTER}"
    letter = f"!({wide}) && {pixels} > {LETTER} && length(datum.letter) == 1"
    for test, field in ((wide, "label:N"), (letter, "letter:N")):
        for chosen, style in (("!datum.unknown", "letter"), ("datum.unknown", "note")):
            yield (
                base.transform_filter(chosen)
                .mark_text(style=style, baseline="middle")
                .encode(
                    x=across("middle"), y=down("centre"), text=field,
                    opacity=alt.condition(test, alt.value(1), alt.value(0)),
                )
            )  # fmt: skip

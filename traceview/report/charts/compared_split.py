"""What a leaf costs on both sides, part by part: without tracing, and as recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.decomposition import TRACING, Decomposition, decompose
from traceview.report.charts.bars import LETTERS, PART_OF, Bar, Segment, bars
from traceview.report.charts.chart import Chart
from traceview.report.charts.sides import tracing_of
from traceview.report.charts.time_sentences import headline_and_basis, sentences, time_sentences
from traceview.report.compare_split import NAMES, split_texts
from traceview.report.wording import number, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.decomposition import Part
    from traceview.report.charts.sides import Sides

CODE: Final = "split"
RECORDED: Final = "split-recorded"
TITLE: Final = "What a leaf costs on both sides"


def split_charts(sides: Sides) -> list[Chart]:
    """The parts without what tracing cost, and as recorded; once where that is not estimated."""
    of = sides.found.comparison.decomposition
    if isinstance(of, str):
        return [Chart(CODE, TITLE, "", None, f"not split: {of}")]
    texts = list(split_texts(of, sides.found.comparison.plan))
    of_tracing = [text for text in texts if "traced calls" in text]
    of_parts = [text for text in texts if text not in of_tracing]
    if not of.corrected:
        return [_chart(CODE, of, sides, of_parts)]
    raw = _raw(sides)
    recorded = [] if isinstance(raw, str) else [_chart(RECORDED, raw, sides, of_tracing)]
    return [_chart(CODE, of, sides, of_parts), *recorded]


def _chart(code: str, of: Decomposition, sides: Sides, texts: list[str]) -> Chart:
    most = max(_length(of, side) for side in (0, 1))
    if not most:
        return Chart(code, TITLE, "", None, "no part took any time")
    drawn = [_bar(of, side, name) for side, name in enumerate(sides.names)]
    comparison = sides.found.comparison
    title, basis = headline_and_basis(
        texts[0] if texts else TITLE + (", as recorded" if code == RECORDED else "")
    )
    said = [
        basis,
        *time_sentences(comparison.base, comparison.with_),
        *_words(of, sides),
        *texts[1:2],
    ]
    return Chart(
        code, title,
        "Per side, what a leaf costs in each part, in the order of the legend. Only parts that are"
        " separated on both sides are told apart.",
        bars(drawn, "ns per leaf (mean over runs)", share=False, most=most * 1.02),
        subtitle=sentences(said),
    )  # fmt: skip


def _raw(sides: Sides) -> Decomposition | str:
    """The parts of the recorded times: as if what tracing cost were not estimated."""
    of = sides.found.comparison
    pairs = list(zip(of.base_runs, of.with_runs, strict=True)) if of.plan.paired else None
    nothing = pl.lit(None, pl.Float64).alias("corrected_ns")
    detailed = (of.matched.base_detailed, of.matched.with_detailed)
    base, with_ = (rows.with_columns(nothing) for rows in detailed)
    return decompose(base, with_, pairs)


def _ns(part: Part, side: int) -> float:
    return part.with_ns if side else part.base_ns


def _work(of: Decomposition) -> list[Part]:
    """The parts that are work: tracing is none."""
    return [part for part in of.parts if part.name != TRACING]


def _length(of: Decomposition, side: int) -> float:
    return sum(max(0.0, _ns(part, side)) for part in _work(of))


def _words(of: Decomposition, sides: Sides) -> Iterator[str]:
    if of.merged:
        names = ", ".join(NAMES[name] for name in of.merged)
        yield f"separated on one side only, so in the rest of the walk on both: {names}"
    if not sides.found.untraced:
        yield tracing_of("corrected" if of.corrected else "raw")
    if any(_ns(part, side) < 0 for part in _work(of) for side in (0, 1)):
        yield "parts that the estimate leaves less than nothing of are not drawn"


def _bar(of: Decomposition, side: int, name: str) -> Bar:
    """One side: its parts one behind the other."""
    whole, at = _length(of, side), 0.0
    segments = []
    for part in _work(of):
        ns = _ns(part, side)
        if ns <= 0:
            continue
        per, said = f"{number(ns)} ns per leaf", share(round(1000 * ns), round(1000 * whole))
        what, letter = PART_OF[part.name].what, LETTERS[part.name]
        segments.append(Segment(what, letter, at, at + ns, said, None, per))
        at += ns
    total = of.total if of.net is None else of.net
    return Bar(name, name, f"{number(_ns(total, side))} ns per leaf", tuple(segments))

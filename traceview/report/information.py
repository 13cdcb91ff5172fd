"""What `traceview info` shows: the host, the events, the losses, the questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl
from rich.text import Text

from traceview.queries.questions import NO_UNMAP
from traceview.report.layout import Column, facts, heading, led, table, wrapped
from traceview.report.sources import source_facts
from traceview.report.terminal import diagnostics
from traceview.report.wording import clean, count, plural, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.queries.analysis import Analysis
    from traceview.queries.questions import Answer

STYLES: Final = {"yes": "green", "partly": "yellow", "no": "red"}


def information(
    analysis: Analysis, answers: Sequence[Answer], width: int, *, top: int = 15
) -> list[Text]:
    """Everything about the only source of *analysis*."""
    row = analysis.sources.row(0, named=True)
    lines = wrapped(clean(row["path"]), width)
    lines += facts(source_facts(row, analysis), width)
    lines += _events(analysis, width, top)
    lines += _losses(analysis, width)
    lines += _questions(answers, width)
    lines += diagnostics(analysis, width)
    return lines


def _events(analysis: Analysis, width: int, top: int) -> list[Text]:
    counts = analysis.event_counts.with_columns(
        pl.col("name").cast(pl.String),
        pl.coalesce(pl.col("symbol").cast(pl.String), pl.lit("-")).alias("of"),
    )
    rows = (
        counts.group_by("name", "of", maintain_order=True)
        .agg(pl.col("count").sum(), pl.col("evidence").drop_nulls().first())
        .sort("count", "name", "of", descending=[True, False, False])
    )
    lines = heading("Events", width)
    if rows.is_empty():
        return lines + wrapped("none", width, indent=2)
    columns = (
        Column("count", right=True), Column("event"), Column("function"),
        Column("evidence", drop=1),
    )  # fmt: skip
    values = [
        [count(row["count"]), clean(row["name"]), clean(row["of"]), clean(row["evidence"])]
        for row in rows.head(top).iter_rows(named=True)
    ]
    lines += table(columns, values, width, keys=3)
    if len(rows) > top:
        rest = int(rows["count"].slice(top).sum())
        others = plural(len(rows) - top, "other kind")
        more = f"and {plural(rest, 'event')} of {others} (--json lists them)"
        lines += wrapped(more, width, indent=2, hang=2)
    return lines


def _losses(analysis: Analysis, width: int) -> list[Text]:
    """Loss per CPU and kind."""
    if analysis.losses.is_empty():
        return []
    rows = (
        analysis.losses.group_by("cpu", "kind", maintain_order=True)
        .agg(
            pl.len().alias("holes"),
            pl.when(pl.col("count").count() > 0).then(pl.col("count").sum()).alias("count"),
            pl.col("from_ns").min(),
            pl.col("to_ns").max(),
        )
        .sort("cpu", "kind", nulls_last=True, maintain_order=True)
    )
    columns = (
        Column("CPU", right=True), Column("kind"), Column("holes", right=True),
        Column("events", right=True), Column("from (s)", right=True, drop=2),
        Column("to (s)", right=True, drop=1),
    )  # fmt: skip
    values = [
        [
            clean(row["cpu"]), clean(row["kind"]), count(row["holes"]), count(row["count"]),
            seconds(row["from_ns"]), seconds(row["to_ns"]),
        ]
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    return heading("Loss per CPU", width) + table(columns, values, width, keys=2)


def _questions(answers: Sequence[Answer], width: int) -> list[Text]:
    """One line per question; where there is no unmap, the first answer says why and is enough."""
    lines = heading("What this trace can answer", width)
    for answer in answers:
        if answer.why == NO_UNMAP:
            continue
        why = f": {clean(answer.why)}" if answer.why else ""
        lead = Text(f"{answer.answer:8}", STYLES[answer.answer])
        lines += led(lead, f"{answer.question}{why}", width, indent=2)
    return lines

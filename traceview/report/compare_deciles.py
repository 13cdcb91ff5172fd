"""The deciles of a size, side by side: where in their distribution unmaps became faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traceview.report.compared import cell_words
from traceview.report.layout import Column, bullets, heading, table
from traceview.report.ratio_words import given, p_text, ratio_ends, ratio_text, time_text
from traceview.report.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from traceview.queries.quantile_shift import Shift
    from traceview.report.compared import Compared


def shift(found: Compared, width: int) -> list[Text]:
    """The shift function of the size with the most leaves that has one."""
    having = [one for one in found.comparison.sizes if one.shift is not None]
    largest = max(having, key=lambda one: one.cell["leaves"] or 0, default=None)
    if largest is None or largest.shift is None:
        return []
    of = largest.shift
    where = cell_words(largest.cell, found.leaf_sizes)
    lines = heading(f"Deciles of {where} (mean over runs)", width)
    columns = (
        Column("decile", right=True), Column("base", right=True), Column("with", right=True),
        Column("ratio", right=True), Column("interval", drop=1),
        Column("base - with", right=True), Column("p (Holm)", right=True, drop=2),
    )  # fmt: skip
    lines += table(columns, _decile_rows(of, found), width)
    return lines + bullets(_shift_notes(of, found, len(having)), width)


def _decile_rows(of: Shift, found: Compared) -> list[list[str]]:
    plan = found.comparison.plan
    rows: list[list[str]] = []
    for one in of.quantiles:
        ratio = None if one.ratio is None else given(one.ratio, plan)
        difference = given(one.difference, plan)
        rows.append([
            f"{one.quantile:.0%}", time_text(one.base), time_text(one.with_),
            UNKNOWN if ratio is None else ratio_text(ratio.value),
            UNKNOWN if ratio is None else ratio_ends(ratio), time_text(difference.value),
            p_text(one.adjusted_p if plan.allows_inference else None),
        ])  # fmt: skip
    return rows


def _shift_notes(of: Shift, found: Compared, having: int) -> Iterator[str]:
    if of.descriptive is not None:
        yield f"no intervals: {of.descriptive}"
    if of.tied:
        yield f"ties: up to {of.tied:.0%} of the unmaps of a run have one and the same duration"
    if having > 1:
        yield f"{having - 1} further sizes have deciles (--json has them all)"
    if not all(_is_corrected(found, side) for side in (0, 1)):
        yield "of recorded times, what tracing cost included"


def _is_corrected(found: Compared, side: int) -> bool:
    matched: Any = (found.comparison.matched.base, found.comparison.matched.with_)[side]
    return not matched["corrected_ns"].null_count()

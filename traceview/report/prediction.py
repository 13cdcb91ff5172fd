"""A prediction in sections, for a terminal, a mail and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.queries.predicted_cell import NARROW, UNDECIDED
from traceview.report.blocks import Block, Bullets, Facts, Paragraph, Section, Table, TableColumn
from traceview.report.prediction_held import against_section, held_section
from traceview.report.prediction_words import (
    ASSUMPTIONS,
    BASES,
    STRATEGIES,
    caveats_of,
    change,
    headline,
    largest,
    name_of,
    name_with_leaves,
    ns,
    operations,
    percent,
    span,
    times,
)
from traceview.report.section_lines import section_lines
from traceview.report.wording import UNKNOWN, clean, count, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.text import Text

    from traceview.queries.call_costs import CallCost
    from traceview.queries.prediction import Cell, Prediction
    from traceview.queries.prediction_check import Check
    from traceview.queries.prediction_holdout import Trial
    from traceview.queries.prediction_sizes import Size

RUNS_SHOWN: Final = 6
COST_NAMES: Final = {
    "base": "base of an unmap", "table": "freed table", "leaf": "leaf", "l1": "leaf of level 1",
    "l2": "leaf of level 2", "l3": "leaf of level 3",
}  # fmt: skip
INTERVAL: Final = "interval"
WHAT_INTERVAL: Final = (
    "interval: the outermost of what is assumed, of which no probability is known, with 95% of"
    " noise on top"
)
TOO_WIDE: Final = f"half-width: above {percent(NARROW)} the value is too wide to be used"
CALL_NAMES: Final = {
    "ipa": "invalidate call for a leaf or a table", "range": "range invalidate call",
    "cmo": "cache maintenance of a leaf of any level",
}  # fmt: skip


def prediction_report(
    found: Prediction, trials: Sequence[Trial], held: Check | None, width: int
) -> list[Text]:
    """The report in lines of at most *width*."""
    return section_lines(prediction_sections(found, trials, held), width)


def prediction_sections(
    found: Prediction, trials: Sequence[Trial], held: Check | None
) -> list[Section]:
    """The report in sections."""
    sections = [
        Section("summary", "Prediction", tuple(_summary(found))),
        Section("times", "Unmaps like those measured", tuple(_cells(found))),
    ]
    if found.wish.sizes:
        sections.append(Section("sizes", "Other sizes", tuple(_sizes(found))))
    sections.append(Section("costs", "What the model found", tuple(_costs(found))))
    if effects := list(_assumed(found)):
        sections.append(Section("assumed", "What this assumes", tuple(effects)))
    sections.append(held_section(found, trials))
    if held is not None:
        sections.append(against_section(held))
    if found.measured.left_out:
        said = (f"{plural(o.unmaps, 'unmap')}: {o.reason}" for o in found.measured.left_out)
        sections.append(Section("left-out", "Left out", (_bulleted(said),)))
    return sections


def _bulleted(texts: Iterator[str]) -> Bullets:
    return Bullets(tuple(Paragraph(text) for text in texts))


def _summary(found: Prediction) -> Iterator[Block]:
    yield from (Paragraph(text, strong=True) for text in headline(found))
    yield Bullets(tuple(Paragraph(text, strong) for text, strong in caveats_of(found)))
    host = found.host
    tables = "each by itself" if found.wish.tables == "eager" else "by the range flush"
    pairs = [
        ("measured", STRATEGIES[found.strategy]),
        ("predicted", STRATEGIES[found.to]),
        ("kernel", clean(host.kernel)),
        ("origin", host.origin),
        ("times are of", BASES[found.measured.basis]),
        ("runs", f"{len(found.runs)}: {_some(found.runs)}"),
    ]
    if found.to == "deferred_range":
        pairs.insert(2, ("freed tables", f"invalidated {tables}"))
    yield Facts(tuple(pairs))


def _some(runs: Sequence[str]) -> str:
    shown = [clean(run) for run in runs[:RUNS_SHOWN]]
    return ", ".join([*shown, *(["..."] if len(runs) > RUNS_SHOWN else [])])


def _cells(found: Prediction) -> Iterator[Block]:
    columns = (
        TableColumn("unmaps of"), TableColumn("leaves", right=True),
        TableColumn("now", right=True), TableColumn(INTERVAL, right=True),
        TableColumn("predicted", right=True), TableColumn("half-width", right=True),
        TableColumn("ratio", right=True), TableColumn("leaf calls", right=True),
        TableColumn("range calls", right=True), TableColumn("table calls", right=True),
        TableColumn("of it TLBIs", right=True), TableColumn("unmaps", right=True),
    )  # fmt: skip
    yield Table(
        columns, tuple(_cell(cell) for cell in found.cells), keys=2,
        note="now: median, over runs; predicted: `-` where the interval is all that can be said;"
        f" {WHAT_INTERVAL}; {TOO_WIDE}; calls: invalidate calls of one unmap, now -> predicted,"
        " which follow from the page table; TLBIs: range operations of the range call",
    )  # fmt: skip


def _cell(cell: Cell) -> tuple[str, ...]:
    decided = cell.then.decided
    ratio = cell.ratio
    return (
        name_of(cell), count(cell.before.leaves), ns(cell.location.ns),
        span(cell.then.low, cell.then.high), ns(cell.then.value) if decided else UNKNOWN,
        percent(cell.then.half_width), UNKNOWN if ratio is None or not decided else times(ratio[0]),
        change(cell.before.invalidate_leaf, cell.after.invalidate_leaf),
        change(cell.before.invalidate_range, cell.after.invalidate_range),
        change(cell.before.invalidate_table, cell.after.invalidate_table),
        operations(cell.after), count(cell.location.unmaps),
    )  # fmt: skip


def _sizes(found: Prediction) -> Iterator[Block]:
    answered = [one for one in found.sizes if one.refused is None]
    if answered:
        columns = (
            TableColumn("range or leaves"), TableColumn("leaves", right=True),
            TableColumn("predicted", right=True), TableColumn(INTERVAL, right=True),
            TableColumn("half-width", right=True), TableColumn("leaf calls", right=True),
            TableColumn("range calls", right=True), TableColumn("tables freed", right=True),
        )  # fmt: skip
        yield Table(columns, tuple(_size(one) for one in answered), note=TOO_WIDE)
    refused = [one for one in found.sizes if one.refused is not None]
    if refused:
        yield _bulleted(f"{one.asked.text}: refused, {one.refused}" for one in refused)


def _size(one: Size) -> tuple[str, ...]:
    counts = one.counts
    assert counts is not None
    low, high = one.low or 0.0, one.high or 0.0
    decided = (one.half_width or 0.0) <= UNDECIDED
    return (
        one.asked.text, count(counts.leaves),
        ns(one.value or 0.0) if decided else UNKNOWN, span(low, high),
        percent(one.half_width or 0.0) if decided else UNKNOWN, count(counts.invalidate_leaf),
        count(counts.invalidate_range), _between(one.freed),
    )  # fmt: skip


def _between(ends: tuple[int, int]) -> str:
    fewest, most = ends
    return count(fewest) if fewest == most else f"{count(fewest)} .. {count(most)}"


def _costs(found: Prediction) -> Iterator[Block]:
    rows = [
        (CALL_NAMES[name], ns(cost.value), span(cost.low, cost.high), _known_from(cost))
        for name in ("ipa", "range", "cmo")
        if (cost := getattr(found.costs, name)) is not None
    ]
    if not isinstance(found.fitted, str):
        fitted = found.fitted.now
        wide = fitted.reach * fitted.errors()
        rows += [
            (COST_NAMES[name], ns(cost), span(max(0.0, cost - half), cost + half), "fitted")
            for name, cost, half in zip(fitted.names, fitted.costs, wide, strict=True)
        ]
    columns = (
        TableColumn("cost"), TableColumn("time", right=True), TableColumn("between", right=True),
        TableColumn("known from"),
    )  # fmt: skip
    yield Table(columns, tuple(rows))
    if isinstance(found.fitted, str):
        yield Paragraph(found.fitted)
        return
    missing = "" if "table" in found.fitted.now.names else " Freed tables are in the base."
    yield Paragraph(
        "fitted: a base, and so much per leaf and freed table, to the times as they are now; the"
        f" measured cells lie {percent(found.fitted.now.misfit)} off (what they would by chance"
        f" counted in).{missing} No cost of TLBI and DSB by themselves: a call holds both."
    )


def _known_from(cost: CallCost) -> str:
    return "calls in these traces, without tracing" if cost.source == "measured" else "a bracket"


def _assumed(found: Prediction) -> Iterator[Block]:
    """Each assumption with what it does to the largest unmaps."""
    decided = [cell for cell in found.cells if cell.then.decided and cell.then.effects]
    if not decided:
        return
    cell = largest(decided)
    effects = cell.then.effects
    yield Paragraph(
        f"What each does to the predicted time of {name_with_leaves(cell)}, all others as taken:"
    )
    yield _bulleted(
        f"{ASSUMPTIONS[name]}: {span(low, high)}" for name, (low, high) in effects.items()
    )
    if found.costs.range is None and found.to == "deferred_range":
        yield Paragraph(
            "No range call is in these traces: what one takes is not known from them, only assumed."
        )

"""A comparison as sections, for mail text, Markdown and pages."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from traceview.report.analysis_headline import lost_events
from traceview.report.analysis_sections import (
    asked,
    bystander_blocks,
    diagnostics_blocks,
    verdict_blocks,
)
from traceview.report.blocks import Block, Facts, Paragraph, Section
from traceview.report.bystanders import TITLE as COST_TO_OTHERS
from traceview.report.compare import caveat_texts, matched_text, side_text
from traceview.report.compare_basis import (
    cost_texts,
    left_out_texts,
    noise_texts,
    places,
    tracing_texts,
)
from traceview.report.compare_effect import (
    claim_text,
    label_texts,
    no_line_texts,
    origin_texts,
    plan_texts,
    tracing_effect_texts,
)
from traceview.report.compare_headline import headline_text
from traceview.report.compare_sizes import (
    COUNTS,
    LINE_COLUMNS,
    LINES,
    basis_columns,
    basis_row,
    common,
    interval_title,
    key_columns,
    keys_of,
    line_rows,
    mechanism,
    misfit_texts,
    operations,
)
from traceview.report.compare_sizes import notes as size_notes
from traceview.report.compare_split import TITLE, parts, split_texts
from traceview.report.compare_split import notes as split_notes
from traceview.report.compare_verdict import difference_texts, of_sides
from traceview.report.compared import SIDES, cell_words, joined, label_of, line_words
from traceview.report.contents import contents
from traceview.report.host_facts import by_label, events_of_sides, host_facts
from traceview.report.layout import Column
from traceview.report.ledger import EXCLUDED
from traceview.report.ratio_words import given, no_interval, ratio_ends, ratio_text
from traceview.report.reproduce import reproduce
from traceview.report.section_blocks import bullet_blocks, facts_blocks, table_blocks
from traceview.report.time_units import Unit, unit_of
from traceview.report.time_words import time_title
from traceview.report.wording import UNKNOWN, count, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.comparison import Size
    from traceview.queries.run_intervals import Interval
    from traceview.report.compared import Compared
    from traceview.report.provenance import Provenance

NO_INTERVAL: Final = "none"
RATIO: Final = "base / with"


def comparison_sections(found: Compared, provenance: Provenance) -> list[Section]:
    """The report of a comparison; what it has nothing to say of is left out."""
    calibrations = [one for one in found.calibrations if one is not None]
    sections = [
        Section("summary", "Summary", tuple(_summary(found))),
        Section("measured", "What was measured, and how", tuple(_measured(found, provenance))),
        Section("table", "How long unmaps of each size took", tuple(_table(found))),
        Section("split", _unit(found).sentence(TITLE), tuple(_split(found))),
        Section("counts", COUNTS, tuple(_counts(found))),
        Section("bystanders", COST_TO_OTHERS, tuple(_bystanders(found))),
        Section("tracing", "What tracing cost", tuple(_tracing(found))),
        Section("verdict", "The three hypotheses (docs/verdict.md)", tuple(_verdict(found))),
        Section("ledger", "What the numbers stand on", tuple(_ledger(found))),
        Section("caveats", "Before quoting this", tuple(bullet_blocks(caveat_texts(found)))),
        Section("diagnostics", "Diagnostics", tuple(diagnostics_blocks(joined(found)))),
        reproduce(provenance, joined(found), calibrations),
    ]
    return [section for section in sections if section.blocks]


def _summary(found: Compared) -> Iterator[Block]:
    yield Paragraph(headline_text(found, method=False))
    yield from _first_sizes(found)
    for text in (*_exclusion_texts(found), *label_texts(found), *origin_texts(found)):
        yield Paragraph(text, strong=True)


def _exclusion_texts(found: Compared) -> Iterator[str]:
    """Of each side, what is in no statistics, and what was lost."""
    for name, side, whole in zip(SIDES, found.ledger, found.wholes, strict=True):
        out = sum(side[place] for place in EXCLUDED)
        began = plural(side["began"], "unmap")
        excluded = f"{count(out)} of {began} in no statistics" if out else ""
        said = [text for text in (excluded, lost_events(whole)) if text]
        if said:
            yield f"{name}: {'; '.join(said)}"


def _first_sizes(found: Compared) -> Iterator[Block]:
    """The smallest size, one in the middle and the largest: where numbers are seen first."""
    sizes = [one for one in found.comparison.sizes if one.ratio is not None]
    sizes.sort(key=lambda one: (one.cell["leaves"] or 0, one.cell["length_bytes"] or 0))
    shown = [sizes[at] for at in sorted({0, len(sizes) // 2, len(sizes) - 1})] if sizes else []
    if not shown:
        return
    of = f"{len(shown)} of {len(sizes)} sizes" if len(sizes) > len(shown) else "by size"
    title = f" ({_interval_title(found)})" if _has_interval(found) else "; no interval"
    yield Paragraph(f"{of}, base -> with, ratio base / with{title}:")
    yield from bullet_blocks(_size_text(one, found) for one in shown)


def _size_text(one: Size, found: Compared) -> str:
    words, ratio, unit = cell_words(one.cell, found.leaf_sizes), one.ratio, _unit(found)
    if ratio is None:
        return words
    interval = given(ratio.interval, found.comparison.plan)
    ends = NO_INTERVAL if interval.low is None else ratio_ends(interval)
    shown = f" ({ends})" if _has_interval(found) else ""
    return (
        f"{words}: {unit.mean(ratio.base)} -> {unit.mean_named(ratio.with_)},"
        f" {ratio_text(interval.value)}{shown}"
    )


def _unit(found: Compared) -> Unit:
    return unit_of(found.comparison.base, found.comparison.with_)


def _measured(found: Compared, provenance: Provenance) -> Iterator[Block]:
    groups = list(zip(SIDES, found.wholes, strict=True))
    if found.one_set:
        groups = by_label(found.wholes[0])
    pairs = [(name, side_text(found, at)) for at, name in enumerate(SIDES)]
    pairs.append(("matched", matched_text(found.comparison)))
    pairs += host_facts(groups)
    pairs.append(("events", events_of_sides(*found.wholes)))
    pairs += asked(found.filters, provenance)
    yield Facts(tuple(pairs))


# ---- the numbers


def _table(found: Compared) -> Iterator[Block]:
    sizes = found.comparison.sizes
    keys, names = key_columns(sizes, found.leaf_sizes)
    columns = (
        *keys, Column("base", right=True), Column("with", right=True),
        Column("ratio", right=True), Column(_interval_title(found), note=_interval_note(found)),
        Column("runs", right=True), Column("n", right=True),
    )  # fmt: skip
    rows = [[*keys_of(one, names, found), *_cells(one, found)] for one in sizes]
    words = time_title(found.comparison.base, found.comparison.with_)
    how = "medians of runs, geometric means over these; ratio, runs and n (unmaps): base / with"
    title = ", ".join(part for part in (words, common(found).removeprefix(", "), how) if part)
    yield from table_blocks(columns, rows, title, keys=len(keys))
    basis = [[*keys_of(one, names, found), *basis_row(one, found)] for one in sizes]
    yield from table_blocks((*keys, *basis_columns(found)), basis, keys=len(keys))
    yield from bullet_blocks([*tracing_effect_texts(found), *plan_texts(found)])
    yield from bullet_blocks([*no_line_texts(found), *size_notes(found)])
    for claim in found.claims:
        yield Paragraph(f"claim {claim.overall}: {claim_text(claim, found)}")
    for line in found.comparison.lines if found.headline_line else ():
        title = f"{LINES}, {line_words(line, found.leaf_sizes)}"
        heads = [replace(one, title="ratio") if one.title == RATIO else one for one in LINE_COLUMNS]
        unit = _unit(found)
        rows = [[unit.sentence(row[0]), *row[1:]] for row in line_rows(line, found)]
        yield from table_blocks(heads, rows, title)
        yield from bullet_blocks(misfit_texts(line))
    yield from bullet_blocks(noise_texts(found))


def _cells(one: Size, found: Compared) -> list[str]:
    ratio = one.ratio
    unmaps = f"{one.base_unmaps:,}/{one.with_unmaps:,}"
    if ratio is None:
        return [*(UNKNOWN,) * 5, unmaps]
    interval = given(ratio.interval, found.comparison.plan)
    ends = NO_INTERVAL if interval.low is None else ratio_ends(interval)
    return [
        _unit(found).mean(ratio.base), _unit(found).mean(ratio.with_),
        ratio_text(interval.value), ends,
        f"{interval.base_runs}/{interval.with_runs}", unmaps,
    ]  # fmt: skip


def _intervals(found: Compared) -> list[Interval]:
    return [
        given(one.ratio.interval, found.comparison.plan)
        for one in found.comparison.sizes
        if one.ratio is not None
    ]


def _has_interval(found: Compared) -> bool:
    return any(interval.low is not None for interval in _intervals(found))


def _interval_title(found: Compared) -> str:
    """Short, for a mail; what `interval_title` says besides is said by the note."""
    infers = found.comparison.plan.allows_inference and _has_interval(found)
    return interval_title(found) if infers else "interval"


def _interval_note(found: Compared) -> str:
    """What intervals permit, and why sizes have none."""
    intervals = _intervals(found)
    why = dict.fromkeys(
        no_interval(interval).removesuffix(": no interval")
        for interval in intervals
        if interval.low is None
    )
    said = [f"{NO_INTERVAL}, {'; '.join(why)}"] if why else []
    how = dict.fromkeys(one.method for one in intervals if one.low is not None)
    has_any = bool(how)
    if how:
        said.insert(0, "; or ".join(how))
    if found.comparison.plan.standing == "descriptive" and has_any:
        said.insert(0, "of so few runs, descriptive only")
    return "; ".join(said)


# ---- what it is made of


def _split(found: Compared) -> Iterator[Block]:
    of, plan = found.comparison.decomposition, found.comparison.plan
    if isinstance(of, str):
        yield Paragraph(f"not split: {of}")
        return
    yield from table_blocks(*parts(of, found))
    texts = [*split_texts(of, plan), *split_notes(of, found)]
    yield from bullet_blocks(map(_unit(found).sentence, texts))


def _counts(found: Compared) -> Iterator[Block]:
    columns, values, keys = operations(found)
    yield from table_blocks(columns, values, keys=keys)
    if values:
        yield from bullet_blocks(mechanism(found))


def _bystanders(found: Compared) -> Iterator[Block]:
    for name, side in zip(SIDES, (found.comparison.base, found.comparison.with_), strict=True):
        yield from bystander_blocks(contents(side), f"{name} ({label_of(side)})")


def _tracing(found: Compared) -> Iterator[Block]:
    if found.untraced:
        yield Paragraph("nothing: no tracer ran")
        return
    yield from facts_blocks(cost_texts(found))
    yield from bullet_blocks(tracing_texts(found))


def _verdict(found: Compared) -> Iterator[Block]:
    of = of_sides(found)
    if of:
        yield from verdict_blocks(of, found.leaf_sizes)
        yield from bullet_blocks(difference_texts(found))


def _ledger(found: Compared) -> Iterator[Block]:
    yield from table_blocks(*places(found))
    if not any(side[name] for side in found.ledger for name in EXCLUDED):
        yield Paragraph("no unmap that was asked for is excluded for loss or damage")
    yield from bullet_blocks(left_out_texts(found))

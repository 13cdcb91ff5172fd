"""An analysis as sections, for mail text, Markdown and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.report.absent import unknown_because, why_no_unmap
from traceview.report.analysis_headline import counted, headline
from traceview.report.bar import PARTS, corrected_texts, share_texts
from traceview.report.blocks import Block, Facts, Paragraph, Section
from traceview.report.bystanders import STALL, about_all, notes, rates, stalls
from traceview.report.bystanders import TITLE as COST_TO_OTHERS
from traceview.report.host_facts import by_label, events_text, host_facts, traces_text
from traceview.report.layout import Column
from traceview.report.ledger import (
    count_column,
    is_any_excluded,
    places,
    worst_medians,
    worst_text,
)
from traceview.report.operation_names import COUNT_NOTES, COUNTED, SHORT
from traceview.report.reproduce import reproduce
from traceview.report.samples import COLUMNS, HOW_TO_READ, sampled
from traceview.report.samples import TITLE as SAMPLES
from traceview.report.section_blocks import bullet_blocks, table_blocks
from traceview.report.split import group_title
from traceview.report.terminal import (
    EMPTY,
    SAID_AS_CAVEATS,
    corrected_cells,
    corrected_columns,
    diagnostic_texts,
    empty_unmaps,
    leaf_sizes,
    why_none,
)
from traceview.report.terminal import (
    by_label as rows_by_label,
)
from traceview.report.time_units import Unit, unit_of
from traceview.report.time_words import of_label, words_of_label
from traceview.report.tracing import tracing_blocks
from traceview.report.verdict import TITLE as HYPOTHESES
from traceview.report.verdict import WHAT_IF, first_texts, kinds, more_texts
from traceview.report.wording import clean, count, number, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from traceview.queries.analysis import Analysis
    from traceview.queries.verdict import Verdict
    from traceview.report.contents import Contents
    from traceview.report.provenance import Provenance

MOST_GROUPS: Final = 4  # of which parts and worst cases are told
STRONG: Final = "strong"


def analysis_sections(found: Contents, provenance: Provenance) -> list[Section]:
    """The report of an analysis; what it has nothing to say of is left out."""
    calibrations = [] if found.calibration is None else [found.calibration]
    sections = [
        Section("summary", "Summary", tuple(_summary(found))),
        Section("measured", "What was measured, and how", tuple(_measured(found, provenance))),
        Section("table", "Unmaps, by strategy, leaf size and trigger", tuple(_table(found))),
        Section("split", "Where the time went", tuple(_split(found))),
        Section("counts", "Operations in these unmaps", tuple(_counts(found))),
        Section("bystanders", COST_TO_OTHERS, tuple(bystander_blocks(found))),
        Section("tracing", "What tracing cost", tuple(_tracing(found))),
        Section("verdict", HYPOTHESES, tuple(_verdict(found))),
        Section("ledger", "What the numbers stand on", tuple(_ledger(found))),
        Section("caveats", "Before quoting this", tuple(_caveats(found))),
        Section("diagnostics", "Diagnostics", tuple(_diagnostics(found))),
        reproduce(provenance, found.whole, calibrations),
    ]
    return [section for section in sections if section.blocks]


def _summary(found: Contents) -> Iterator[Block]:
    yield Paragraph(headline(found))
    if len(found.whole.unmaps) or len(found.whole.losses):
        yield Paragraph(
            counted(found), strong=is_any_excluded(found.ledger) or len(found.whole.losses) > 0
        )
    for one in found.caveats:
        if one.severity == STRONG:
            yield Paragraph(one.text, strong=True)


def _measured(found: Contents, provenance: Provenance) -> Iterator[Block]:
    whole = found.whole
    pairs = [("traces" if len(whole.sources) > 1 else "trace", traces_text(whole))]
    if len(whole.sources) == 1:
        label = whole.sources["label"][0]
        pairs.append(("label", clean(label) if label else "unknown"))
    pairs += host_facts(by_label(whole))
    pairs.append(("events", events_text(whole)))
    pairs += asked(found.filters, provenance)
    yield Facts(tuple(pairs))


def asked(filters: object, provenance: Provenance) -> list[tuple[str, str]]:
    """What the reader of a trace was asked for, besides the trace."""
    pairs = [("only", clean(filters))] if filters else []
    names = ", ".join(map(clean, provenance.vocabularies))
    return pairs + ([("own vocabulary", names)] if names else [])


def _table(found: Contents) -> Iterator[Block]:
    rows = found.groups.filter(pl.col("leaf_level") != "none")
    if found.whole.unmaps.is_empty():
        yield from bullet_blocks(why_no_unmap(found.whole))
        return
    if rows.is_empty():
        yield Paragraph(why_none(found))
    sizes = leaf_sizes(found.analysis.sources)
    more = corrected_columns(rows)
    # The bounds first: a reader who sees no further has them.
    order = sorted(range(len(more)), key=lambda at: more[at].title != "untraced")
    for label, of in rows_by_label(rows, found):
        raw = None if label is None else of["label"][0]
        unit = unit_of(of_label(found.analysis, raw))
        columns = (
            Column("strategy"), Column("leaf"), Column("trigger"), count_column(found.ledger),
            Column("leaves", right=True), Column("median", right=True), Column("p95", right=True),
            Column(unit.per_leaf, right=True), *(more[at] for at in order),
        )  # fmt: skip
        values = []
        for row in of.iter_rows(named=True):
            cells = corrected_cells(row, rows)
            values.append([
                row["strategy"], sizes[row["leaf_level"]], row["trigger"], count(row["count"]),
                count(row["leaves"]), unit.amount(row["median_ns"]), unit.amount(row["p95_ns"]),
                number(row["ns_per_leaf"]), *(cells[at] for at in order),
            ])  # fmt: skip
        words = words_of_label(found.analysis, raw)
        title = ", ".join(part for part in (label, words.removesuffix(", ")) if part)
        yield from table_blocks(columns, values, title, keys=3)
    empty, values = empty_unmaps(found, unit_of(found.analysis))
    aside = words_of_label(found.analysis, None).removesuffix(", ")
    title = f"{EMPTY}, {aside}" if aside else EMPTY
    yield from table_blocks(empty, values, title, keys=2 + (empty[0].title == "label"))


def _split(found: Contents) -> Iterator[Block]:
    rows = found.groups.filter((pl.col("leaf_level") != "none") & (pl.col("duration_ns") > 0))
    sizes = leaf_sizes(found.analysis.sources)
    several = found.groups["label"].n_unique() > 1
    for row in rows.head(MOST_GROUPS).iter_rows(named=True):
        unit = unit_of(of_label(found.analysis, row["label"] if several else None))
        yield from _parts(row, group_title(row, sizes, several=several, unit=unit), unit)
    if len(rows) > MOST_GROUPS:
        yield Paragraph(
            f"and {plural(len(rows) - MOST_GROUPS, 'smaller group')} (--json has them all)"
        )
    if len(found.sample_groups):
        yield Paragraph(f"{SAMPLES}: {HOW_TO_READ}")
        for title, values in sampled(found):
            yield from table_blocks(COLUMNS, values, title)


def _parts(row: dict[str, Any], title: str, unit: Unit) -> list[Block]:
    """The parts of a group: as recorded, and without tracing where that is known."""
    values = {part.column: row[part.column] or 0 for part in PARTS}
    left = {part.column: said for part, said in corrected_texts(row)}
    per_leaf = unit.per_leaf if row["leaves"] else ""
    has_left = bool(row["probe_high_ns"]) and len(left) > 1
    note = "share, and ns per leaf" if row["leaves"] else "share, and time"
    if row["corrected_ns"] is None:
        note = "the least that tracing leaves of it, " + (
            "ns per leaf" if row["leaves"] else "in all"
        )
    columns = [Column("part"), Column("share", right=True), Column(per_leaf, right=True, drop=1)]
    columns += [Column("without tracing", right=True, note=note)] if has_left else []
    rows = [
        [part.what, share, ns, *([left.get(part.column, "0")] if has_left else [])]
        for part, share, ns in share_texts(values, row["leaves"])
    ]
    return table_blocks(columns, rows, title)


def _counts(found: Contents) -> Iterator[Block]:
    rows = found.groups
    names = [
        name for name in COUNTED if name in rows.columns and (rows[name].fill_null(0) > 0).any()
    ]
    if not names:
        return
    sizes = leaf_sizes(found.analysis.sources)
    several = rows["label"].n_unique() > 1
    columns = (
        *([Column("label")] if several else []), Column("strategy"), Column("leaf"),
        Column("trigger"), count_column(found.ledger, "unmaps"), Column("leaves", right=True),
        *(
            Column(SHORT.get(name, COUNTED[name]), right=True, note=COUNT_NOTES.get(name, ""))
            for name in names
        ),
    )  # fmt: skip
    values = [
        [
            *([clean(row["label"])] if several else []), row["strategy"], sizes[row["leaf_level"]],
            row["trigger"], count(row["count"]), count(row["leaves"]),
            *(count(row[name]) for name in names),
        ]
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip
    yield from table_blocks(columns, values, "sums over the unmaps", keys=3 + several)


def bystander_blocks(found: Contents, name: str = "") -> Iterator[Block]:
    """What unmaps cost others, where any were seen; *name*: of what side this is."""
    rows = found.bystander_groups.filter(pl.col("vcpus").is_not_null())
    if rows.is_empty():
        return
    yield Paragraph(f"{name}: {STALL}" if name else STALL)
    several = rows["label"].n_unique() > 1 or len(found.analysis.sources) > 1
    for (label,), of in rows.group_by("label", maintain_order=True):
        groups = list(of.iter_rows(named=True))
        yield from table_blocks(*stalls(groups), clean(label) if several else "")
        yield from table_blocks(*rates(groups))
        yield from bullet_blocks(notes(found.bystander_groups.filter(pl.col("label") == label)))
    yield from bullet_blocks(about_all(found))


def _tracing(found: Contents) -> Iterator[Block]:
    blocks = list(tracing_blocks(found.analysis, found.calibration))
    for name, pairs in blocks:
        yield from [Paragraph(name)] if len(blocks) > 1 else []
        yield Facts(tuple(pairs))


def _verdict(found: Contents) -> Iterator[Block]:
    if not found.verdicts:
        return
    yield from verdict_blocks(found.verdicts, leaf_sizes(found.analysis.sources))


def verdict_blocks(found: Sequence[Verdict], sizes: dict[str, str]) -> Iterator[Block]:
    """What can be said of the hypotheses; what would be if, of times that are evidence only."""
    said = list(first_texts(found))
    yield from map(Paragraph, said)
    for title, pairs in kinds(found, sizes):
        yield Paragraph(f"{title}:")
        yield Facts(tuple(pair for pair in pairs if not said or pair[0] != WHAT_IF))
    yield from map(Paragraph, more_texts(found))


def ledger_blocks(ledger: pl.DataFrame, whole: Analysis) -> Iterator[Block]:
    """Where every unmap of *whole* is, also where none is excluded."""
    if not int(ledger["began"].sum()):
        yield Paragraph(f"unmaps: {unknown_because(whole)}")
        return
    columns, values = places(ledger)
    yield from table_blocks(columns, values, "unmaps", keys=int(columns[0].title == "label"))
    if not is_any_excluded(ledger):
        yield Paragraph("no unmap that was asked for is excluded")


def _ledger(found: Contents) -> Iterator[Block]:
    yield from ledger_blocks(found.ledger, found.whole)
    worst, rows = worst_medians(found, leaf_sizes(found.analysis.sources))
    if rows:
        yield Paragraph(f"{worst_text(found)}:")
        yield from table_blocks(worst, rows[:MOST_GROUPS], keys=len(worst) - 4)
    if len(rows) > MOST_GROUPS:
        yield Paragraph(f"and {len(rows) - MOST_GROUPS} smaller groups (--json has them)")


def _caveats(found: Contents) -> Iterable[Block]:
    """The others are in the summary."""
    return bullet_blocks(one.text for one in found.caveats if one.severity != STRONG)


def _diagnostics(found: Contents) -> Iterator[Block]:
    yield from diagnostics_blocks(found.whole)
    if found.calibration is not None and (of := diagnostics_blocks(found.calibration)):
        yield Paragraph("of the calibration:")
        yield from of


def diagnostics_blocks(analysis: Analysis) -> list[Block]:
    """What was wrong with the input, the gravest first."""
    return bullet_blocks(
        (f"{severity}: {text}", severity == "error")
        for severity, text in diagnostic_texts(analysis, SAID_AS_CAVEATS)
    )

"""The runs of one side against themselves (A/A) as sections, for mail text and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.queries.ledger import ledger
from traceview.report.analysis_sections import asked, diagnostics_blocks, ledger_blocks
from traceview.report.blocks import Block, Facts, Paragraph, Section
from traceview.report.compared import cell_words
from traceview.report.compared_runs import (
    COLUMNS,
    TITLE,
    caveat_texts,
    notes,
    runs_rows,
    runs_text,
)
from traceview.report.host_facts import by_label, events_text, host_facts
from traceview.report.ratio_words import ratio_text
from traceview.report.reproduce import reproduce
from traceview.report.section_blocks import bullet_blocks, table_blocks
from traceview.report.terminal import leaf_sizes
from traceview.report.time_words import time_title, time_words
from traceview.report.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.report.compared_runs import ComparedRuns
    from traceview.report.provenance import Provenance


def runs_sections(found: ComparedRuns, provenance: Provenance) -> list[Section]:
    """The report of A/A; what it has nothing to say of is left out."""
    calibrations = [] if found.calibration is None else [found.calibration]
    first = [(text, strong) for text, strong in caveat_texts(found) if strong]
    later = [(text, strong) for text, strong in caveat_texts(found) if not strong]
    sections = [
        Section(
            "summary", "Summary",
            (Paragraph(_headline(found)), *(Paragraph(text, strong) for text, strong in first)),
        ),
        Section("measured", "What was measured, and how", tuple(_measured(found, provenance))),
        Section("table", TITLE, tuple(_table(found))),
        Section(
            "ledger", "What the numbers stand on",
            tuple(ledger_blocks(ledger(found.whole, found.of.side, found.filters), found.whole)),
        ),
        Section("caveats", "Before quoting this", tuple(bullet_blocks(later))),
        Section("diagnostics", "Diagnostics", tuple(diagnostics_blocks(found.whole))),
        reproduce(provenance, found.whole, calibrations),
    ]  # fmt: skip
    return [section for section in sections if section.blocks]


def _headline(found: ComparedRuns) -> str:
    """The largest of the noise floors."""
    of = found.of
    said = f"{time_words(of.side)}{runs_text(found)} against themselves: "
    floors = [(one.noise.ratio, one) for one in of.sizes if one.noise is not None]
    if not floors:
        return f"{said}no noise floor"
    ratio, worst = max(floors, key=lambda floor: floor[0])
    where = cell_words(worst.cell, leaf_sizes(of.side.sources))
    sizes = f"; the most of {plural(len(floors), 'size')}" if len(floors) > 1 else ""
    return (
        f"{said}halves of them differ by a ratio of up to {ratio_text(ratio)} in 95% of the splits"
        f" ({where}{sizes})"
    )


def _measured(found: ComparedRuns, provenance: Provenance) -> Iterator[Block]:
    pairs = [("runs of", runs_text(found))]
    pairs += host_facts(by_label(found.whole))
    pairs.append(("events", events_text(found.whole)))
    pairs += asked(found.filters, provenance)
    yield Facts(tuple(pairs))


def _table(found: ComparedRuns) -> Iterator[Block]:
    title = time_title(found.of.side)
    yield from table_blocks(COLUMNS, runs_rows(found), title)
    yield from bullet_blocks(notes(found))

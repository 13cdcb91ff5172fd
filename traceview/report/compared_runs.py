"""A/A: what the runs of one side differ by among themselves, for a person and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from traceview.queries.ledger import ledger
from traceview.queries.like_sides import kept, labels_of
from traceview.queries.same_side import same_side
from traceview.report.caveats import caveats
from traceview.report.compare_json import finite
from traceview.report.compared import OF_SPLIT, cell_words, label_of, several_labels
from traceview.report.json_document import diagnostics as diagnostics_json
from traceview.report.json_document import document, header, rows, source_counts
from traceview.report.layout import Column, bullets, facts, heading, table
from traceview.report.ratio_words import ratio_text, time_text
from traceview.report.terminal import SAID_AS_CAVEATS, diagnostics, leaf_sizes
from traceview.report.wording import UNKNOWN, clean, count, plural, step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.analysis import Analysis
    from traceview.queries.filters import Filters
    from traceview.queries.same_side import SameSide, SameSize
    from traceview.report.caveat import Caveat
    from traceview.vocabulary import Vocabulary


TITLE: Final = "The runs against themselves (A/A)"
COLUMNS: Final = (
    Column("size"), Column("runs", right=True), Column("unmaps", right=True, drop=4),
    Column("shortest", right=True, drop=3, note="median of a run"),
    Column("longest", right=True, drop=2, note="median of a run"),
    Column(
        "noise floor", right=True,
        note="two halves of these runs differ by less in 95% of the splits",
    ),
    Column(
        "false alarms", right=True, drop=1, note="splits of which a 95% interval excludes 1"
    ),
    Column(
        "detectable", right=True,
        note="the least ratio that as many runs on each of two sides find (power 0.8)",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ComparedRuns:
    """`whole` is what was read, before the filters; `calibration` what it was priced with."""

    of: SameSide
    whole: Analysis
    filters: Filters
    caveats: tuple[Caveat, ...]
    calibration: Analysis | None = None


def runs_of_one_side(
    whole: Analysis,
    calibration: Analysis | None,
    filters: Filters,
    vocabulary: Vocabulary | None,
) -> ComparedRuns:
    """The runs of *whole*, priced with *calibration*, against themselves; raises QueryError."""
    of = same_side(kept(filters, whole, "the traces"), whole)
    return compared_runs(of, whole, filters, vocabulary, calibration)


def compared_runs(
    of: SameSide,
    whole: Analysis,
    filters: Filters,
    vocabulary: Vocabulary | None = None,
    calibration: Analysis | None = None,
) -> ComparedRuns:
    """What a report says of the runs of one side; of the inside of unmaps it says nothing."""
    said = [one for one in caveats(of.side, vocabulary, calibration) if one.code not in OF_SPLIT]
    several = several_labels(of.side)
    if several is not None:  # what labels differ by is no noise
        sizes = tuple(replace(one, noise=None, detectable=None) for one in of.sizes)
        of, said = replace(of, sizes=sizes), [several, *said]
    return ComparedRuns(of, whole, filters, tuple(said), calibration)


def runs_report(found: ComparedRuns, width: int) -> list[Text]:
    """The noise floor, size by size."""
    pairs = [("runs of", runs_text(found))]
    pairs += [("only", clean(str(found.filters)))] if found.filters else []
    lines = facts(pairs, width) + heading(TITLE, width)
    lines += table(COLUMNS, runs_rows(found), width)
    lines += bullets(notes(found), width)
    lines += heading("Before quoting this", width)
    lines += bullets(
        [Text(text, "bold" if strong else "") for text, strong in caveat_texts(found)], width
    )
    return lines + diagnostics(found.whole, width, besides=SAID_AS_CAVEATS)


def runs_rows(found: ComparedRuns) -> list[list[str]]:
    """What the runs differ by, size by size."""
    sizes = leaf_sizes(found.of.side.sources)
    return [[cell_words(one.cell, sizes), *_row(one)] for one in found.of.sizes]


def caveat_texts(found: ComparedRuns) -> Iterator[tuple[str, bool]]:
    """What limits the use of this, and whether it must not be overlooked."""
    for one in found.caveats:
        if not one.code.startswith("overhead"):  # the notes say what the times are
            yield one.text, one.severity == "strong"


def _row(one: SameSize) -> list[str]:
    noise = one.noise
    return [
        count(len(one.estimates)), count(one.unmaps),
        time_text(min(one.estimates, default=None)), time_text(max(one.estimates, default=None)),
        UNKNOWN if noise is None else ratio_text(noise.ratio),
        UNKNOWN if noise is None else f"{noise.false_alarms:.0%} of {noise.splits:,}",
        UNKNOWN if one.detectable is None else ratio_text(one.detectable),
    ]  # fmt: skip


def runs_text(found: ComparedRuns) -> str:
    """Whose runs, and how many."""
    label = label_of(found.of.side) or "not labelled"
    return f"{label}: {plural(len(found.of.runs), 'run')}"


def notes(found: ComparedRuns) -> Iterator[str]:
    """What the table stands on, and what it leaves open."""
    of = found.of
    if len(labels_of(of.side)) > 1:
        yield "runs of several labels are no A/A: no noise floor. Ask of one label at a time"
    elif len(of.runs) < 4:
        yield f"{plural(len(of.runs), 'run')}: a noise floor wants 4"
    variants = {one.variant for one in of.sizes}
    yield {
        frozenset({"corrected"}): "times are without what tracing cost",
        frozenset({"raw"}): "times are as recorded, what tracing cost included",
    }.get(frozenset(variants), "times are without what tracing cost where it is known")
    if of.quantum_ns:
        yield f"steps of the durations: {step(of.quantum_ns)}"
    if of.side.sources["run"].null_count():
        yield "runs not stated (--run, sidecar): traces that state none are taken as one run"
    for one in of.left_out:
        noun = "unmap" if one.unmaps == 1 else "unmaps"
        yield f"{count(one.unmaps)} {noun} not compared: {one.reason}"


def runs_json(found: ComparedRuns) -> Iterator[str]:
    """The document of `traceview compare --aa --json`, in pieces."""
    of = found.of
    yield from document(
        finite(
            {
                **header("same_side"),
                "filters": str(found.filters),
                "label": label_of(of.side),
                "runs": list(of.runs),
                "clock": {"quantum_ns": of.quantum_ns},
                "sizes": [_size(one) for one in of.sizes],
                "left_out": [
                    {"reason": one.reason, "unmaps": one.unmaps} for one in of.left_out
                ],
                "ledger": list(rows(ledger(found.whole, of.side, found.filters))),
                "caveats": [
                    {"code": one.code, "severity": one.severity, "text": one.text}
                    for one in found.caveats
                ],
                "diagnostics": diagnostics_json(found.whole),
                "sources": list(rows(source_counts(found.whole))),
            }
        )
    )  # fmt: skip


def _size(one: SameSize) -> dict[str, Any]:
    return {
        **one.cell,
        "unmaps": one.unmaps,
        "variant": one.variant,
        "estimates_ns": list(one.estimates),
        "noise": None if one.noise is None else asdict(one.noise),
        "detectable_ratio": one.detectable,
    }

"""Evidence against its recordings: each is read again, and every table compared row by row.

A recording is known by its SHA-256, wherever it lies and whatever it is called. What was stated
about it (sidecar, options) is in the manifest and is stated again; its path is not compared.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.queries.analysis import KEPT, analyze
from traceview.queries.same_rows import Difference, first_differences
from traceview.report.manifest import Heard
from traceview.report.verification import PROBE, Check, check, of_source, words
from traceview.report.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.queries.analysis import Analysis
    from traceview.queries.source_tables import SourceTables
    from traceview.report.evidence_reading import EvidenceFolder
    from traceview.trace import Trace

# Of a source: where it lay, and what it is called where nobody stated a label.
NOT_OF_THE_FILE: Final = {"sources": ("path", "label"), "unmaps": PROBE}


def reread(
    folder: EvidenceFolder,
    part: str,
    number: int,
    trace: Trace,
    progress: Callable[[float], None] = lambda _: None,
) -> Check:
    """Read *trace*, the input *number* of *part*, and compare its tables with those of the folder.

    Raises ParseError when the trace or the folder cannot be read.
    """
    recipe, one = folder.manifest.recipe, folder.manifest.inputs[part][number]
    calls = _Calls(folder, part, number)
    heard: dict[str, Any] = {}

    def hear(_source: int, _batch: object, _chunk: object, tables: SourceTables) -> None:
        heard["heard"] = Heard.of(tables.traced)
        heard["page_bytes"] = tables.page_bytes
        heard["configured"] = tuple(sorted(tables.facts.get("traced") or ()))

    found = analyze(
        trace, sink=calls.hear, hear=hear, progress=progress, step_pattern=recipe.step_pattern,
        # The steps of --steps are those of the traces of an analysis, not of its calibration.
        steps=None if part == "calibration" else recipe.steps,
    )  # fmt: skip
    stated = folder.part(part)
    differences = calls.finish()
    for table in KEPT:
        one_side, other = of_source(stated, table, number), of_source(found, table, 0)
        if table == "event_counts":  # of no order
            one_side, other = _in_order(one_side), _in_order(other)
        differences += first_differences(
            table, one_side, other, besides=NOT_OF_THE_FILE.get(table, ())
        )
    differences += _diagnostics(stated, found, number, (one.path, trace.path))
    path = Path(trace.path)
    if one.bytes is not None and path.is_file():
        heard["bytes"] = path.stat().st_size
    differences += [
        Difference(f"{name} of the manifest", getattr(one, name), now)
        for name, now in heard.items()
        if getattr(one, name) != now
    ]
    where = f"{part}, source {number}"
    text = f"{where}, read again: {len(KEPT)} tables, diagnostics and {plural(calls.seen, 'call')}"
    return check("trace", text, [words(one, f"{where}: ") for one in differences])


def _in_order(rows: pl.DataFrame) -> pl.DataFrame:
    names = pl.col(pl.Categorical, pl.Enum).cast(pl.String)
    return rows.with_columns(names).sort(rows.columns)


class _Calls:
    """The calls of one source in the folder, compared with those that stream by."""

    def __init__(self, folder: EvidenceFolder, part: str, number: int) -> None:
        self._pieces: Iterator[pl.DataFrame] = (
            rows for source, rows in folder.calls(part) if source == number
        )
        self._left: pl.DataFrame | None = next(self._pieces, None)
        self._differences: list[Difference] = []
        self.seen = 0

    def hear(self, _source: int, table: str, rows: pl.DataFrame) -> None:
        if table != "calls" or self._differences:
            return
        rows = rows.filter(pl.col("unmap_id").is_not_null())
        self._differences += first_differences("calls", self._take(len(rows), rows), rows)
        self.seen += len(rows)

    def finish(self) -> list[Difference]:
        more = self._left is not None and len(self._left) > 0
        if more and not self._differences:
            self._differences.append(Difference("calls", f"more than {self.seen}", f"{self.seen}"))
        return self._differences

    def _take(self, size: int, like: pl.DataFrame) -> pl.DataFrame:
        parts = [like.clear()]
        while size and self._left is not None:
            part = self._left.head(size)
            parts.append(part)
            size -= len(part)
            self._left = self._left.slice(len(part))
            if self._left.is_empty():
                self._left = next(self._pieces, None)
        return pl.concat(parts)


def _diagnostics(
    stated: Analysis, found: Analysis, number: int, paths: tuple[str, str]
) -> list[Difference]:
    one = [what for source, what in stated.diagnostics if source == number]
    other = [what for _, what in found.diagnostics]
    then, now = paths
    if len(one) == len(other) and all(
        a in (b, replace(b, message=b.message.replace(now, then)))
        for a, b in zip(one, other, strict=True)
    ):
        return []
    texts = [[(what.code, what.severity, what.message, what.count) for what in of]
             for of in (one, other)]  # fmt: skip
    return [Difference("diagnostics", texts[0], texts[1])]

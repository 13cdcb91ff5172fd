"""The tables that a query may name: of traces while they are read, or of a folder with Parquet.

Tables that grow with the trace (events, args, calls, instructions, samples) lie in temporary files
(TMPDIR says where) and are read as the query needs them; the others lie in memory.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import polars as pl

from traceview.errors import ParseError, SettingError
from traceview.queries.analysis import KEPT, Analysis
from traceview.queries.analysis import analyze as analyzed
from traceview.report.contents import contents
from traceview.report.parquet import STREAMED
from traceview.report.table_files import TableFiles
from traceview.schema import TABLES, frame, to_arrow

if TYPE_CHECKING:
    from types import TracebackType

    from traceview.vocabulary import Vocabulary

# What reports compute of the tables; docs/json.md describes the columns.
SUMMARIES: Final = (
    "groups", "trigger_groups", "sample_groups", "bystander_groups", "ledger",
)  # fmt: skip
DIAGNOSTICS: Final = "diagnostics"
DIAGNOSTIC_COLUMNS: Final = {
    "source_id": pl.Int32(), "code": pl.String(), "severity": pl.String(),
    "message": pl.String(), "count": pl.Int64(),
}  # fmt: skip
MANIFEST: Final = "manifest.json"


class Streamed:
    """Keeps the streamed tables of *names* in temporary files while a trace is read."""

    def __init__(self, names: frozenset[str]) -> None:
        """Keep those of *names* that stream; use it as a context manager."""
        self.names = tuple(name for name in STREAMED if name in names)
        self._held = ExitStack()
        self._files = TableFiles("temporary files; TMPDIR names another folder")
        self._paths: dict[str, Path] = {}

    def __enter__(self) -> Self:
        try:
            made = tempfile.TemporaryDirectory(prefix="traceview-", ignore_cleanup_errors=True)
            folder = Path(self._held.enter_context(made))
        except OSError as err:
            raise SettingError(f"no folder for temporary files: {err.strerror or err}") from err
        for name in self.names:
            self._paths[name] = folder / f"{name}.parquet"
            self._files.open(name, self._paths[name], to_arrow(name, frame(name), 0).schema)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._files.abandon()
        self._held.close()

    def sink(self, source_id: int, table: str, rows: pl.DataFrame) -> None:
        """Take *rows* of a table, as `analyze` hands them over."""
        if table in self._paths and not rows.is_empty():
            self._files.write(table, to_arrow(table, rows, source_id))

    def tables(self) -> dict[str, pl.LazyFrame]:
        """What was kept; no more is taken."""
        self._files.close()
        return {name: pl.scan_parquet(path) for name, path in self._paths.items()}


def analysis_tables(
    analysis: Analysis, names: frozenset[str], vocabulary: Vocabulary | None = None
) -> dict[str, pl.LazyFrame]:
    """The tables of *analysis*, and of its summaries those in *names*."""
    found = {
        field.name: getattr(analysis, field.name).lazy()
        for field in fields(analysis)
        if field.name not in {DIAGNOSTICS, *STREAMED}
    }
    said = [(n, d.code, d.severity, d.message, d.count) for n, d in analysis.diagnostics]
    found[DIAGNOSTICS] = pl.LazyFrame(said, schema=DIAGNOSTIC_COLUMNS, orient="row")
    if names & set(SUMMARIES):
        summed = contents(analysis, vocabulary=vocabulary)
        found |= {name: getattr(summed, name).lazy() for name in SUMMARIES}
    return found


def no_rows(names: frozenset[str]) -> dict[str, pl.LazyFrame]:
    """Every table without a row: what a query may name, before a trace is read."""
    streamed = {name: _empty(name).lazy() for name in STREAMED}
    return analysis_tables(analyzed([]), names | set(SUMMARIES)) | streamed


def _empty(name: str) -> pl.DataFrame:
    rows = frame(name)
    return rows.select(pl.lit(0, dtype=pl.Int32).alias("source_id"), pl.all()).clear()


def is_folder_of_tables(path: Path) -> bool:
    """Whether *path* is what --parquet or --evidence wrote."""
    return path.is_dir() and bool(_tables_in(path) or (path / MANIFEST).is_file())


def folder_tables(folder: Path, names: frozenset[str]) -> dict[str, pl.LazyFrame]:
    """The tables in *folder*; raises ParseError where it has several parts, or no tables."""
    there = _tables_in(_part(folder))
    try:
        found = {name: pl.scan_parquet(path) for name, path in there.items()}
        for rows in found.values():
            rows.collect_schema()
        if names & set(SUMMARIES):
            found |= _summaries(found)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as err:
        said = " ".join(str(err).split())[:200]
        raise ParseError(f"no tables that can be read: {said}", path=str(folder)) from err
    return found


def _part(folder: Path) -> Path:
    """Where the tables lie: in the folder, or in the part of evidence that is not calibration."""
    if _tables_in(folder):
        return folder
    parts = sorted(
        one for one in folder.iterdir()
        if one.is_dir() and _tables_in(one) and not one.name.endswith("calibration")
    )  # fmt: skip
    if len(parts) != 1:
        some = ", ".join(str(part) for part in parts)
        reason = f"evidence with {len(parts)} parts\nvalid: {some}" if parts else "no tables"
        raise ParseError(reason, path=str(folder))
    return parts[0]


def _tables_in(folder: Path) -> dict[str, Path]:
    paths = {name: folder / f"{name}.parquet" for name in (*TABLES, DIAGNOSTICS)}
    return {name: path for name, path in paths.items() if path.is_file()}


def _summaries(found: dict[str, pl.LazyFrame]) -> dict[str, pl.LazyFrame]:
    needed = (*KEPT, "tracing_costs")
    if not set(needed) <= found.keys():
        return {}
    whole = Analysis(
        **{name: _conformed(name, found[name].collect()) for name in needed}, diagnostics=()
    )
    summed = contents(whole)
    return {name: getattr(summed, name).lazy() for name in SUMMARIES}


def _conformed(name: str, rows: pl.DataFrame) -> pl.DataFrame:
    columns = {"source_id": pl.Int32(), **TABLES[name]}
    return rows.select(pl.col(column).cast(dtype) for column, dtype in columns.items())

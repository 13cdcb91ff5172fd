"""A folder of evidence: what a reader needs to make a report again (docs/evidence.md).

Every table that the report reads, and the calls inside unmaps, as Parquet; the report as mail text
and JSON; a manifest that names the recordings and every file by digest, and says how the report was
asked for. Calls stream to disk while the recordings are read. The folder appears whole: it is
written under a hidden name beside its own. Into a folder that is there already the files are
moved one by one, the manifest last, and only what that evidence's manifest names is replaced.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import polars as pl

from traceview.errors import ParseError, SettingError
from traceview.report.documents import json_of, mail_of
from traceview.report.manifest import (
    DIAGNOSTICS,
    MANIFEST,
    REPORTS,
    TABLES_OF_PART,
    File,
    Heard,
    Input,
    Manifest,
    digest_of,
    files_of,
    manifest_text,
    read_manifest,
    table_file,
)
from traceview.report.new_file import write_file
from traceview.report.software import software
from traceview.report.table_files import TableFiles
from traceview.schema import frame, to_arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    import pyarrow as pa

    from traceview.queries.analysis import Analysis
    from traceview.queries.calls import Chunk
    from traceview.queries.source_tables import SourceTables
    from traceview.report.recipe import Found, Recipe
    from traceview.trace import Batch

PIECE_BYTES: Final = 1 << 20
DIAGNOSTIC_COLUMNS: Final = {
    "source_id": pl.Int32(), "code": pl.String(), "severity": pl.String(),
    "message": pl.String(), "count": pl.Int64(),
}  # fmt: skip


class Evidence:
    """Writes the evidence of one report into *directory*; use it as a context manager.

    While a part is read, `analyze` wants its `sink` and its `hear`; at the end comes `finish`.
    """

    def __init__(self, directory: Path, *, force: bool = False) -> None:
        """Raise SettingError where *directory* holds something, unless *force*."""
        self.directory = directory
        self._force = force
        self._target = Path(os.path.realpath(directory))
        self._temporary = self._target.with_name(
            f".{self._target.name}-{os.getpid()}-{secrets.token_hex(4)}.tmp"
        )
        self._files = TableFiles(str(directory))
        self._inputs: dict[str, dict[int, Input]] = {}
        self._parents: list[Path] = []
        self._refuse()

    def __enter__(self) -> Self:
        try:
            parent = self._target.parent
            self._parents = [one for one in (parent, *parent.parents) if not one.exists()]
            self._temporary.mkdir(parents=True)
        except OSError as err:
            self._remove_parents()
            raise self._refusal(err) from err
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Remove what did not get its name."""
        self._files.abandon()
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._remove_parents()

    def sink(self, part: str) -> Callable[[int, str, pl.DataFrame], None]:
        """What hears the streamed tables of *part*, and keeps the calls inside unmaps."""
        self._open(part)
        name = table_file(part, "calls")

        def keep(source_id: int, table: str, rows: pl.DataFrame) -> None:
            if table == "calls":
                inside = rows.filter(pl.col("unmap_id").is_not_null())
                if len(inside):
                    self._files.write(name, to_arrow("calls", inside, source_id))

        return keep

    def hear(self, part: str) -> Callable[[int, Batch, Chunk, SourceTables], None]:
        """What hears how each source of *part* was recorded, as `analyze` calls it."""
        inputs = self._inputs.setdefault(part, {})

        def note(source_id: int, batch: Batch, chunk: Chunk, tables: SourceTables) -> None:
            # The last batch is empty, and what was traced is known by then.
            if batch.events.is_empty() or source_id not in inputs:
                inputs[source_id] = _input(tables)
            del chunk

        return note

    def finish(
        self,
        parts: Mapping[str, Analysis],
        recipe: Recipe,
        reports: Mapping[str, Iterable[str]],
    ) -> list[Path]:
        """Write the tables of *parts*, *reports* and the manifest; give the folder its name."""
        for part, analysis in parts.items():
            self._write_tables(part, analysis)
        self._files.close()
        for name, pieces in reports.items():
            write_file(self._temporary / name, pieces)
        names = files_of(parts)
        inputs = {part: tuple(one for _, one in sorted(self._inputs[part].items()))
                  for part in parts}  # fmt: skip
        if recipe.scrubbed:  # their paths are no files of this machine
            inputs = {part: tuple(replace(one, bytes=None) for one in several)
                      for part, several in inputs.items()}  # fmt: skip
        try:
            files = {name: _file(self._temporary / name) for name in names}
            made = Manifest(recipe, inputs, files, software())
            write_file(self._temporary / MANIFEST, [manifest_text(made)])
            self._place((*names, MANIFEST))
        except OSError as err:
            raise self._refusal(err) from err
        self._parents.clear()
        return [self.directory / name for name in (*names, MANIFEST)]

    def _open(self, part: str) -> None:
        """Begin the tables of *part*, once."""
        folder = self._temporary / part
        if folder.exists():
            return
        try:
            folder.mkdir()
        except OSError as err:
            raise self._refusal(err) from err
        for table in TABLES_OF_PART:
            name = table_file(part, table)
            self._files.open(name, self._temporary / name, schema_of(table))

    def _write_tables(self, part: str, analysis: Analysis) -> None:
        self._open(part)
        for table in TABLES_OF_PART:
            if table == "calls":
                continue
            rows = (
                diagnostics_table(analysis)
                if table == DIAGNOSTICS
                else to_arrow(table, getattr(analysis, table))
            )
            self._files.write(table_file(part, table), rows)

    def _refuse(self) -> None:
        """Raise SettingError where the folder cannot be, or holds what is not to be replaced."""
        if not self._target.exists():
            return
        try:
            if not self._target.is_dir():
                raise SettingError(f"a file is where the folder should be: {self.directory}")
            held = sorted(one.name for one in self._target.iterdir())
        except OSError as err:
            raise self._refusal(err) from err
        if held and not self._force:
            raise SettingError(
                f"{self.directory} holds {held[0]} already\n"
                "nothing was written; --force replaces older evidence there, and nothing else"
            )
        if held:  # before the work rather than after it
            self._refuse_others((*REPORTS, MANIFEST), _older(self._target))

    def _place(self, names: tuple[str, ...]) -> None:
        """Give the folder its name; where it holds something, move file by file into it."""
        self._refuse()  # what came into being meanwhile
        if not self._target.exists():
            self._temporary.replace(self._target)
            return
        old = _older(self._target)
        self._refuse_others(names, old)
        for name in names:
            self._target.joinpath(name).parent.mkdir(exist_ok=True)
            self._temporary.joinpath(name).replace(self._target / name)
        for name in set(old) - set(names):
            self._target.joinpath(name).unlink(missing_ok=True)
        for folder in {Path(name).parent for name in old}:
            mine = self._target / folder
            if mine != self._target and mine.is_dir() and not any(mine.iterdir()):
                mine.rmdir()

    def _refuse_others(self, names: tuple[str, ...], old: tuple[str, ...]) -> None:
        """Raise SettingError where a file would take the place of one of somebody else's."""
        for name in names:
            path = self._target / name
            if path.parent.is_symlink() or (path.parent.exists() and not path.parent.is_dir()):
                raise SettingError(f"{path.parent} is no folder of evidence\nnothing was written")
            if (path.exists() or path.is_symlink()) and name not in old:
                raise SettingError(
                    f"{self.directory / name} is there, and no manifest of evidence names it\n"
                    "nothing was written; --force replaces older evidence, and nothing else"
                )

    def _refusal(self, err: OSError) -> SettingError:
        return SettingError(f"evidence cannot be written: {self.directory}: {err.strerror or err}")

    def _remove_parents(self) -> None:
        """Remove the empty folders that were made on the way; the innermost first."""
        for folder in self._parents:
            try:
                folder.rmdir()
            except OSError:
                return


def reports_of(found: Found, recipe: Recipe) -> dict[str, Iterable[str]]:
    """The reports that a folder of evidence holds, by file name; the same for the same tables."""
    return {"report.txt": mail_of(found, recipe.provenance), "report.json": json_of(found)}


def schema_of(table: str) -> pa.Schema:
    """The Arrow schema of a table's file."""
    rows = pl.DataFrame(schema=DIAGNOSTIC_COLUMNS) if table == DIAGNOSTICS else frame(table)
    return to_arrow(table, rows, 0).schema


def diagnostics_table(analysis: Analysis) -> pa.Table:
    """The diagnostics as a table."""
    rows = [
        (source_id, what.code, what.severity, what.message, what.count)
        for source_id, what in analysis.diagnostics
    ]
    return to_arrow(DIAGNOSTICS, pl.DataFrame(rows, schema=DIAGNOSTIC_COLUMNS, orient="row"))


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, a piece at a time."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            found.update(piece)
    return found.hexdigest()


def _file(path: Path) -> File:
    return File(file_digest(path), path.stat().st_size)


def _older(target: Path) -> tuple[str, ...]:
    """The files of older evidence in *target*: those that its manifest names, if it has one."""
    try:
        return (*read_manifest(target / MANIFEST).files, MANIFEST)
    except ParseError:
        return ()


def _input(tables: SourceTables) -> Input:
    trace, settings = tables.trace, tables.trace.settings
    stated: dict[str, Any] = {
        name: value for name, value in settings.facts.items()
        if value is not None and name != "sha256"
    }  # fmt: skip
    path = Path(trace.path)
    table = digest_of(settings.symbols.kallsyms) or settings.symbols.names_sha256
    return Input(
        trace.path, trace.format, settings.facts.get("sha256"),
        path.stat().st_size if path.is_file() else None, tables.page_bytes,
        Heard.of(tables.traced), stated,
        None if settings.traced is None else tuple(sorted(settings.traced)),
        dict(settings.symbols.probes), table,
        tuple(sorted(tables.facts.get("traced") or ())),
    )  # fmt: skip

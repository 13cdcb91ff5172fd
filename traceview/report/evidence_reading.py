"""Reading an evidence folder that somebody else made: its files, its tables, its calls.

Nothing in it is trusted. Files are named by the manifest's grammar alone, are regular files of the
folder and no links; a table has the columns and types of the contract, and no more rows than a
file of its size can hold; a line of a report has an end. What cannot be read raises ParseError;
whether what is read is true is another question (verification.py).
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from traceview.errors import ParseError
from traceview.queries.analysis import Analysis
from traceview.report.evidence import DIAGNOSTIC_COLUMNS, file_digest, schema_of
from traceview.report.manifest import (
    DIAGNOSTICS,
    MANIFEST,
    TABLES_OF_PART,
    Manifest,
    read_manifest,
    table_file,
)
from traceview.report.parquet_pages import inflated
from traceview.schema import TABLES
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# An unmap of 1 GiB with everything in it is 16 million rows (queries/calls.py); a batch more.
MOST_ROWS_OF_GROUP: Final = 20_000_000
# A row differs from the one before it in its number at least.
MOST_ROWS_OF_BYTE: Final = 8
# Numbers of unmaps that resemble one another pack well; into less than this they never did.
LEAST_BYTES: Final = 1 << 30
MOST_INFLATED: Final = 64
MOST_NAMED: Final = 5
# A row of the JSON document is a line, and names what a user wrote; few have a thousand letters.
LONGEST_LINE: Final = 1 << 20
SEVERITIES: Final = ("info", "warning", "error")  # trace.py: Diagnostic


@dataclass(frozen=True, slots=True)
class FileStates:
    """What became of the files that the manifest names, and what else lies there."""

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    unlisted: tuple[str, ...]
    count: int


class EvidenceFolder:
    """A folder of evidence, opened; raises ParseError where it has no manifest that can be read."""

    def __init__(self, directory: Path) -> None:
        """Read the manifest."""
        self.directory = directory
        self.manifest: Manifest = read_manifest(directory / MANIFEST)

    def states(self) -> FileStates:
        """Compare every file with the manifest."""
        missing, changed = [], []
        for name, file in self.manifest.files.items():
            path = self.path(name)
            if path is None:
                missing.append(name)
            elif path.stat().st_size != file.bytes or self._digest(path) != file.sha256:
                changed.append(name)
        known = {*self.manifest.files, MANIFEST}
        others = [name for name in self._there() if name not in known]
        count = len(self.manifest.files)
        return FileStates(tuple(missing), tuple(changed), tuple(others), count)

    def path(self, name: str) -> Path | None:
        """Where the file *name* of the manifest lies, None where there is none.

        Raises ParseError where something else is there than a file of this folder.
        """
        path = self.directory
        for part in name.split("/"):
            path = path / part
            try:
                mode = os.lstat(path).st_mode
            except FileNotFoundError:
                return None
            except (OSError, ValueError) as err:
                raise ParseError(f"cannot be looked at: {err}", path=str(path)) from err
            if stat.S_ISLNK(mode):
                raise ParseError("a link, where evidence has a file of its own", path=str(path))
        if not stat.S_ISREG(mode):
            raise ParseError("no regular file", path=str(path))
        return path

    def part(self, part: str) -> Analysis:
        """The tables of *part*."""
        tables = {
            name: self._table(part, name) for name in TABLES_OF_PART
            if name not in {"calls", DIAGNOSTICS}
        }  # fmt: skip
        said = self._table(part, DIAGNOSTICS)
        sources = tables["sources"]["source_id"].to_list()
        if sources != list(range(len(self.manifest.inputs[part]))):
            raise ParseError(
                f"source_id of sources is {sources[:MOST_NAMED]}, and the manifest has"
                f" {len(self.manifest.inputs[part])} inputs",
                path=str(self.directory / table_file(part, "sources")), reading="a table",
            )  # fmt: skip
        for name, rows in (*tables.items(), (DIAGNOSTICS, said)):
            self._known_sources(part, name, rows, len(sources))
        known = said.drop_nulls(["code", "severity", "message"])
        if len(known) != len(said) or not said["severity"].is_in(SEVERITIES).all():
            raise ParseError(
                "no code, message or severity", path=table_file(part, DIAGNOSTICS),
                reading="a table",
            )  # fmt: skip
        diagnostics = tuple(
            (source, Diagnostic(code, severity, message, count))
            for source, code, severity, message, count in said.iter_rows()
        )
        return Analysis(**tables, diagnostics=diagnostics)

    def calls(self, part: str) -> Iterator[tuple[int, pl.DataFrame]]:
        """source_id and schema.CALLS, piece by piece: an unmap lies whole in a piece."""
        file, path = self._open(part, "calls")
        for number in range(file.num_row_groups):
            if file.metadata.row_group(number).num_rows > MOST_ROWS_OF_GROUP:
                raise ParseError("more rows in one piece than unmaps have", path=str(path))
            rows = self._rows(file, path, "calls", number)
            self._known_sources(part, "calls", rows, len(self.manifest.inputs[part]))
            for (source_id,), mine in rows.group_by("source_id", maintain_order=True):
                yield int(str(source_id)), mine.drop("source_id")

    def text(self, name: str) -> Iterator[bytes]:
        """The bytes of a report, a line at a time."""
        path = self._existing(name)
        try:
            with path.open("rb") as file:
                while line := file.readline(LONGEST_LINE + 1):
                    if len(line) > LONGEST_LINE:
                        raise ParseError(
                            f"a line of more than {LONGEST_LINE:,} bytes: no report that"
                            " traceview wrote",
                            path=str(path), reading="a report",
                        )  # fmt: skip
                    yield line
        except OSError as err:
            raise ParseError(f"cannot be read: {err.strerror or err}", path=str(path)) from err

    def _table(self, part: str, table: str) -> pl.DataFrame:
        file, path = self._open(part, table)
        return self._rows(file, path, table)

    def _existing(self, name: str) -> Path:
        path = self.path(name)
        if path is None:
            raise ParseError("missing", path=str(self.directory / name), reading="evidence")
        return path

    def _open(self, part: str, table: str) -> tuple[pq.ParquetFile, Path]:
        path = self._existing(table_file(part, table))
        wanted = schema_of(table)
        try:
            metadata = pq.read_metadata(path)
            held, rows = metadata.schema.to_arrow_schema(), metadata.num_rows
        except (OSError, pa.ArrowException, ValueError) as err:
            raise self._unreadable(path, err) from err
        if held.names != wanted.names:
            missing = [name for name in wanted.names if name not in held.names]
            what = f"no column {missing[0]!r}" if missing else "other columns than its schema has"
            raise ParseError(what, path=str(path), reading="a table")
        for field in wanted:
            found = held.field(field.name).type
            if _kind(found) != _kind(field.type):
                raise ParseError(
                    f"column {field.name!r} is {found}, not {_kind(field.type)}",
                    path=str(path), reading="a table",
                )  # fmt: skip
        if not 0 <= rows <= MOST_ROWS_OF_BYTE * path.stat().st_size:
            raise ParseError(
                f"{rows:,} rows in {path.stat().st_size:,} bytes: no table that traceview wrote",
                path=str(path), reading="a table",
            )  # fmt: skip
        self._refuse_inflation(table, metadata, path)
        # Texts are read as what repeats them: a text of a megabyte, a million times, is one. A
        # column, or what a list in it holds, is one leaf.
        leaves = [metadata.schema.column(at).path for at in range(metadata.num_columns)]
        texts = [leaf for leaf, kind in zip(leaves, wanted.types, strict=True) if _of_texts(kind)]
        return pq.ParquetFile(path, read_dictionary=texts), path

    def _refuse_inflation(self, table: str, metadata: pq.FileMetaData, path: Path) -> None:
        """Raise ParseError where far more would have to be held than a file of this size says."""
        widths = [_bytes_of(kind) for kind in schema_of(table).types]
        try:
            held = [
                max(one.bytes, sum(
                    max(values, metadata.row_group(at).num_rows) * width
                    for values, width in zip(one.values, widths, strict=True)
                )) for at, one in enumerate(inflated(path, metadata))
            ]  # fmt: skip
        except (OSError, ValueError) as err:
            raise self._unreadable(path, err) from err
        # Calls are read a group at a time, anything else whole.
        needed = max(held, default=0) if table == "calls" else sum(held)
        size = path.stat().st_size
        if needed > max(LEAST_BYTES, MOST_INFLATED * size):
            raise ParseError(
                f"{needed:,} bytes of tables in {size:,}: no table that traceview wrote",
                path=str(path), reading="a table",
            )  # fmt: skip

    def _rows(
        self, file: pq.ParquetFile, path: Path, table: str, group: int | None = None
    ) -> pl.DataFrame:
        try:
            # A group at a time: each has a dictionary of its own, and lists hold of one only.
            groups = range(file.num_row_groups) if group is None else (group,)
            pieces = [file.read_row_group(number) for number in groups]
            read = pa.concat_tables(pieces) if pieces else file.read()
            # Polars trusts what it is given: texts that are none would end the program.
            read.validate(full=True)
            rows = pl.from_arrow(_plain(read))
            assert isinstance(rows, pl.DataFrame)  # of a table
            return rows.select(
                pl.col(name).cast(dtype) for name, dtype in polars_schema(table).items()
            )
        except (
            OSError,
            pa.ArrowException,
            pl.exceptions.PolarsError,
            ValueError,
            TypeError,
        ) as err:
            raise self._unreadable(path, err) from err

    @staticmethod
    def _known_sources(part: str, table: str, rows: pl.DataFrame, count: int) -> None:
        if rows["source_id"].null_count() or not rows["source_id"].is_between(0, count - 1).all():
            raise ParseError(
                f"source_id is none of the {count} inputs", path=table_file(part, table),
                reading="a table",
            )  # fmt: skip

    def _digest(self, path: Path) -> str:
        try:
            return file_digest(path)
        except OSError as err:
            raise ParseError(f"cannot be read: {err.strerror or err}", path=str(path)) from err

    def _there(self) -> list[str]:
        """What lies in the folder and in those of the parts, by name."""
        found = []
        for folder in ("", *self.manifest.inputs):
            try:
                entries = sorted(os.scandir(self.directory / folder), key=lambda one: one.name)
            except OSError:
                continue
            found += [
                f"{folder}/{one.name}".lstrip("/") for one in entries
                if not (folder == "" and one.name in self.manifest.inputs)
            ]  # fmt: skip
        return found

    @staticmethod
    def _unreadable(path: Path, err: Exception) -> ParseError:
        said = " ".join(str(err).split())[:200]
        return ParseError(f"no Parquet that can be read: {said}", path=str(path), reading="a table")


def polars_schema(table: str) -> dict[str, pl.DataType]:
    """The columns of a table in the folder."""
    if table == DIAGNOSTICS:
        return dict(DIAGNOSTIC_COLUMNS)
    return {"source_id": pl.Int32(), **TABLES[table]}


def _of_texts(kind: pa.DataType) -> bool:
    """Whether a column holds texts, or lists of them."""
    return _kind(kind) in {"text", "list of text"}


def _plain(read: pa.Table) -> pa.Table:
    """*read* without what its fields say of themselves (categories, say): only what they hold."""
    wanted = [
        pa.large_list(kind.value_type) if pa.types.is_list(kind) or pa.types.is_large_list(kind)
        else kind
        for kind in read.schema.types
    ]  # fmt: skip
    columns = [column.cast(kind) for column, kind in zip(read.columns, wanted, strict=True)]
    return pa.table(columns, names=read.column_names)


def _bytes_of(kind: pa.DataType) -> int:
    """What a value of a column, or of its lists, takes in memory, a text by its number."""
    if pa.types.is_large_list(kind):
        return _bytes_of(kind.value_type)
    return kind.bit_width // 8 if pa.types.is_primitive(kind) else 4


def _kind(kind: pa.DataType) -> str:
    """What a column holds, however it is encoded."""
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list of {_kind(kind.value_type)}"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    return str(kind)

"""Every table of the contract as a Parquet file: DIR/unmaps.parquet, DIR/events.parquet, ...

Events, arguments, calls, instructions and samples stream to disk while the trace is read. The files
appear under their names only when all of them are complete; until then they are hidden temporary
files in DIR, which a failure removes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Self

from traceview.errors import SettingError
from traceview.report.table_files import TableFiles
from traceview.schema import TABLES, frame, to_arrow

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    import polars as pl

    from traceview.queries.analysis import Analysis

STREAMED: Final = ("events", "args", "calls", "instructions", "samples")


class ParquetTables:
    """Writes the tables of one analysis into *directory*; use it as a context manager."""

    def __init__(self, directory: Path, *, force: bool = False) -> None:
        """Refuse a *directory* that holds such tables already, unless *force*."""
        self.directory = directory
        self._made = False
        self._files = TableFiles(str(directory))
        self._temporary: dict[str, Path] = {}
        present = [name for name in TABLES if self._final(name).exists()]
        if present and not force:
            raise SettingError(
                f"{directory} holds {present[0]}.parquet already\n"
                "nothing was written; --force overwrites the tables"
            )

    def __enter__(self) -> Self:
        try:
            self._made = not self.directory.exists()
            self.directory.mkdir(parents=True, exist_ok=True)
            for name in TABLES:
                self._open(name)
        except OSError as err:
            self._discard()
            raise self._refusal(err) from err
        except SettingError:
            self._discard()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._discard()

    def sink(self, source_id: int, table: str, rows: pl.DataFrame) -> None:
        """Append *rows* of a streamed table, as `analyze` hands them over."""
        self._files.write(table, to_arrow(table, rows, source_id))

    def finish(self, analysis: Analysis) -> list[Path]:
        """Write the other tables, then give all of them their names."""
        for name in TABLES:
            if name not in STREAMED:
                self._files.write(name, to_arrow(name, getattr(analysis, name)))
        self._files.close()
        try:
            for name in list(self._temporary):
                self._temporary.pop(name).replace(self._final(name))
        except OSError as err:
            raise self._refusal(err) from err
        self._made = False
        return [self._final(name) for name in TABLES]

    def _final(self, table: str) -> Path:
        return self.directory / f"{table}.parquet"

    def _open(self, table: str) -> None:
        path = self.directory / f".{table}-{os.getpid()}.tmp"
        self._temporary[table] = path
        self._files.open(table, path, to_arrow(table, frame(table), 0).schema)

    def _refusal(self, err: OSError) -> SettingError:
        return SettingError(f"tables cannot be written: {self.directory}: {err.strerror or err}")

    def _discard(self) -> None:
        """Remove what has not got its name; silent, because an error is on its way already."""
        self._files.abandon()
        for path in self._temporary.values():
            path.unlink(missing_ok=True)
        self._temporary.clear()
        if self._made and self.directory.is_dir() and not any(self.directory.iterdir()):
            self.directory.rmdir()

"""Tables of the contract as Parquet files, written piece by piece.

Memory depends on a piece, not on the table. The files lie where they are told to; what a finished
set of them is called, and what becomes of half a set, is the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from traceview.errors import SettingError

if TYPE_CHECKING:
    from pathlib import Path


class TableFiles:
    """Open Parquet files by name; end with `close`, or with `abandon` where something failed."""

    def __init__(self, what: str) -> None:
        """Start with none; *what* is named where they cannot be written."""
        self._what = what
        self._writers: dict[str, pq.ParquetWriter] = {}

    def open(self, name: str, path: Path, schema: pa.Schema) -> None:
        """Begin the file *path*, known as *name*."""
        try:
            self._writers[name] = pq.ParquetWriter(path, schema, compression="zstd")
        except OSError as err:
            raise self._refusal(err) from err

    def write(self, name: str, rows: pa.Table) -> None:
        """Append *rows*: one row group, if there are any."""
        try:
            self._writers[name].write_table(rows, row_group_size=max(1, len(rows)))
        except OSError as err:
            raise self._refusal(err) from err

    def close(self) -> None:
        """Complete every file."""
        try:
            for writer in self._writers.values():
                writer.close()
        except OSError as err:
            raise self._refusal(err) from err
        self._writers.clear()

    def abandon(self) -> None:
        """Close what is open; silent, because an error is on its way already."""
        for writer in self._writers.values():
            try:
                writer.close()
            except OSError:
                continue
        self._writers.clear()

    def _refusal(self, err: OSError) -> SettingError:
        return SettingError(f"tables cannot be written: {self._what}: {err.strerror or err}")

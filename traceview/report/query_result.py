"""The rows that answer a query, as a table to read, CSV, JSON, Arrow or Parquet.

Rows come piece by piece and are written so; of a table to read only those that are shown are kept.
Addresses (schema.py: ipa, mmu, ...) are hexadecimal, but in Arrow and Parquet.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from rich.text import Text

import traceview
from traceview.report.json_document import header
from traceview.report.layout import Column, table, wrapped
from traceview.report.wording import UNKNOWN, clean, count, plural
from traceview.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import IO

    from polars._typing import PolarsDataType

    Columns = Mapping[str, PolarsDataType]
    Pieces = Iterable[pl.DataFrame]

ADDRESSES: Final = frozenset(
    {"ipa", "mmu", "object_addr", "operand", "probe_ip", "ip", "callchain"}
)
LONGEST_CELL: Final = 200  # characters of a cell in a table to read


def result_table(columns: Columns, pieces: Pieces, width: int, most: int) -> list[Text]:
    """At most *most* rows for a person, and how many there are more (0: all)."""
    shown: list[pl.DataFrame] = []
    kept = seen = 0
    for piece in pieces:
        part = piece.head(most - kept) if most else piece
        shown += [part] if len(part) else []
        kept, seen = kept + len(part), seen + len(piece)
    if not kept:
        return wrapped("no rows", width, indent=2)
    titles = [
        Column(clean(name), right=dtype.is_numeric() and not _is_address(name, dtype))
        for name, dtype in columns.items()
    ]
    rows = [row for part in shown for row in _cells(part)]
    lines = table(titles, rows, width, keys=0)
    if seen > kept:
        more = f"... {plural(seen - kept, 'more row')} of {count(seen)} (--rows N shows more)"
        lines += wrapped(Text(more, style="dim"), width, indent=2)
    return lines


def _cells(rows: pl.DataFrame) -> Iterator[list[str]]:
    kinds = [_is_address(name, dtype) for name, dtype in rows.schema.items()]
    for row in rows.iter_rows():
        yield [_cell(value, address) for value, address in zip(row, kinds, strict=True)]


def _cell(value: Any, address: bool) -> str:  # noqa: FBT001 - of a column, not of the caller
    if value is None:
        return UNKNOWN
    if isinstance(value, list):
        return _cut(", ".join(_cell(one, address) for one in value))
    if address:
        return f"{value:#x}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _number(value)
    return _cut(clean(value))


def _number(value: float) -> str:
    """Four significant digits, but no fewer than the whole part has."""
    if not math.isfinite(value):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."


def write_csv(columns: Columns, pieces: Pieces, file: IO[bytes]) -> None:
    """RFC 4180: a line of names, then a line per row; null is nothing, lists are JSON."""
    file.write(pl.DataFrame(schema=dict(columns)).clear().pipe(_flat).write_csv().encode())
    for piece in pieces:
        file.write(_flat(piece).write_csv(include_header=False).encode())


def _flat(rows: pl.DataFrame) -> pl.DataFrame:
    """*rows* with what CSV has no form for as text."""
    found = []
    for name, dtype in rows.schema.items():
        column = pl.col(name)
        if _is_address(name, dtype) and not dtype.is_nested():
            found.append(_hexadecimal(rows[name]))
        elif dtype.is_nested():
            texts = [None if v is None else _encode(_json(v, name, dtype)) for v in rows[name]]
            found.append(pl.Series(name, texts, dtype=pl.String))
        elif dtype == pl.Null:
            found.append(rows[name].cast(pl.String))
        else:
            found.append(rows.select(column)[name])
    return pl.DataFrame(found)


def _hexadecimal(values: pl.Series) -> pl.Series:
    texts = [None if value is None else f"{value:#x}" for value in values]
    return pl.Series(values.name, texts, dtype=pl.String)


def write_json(columns: Columns, pieces: Pieces, file: IO[bytes], sql: str) -> None:
    """One object (docs/json.md), a row of the answer on a line of its own."""
    head = {**header("query"), "sql": sql, "columns": list(columns)}
    lead = ",\n".join(f"{_encode(name)}: {_encode(value)}" for name, value in head.items())
    file.write(f'{{\n{lead},\n"rows": '.encode())
    before = "[\n  "
    for piece in pieces:
        for row in piece.iter_rows(named=True):
            said = {name: _json(value, name, columns[name]) for name, value in row.items()}
            file.write(f"{before}{_encode(said)}".encode())
            before = ",\n  "
    file.write(b"[]\n}\n" if before == "[\n  " else b"\n]\n}\n")


_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode


def _json(value: Any, name: str, dtype: PolarsDataType) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (list, pl.Series)):
        return [_json(one, name, dtype) for one in value]
    if isinstance(value, dict):
        return {key: _json(one, key, pl.Null()) for key, one in value.items()}
    if isinstance(value, int):
        return f"{value:#x}" if _is_address(name, dtype) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def _is_address(name: str, dtype: PolarsDataType) -> bool:
    return name in ADDRESSES and dtype in (pl.UInt64, pl.List(pl.UInt64))


def write_arrow(columns: Columns, pieces: Pieces, file: IO[bytes], sql: str) -> None:
    """An Arrow IPC file (Feather V2)."""
    kinds = _arrow_schema(columns, sql)
    with pa.ipc.new_file(file, kinds) as writer:
        for piece in pieces:
            writer.write_table(_arrow(piece, kinds))


def write_parquet(columns: Columns, pieces: Pieces, file: IO[bytes], sql: str) -> None:
    """A Parquet file."""
    kinds = _arrow_schema(columns, sql)
    with pq.ParquetWriter(file, kinds, compression="zstd") as writer:
        for piece in pieces:
            writer.write_table(_arrow(piece, kinds))


def _arrow_schema(columns: Columns, sql: str) -> pa.Schema:
    found = pl.DataFrame(schema=dict(columns)).to_arrow().schema
    return found.with_metadata(
        {
            "schema_version": SCHEMA_VERSION,
            "traceview_version": traceview.__version__,
            "sql": sql,
        }
    )


def _arrow(rows: pl.DataFrame, kinds: pa.Schema) -> pa.Table:
    return rows.to_arrow().replace_schema_metadata(None).cast(kinds)

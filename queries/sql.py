"""Questions in SQL over tables: one SELECT, which reads nothing but them.

The dialect is that of polars (https://docs.pola.rs/api/python/stable/reference/sql/). Names of
operations, functions and the like are strings in it. What may be asked sql_text.py says.
"""

from __future__ import annotations

import difflib
import re
from itertools import islice
from threading import Thread
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import polars as pl
from polars.exceptions import PanicException, PolarsError

from traceview.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from polars._typing import PolarsDataType

    from traceview.queries.sql_text import Statement

BATCH_ROWS: Final = 50_000
NO_COLUMN: Final = re.compile(r"""(?:unable to find column "|no column named ')(?P<name>.*?)["']""")
NO_TABLE: Final = re.compile(r"relation '(?P<name>.*?)' was not found")
FAILED: Final = (PolarsError, PanicException)

T = TypeVar("T")


def plan(asked: Statement, tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """The answer to *asked*, not computed yet; raises QueryError where it cannot be."""
    context = pl.SQLContext({name: plain(rows) for name, rows in tables.items()})
    try:
        answer = context.execute(asked.text)
        # What is written as 1.5 is an exact decimal to polars; other programs want a number.
        decimals = [n for n, kind in answer.collect_schema().items() if kind.is_decimal()]
        answer = answer.with_columns(pl.col(decimals).cast(pl.Float64))
        answer.collect_schema()
    except FAILED as err:
        raise QueryError(_explained(str(err), asked, tables)) from err
    return answer


def schema(answer: pl.LazyFrame) -> Mapping[str, PolarsDataType]:
    """Names and types of the columns of *answer*."""
    return answer.collect_schema()


def tables_of(asked: Statement, tables: Mapping[str, pl.LazyFrame]) -> frozenset[str]:
    """Which of *tables* the query reads: those without which it cannot be planned.

    A word may be the name of a table, and be a column here. Raises QueryError as `plan` does.
    """
    plan(asked, tables)

    def is_read(name: str) -> bool:
        others = {other: rows for other, rows in tables.items() if other != name}
        try:
            plan(asked, others)
        except QueryError:
            return True
        return False

    return frozenset(name for name in tables if name in asked.names and is_read(name))


def computed(answer: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The rows of *answer*, piece by piece in order; raises QueryError where they cannot be had."""
    try:
        first, pieces = _begun(answer, "streaming")
    except FAILED:
        # What the streaming engine cannot do (polars 2.1: sort by a column and a CASE of
        # literals), the one in memory may.
        try:
            first, pieces = _begun(answer, "in-memory")
        except FAILED as err:
            raise QueryError(_failed(err)) from err
    while first:
        yield from first
        try:
            first = _waited(lambda: list(islice(pieces, 1)))
        except FAILED as err:
            raise QueryError(_failed(err)) from err


def _begun(
    answer: pl.LazyFrame, engine: Literal["streaming", "in-memory"]
) -> tuple[list[pl.DataFrame], Iterator[pl.DataFrame]]:
    """The first piece, if there is one, and those after it."""
    pieces = iter(answer.collect_batches(chunk_size=BATCH_ROWS, engine=engine))
    return _waited(lambda: list(islice(pieces, 1))), pieces


def _waited(compute: Callable[[], T]) -> T:
    """What *compute* returns, or raises.

    Signals are handled between two steps of Python in the main thread, and polars may compute for
    hours in one: so another thread computes, which ends with the program.
    """
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(compute())
        except BaseException as err:  # noqa: BLE001 - raised again below
            failed.append(err)

    thread = Thread(target=work, name="polars", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _failed(err: BaseException) -> str:
    return f"the query cannot be computed: {_first(str(err))}"


def plain(rows: pl.LazyFrame) -> pl.LazyFrame:
    """*rows* with names as strings: they compare and sort as words."""
    return rows.with_columns(
        pl.col(name).cast(as_text)
        for name, dtype in rows.collect_schema().items()
        if (as_text := _as_text(dtype)) != dtype
    )


def _as_text(dtype: PolarsDataType) -> PolarsDataType:
    if dtype.base_type() in (pl.Categorical, pl.Enum):
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(_as_text(dtype.inner))
    return dtype


def _explained(said: str, asked: Statement, tables: Mapping[str, pl.LazyFrame]) -> str:
    """What is wrong with *asked*, and what would be right."""
    if match := NO_TABLE.search(said):
        return f"no table {match['name']!r}\nvalid: {', '.join(sorted(tables))}"
    if match := NO_COLUMN.search(said):
        return _no_column(match["name"], asked, tables)
    return f"the query cannot be understood: {_first(said)}"


def _no_column(name: str, asked: Statement, tables: Mapping[str, pl.LazyFrame]) -> str:
    columns = {table: rows.collect_schema().names() for table, rows in tables.items()}
    named = [table for table in sorted(tables) if table in asked.names]
    lines = [f"no column {name!r} in {_listed(named) or 'the query'}"]
    known = [column for table in named for column in columns[table]]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    homes = [table for table in sorted(tables) if name in columns[table] and table not in named]
    if near:
        lines.append(f"did you mean: {', '.join(dict.fromkeys(near))}")
    if homes:
        lines.append(f"it is a column of: {', '.join(homes)}")
    if not (near or homes):
        lines += [f"columns of {table}: {', '.join(columns[table])}" for table in named]
    return "\n".join(lines)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _first(said: str) -> str:
    """The first sentence of what polars says: the plan behind it is of no help."""
    return said.strip().split("\n\n")[0].replace("\n", " ")

"""Questions in SQL over tables: one SELECT, which reads nothing but them.

The dialect is that of polars (https://docs.pola.rs/api/python/stable/reference/sql/). Names of
operations, functions and the like are strings in it. The text is looked at word by word before
polars sees it, because polars' SQL can also read files (`read_csv('...')`) and drop tables.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

import polars as pl
from polars.exceptions import PanicException, PolarsError

from traceview.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from polars._typing import PolarsDataType

BEGINNINGS: Final = ("SELECT", "WITH", "FROM")
# What polars can read files by (crates/polars-sql/src/table_functions.rs). Those that it has are
# refused wherever they stand: how strings are quoted differs between dialects.
FILE_FUNCTION: Final = re.compile(r"(?:read|scan)_\w+", re.IGNORECASE)
FILE_WORD: Final = re.compile(r"(?:read|scan)_(?:csv|ipc|json|ndjson|parquet)", re.IGNORECASE)
TOKEN: Final = re.compile(
    r"(?P<skip>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))"
    r"|(?P<text>'(?:[^']|'')*'?)"
    r'|"(?P<quoted>(?:[^"]|"")*)"?'
    r"|`(?P<ticked>[^`]*)`?"
    r"|(?P<word>\w+)"
    r"|(?P<other>.)",
    re.DOTALL,
)
LONGEST: Final = 100_000  # characters
# polars goes down one step of its stack for each of these, and ends the program where the stack
# ends (of polars 2.1: at about 1,000 operators, at 300 parts of a UNION).
CHAINED: Final = {
    "operators": (300, frozenset("+-*/%|&^<>=!:~")
                  | {"AND", "OR", "NOT", "WHEN", "IS", "LIKE", "ILIKE", "BETWEEN", "IN"}),
    "parts": (100, frozenset({"SELECT", "JOIN"})),
}  # fmt: skip
BATCH_ROWS: Final = 50_000
NO_COLUMN: Final = re.compile(r"""(?:unable to find column "|no column named ')(?P<name>.*?)["']""")
NO_TABLE: Final = re.compile(r"relation '(?P<name>.*?)' was not found")
FAILED: Final = (PolarsError, PanicException)


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT. `names`: every word in it that could name a table."""

    text: str
    names: frozenset[str]


def statement(text: str) -> Statement:
    """Look at *text*; raises QueryError where it is no question, or would read a file."""
    if len(text) > LONGEST:
        raise QueryError(f"a query of {len(text):,} characters; at most {LONGEST:,} are read")
    tokens = [match for match in TOKEN.finditer(text) if match["skip"] is None]
    if not tokens:
        raise QueryError("an empty query\nvalid: SELECT ... FROM unmaps")
    first = next((match[0] for match in tokens if match[0] != "("), "")
    if first.upper() not in BEGINNINGS:
        raise QueryError(f"a query begins with SELECT or WITH, not with {first!r}")
    for what, (most, words) in CHAINED.items():
        found = sum(match[0].upper() in words for match in tokens)
        if found > most:
            raise QueryError(f"a query of {found:,} {what}; at most {most:,} can be computed")
    names = [match["word"] or match["quoted"] or match["ticked"] for match in tokens]
    for name, after in zip(names, [*tokens[1:], None], strict=True):
        if name and FILE_FUNCTION.fullmatch(name) and after is not None and after[0] == "(":
            raise QueryError(_no_files(name))
    if match := FILE_WORD.search(text):
        raise QueryError(_no_files(match[0]))
    return Statement(text.strip().rstrip(";"), frozenset(name for name in names if name))


def _no_files(name: str) -> str:
    return f"a query reads the tables of the trace, and no files: {name} is refused"


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
    yield from first
    try:
        yield from pieces
    except FAILED as err:
        raise QueryError(_failed(err)) from err


def _begun(
    answer: pl.LazyFrame, engine: Literal["streaming", "in-memory"]
) -> tuple[list[pl.DataFrame], Iterator[pl.DataFrame]]:
    """The first piece, if there is one, and those after it."""
    pieces = iter(answer.collect_batches(chunk_size=BATCH_ROWS, engine=engine))
    return list(islice(pieces, 1)), pieces


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

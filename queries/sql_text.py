"""The text of a query, looked at before polars sees it: one SELECT, which reads no file.

polars' SQL can also read files (`read_csv('...')`), drop tables, and end the program where its
stack ends. So the text is divided into words as the parser of polars divides it (crate sqlparser,
GenericDialect); what that reads otherwise than standard SQL (strings with a letter or a dollar
before them) is refused, and so is what would be too deep, or without bounds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from traceview.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGINNINGS: Final = ("SELECT", "WITH", "FROM")
# What polars can read files by (crates/polars-sql/src/table_functions.rs).
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
# A string of a dialect: E'\'' and U&'...' end elsewhere.
PREFIX: Final = re.compile(r"[\w&@]\Z")
LONGEST: Final = 100_000  # characters
SET_OPERATIONS: Final = frozenset({"UNION", "EXCEPT", "INTERSECT"})
# polars goes down one step of its stack for each of these, and ends the program where the stack
# ends (of polars 2.1: at about 1,000 operators, at 300 parts of a UNION).
CHAINED: Final = {
    "operators": (300, frozenset("+-*/%|&^<>=!:~[") | {
        "AND", "OR", "NOT", "WHEN", "IS", "LIKE", "ILIKE", "RLIKE", "REGEXP", "SIMILAR", "BETWEEN",
        "IN", "DIV", "XOR", "ISNULL", "NOTNULL", "COLLATE", "AT",
    }),
    "SELECTs": (100, frozenset({"SELECT"})),
    "tables": (100, frozenset({"FROM", "JOIN", "TABLE"})),
    "lists of VALUES": (100, frozenset({"VALUES"})),
    "UNIONs, EXCEPTs and INTERSECTs": (100, SET_OPERATIONS),
}  # fmt: skip
# Of two tables every row with every row is bounded by what one may wait for; of three nothing is.
MOST_UNCONDITIONED: Final = 1
AFTER_FROM: Final = SET_OPERATIONS | {
    "SELECT", "WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "OFFSET", "FETCH", "WINDOW", "QUALIFY",
}  # fmt: skip
QUERIES: Final = frozenset({"SELECT", "WITH", "FROM", "VALUES"})


@dataclass(frozen=True, slots=True)
class Statement:
    """One SELECT. `names`: every word in it that could name a table."""

    text: str
    names: frozenset[str]


def statement(text: str) -> Statement:
    """Look at *text*; raises QueryError where it is no question, or would read a file."""
    if len(text) > LONGEST:
        raise QueryError(f"a query of {len(text):,} characters; at most {LONGEST:,} are read")
    tokens = _tokens(text)
    if not tokens:
        raise QueryError("an empty query\nvalid: SELECT ... FROM unmaps")
    first = next((match[0] for match in tokens if match[0] != "("), "")
    if first.upper() not in BEGINNINGS:
        raise QueryError(f"a query begins with SELECT or WITH, not with {first!r}")
    names = [match["word"] or match["quoted"] or match["ticked"] for match in tokens]
    for name, after in zip(names, [*tokens[1:], None], strict=True):
        calls = after is not None and after[0] == "("
        if name and (FILE_WORD.fullmatch(name) or (calls and FILE_FUNCTION.fullmatch(name))):
            raise QueryError(
                f"a query reads the tables of the trace, and no files: {name} is refused"
            )
    _refuse_endless(tokens)
    return Statement(text.strip().rstrip(";"), frozenset(name for name in names if name))


def _tokens(text: str) -> list[re.Match[str]]:
    """The words of *text*; raises QueryError where polars might divide it otherwise."""
    tokens = []
    for match in TOKEN.finditer(text):
        if match["text"] and PREFIX.search(text, max(0, match.start() - 1), match.start()):
            raise QueryError(
                f"a string with something before it: {text[: match.end()][-40:]}\n"
                "valid: 'text', with '' for a quote in it"
            )
        if match[0] == "$":
            raise QueryError("a dollar outside of a string\nvalid: 'text', with '' for a quote")
        if match["skip"] is None:
            tokens.append(match)
        elif match[0].startswith("--") and "\r" in match[0].rstrip("\r"):
            raise QueryError("a carriage return in a comment, which may or may not end it")
    return tokens


def _refuse_endless(tokens: Sequence[re.Match[str]]) -> None:
    """Raise QueryError for what would not be computed in any time, or end the program."""
    for what, (most, words) in CHAINED.items():
        found = sum(match[0].upper() in words for match in tokens)
        if found > most:
            raise QueryError(f"a query of {found:,} {what}; at most {most:,} can be computed")
    joins = _unconditioned([match[0].upper() for match in tokens])
    if joins > MOST_UNCONDITIONED:
        raise QueryError(
            f"a query of {joins:,} joins without a condition (a comma between tables, CROSS JOIN);"
            f" at most {MOST_UNCONDITIONED} can be computed\n"
            "valid: FROM a JOIN b ON a.source_id = b.source_id AND ..."
        )


def _unconditioned(words: Sequence[str]) -> int:
    """How many joins have no condition of their own, in all of the query."""
    found = 0
    lists = [False]  # per bracket that is open: whether a list of tables goes on
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if word in {"(", "["}:
            tables = lists[-1] and before in {"FROM", ",", "JOIN", "("} and after not in QUERIES
            lists.append(word == "(" and tables)
        elif word in {")", "]"}:
            lists = lists[:-1] or [False]
        elif word == "FROM":
            lists[-1] = lists[-1] or before != "DISTINCT"  # IS DISTINCT FROM
        elif word in AFTER_FROM:
            lists[-1] = False
        found += word == "CROSS" or (word == "," and lists[-1])
    return found

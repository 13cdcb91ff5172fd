"""Queries that are ready to be asked: files `ready/NAME.sql`.

The comment at the head of each is its documentation: a line that says what it answers, and after
an empty comment line the columns that are not those of a table.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from traceview.errors import SettingError

FOLDER: Final = Path(__file__).with_name("ready")


@dataclass(frozen=True, slots=True)
class ReadyQuery:
    """`answers` in one line; `sql` is the whole file."""

    name: str
    answers: str
    sql: str


@cache
def ready_queries() -> dict[str, ReadyQuery]:
    """All of them, by name."""
    found = {}
    for path in sorted(FOLDER.glob("*.sql")):
        sql = path.read_text(encoding="utf-8")
        answers = sql.partition("\n")[0].removeprefix("--").strip()
        found[path.stem] = ReadyQuery(path.stem, answers, sql)
    return found


def ready_query(name: str) -> ReadyQuery:
    """The query *name*; raises SettingError where there is none."""
    known = ready_queries()
    if name not in known:
        near = difflib.get_close_matches(name, known) or sorted(known)
        raise SettingError(f"no ready query {name!r}\nvalid: {', '.join(near)}")
    return known[name]

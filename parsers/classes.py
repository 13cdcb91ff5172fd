"""Classes of events: what many events share travels as one code until a batch is built."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from traceview.schema import EVENTS


class Class(NamedTuple):
    """What an event is, in the columns that many events share."""

    name: str
    symbol: str | None
    phase: str
    evidence: str


class Classes:
    """Event classes and their codes."""

    def __init__(self) -> None:
        """Know none."""
        self.known: list[Class] = []
        self._codes: dict[Class, int] = {}

    def code(self, one: Class) -> int:
        """The code of a class."""
        found = self._codes.get(one)
        if found is None:
            found = self._codes[one] = len(self.known)
            self.known.append(one)
        return found

    def frame(self) -> pl.DataFrame:
        """The classes by code, with the columns and types of schema.EVENTS."""
        schema = {name: EVENTS[name] for name in Class._fields}
        return pl.DataFrame(self.known or None, schema=schema, orient="row")

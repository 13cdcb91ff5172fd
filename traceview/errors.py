"""Every error that traceview raises on purpose.

    TraceviewError
    ├── UnknownFormatError      no parser claims the file (lists the known formats)
    ├── ParseError              path, offset, what was being read, reason
    │   ├── TruncatedError      wanted n bytes, m left
    │   └── UnsupportedError    a valid file with a feature that is not implemented (names it)
    ├── EventNotFoundError      a name that the trace does not have, with close matches
    ├── SettingError            an option, sidecar, vocabulary or step file that cannot be used
    └── QueryError              a question that cannot be asked of this trace (says why)

A message is one clause, lowercase, without a full stop; context follows on lines of its own.
All of them are the user's to mend: the command line prints them and exits with 2.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


class TraceviewError(Exception):
    """The root: catch this to catch everything that traceview raises on purpose."""


class UnknownFormatError(TraceviewError):
    """No parser claims the file."""


class ParseError(TraceviewError):
    """A file of a known format that cannot be read.

    `path` names the file, `offset` the byte, where known, and `reading` what was being read.
    """

    def __init__(
        self, reason: str, *, path: str, reading: str | None = None, offset: int | None = None
    ) -> None:
        """Build the message: the reason, then what was being read, then where."""
        self.reason, self.path, self.reading, self.offset = reason, path, reading, offset
        lines = [reason]
        if reading is not None:
            lines.append(f"while reading: {reading}")
        where = "" if offset is None else f", byte {offset:#x}"
        lines.append(f"in file: {path}{where}")
        super().__init__("\n".join(lines))


class TruncatedError(ParseError):
    """The file ends before what it announces."""


class UnsupportedError(ParseError):
    """A valid file that uses a feature which is not implemented."""


class EventNotFoundError(TraceviewError, KeyError):
    """The trace has no event of that name."""

    @classmethod
    def from_available(cls, name: str, available: Iterable[str]) -> Self:
        """Name the event that is missing and those that come close."""
        known = sorted(available)
        near = difflib.get_close_matches(name, known) or known
        return cls(f"no event {name!r}\nthe trace has: {', '.join(near)}")

    def __str__(self) -> str:  # KeyError would print the repr
        return str(self.args[0])


class SettingError(TraceviewError):
    """An option, a sidecar, a vocabulary or a step file that cannot be used."""


class QueryError(TraceviewError):
    """The question cannot be asked of this trace."""

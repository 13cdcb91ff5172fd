"""Reads bytes with the ftrace text parser, whole, and compares with the line-by-line reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests import text_reading
from tests.ftrace_text_reference import Reference
from tests.reading import Read
from traceview.parsers import ftrace_text
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from typing import Any

# What tlbi_operand.py adds to an instruction's own arguments.
DECODED = ("ipa", "pages", "level")


class Table(Read):
    """A whole file."""

    @property
    def calls(self) -> list[tuple[str | None, str, int | None]]:
        """Symbol, phase and depth of what function_graph or a probe recorded."""
        return list(self.events.select("symbol", "phase", "depth").iter_rows())


def read(data: bytes | str, **reading: Any) -> Table:
    """Read *data* as the parser would a file; *reading* as read_text has it."""
    return Table(text_reading.read_text(ftrace_text.read, data, **reading))


def differences(data: bytes, *, all_events: bool, **reading: int) -> list[str]:
    """Where the parser and the reference disagree about *data*."""
    table = read(data, all_events=all_events, **reading)
    reference = Reference(Vocabulary.builtin(), all_events).read(data)
    insn = {e["seq"] for e in reference.events if e["evidence"] == "insn" and e["name"] == "tlbi"}
    args = (a for a in table.args.iter_rows() if a[0] not in insn or a[1] not in DECODED)
    return list(text_reading.differences(table, reference, args))

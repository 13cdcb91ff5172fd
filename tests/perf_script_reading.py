"""Reads bytes with the perf script parser, whole, and compares with the line-by-line reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests import text_reading
from tests.perf_script_reference import ScriptReference
from tests.reading import Read
from traceview.parsers import perf_script
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from typing import Any

OF_QUERIES = ("unmap_id", "operation")


class Table(Read):
    """A whole file."""

    @property
    def unparsed(self) -> int:
        return text_reading.unparsed(self)


def read(data: bytes | str, **reading: Any) -> Table:
    """Read *data* as the parser would a file; *reading* as read_text has it."""
    return Table(text_reading.read_text(perf_script.read, data, **reading))


def differences(data: bytes, *, all_events: bool, **reading: int) -> list[str]:
    """Where the parser and the reference disagree about *data*."""
    table = read(data, all_events=all_events, **reading)
    reference = ScriptReference(Vocabulary.builtin(), all_events).read(data)
    found = list(text_reading.differences(table, reference, table.args.iter_rows()))
    samples = table.samples.drop(OF_QUERIES)
    found += text_reading.row_differences("sample", samples, reference.samples)
    records = table.diagnostics.get("records-not-used")
    if (records.count if records else 0) != reference.records.total():
        found.append(f"records {records}, not {reference.records}")
    return found

"""Reading Perfetto traces in tests: from bytes to frames, and frames to comparable rows."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from tests import reading
from tests.perfetto_reference import Event
from traceview.parsers import perfetto
from traceview.trace import Want
from traceview.vocabulary import Vocabulary

COLUMNS = [one.name for one in fields(Event) if one.name != "args"]
Row = tuple[Any, ...]


class Read(reading.Read):
    """All batches of a trace."""

    def rows(self) -> list[Row]:
        """The events with their arguments, as `expected_rows` has them."""
        args: dict[int, list[Row]] = {}
        for row in self.args.select("seq", "name", "value", "text").iter_rows():
            args.setdefault(row[0], []).append(row[1:])
        found = self.events.select("seq", *COLUMNS).iter_rows()
        return in_order([(*row[1:], arguments(args.get(row[0], []))) for row in found])


def read(content: bytes, *, all_events: bool = False, batch_events: int = 1_000_000) -> Read:
    want = Want(Vocabulary.builtin(), all_events=all_events, batch_events=batch_events)
    return Read(reading.read_file(perfetto.read, content, want))


def arguments(args: list[Row]) -> tuple[Row, ...]:
    return tuple(sorted(args, key=repr))


def expected_rows(events: list[Event]) -> list[Row]:
    return in_order(
        [(*(getattr(one, name) for name in COLUMNS), arguments(one.args)) for one in events]
    )


def in_order(rows: list[Row]) -> list[Row]:
    """By CPU, then time; events of a CPU at the same time keep their order.

    But for those of compact_sched: where they stand among others at the same time is not written.
    """
    cpu, ts, name = (COLUMNS.index(column) for column in ("cpu", "ts_ns", "name"))
    compact = ("", "sched_switch", "sched_waking")
    return sorted(
        rows,
        key=lambda row: (
            row[cpu],
            row[ts],
            compact.index(row[name] if row[name] in compact else ""),
        ),
    )

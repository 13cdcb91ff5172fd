"""Reading Perfetto traces in tests: from bytes to frames, and frames to comparable rows."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import polars as pl

from tests.perfetto_reference import Event
from traceview.parsers import perfetto
from traceview.parsers.source import Source
from traceview.trace import Want
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from traceview.trace import Batch, Diagnostic

COLUMNS = [one.name for one in fields(Event) if one.name != "args"]
Row = tuple[Any, ...]


@dataclass
class Read:
    """All batches of a trace."""

    batches: list[Batch]

    @property
    def events(self) -> pl.DataFrame:
        return pl.concat([batch.events for batch in self.batches])

    @property
    def args(self) -> pl.DataFrame:
        return pl.concat([batch.args for batch in self.batches])

    @property
    def losses(self) -> pl.DataFrame:
        return pl.concat([batch.losses for batch in self.batches])

    @property
    def skipped(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for batch in self.batches:
            for name, count in batch.skipped.items():
                found[name] = found.get(name, 0) + count
        return found

    @property
    def facts(self) -> dict[str, Any]:
        return {name: fact for batch in self.batches for name, fact in batch.facts.items()}

    @property
    def diagnostics(self) -> dict[str, Diagnostic]:
        return {one.code: one for batch in self.batches for one in batch.diagnostics}

    def column(self, name: str) -> list[Any]:
        return self.events[name].to_list()

    def arg(self, name: str) -> list[Any]:
        """The values (or texts) of an argument, in order of seq."""
        rows = self.args.sort("seq").filter(pl.col("name") == name)
        return [row["value"] if row["text"] is None else row["text"] for row in rows.to_dicts()]

    def rows(self) -> list[Row]:
        """The events with their arguments, as `expected_rows` has them."""
        args: dict[int, list[Row]] = {}
        for row in self.args.select("seq", "name", "value", "text").iter_rows():
            args.setdefault(row[0], []).append(row[1:])
        found = self.events.select("seq", *COLUMNS).iter_rows()
        return in_order([(*row[1:], arguments(args.get(row[0], []))) for row in found])


def read(content: bytes, *, all_events: bool = False, batch_events: int = 1_000_000) -> Read:
    want = Want(Vocabulary.builtin(), all_events=all_events, batch_events=batch_events)
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return Read(list(perfetto.read(Source("trace", file, len(content)), want)))


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

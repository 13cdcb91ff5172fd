"""Where a text trace says that events are missing, and where that is among the events.

`CPU:1 [LOST 136 EVENTS]` (trace_pipe) and `CPU:1 [136 EVENTS DROPPED]` (trace-cmd report), both
also without a number, stand before the first event that this CPU recorded afterwards. The header
of `trace` counts what the ring buffers overwrote: before the first event. A line that was not
understood is a hole as well (kind `unparsed`), of all CPUs: whatever it said is missing.

Sources of truth: kernel/trace/trace.c (print_trace_line), trace-cmd 3.4 tracecmd/trace-read.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from traceview.schema import frame

if TYPE_CHECKING:
    from traceview.parsers.ftrace_text_lines import Lines, Positions

LOST: Final = r"^CPU:(\d{1,5}) \[(?:LOST (?:(\d{1,18}) )?EVENTS|(?:(\d{1,18}) )?EVENTS DROPPED)\]"

# A line that states a loss: its index, the CPU (None: not said), how many (None: not said).
Lost = tuple[int, int | None, int | None]


@dataclass(slots=True)
class Moment:
    """An event as one end of a hole."""

    seq: int
    ts_ns: int | None


@dataclass(slots=True)
class Hole:
    """A hole whose end has not been read yet. `cpu` None: it concerns all of them."""

    kind: str
    cpu: int | None
    count: int | None
    before: Moment | None = None
    after: Moment | None = None

    def row(self) -> dict[str, Any]:
        """A row of schema.LOSSES."""
        return {
            "cpu": self.cpu,
            "kind": self.kind,
            "from_ns": self.before.ts_ns if self.before else None,
            "to_ns": self.after.ts_ns if self.after else None,
            "from_seq": self.before.seq if self.before else None,
            "to_seq": self.after.seq if self.after else None,
            "count": self.count,
        }


@dataclass(slots=True)
class Losses:
    """Places holes. `latest` is the last event of each CPU so far, `open` waits for the next."""

    latest: dict[int, Moment] = field(default_factory=dict)
    open: list[Hole] = field(default_factory=list)
    last: Moment | None = None

    def place(
        self,
        lost: list[Lost],
        unparsed: Positions,
        line: Positions,
        events: pl.DataFrame,
    ) -> list[Hole]:
        """The holes whose end is in *events*, given the loss lines of this stretch.

        *lost* and *unparsed* (lines) are in order; *line* is the line of each of *events*.
        """
        if line.size == 0 and not lost and not unparsed.size:
            return []
        cpu = events["cpu"].fill_null(-1).to_numpy()
        by_cpu = {number: np.flatnonzero(cpu == number) for number in np.unique(cpu).tolist()}
        none, everything = np.zeros(0, np.int64), np.arange(line.size)
        closed = []
        for hole in self.open:
            rows = everything if hole.cpu is None else by_cpu.get(hole.cpu, none)
            hole.after = _moment(events, rows, 0)
            closed.append(hole)
        for at, number, count in lost:
            rows = everything if number is None else by_cpu.get(number, none)
            latest = self.last if number is None else self.latest.get(number)
            first = int(np.searchsorted(line[rows], at))
            before = _moment(events, rows, first - 1) or latest
            after = _moment(events, rows, first)
            closed.append(Hole("lost_events", number, count, before, after))
        self._place_unparsed(np.searchsorted(line, np.sort(unparsed)), events, closed)
        self.open = [hole for hole in closed if hole.after is None]
        for number, rows in by_cpu.items():
            end = _moment(events, rows, rows.size - 1)
            if number >= 0 and end is not None:
                self.latest[number] = end
        return [hole for hole in closed if hole.after is not None]

    def _place_unparsed(self, places: Positions, events: pl.DataFrame, closed: list[Hole]) -> None:
        """Add to *closed* a hole for each event that lines not understood stand before."""
        everything = np.arange(len(events))
        waiting = [hole for hole in closed if hole.kind == "unparsed"]
        for at, count in _runs(places):
            if at == 0 and waiting:  # the run began in an earlier stretch
                waiting[-1].count = (waiting[-1].count or 0) + count
                continue
            before = _moment(events, everything, at - 1) or self.last
            after = _moment(events, everything, at)
            closed.append(Hole("unparsed", None, count, before, after))
        self.last = _moment(events, everything, everything.size - 1) or self.last


def read_losses(lines: Lines, index: Positions) -> list[Lost]:
    """The loss lines among those at *index*: (line, CPU, count)."""
    texts = lines.text(lines.starts[index], lines.ends[index])
    cpu, lost, dropped = texts.str.extract_groups(LOST).struct.unnest().iter_columns()
    ok = cpu.is_not_null()
    counts = lost.fill_null(dropped).filter(ok).cast(pl.Int64).to_list()
    cpus = cpu.filter(ok).cast(pl.Int64).to_list()
    return list(zip(index[ok.to_numpy()].tolist(), cpus, counts, strict=True))


def loss_rows(holes: list[Hole]) -> pl.DataFrame:
    """*holes* as schema.LOSSES."""
    if not holes:
        return frame("losses")
    rows = [hole.row() for hole in holes]
    schema = {
        name: pl.String if name == "kind" else pl.Int64
        for name in ("cpu", "kind", "from_ns", "to_ns", "from_seq", "to_seq", "count")
    }
    return frame("losses", pl.DataFrame(rows, schema=schema).to_dict())


def _runs(places: Positions) -> list[tuple[int, int]]:
    """Each distinct place and how often it comes."""
    found, counts = np.unique(places, return_counts=True)
    return list(zip(found.tolist(), counts.tolist(), strict=True))


def _moment(events: pl.DataFrame, rows: Positions, at: int) -> Moment | None:
    if not 0 <= at < rows.size:
        return None
    row = int(rows[at])
    return Moment(int(events["seq"][row]), events["ts_ns"][row])

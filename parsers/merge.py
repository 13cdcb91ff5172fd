"""Chunks of events -> batches in time order, numbered, as frames.

Chunks come in the order in which their bundles begin. Events earlier than the first of all
bundles that are still to come cannot be overtaken: those leave in a batch, sorted by time; events
with the same time keep the order in which the file has them. The trace clock decides: with a
`local` clock the order across CPUs is as good as that clock (the parser says so).

A hole must be known to whoever reads the events behind its start, so it comes with the first of
them: where it is longer than the batch, it comes again with the next one, as the rest of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.parsers.chunks import (
    MAX_CPUS,
    NO_CPU,
    NO_DEPTH,
    NO_DURATION,
    NO_IP,
    NO_TID,
    Chunk,
    Comms,
    joined_chunks,
    kept,
)
from traceview.schema import ARGS, CPUMODE, CPUMODES, EVENTS, LOSSES, SAMPLES, conform, list_column
from traceview.trace import Batch, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.parsers.chunks import Hole
    from traceview.parsers.classes import Classes
    from traceview.parsers.columns import Flags, Ints
    from traceview.parsers.names import Names
    from traceview.parsers.tasks import Tasks

NO_TIMES = {"events": ("ts_ns",), "samples": ("ts_ns",), "losses": ("from_ns", "to_ns")}
FOREVER = np.iinfo(np.int64).max


class Merge:
    """Holds events back until their place in time is certain."""

    def __init__(self, names: Names, classes: Classes, tasks: Tasks, batch_events: int) -> None:
        """Begin with nothing."""
        self._names, self._classes, self._tasks = names, classes, tasks
        self._batch_events = batch_events
        self._held: list[Chunk] = []
        self._waiting = 0
        self._next_seq = 0
        self._last_ns = 0
        self._last_seq: dict[int, int] = {}  # lane -> last event of it that has left
        self.late = 0  # events earlier than one that had left before: damage, or a bad clock

    def diagnostics(self) -> list[Diagnostic]:
        """What is wrong with the order of what has left."""
        if not self.late:
            return []
        message = (
            "events out of time order (their times are damaged, or the trace clock jumped):"
            f" {self.late}"
        )
        return [Diagnostic("late-events", "warning", message, self.late)]

    def add(self, chunk: Chunk) -> None:
        """Take in a chunk."""
        self._held.append(chunk)
        self._waiting += len(chunk)

    def ready(self, before_ns: int) -> Iterator[Batch]:
        """The events before *before_ns*, once they are enough for a batch."""
        if self._waiting >= self._batch_events:
            # Nothing but the batch stays in memory while it is looked at.
            batch = self._ready(before_ns)
            if batch is not None:
                yield from self._sliced(batch)

    def _ready(self, before_ns: int) -> Batch | None:
        held = joined_chunks(self._held)
        leaving = held.ts_ns < before_ns
        count = int(leaving.sum())
        # Few can leave: look again when as many have come once more.
        self._waiting = 0 if count < self._batch_events // 2 else len(held) - count
        self._held = [held]
        return self._leave(held, leaving, before_ns) if count >= self._batch_events // 2 else None

    def rest(self, holes: list[Hole]) -> Iterator[Batch]:
        """Everything that is left, and the *holes* that nothing closes."""
        held = joined_chunks(self._held)
        held = replace(held, holes=[*held.holes, *holes])
        batch = self._leave(held, np.ones(len(held), dtype=np.bool_), FOREVER)
        del held
        yield from self._sliced(batch)

    def _leave(self, held: Chunk, leaving: Flags, before_ns: int) -> Batch:
        """Number the events that are *leaving*, all of them before *before_ns*; keep the others."""
        out = kept(held, leaving)
        order = np.argsort(out.ts_ns, kind="stable")
        seq = np.empty(len(order), dtype=np.int64)
        seq[order] = np.arange(self._next_seq, self._next_seq + len(order))
        ts_ns, cpu, tid = out.ts_ns[order], out.cpu[order], out.tid[order]
        self.late += int(np.searchsorted(ts_ns, self._last_ns))
        said = held.comms.ts_ns < before_ns
        comm = self._tasks.comms(ts_ns, tid, cpu, _select(held.comms, said))
        lane = out.buffer[order].astype(np.int64) * MAX_CPUS + cpu
        losses, holes = self._losses(held.holes, ts_ns, lane, before_ns)
        columns = {
            "seq": pl.Series(np.arange(self._next_seq, self._next_seq + len(order))),
            "buffer": self._names.column(out.buffer[order]),
            "ts_ns": pl.Series(ts_ns),
            "cpu": _nullable(cpu, NO_CPU),
            "tid": _nullable(tid, NO_TID),
            "tgid": _nullable(self._tasks.tgids(tid), NO_TID),
            "comm": self._names.column(comm),
            "probe_ip": _nullable(out.probe_ip[order], NO_IP),
            "duration_ns": _nullable(out.duration_ns[order], NO_DURATION),
            "depth": _nullable(out.depth[order], NO_DEPTH),
        }
        classes = self._classes.frame()[out.what[order]]
        events = pl.DataFrame(columns).hstack(classes).select(list(EVENTS))
        args = self._args(out, seq)
        samples = _samples(out, seq, events)
        self._next_seq += len(order)
        if len(order):
            self._last_ns = max(self._last_ns, int(ts_ns[-1]))
        rest = replace(
            kept(held, ~leaving), comms=_select(held.comms, ~said), holes=holes, skipped={}
        )
        self._held = [rest]
        return Batch(events, args, losses, samples, held.skipped)

    def _sliced(self, batch: Batch) -> Iterator[Batch]:
        """*batch* in pieces of the size that was asked for; losses come with the first."""
        size = self._batch_events
        if len(batch.events) <= size + size // 2:
            if len(batch.events) or batch.skipped or len(batch.losses):
                yield batch
            return
        args = batch.args.sort("seq")
        for at in range(0, len(batch.events), size):
            events = batch.events.slice(at, size)
            low, high = events["seq"][0], events["seq"][-1]
            first, last = args["seq"].search_sorted(low), args["seq"].search_sorted(high + 1)
            mine = batch.samples["seq"].is_between(low, high)
            piece = Batch(
                events, args.slice(first, last - first), samples=batch.samples.filter(mine)
            )
            yield replace(piece, losses=batch.losses, skipped=batch.skipped) if at == 0 else piece

    def _args(self, out: Chunk, seq: Ints) -> pl.DataFrame:
        numbers, texts = out.numbers, out.texts
        frames = [
            pl.DataFrame(
                {
                    "seq": seq[numbers.row],
                    "name": self._names.column(numbers.name),
                    "value": numbers.value,
                    "text": pl.Series([None], dtype=pl.String).new_from_index(0, len(numbers.row)),
                }
            )
        ]
        if len(texts.row):
            frames.append(
                pl.DataFrame(
                    {
                        "seq": seq[texts.row],
                        "name": self._names.column(texts.name),
                        "value": pl.Series([None], dtype=pl.Int64).new_from_index(
                            0, len(texts.row)
                        ),
                        "text": texts.text,
                    }
                )
            )
        return pl.concat(frames).select(list(ARGS))

    def _losses(
        self, holes: list[Hole], ts_ns: Ints, lane: Ints, before_ns: int
    ) -> tuple[pl.DataFrame, list[Hole]]:
        """The holes that begin before *before_ns* as rows, and what is left of all holes."""
        rows, left = [], []
        places = _Places(ts_ns, lane, self._next_seq, self._last_seq)
        for hole in holes:
            if hole.from_ns is not None and hole.from_ns >= before_ns:
                left.append(hole)
                continue
            end = hole.to_ns
            if before_ns != FOREVER and (end is None or end >= before_ns):
                left.append(replace(hole, from_ns=before_ns, count=None))
                end = before_ns
            lane_of = self._names.code(hole.buffer) * MAX_CPUS + hole.cpu
            from_seq, to_seq = places.around(lane_of, hole.from_ns, end)
            cpu = None if hole.cpu == NO_CPU else hole.cpu
            rows.append(
                (hole.buffer, cpu, hole.kind, hole.from_ns, end, from_seq, to_seq, hole.count)
            )
        places.leave()
        return pl.DataFrame(rows, schema=LOSSES, orient="row"), left


def untimed(batch: Batch) -> Batch:
    """*batch* without the numbers that put it in order, where those are no times."""
    frames = {
        name: getattr(batch, name).with_columns(
            pl.lit(None, dtype=pl.Int64).alias(column) for column in columns
        )
        for name, columns in NO_TIMES.items()
    }
    return replace(batch, **frames)


class _Places:
    """Where times lie among the numbered events of each lane: a CPU of one buffer."""

    def __init__(self, ts_ns: Ints, lane: Ints, first_seq: int, last_seq: dict[int, int]) -> None:
        self._ts_ns, self._lane = ts_ns, lane
        self._first_seq, self._last_seq = first_seq, last_seq
        self._rows: dict[int, Ints] = {}

    def around(
        self, lane: int, from_ns: int | None, to_ns: int | None
    ) -> tuple[int | None, int | None]:
        """The last event of *lane* up to *from_ns* and the first from *to_ns* on, by number.

        Where the batch has no such later event, the first of any lane stands for it.
        """
        if lane not in self._rows:
            self._rows[lane] = np.flatnonzero(self._lane == lane)
        rows = self._rows[lane]
        times = self._ts_ns[rows]
        before = 0 if from_ns is None else int(np.searchsorted(times, from_ns, side="right"))
        from_seq = self._last_seq.get(lane) if from_ns is not None else None
        if before:
            from_seq = self._first_seq + int(rows[before - 1])
        if to_ns is None:
            return from_seq, None
        behind = max(before, int(np.searchsorted(times, to_ns)))
        if behind < len(rows):
            return from_seq, self._first_seq + int(rows[behind])
        return from_seq, self._first_seq + int(np.searchsorted(self._ts_ns, to_ns))

    def leave(self) -> None:
        """The events go; remember the last of each lane."""
        if not len(self._lane):
            return
        low, high = int(self._lane.min()), int(self._lane.max())
        if high - low < MAX_CPUS:  # one buffer
            last = np.full(high - low + 1, -1)
            last[self._lane - low] = np.arange(len(self._lane))  # of several the last one stays
            lanes = np.flatnonzero(last >= 0)
            at, lanes = last[lanes], lanes + low
        else:
            lanes, at = np.unique(self._lane[::-1], return_index=True)
            at = len(self._lane) - 1 - at
        self._last_seq.update(zip(lanes.tolist(), (self._first_seq + at).tolist(), strict=True))


def _samples(out: Chunk, seq: Ints, events: pl.DataFrame) -> pl.DataFrame:
    """The samples among *events* as rows of schema.SAMPLES; *seq* numbers the rows of *out*."""
    samples = out.samples
    if not len(samples.row):
        return pl.DataFrame(schema=SAMPLES)
    offsets = np.concatenate([[0], np.cumsum(samples.frames)])
    mine = seq[samples.row]
    said = events.select("ts_ns", "cpu", "tid", "comm", event="name", ip="probe_ip")
    rows = said[mine - events["seq"][0]].with_columns(
        pl.Series("seq", mine),
        pl.Series("cpumode", samples.cpumode).replace_strict(
            range(len(CPUMODES)), CPUMODES, return_dtype=CPUMODE
        ),
        pl.Series("period", samples.period).replace(0, None),
        list_column(pl.Series(samples.ip), offsets).alias("callchain"),
    )
    return conform("samples", rows.sort("seq"))


def _nullable(values: np.ndarray, nothing: int) -> pl.Series:
    """*values* as a column, null where they are *nothing*; most columns are all or nothing."""
    absent = values == nothing
    if not absent.any():
        return pl.Series(values)
    if absent.all():
        dtype = pl.Series(values[:0]).dtype
        return pl.Series([None], dtype=dtype).new_from_index(0, len(values))
    column = pl.Series("values", values)
    return column.to_frame().select(pl.when(pl.Series(~absent)).then("values"))["values"]


def _select(comms: Comms, keep: Flags) -> Comms:
    return Comms(comms.ts_ns[keep], comms.task[keep], comms.comm[keep])

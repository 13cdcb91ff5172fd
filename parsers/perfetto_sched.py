"""`compact_sched`: the sched_switch (and sched_waking) events of a bundle, column by column.

Times are deltas (the first is absolute), names are indices of the bundle's `intern_table`, and the
task that was running is not written: it is the one that the CPU switched to before. After a hole
that is not known. Where switches stand among other events of the same nanosecond is not written
either, and left open. Source of truth: CompactSched in ftrace_event_bundle.proto.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.chunks import (
    NO_TID,
    Chunk,
    Comms,
    Numbers,
    Texts,
    joined_chunks,
    joined_numbers,
    joined_texts,
)
from traceview.parsers.classes import Class
from traceview.parsers.columns import texts
from traceview.parsers.perfetto_wire import LENGTH, joined, packed, walk
from traceview.parsers.task_states import state_texts
from traceview.parsers.tasks import task_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.parsers.classes import Classes
    from traceview.parsers.columns import Flags, Ints
    from traceview.parsers.names import Names
    from traceview.parsers.perfetto_bundles import Bundle, Group
    from traceview.parsers.perfetto_wire import Blob, Step
    from traceview.trace import Want

INTERN_TABLE: Final = 5
# Fields of CompactSched, in the order of the columns below.
SWITCH: Final = {"ts": 1, "prev_state": 2, "next_pid": 3, "next_prio": 4, "comm": 6}
WAKING: Final = {"ts": 7, "pid": 8, "target_cpu": 9, "prio": 10, "comm": 11}


@dataclass(frozen=True, slots=True)
class Table:
    """Compact events of one kind: the values of each, and the bundle it belongs to."""

    owner: Ints
    columns: dict[str, Ints]
    comm: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class CompactSched:
    """The compact events of a group of bundles."""

    switches: Table
    wakings: Table
    bad: Flags  # bundles whose compact events cannot be read


def read_compact(blob: Blob, bundles: list[Bundle], names: Names) -> CompactSched:
    """The compact events of *bundles*, in their order."""
    owner = np.repeat(np.arange(len(bundles)), [len(b.compact_sched) for b in bundles])
    spans = [span for bundle in bundles for span in bundle.compact_sched]
    if not spans:
        return CompactSched(_empty(SWITCH), _empty(WAKING), np.zeros(len(bundles), dtype=np.bool_))
    ends = np.array(spans, dtype=np.int64).reshape(-1, 2)
    steps, damaged = walk(blob, ends[:, 0], ends[:, 1])
    fields = joined(steps)
    bad = np.zeros(len(bundles), dtype=np.bool_)
    bad[owner[damaged]] = True
    bad[owner[fields.row[(fields.number <= 12) & (fields.wire != LENGTH)]]] = True
    fields = fields.take(np.argsort(fields.row, kind="stable"))
    table = _Interned(blob, fields, len(spans), names)
    switches = _table(blob, fields, owner, SWITCH, table, bad)
    wakings = _table(blob, fields, owner, WAKING, table, bad)
    return CompactSched(switches, wakings, bad)


def _empty(numbers: dict[str, int]) -> Table:
    none = np.empty(0, dtype=np.int64)
    columns = dict.fromkeys((name for name in numbers if name != "comm"), none)
    return Table(none, columns, none.astype(np.uint32))


class _Interned:
    """The intern tables: the names that the indices of each message stand for."""

    def __init__(self, blob: Blob, fields: Step, messages: int, names: Names) -> None:
        mine = np.flatnonzero((fields.number == INTERN_TABLE) & (fields.wire == LENGTH))
        length = fields.value[mine].view(np.int64)
        self._codes = names.codes(texts(blob.data, fields.payload[mine], length))
        self._count = np.bincount(fields.row[mine], minlength=messages)
        self._first = np.cumsum(self._count) - self._count

    def look_up(self, message: Ints, index: Ints) -> NDArray[np.uint32]:
        """The codes of the names; null where an index is out of bounds."""
        known = (index >= 0) & (index < self._count[message])
        found = np.zeros(len(index), dtype=np.uint32)
        found[known] = self._codes[(self._first[message] + index)[known]]
        return found


def _table(
    blob: Blob, fields: Step, owner: Ints, numbers: dict[str, int], table: _Interned, bad: Flags
) -> Table:
    """The columns *numbers* of all messages; a bundle whose columns differ in length is bad."""
    found: dict[str, tuple[Ints, Ints]] = {}  # values, and the message of each
    counts = []
    for name, number in numbers.items():
        mine = np.flatnonzero((fields.number == number) & (fields.wire == LENGTH))
        start = fields.payload[mine]
        values, count, odd = packed(blob, start, start + fields.value[mine].view(np.int64))
        bad[owner[fields.row[mine[odd]]]] = True
        message = np.repeat(fields.row[mine], count)
        counts.append(np.bincount(message, minlength=len(owner)))
        found[name] = values.view(np.int64), message
    for count in counts[1:]:
        bad[owner[count != counts[0]]] = True
    message = found["ts"][1]
    message = message[~bad[owner[message]]]
    columns = {name: values[~bad[owner[of]]] for name, (values, of) in found.items()}
    # Deltas add up within each message: take from the running sum what it was before.
    total = np.cumsum(columns["ts"])
    before = np.concatenate([[0], total])[np.searchsorted(message, np.arange(len(owner)))]
    columns["ts"] = total - before[message]
    return Table(owner[message], columns, table.look_up(message, columns.pop("comm")))


class SchedEvents:
    """Compact events -> chunks."""

    def __init__(self, names: Names, classes: Classes, want: Want) -> None:
        """Name what is made here."""
        self._want, self._names = want, names
        self._switch = classes.code(Class("sched_switch", None, "instant", "tracepoint"))
        self._waking = classes.code(Class("sched_waking", None, "instant", "tracepoint"))

    def chunk(self, found: CompactSched, prev: Ints, group: Group) -> Chunk:
        """The switches of *group*; *prev* are the tasks switched from (NO_TID: unknown).

        The wakings come behind them where all events are wanted, else they are counted.
        """
        switches = self._switches(found.switches, prev, group)
        count = len(found.wakings.owner)
        if self._want.all_events:
            return joined_chunks([switches, self._wakings(found.wakings, group)])
        return replace(switches, skipped={"sched_waking": count} if count else {})

    def _switches(self, table: Table, prev: Ints, group: Group) -> Chunk:
        ts, next_pid = table.columns["ts"], table.columns["next_pid"]
        cpu, rows = group.cpu[table.owner], np.arange(len(ts))
        known = np.flatnonzero(prev != NO_TID)
        numbers = [
            self._number(known, "prev_pid", prev[known]),
            self._number(rows, "next_pid", next_pid),
        ]
        texts = []
        if self._want.all_events:
            numbers.append(self._number(rows, "next_prio", table.columns["next_prio"]))
            texts = [
                self._text(rows, "next_comm", self._names.column(table.comm)),
                self._text(rows, "prev_state", state_texts(table.columns["prev_state"])),
            ]
        return Chunk.blank(
            ts, cpu=cpu, buffer=group.buffer[table.owner], tid=prev.astype(np.int32),
            what=np.full(len(ts), self._switch, dtype=np.uint32),
            numbers=joined_numbers(numbers), texts=joined_texts(texts),
            comms=Comms(ts, task_of(next_pid, cpu), table.comm),
        )  # fmt: skip

    def _wakings(self, table: Table, group: Group) -> Chunk:
        """Who woke the task is not written."""
        rows = np.arange(len(table.owner))
        numbers = [
            self._number(rows, name, table.columns[name]) for name in ("pid", "prio", "target_cpu")
        ]
        return Chunk.blank(
            table.columns["ts"], cpu=group.cpu[table.owner],
            buffer=group.buffer[table.owner],
            what=np.full(len(rows), self._waking, dtype=np.uint32),
            numbers=joined_numbers(numbers),
            texts=self._text(rows, "comm", self._names.column(table.comm)),
        )  # fmt: skip

    def _number(self, rows: Ints, name: str, value: Ints) -> Numbers:
        code = self._names.code(name)
        return Numbers(rows, np.full(len(rows), code, dtype=np.uint32), value)

    def _text(self, rows: Ints, name: str, text: pl.Series) -> Texts:
        code = self._names.code(name)
        return Texts(rows, np.full(len(rows), code, dtype=np.uint32), text.cast(pl.String))

"""Raw records of the kernel's ring buffer -> chunks of events.

trace.dat, raw per-CPU dumps and perf.data hold the same records: `common_type`, the id of an
event, and then the fields that tracefs describes for it (event_format.py). The containers find
the records and their times; here all records of one event are gathered field by field, in as many
array operations whatever their number. Layouts come from the recorded formats only. Nothing
outside of a record is read: one that is too short for its fields is damage.

Numbers are little-endian, addresses have 64 bits. Source of truth: include/linux/trace_events.h
(struct trace_entry), Documentation/trace/events.rst of Linux 5.10 to 7.2.
"""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from traceview.parsers.chunks import NO_TID
from traceview.parsers.event_format import MAX_ID
from traceview.parsers.record_fields import Layout, Part, gather
from traceview.parsers.record_kinds import FTRACE, kind_of
from traceview.parsers.record_names import CommCodes, Functions
from traceview.parsers.record_output import Context, Output, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from traceview.parsers.chunks import Chunk
    from traceview.parsers.classes import Classes
    from traceview.parsers.columns import Bytes, Ints
    from traceview.parsers.event_format import EventFormat, Field
    from traceview.parsers.names import Names
    from traceview.parsers.record_kinds import Kind
    from traceview.symbols import Kallsyms
    from traceview.trace import Diagnostic, Want

NO_FORMATS: Final[Mapping[int, str]] = MappingProxyType({})
LEFT_OUT: Final = 0  # the kind of records that are counted only
REPEATS: Final = "func_repeats"
ID_BYTES: Final = 2
PID_BYTES: Final = 4


class Records(NamedTuple):
    """Records in the order in which they were written, per CPU at least.

    `start`: where the payload, that is `common_type`, begins in the data; `size`: its bytes;
    `ts_ns`: its time; `cpu`; `buffer`: the code of the name of the ring-buffer instance.
    """

    start: Ints
    size: Ints
    ts_ns: Ints
    cpu: NDArray[np.int32]
    buffer: NDArray[np.uint32]


class Common(NamedTuple):
    """What all records begin with: the event's id of 2 bytes, the task, `size` bytes in all."""

    id_offset: int
    pid: Field | None
    size: int

    @classmethod
    def of(cls, event: EventFormat) -> Common | None:
        """The head of the records of *event*, None where it has no id."""
        id_, pid = event.field("common_type"), event.field("common_pid")
        if id_ is None or id_.kind != "number" or id_.size != ID_BYTES:
            return None
        if pid is not None and (pid.kind != "number" or pid.size != PID_BYTES):
            pid = None
        return cls(id_.offset, pid, max(id_.end, pid.end if pid else 0))


class RecordDecoder:
    """Decodes records whose events *formats* describe, one stretch of them at a time.

    The tracers' own events must have the system "ftrace".
    """

    def __init__(
        self,
        formats: Iterable[EventFormat],
        want: Want,
        names: Names,
        classes: Classes,
        kallsyms: Kallsyms | None = None,
        printk: Mapping[int, str] = NO_FORMATS,
    ) -> None:
        """Decide what to do with each event. *printk*: trace_printk formats by address."""
        self._trouble = Trouble()
        context = Context(
            want, names, classes, Functions(kallsyms), CommCodes(names), printk, self._trouble
        )
        self._formats, self._common = _usable(formats, self._trouble)
        self._kinds: list[Kind] = []
        self._kind_of = np.zeros(MAX_ID + 1, dtype=np.int16)
        self._need = np.zeros(MAX_ID + 1, dtype=np.int64)
        for number, event in self._formats.items():
            kind = kind_of(event, context)
            if kind is not None:
                self._kinds.append(kind)
                self._kind_of[number] = len(self._kinds)
                self._need[number] = max(one.end for one in event.fields)

    def decode(self, data: Bytes, records: Records) -> tuple[Chunk, Ints]:
        """The events of *records* that are wanted, and which of the records they are (ascending).

        Others are counted by name in `skipped`; what cannot be read is counted for `diagnostics`.
        """
        data = np.ascontiguousarray(data)
        kind, skipped = self._sorted_out(data, records)
        rows = np.flatnonzero(kind)
        start, size, ts_ns, cpu, buffer = records
        if len(rows) < len(kind):
            kind, start, size = kind[rows], start[rows], size[rows]
            ts_ns, cpu, buffer = ts_ns[rows], cpu[rows], buffer[rows]
        out = Output(ts_ns, cpu, buffer, self._tids(data, start))
        order = np.argsort(kind, kind="stable")
        counts = np.bincount(kind)
        ends = np.cumsum(counts)
        for i in np.flatnonzero(counts).tolist():
            mine = order[ends[i] - counts[i] : ends[i]]
            self._kinds[i - 1].read(Part(data, mine, start[mine], size[mine]), out)
        return out.chunk(skipped), rows

    def diagnostics(self) -> list[Diagnostic]:
        """What was found wrong with the formats, and with all records decoded so far."""
        return self._trouble.diagnostics()

    def _sorted_out(
        self, data: Bytes, records: Records
    ) -> tuple[NDArray[np.int16], dict[str, int]]:
        """The kind of each record, LEFT_OUT for others; how many of each name are not wanted."""
        start, size = records.start, records.size
        inside = (start >= 0) & (start <= len(data) - size) & (size >= self._common.size)
        if not inside.all():
            self._trouble.headless += int((~inside).sum())
            start = np.where(inside, start, 0)
            if len(data) < self._common.size:
                return np.zeros(len(start), dtype=np.int16), {}
        number = gather(data, start + self._common.id_offset, np.dtype("<u2"))
        kind = self._kind_of[number]
        kind = np.where(inside & (size >= self._need[number]), kind, LEFT_OUT)
        others = np.flatnonzero((kind == LEFT_OUT) & inside)
        return kind, self._left_out(number[others]) if others.size else {}

    def _left_out(self, number: NDArray[np.generic]) -> dict[str, int]:
        """Count records that are not decoded, by id: how many of each name are not wanted."""
        skipped: Counter[str] = Counter()
        ids, counts = np.unique(number, return_counts=True)
        for one, count in zip(ids.tolist(), counts.tolist(), strict=True):
            event = self._formats.get(one)
            if event is None:
                self._trouble.unknown[one] += count
            elif self._kind_of[one] != LEFT_OUT:
                self._trouble.short[event.name] += count
            else:
                skipped[event.name] += count
                if event.name == REPEATS and event.system == FTRACE:
                    self._trouble.repeats += count
        return dict(skipped)

    def _tids(self, data: Bytes, start: Ints) -> NDArray[np.int32]:
        """The task that each record names."""
        if self._common.pid is None:
            return np.full(len(start), NO_TID, dtype=np.int32)
        (found,) = Layout([self._common.pid]).read(Part(data, start, start, start))
        return found.astype(np.int32)


def _usable(
    formats: Iterable[EventFormat], trouble: Trouble
) -> tuple[dict[int, EventFormat], Common]:
    """The formats by id, and the head that their records share."""
    found: dict[int, EventFormat] = {}
    for event in formats:
        before = found.setdefault(event.id, event)
        if before != event:
            trouble.formats.append(f"{event.name} has the id {event.id} of {before.name}")
    heads = {number: Common.of(event) for number, event in found.items()}
    votes = Counter(head for head in heads.values() if head is not None)
    common = votes.most_common(1)[0][0] if votes else Common(0, None, ID_BYTES)
    for number, head in heads.items():
        if head != common:
            trouble.formats.append(f"{found.pop(number).name} has other common fields than most")
    return found, common

"""Events -> packets, as traced_probes writes them: bundles of one CPU's events.

A bundle that follows lost events says so (`lost_events`), so a hole of the input begins a bundle.
A hole behind a CPU's last event is an empty bundle at the end. What was lost, and where is not
known, goes to the counters of `ftrace_stats`; where not even a number is known, or where the
format does not say whether events were lost, every CPU's first bundle says that something before
it may be missing: no file that may have lost events reads like one that lost none.

Sources of truth: protos/perfetto/trace/ftrace/{ftrace_event_bundle,ftrace_stats}.proto;
src/trace_processor/importers/ftrace/ftrace_tokenizer.cc for what becomes of clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.protobuf_columns import TRACE_PACKET, delimited, number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.byte_columns import Ints
    from traceview.report.perfetto.events import Encoded, Events

BUNDLE_EVENTS: Final = 1024
# Clocks that Perfetto can be told of; the others are written as its default, the boot clock.
CLOCKS: Final = {"global": 2, "local": 3, "mono_raw": 4}
STATED_COUNTS: Final = ("overrun", "commit_overrun", "dropped_events")
ANY: Final = -1  # the CPU of a loss that may be of any
CLEARED, NEEDS_STATE = 1, 2

Place = tuple[str | None, int]  # buffer, CPU


@dataclass(slots=True)
class Losses:
    """What was lost: before which events (`before`), at the start, at the end; and counts."""

    before: dict[Place, list[int]] = field(default_factory=dict)
    at_start: set[Place] = field(default_factory=set)
    at_end: set[Place] = field(default_factory=set)
    counts: dict[tuple[str, int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, table: pl.DataFrame, *, known: bool) -> Losses:
        """The losses of a source; *known*: its format says what was lost."""
        found = cls()
        if not known:
            found.at_start.add((None, ANY))
        for row in table.iter_rows(named=True):
            found._add(row)
        return found

    def _add(self, row: dict[str, Any]) -> None:
        place = (row["buffer"], ANY if row["cpu"] is None else row["cpu"])
        if row["to_seq"] is not None:
            self.before.setdefault(place, []).append(row["to_seq"])
        elif row["from_seq"] is not None or row["from_ns"] is not None:
            self.at_end.add(place)
        elif row["count"]:
            kind = str(row["kind"])
            kind = kind if kind in (*STATED_COUNTS, "kprobe_missed") else "overrun"
            key = kind, 0 if place[1] == ANY else place[1]
            self.counts[key] = self.counts.get(key, 0) + row["count"]
        else:
            self.at_start.add(place)

    def places(self) -> set[Place]:
        """The CPUs that something is said of."""
        return {one for one in (*self.before, *self.at_start, *self.at_end) if one[1] != ANY}

    def of_lane(self, place: Place) -> tuple[list[int], bool, bool]:
        """Before which events of a CPU there are holes, and whether at its start or its end."""
        anywhere = [one for one in (*self.before, *self.at_start, *self.at_end) if one[1] == ANY]
        mine = (place, *dict.fromkeys(anywhere))
        before = sorted({seq for one in mine for seq in self.before.get(one, [])})
        return before, bool(self.at_start & set(mine)), bool(self.at_end & set(mine))


class Bundles:
    """Makes packets of encoded events. One packet sequence per ring buffer."""

    def __init__(
        self, events: Events, losses: Losses, clock: str | None, first_sequence: int
    ) -> None:
        """*clock*: of the times; *first_sequence*: of the first buffer; others count on."""
        self._events, self._losses = events, losses
        self._clock = CLOCKS.get(clock or "")
        self._first_sequence = first_sequence
        self._sequences: dict[str | None, int] = {}
        self._described: dict[int, int] = {}  # sequence -> how many descriptions it has
        self._named: dict[int, int] = {}  # sequence -> how many functions it has named
        self._waiting: dict[int, list[int]] = {}  # lane -> the holes that are still to come
        self._tasks: dict[int, tuple[int, str | None]] = {}
        self._ends: dict[int, bool] = {}
        self._tied = -1  # the time of the latest pair; trace_processor ignores a repeated one
        self.nameless: set[int] = (
            set()
        )  # tasks whose name has no place, as their process is unknown

    def packets(self, encoded: Encoded) -> Iterator[bytes]:
        """The events of a batch."""
        lane = encoded.lane
        cuts = np.concatenate([[0], np.flatnonzero(np.diff(lane)) + 1, [len(lane)]])
        for begin, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            if begin == end:
                continue
            holes = self._holes(int(lane[begin]), encoded.seq[begin:end])
            bounds = sorted({*range(begin, end, BUNDLE_EVENTS), *(begin + at for at in holes), end})
            for low, high in pairwise(bounds):
                data = encoded.data[encoded.bounds[low] : encoded.bounds[high]]
                yield self._packet(
                    int(lane[begin]), data.tobytes(), lost=low - begin in holes,
                    first_ns=int(encoded.ts_ns[low]),
                )  # fmt: skip

    def rest(self) -> Iterator[bytes]:
        """The holes behind the last event of a CPU, and the counters."""
        for place in sorted(self._losses.places(), key=repr):
            self._holes(self._events.lane(*place), np.empty(0, dtype=np.int64))
        for lane in sorted(self._waiting):
            if self._waiting[lane] or self._ends[lane]:
                yield self._packet(lane, b"", lost=True, first_ns=0)
        if self._losses.counts:
            yield self._stats()

    def tasks(self, events: pl.DataFrame) -> bytes:
        """A packet that names the tasks of *events* that are new, or have a new name.

        Tasks of unknown process are left out: no process may be made up for them.
        """
        lost = (pl.col("tid") > 0) & pl.col("tgid").is_null() & pl.col("comm").is_not_null()
        self.nameless.update(events.filter(lost)["tid"].unique().to_list())
        known = pl.col("tgid").is_not_null() & (pl.col("tid") > 0)
        rows = events.filter(known).select("tid", "tgid", "comm").unique(
            maintain_order=True
        )  # fmt: skip
        tree = pb.ProcessTree()
        for tid, tgid, comm in rows.iter_rows():
            if self._tasks.get(tid) == (tgid, comm) or (comm is None and tid in self._tasks):
                continue
            self._tasks[tid] = tgid, comm
            if tid == tgid:
                names = [] if comm is None else [comm]
                tree.processes.add(pid=tid, cmdline=names, cmdline_is_comm=True)
            else:
                tree.threads.add(tid=tid, tgid=tgid, name=comm)
        if not tree.processes and not tree.threads:
            return b""
        first = events["ts_ns"].min()
        packet = pb.TracePacket(
            timestamp=max(0, int(first)) if isinstance(first, int) else 0,
            trusted_packet_sequence_id=self._sequence(None), process_tree=tree,
        )  # fmt: skip
        return delimited(TRACE_PACKET, packet.SerializeToString(deterministic=True))

    def _sequence(self, buffer: str | None) -> int:
        return self._sequences.setdefault(buffer, self._first_sequence + len(self._sequences))

    def _holes(self, lane: int, seq: Ints) -> set[int]:
        """Before which of the events *seq* of a lane there is a hole: their positions."""
        found: set[int] = set()
        place = next(one for one, number in self._events.lanes.items() if number == lane)
        if lane not in self._waiting:
            before, at_start, at_end = self._losses.of_lane(place)
            self._waiting[lane], self._ends[lane] = before, at_end
            if at_start:
                found.add(0)
        if seq.size:
            waiting = np.array(self._waiting[lane], dtype=np.int64)
            at = np.searchsorted(seq, waiting)
            found |= set(at[at < seq.size].tolist())
            self._waiting[lane] = waiting[at == seq.size].tolist()
        elif found:
            self._ends[lane] = True
        return found

    def _packet(self, lane: int, events: bytes, *, lost: bool, first_ns: int) -> bytes:
        buffer, cpu = next(one for one, number in self._events.lanes.items() if number == lane)
        sequence = self._sequence(buffer)
        begins = sequence not in self._named
        bundle = pb.FtraceEventBundle(cpu=cpu)
        if lost:
            bundle.lost_events = True
        if self._clock is not None:
            bundle.ftrace_clock = self._clock
            if begins:
                # One pair of times ties the clock to Perfetto's default one: they are the same.
                self._tied = max(first_ns, self._tied + 1)
                bundle.ftrace_timestamp = bundle.boot_timestamp = self._tied
        described = self._events.kinds.descriptions
        bundle.generic_event_descriptors.extend(described[self._described.get(sequence, 0) :])
        self._described[sequence] = len(described)
        packet = pb.TracePacket(
            trusted_packet_sequence_id=sequence,
            sequence_flags=NEEDS_STATE | (CLEARED if begins else 0),
        )
        if begins:
            packet.first_packet_on_sequence = True
        names = list(self._events.symbols.items())[self._named.get(sequence, 0) :]
        for name, iid in names:
            packet.interned_data.kernel_symbols.add(iid=iid, str=name.encode())
        self._named[sequence] = len(self._events.symbols)
        content = bundle.SerializeToString(deterministic=True) + events
        head = packet.SerializeToString(deterministic=True)
        field_number = number("TracePacket", "ftrace_events")
        return delimited(TRACE_PACKET, head + delimited(field_number, content))

    def _stats(self) -> bytes:
        stats = pb.FtraceStats(phase=pb.FtraceStats.END_OF_TRACE)
        by_cpu: dict[int, Any] = {}
        for (kind, cpu), count in sorted(self._losses.counts.items()):
            if kind == "kprobe_missed":
                stats.kprobe_stats.misses = count
                continue
            if cpu not in by_cpu:
                by_cpu[cpu] = stats.cpu_stats.add(cpu=cpu)
            setattr(by_cpu[cpu], kind, count)
        packet = pb.TracePacket(
            trusted_packet_sequence_id=self._sequence(None), ftrace_stats=stats
        )  # fmt: skip
        return delimited(TRACE_PACKET, packet.SerializeToString(deterministic=True))

"""The packet sequence of the analysis: its number, its clock, its tracks, its interned strings.

Numbers that another packet of the trace may use are checked against those that it does use: the
sequence's id and the uuids of tracks; flow ids are 64 bits of a hash. Everything is made from the
content, so that the same input gives the same bytes.

Sources of truth: protos/perfetto/trace/{trace_packet,clock_snapshot,interned_data/interned_data}
.proto; docs/reference/synthetic-track-event.md of Perfetto.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.protobuf_columns import (
    TRACE_PACKET,
    Double,
    Message,
    Number,
    encoded,
    number,
    packet,
)

if TYPE_CHECKING:
    from collections.abc import Sequence as Many

    from traceview.byte_columns import Ints, Mask
    from traceview.protobuf_columns import Part
    from traceview.report.perfetto.output import Output

BOOTTIME: Final = 6  # BuiltinClock
MONOTONIC_RAW: Final = 5
OWN_CLOCK: Final = 64  # the first clock id that a sequence may define
CLEARED, NEEDS_STATE = 1, 2
INTERNED: Final = ("event_names", "debug_annotation_names", "debug_annotation_string_values")
EVENT: Final = pb.TrackEvent
ANNOTATION_KINDS: Final = {
    "int": "int_value", "double": "double_value", "pointer": "pointer_value",
    "text": "string_value_iid",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Taken:
    """What the packets of the input use, which ours must not; and the clock of its events.

    `clock`: FtraceClock of its bundles. `snapshots`: times of that clock and of the boot clock.
    """

    sequences: frozenset[int] = frozenset()
    uuids: frozenset[int] = frozenset()
    clock: int = 0
    snapshots: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Annotation:
    """A fact of each event, under its name; kind `text` holds strings, null where absent."""

    name: str
    kind: str
    values: pl.Series


@dataclass(slots=True)
class Sequence:
    """Writes packets of one sequence, and what they refer to before them."""

    salt: bytes
    taken: Taken
    output: Output
    _interned: dict[str, dict[str, int]] = field(
        default_factory=lambda: {table: {} for table in INTERNED}
    )
    _new: Any = None
    _tracks: list[Any] = field(default_factory=list)
    _uuids: set[int] = field(default_factory=set)
    id: int = 0

    def __post_init__(self) -> None:
        """Choose a number that no other packet uses."""
        self.id = self._free("sequence", self.taken.sequences, bits=31)

    def begin(self) -> None:
        """Write the first packets: state begins here, and the clock of all that follows."""
        clocks = {0: BOOTTIME, 4: MONOTONIC_RAW}
        clock = clocks.get(self.taken.clock, OWN_CLOCK if self.taken.snapshots else BOOTTIME)
        first = pb.TracePacket(
            trusted_packet_sequence_id=self.id, sequence_flags=CLEARED | NEEDS_STATE,
            first_packet_on_sequence=True,
            trace_packet_defaults=pb.TracePacketDefaults(timestamp_clock_id=clock),
        )  # fmt: skip
        self.output.state(packet(first))
        if clock == OWN_CLOCK:
            for ftrace_ns, boot_ns in self.taken.snapshots:
                snapshot = pb.ClockSnapshot()
                snapshot.clocks.add(clock_id=OWN_CLOCK, timestamp=ftrace_ns)
                snapshot.clocks.add(clock_id=BOOTTIME, timestamp=boot_ns)
                self.output.state(packet(self._packet(clock_snapshot=snapshot)))

    def track(
        self, *path: object, name: str, parent: int = 0, rank: int = 0, description: str = "",
        **kind: Any,
    ) -> int:  # fmt: skip
        """A new track: its uuid. *path* tells it from the others; *kind*: fields that say more."""
        uuid = self._free(repr(path), self.taken.uuids | self._uuids)
        self._uuids.add(uuid)
        track = pb.TrackDescriptor(
            uuid=uuid, name=name, sibling_order_rank=rank,
            child_ordering=pb.TrackDescriptor.EXPLICIT,
            sibling_merge_behavior=pb.TrackDescriptor.SIBLING_MERGE_BEHAVIOR_NONE, **kind,
        )  # fmt: skip
        if parent:
            track.parent_uuid = parent
        if description:
            track.description = description
        self._tracks.append(track)
        return uuid

    def flow(self, ids: Ints) -> Any:
        """The ids of flows, 64 bits each, by number."""
        base = np.uint64(self._free("flow", frozenset()))
        mixed = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + base  # a bijection
        return np.where(mixed == 0, base, mixed)

    def name(self, text: str) -> int:
        """The interned id of an event's name."""
        return self._intern("event_names", text)

    def names(self, column: pl.Series) -> Ints:
        """The interned ids of events' names."""
        return self._intern_all("event_names", column)

    def flush(self) -> None:
        """Write descriptions of tracks and strings that were not yet written."""
        for one in self._tracks:
            self.output.state(packet(self._packet(track_descriptor=one)))
        self._tracks = []
        if self._new is not None:
            self.output.state(packet(self._packet(interned_data=self._new)))
            self._new = None

    def slices(self, track: Any, start: Ints, end: Ints, name: Ints, said: Many[Part] = ()) -> None:
        """Slices, in order on each track; *said*: further fields of the event that begins each."""
        rows = len(start)
        begins = self._events(start, EVENT.TYPE_SLICE_BEGIN, track, [_named(name), *said])
        ends = self._events(end, EVENT.TYPE_SLICE_END, track)
        at = np.arange(rows) * 2
        self._write([(at, begins), (at + 1, ends)], np.stack([start, end], axis=1).reshape(-1))

    def edges(self, track: int, at: Ints, name: Ints) -> None:
        """Begins (with a name) and ends (without: 0) of slices of one track, in their order."""
        begin = np.flatnonzero(name)
        end = np.flatnonzero(name == 0)
        begins = self._events(
            at[begin], EVENT.TYPE_SLICE_BEGIN, _all(track, begin), [_named(name[begin])]
        )
        ends = self._events(at[end], EVENT.TYPE_SLICE_END, _all(track, end))
        self._write([(begin, begins), (end, ends)], at)

    def instants(self, track: Any, at: Ints, name: Ints, said: Many[Part] = ()) -> None:
        """Instants."""
        events = self._events(at, EVENT.TYPE_INSTANT, track, [_named(name), *said])
        self._write([(None, events)], at)

    def counter(self, track: int, at: Ints, values: Any) -> None:
        """The values of a counter: whole numbers, or doubles."""
        whole = np.issubdtype(values.dtype, np.integer)
        part = Number if whole else Double
        field_name = "counter_value" if whole else "double_counter_value"
        said = part(number("TrackEvent", field_name), values)
        events = self._events(at, EVENT.TYPE_COUNTER, _all(track, at), [said])
        self._write([(None, events)], at)

    def annotations(self, facts: Many[Annotation]) -> list[Part]:
        """Debug annotations, one after the other; a fact that an event has not is left out."""
        found: list[Part] = []
        for fact in facts:
            present = fact.values.is_not_null().to_numpy()
            if not present.any():
                continue
            iid = self._intern("debug_annotation_names", fact.name)
            name = np.full(len(present), iid)
            parts = [
                Number(number("DebugAnnotation", "name_iid"), name, present),
                self._value(fact, present),
            ]
            found.append(Message(number("TrackEvent", "debug_annotations"), parts, present))
        return found

    def _value(self, fact: Annotation, present: Mask) -> Part:
        at = number("DebugAnnotation", ANNOTATION_KINDS[fact.kind])
        if fact.kind == "double":
            return Double(at, fact.values.fill_null(0.0).to_numpy().astype(np.float64), present)
        if fact.kind == "text":
            texts = self._intern_all("debug_annotation_string_values", fact.values.fill_null(""))
            return Number(at, texts, present)
        values = fact.values.fill_null(0)
        values = values.reinterpret(signed=True) if values.dtype == pl.UInt64 else values
        return Number(at, values.cast(pl.Int64).to_numpy(), present)

    def _events(self, at: Ints, kind: int, track: Any, said: Many[Part] = ()) -> Part:
        rows = len(at)
        event = [
            Number(number("TrackEvent", "type"), np.full(rows, kind)),
            Number(number("TrackEvent", "track_uuid"), track),
            *said,
        ]
        return Message(
            TRACE_PACKET,
            [
                Number(number("TracePacket", "timestamp"), at),
                Number(number("TracePacket", "trusted_packet_sequence_id"), np.full(rows, self.id)),
                Number(number("TracePacket", "sequence_flags"), np.full(rows, NEEDS_STATE)),
                Message(number("TracePacket", "track_event"), event),
            ],
        )

    def _write(self, parts: list[tuple[Ints | None, Part]], ts_ns: Ints) -> None:
        """Write packets, behind what they refer to."""
        self.flush()
        if len(ts_ns):
            data, bounds = encoded(parts, len(ts_ns))
            self.output.events(data, bounds, ts_ns)

    def _packet(self, **fields: Any) -> Any:
        return pb.TracePacket(
            trusted_packet_sequence_id=self.id, sequence_flags=NEEDS_STATE, **fields
        )

    def _intern(self, table: str, text: str) -> int:
        known = self._interned[table]
        if text not in known:
            known[text] = len(known) + 1
            self._new = pb.InternedData() if self._new is None else self._new
            strings = getattr(self._new, table)
            if table == "debug_annotation_string_values":
                strings.add(iid=known[text], str=text.encode())
            else:
                strings.add(iid=known[text], name=text)
        return known[text]

    def _intern_all(self, table: str, column: pl.Series) -> Ints:
        texts = column.cast(pl.String)
        distinct = texts.unique(maintain_order=True)
        iids = [self._intern(table, text) for text in distinct]
        found = texts.replace_strict(distinct, iids, return_dtype=pl.Int64) if iids else texts
        return found.cast(pl.Int64).to_numpy()

    def _free(self, what: str, taken: frozenset[int] | set[int], bits: int = 63) -> int:
        """A number of so many bits that is not taken, from *what*."""
        for attempt in range(len(taken) + 2):
            digest = hashlib.sha256(self.salt + f"{what} {attempt}".encode("utf-8", "replace"))
            found = int.from_bytes(digest.digest()[:8], "big") >> (64 - bits)
            if found and found not in taken:
                return found
        raise AssertionError("more numbers were tried than are taken")


def _named(name: Ints) -> Part:
    return Number(number("TrackEvent", "name_iid"), name)


def _all(track: int, of: Ints) -> Any:
    return np.full(len(of), track, dtype=np.uint64)

"""What a Perfetto trace uses up, for whoever adds packets to it.

The ids of its packet sequences and the uuids of its tracks (also of packets inside compressed
ones), the clock of its ftrace events with the snapshots that tie it to the boot clock, where its
bundles of ftrace events lie and when they begin, and where its last whole packet ends: behind a
cut packet nothing can be read. Sources of truth: protos/perfetto/trace/{trace_packet,
ftrace/ftrace_event_bundle,track_event/track_descriptor}.proto.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from google.protobuf.message import DecodeError
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.parsers.perfetto_bundles import (
    FTRACE_CLOCK,
    event_elements,
    first_ns,
    read_bundle,
)
from traceview.parsers.perfetto_index import BUNDLE, FIELDS, MAX_NESTING, SEQUENCE, ZLIB, ZSTD
from traceview.parsers.perfetto_packets import Damage, inflated, read_fields, windows
from traceview.parsers.perfetto_wire import LENGTH, VARINT, follow
from traceview.parsers.source import drop_pages

if TYPE_CHECKING:
    from traceview.parsers.perfetto_bundles import Bundle
    from traceview.parsers.perfetto_packets import Window
    from traceview.parsers.perfetto_wire import Blob, Elements, Field

TRACK: Final = FIELDS["track_descriptor"]
FTRACE_TIMESTAMP: Final = 6
BOOT_TIMESTAMP: Final = 7
WIRES: Final = {
    SEQUENCE: VARINT, TRACK: LENGTH, BUNDLE: LENGTH, ZLIB: LENGTH, ZSTD: LENGTH,
}  # fmt: skip


def read_taken(view: memoryview) -> Taken:
    """What the trace with the bytes *view* uses."""
    taken, damage = Taken(), Damage()
    for window in windows(view, damage):
        taken.take(window)
        drop_pages(view)
    taken.end = len(view) if damage.truncated_at is None else damage.truncated_at
    return taken


@dataclass(slots=True)
class Taken:
    """`end`: behind the last whole packet. `snapshots`: times of the ftrace and the boot clock.

    `first`: where the first packet with a bundle begins; `ends` and `begins_ns`: where each of
    them ends (that of the packet in the file, if it was compressed), and the time of its bundle.
    """

    end: int = 0
    first: int | None = None
    ends: list[int] = field(default_factory=list)
    begins_ns: list[int] = field(default_factory=list)
    sequences: set[int] = field(default_factory=set)
    uuids: set[int] = field(default_factory=set)
    clocks: set[int] = field(default_factory=set)
    snapshots: dict[int, int] = field(default_factory=dict)

    def take(self, window: Window, inside: tuple[int, int] | None = None, nesting: int = 0) -> None:
        """Take in the packets of *window*; those *inside* a compressed one lie where it lies."""
        blob, packets = window.blob, read_fields(window, WIRES).fields
        self.sequences.update(np.unique(packets.value[packets.number == SEQUENCE]).tolist())
        rest = packets.take(np.flatnonzero(packets.number != SEQUENCE))
        found: Elements | None = None
        tags = np.concatenate([[0], window.stop[:-1]])  # packets follow one another
        at, behind = tags[rest.row].tolist(), window.stop[rest.row].tolist()
        rows = (rest.number.tolist(), rest.payload.tolist(), rest.value.tolist(), at, behind)
        for number, start, length, begin, end in zip(*rows, strict=True):
            place = inside or (window.offset + begin, window.offset + end)
            content = blob.raw[start : start + length]
            if number == BUNDLE:
                found = found or event_elements(blob)
                self._bundle(blob, read_bundle(blob, found, start, start + length), place)
                self._clock(follow(blob, found, start, start + length).others)
            elif number == TRACK:
                self._track(content)
            elif nesting < MAX_NESTING:
                self._unpack(content, place, nesting, zstd=number == ZSTD)

    def _unpack(self, content: bytes, place: tuple[int, int], nesting: int, *, zstd: bool) -> None:
        """Packets inside a compressed one; what cannot be read takes nothing."""
        with contextlib.suppress(ValueError):
            unpacked = memoryview(inflated(content, zstd=zstd))
            for window in windows(unpacked, Damage()):
                self.take(window, place, nesting + 1)

    def _track(self, content: bytes) -> None:
        with contextlib.suppress(DecodeError):
            self.uuids.add(pb.TrackDescriptor.FromString(content).uuid)

    def _bundle(self, blob: Blob, bundle: Bundle, place: tuple[int, int]) -> None:
        begins_ns = first_ns(blob, bundle)
        if begins_ns is not None:
            self.first = place[0] if self.first is None else self.first
            self.ends.append(place[1])
            self.begins_ns.append(begins_ns)

    def _clock(self, fields: list[Field]) -> None:
        """The fields of a bundle but its events."""
        said = {one.number: one.value for one in fields if one.wire == VARINT}
        self.clocks.add(said.get(FTRACE_CLOCK, 0))
        ftrace_ns, boot_ns = said.get(FTRACE_TIMESTAMP), said.get(BOOT_TIMESTAMP)
        if ftrace_ns is not None and boot_ns is not None:
            self.snapshots.setdefault(ftrace_ns, boot_ns)

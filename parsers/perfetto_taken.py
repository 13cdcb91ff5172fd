"""What a Perfetto trace uses up, for whoever appends packets to it.

The ids of its packet sequences and the uuids of its tracks (also of packets inside compressed
ones), the clock of its ftrace events with the snapshots that tie it to the boot clock, and where
its last whole packet ends: a trace is a concatenation of packets, and behind a cut one nothing
can be read. Sources of truth: protos/perfetto/trace/{trace_packet,ftrace/ftrace_event_bundle,
track_event/track_descriptor}.proto.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from google.protobuf.message import DecodeError
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.parsers.perfetto_bundles import EVENT_TAG, FTRACE_CLOCK
from traceview.parsers.perfetto_index import BUNDLE, FIELDS, MAX_NESTING, SEQUENCE, ZLIB, ZSTD
from traceview.parsers.perfetto_packets import Damage, inflated, read_fields, windows
from traceview.parsers.perfetto_wire import LENGTH, VARINT, field_at
from traceview.parsers.source import drop_pages

if TYPE_CHECKING:
    from traceview.parsers.perfetto_packets import Window
    from traceview.parsers.perfetto_wire import Blob

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
    """`end`: behind the last whole packet. `snapshots`: times of the ftrace and the boot clock."""

    end: int = 0
    sequences: set[int] = field(default_factory=set)
    uuids: set[int] = field(default_factory=set)
    clocks: set[int] = field(default_factory=set)
    snapshots: dict[int, int] = field(default_factory=dict)

    def take(self, window: Window, nesting: int = 0) -> None:
        """Take in the packets of *window*, which lie in so many compressed ones."""
        blob, fields = window.blob, read_fields(window, WIRES).fields
        self.sequences.update(np.unique(fields.value[fields.number == SEQUENCE]).tolist())
        rest = fields.take(np.flatnonzero(fields.number != SEQUENCE))
        rows = (rest.number.tolist(), rest.payload.tolist(), rest.value.tolist())
        for number, start, length in zip(*rows, strict=True):
            if number == BUNDLE:
                self._bundle(blob, start, start + length)
                continue
            content = blob.raw[start : start + length]
            if number == TRACK:
                self._track(content)
            elif nesting < MAX_NESTING:
                self._unpack(content, nesting, zstd=number == ZSTD)

    def _unpack(self, content: bytes, nesting: int, *, zstd: bool) -> None:
        """Packets inside a compressed one; what cannot be read takes nothing."""
        with contextlib.suppress(ValueError):
            unpacked = memoryview(inflated(content, zstd=zstd))
            for window in windows(unpacked, Damage()):
                self.take(window, nesting + 1)

    def _track(self, content: bytes) -> None:
        with contextlib.suppress(DecodeError):
            self.uuids.add(pb.TrackDescriptor.FromString(content).uuid)

    def _bundle(self, blob: Blob, at: int, stop: int) -> None:
        """What stands before the events of a bundle."""
        head: dict[int, int] = {}
        while at < stop and blob.raw[at] != EVENT_TAG:
            found = field_at(blob, at, stop)
            if found is None:
                return
            head[found[0].number], at = found[0].value, found[1]
        self.clocks.add(head.get(FTRACE_CLOCK, 0))
        ftrace_ns, boot_ns = head.get(FTRACE_TIMESTAMP), head.get(BOOT_TIMESTAMP)
        if ftrace_ns is not None and boot_ns is not None:
            self.snapshots.setdefault(ftrace_ns, boot_ns)

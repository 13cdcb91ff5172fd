"""The first pass over a Perfetto trace: everything but the events.

Perfetto reads one CPU's buffer after the other, so a file is not in time order. The index notes
for each bundle where it lies and when it begins; the second pass takes the bundles in that order
and so needs no more memory than those that overlap, even where each CPU was read once at the very
end. What events refer to (symbols, self-describing events, tasks, the clock) is
known before the first event is decoded, wherever it stands in the file.

Function symbols are interned: a number stands for a name within one packet sequence, until that
sequence clears its incremental state or loses a packet. Each such stretch is an `epoch`.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from google.protobuf.message import DecodeError
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.parsers.perfetto_bundles import event_elements, first_ns, read_bundle
from traceview.parsers.perfetto_host import MESSAGES, Host
from traceview.parsers.perfetto_packets import Damage, inflated, read_fields, windows
from traceview.parsers.perfetto_wire import LENGTH, VARINT
from traceview.parsers.source import drop_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.parsers.columns import Ints
    from traceview.parsers.names import Names
    from traceview.parsers.perfetto_bundles import Bundle
    from traceview.parsers.perfetto_kinds import Kinds
    from traceview.parsers.perfetto_packets import Window
    from traceview.parsers.perfetto_wire import Blob, Elements

FIELDS: Final = {one.name: one.number for one in pb.TracePacket.DESCRIPTOR.fields}
BUNDLE: Final = FIELDS["ftrace_events"]
SEQUENCE: Final = FIELDS["trusted_packet_sequence_id"]
INTERNED: Final = FIELDS["interned_data"]
FLAGS: Final = FIELDS["sequence_flags"]
CLEARED: Final = FIELDS["incremental_state_cleared"]
DROPPED: Final = FIELDS["previous_packet_dropped"]
MACHINE: Final = FIELDS["machine_id"]
ZLIB: Final = FIELDS["compressed_packets"]
ZSTD: Final = FIELDS["zstd_compressed_packets"]
READ_BY_HOST: Final = {FIELDS[name]: name for name in MESSAGES}
DATA: Final = (BUNDLE, ZLIB, ZSTD, *READ_BY_HOST)
WIRES: Final = {
    **dict.fromkeys((*DATA, INTERNED), LENGTH),
    **dict.fromkeys((SEQUENCE, FLAGS, CLEARED, DROPPED, MACHINE), VARINT),
}
SEQ_INCREMENTAL_STATE_CLEARED: Final = 1
MAX_IID: Final = 1 << 20  # Perfetto counts the symbols of one read from 1
MAX_NESTING: Final = 2

Packet = dict[int, tuple[int, int]]  # field number -> value (or length), position of the payload


@dataclass(slots=True)
class Bundles:
    """Where the bundles lie: parallel columns, in file order."""

    offset: array[int] = field(default_factory=lambda: array("q"))
    length: array[int] = field(default_factory=lambda: array("q"))
    spooled: array[int] = field(default_factory=lambda: array("b"))
    sequence: array[int] = field(default_factory=lambda: array("q"))
    cpu: array[int] = field(default_factory=lambda: array("q"))
    epoch: array[int] = field(default_factory=lambda: array("q"))
    needed_ns: array[int] = field(default_factory=lambda: array("q"))

    def in_order(self) -> Ints:
        """The bundles in the order in which they are needed."""
        return np.argsort(np.array(self.needed_ns, dtype=np.int64), kind="stable")


@dataclass(slots=True)
class Epochs:
    """Symbols by interned id, for each stretch of a sequence in which ids keep their meaning."""

    symbols: list[dict[int, int]] = field(default_factory=list)  # epoch -> iid -> code of the name
    _current: dict[int, int] = field(default_factory=dict)  # sequence -> epoch

    def of(self, sequence: int, *, cleared: bool) -> int:
        """The epoch of a packet of *sequence*; *cleared*: it begins a new one."""
        if cleared or sequence not in self._current:
            self._current[sequence] = len(self.symbols)
            self.symbols.append({})
        return self._current[sequence]

    def forget(self) -> None:
        """Packets of an unknown sequence are missing: what any sequence means is uncertain."""
        self._current.clear()


@dataclass(slots=True)
class Index:
    """What the first pass found."""

    view: memoryview
    names: Names
    kinds: Kinds
    host: Host = field(default_factory=Host)
    bundles: Bundles = field(default_factory=Bundles)
    epochs: Epochs = field(default_factory=Epochs)
    damage: Damage = field(default_factory=Damage)
    other_machines: int = 0
    _spool: int | None = None
    _spooled_bytes: int = 0
    _described: set[tuple[int, bytes]] = field(default_factory=set)
    _last: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    def build(self, progress: Callable[[float], None]) -> None:
        """Read the file from start to end."""
        size, places = max(1, len(self.view)), 0
        for window in windows(self.view, self.damage):
            if len(self.damage.places) > places:
                self.epochs.forget()
            self._read(window)
            places = len(self.damage.places)
            drop_pages(self.view)
            progress(min(1.0, (window.offset + window.blob.size) / size))

    def content(self, bundle: int) -> bytes | memoryview:
        """The bytes of a bundle."""
        offset, length = self.bundles.offset[bundle], self.bundles.length[bundle]
        if self.bundles.spooled[bundle]:
            assert self._spool is not None
            return os.pread(self._spool, length, offset)
        return self.view[offset : offset + length]

    def close(self) -> None:
        """Give back what was unpacked."""
        if self._spool is not None:
            os.close(self._spool)
            self._spool = None

    def _read(self, window: Window, *, inside: int | None = None, nesting: int = 0) -> None:
        """Take in the packets of a window; *inside* the compressed packet there, if in one."""
        found: Elements | None = None
        for at, packet in self._packets(window):
            offset = window.offset + at if inside is None else inside
            if packet is None:
                self._miss(offset, "this packet is damaged")
                continue
            if MACHINE in packet:
                self.other_machines += BUNDLE in packet
                continue
            epoch = self._epoch(packet)
            for number, (length, payload) in packet.items():
                if number == BUNDLE:
                    found = found or event_elements(window.blob)
                    self._bundle(window, found, packet, epoch, inside)
                elif number in READ_BY_HOST:
                    content = window.blob.raw[payload : payload + length]
                    self.host.read(READ_BY_HOST[number], content, packet[SEQUENCE][0])
                elif number in (ZLIB, ZSTD):
                    content = window.blob.raw[payload : payload + length]
                    self._unpack(content, offset, number == ZSTD, nesting)

    def _packets(self, window: Window) -> Iterator[tuple[int, Packet | None]]:
        """The packets with data that is read here, and None for those that are damaged.

        Each comes with its position in the window.
        """
        packets = read_fields(window, WIRES)
        fields, bad = packets.fields, packets.bad
        useful = np.zeros(len(window.start), dtype=np.bool_)
        useful[fields.row[np.isin(fields.number, DATA)]] = True
        rows = np.flatnonzero(useful | bad)
        first = np.searchsorted(fields.row, rows).tolist()
        last = np.searchsorted(fields.row, rows, side="right").tolist()
        number, value, payload = (
            column.tolist() for column in (fields.number, fields.value, fields.payload)
        )
        for row, begin, end in zip(rows.tolist(), first, last, strict=True):
            at = int(window.start[row])
            if bad[row]:
                yield at, None
                continue
            packet: Packet = {SEQUENCE: (0, 0)}
            for i in range(begin, end):
                packet[number[i]] = (value[i], payload[i])
            yield at, packet

    def _epoch(self, packet: Packet) -> int:
        """The epoch of a packet, which may begin a new one."""
        flags = packet.get(FLAGS, (0, 0))[0] & SEQ_INCREMENTAL_STATE_CLEARED
        cleared = flags or any(packet.get(number, (0, 0))[0] for number in (CLEARED, DROPPED))
        return self.epochs.of(packet[SEQUENCE][0], cleared=bool(cleared))

    def _bundle(
        self, window: Window, found: Elements, packet: Packet, epoch: int, inside: int | None
    ) -> None:
        """Note a bundle, and learn what its packet says about names."""
        blob = window.blob
        length, start = packet[BUNDLE]
        sequence = packet[SEQUENCE][0]
        if INTERNED in packet:
            self._learn_symbols(blob, epoch, packet[INTERNED])
        bundle = read_bundle(blob, found, start, start + length)
        if bundle.damaged_at is not None or bundle.cpu is None:
            at = window.offset + (bundle.damaged_at or start) if inside is None else inside
            self.damage.add(at, "this bundle of events is damaged")
        if bundle.cpu is None:
            return
        for begin, end in bundle.descriptors:
            key = (sequence, blob.raw[begin:end])
            if key not in self._described:
                self._described.add(key)
                self.kinds.describe(*key)
        self.host.clocks.add(bundle.clock)
        bundles = self.bundles
        if inside is None:
            bundles.offset.append(window.offset + start)
        else:
            bundles.offset.append(self._spool_out(blob.raw[start : start + length]))
        bundles.length.append(length)
        bundles.spooled.append(inside is not None)
        bundles.sequence.append(sequence)
        bundles.cpu.append(bundle.cpu)
        bundles.epoch.append(epoch)
        bundles.needed_ns.append(self._needed_ns(blob, bundle, (sequence, bundle.cpu)))

    def _needed_ns(self, blob: Blob, bundle: Bundle, stream: tuple[int, int]) -> int:
        """When the second pass needs the bundle: none of its events is earlier.

        That is where the CPU's bundle before it begins, so that a hole between the two is known
        before the events behind the start of that hole leave.
        """
        first = first_ns(blob, bundle)
        before = self._last.get(stream)
        if before is None:
            first = bundle.previous_end_ns or 0 if first is None else first
            needed = first
            if bundle.lost_events and bundle.previous_end_ns is not None:
                needed = min(first, bundle.previous_end_ns)
        else:
            first = before[0] if first is None else first
            needed = max(before[1], min(before[0], first))
        self._last[stream] = first, needed
        return needed

    def _learn_symbols(self, blob: Blob, epoch: int, span: tuple[int, int]) -> None:
        length, start = span
        try:
            interned = pb.InternedData.FromString(blob.raw[start : start + length])
        except DecodeError:
            self.host.unreadable += 1
            return
        symbols = self.epochs.symbols[epoch]
        for symbol in interned.kernel_symbols:
            if symbol.iid < MAX_IID:
                name = symbol.str.decode("utf-8", "replace")
                symbols[symbol.iid] = self.names.code(name)

    def _unpack(self, content: bytes, offset: int, zstd: bool, nesting: int) -> None:  # noqa: FBT001
        """Read the packets inside a compressed one."""
        inner = Damage()
        if nesting == MAX_NESTING:
            self._miss(offset, "these compressed packets are nested too deeply")
            return
        try:
            unpacked = memoryview(inflated(content, zstd=zstd))
        except ValueError as err:
            self._miss(offset, f"these compressed packets cannot be unpacked: {err}")
            return
        for window in windows(unpacked, inner):
            if inner.places:
                self.epochs.forget()
            self._read(window, inside=offset, nesting=nesting + 1)
        if inner.places or inner.truncated_at is not None:
            self._miss(offset, "these compressed packets are damaged")

    def _miss(self, offset: int, what: str) -> None:
        """Packets of unknown sequences are missing."""
        self.damage.add(offset, what)
        self.epochs.forget()

    def _spool_out(self, content: bytes) -> int:
        """Keep unpacked bytes in an unnamed file; returns where."""
        if self._spool is None:
            with tempfile.TemporaryFile(prefix="traceview-") as spool:
                self._spool = os.dup(spool.fileno())
        offset = self._spooled_bytes
        os.pwrite(self._spool, content, offset)
        self._spooled_bytes += len(content)
        return offset

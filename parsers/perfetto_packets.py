"""A Perfetto trace -> its TracePackets, in windows, whatever is damaged between them.

A trace is a sequence of `0A length packet`: field 1 of the message Trace, without end. Where the
chain of lengths breaks, the next packet is looked for: a place from which packets follow that
make sense. Packets inside `compressed_packets` (zlib) and `zstd_compressed_packets` are unpacked
by the caller (see `inflated`). Source of truth: protos/perfetto/trace/{trace,trace_packet}.proto.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import zstandard

from traceview.parsers.perfetto_wire import (
    LENGTH,
    MAX_FIELDS,
    VARINT,
    Blob,
    elements,
    field_at,
    follow,
    joined,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.parsers.columns import Flags, Ints
    from traceview.parsers.perfetto_wire import Step

PACKET_TAG: Final = 0x0A
WINDOW_BYTES: Final = 4 * 1024 * 1024
# Where so much is broken the file is no trace any more; looking on would take for ever.
MAX_DAMAGES: Final = 200
# A packet of compressed packets is made of at most 512 KiB (trace_packet.proto); this is ample.
MAX_INFLATED_BYTES: Final = 64 * 1024 * 1024
# Packets that must follow one another before a place counts as the start of one.
HOPS: Final = 3
# The wire types of TracePacket's first fields, by number from 1: what tells it from other messages.
FIRST_WIRES: Final = (
    LENGTH, LENGTH, VARINT, LENGTH, LENGTH, LENGTH, LENGTH, VARINT, LENGTH, VARINT, LENGTH, LENGTH,
    VARINT,
)  # fmt: skip
SEQUENCE_ID: Final = 10  # trusted_packet_sequence_id
MAX_PACKET_FIELD: Final = 1000


@dataclass(slots=True)
class Damage:
    """What could not be read: byte offsets in the unpacked file, and what lies there."""

    places: list[tuple[int, str]] = field(default_factory=list)
    truncated_at: int | None = None
    gave_up_at: int | None = None

    def add(self, offset: int, what: str) -> None:
        """Note damage at *offset*."""
        self.places.append((offset, what))

    @property
    def too_much(self) -> bool:
        """Whether to give up."""
        return len(self.places) >= MAX_DAMAGES


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of whole packets: packet i is blob[start[i]:stop[i]], at `offset` in the file."""

    blob: Blob
    offset: int
    start: Ints
    stop: Ints


def windows(view: memoryview, damage: Damage) -> Iterator[Window]:
    """The packets of *view*, in windows of about WINDOW_BYTES; what is skipped goes to *damage*."""
    at, size, want = 0, len(view), WINDOW_BYTES
    while at < size:
        blob = Blob([view[at : at + want]])
        found = elements(blob, PACKET_TAG, ends=True)
        chain = follow(blob, found, 0, blob.size, others=False)
        broken, start, stop = chain.broken_at, chain.start, chain.stop
        if broken is None:
            yield Window(blob, at, start, stop)
            at, want = at + blob.size, WINDOW_BYTES
            continue
        missing = _missing_bytes(blob, broken)
        if missing and at + blob.size + missing <= size:
            if len(start):
                yield Window(blob, at, start, stop)
            at, want = at + broken, max(WINDOW_BYTES, blob.size - broken + missing)
            continue
        if len(start) and _implausible(blob, int(start[-1]), int(stop[-1])):
            broken, start, stop = chain.last_at, start[:-1], stop[:-1]
        if len(start):
            yield Window(blob, at, start, stop)
        at, want = _behind_damage(view, at + broken, damage, cut=bool(missing)), WINDOW_BYTES


def _missing_bytes(blob: Blob, at: int) -> int:
    """How many bytes the packet at *at* wants beyond the blob; 0 where that is not its trouble."""
    if blob.raw[at] != PACKET_TAG:
        return 0
    header = blob.raw[at + 1 : min(at + 11, blob.size)]
    length = 0
    for i, byte in enumerate(header):
        length |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return max(0, at + 2 + i + length - blob.size)
    return 1 if len(header) < 10 else 0


def _behind_damage(view: memoryview, at: int, damage: Damage, *, cut: bool) -> int:
    """Note the damage at *at* and find where packets go on (the end, where they do not).

    *cut*: the packet at *at* is longer than what is left of the file.
    """
    found = resync(view, at + 1)
    if cut and found is None:
        damage.truncated_at = at
        return len(view)
    found = len(view) if found is None else found
    damage.add(at, "no packet begins here")
    if damage.too_much and found < len(view):
        damage.gave_up_at = found
        return len(view)
    return found


def resync(view: memoryview, at: int) -> int | None:
    """The first place at or behind *at* from which plausible packets follow one another."""
    size, want = len(view), 64 * 1024
    while at < size:
        blob = Blob([view[at : at + want]])
        found = elements(blob, PACKET_TAG)
        inner = blob.data[np.minimum(found.start, blob.size)]
        # The first field of a packet: one of the low numbers in one byte, or a number over 15.
        likely = ((inner >= 0x08) & ((inner & 7 == VARINT) | (inner & 7 == LENGTH))) | (
            inner >= 0x80
        )
        for nth in np.flatnonzero(likely).tolist():
            if _goes_on(view, at + found.at[nth]):
                return at + found.at[nth]
        if at + want >= size:
            break
        # Packets that are longer than the window are seen in a wider one that overlaps it.
        at, want = (at, WINDOW_BYTES) if want < WINDOW_BYTES else (at + want // 2, want)
    return None


def _goes_on(view: memoryview, at: int) -> bool:
    """Whether HOPS plausible packets follow from *at*, or fewer that end where the file ends."""
    for _ in range(HOPS):
        if at == len(view):
            return True
        head = Blob([view[at : at + 11]])
        length = _missing_bytes(head, 0)
        end = at + head.size + length
        if head.raw[0] != PACKET_TAG or end > len(view):
            return False
        if not length:
            found = field_at(head, 0, head.size)
            if found is None:
                return False
            end = at + found[1]
        packet = Blob([view[at:end]])
        found = field_at(packet, 0, packet.size)
        if found is None or _implausible(packet, found[0].payload, packet.size, sequence=True):
            return False
        at = end
    return True


def _implausible(blob: Blob, start: int, stop: int, *, sequence: bool = False) -> bool:
    """Whether the bytes are no TracePacket; with *sequence*, they must name their sequence.

    Every packet that the tracing service writes does.
    """
    steps, bad = walk(blob, np.array([start]), np.array([stop]))
    fields = joined(steps)
    if bad[0] or not len(fields.row) or int(fields.number.max()) >= MAX_PACKET_FIELD:
        return True
    seen = dict(zip(fields.number.tolist(), fields.wire.tolist(), strict=True))
    if sequence and SEQUENCE_ID not in seen:
        return True
    return len(seen) < len(fields.row) or any(
        seen.get(number, wire) != wire for number, wire in enumerate(FIRST_WIRES, 1)
    )


def looks_like_packets(head: bytes) -> bool:
    """Whether *head*, the start of a file, is the start of a trace."""
    blob = Blob([head])
    at = whole = 0
    while at < blob.size and whole < HOPS:
        if blob.raw[at] != PACKET_TAG:
            return False
        found = field_at(blob, at, blob.size)
        if found is None:
            return (whole > 0 or _begins_packet(blob, at)) and _missing_bytes(blob, at) > 0
        if found[0].value and _implausible(blob, found[0].payload, found[1]):
            return False
        whole += bool(found[0].value)
        at = found[1]
    return whole > 0


def _begins_packet(blob: Blob, at: int) -> bool:
    """Whether the cut packet at *at* begins as a packet may: with one of the first fields."""
    payload = at + 1
    while blob.raw[payload] >= 0x80:
        payload += 1
    payload += 1
    number, wire = blob.raw[payload] >> 3, blob.raw[payload] & 7
    if number == 1:  # a bundle, which begins with its CPU
        while blob.raw[payload + 1] >= 0x80:
            payload += 1
        return wire == LENGTH and blob.raw[payload + 2] == 0x08
    return 1 < number <= len(FIRST_WIRES) and FIRST_WIRES[number - 1] == wire


@dataclass(frozen=True, slots=True)
class Packets:
    """The fields of a window's packets, one row each, in file order; and which packets are bad."""

    fields: Step
    bad: Flags


def read_fields(window: Window, wires: dict[int, int]) -> Packets:
    """Those fields of the packets that *wires* names (number -> wire type).

    A packet that has one of them with another wire type, or twice, is bad, as is one that does
    not end where it should.
    """
    steps, bad = walk(window.blob, window.start, window.stop)
    fields = joined(steps)
    expected = np.full(MAX_FIELDS, -1)
    expected[list(wires)] = list(wires.values())
    wanted = (fields.number < MAX_FIELDS) & (
        expected[np.minimum(fields.number, MAX_FIELDS - 1)] >= 0
    )
    keep = np.flatnonzero(wanted)
    keep = keep[np.argsort(fields.row[keep], kind="stable")]
    fields = fields.take(keep)
    bad[fields.row[fields.wire != expected[fields.number]]] = True
    key = fields.row * MAX_FIELDS + fields.number
    _, first, count = np.unique(key, return_index=True, return_counts=True)
    bad[fields.row[first[count > 1]]] = True
    return Packets(fields, bad)


def inflated(content: bytes, *, zstd: bool) -> bytes:
    """The packets inside a compressed one. Raises ValueError, with the reason, for bad data."""
    try:
        if zstd:
            with zstandard.ZstdDecompressor().stream_reader(content) as reader:
                found = io.BufferedReader(cast("io.RawIOBase", reader)).read(MAX_INFLATED_BYTES + 1)
        else:
            unpacker = zlib.decompressobj()
            found = unpacker.decompress(content, MAX_INFLATED_BYTES + 1)
            if not unpacker.eof and len(found) <= MAX_INFLATED_BYTES:
                raise ValueError("the compressed data ends early")
    except (zlib.error, zstandard.ZstdError) as err:
        raise ValueError(str(err)) from err
    if len(found) > MAX_INFLATED_BYTES:
        raise ValueError(f"they unpack to more than {MAX_INFLATED_BYTES >> 20} MiB")
    return found

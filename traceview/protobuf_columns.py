"""Many protobuf messages at once: columns in, bytes out.

The generated classes of the `perfetto` package make some hundred thousand small messages a
second; here a message is a list of columns, so that a million cost a few NumPy calls. Sizes are
known before anything is written, and everything is written once. Field numbers come from the
package's descriptors. Source of truth: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.byte_columns import copy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from traceview.byte_columns import Bytes, Ints, Mask, Pool

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
TRACE_PACKET: Final = pb.Trace.DESCRIPTOR.fields_by_name["packet"].number


@cache
def number(message: str, field: str) -> int:
    """The number of *field* in *message* of the package."""
    found: int = getattr(pb, message).DESCRIPTOR.fields_by_name[field].number
    return found


class Part(Protocol):
    """Something of every one of n messages; nothing where its size is 0."""

    size: Ints

    def write(self, out: Bytes, at: Ints) -> None:
        """Write the bytes of every message, from its position *at* on."""
        ...


class Number:
    """A varint field; `present` says which messages have it (None: all)."""

    def __init__(self, field: int, values: Any, present: Mask | None = None) -> None:
        """*values*: integers of 64 bits; negative ones as two's complement."""
        self._tag = tag(field, VARINT)
        self._values = np.ascontiguousarray(values).astype(np.int64, copy=False).view(np.uint64)
        self._present = present
        self.size = varint_size(self._values) + len(self._tag)
        if present is not None:
            self.size = np.where(present, self.size, 0)

    def write(self, out: Bytes, at: Ints) -> None:
        """See Part."""
        values, at = _picked(self._present, self._values, at)
        write_varint(out, write_tag(out, at, self._tag), values)


class Double:
    """A field of 64 fixed bits: doubles, or unsigned numbers as they are."""

    def __init__(self, field: int, values: Any, present: Mask | None = None) -> None:
        """*values*: 8 bytes each."""
        self._tag = tag(field, FIXED64)
        self._values = np.ascontiguousarray(values)
        self._present = present
        size = len(self._tag) + 8
        self.size = np.full(len(self._values), size, dtype=np.int64)
        if present is not None:
            self.size = np.where(present, self.size, 0)

    def write(self, out: Bytes, at: Ints) -> None:
        """See Part."""
        values, at = _picked(self._present, self._values, at)
        at = write_tag(out, at, self._tag)
        raw = np.ascontiguousarray(values).view(np.uint8).reshape(-1, 8)
        for i in range(8):
            out[at + i] = raw[:, i]


class Text:
    """A length-delimited field that holds string *which* of a pool."""

    def __init__(self, field: int, pool: Pool, which: Ints, present: Mask | None = None) -> None:
        """*which*: the number of each message's string."""
        self._tag, self._pool, self._which, self._present = tag(field, LENGTH), pool, which, present
        length = pool.length[which]
        self.size = len(self._tag) + varint_size(length.view(np.uint64)) + length
        if present is not None:
            self.size = np.where(present, self.size, 0)

    def write(self, out: Bytes, at: Ints) -> None:
        """See Part."""
        which, at = _picked(self._present, self._which, at)
        length = self._pool.length[which]
        at = write_varint(out, write_tag(out, at, self._tag), length.view(np.uint64))
        copy(out, at, self._pool.data, self._pool.start[which], length)


class Raw:
    """Fields that are encoded already: string *which* of a pool, as it is."""

    def __init__(self, pool: Pool, which: Ints) -> None:
        """*which*: the number of each message's bytes."""
        self._pool, self._which = pool, which
        self.size = pool.length[which]

    def write(self, out: Bytes, at: Ints) -> None:
        """See Part."""
        copy(out, at, self._pool.data, self._pool.start[self._which], self.size)


class Message:
    """A message field made of *parts*; one that is not `present` is left out with its parts."""

    def __init__(self, field: int, parts: Sequence[Part], present: Mask | None = None) -> None:
        """*parts* in the order in which they are written."""
        self._tag, self._parts, self._present = tag(field, LENGTH), parts, present
        self._content: Ints = np.sum([part.size for part in parts], axis=0, dtype=np.int64)
        self.size = len(self._tag) + varint_size(self._content.view(np.uint64)) + self._content
        if present is not None:
            self.size = np.where(present, self.size, 0)

    def write(self, out: Bytes, at: Ints) -> None:
        """See Part; *present* must be that of the parts, too."""
        content, head = _picked(self._present, self._content, at)
        head = write_varint(out, write_tag(out, head, self._tag), content.view(np.uint64))
        if self._present is not None:
            at = at.copy()
            at[self._present] = head
        else:
            at = head
        for part in self._parts:
            part.write(out, at)
            at = at + part.size


def encoded(parts: Sequence[tuple[Ints | None, Part]], rows: int) -> tuple[Bytes, Ints]:
    """*rows* messages, and where each of them begins (and the last ends).

    Every part says which of the rows it is (None: all, in order); no two are the same row.
    """
    size = np.zeros(rows, dtype=np.int64)
    for at, part in parts:
        size[slice(None) if at is None else at] = part.size
    bounds = np.concatenate([[0], np.cumsum(size)])
    out = np.empty(int(bounds[-1]), dtype=np.uint8)
    for at, part in parts:
        part.write(out, bounds[:-1] if at is None else bounds[at])
    return out, bounds


def packets(parts: Sequence[Part]) -> bytes:
    """Packets of a trace, one per row, made of *parts*."""
    whole = Message(TRACE_PACKET, parts)
    out, _ = encoded([(None, whole)], len(whole.size))
    return out.tobytes()


def packet(message: Any) -> bytes:
    """One packet of a trace, with its tag and length."""
    content: bytes = message.SerializeToString(deterministic=True)
    return delimited(TRACE_PACKET, content)


def delimited(field: int, content: bytes | memoryview) -> bytes:
    """One length-delimited field."""
    return tag(field, LENGTH) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """*value* on the wire."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def tag(field: int, wire: int) -> bytes:
    """The tag of a field."""
    return varint(field << 3 | wire)


def varint_size(values: NDArray[np.uint64]) -> Ints:
    """How many bytes each varint takes."""
    size = np.ones(len(values), dtype=np.int64)
    for i in range(1, 10):
        size += values >= np.uint64(1) << np.uint64(7 * i)
    return size


def write_tag(out: Bytes, at: Ints, content: bytes) -> Ints:
    """Write a tag everywhere; returns the positions behind it."""
    for i, byte in enumerate(content):
        out[at + i] = byte
    return at + len(content)


def write_varint(out: Bytes, at: Ints, values: NDArray[np.uint64]) -> Ints:
    """Write varints; returns the positions behind them."""
    size = varint_size(values)
    rows, left, last = at, values, size
    for i in range(10):
        more = last > i + 1
        out[rows + i] = (left & np.uint64(0x7F)).astype(np.uint8) | (more.astype(np.uint8) << 7)
        if not more.any():
            break
        rows, left, last = rows[more], left[more] >> np.uint64(7), last[more]
    return at + size


def _picked(present: Mask | None, values: Any, at: Ints) -> tuple[Any, Ints]:
    return (values, at) if present is None else (values[present], at[present])

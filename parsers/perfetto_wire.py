"""The protobuf wire format, many messages at a time.

`walk` reads the k-th field of every message in one step, so that a million small messages cost as
many NumPy calls as the longest of them has fields. `follow` splits a long repeated field (the
packets of a trace, the events of a bundle): positions that look like its elements are found in
all bytes at once, and the chain of lengths is then checked from the start, so that a wrong guess
costs time and never a wrong answer. Every position is checked against its message before it is
used: damaged input gives `bad` messages and `breaks`, never an exception or a read out of bounds.

Groups (wire types 3 and 4) are damage: Perfetto never writes them. Source of truth: the protobuf
encoding document (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from traceview.parsers.columns import positions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from traceview.parsers.columns import Bytes, Flags, Ints, Words

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5

# A varint is read with two 8-byte loads, so that many bytes behind the last one must exist.
PAD_BYTES: Final = 32
# No message that is walked has nearly as many fields; a longer one is damage, not work.
MAX_FIELDS: Final = 4096

U = np.uint64
STOP_BITS: Final = U(0x8080808080808080)
LOW_BITS: Final = U(0x7F7F7F7F7F7F7F7F)


class Field(NamedTuple):
    """One field of one message. `value`: the number, or the length of the payload."""

    number: int
    wire: int
    value: int
    payload: int


class Step(NamedTuple):
    """The k-th field of each message that has one: `row` says of which message."""

    row: Ints
    number: Ints
    wire: Ints
    value: Words  # the number, or the length of the payload
    payload: Ints  # position of the payload (wire type 2)

    def take(self, at: Ints) -> Step:
        """The fields at these indices."""
        return Step(self.row[at], self.number[at], self.wire[at], self.value[at], self.payload[at])


class Blob:
    """Bytes to decode: `data` (padded), `raw` for single bytes, `words` for 8 bytes anywhere."""

    __slots__ = ("data", "raw", "size", "words")

    def __init__(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Join *pieces* (copied)."""
        self.raw: Final = b"".join((*pieces, bytes(PAD_BYTES)))
        self.size: Final = len(self.raw) - PAD_BYTES
        self.data: Bytes = np.frombuffer(self.raw, dtype=np.uint8)
        self.words: Words = np.ndarray(
            shape=(len(self.raw) - 7,), dtype="<u8", buffer=self.raw, strides=(1,)
        )


def varints(blob: Blob, at: Ints) -> tuple[Words, Ints]:
    """The varints that begin *at*: their values and lengths in bytes (over 10: no varint)."""
    word = blob.words[at]
    # The lowest clear top bit ends the varint: keep the bits below it, 7 of each byte.
    stop = ~word & STOP_BITS
    below = (stop & (~stop + U(1))) - U(1)
    length = (np.bitwise_count(below) >> np.uint8(3)).astype(np.int64)
    length += 1
    word &= below
    word &= LOW_BITS
    word = (word & U(0x007F007F007F007F)) | ((word & U(0x7F007F007F007F00)) >> U(1))
    word = (word & U(0x00003FFF00003FFF)) | ((word & U(0x3FFF00003FFF0000)) >> U(2))
    word = (word & U(0x000000000FFFFFFF)) | ((word & U(0x0FFFFFFF00000000)) >> U(4))
    long = np.flatnonzero(stop == 0)
    if long.size:
        ninth = blob.words[at[long] + 8]
        tenth = (ninth >> U(8)) & U(0xFF)
        ten = (ninth & U(0x80)) != 0
        word[long] |= (ninth & U(0x7F)) << U(56)
        word[long] |= np.where(ten, (tenth & U(1)) << U(63), U(0))
        length[long] = np.where(ten, np.where(tenth < U(0x80), 10, 11), 9)
    return word, length


def walk(blob: Blob, start: Ints, stop: Ints) -> tuple[list[Step], Flags]:
    """The fields of the messages in [start, stop), step by step, and which messages are `bad`.

    A bad message is read up to its first impossible field. *stop* must lie within the blob.
    """
    bad = np.zeros(len(start), dtype=np.bool_)
    row = np.flatnonzero(start < stop)
    at, end = start[row], stop[row]
    steps: list[Step] = []
    while row.size:
        if len(steps) == MAX_FIELDS:
            bad[row] = True
            break
        number, wire, at = _tags(blob, at)
        value, length = varints(blob, at)
        payload = at + length
        following = np.where(wire == LENGTH, payload + value.view(np.int64), payload)
        good = (following <= end) & (following >= payload) & (number > 0) & (length <= 10)
        if (wire & ~2).any():  # neither VARINT nor LENGTH
            following, good = _fixed(blob, wire, at, following, good, value)
            good &= (following <= end) & (number > 0)
        if not good.all():
            bad[row[~good]] = True
            keep = np.flatnonzero(good)
            row, number, wire, value = row[keep], number[keep], wire[keep], value[keep]
            payload, following, end = payload[keep], following[keep], end[keep]
        steps.append(Step(row, number, wire, value, payload))
        more = following < end
        if more.all():
            at = following
        else:
            left = np.flatnonzero(more)
            row, at, end = row[left], following[left], end[left]
    return steps, bad


def _tags(blob: Blob, at: Ints) -> tuple[Ints, Ints, Ints]:
    """Field number, wire type and the position behind the tag."""
    tag = blob.data[at].astype(np.int64)
    if tag.max() < 0x80:
        return tag >> 3, tag & 7, at + 1
    words, length = varints(blob, at)
    tag = words.view(np.int64)
    number = np.where(length <= 5, tag >> 3, 0)  # 0 is no field number: damage
    return number, tag & 7, at + length


def _fixed(
    blob: Blob, wire: Ints, at: Ints, following: Ints, good: Flags, value: Words
) -> tuple[Ints, Flags]:
    """Where the next field begins, and what is good, for steps with fixed-size fields."""
    fixed = (wire == FIXED64) | (wire == FIXED32)
    size = np.where(wire == FIXED64, 8, 4)
    bits = blob.words[at]
    bits = np.where(wire == FIXED32, bits & U(0xFFFFFFFF), bits)
    value[fixed] = bits[fixed]
    known = fixed | (wire == VARINT) | (wire == LENGTH)
    return np.where(fixed, at + size, following), np.where(fixed, True, good) & known  # noqa: FBT003


def field_at(blob: Blob, at: int, stop: int) -> tuple[Field, int] | None:
    """The field at *at* and where the next one begins; None where no field fits before *stop*."""
    tag, at = _varint(blob.raw, at, stop)
    number, wire = tag >> 3, tag & 7
    if number <= 0:
        return None
    if wire in (VARINT, LENGTH):
        value, at = _varint(blob.raw, at, stop)
        end = at + value if wire == LENGTH else at
        return (Field(number, wire, value, at), end) if value >= 0 and end <= stop else None
    size = {FIXED64: 8, FIXED32: 4}.get(wire)
    if size is None or at + size > stop:
        return None
    return Field(number, wire, int.from_bytes(blob.raw[at : at + size], "little"), at), at + size


def _varint(raw: bytes, at: int, stop: int) -> tuple[int, int]:
    """The varint at *at* and where it ends; -1 where there is none."""
    value = shift = 0
    while at < stop and shift < 70:
        byte = raw[at]
        at += 1
        if byte < 0x80:
            return (value | byte << shift) & 0xFFFF_FFFF_FFFF_FFFF, at
        value |= (byte & 0x7F) << shift
        shift += 7
    return -1, at


@dataclass(frozen=True, slots=True)
class Elements:
    """Positions that look like elements of a repeated field, ascending.

    `at` is where the `tag` lies, `start` and `stop` enclose the payload; `breaks` are the indices
    behind which the chain does not go on with the next candidate.
    """

    tag: int
    at: list[int]
    start: Ints
    stop: Ints
    breaks: list[int]


def elements(blob: Blob, tag: int, *, first: int | None = None, ends: bool = False) -> Elements:
    """Candidates for the elements of the length-delimited field with the one-byte *tag*.

    They are told from chance by what follows: with *first*, the payload is empty or begins with
    that byte; with *ends*, the next element (or the end of the blob) lies where they end.
    """
    data = blob.data
    at: Ints = np.flatnonzero(data[: blob.size] == tag)
    length = data[at + 1].astype(np.int64)
    start = at + 2
    wide = np.flatnonzero(length >= 0x80)
    if wide.size:
        words, size = varints(blob, at[wide] + 1)
        length[wide] = np.where(words < U(blob.size), words, U(blob.size)).view(np.int64)
        start[wide] = at[wide] + 1 + size
    stop = start + length
    likely = stop <= blob.size
    if first is not None:
        likely &= (data[np.minimum(start, blob.size)] == first) | (length == 0)
    if ends:
        behind = np.minimum(stop, blob.size)
        likely &= (data[behind] == tag) | (behind == blob.size)
    keep = np.flatnonzero(likely)
    at, start, stop = at[keep], start[keep], stop[keep]
    breaks = np.flatnonzero(stop[:-1] != at[1:])
    return Elements(tag, at.tolist(), start, stop, breaks.tolist())


@dataclass(frozen=True, slots=True)
class Chain:
    """One message's elements of the repeated field, its other fields, and where it broke off."""

    start: Ints
    stop: Ints
    others: list[Field]
    broken_at: int | None  # the position of the first field that cannot be; None: all is well
    last_at: int  # the position of the last field that was read


def follow(blob: Blob, found: Elements, start: int, stop: int, *, others: bool = True) -> Chain:
    """Follow the fields of the message in [start, stop): the elements that were looked for.

    Other fields are kept where they are allowed (*others*), else the chain is broken there.
    """
    starts, stops, rest = [], [], []
    at, last, broken, i = start, start, None, 0
    while at < stop:
        if blob.raw[at] == found.tag:
            i = bisect_left(found.at, at, i)
            run = _run(found, i, stop) if i < len(found.at) and found.at[i] == at else i
            if run > i:
                starts.append(found.start[i:run])
                stops.append(found.stop[i:run])
                last, at = found.at[run - 1], int(found.stop[run - 1])
                continue
        field = field_at(blob, at, stop)
        element = field is not None and (field[0].number << 3 | field[0].wire) == found.tag
        if field is None or not (element or others):
            broken = at
            break
        last, (one, at) = at, field
        if element:
            starts.append(np.array([one.payload], dtype=np.int64))
            stops.append(np.array([at], dtype=np.int64))
        else:
            rest.append(one)
    return Chain(_concatenated(starts), _concatenated(stops), rest, broken, last)


def _run(found: Elements, i: int, stop: int) -> int:
    """Behind which candidate the unbroken run ends that begins with *i* and lies before *stop*."""
    nth = bisect_left(found.breaks, i)
    end = 1 + (found.breaks[nth] if nth < len(found.breaks) else len(found.at) - 1)
    if found.stop[end - 1] > stop:
        end = i + int(np.searchsorted(found.stop[i:end], stop, side="right"))
    return end


def _concatenated(parts: list[Ints]) -> Ints:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def packed(blob: Blob, start: Ints, stop: Ints) -> tuple[Words, Ints, Flags]:
    """Packed varints of the fields in [start, stop): all values, how many each has, which are bad.

    A field is bad when it does not end with a whole varint; it then has no values.
    """
    size = np.maximum(stop - start, 0)
    bad = (size > 0) & ((blob.data[np.maximum(stop - 1, 0)] & 0x80) != 0)
    size[bad] = 0
    at = positions(start, size)
    ends = blob.data[at] < 0x80
    owner = np.repeat(np.arange(len(start)), size)
    counts = np.bincount(owner[ends], minlength=len(start))
    begins = np.empty(len(at), dtype=np.bool_)
    begins[:1] = True
    begins[1:] = ends[:-1]
    values, _ = varints(blob, at[begins])
    return values, counts, bad


def joined(steps: Sequence[Step]) -> Step:
    """All *steps* in one, in the order in which the fields stand in each message."""
    none = np.empty(0, dtype=np.int64)
    if not steps:
        return Step(none, none, none, none.view(np.uint64), none)
    return Step(*(np.concatenate(column) for column in zip(*steps, strict=True)))

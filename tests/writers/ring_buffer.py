"""Writes sub-buffers of the kernel's ring buffer, record by record."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

HEADER_BYTES = 16
MISSED_EVENTS, MISSED_STORED = 1 << 31, 1 << 30
PADDING, TIME_EXTEND, TIME_STAMP = 29, 30, 31
MAX_DELTA = (1 << 27) - 1
MAX_SMALL = 112


def header_page(page_bytes: int, long_bytes: int = 8) -> str:
    """Tracefs events/header_page of a kernel with such pages."""
    data = 8 + long_bytes
    return (
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
        f"\tfield: local_t commit;\toffset:8;\tsize:{long_bytes};\tsigned:1;\n"
        "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
        f"\tfield: char data;\toffset:{data};\tsize:{page_bytes - data};\tsigned:1;\n"
    )


def head(type_len: int, delta: int) -> bytes:
    return struct.pack("<I", type_len | delta << 5)


def data(payload: bytes, delta: int = 0, *, large: bool = False) -> bytes:
    """A record; *payload* is filled up to 4 bytes. *large*: its length stands in a word."""
    payload += bytes(-len(payload) % 4)
    if large or not 0 < len(payload) <= MAX_SMALL:
        return head(0, delta) + struct.pack("<I", len(payload) + 4) + payload
    return head(len(payload) // 4, delta) + payload


def discarded(size: int, delta: int = 1) -> bytes:
    """An event of *size* bytes (a multiple of 4, at least 8) that was taken back."""
    return head(PADDING, delta) + struct.pack("<I", size - 4) + b"\xaa" * (size - 8)


def end() -> bytes:
    """What stands where not even a discarded event fits."""
    return head(PADDING, 0)


def extend(delta: int) -> bytes:
    return head(TIME_EXTEND, delta & MAX_DELTA) + struct.pack("<I", delta >> 27)


def stamp(ts: int) -> bytes:
    return head(TIME_STAMP, ts & MAX_DELTA) + struct.pack("<I", ts >> 27 & 0xFFFFFFFF)


def page(
    ts: int, content: bytes, *, lost: int | None = None, stored: bool = True, size: int = 4096
) -> bytes:
    """A page. *lost*: how many events were lost before it; its number may be *stored* there.

    The flags make the kernel's word negative, as it adds them as a signed int.
    """
    commit = len(content)
    room = size - HEADER_BYTES - len(content)
    assert room >= 0
    tail = b""
    if lost is not None:
        commit += MISSED_EVENTS - (1 << 32)
        if stored and room >= 8:
            tail = struct.pack("<Q", lost)
            commit += MISSED_STORED
    whole = struct.pack("<Qq", ts, commit) + content + tail
    return whole + bytes(size - len(whole))


@dataclass
class Writer:
    """Lays out the records of one CPU on pages, as many as it needs."""

    size: int = 4096
    pages: list[bytes] = field(default_factory=list)
    _content: bytes = b""
    _begin: int = 0
    _now: int = 0
    _lost: tuple[int, bool] | None = None

    def event(
        self, ts: int, payload: bytes, *, large: bool = False, absolute: bool = False
    ) -> None:
        """A record at *ts*, which is not earlier than the one before."""
        if not self._content:
            self._begin = self._now = ts
        delta, before = ts - self._now, b""
        if absolute:
            before, delta = stamp(ts), 0
        elif delta > MAX_DELTA:
            before, delta = extend(delta), 0
        record = before + data(payload, delta, large=large)
        if len(record) > self._room():
            self.flush()
            self._begin = ts
            record = data(payload, 0, large=large)
        self._content += record
        self._now = ts

    def take_back(self, size: int, delta: int) -> None:
        """A discarded event, *delta* after the one before, if there is room."""
        record = discarded(size, max(delta, 1))
        if self._content and len(record) <= self._room():
            self._content += record
            self._now += max(delta, 1)

    def lose(self, count: int, *, stored: bool = True) -> None:
        """Events are lost here: a new page begins, and says so."""
        self.flush()
        self._lost = (count, stored)

    def flush(self, *, ending: bool = False) -> None:
        """End the page; *ending*: fill it up with padding."""
        if not self._content:
            return
        room = self._room()
        if ending and room >= 8:
            self._content += discarded(room)
        elif ending and room == 4:
            self._content += end()
        lost, stored = self._lost or (None, False)
        self.pages.append(
            page(self._begin, self._content, lost=lost, stored=stored, size=self.size)
        )
        self._content, self._lost = b"", None

    def _room(self) -> int:
        """What is left of the page; the number of lost events keeps its place."""
        stored = self._lost is not None and self._lost[1]
        return self.size - HEADER_BYTES - len(self._content) - 8 * stored

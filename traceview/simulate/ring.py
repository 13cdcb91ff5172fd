"""The ring buffer of one CPU: which of its records are kept, and where some are lost.

A buffer is made of sub-buffers, each a page of the kernel. Full, it either overwrites its oldest
page, whole, unless a reader has taken it, or discards whatever comes. A reader takes the oldest
full page as soon as it is done with the one before. It is told what was overwritten, and never
where a buffer discarded: so a buffer that discards has no reader here, and loses but the end.

Source: kernel/trace/ring_buffer.c (rb_move_tail counts dropped_events, __rb_get_reader_page finds
lost_events by the overruns alone; ring_buffer_resize); sizes of records: kernel/trace/
{trace_entries.h,trace_probe.h} of Linux 6.12, each with the 4 bytes of its event header.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.simulate.recording import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

PAGE_HEADER_BYTES: Final = 16
SECOND_NS: Final = 1_000_000_000
RECORD_BYTES: Final = {
    "funcgraph_entry": 24, "funcgraph_exit": 44, "kprobe": 20, "kretprobe": 28, "print": 22,
}  # fmt: skip
ARGUMENT_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Buffer:
    """How large a CPU's buffer is. `drain_kb_s`: what a reader takes out meanwhile."""

    kb: int
    overwrite: bool = True
    drain_kb_s: int = 0  # only of one that overwrites
    page_bytes: int = 4096  # of the kernel

    @property
    def room_bytes(self) -> int:
        """Of a page, for records."""
        return self.page_bytes - PAGE_HEADER_BYTES

    @property
    def pages(self) -> int:
        """As many as hold so many KiB of records, and at least two."""
        return max(2, -(-self.kb * 1024 // self.room_bytes))

    @property
    def page_ns(self) -> int | None:
        """How long the reader takes for a page."""
        return self.page_bytes * SECOND_NS // (self.drain_kb_s * 1024) if self.drain_kb_s else None


@dataclass(frozen=True, slots=True)
class _Page:
    """A full page: records [first, last), and when the writer left it."""

    first: int
    last: int
    full_ns: int


@dataclass(slots=True)
class Ring:
    """Records of one CPU on their way through its buffer; None keeps everything.

    `lost`: stretches [first, last) of records, counted from the CPU's first one. `decided`: the
    fate of all before it is known. `lost_at_end`: how many were lost behind the last that was
    handed on.
    """

    buffer: Buffer | None
    lost: list[tuple[int, int]] = field(default_factory=list)
    decided: int = 0
    lost_at_end: int = 0
    _fates: deque[tuple[int, int, bool]] = field(default_factory=deque)
    _held: deque[tuple[int, pl.DataFrame]] = field(default_factory=deque)
    _pages: deque[_Page] = field(default_factory=deque)
    _begin: int = 0  # of the page that is being written
    _room: int = field(init=False)
    _fed: int = 0
    _reader_ns: int = 0

    def __post_init__(self) -> None:
        """Begin with an empty page."""
        self._room = self.buffer.room_bytes if self.buffer else 0

    def feed(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Take records; yield those whose fate is known."""
        first = self._fed
        self._fed += frame.height
        if self.buffer is None:
            self.decided = self._fed
            yield frame
            return
        if frame.height == 0:
            return
        self._held.append((first, frame))
        times = frame["ts_ns"].to_numpy()
        size = np.cumsum(record_bytes(frame))
        if self.buffer.overwrite:
            self._overwriting(self.buffer, times, size, first)
        else:
            self._discarding(self.buffer, times, size, first)
        yield from self._emitted()

    def end(self) -> Iterator[pl.DataFrame]:
        """What the buffer holds when the recording stops."""
        if self.buffer is None:
            return
        if self.buffer.overwrite:
            while self._pages:
                page = self._pages.popleft()
                self._decide(page.first, page.last, kept=True)
            self._decide(self._begin, self._fed, kept=True)
        yield from self._emitted()

    def lost_before(self, records: Ints) -> Ints:
        """How many records were lost before each of *records*, counted from the CPU's first."""
        spans = np.array(self.lost, dtype=np.int64).reshape(-1, 2)
        if spans.size == 0:
            return np.zeros_like(records)
        counts = np.r_[0, np.cumsum(spans[:, 1] - spans[:, 0])]
        at = np.searchsorted(spans[:, 0], records, side="left")
        last = np.maximum(at - 1, 0)
        # Of the stretch that began last, what lies before the record.
        rest = np.maximum(spans[last, 1] - records, 0)
        found: Ints = counts[at] - np.where(at > 0, rest, 0)
        return found

    def _overwriting(self, buffer: Buffer, times: Ints, size: Ints, first: int) -> None:
        at, count = 0, times.size
        while at < count:
            at = self._written(size, at)
            if at == count:
                return
            now = int(times[at])
            self._close(first + at, now, buffer.room_bytes)
            self._read(buffer, now)
            if len(self._pages) >= buffer.pages:
                page = self._pages.popleft()
                self._decide(page.first, page.last, kept=False)

    def _discarding(self, buffer: Buffer, times: Ints, size: Ints, first: int) -> None:
        at, count = 0, times.size
        while at < count and len(self._pages) < buffer.pages:
            begun = at
            at = self._written(size, at)
            self._decide(first + begun, first + at, kept=True)
            if at < count:
                self._close(first + at, int(times[at]), buffer.room_bytes)
        self._decide(first + at, first + count, kept=False)

    def _written(self, size: Ints, at: int) -> int:
        """Write records from *at* on into the page; return the first that does not fit."""
        before = int(size[at - 1]) if at else 0
        last = int(np.searchsorted(size, before + self._room, side="right"))
        self._room -= (int(size[last - 1]) if last else 0) - before
        return last

    def _close(self, last: int, now_ns: int, room_bytes: int) -> None:
        """The page is full: the next one is begun."""
        self._pages.append(_Page(self._begin, last, now_ns))
        self._begin, self._room = last, room_bytes

    def _read(self, buffer: Buffer, now_ns: int) -> None:
        """Let the reader take what it can until now."""
        while self._pages and buffer.page_ns is not None:
            if max(self._reader_ns, self._pages[0].full_ns) > now_ns:
                return
            self._take(buffer)

    def _take(self, buffer: Buffer) -> None:
        """The reader takes the oldest page: the ring is free of it at once."""
        page = self._pages.popleft()
        self._reader_ns = max(self._reader_ns, page.full_ns) + (buffer.page_ns or 0)
        self._decide(page.first, page.last, kept=True)

    def _decide(self, first: int, last: int, *, kept: bool) -> None:
        if last > first:
            self._fates.append((first, last, kept))
            self.decided = last
            if not kept:
                self.lost.append((first, last))

    def _emitted(self) -> Iterator[pl.DataFrame]:
        """The records that are kept, out of the frames that are held."""
        while self._fates:
            first, last, kept = self._fates.popleft()
            if not kept:
                self.lost_at_end += last - first
            for frame in self._slices(first, last):
                if kept:
                    yield self._after_loss(frame)

    def _slices(self, first: int, last: int) -> Iterator[pl.DataFrame]:
        while first < last:
            begin, frame = self._held[0]
            end = begin + frame.height
            yield frame[first - begin : min(last, end) - begin]
            if last >= end:
                self._held.popleft()
            first = min(last, end)

    def _after_loss(self, frame: pl.DataFrame) -> pl.DataFrame:
        """State with the first record how many were lost before it."""
        if self.lost_at_end == 0:
            return frame
        is_first = pl.int_range(pl.len()) == 0
        lost, self.lost_at_end = self.lost_at_end, 0
        stated = pl.when(is_first).then(pl.lit(lost, pl.Int64)).otherwise("lost_before")
        return frame.with_columns(stated.alias("lost_before"))


def record_bytes(frame: pl.DataFrame) -> Ints:
    """How much of a page each record takes."""
    base = np.array([RECORD_BYTES[kind] for kind in KINDS], dtype=np.int64)
    size: Ints = base[frame["kind"].to_physical().to_numpy()]
    for name in ("arg0", "arg1", "arg2"):
        if frame[name].null_count() < frame.height:
            size = size + ARGUMENT_BYTES * frame[name].is_not_null().to_numpy()
    if frame["text"].null_count() < frame.height:
        size = size + frame["text"].str.len_bytes().fill_null(0).to_numpy().astype(np.int64)
    return (size + 3) // 4 * 4

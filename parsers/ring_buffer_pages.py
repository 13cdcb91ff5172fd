"""The pages of all CPUs, in the order in which they begin, a group at a time.

Each CPU of each buffer wrote its own pages, one after the other. A group takes runs of pages from
those CPUs whose next page begins first, until it is large enough to be decoded in lockstep; so
memory depends on the number of CPUs, not on the size of the file.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.errors import ParseError, UnsupportedError
from traceview.parsers.event_format import MAX_PAGE_BYTES, parse_header_page
from traceview.parsers.ring_buffer import (
    MARGIN_BYTES,
    TIME_BYTES,
    WORD_BYTES,
    page_time,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from traceview.parsers.columns import Bytes, Ints
    from traceview.parsers.event_format import PageHeader

# Lockstep wants many pages at once; their columns should stay in the CPU's cache.
GROUP_PAGES: Final = 256
MIN_GROUP_BYTES: Final = 1 << 20
MAX_GROUP_BYTES: Final = 1 << 23
RUN_BYTES: Final = 1 << 16
PIECE_BYTES: Final = 1 << 20


def page_header(text: str, path: str) -> PageHeader:
    """The layout of pages that *text* describes: that of a kernel of 64 bits."""
    reading = "the page header"
    try:
        header = parse_header_page(text)
    except ParseError as err:
        raise ParseError(err.reason, path=path, reading=reading) from err
    if header.commit_size != TIME_BYTES:
        reason = f"pages of a kernel with longs of {header.commit_size} bytes, not 8"
        raise UnsupportedError(reason, path=path, reading=reading)
    if (
        header.timestamp_offset % TIME_BYTES
        or header.commit_offset % WORD_BYTES
        or header.data_offset % WORD_BYTES
        or (header.data_offset + header.data_size) % TIME_BYTES
        or header.data_offset + header.data_size > MAX_PAGE_BYTES
    ):
        reason = "pages whose fields are not aligned, or that are too large"
        raise UnsupportedError(reason, path=path, reading=reading)
    return header


def sliced(view: memoryview, page_bytes: int) -> Iterator[memoryview]:
    """*view* in pieces of whole pages, so that what was read can be let go of."""
    step = max(PIECE_BYTES // page_bytes, 1) * page_bytes
    for at in range(0, len(view), step):
        yield view[at : at + step]


class CpuPages:
    """The pages of one CPU of one buffer, read once from first to last.

    `pieces` are its bytes, in pieces of any size; `page_bytes` the size of a page.
    """

    def __init__(
        self,
        pieces: Iterable[memoryview],
        *,
        buffer: str | None,
        cpu: int,
        page_bytes: int,
        header: PageHeader,
    ) -> None:
        """Nothing is read yet."""
        self.buffer, self.cpu, self.page_bytes = buffer, cpu, page_bytes
        self.read_bytes = 0
        self._pieces, self._header = iter(pieces), header
        self._rest = memoryview(b"")
        self._next: int | None = None

    def next_time(self) -> int | None:
        """The time at which the next page begins, None behind the last one.

        Where it cannot be told the page is due at once, so that it keeps its place.
        """
        if self._next is None:
            self._fill()
            if not self._rest:
                return None
            self._next = page_time(self._rest, self._header)
            if self._next >> 63 or len(self._rest) < self._header.data_offset:
                self._next = 0
        return self._next

    def take(self, size: int) -> memoryview:
        """About *size* bytes of whole pages, one page at least; the last one may be cut off."""
        self._fill()
        pages = min(max(1, size // self.page_bytes), max(1, len(self._rest) // self.page_bytes))
        taken = self._rest[: pages * self.page_bytes]
        self._rest = self._rest[len(taken) :]
        self.read_bytes += len(taken)
        self._next = None
        return taken

    def _fill(self) -> None:
        """Have a whole page, if there is one."""
        while len(self._rest) < self.page_bytes:
            piece = next(self._pieces, None)
            if piece is None:
                return
            self._rest = memoryview(b"".join((self._rest, piece))) if self._rest else piece


@dataclass(frozen=True, slots=True)
class Group:
    """Pages of several CPUs: `data` holds them at `start`; `owner` is the number of the CPU.

    The pages of one CPU are in order. `full` is the size that a page should have, `before_ns` the
    time before which no event is still to come, None behind the last group.
    """

    data: Bytes
    start: Ints
    size: Ints
    full: Ints
    owner: Ints
    before: int | None


def groups(cpus: Sequence[CpuPages]) -> Iterator[Group]:
    """All pages of *cpus*."""
    due = [(time, n) for n, one in enumerate(cpus) if (time := one.next_time()) is not None]
    heapq.heapify(due)
    largest = max((one.page_bytes for one in cpus), default=0)
    size = min(max(MIN_GROUP_BYTES, largest * GROUP_PAGES), MAX_GROUP_BYTES)
    while due:
        runs: list[tuple[int, memoryview]] = []
        room = size
        while due and room > 0:
            _, n = due[0]
            run = cpus[n].take(RUN_BYTES)
            runs.append((n, run))
            room -= len(run)
            time = cpus[n].next_time()
            if time is None:
                heapq.heappop(due)
            else:
                heapq.heapreplace(due, (time, n))
        yield _group(cpus, runs, due[0][0] if due else None)


def _group(
    cpus: Sequence[CpuPages], runs: list[tuple[int, memoryview]], before: int | None
) -> Group:
    places = [-(-len(run) // TIME_BYTES) * TIME_BYTES for _, run in runs]
    words = np.zeros((sum(places) + MARGIN_BYTES) // TIME_BYTES, dtype=np.uint64)
    data = words.view(np.uint8)
    start, size, full, owner = [], [], [], []
    at = 0
    for (n, run), place in zip(runs, places, strict=True):
        page = cpus[n].page_bytes
        data[at : at + len(run)] = np.frombuffer(run, dtype=np.uint8)
        begin = np.arange(0, len(run), page)
        start.append(at + begin)
        size.append(np.minimum(len(run) - begin, page))
        full.append(np.full(len(begin), page))
        owner.append(np.full(len(begin), n))
        at += place
    return Group(
        data,
        np.concatenate(start),
        np.concatenate(size),
        np.concatenate(full),
        np.concatenate(owner),
        before,
    )

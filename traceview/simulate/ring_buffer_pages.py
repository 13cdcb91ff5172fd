"""Records on sub-buffers ("pages") of the kernel's ring buffer, CPU by CPU.

A page begins with the time of its first record and a word that holds how many bytes of data
follow, and whether records were lost before it; their number stands behind the data. A record
begins with its length in words and the time since the record before it; a longer time has a record
of its own. Source of truth: kernel/trace/ring_buffer.c of Linux 6.12 (rb_update_event,
ring_buffer_read_page); parsers/ring_buffer.py reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.simulate.record_columns import columns, following

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from traceview.byte_columns import Bytes
    from traceview.simulate.binary_records import BinaryRecords
    from traceview.simulate.record_columns import Columns, Ints, Symbols


HEADER_BYTES: Final = 16
WORD_BYTES: Final = 4
HEADER_WORDS: Final = HEADER_BYTES // WORD_BYTES
MAX_SMALL_BYTES: Final = 112  # RINGBUF_MAX_SMALL_DATA
TIME_EXTEND: Final = 30
EXTEND_BYTES: Final = 8
TYPE_BITS: Final = 5
DELTA_BITS: Final = 27
MAX_DELTA_NS: Final = (1 << DELTA_BITS) - 1
COUNT_BYTES: Final = 8
MISSED_EVENTS: Final = -(1 << 31)  # RB_MISSED_EVENTS: the kernel adds it as a signed int
MISSED_STORED: Final = 1 << 30  # RB_MISSED_STORED

HEADER_EVENT: Final = (
    "# compressed entry header\n"
    "\ttype_len    :    5 bits\n"
    "\ttime_delta  :   27 bits\n"
    "\tarray       :   32 bits\n"
    "\n"
    "\tpadding     : type == 29\n"
    "\ttime_extend : type == 30\n"
    "\ttime_stamp : type == 31\n"
    "\tdata max type_len  == 28\n"
)


def header_page(page_bytes: int) -> str:
    """What tracefs `events/header_page` says."""
    data = page_bytes - HEADER_BYTES
    return (
        "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
        "\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;\n"
        "\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;\n"
        f"\tfield: char data;\toffset:{HEADER_BYTES};\tsize:{data};\tsigned:1;\n"
    )


@dataclass(slots=True)
class Stats:
    """What tracefs `per_cpu/cpuN/stats` says of a CPU."""

    entries: int = 0
    overrun: int = 0
    data_bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0


class RingBuffers:
    """Puts records on pages; a page that is not full waits for the next batch."""

    def __init__(self, records: BinaryRecords, symbols: Symbols, page_bytes: int) -> None:
        """*records* lays them out; *page_bytes*: a page is one of the kernel's."""
        self._records, self._symbols, self._page_bytes = records, symbols, page_bytes
        self._waiting: pl.DataFrame | None = None
        self.stats: dict[int, Stats] = {}

    def add(self, batch: pl.DataFrame) -> Iterator[tuple[int, Bytes]]:
        """The pages that *batch* fills, as (CPU, pages)."""
        if batch.is_empty():
            return
        waiting = [] if self._waiting is None else [self._waiting]
        rows = columns(pl.concat([*waiting, batch]), self._symbols)
        layout = self._layout(rows)
        yield from self._pages(rows, layout, last=False)
        self._waiting = rows.rows[np.sort(layout.order[layout.open])]

    def rest(self) -> Iterator[tuple[int, Bytes]]:
        """The pages that are not full."""
        if self._waiting is None or self._waiting.is_empty():
            return
        rows = columns(self._waiting, self._symbols)
        layout = self._layout(rows)
        yield from self._pages(rows, layout, last=True)
        self._waiting = None

    def _layout(self, rows: Columns) -> _Layout:
        order, first = following(rows.cpu)
        sizes = self._records.sizes(rows)[order]
        return _Layout(rows, order, first, sizes, self._page_bytes)

    def _pages(self, rows: Columns, layout: _Layout, *, last: bool) -> Iterator[tuple[int, Bytes]]:
        words = layout.write(rows, self._records, last=last)
        at = 0
        for cpu, pages, summed in layout.of_cpus(rows, last=last):
            _add(self.stats.setdefault(cpu, Stats()), summed)
            size = pages * self._page_bytes // WORD_BYTES
            if pages:
                yield cpu, words[at : at + size].view(np.uint8)
            at += size


def _add(stats: Stats, more: Stats) -> None:
    if not more.entries:
        return
    stats.first_ns = stats.first_ns if stats.entries else more.first_ns
    stats.last_ns = more.last_ns
    stats.entries += more.entries
    stats.overrun += more.overrun
    stats.data_bytes += more.data_bytes


class _Layout:
    """Where the records of a batch go. They are in order of CPU; so are all arrays here."""

    def __init__(
        self, rows: Columns, order: Ints, first: NDArray[np.bool_], sizes: Ints, page_bytes: int
    ) -> None:
        self.order, self._page_bytes = order, page_bytes
        self._page_words = page_bytes // WORD_BYTES
        ts_ns, self._lost = rows.ts_ns[order], rows.lost_before[order]
        delta = np.zeros(len(order), dtype=np.int64)
        delta[1:] = ts_ns[1:] - ts_ns[:-1]
        self._payload = sizes
        self._large = sizes > MAX_SMALL_BYTES
        record = WORD_BYTES + sizes + WORD_BYTES * self._large
        extended = delta > MAX_DELTA_NS
        self._bounds = np.append(np.flatnonzero(first), len(order))
        self._page_first, self._page_cpu = self._cut(record, extended)
        # On a page, the first record is at the page's own time.
        delta[self._page_first] = 0
        extended[self._page_first] = False
        self._delta, self._extended = delta, extended
        self._length = record + EXTEND_BYTES * extended

    def _cut(self, record: Ints, extended: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """The first record of each page, and of which of the CPUs the page is."""
        total = np.cumsum(record + EXTEND_BYTES * extended)
        breaks = iter(np.flatnonzero(self._lost).tolist())
        following_loss = next(breaks, len(record))
        found: list[int] = []
        owner: list[int] = []
        for cpu, end in enumerate(self._bounds[1:].tolist()):
            at = int(self._bounds[cpu])
            while at < end:
                found.append(at)
                owner.append(cpu)
                room = self._page_bytes - HEADER_BYTES - COUNT_BYTES * (following_loss == at)
                while following_loss <= at:
                    following_loss = next(breaks, len(record))
                base = int(total[at]) - int(record[at])
                fits = int(np.searchsorted(total, base + room, side="right"))
                at = min(fits, following_loss, end)
        return np.array(found, dtype=np.int64), np.array(owner, dtype=np.int64)

    @property
    def open(self) -> Ints:
        """The records of the last page of each CPU, which may not be full."""
        return np.concatenate(
            [
                np.arange(begin, end)
                for begin, end in zip(self._opens(), self._bounds[1:].tolist(), strict=True)
            ]
            or [np.zeros(0, dtype=np.int64)]
        )

    def _opens(self) -> list[int]:
        """Where the last page of each CPU begins."""
        at = np.searchsorted(self._page_first, self._bounds[1:]) - 1
        return self._page_first[at].tolist() if len(self._page_first) else []

    def of_cpus(self, rows: Columns, *, last: bool) -> Iterator[tuple[int, int, Stats]]:
        """CPU, number of its pages that are written, and what is on them."""
        ends = self._bounds[1:].tolist() if last else self._opens()
        counts = np.bincount(self._page_cpu, minlength=len(ends)) - (0 if last else 1)
        for begin, end, pages in zip(
            self._bounds[:-1].tolist(), ends, counts.tolist(), strict=True
        ):
            cpu = int(rows.cpu[self.order[begin]])
            stats = Stats()
            if begin < end:
                stats = Stats(
                    end - begin, int(self._lost[begin:end].sum()),
                    int(self._length[begin:end].sum()),
                    int(rows.ts_ns[self.order[begin]]), int(rows.ts_ns[self.order[end - 1]]),
                )  # fmt: skip
            yield cpu, pages, stats

    def write(self, rows: Columns, records: BinaryRecords, *, last: bool) -> NDArray[np.uint32]:
        """The pages; but for the last one of each CPU, unless it is the *last* call."""
        kept_pages = np.ones(len(self._page_first), dtype=np.bool_)
        if not last and len(kept_pages):
            kept_pages[:-1] = self._page_cpu[1:] == self._page_cpu[:-1]
            kept_pages[-1] = False
        page_end = np.append(self._page_first[1:], len(self.order))
        number = np.cumsum(kept_pages) - 1
        words = np.zeros(int(kept_pages.sum()) * self._page_words, dtype=np.uint32)
        page = np.repeat(np.arange(len(self._page_first)), page_end - self._page_first)
        total = np.cumsum(self._length)
        before = total - self._length
        inside = before - before[self._page_first][page]
        at = number[page] * self._page_words + HEADER_WORDS + inside // WORD_BYTES
        kept = np.flatnonzero(kept_pages[page])
        self._write_heads(words, at, kept)
        which = self.order[kept]
        data = at[kept] + 2 * self._extended[kept] + 1 + self._large[kept]
        records.write(rows, which, data, words)
        filled = total[page_end - 1] - before[self._page_first]
        begins = rows.ts_ns[self.order[self._page_first]]
        lost = self._lost[self._page_first]
        _write_page_heads(
            words.reshape(-1, self._page_words), begins[kept_pages], filled[kept_pages],
            lost[kept_pages],
        )  # fmt: skip
        return words

    def _write_heads(self, words: NDArray[np.uint32], at: Ints, kept: Ints) -> None:
        """What stands before the data of each record."""
        delta, extended, at = self._delta[kept], self._extended[kept], at[kept]
        some = np.flatnonzero(extended)
        words[at[some]] = (delta[some] & MAX_DELTA_NS) << TYPE_BITS | TIME_EXTEND
        words[at[some] + 1] = delta[some] >> DELTA_BITS
        head = at + 2 * extended
        payload, large = self._payload[kept], self._large[kept]
        length = np.where(large, 0, payload // WORD_BYTES)
        words[head] = np.where(extended, 0, delta) << TYPE_BITS | length
        some = np.flatnonzero(large)
        words[head[some] + 1] = payload[some] + WORD_BYTES


def _write_page_heads(pages: NDArray[np.uint32], begins_ns: Ints, filled: Ints, lost: Ints) -> None:
    heads = pages.view(np.int64)
    heads[:, 0] = begins_ns
    heads[:, 1] = filled + np.where(lost > 0, MISSED_EVENTS + MISSED_STORED, 0)
    some = np.flatnonzero(lost)
    at = HEADER_WORDS + filled[some] // WORD_BYTES
    pages[some, at] = lost[some] & 0xFFFFFFFF
    pages[some, at + 1] = lost[some] >> 32

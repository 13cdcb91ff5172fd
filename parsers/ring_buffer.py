"""Sub-buffers of the kernel's ring buffer -> records and their times, all pages in lockstep.

A sub-buffer ("page") begins with a time and a commit word: how many bytes of data follow, and
whether events were lost before it. A record begins with a word of 32 bits: 5 bits of type_len and
27 bits of time since the record before it.

    type_len 1..28   data of 4 * type_len bytes
             0       data; the next word holds its length, plus 4
             29      padding: a discarded event of as many bytes as the next word says, plus 4, or,
                     with a time of 0, the end of the page
             30      time extend: the next word holds the upper bits of the time
             31      absolute time, 59 bits; the upper 5 are those of the page's time

Step i handles the i-th record of every page, so that Python's share is one loop per record of the
fullest page. The time of a discarded event counts, as it does for trace-cmd: the kernel computed
the next record's from it.

A page that is damaged gives what precedes the damage. Only little-endian kernels of 64 bits are
read. Sources of truth: kernel/trace/ring_buffer.c and include/linux/ring_buffer.h of Linux 5.10 to
7.2; src/kbuffer-parse.c of libtraceevent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.parsers.columns import Bytes, Flags, Ints
    from traceview.parsers.event_format import PageHeader

MAX_SMALL_DATA: Final = 28  # RINGBUF_TYPE_DATA_TYPE_LEN_MAX
PADDING: Final = 29
TIME_EXTEND: Final = 30
TIME_STAMP: Final = 31
TYPE_BITS: Final = 5
TYPE_MASK: Final = np.uint32(2**TYPE_BITS - 1)
DELTA_BITS: Final = 27
ABSOLUTE_BITS: Final = 59  # ABS_TS_MASK
MISSED_EVENTS: Final = 1 << 31  # RB_MISSED_EVENTS: events were lost before this page
MISSED_STORED: Final = 1 << 30  # RB_MISSED_STORED: their number stands behind the data
SIZE_MASK: Final = MISSED_STORED - 1

WORD_BYTES: Final = 4
TIME_BYTES: Final = 8
# Behind the data of the last page, so that a word behind a head can always be looked at.
MARGIN_BYTES: Final = 16

# Words of a record by its type_len; 0 where the next word has to be asked.
WORDS: Final = np.array([0, *range(2, MAX_SMALL_DATA + 2), 0, 2, 2], dtype=np.int64)

# type_len 31 that goes below the page's time has lost its carry (rb_fix_abs_ts).
CARRY: Final = 1 << ABSOLUTE_BITS
UPPER: Final = ~(CARRY - 1)


@dataclass(frozen=True, slots=True)
class Pages:
    """What pages hold; the records of all of them, page after page.

    `first` says where the records of each page begin, with one more entry for the end. `missed`:
    whether events were lost before the page; `missed_count`: how many, -1 where it does not say.
    `damaged_at`: the byte in the data at which a page cannot be read on, -1 for good ones.
    """

    start: Ints
    size: Ints
    ts_ns: Ints
    first: Ints
    page_ns: Ints
    missed: Flags
    missed_count: Ints
    damaged_at: Ints


def page_time(page: Bytes | memoryview, header: PageHeader) -> int:
    """The time at which a page begins, as it stands there."""
    at = header.timestamp_offset
    return int.from_bytes(bytes(page[at : at + TIME_BYTES]), "little")


def read_pages(data: Bytes, start: Ints, size: Ints, full: Ints, header: PageHeader) -> Pages:
    """The records of the pages that lie in *data* at *start* and have *size* bytes each.

    *start* ascends and is a multiple of 8, and behind the last page are MARGIN_BYTES. *full*: how
    many bytes each page should have; one that has fewer gives the records that are there.
    """
    words = data.view(np.uint32)
    begin = (start + header.data_offset) // WORD_BYTES
    room = np.maximum(size - header.data_offset, 0)
    page_ns, commit = _heads(data, start, size, header)
    filled = commit & SIZE_MASK
    damaged_at = np.full(len(start), -1)
    unreadable = (filled > full - header.data_offset) | (filled % WORD_BYTES != 0) | (page_ns < 0)
    damaged_at[unreadable] = start[unreadable]
    cut = (filled > room) & ~unreadable
    damaged_at[cut] = (start + size)[cut]
    end = begin + np.where(unreadable, 0, np.minimum(filled, room)) // WORD_BYTES

    heads = _walk(words, begin, end, damaged_at)
    first = np.searchsorted(heads, np.append(begin, len(words)))
    ts_ns = _times(words, heads, first, page_ns)
    kind: NDArray[np.uint32] = words[heads] & TYPE_MASK
    backwards = ts_ns < 0  # times of centuries: only damage makes them
    is_data = (kind <= MAX_SMALL_DATA) & ~backwards
    if backwards.any():
        page = np.searchsorted(first, np.flatnonzero(backwards), side="right") - 1
        page, at = np.unique(page, return_index=True)
        damaged_at[page] = heads[np.flatnonzero(backwards)[at]] * WORD_BYTES
    missed = (commit & MISSED_EVENTS != 0) & ~unreadable
    counts = np.concatenate([[0], np.cumsum(is_data)])
    return Pages(
        *_payloads(words, heads[is_data], kind[is_data]),
        ts_ns=ts_ns[is_data],
        first=counts[first],
        page_ns=page_ns,
        missed=missed,
        missed_count=_stored(words, end, room, begin, missed & (commit & MISSED_STORED != 0)),
        damaged_at=damaged_at,
    )


def _heads(data: Bytes, start: Ints, size: Ints, header: PageHeader) -> tuple[Ints, Ints]:
    """Time and commit word of each page; a page cut off within its head is damaged (time -1)."""
    whole = size >= header.data_offset
    at = np.where(whole, start, 0)
    ts = data.view(np.int64)[(at + header.timestamp_offset) // TIME_BYTES]
    commit = data.view(np.uint32)[(at + header.commit_offset) // WORD_BYTES].astype(np.int64)
    return np.where(whole, ts, -1), np.where(whole, commit, 0)


def _walk(words: NDArray[np.uint32], begin: Ints, end: Ints, damaged_at: Ints) -> Ints:
    """The places of all records' first words; damage is noted in *damaged_at* and ends a page."""
    is_head = np.zeros(len(words), dtype=np.bool_)
    page = np.flatnonzero(begin < end)
    at, end = begin[page], end[page]
    while len(at):
        is_head[at] = True
        head = words[at]
        step = WORDS[head & TYPE_MASK]
        asking = (step == 0).nonzero()[0]
        if len(asking):
            step[asking] = _asked(words, at[asking], head[asking], end[asking])
        following = at + step
        inside = following < end
        if np.count_nonzero(inside) < len(at):
            beyond = np.flatnonzero(following > end)
            if len(beyond):
                is_head[at[beyond]] = False
                damaged_at[page[beyond]] = at[beyond] * WORD_BYTES
            following, end, page = following[inside], end[inside], page[inside]
        at = following
    return np.flatnonzero(is_head)


def _asked(words: NDArray[np.uint32], at: Ints, head: NDArray[np.uint32], end: Ints) -> Ints:
    """The words of records whose length stands in their next word; too many where they are bad."""
    length = words[at + 1].astype(np.int64)
    step = 1 + (length + WORD_BYTES - 1) // WORD_BYTES
    good = (length >= WORD_BYTES) & (at + 1 < end)
    # The end of a page may be too short for a length.
    is_end = head == PADDING
    return np.where(is_end, end - at, np.where(good, step, end - at + 1))


def _times(words: NDArray[np.uint32], heads: Ints, first: Ints, page_ns: Ints) -> Ints:
    """The time of each record: that of the page, or the last absolute one, and all since."""
    head = words[heads]
    kind = head & TYPE_MASK
    delta = (head >> TYPE_BITS).astype(np.int64)
    longer = np.flatnonzero(kind >= TIME_EXTEND)
    delta[longer] |= words[heads[longer] + 1].astype(np.int64) << DELTA_BITS
    absolute = longer[kind[longer] == TIME_STAMP]
    counts = np.diff(first)
    if not len(absolute):
        total = np.concatenate([[0], np.cumsum(delta)])
        since: Ints = total[1:] + np.repeat(page_ns - total[first[:-1]], counts)
        return since
    stamp = _absolute(delta[absolute], np.repeat(page_ns, counts)[absolute])
    delta[absolute] = 0
    total = np.concatenate([[0], np.cumsum(delta)])
    filled = np.flatnonzero(counts)
    # A stretch begins with each page and with each absolute time.
    begin = np.concatenate([first[filled], absolute])
    base = np.concatenate([page_ns[filled], stamp]) - total[begin]
    order = np.argsort(begin, kind="stable")
    begin, base = begin[order], base[order]
    result: Ints = total[1:] + np.repeat(base, np.diff(np.append(begin, len(heads))))
    return result


def _absolute(stamp: Ints, page_ns: Ints) -> Ints:
    """Times of 59 bits with the upper bits that they lack."""
    upper = page_ns & UPPER
    whole = (stamp & ~UPPER) | upper
    return np.where((upper != 0) & (whole < page_ns), whole + CARRY, whole)


def _payloads(
    words: NDArray[np.uint32], heads: Ints, kind: NDArray[np.uint32]
) -> tuple[Ints, Ints]:
    """Where the data of records begins, and its bytes."""
    start = heads * WORD_BYTES + WORD_BYTES
    size = kind.astype(np.int64) * WORD_BYTES
    large = np.flatnonzero(kind == 0)
    size[large] = words[heads[large] + 1].astype(np.int64) - WORD_BYTES
    start[large] += WORD_BYTES
    return start, size


def _stored(words: NDArray[np.uint32], end: Ints, room: Ints, begin: Ints, stored: Flags) -> Ints:
    """The number of lost events that stands behind the data of the pages that have one."""
    count = np.full(len(end), -1)
    rows = np.flatnonzero(stored & ((end - begin) * WORD_BYTES + TIME_BYTES <= room))
    low, high = words[end[rows]].astype(np.int64), words[end[rows] + 1].astype(np.int64)
    number = low | high << 32
    count[rows] = np.where(number > 0, number, -1)
    return count

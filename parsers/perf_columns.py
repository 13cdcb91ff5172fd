"""The fields of samples as columns, whatever the layouts of their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers import perf_attr as a
from traceview.parsers.chunks import MAX_CPUS, NO_CPU, NO_TID
from traceview.parsers.columns import positions
from traceview.parsers.perf_layout import MAX_TIME_NS, UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.parsers.columns import Flags, Ints, Words
    from traceview.parsers.perf_layout import Layout, Layouts

# enum perf_callchain_context: numbers from here on are no addresses.
CONTEXT_MAX: Final = np.uint64((1 << 64) - 4095)
# The number behind this one joins the sample with a later CALLCHAIN_DEFERRED (Linux 6.19).
CONTEXT_USER_DEFERRED: Final = np.uint64((1 << 64) - 640)


@dataclass(slots=True)
class Columns:
    """The fields of samples; `bad`: they do not fit into their records, or cannot be true.

    `chain`: the word at which the addresses of the callchain begin, `frames`: how many they are;
    `raw`: the byte at which raw data begin, `raw_size`: how many bytes they are.
    """

    ts_ns: Ints
    cpu: NDArray[np.int32]
    tid: NDArray[np.int32]
    ip: Words
    period: Ints
    chain: Ints
    frames: Ints
    raw: Ints
    raw_size: Ints
    bad: Flags

    @classmethod
    def blank(cls, count: int) -> Columns:
        """Columns that say nothing."""
        ts_ns, period, chain, frames, raw, raw_size = np.zeros((6, count), dtype=np.int64)
        cpu = np.full(count, NO_CPU, dtype=np.int32)
        tid = np.full(count, NO_TID, dtype=np.int32)
        ip, bad = np.zeros(count, dtype=np.uint64), np.zeros(count, dtype=np.bool_)
        return cls(ts_ns, cpu, tid, ip, period, chain, frames, raw, raw_size, bad)

    def put(self, rows: Ints, part: Columns) -> None:
        """Fill in the samples in *rows*."""
        for name in self.__slots__:
            getattr(self, name)[rows] = getattr(part, name)

    def take(self, rows: Ints) -> Columns:
        """The samples in *rows*."""
        return Columns(*(getattr(self, name)[rows] for name in self.__slots__))


def read_samples(layouts: Layouts, words: Words, at: Ints, length: Ints, event: Ints) -> Columns:
    """The fields of the samples at *at*, of *length* words, of these events (or UNKNOWN)."""
    of = layouts.of_events(event)
    if of.size and of.min() == of.max() != UNKNOWN:
        return _read(layouts.layouts[int(of[0])], words, at, length)
    found = Columns.blank(len(at))
    for number, layout in enumerate(layouts.layouts):
        mine = np.flatnonzero(of == number)
        if mine.size:
            found.put(mine, _read(layout, words, at[mine], length[mine]))
    return found


def _read(layout: Layout, words: Words, at: Ints, length: Ints) -> Columns:
    """The fields of samples of one layout."""
    short = length < layout.words
    if short.any():
        found = Columns.blank(len(at))
        found.bad[:] = short
        whole = np.flatnonzero(~short)
        if whole.size:
            found.put(whole, _read(layout, words, at[whole], length[whole]))
        return found
    fields, spans, zeros = layout.fields, layout.spans(words, at, length), np.zeros_like(at)
    bad, ts_ns, ip, period = spans.bad, zeros, zeros.view(np.uint64), zeros
    cpu = np.full(len(at), NO_CPU, dtype=np.int32)
    tid = np.full(len(at), NO_TID, dtype=np.int32)
    if a.TIME in fields:
        ts_ns = words[at + fields[a.TIME]].view(np.int64)
        bad = bad | (ts_ns.view(np.uint64) >= MAX_TIME_NS)
    if a.CPU in fields:
        cpu = words[at + fields[a.CPU]].astype(np.uint32).view(np.int32)
        bad = bad | (cpu < NO_CPU) | (cpu >= MAX_CPUS)
    if a.TID in fields:
        tid = np.maximum(words[at + fields[a.TID]].view(np.int32)[1::2], NO_TID)
    if a.IP in fields:
        ip = words[at + fields[a.IP]]
    if a.PERIOD in fields:
        period = words[at + fields[a.PERIOD]].view(np.int64)
    return Columns(
        ts_ns, cpu, tid, ip, period, spans.chain, spans.frames, spans.raw, spans.raw_size, bad
    )  # fmt: skip


def callchains(words: Words, columns: Columns) -> tuple[Ints, Words]:
    """How many frames each sample has, and the addresses of all, innermost first."""
    found = words[positions(columns.chain, columns.frames)]
    if not found.size:
        return columns.frames, found
    row = np.repeat(np.arange(len(columns.frames)), columns.frames)
    keep = found < CONTEXT_MAX
    deferred = found[:-1] == CONTEXT_USER_DEFERRED
    keep[1:] &= ~(deferred & (row[1:] == row[:-1]))
    return np.bincount(row[keep], minlength=len(columns.frames)), found[keep]

"""The first pass over perf.data: everything but the samples.

perf writes the buffer of one CPU after the other, so a file is not in time order, and a round may
be as large as all buffers together. The index cuts the records into pieces and notes the time from
which each is needed; the second pass takes the pieces in that order and so holds no more than those
that overlap. What samples refer to (events and their formats, which a pipe has among the records),
what tasks were called and what was lost is known before the first sample is decoded.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from traceview.parsers.perf_chain import chain
from traceview.parsers.perf_layout import Layouts, blank_stamps, put_stamps
from traceview.parsers.perf_losses import Losses
from traceview.parsers.perf_records import (
    AUXTRACE,
    COMPRESSED,
    COMPRESSED2,
    NUMBERS,
    SAMPLE,
    TRACING_DATA,
    Damage,
    Window,
    outside,
    windows,
)
from traceview.parsers.perf_switches import CPU_WIDE, SWITCH
from traceview.parsers.perf_tasks import TaskRecords
from traceview.parsers.perf_unpack import packed_spans
from traceview.parsers.source import drop_pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from traceview.parsers.chunks import Hole
    from traceview.parsers.columns import Ints
    from traceview.parsers.names import Names
    from traceview.parsers.perf_layout import Stamps
    from traceview.parsers.perf_session import Session

HEADER_ATTR: Final = NUMBERS["HEADER_ATTR"]
HEADER_FEATURE: Final = NUMBERS["HEADER_FEATURE"]
EVENT_UPDATE: Final = NUMBERS["EVENT_UPDATE"]
LOST: Final = NUMBERS["LOST"]
LOST_SAMPLES: Final = NUMBERS["LOST_SAMPLES"]
COMM: Final = NUMBERS["COMM"]
FORK: Final = NUMBERS["FORK"]
DESCRIBING: Final = (
    HEADER_ATTR, HEADER_FEATURE, EVENT_UPDATE, TRACING_DATA, COMPRESSED, COMPRESSED2, AUXTRACE,
)  # fmt: skip
DECODED: Final = (SAMPLE, SWITCH, CPU_WIDE)
FIRST_PERF_TYPE: Final = 64
MAX_TYPE: Final = 128

PIECE_BYTES: Final = 1 << 20
FOREVER: Final = np.iinfo(np.int64).max
# Sizes of so many records are kept, 2 bytes each; those of pieces beyond are walked again.
MAX_KEPT: Final = 1 << 25


class Piece(NamedTuple):
    """Some records: bytes `offset` to `stop` of a stream, the first being number `first` of all.

    `needed_ns`: when the second pass needs it. `sizes`: of its records, in words, if kept.
    """

    stream: int
    offset: int
    stop: int
    first: int
    needed_ns: int
    sizes: NDArray[np.uint16] | None
    holes: list[Hole]


class Index:
    """What the first pass found."""

    def __init__(self, session: Session, names: Names) -> None:
        """Begin with what the header said."""
        self.session = session
        self.tasks = TaskRecords(names)
        self.losses = Losses()
        self.pieces: list[Piece] = []
        self.packed: list[tuple[int, int]] = []
        self.counts: Counter[int] = Counter()
        self.packed_twice = 0  # packed records that came out of packed records
        self.auxtrace_bytes = 0
        self.damages: list[Damage] = []
        self.streams: list[memoryview] = []
        self._layouts: Layouts | None = None
        self._records = 0
        self._kept = 0

    @property
    def layouts(self) -> Layouts:
        """The layouts of all events that are known so far."""
        if self._layouts is None:
            self._layouts = Layouts(self.session)
        return self._layouts

    def read(
        self, view: memoryview, begin: int, end: int, progress: Callable[[float], None]
    ) -> None:
        """Take in the records of view[begin:end], one stream of them."""
        damage = Damage()
        self.damages.append(damage)
        self.streams.append(view)
        for window in windows(view, begin, end, damage):
            self._take(view, window)
            drop_pages(view)
            progress((window.stop - begin) / max(1, end - begin))

    def window(self, piece: Piece) -> Window:
        """The records of *piece*."""
        view = self.streams[piece.stream][piece.offset : piece.stop]
        data = view if piece.offset % 8 == 0 else bytes(view)
        words = np.frombuffer(data, dtype="<u8")
        if piece.sizes is None:
            at = chain(words)
        else:
            at = np.cumsum(piece.sizes, dtype=np.int64) - piece.sizes
        return Window(piece.offset, piece.stop, words, at, words[at])

    def _take(self, view: memoryview, window: Window) -> None:
        kind = window.type
        present = np.bincount(kind, minlength=MAX_TYPE)
        self.counts.update({one: int(present[one]) for one in np.flatnonzero(present).tolist()})
        if present[FIRST_PERF_TYPE:].any():
            for row in np.flatnonzero(np.isin(kind, DESCRIBING)).tolist():
                self._describe(view, window, row, int(kind[row]))
        stamps = self._stamps(window, kind)
        holes: list[Hole] = []
        if present[LOST]:
            rows = np.flatnonzero((kind == LOST) & (window.length > 2))
            counts = window.words[window.at[rows] + 2]
            holes = self.losses.lost(stamps, rows, counts)
        else:
            self.losses.seen(stamps)
        if present[LOST_SAMPLES]:
            rows = np.flatnonzero((kind == LOST_SAMPLES) & (window.length > 1))
            counts = window.words[window.at[rows] + 1]
            self.losses.lost_samples(window.misc[rows].astype(np.int64), counts)
        if present[COMM] or present[FORK]:
            self._take_tasks(view, window, kind, stamps)
        self.tasks.ran(stamps.pid, stamps.tid)
        self._cut(window, present, stamps.ts_ns, holes)
        self._records += len(kind)

    def _describe(self, view: memoryview, window: Window, row: int, kind: int) -> None:
        """A record that describes the others, or holds more than it counts."""
        place = window.place(row)
        beyond = outside(view, place)
        if kind == HEADER_ATTR:
            self.session.header_attr(window.payload(view, row))
            self._layouts = None
        elif kind == HEADER_FEATURE:
            content = memoryview(window.payload(view, row))
            self.session.feature(int.from_bytes(content[:8], "little"), content[8:])
            self._layouts = None
        elif kind == EVENT_UPDATE:
            self.session.event_update(window.payload(view, row))
        elif kind == TRACING_DATA and beyond:
            self.session.feature(1, view[beyond.begin : beyond.stop])
        elif kind == AUXTRACE and beyond:
            self.auxtrace_bytes += beyond.stop - beyond.begin
        elif kind in (COMPRESSED, COMPRESSED2) and len(self.streams) > 1:
            self.packed_twice += 1
        elif kind in (COMPRESSED, COMPRESSED2):
            size = int(window.heads[row]) >> 48
            stop = beyond.stop if beyond else place + size
            self.packed += packed_spans(view, place, stop, counted=kind == COMPRESSED2)

    def _stamps(self, window: Window, kind: NDArray[np.uint32]) -> Stamps:
        """The stamps of all records; perf's own have none."""
        sampled = kind == SAMPLE
        if sampled.all():
            return self.layouts.stamps_of_samples(window.words, window.at, window.length)
        found = blank_stamps(len(kind))
        for mine, read in (
            (sampled, self.layouts.stamps_of_samples),
            (~sampled & (kind < FIRST_PERF_TYPE), self.layouts.stamps_of_others),
        ):
            rows = np.flatnonzero(mine)
            put_stamps(found, rows, read(window.words, window.at[rows], window.length[rows]))
        return found

    def _take_tasks(
        self, view: memoryview, window: Window, kind: NDArray[np.uint32], stamps: Stamps
    ) -> None:
        for row in np.flatnonzero((kind == COMM) | (kind == FORK)).tolist():
            take = self.tasks.comm if kind[row] == COMM else self.tasks.fork
            take(int(stamps.ts_ns[row]), window.payload(view, row))

    def _cut(
        self, window: Window, present: NDArray[np.int64], ts_ns: Ints, holes: list[Hole]
    ) -> None:
        """Note the pieces of *window* that have something to decode; the first has the holes."""
        if not present[list(DECODED)].any() and not holes:
            return
        at, length = window.at, window.length
        cuts = np.searchsorted(at, np.arange(0, int(at[-1]) + 1, PIECE_BYTES // 8))
        bounds = [*cuts[np.flatnonzero(np.diff(cuts, prepend=-1))].tolist(), len(at)]
        timed = np.where(ts_ns > 0, ts_ns, FOREVER)
        for begin, end in pairwise(bounds):
            stop = int(at[end - 1] + length[end - 1])
            begins = [hole.from_ns or 0 for hole in holes]
            needed = min([int(timed[begin:end].min()), *begins]) % FOREVER
            kept = self._kept < MAX_KEPT
            self._kept += (end - begin) * kept
            self.pieces.append(
                Piece(
                    len(self.streams) - 1, window.offset + 8 * int(at[begin]),
                    window.offset + 8 * stop, self._records + begin, needed,
                    length[begin:end].astype(np.uint16) if kept else None, holes,
                )
            )  # fmt: skip
            holes = []

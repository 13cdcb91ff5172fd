"""PERF_RECORD_LOST and LOST_SAMPLES: where events are missing, and how many.

The kernel writes a LOST when its buffer has room again, with the number of records that found none
since the one before: so the hole lies between the record before it, in that CPU's buffer, and its
own time. LOST_SAMPLES are made by perf at the end, from the counters that PERF_FORMAT_LOST adds to
each event: they count the same samples once more, and those for which no LOST could be written.
Where both are there, the total comes from LOST_SAMPLES, and what LOST does not place is a loss
without a place. Samples that a BPF filter dropped are not lost.

Sources of truth: kernel/events/ring_buffer.c (__perf_output_begin), tools/perf/builtin-record.c
(record__read_lost_samples) of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.chunks import MAX_CPUS, Hole
from traceview.schema import LOSSES, conform
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from traceview.parsers.columns import Ints, Words
    from traceview.parsers.perf_layout import Stamps

KIND: Final = "lost_events"
BY_BPF: Final = 1 << 15  # PERF_RECORD_MISC_LOST_SAMPLES_BPF
MAX_COUNT: Final = 1 << 48  # a larger one is damage


class Losses:
    """The losses of a recording."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._last_ns = np.zeros(MAX_CPUS + 1, dtype=np.int64)  # by CPU; the last one: unknown
        self.placed = 0
        self.unplaced = 0  # of LOST records that do not say when
        self.samples = 0
        self.filtered = 0

    def seen(self, stamps: Stamps) -> None:
        """Records without losses among them, in the order of the file."""
        cpu, ts_ns = stamps.cpu, stamps.ts_ns
        if not ts_ns.all():  # what perf made up says no time
            timed = np.flatnonzero(ts_ns)
            cpu, ts_ns = cpu[timed], ts_ns[timed]
        self._last_ns[cpu] = ts_ns

    def lost(self, stamps: Stamps, rows: Ints, counts: Words) -> list[Hole]:
        """The holes of the LOST records *rows*, whose *counts* are given, among others."""
        timed = np.flatnonzero(stamps.ts_ns)
        order = timed[np.argsort(stamps.cpu[timed], kind="stable")]
        cpu = stamps.cpu[order]
        before = np.roll(stamps.ts_ns[order], 1)
        first = np.flatnonzero(np.diff(cpu, prepend=-2))  # of each CPU
        before[first] = self._last_ns[cpu[first]]
        from_ns = np.zeros_like(stamps.ts_ns)
        from_ns[order] = before
        self.seen(stamps)
        columns = (stamps.cpu[rows], from_ns[rows], stamps.ts_ns[rows], counts)
        holes = []
        for on, begin, end, count in zip(*(one.tolist() for one in columns), strict=True):
            if count >= MAX_COUNT:
                continue
            if end == 0:
                self.unplaced += count
                continue
            self.placed += count
            holes.append(Hole(None, on, KIND, min(begin, end) or None, end, count))
        return holes

    def lost_samples(self, misc: Ints, counts: Words) -> None:
        """LOST_SAMPLES with these *counts*."""
        true = counts < MAX_COUNT
        by_bpf = (misc & BY_BPF != 0) & true
        self.filtered += int(counts[by_bpf].sum())
        self.samples += int(counts[true & ~by_bpf].sum())

    def rows(self) -> pl.DataFrame:
        """The losses without a place."""
        missing = self.unplaced + max(0, self.samples - self.placed - self.unplaced)
        if not missing:
            return pl.DataFrame(schema=LOSSES)
        return conform("losses", pl.DataFrame({"kind": [KIND], "count": [missing]}))

    def diagnostics(self) -> list[Diagnostic]:
        """What was lost, in all."""
        total = max(self.samples, self.placed + self.unplaced)
        found = []
        if total:
            message = (
                f"{total} records lost because a buffer was full (a larger -m helps);"
                f" {self.placed} of them between known times"
            )
            found.append(Diagnostic("lost-events", "warning", message, total))
        if self.filtered:
            message = f"samples dropped by a BPF filter of perf record: {self.filtered}"
            found.append(Diagnostic("filtered-samples", "info", message, self.filtered))
        return found

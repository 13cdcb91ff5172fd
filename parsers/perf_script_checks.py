"""What perf prints alike in all lines of a file: fields before the time, and times that increase.

A line that lacks a field which its like have was cut; times that fall again and again are no times
but differences. Sources of truth: tools/perf/builtin-script.c (perf_sample__fprintf_start; events
are sorted by time unless --show-round-events is given), 4.4 to 7.2.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers.ftrace_text_rows import NO_TIME
from traceview.parsers.text_times import TimeOrder
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.parsers.ftrace_text_lines import Mask, Positions

KNOWN_NAMES: Final = 100_000


@dataclass(slots=True)
class Times:
    """The times of the events so far."""

    first_ns: int | None = None
    count: int = 0
    order: TimeOrder = field(default_factory=TimeOrder)

    def take(self, ts_ns: Positions) -> None:
        """Look at the times of further events."""
        times = ts_ns[ts_ns != NO_TIME]
        self.order.take(times)
        self.count += times.size
        if self.first_ns is None and times.size:
            self.first_ns = int(times[0])

    @property
    def are_differences(self) -> bool:
        """Whether they count from event to event: perf prints events in time order."""
        return self.first_ns == 0 and self.order.backwards * 5 > self.count

    def diagnostics(self) -> Iterator[Diagnostic]:
        """What is odd about them."""
        if self.first_ns == 0:
            yield Diagnostic(
                "relative-times",
                "info",
                "times count from the first event (perf script --reltime): they compare with no"
                " other source",
            )
        yield from self.order.diagnostics()


@dataclass(slots=True)
class Shapes:
    """Which fields stand before the time. perf prints the same for every event of a name."""

    seen: dict[str, Counter[int]] = field(default_factory=dict)

    def are_whole(self, shape: Positions, name: Positions, names: list[str]) -> Mask:
        """Which events have no fewer fields than most of their *names*; others are damaged."""
        width = int(shape.max(initial=0)) + 1
        kinds, kind, counts = np.unique(
            name * width + shape, return_inverse=True, return_counts=True
        )
        if len(self.seen) > KNOWN_NAMES:  # a file of nothing but different names
            self.seen.clear()
        for code, count in zip(kinds.tolist(), counts.tolist(), strict=True):
            self.seen.setdefault(names[code // width], Counter())[code % width] += count
        usual = [self.seen[names[code // width]].most_common(1)[0][0] for code in kinds.tolist()]
        missing = np.array(usual, np.int64) & ~(kinds % width)
        whole: Mask = (missing == 0)[kind]
        return whole

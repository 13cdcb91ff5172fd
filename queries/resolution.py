"""How fine the clock of a source is, from its own times.

A format that stores nanoseconds says nothing of the counter behind them: on one machine all times
are multiples of 16 ns, on another of 41.67. What is found is the largest number that divides all
differences of times and all durations; a counter whose tick is no whole number of nanoseconds
shows 1, which says nothing, and is left unsaid.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from traceview.queries.rows import NIL, whole

# Times looked at per batch, and those without which a common divisor may be chance.
SAMPLE: Final = 4096
ENOUGH: Final = 500
# Events whose times are no readings of the clock: the hypervisor's are put between others.
ESTIMATED: Final = ("hyp_enter", "hyp_exit")


class Resolution:
    """The common divisor of the times of one source, collected batch by batch."""

    def __init__(self) -> None:
        """Start with none."""
        self._divisor_ns = 0
        self._seen = 0

    def add(self, events: pl.DataFrame) -> None:
        """Look at the times of a batch (schema.EVENTS)."""
        head = events.head(SAMPLE)
        head = head.filter(~pl.col("name").is_in(ESTIMATED).fill_null(value=False))
        times, durations = whole(head["ts_ns"]), whole(head["duration_ns"])
        steps = np.abs(np.diff(times[times != NIL]))
        values = np.concatenate([steps, durations[durations != NIL]])
        self._seen += int(np.count_nonzero(values))
        if values.size:
            self._divisor_ns = int(np.gcd(self._divisor_ns, np.gcd.reduce(values)))

    def value_ns(self, stated_ns: int | None) -> int | None:
        """What the format states, or the coarser step that the times show; None if neither."""
        if self._seen >= ENOUGH and self._divisor_ns > max(1, stated_ns or 0):
            return self._divisor_ns
        return stated_ns

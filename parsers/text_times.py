"""Whether the times that a text prints increase: tracers print events in the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from traceview.parsers.ftrace_text_rows import NO_TIME
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.parsers.ftrace_text_lines import Positions


@dataclass(slots=True)
class TimeOrder:
    """Whether the times of events increase from line to line."""

    latest_ns: int = NO_TIME
    backwards: int = 0

    def take(self, times_ns: Positions) -> None:
        """Look at the times of further events, of those that have one."""
        if times_ns.size:
            earlier = np.diff(times_ns, prepend=max(self.latest_ns, 0)) < 0
            self.backwards += int(earlier.sum())
            self.latest_ns = int(times_ns[-1])

    def diagnostics(self) -> Iterator[Diagnostic]:
        """How many do not, if any."""
        if self.backwards:
            yield Diagnostic(
                "time-goes-back",
                "info",
                f"{self.backwards} events have an earlier time than the one printed before them",
                self.backwards,
            )

"""Trace clocks: which of them count time, and which agree between CPUs.

Source of truth: kernel/trace/trace.c (trace_clocks), Documentation/trace/ftrace.rst of Linux 5.10
to 7.2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Mapping

# They count nanoseconds; uptime does in jiffies. tsc2nsec is trace-cmd's name for cycles of an x86
# time-stamp counter that its file says how to convert.
NANOSECOND_CLOCKS: Final = {
    "local", "global", "uptime", "perf", "mono", "mono_raw", "boot", "tai", "tsc2nsec",
}  # fmt: skip
TSC2NSEC: Final = "tsc2nsec"
SELECTED: Final = re.compile(r"\[\s*([^\s\]]+)\s*\]")


def selected_clock(text: str) -> str | None:
    """The clock in brackets, from tracefs `trace_clock`."""
    found = SELECTED.search(text)
    return found[1] if found else None


def clock_diagnostics(
    clock: str | None, others: Mapping[str, str | None], *, has_time: bool
) -> list[Diagnostic]:
    """What the reader of times of *clock* must know; *others*: the clock of each other buffer."""
    found = []
    if not has_time:
        message = f"the trace clock {clock} counts no time: events are in order, without times"
        found.append(Diagnostic("clock-without-time", "warning", message))
    if clock in ("local", None):
        message = (
            f"the trace clock is {clock or 'unknown'}: times of different CPUs may be off"
            " against each other, and so may the order of events across CPUs"
        )
        found.append(Diagnostic("clock-not-comparable", "warning", message))
    for name, other in others.items():
        if other not in (None, clock, TSC2NSEC):
            message = (
                f"buffer {name!r} has the clock {other}, the main buffer {clock}:"
                " their events cannot be ordered against each other"
            )
            found.append(Diagnostic("clocks-differ", "warning", message))
    return found

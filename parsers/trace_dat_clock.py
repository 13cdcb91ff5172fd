"""Times of a trace.dat file as trace-cmd reports them.

Options ask for a conversion: TSC2NSEC turns cycles of an x86 time-stamp counter into nanoseconds,
DATE and OFFSET are added. Times of a guest that TIME_SHIFT would move to its host's clock stay the
guest's own: that is said, and constant offsets change no duration. Source of truth:
timestamp_calc() in lib/trace-cmd/trace-input.c of trace-cmd 3.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers.ring_buffer_clock import NANOSECOND_CLOCKS, clock_diagnostics
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from traceview.parsers.columns import Ints
    from traceview.parsers.trace_dat_options import BufferData, Options

HALF: Final = 32


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of a recording: `name` is the kernel's; what the file asks for is added."""

    name: str | None
    tsc: tuple[int, int] | None = None  # multiplier, shift
    offset_ns: int = 0

    @property
    def has_time(self) -> bool:
        """Whether the numbers, converted, are nanoseconds."""
        return self.name is None or self.name in NANOSECOND_CLOCKS or self.tsc is not None

    def to_ns(self, ts: Ints) -> Ints:
        """Recorded times, converted; what does not fit into 63 bits wraps around."""
        if self.tsc is not None:
            ts = _scaled(ts, *self.tsc)
        return ts + np.int64(self.offset_ns) if self.offset_ns else ts


def clock_of(options: Options) -> Clock:
    """The clock that *options* describe."""
    offset = options.date_ns + options.offset_ns
    return Clock(options.clock, options.tsc, offset if abs(offset) < 1 << 62 else 0)


def times_diagnostics(options: Options, buffers: list[BufferData]) -> list[Diagnostic]:
    """What the reader of times must know."""
    clock, found = clock_of(options), []
    if clock.tsc is not None:
        message = f"times are cycles of the clock {clock.name}, converted as option TSC2NSEC says"
        found.append(Diagnostic("times-converted", "info", message))
    if clock.offset_ns:
        message = f"times are moved by {clock.offset_ns} ns, as options DATE and OFFSET say"
        found.append(Diagnostic("times-moved", "info", message))
    if options.shifted:
        message = (
            "this is the trace of a guest: its times are not moved to the clock of its host"
            " (option TIME_SHIFT)"
        )
        found.append(Diagnostic("guest-times", "warning", message))
    # trace-cmd 3.4 writes the top instance's clock for all of them, even where that one is off and
    # TRACECLOCK tells another: only what differs from it says something.
    main = next((one.clock for one in buffers if not one.name), clock.name)
    others = {one.name: one.clock for one in buffers if one.name and one.clock != main}
    return found + clock_diagnostics(clock.name, others, has_time=clock.has_time)


def _scaled(ts: Ints, multiplier: int, shift: int) -> Ints:
    """Times `ts * multiplier >> shift`, in 64 bits, without overflow in between."""
    whole = ts.view(np.uint64)
    low, high = whole & np.uint64(2**HALF - 1), whole >> np.uint64(HALF)
    factor = np.uint64(multiplier)
    scaled = (low * factor) >> np.uint64(shift)
    upper = high * factor
    if shift <= HALF:
        scaled += upper << np.uint64(HALF - shift)
    else:
        scaled += upper >> np.uint64(shift - HALF)
    result: Ints = scaled.view(np.int64)
    return result

"""PERF_RECORD_SWITCH and SWITCH_CPU_WIDE (perf record --switch-events) -> sched_switch events.

The kernel writes them where it switches tasks, as the tracepoint sched_switch does: in a recording
without that tracepoint they say the same, and get its name. A SWITCH_CPU_WIDE says both tasks when
one is switched out; a SWITCH, of a recording of single tasks, says one, when it leaves and when it
comes back. Source of truth: kernel/events/core.c (perf_event_switch) of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers.chunks import NO_TID, Chunk, Numbers
from traceview.parsers.classes import Class
from traceview.parsers.perf_records import NUMBERS

if TYPE_CHECKING:
    from traceview.parsers.classes import Classes
    from traceview.parsers.columns import Ints
    from traceview.parsers.names import Names
    from traceview.parsers.perf_layout import Layouts
    from traceview.parsers.perf_records import Window
    from traceview.parsers.perf_session import Session
    from traceview.trace import Want

SWITCH: Final = NUMBERS["SWITCH"]
CPU_WIDE: Final = NUMBERS["SWITCH_CPU_WIDE"]
OUT: Final = 1 << 13  # PERF_RECORD_MISC_SWITCH_OUT
NAME: Final = "sched_switch"
TRACEPOINT: Final = "sched:sched_switch"
MIN_WORDS: Final = 2  # of a CPU_WIDE: its header, the pid and the tid of the other task


class SwitchDecoder:
    """Decodes the switches of one window after the other."""

    def __init__(
        self, session: Session, layouts: Layouts, want: Want, names: Names, classes: Classes
    ) -> None:
        """Nothing is to be done where the tracepoint was recorded, or nobody asks."""
        self._layouts = layouts
        self._is_needed = want.all_events or want.vocabulary.wants_event(NAME)
        self._is_needed &= all(event.label != TRACEPOINT for event in session.events)
        self._code = classes.code(Class(NAME, None, "instant", "tracepoint"))
        self._next_pid = names.code("next_pid")
        self._prev_pid = names.code("prev_pid")

    def decode(self, window: Window, first: int) -> Chunk | None:
        """The switches of *window*, if any; *first*: the number of its first record."""
        kind, out = window.type, (window.misc & OUT) != 0
        wide = (kind == CPU_WIDE) & out & (window.length >= MIN_WORDS)
        rows = np.flatnonzero(wide | (kind == SWITCH))
        if not self._is_needed or not rows.size:
            return None
        stamps = self._layouts.stamps_of_others(
            window.words, window.at[rows], window.length[rows]
        )  # fmt: skip
        wide, out = wide[rows], out[rows]
        at = window.at[rows]
        other = (window.words[np.where(wide, at + 1, at)] >> 32).astype(np.int32)
        previous = np.where(out, stamps.tid, NO_TID)
        following = np.where(wide, other, np.where(out, NO_TID, stamps.tid))
        usable = np.flatnonzero((stamps.ts_ns > 0) | (not self._layouts.have_time))
        ts_ns = stamps.ts_ns if self._layouts.have_time else first + rows
        return Chunk.blank(
            ts_ns[usable], cpu=stamps.cpu[usable], tid=previous[usable].astype(np.int32),
            what=np.full(len(usable), self._code, dtype=np.uint32),
            numbers=self._numbers(previous[usable], following[usable]),
        )  # fmt: skip

    def _numbers(self, previous: Ints, following: Ints) -> Numbers:
        left, came = np.flatnonzero(previous != NO_TID), np.flatnonzero(following != NO_TID)
        names = np.repeat([self._prev_pid, self._next_pid], [len(left), len(came)])
        values = np.concatenate([previous[left], following[came]])
        return Numbers(
            np.concatenate([left, came]), names.astype(np.uint32), values.astype(np.int64)
        )  # fmt: skip

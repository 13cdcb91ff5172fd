"""What the kernel counts as lost: per_cpu/cpuN/stats of a buffer, and kprobe_profile.

Sources: kernel/trace/trace.c (tracing_stats_read), kernel/trace/trace_kprobe.c
(probes_profile_seq_show) of Linux 6.12.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from traceview.record.backend import Losses

if TYPE_CHECKING:
    from pathlib import Path

# Records overwritten or not written. `dropped events` are those of a ring that is not overwritten.
LOST: Final = re.compile(r"^(?:overrun|commit overrun|dropped events): (\d{1,19})$", re.MULTILINE)
CPU: Final = re.compile(r"^cpu(\d{1,5})$")


class KernelLosses:
    """Counts from when it is made: what was there before is not ours."""

    def __init__(self, tracefs: Path, instance: str | None = None) -> None:
        """Take down what the counters say now."""
        self._tracefs = tracefs
        self._buffer = tracefs if instance is None else tracefs / "instances" / instance
        self._before = self._overruns()
        self._missed_before = self._missed()

    def so_far(self) -> Losses:
        """What was lost since."""
        now = self._overruns()
        if not now:
            return Losses(None, self._missed(), note="the kernel's counters cannot be read")
        # A ring that was cleared meanwhile counts from 0 again.
        by_cpu = {
            cpu: lost - before if lost >= (before := self._before.get(cpu, 0)) else lost
            for cpu, lost in now.items()
        }
        by_cpu = {cpu: lost for cpu, lost in by_cpu.items() if lost}
        return Losses(sum(by_cpu.values()), self._missed() - self._missed_before, by_cpu)

    def _overruns(self) -> dict[int, int]:
        found = {}
        for file in self._buffer.glob("per_cpu/cpu*/stats"):
            number = CPU.match(file.parent.name)
            if number is not None:
                found[int(number[1])] = sum(map(int, LOST.findall(_text(file))))
        return found

    def _missed(self) -> int:
        """Hits that kprobes of ours missed: the last column of kprobe_profile."""
        total = 0
        for line in _text(self._tracefs / "kprobe_profile").splitlines():
            words = line.split()
            # Names are without their group here: those of ours alone are defined by us.
            if len(words) == 3 and words[2].isdecimal():
                total += int(words[2])
        return total


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""

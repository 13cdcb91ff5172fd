"""perf_event_attr: what was recorded, and how its samples are laid out.

The struct grows with the kernel (64 bytes at first, 144 in 7.2); `size` in it says how long this
one is, and fields beyond that are zero. Source of truth: include/uapi/linux/perf_event.h of
Linux 6.1 to 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIN_ATTR_BYTES: Final = 64  # PERF_ATTR_SIZE_VER0

TYPE_TRACEPOINT: Final = 2

# enum perf_event_sample_format
IP: Final = 1 << 0
TID: Final = 1 << 1
TIME: Final = 1 << 2
ADDR: Final = 1 << 3
READ: Final = 1 << 4
CALLCHAIN: Final = 1 << 5
ID: Final = 1 << 6
CPU: Final = 1 << 7
PERIOD: Final = 1 << 8
STREAM_ID: Final = 1 << 9
RAW: Final = 1 << 10
IDENTIFIER: Final = 1 << 16

# enum perf_event_read_format
TOTAL_TIME_ENABLED: Final = 1 << 0
TOTAL_TIME_RUNNING: Final = 1 << 1
FORMAT_ID: Final = 1 << 2
GROUP: Final = 1 << 3
FORMAT_LOST: Final = 1 << 4

# The bit field behind read_format.
FREQ: Final = 1 << 10
SAMPLE_ID_ALL: Final = 1 << 18
USE_CLOCKID: Final = 1 << 25
WRITE_BACKWARD: Final = 1 << 27

CLOCKS: Final = {
    0: "realtime", 1: "mono", 2: "process_cputime", 3: "thread_cputime", 4: "mono_raw",
    5: "realtime_coarse", 6: "mono_coarse", 7: "boot", 11: "tai",
}  # fmt: skip
# What perf counts time with unless -k asks for another: local_clock(), trace_clock "perf".
PERF_CLOCK: Final = "perf"

# perf's names of the general events, for files that do not name theirs.
GENERAL_NAMES: Final = {
    (0, 0): "cycles", (0, 1): "instructions", (0, 2): "cache-references", (0, 3): "cache-misses",
    (0, 4): "branches", (0, 5): "branch-misses", (0, 6): "bus-cycles",
    (0, 7): "stalled-cycles-frontend", (0, 8): "stalled-cycles-backend", (0, 9): "ref-cycles",
    (1, 0): "cpu-clock", (1, 1): "task-clock", (1, 2): "page-faults", (1, 3): "context-switches",
    (1, 4): "cpu-migrations", (1, 5): "minor-faults", (1, 6): "major-faults",
    (1, 7): "alignment-faults", (1, 8): "emulation-faults", (1, 9): "dummy", (1, 10): "bpf-output",
    (1, 11): "cgroup-switches",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attr:
    """The fields of a perf_event_attr that are needed to read its records."""

    type: int
    size: int
    config: int
    sample_period: int
    sample_type: int
    read_format: int
    flags: int
    clockid: int

    @property
    def clock(self) -> str:
        """The clock of its times, by tracefs' word for it."""
        if not self.flags & USE_CLOCKID:
            return PERF_CLOCK
        return CLOCKS.get(self.clockid, f"clockid {self.clockid}")

    @property
    def period(self) -> int:
        """The period of samples that do not state theirs; 0: not known."""
        return 0 if self.flags & FREQ else self.sample_period

    @property
    def skips_hits(self) -> bool:
        """Whether a hit of a software event, as tracepoints are, is recorded now and then only.

        With a period and no frequency the kernel records each hit if it may state that period in
        the sample (perf_swevent_event in kernel/events/core.c of Linux 6.1 to 7.2).
        """
        return bool(self.flags & FREQ) or (self.sample_period > 1 and not self.sample_type & PERIOD)

    @property
    def words_to_id(self) -> int | None:
        """Where the id stands in a sample, in words of 8 bytes from its header."""
        if self.sample_type & IDENTIFIER:
            return 1
        if self.sample_type & ID:
            return 1 + (self.sample_type & (IP | TID | TIME | ADDR)).bit_count()
        return None

    @property
    def words_behind_id(self) -> int | None:
        """Where the id stands in other records, in words of 8 bytes from their end."""
        if not self.flags & SAMPLE_ID_ALL:
            return None
        if self.sample_type & IDENTIFIER:
            return 1
        if self.sample_type & ID:
            return 1 + (self.sample_type & (STREAM_ID | CPU)).bit_count()
        return None


@dataclass(slots=True)
class Event:
    """Something that was recorded: its attr, its name, and whether ids mark its records."""

    attr: Attr
    name: str | None = None
    has_ids: bool = False

    @property
    def is_tracepoint(self) -> bool:
        """Whether it is an event of ftrace: a tracepoint, kprobe or uprobe."""
        return self.attr.type == TYPE_TRACEPOINT

    @property
    def label(self) -> str:
        """Its name, or what its attr says it is."""
        if self.name:
            return self.name
        attr = self.attr
        if self.is_tracepoint:
            return f"tracepoint {attr.config:#x}"
        return GENERAL_NAMES.get((attr.type, attr.config), f"type {attr.type} {attr.config:#x}")


def parse_attr(content: bytes) -> Attr:
    """The attr at the start of *content*, which may be longer or shorter than what is known.

    Raises ValueError when it is shorter than any attr ever was.
    """
    if len(content) < MIN_ATTR_BYTES:
        raise ValueError(f"an event's attr of {len(content)} bytes")
    size = int.from_bytes(content[4:8], "little") or MIN_ATTR_BYTES  # old kernels left it zero
    known = content[:size] if size >= MIN_ATTR_BYTES else content[:MIN_ATTR_BYTES]

    def number(offset: int, length: int) -> int:
        return int.from_bytes(known[offset : offset + length], "little")

    clockid = number(92, 4)
    return Attr(
        type=number(0, 4),
        size=size,
        config=number(8, 8),
        sample_period=number(16, 8),
        sample_type=number(24, 8),
        read_format=number(32, 8),
        flags=number(40, 8),
        clockid=clockid - (1 << 32) if clockid >> 31 else clockid,
    )

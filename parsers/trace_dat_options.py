"""Options of trace.dat: what trace-cmd wrote down about the recording, and where its parts lie.

An option is a number and bytes. What later options say of the same thing replaces what earlier ones
said, as it does for trace-cmd. Sources of truth: trace-cmd.dat.v7(5) and handle_options() in
lib/trace-cmd/trace-input.c of trace-cmd 3.4.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from traceview.errors import ParseError
from traceview.parsers.chunks import MAX_CPUS
from traceview.parsers.ring_buffer_clock import selected_clock
from traceview.parsers.ring_buffer_losses import parse_stats
from traceview.parsers.trace_dat_bytes import Cursor

if TYPE_CHECKING:
    from traceview.parsers.ring_buffer_losses import Lane, Stats

DONE: Final = 0
DATE: Final = 1
CPUSTAT: Final = 2
BUFFER: Final = 3
TRACECLOCK: Final = 4
UNAME: Final = 5
OFFSET: Final = 7
CPUCOUNT: Final = 8
VERSION: Final = 9
TRACEID: Final = 11
TIME_SHIFT: Final = 12
GUEST: Final = 13
TSC2NSEC: Final = 14
STRINGS: Final = 15
HEADER_INFO: Final = 16
FTRACE_EVENTS: Final = 17
EVENT_FORMATS: Final = 18
KALLSYMS: Final = 19
PRINTK: Final = 20
CMDLINES: Final = 21
BUFFER_TEXT: Final = 22
LAST_BOOT_INFO: Final = 24

# They say nothing that changes an event: user-space maps, event hooks, types, modules.
NOT_NEEDED: Final = {6: "HOOK", 10: "PROCMAPS", 23: "BTF_FILE", 25: "MODULES_FILE"}
SECTIONS: Final = (HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES)

NUMBER: Final = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]{1,16}|\d{1,20})")
STATS_OF: Final = re.compile(r"^\s*Buffer:\s*(.*?)\s*$", re.MULTILINE)
CPU: Final = re.compile(r"^CPU:\s*(\d{1,5})\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class CpuData:
    """Where the pages of one CPU lie in the file; `size` is what they take there."""

    cpu: int
    offset: int
    size: int


@dataclass(slots=True)
class BufferData:
    """One ring-buffer instance. `name` is empty for the main one.

    Version 6 says where its pages lie elsewhere, at `offset`; `cpu_count` is the number of its
    CPUs where that is not the number of the host's. `is_text`: it is not pages, but text.
    """

    name: str
    offset: int
    clock: str | None = None
    page_bytes: int | None = None
    cpus: list[CpuData] = field(default_factory=list)
    cpu_count: int | None = None
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest that was traced at the same time, into a file of its own."""

    name: str
    cpus: int


@dataclass(slots=True)
class Options:
    """What the options said."""

    version: int
    clock: str | None = None
    uname: str | None = None
    cpus: int | None = None
    recorder: str | None = None
    date_ns: int = 0
    offset_ns: int = 0
    tsc: tuple[int, int] | None = None  # multiplier, shift
    shifted: bool = False  # the times of a guest were compared with those of its host
    guests: list[Guest] = field(default_factory=list)
    buffers: list[BufferData] = field(default_factory=list)
    sections: dict[int, int] = field(default_factory=dict)  # id -> offset
    stats: dict[Lane, Stats] = field(default_factory=dict)
    earlier_boot: list[str] = field(default_factory=list)
    unknown: Counter[int] = field(default_factory=Counter)
    unreadable: Counter[int] = field(default_factory=Counter)
    _stats_of: str | None = None

    def add(self, identity: int, content: memoryview, path: str) -> None:
        """Take in an option; one that cannot be read is counted."""
        try:
            self._add(identity, Cursor(content, path, f"option {identity}", None))
        except ParseError:
            self.unreadable[identity] += 1

    def buffer(self, name: str) -> BufferData | None:
        """The instance of that name."""
        return next((one for one in self.buffers if one.name == name), None)

    def _add(self, identity: int, content: Cursor) -> None:
        text = bytes(content.data).split(b"\0")[0].decode("utf-8", "replace")
        if identity in SECTIONS:
            self.sections[identity] = content.number(8, "the place of a section")
        elif identity == BUFFER:
            self._replace(_read_buffer(content, self.version))
        elif identity == BUFFER_TEXT:
            self._replace(_read_buffer(content, self.version, is_text=True))
        elif identity == CPUSTAT:
            self._add_stats(text)
        elif identity == CPUCOUNT:
            self._count_cpus(content.number(4, "the number of CPUs"))
        elif identity in (DATE, OFFSET, TSC2NSEC, TIME_SHIFT):
            self._add_time(identity, text, content)
        elif identity == GUEST:
            name = content.string("the name of a guest")
            content.number(8, "the trace id of a guest")
            self.guests.append(Guest(name, content.number(4, "the CPUs of a guest")))
        elif identity == LAST_BOOT_INFO:
            self.earlier_boot.append(text.partition(":")[0])
        elif identity in (TRACECLOCK, UNAME, VERSION):
            self._add_text(identity, text)
        elif identity not in (TRACEID, *NOT_NEEDED):
            self.unknown[identity] += 1

    def _add_text(self, identity: int, text: str) -> None:
        if identity == TRACECLOCK:
            self.clock = selected_clock(text) or self.clock
        elif identity == UNAME:
            self.uname = text
        else:
            self.recorder = text

    def _add_time(self, identity: int, text: str, content: Cursor) -> None:
        if identity == DATE:  # microseconds between the trace clock and the time of day
            self.date_ns += _whole(text, content) * 1000
        elif identity == OFFSET:
            self.offset_ns += _whole(text, content)
        elif identity == TIME_SHIFT:
            self.shifted = content.left >= 16
        else:
            multiplier = content.number(4, "the TSC multiplier")
            shift = content.number(4, "the TSC shift")
            content.number(8, "the TSC offset")
            if shift >= 64:
                raise content.error(f"a TSC shift of {shift}")
            self.tsc = (multiplier, shift) if multiplier else None

    def _count_cpus(self, count: int) -> None:
        # Version 6 writes it behind an instance that has another number of CPUs than the host.
        if self.version < 7 and self.buffers and self.buffers[-1].name:
            self.buffers[-1].cpu_count = min(count, MAX_CPUS)
        else:
            self.cpus = count

    def _add_stats(self, text: str) -> None:
        """Stats of a CPU; a line with the name of an instance comes before those of its CPUs."""
        named = STATS_OF.search(text)
        if named:
            self._stats_of = named[1] or None
        cpu = CPU.search(text)
        if cpu and int(cpu[1]) < MAX_CPUS:
            self.stats[self._stats_of, int(cpu[1])] = parse_stats(text)

    def _replace(self, buffer: BufferData) -> None:
        self.buffers = [one for one in self.buffers if one.name != buffer.name]
        self.buffers.append(buffer)


def _read_buffer(content: Cursor, version: int, *, is_text: bool = False) -> BufferData:
    offset = content.number(8, "the place of a buffer")
    found = BufferData(content.string("the name of a buffer"), offset, is_text=is_text)
    if version < 7:
        return found
    found.clock = content.string("the clock of a buffer")
    if is_text:
        return found
    found.page_bytes = content.number(4, "the page size of a buffer")
    count = content.number(4, "the number of a buffer's CPUs")
    if count > MAX_CPUS:
        raise content.error(f"a buffer with {count} CPUs")
    for _ in range(count):
        cpu = content.number(4, "the number of a CPU")
        at, size = content.number(8, "the place of a CPU's data"), content.number(8, "their size")
        if cpu >= MAX_CPUS:
            raise content.error(f"CPU {cpu}")
        found.cpus.append(CpuData(cpu, at, size))
    return found


def _whole(text: str, content: Cursor) -> int:
    """A number as strtoll() reads it, decimal or hexadecimal."""
    match = NUMBER.match(text)
    if match is None:
        raise content.error(f"{text[:20]!r} is no number")
    number = int(match[2], 16 if match[2][:2] in ("0x", "0X") else 10)
    return -number if match[1] == "-" else number

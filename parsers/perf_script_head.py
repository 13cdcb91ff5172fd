"""The beginning of a `perf script` line: `comm pid/tid [cpu] misc tod time: period event:`.

Which of the fields are there, and in which width, is the choice of whoever ran perf (`-F`); time
and event must be. A line is found by the colon behind its time. What stands before it takes few
distinct values and is read once each; a name (`comm`) may hold spaces, digits, colons and
slashes, but perf prints a thread ID right-aligned in five columns or more, which tells them apart.

What the text cannot say: one number before the time is taken as the thread ID (it may be the
process, with `-F pid`), and a name made of digits alone, without a thread ID, for one.

Sources of truth: tools/perf/builtin-script.c (perf_sample__fprintf_start, process_event,
print_event_with_time), 4.4 to 7.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers.ftrace_text_lines import distinct, first_of_each, next_of
from traceview.parsers.ftrace_text_rows import NO_TIME, NONE, Heads, looked_up
from traceview.schema import CPUMODES

if TYPE_CHECKING:
    import polars as pl

    from traceview.parsers.ftrace_text_lines import Lines, Mask, Positions

HEAD_BYTES: Final = 256  # time of day, misc and a name in another script included
NAME_BYTES: Final = 256  # a PMU event carries its configuration in its name
KNOWN_TASKS: Final = 100_000
MAX_SECONDS: Final = 9_223_372_035  # beyond: no time (perf prints 2^64-1 where there is none)
US_NS, SECOND_NS = 1000, 1_000_000_000

# Right-aligned in five columns at least.
NUMBER: Final = r" *(?: {4}\d| {3}[-\d]\d| {2}[-\d]\d{2}| [-\d]\d{3}|[-\d]\d{4,10})"
# The letters of PERF_RECORD_MISC_*: cpumode, and what side-band records say.
MISC: Final = r"(?:KUH|KGg|K|U|G)?(?:M|E|Sp?)?"
THREAD: Final = rf"(?:(?P<pid>{NUMBER})/(?P<tid>(?=[ \d-]{{5}})-?\d{{1,10}} *)|(?P<one>{NUMBER}))"
CPU: Final = r"\[(?P<cpu>-?\d{2,5})\]"
BARE_CPU: Final = r"(?P<cpu> {2}\d| \d{2}|\d{3,4})"
TASKS: Final = tuple(
    re.compile(form)
    for form in (
        # perf script -L: the name cut to 8 bytes, the CPU without brackets.
        rf"(?! {{8}})(?P<comm>.{{8}}) {THREAD} {BARE_CPU}(?: +(?P<misc>{MISC}))? *",
        rf" *(?:(?P<comm>.{{1,15}}?) )??{THREAD}(?: +{CPU})?(?: +(?P<misc>{MISC}))? *",
        rf" *(?P<comm>.{{1,15}}?)? *{CPU}(?: +(?P<misc>{MISC}))? *",
        r" *(?P<comm>.{1,15}?)? *",
    )
)
# With the columns pushed together: what the forms above would take for a part of the name.
LOOSE_TASK: Final = re.compile(
    r" *(?P<comm>\S.{0,14}?) +(?:(?P<pid>\d{1,10})/(?P<tid>\d{1,10})|(?P<one>\d{1,10}))"
    rf" *{CPU}(?: +(?P<misc>{MISC}))? *"
)
CPUMODE_OF: Final = {
    "K": "kernel", "U": "user", "KUH": "hypervisor", "G": "guest_kernel", "KGg": "guest_user",
}  # fmt: skip
MISC_TAIL: Final = re.compile(r"(?:M|E|Sp?)$")
UNKNOWN_COMM: Final = re.compile(r"(?::-?\d+)?")  # perf's word for a name that it does not know

# An event without a time, which is refused.
TIMELESS: Final = (
    r"^ *\S.{0,14}? +\d{1,7}(?:/\d{1,7})? +"
    r"(?:\[\d{3,5}\] +(?:\d+ +)?[A-Za-z_][\w/:,=.-]*:|(?:\d+ +)?[A-Za-z_]\w*:[\w.-]+:)(?: |$)"
)

# What a line is: an event, a record of another type (PERF_RECORD_*), or without an event's name.
EVENT, SIDE_BAND, NAMELESS = range(3)


@dataclass(frozen=True, slots=True)
class Task:
    """What stands before the time.

    `cpumode` is an index into schema.CPUMODES; `shape` says which fields there are: 1 a process,
    2 a thread, 4 a CPU.
    """

    comm: str | None
    tid: int
    tgid: int
    cpu: int
    cpumode: int
    shape: int


NOBODY: Final = Task(None, NONE, NONE, NONE, 0, 0)


@dataclass(frozen=True, slots=True)
class Times:
    """Times, where they begin and how fine they are; `valid` says before which colons."""

    valid: Mask
    start: Positions
    ts_ns: Positions
    resolution_ns: Positions


@dataclass(slots=True)
class ScriptHeads:
    """Lines with a time. `heads.body` is where the event's name begins, `name_end` its colon.

    `period` is NONE where it was not printed.
    """

    heads: Heads
    name_end: Positions
    period: Positions
    cpumode: Positions
    shape: Positions
    kind: Positions

    def take(self, rows: Positions | Mask) -> ScriptHeads:
        """The lines at *rows*."""
        return ScriptHeads(
            self.heads.take(rows),
            self.name_end[rows],
            self.period[rows],
            self.cpumode[rows],
            self.shape[rows],
            self.kind[rows],
        )


class HeadReader:
    """Reads heads; remembers those it saw, and how fine their times are."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.resolution_ns: int | None = None
        self._tasks: dict[str, Task | None] = {}

    def read(self, lines: Lines) -> ScriptHeads:
        """The heads of those *lines* that have one, in order."""
        ends = _ends_of_words(lines)
        line = lines.line_of(ends)
        near = (line >= 0) & (ends - lines.starts[line] < HEAD_BYTES) & lines.is_digit(ends - 1)
        heads = self._heads(lines, line[near], ends[near], ends)
        # A name may look like a time, and what follows it like an event: most fields win.
        order = np.lexsort((-heads.shape, heads.kind == NAMELESS, heads.heads.line))
        return heads.take(order[first_of_each(heads.heads.line[order])])

    def _heads(
        self, lines: Lines, line: Positions, colons: Positions, ends: Positions
    ) -> ScriptHeads:
        """What each of *colons*, as the end of a time, makes of its line."""
        times = _times(lines, colons)
        line, colons = line[times.valid], colons[times.valid]
        stop = _before_time_of_day(lines, times.start)
        index, tasks = self._read_tasks(lines.text(lines.starts[line], stop))
        ok = np.array([task is not None for task in tasks], np.bool_)[index]
        some = [task or NOBODY for task in tasks]
        numbers = np.array([(t.tid, t.tgid, t.cpu, t.cpumode, t.shape) for t in some], np.int64)
        line, index, colons = line[ok], index[ok], colons[ok]
        tid, tgid, cpu, cpumode, shape = numbers.reshape(-1, 5)[index].T
        if ok.any():
            finest = int(times.resolution_ns[ok].min())
            self.resolution_ns = min(finest, self.resolution_ns or finest)
        body = np.minimum(colons + 1, lines.ends[line])
        body = np.minimum(body + lines.spaces_after(body), lines.ends[line])
        heads = Heads(
            line=line,
            ts_ns=times.ts_ns[ok],
            cpu=cpu,
            tid=tid,
            tgid=tgid,
            comm=looked_up([task.comm for task in some], index),
            body=body,
            end=lines.ends[line],
            comment=np.zeros(line.size, np.bool_),
        )
        return _named(lines, heads, ends, cpumode, shape)

    def _read_tasks(self, texts: pl.Series) -> tuple[Positions, list[Task | None]]:
        index, values = distinct(texts)
        if len(self._tasks) > KNOWN_TASKS:  # a file of nothing but different heads
            self._tasks.clear()
        for text in values:
            if text not in self._tasks:
                self._tasks[text] = read_task(text)
        return index, [self._tasks[text] for text in values]


def read_task(text: str) -> Task | None:
    """What *text*, the part of a line before its time, says; None where it is no such part."""
    match = next(
        (match for form in TASKS if (match := form.fullmatch(text))), LOOSE_TASK.fullmatch(text)
    )
    if match is None:
        return None
    said = match.groupdict()
    pid, tid, cpu = said.get("pid"), said.get("tid") or said.get("one"), said.get("cpu")
    comm = (said["comm"] or "").strip(" ")
    mode = CPUMODE_OF.get(MISC_TAIL.sub("", said.get("misc") or ""), "unknown")
    return Task(
        comm=None if UNKNOWN_COMM.fullmatch(comm) else comm,
        tid=max(int(tid or NONE), NONE),
        tgid=max(int(pid or NONE), NONE),
        cpu=max(int(cpu or NONE), NONE),
        cpumode=CPUMODES.index(mode),
        shape=(pid is not None) + 2 * (tid is not None) + 4 * (cpu is not None),
    )


def _ends_of_words(lines: Lines) -> Positions:
    """The colons before a space or the end of the line."""
    colons = lines.positions(":")
    return colons[np.isin(lines.buffer[colons + 1], (ord(" "), ord("\n")))]


def _times(lines: Lines, colons: Positions) -> Times:
    """The times before those of *colons* that have one (`valid`)."""
    low, digits = lines.decimal_before(colons)
    point = colons - digits - 1
    high, seconds = lines.decimal_before(point)
    valid = (lines.buffer[point] == ord(".")) & (seconds > 0) & (seconds <= 11)
    valid &= (digits == 6) | (digits == 9)
    low, high, point, seconds = low[valid], high[valid], point[valid], seconds[valid]
    resolution = np.where(digits[valid] == 6, US_NS, 1)
    known = high <= MAX_SECONDS
    ts_ns = np.where(known, high, 0) * SECOND_NS + low * resolution
    return Times(valid, point - seconds, np.where(known, ts_ns, NO_TIME), resolution)


def _before_time_of_day(lines: Lines, start: Positions) -> Positions:
    """Where the head ends: before `2026-11-22 16:09:59.316675 `, if that comes before the time."""
    stop, end = start - lines.spaces_before(start), start.copy()
    for digits in (6, 9):
        rows = np.flatnonzero(lines.buffer[stop - digits - 1] == ord("."))
        day = stop[rows] - len("2026-11-22 16:09:59.") - digits
        there = lines.is_digit(day)
        for at, mark in ((4, "-"), (7, "-"), (10, " "), (13, ":"), (16, ":")):
            there &= lines.buffer[day + at] == ord(mark)
        end[rows[there]] = day[there]
    return end


def _named(
    lines: Lines, heads: Heads, ends: Positions, cpumode: Positions, shape: Positions
) -> ScriptHeads:
    """Find the period and the name of the event behind the time."""
    body, end = heads.body, heads.end
    name_end = next_of(ends, body, end)
    name = np.maximum(name_end - lines.word_before(name_end, NAME_BYTES), body)
    before = np.maximum(name - lines.spaces_before(name), body)
    period, digits = lines.decimal_before(before)
    has_period = (before > body) & (before - digits == body) & (digits <= 18)
    named = (name_end < end) & (name < name_end) & ((before == body) | has_period)
    first = lines.buffer[np.minimum(name, end)]
    letter = first | np.uint8(0x20)
    named &= ((letter >= ord("a")) & (letter <= ord("z"))) | np.isin(first, (ord("_"), ord("[")))
    side_band = lines.has(body, "PERF_RECORD_") | lines.has(body, "DEFERRED CALLCHAIN")
    heads.body = np.where(named & ~side_band, name, body)
    return ScriptHeads(
        heads,
        name_end,
        np.where(has_period & named, period, NONE),
        cpumode,
        shape,
        np.where(side_band, SIDE_BAND, np.where(named, EVENT, NAMELESS)),
    )

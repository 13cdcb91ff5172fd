"""The beginning of `comm-pid [cpu] flags time: event`: everything but function_graph text.

tracefs prints them so for every tracer but function_graph, and trace-cmd report for all. The
part before the time takes few distinct values, so it is cut off at the time, found by the colon
behind it, and each distinct one is read once.

Forms of the head: with and without flags and thread group; latency format (`comm-pid cpu flags
123us+:`: microseconds since the start of the trace, relative); its `verbose` variant (absolute);
trace-cmd with microseconds, nanoseconds (`-t`), raw (`[000]-0x1`), and clocks that it prints as
a plain number without a space before it (`d....474401750928:`).

Sources of truth: kernel/trace/trace_output.c (trace_print_context, trace_print_lat_context),
5.10 to 7.x; libtraceevent 1.8 (tep_print_event).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_text_lines import distinct, first_of_each
from traceview.parsers.ftrace_text_rows import NO_TIME, NONE, Heads, joined, looked_up
from traceview.schema import NAME

if TYPE_CHECKING:
    from traceview.parsers.ftrace_text_lines import Lines, Mask, Positions

HEAD_BYTES: Final = 160  # the longest head, of a name in other scripts
ATTEMPTS: Final = 8  # colons of a line that are tried: a name may look like a time
US_MARKS: Final = " +!#*@$"
FLAGS: Final = 5  # trace-cmd prints so many, right before a time without a space

# A name has up to 15 bytes; those that are no UTF-8 count as one character each.
TASK: Final = re.compile(
    r" *(?P<comm>.{0,15}?)-(?P<tid>\d{1,9}) *(?:\( *(?P<tgid>\d{1,9}|-+)\) *)?"
    r"(?:\[(?P<cpu>\d{1,5})\](?:-0x[0-9a-f]+| +(?P<flags>[.\w]{0,8}))? *"
    r"| (?P<latency_cpu>\d{1,5})(?:[.A-Za-z][.\w]{2,7})? *)"
)
VERBOSE: Final = (
    r"^( *(.{1,15}?) +(\d{1,9}) +(\d{1,5}) \d+ [0-9a-f]{8} [0-9a-f]{8,16} \[([0-9a-f]{8,15})\] "
    r"\d+\.\d{3}ms \(\+\d+\.\d{3}ms\): )"
)

US_NS: Final = 1000
SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Task:
    """What a head says. `missing`: flags that run into a time without a space before it."""

    comm: str
    tid: int
    tgid: int
    cpu: int
    missing: int


@dataclass(slots=True)
class Times:
    """The number before each colon: where it begins, what it means (`kind`), how much it is.

    `low` are its last `digits` alone.
    """

    start: Positions
    ts_ns: Positions
    kind: Positions
    low: Positions
    digits: Positions

    def take(self, index: Mask) -> Times:
        """The times at *index*."""
        return Times(
            self.start[index],
            self.ts_ns[index],
            self.kind[index],
            self.low[index],
            self.digits[index],
        )


NOTHING, MICROSECONDS, NANOSECONDS, RELATIVE, NUMBER = range(5)


class EventHeads:
    """Reads heads; remembers those it saw, and which kinds of times."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.kinds: set[int] = set()
        self._tasks: dict[str, Task | None] = {}

    def read(self, lines: Lines, *, numbers_are_ns: bool) -> Heads:
        """The heads of those *lines* that are event lines, in order.

        *numbers_are_ns*: a time without a point is nanoseconds; otherwise it is no time.
        """
        colons = lines.positions(":")
        colons = colons[np.isin(lines.buffer[colons + 1], (ord(" "), ord("\n")))]
        colons = colons[_after_time(lines, colons)]
        line = lines.line_of(colons)
        near = (line >= 0) & (colons - lines.starts[line] < HEAD_BYTES)
        colons, line = colons[near], line[near]
        found: list[Heads] = []
        for _ in range(ATTEMPTS):
            if colons.size == 0:
                break
            first = first_of_each(line)
            heads = self._heads(lines, line[first], colons[first], numbers_are_ns=numbers_are_ns)
            found.append(heads)
            done = np.isin(line, heads.line) | first
            colons, line = colons[~done], line[~done]
        return joined(found)

    def _heads(
        self, lines: Lines, line: Positions, colons: Positions, *, numbers_are_ns: bool
    ) -> Heads:
        times = _times(lines, colons)
        index, tasks = self._read_tasks(lines.text(lines.starts[line], times.start))
        known = np.array([task is not None for task in tasks], np.bool_)
        ok = known[index] & (times.kind != NOTHING)
        some = [task or Task("", NONE, NONE, NONE, 0) for task in tasks]
        numbers = np.array([(t.tid, t.tgid, t.cpu, t.missing) for t in some], np.int64)
        of_line, index, times = line[ok], index[ok], times.take(ok)
        tid, tgid, cpu, missing = numbers.reshape(-1, 4)[index].T
        ts_ns = np.where(missing > 0, _without_flags(times, missing), times.ts_ns)
        times.kind[missing > 0] = NUMBER
        if not numbers_are_ns:
            ts_ns = np.where(times.kind == NUMBER, NO_TIME, ts_ns)
        self.kinds.update(np.unique(times.kind).tolist())
        return Heads(
            line=of_line,
            ts_ns=ts_ns,
            cpu=cpu,
            tid=tid,
            tgid=tgid,
            comm=looked_up([task.comm for task in some], index),
            body=np.minimum(colons[ok] + 2, lines.ends[of_line]),
            end=lines.ends[of_line],
            comment=np.zeros(of_line.size, np.bool_),
        )

    def _read_tasks(self, texts: pl.Series) -> tuple[Positions, list[Task | None]]:
        index, values = distinct(texts)
        if len(self._tasks) > 100_000:  # a file of nothing but different heads
            self._tasks.clear()
        tasks = []
        for text in values:
            if text not in self._tasks:
                self._tasks[text] = _task(text)
            tasks.append(self._tasks[text])
        return index, tasks


def read_verbose(lines: Lines, index: Positions) -> Heads:
    """The heads of those of the lines at *index* that the option `verbose` wrote."""
    texts = lines.text(lines.starts[index], lines.ends[index])
    groups = texts.str.extract_groups(VERBOSE).struct.unnest()
    head, comm, tid, cpu, stamp = groups.iter_columns()
    ok = head.is_not_null().to_numpy()
    line = index[ok]
    us = stamp.filter(ok).str.to_integer(base=16, dtype=pl.Int64).to_numpy()
    return Heads(
        line=line,
        ts_ns=us * US_NS,
        cpu=cpu.filter(ok).cast(pl.Int64).to_numpy(),
        tid=tid.filter(ok).cast(pl.Int64).to_numpy(),
        tgid=np.full(line.size, NONE),
        comm=comm.filter(ok).cast(NAME),
        body=lines.starts[line] + head.filter(ok).str.len_bytes().to_numpy().astype(np.int64),
        end=lines.ends[line],
        comment=np.zeros(line.size, np.bool_),
    )


def _task(text: str) -> Task | None:
    match = TASK.fullmatch(text)
    if match is None:
        return None
    tgid = match["tgid"] or "-"
    flags = match["flags"]
    attached = flags is not None and flags != "" and not text.endswith(" ")
    return Task(
        comm=match["comm"],
        tid=int(match["tid"]),
        tgid=NONE if tgid.startswith("-") else int(tgid),
        cpu=int(match["cpu"] or match["latency_cpu"]),
        missing=max(0, FLAGS - len(flags or "")) if attached else 0,
    )


def _after_time(lines: Lines, colons: Positions) -> Mask:
    """Which colons may end a time: behind a digit, or behind `us` and a mark."""
    digit = lines.is_digit(colons - 1)
    return digit | lines.ends_with(colons - 1, "us")


def _times(lines: Lines, colons: Positions) -> Times:
    is_mark = np.isin(lines.buffer[colons - 1], [ord(mark) for mark in US_MARKS])
    relative = is_mark & lines.ends_with(colons - 1, "us")
    stop = np.where(relative, colons - 3, colons)
    low, low_digits = lines.decimal_before(stop)
    start = stop - low_digits
    point = (lines.buffer[start - 1] == ord(".")) & lines.is_digit(start - 2) & ~relative
    point &= np.isin(low_digits, (6, 9))
    high, high_digits = lines.decimal_before(np.where(point, start - 1, start))
    kind = np.full(colons.size, NOTHING)
    kind[(low_digits > 0) & (low_digits <= 18)] = NUMBER
    kind[point & (low_digits == 6) & (high_digits <= 9)] = MICROSECONDS
    kind[point & (low_digits == 9) & (high_digits <= 9)] = NANOSECONDS
    kind[relative] = np.where((low_digits > 0) & (low_digits <= 15), RELATIVE, NOTHING)[relative]
    seconds = np.where(point, high, 0) * SECOND_NS
    unit = np.where(np.isin(kind, (MICROSECONDS, RELATIVE)), US_NS, 1)
    start = np.where(point, start - 1 - high_digits, start)
    return Times(start, seconds + low * unit, kind, low, low_digits)


def _without_flags(times: Times, missing: Positions) -> Positions:
    """Plain numbers, without the flags before them: digits, or a digit and a point."""
    has_point = np.isin(times.kind, (MICROSECONDS, NANOSECONDS))
    digits = np.clip(times.digits - missing, 0, 18)
    return np.where(has_point, times.low, times.low % 10**digits)

"""The columns before the function in function_graph text: time, CPU, task, flags, duration.

Which columns there are depends on the options funcgraph-abstime, -cpu, -proc, -duration and
latency-format. The duration column ends in a bar that nothing else in a line looks like, so it is
looked for first; what lies before it takes few distinct values, each of which is read once. A
duration is a decimal number of microseconds of at most seven digits: the longer it is, the fewer
decimals it has. It is taken as printed, exactly.

Source of truth: kernel/trace/trace_functions_graph.c (print_graph_prologue,
print_graph_duration, print_graph_irq, verif_pid), 5.10 to 7.x.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_text_lines import distinct, first_of_each
from traceview.parsers.ftrace_text_rows import (
    NO_TIME,
    NONE,
    Heads,
    joined,
    looked_up,
    no_heads,
)

if TYPE_CHECKING:
    from traceview.parsers.ftrace_text_lines import Lines, Mask, Positions

# Task: seven bytes of the name, centred in 14 columns with the PID.
PREFIX: Final = re.compile(
    r"(?: *(?P<cpu>\d{1,5})\) )?(?: *(?P<comm>.{0,14}?)-(?P<tid>\d{1,9}) *\| )?(?: \S{3,8} \| )?"
)
# Without a duration column the function itself must tell that this is a graph.
NO_DURATION: Final = (
    r"^((?: *(\d{1,9})\.(\d{6}) \|  )?)"
    r"((?: *\d{1,5}\) )?(?:.{0,16}-\d{1,9} *\| )?(?: \S{3,8} \| )?)"
    r" *(?:[\w.$@]+(?: \[[\w-]+\])?\(.*\)(?:;| \{)(?: /\*.*\*/)?|\}(?: /\*.*\*/)?|/\* .* \*/)$"
)
FILL: Final = 10  # more spaces in a row than a centred task ever leaves
COLUMN: Final = 14  # the width of an empty duration column
IRQ_ENTRY, IRQ_EXIT = "==========>", "<=========="
NO_DURATION_NS: Final = -1
LIMIT_DIGITS: Final = 12


@dataclass(slots=True)
class GraphHeads:
    """Lines of a graph: `heads.body` is where the indentation begins.

    `duration_ns` is NO_DURATION_NS where there is none; `irq` 1 and -1 mark lines that are
    nothing but the begin and end of an interrupt.
    """

    heads: Heads
    duration_ns: Positions
    irq: Positions


@dataclass(slots=True)
class Bars:
    """Bars that end a duration column: `start` is where the column begins."""

    at: Positions
    start: Positions
    duration_ns: Positions
    irq: Positions
    ok: Mask

    def take(self, index: Mask) -> Bars:
        """The bars at *index*."""
        return Bars(
            self.at[index],
            self.start[index],
            self.duration_ns[index],
            self.irq[index],
            self.ok[index],
        )


def no_graph() -> GraphHeads:
    """No lines at all."""
    none = np.zeros(0, np.int64)
    return GraphHeads(no_heads(), none, none)


def merged(some: GraphHeads, others: GraphHeads) -> GraphHeads:
    """Both, in order of lines."""
    if others.irq.size == 0:
        return some
    order = np.argsort(np.concatenate((some.heads.line, others.heads.line)), kind="stable")
    return GraphHeads(
        joined([some.heads, others.heads]),
        np.concatenate((some.duration_ns, others.duration_ns))[order],
        np.concatenate((some.irq, others.irq))[order],
    )


def read_graph_heads(lines: Lines, taken: Mask) -> GraphHeads:
    """The graph's lines among those not *taken*, in order."""
    pipes = lines.positions("|")
    line = lines.line_of(pipes)
    free = (line >= 0) & ~taken[line]
    pipes, line = pipes[free], line[free]
    if pipes.size == 0:
        return no_graph()
    bars = read_bars(lines, pipes)
    first_pipe = pipes[first_of_each(line)]
    line, bars = line[bars.ok], bars.take(bars.ok)
    first = first_of_each(line)
    line, bars = line[first], bars.take(first)
    earliest = first_pipe[np.searchsorted(first_pipe, lines.starts[line])]
    ts_ns, start = _abstime(lines, line, earliest, bars.start)
    return _graph_heads(lines, line, ts_ns, start, bars)


def read_bars(lines: Lines, pipes: Positions) -> Bars:
    """Which of the bars at *pipes* end a duration column, and what is in it."""
    spaces = lines.spaces_before(pipes, limit=32)
    stop = pipes - spaces
    gap = lines.has(pipes + 1, "  ")
    fill = (spaces >= FILL) & gap
    timed = (spaces >= 1) & lines.ends_with(stop, " us") & lines.is_digit(stop - 4) & gap
    irq = np.zeros(pipes.size, np.int64)
    irq[(spaces == 1) & lines.ends_with(stop, IRQ_ENTRY)] = 1
    irq[(spaces == 1) & lines.ends_with(stop, IRQ_EXIT)] = -1
    start = np.where(fill, np.maximum(pipes - COLUMN, stop), stop - len(IRQ_ENTRY) - 2)
    duration = np.full(pipes.size, NO_DURATION_NS)
    rows = np.flatnonzero(timed)
    duration[rows], start[rows] = _durations(lines, stop[rows] - len(" us"))
    ok = fill | (timed & (duration >= 0)) | (irq != 0)
    return Bars(pipes, start, duration, irq, ok)


def _durations(lines: Lines, stop: Positions) -> tuple[Positions, Positions]:
    """The durations whose number ends at *stop*, and where their column begins."""
    low, digits = lines.decimal_before(stop)
    start = stop - digits
    point = (lines.buffer[start - 1] == ord(".")) & (digits <= 3)
    whole, more = lines.decimal_before(np.where(point, start - 1, stop))
    nanoseconds = np.where(point, low * 10 ** np.clip(3 - digits, 0, 3), 0)
    start = np.where(point, start - 1 - more, start)
    ok = (more > 0) & (more <= LIMIT_DIGITS)
    # The mark of a long duration and a space stand before the number.
    return np.where(ok, whole * 1000 + nanoseconds, NO_DURATION_NS), start - 2


def _abstime(
    lines: Lines, line: Positions, pipe: Positions, limit: Positions
) -> tuple[Positions, Positions]:
    """The absolute time of each line, and where the columns behind it begin."""
    begin = lines.starts[line]
    low, digits = lines.decimal_before(pipe - 1)
    point = pipe - 2 - digits
    high, more = lines.decimal_before(point)
    blank = point - more - begin
    has = (digits == 6) & (lines.buffer[point] == ord(".")) & (more > 0) & (more <= 9)
    has &= lines.has(pipe - 1, " |  ") & (pipe + 3 <= limit)
    has &= (blank >= 0) & (lines.spaces_before(point - more) >= blank)
    ts_ns = np.where(has, high * 1_000_000_000 + low * 1000, NO_TIME)
    return ts_ns, np.where(has, pipe + 3, begin)


def _graph_heads(
    lines: Lines, line: Positions, ts_ns: Positions, start: Positions, bars: Bars
) -> GraphHeads:
    index, values = distinct(lines.text(start, np.maximum(bars.start, start)))
    matches = [PREFIX.fullmatch(text) for text in values]
    ok = np.array([match is not None for match in matches], np.bool_)[index]
    ok &= bars.start >= start
    cpus, tids, comms = _columns(matches)
    line, bars, index = line[ok], bars.take(ok), index[ok]
    end = lines.ends[line]
    heads = Heads(
        line=line,
        ts_ns=ts_ns[ok],
        cpu=cpus[index],
        tid=tids[index],
        tgid=np.full(line.size, NONE),
        comm=looked_up(comms, index),
        body=np.minimum(bars.at + np.where(bars.irq == 0, 3, 1), end),
        end=end,
        comment=np.zeros(line.size, np.bool_),
    )
    return GraphHeads(heads, bars.duration_ns, bars.irq)


def _columns(
    matches: list[re.Match[str] | None],
) -> tuple[Positions, Positions, list[str | None]]:
    """CPU, thread and its name of each match; NONE and None where it has no such column."""
    cpus = [int(match["cpu"] or NONE) if match else NONE for match in matches]
    tids = [int(match["tid"] or NONE) if match else NONE for match in matches]
    comms = [match["comm"] if match else None for match in matches]
    return np.array(cpus, np.int64), np.array(tids, np.int64), comms


def read_without_duration(lines: Lines, index: Positions, *, bare: bool) -> GraphHeads:
    """The graph's lines among those at *index* that have no duration column.

    *bare*: also those with nothing at all before the function.
    """
    texts = lines.text(lines.starts[index], lines.ends[index])
    time, seconds, fraction, prefix = (
        texts.str.extract_groups(NO_DURATION).struct.unnest().iter_columns()
    )
    some = (time.str.contains(".", literal=True) | (prefix.str.strip_chars() != "")) | bare
    rows = np.flatnonzero((time.is_not_null() & some).to_numpy())
    line = index[rows]
    start = lines.starts[line] + time.gather(rows).str.len_bytes().to_numpy().astype(np.int64)
    stop = start + prefix.gather(rows).str.len_bytes().to_numpy().astype(np.int64)
    ns = seconds.gather(rows).cast(pl.Int64) * 10**9 + fraction.gather(rows).cast(pl.Int64) * 1000
    none = np.zeros(line.size, np.int64)
    # The function follows at once: the bar is where its indentation begins, less three.
    bars = Bars(stop - 3, stop, none + NO_DURATION_NS, none, none == 0)
    return _graph_heads(lines, line, ns.fill_null(NO_TIME).to_numpy(), start, bars)

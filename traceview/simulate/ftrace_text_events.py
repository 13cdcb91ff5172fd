"""Records -> event lines of tracefs `trace` (tracer nop), with irq-info and record-tgid.

Source of truth: kernel/trace/trace_output.c (trace_print_context, trace_print_print),
trace_kprobe.c (print_kprobe_event, print_kretprobe_event) and trace_probe.c of Linux 6.12. Times
are rounded to microseconds here, while function_graph cuts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.simulate.probe_events import function_sizes, probe_events
from traceview.simulate.record_columns import KRETPROBE, PRINT, Pairs, Table
from traceview.simulate.text_columns import decimal, hexadecimal, lines, times

if TYPE_CHECKING:
    from traceview.simulate.probe_events import ProbeEvent, Value
    from traceview.simulate.record_columns import Columns, Ints, Symbols, TaskNames
    from traceview.simulate.recording import Recorded

HEADER: Final = (
    "#                                          _-----=> irqs-off/BH-disabled\n"
    "#                                         / _----=> need-resched\n"
    "#                                        | / _---=> hardirq/softirq\n"
    "#                                        || / _--=> preempt-depth\n"
    "#                                        ||| / _-=> migrate-disable\n"
    "#                                        |||| /     delay\n"
    "#           TASK-PID       TGID    CPU#  |||||  TIMESTAMP  FUNCTION\n"
    "#              | |           |       |   |||||     |         |\n"
)
FLAGS: Final = ("d....", ".....")  # of probes, which run with interrupts off; of markers
MARKER: Final = "tracing_mark_write: "
PROBES, MARKERS = range(2)
HALF_US_NS: Final = 500


def header(kept: int | None, cpus: int) -> str:
    """What stands at the head; *kept*: the events, None where some were lost."""
    entries = (
        ""
        if kept is None
        else f"# entries-in-buffer/entries-written: {kept}/{kept}   #P:{cpus}\n#\n"
    )
    return f"# tracer: nop\n#\n{entries}{HEADER}"


class EventLines:
    """Writes the lines of batches."""

    def __init__(self, names: TaskNames, bodies: EventBodies, cpus: int) -> None:
        """*bodies*: what the events say."""
        self._names, self._bodies, self._cpus = names, bodies, cpus
        self._tids = Pairs()
        self._contexts = Table(self._context)

    def text(self, rows: Columns, lost: pl.Series | None) -> pl.Series:
        """The lines of *rows*; *lost* is what stands before each."""
        marker = (rows.kind == PRINT).astype(np.int64)
        place = self._tids.numbers(rows.cpu * 2 + marker, rows.tid, 2 * self._cpus)
        microseconds = (rows.ts_ns + HALF_US_NS) // 1000
        parts: list[pl.Series | str] = [
            self._contexts.column(place),
            *times(microseconds, ": "),
            self._bodies.text(rows, np.arange(len(rows)), bare=False),
            "\n",
        ]
        return lines(parts if lost is None else [lost, *parts])

    def _context(self, number: int) -> str:
        place, tid = number % (2 * self._cpus), self._tids.value(number // (2 * self._cpus))
        cpu, marker = divmod(place, 2)
        tgid = self._names.tgid(tid)
        process = "-------" if tgid is None else f"{tgid:7d}"
        name = f"{self._names.comm(tid):>16}-{tid:<7d}"
        return f"{name} ({process}) [{cpu:03d}] {FLAGS[marker]} "


class EventBodies:
    """What events other than those of function_graph say, without the end of the line."""

    def __init__(self, recorded: Recorded, symbols: Symbols) -> None:
        """The probes of *recorded*."""
        self._symbols = symbols
        self._probes = probe_events(recorded)
        self._sizes = function_sizes(recorded.addresses)

    def text(self, rows: Columns, at: Ints, *, bare: bool) -> pl.Series:
        """The rows *at*, which are no functions; *bare*: a marker is nothing but its words."""
        kind = rows.kind[at]
        marker = kind == PRINT
        number = np.where(marker, -1, rows.symbol[at] * 2 + (kind == KRETPROBE))
        order = np.argsort(number, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
        found = []
        for group in groups:
            if not group.size:
                continue
            mine = at[group]
            if number[group[0]] < 0:
                words = rows.rows["text"].gather(mine).fill_null("").str.strip_chars_end("\n")
                found.append(words if bare else lines([MARKER, words]))
            else:
                symbol, returns = divmod(int(number[group[0]]), 2)
                found.append(self._probe(rows, mine, symbol, returns=bool(returns)))
        place = np.empty(len(at), dtype=np.int64)
        place[order] = np.arange(len(at))
        return pl.concat(found, rechunk=True).gather(place) if found else pl.Series([""])[:0]

    def _probe(self, rows: Columns, at: Ints, symbol: int, *, returns: bool) -> pl.Series:
        event = self._probes[self._symbols.names[symbol], returns]
        head = self._head(event)
        if not event.values:
            return pl.repeat(head, len(at), eager=True)
        parts: list[pl.Series | str] = [head]
        for one in event.values:
            parts += [f" {one.name}=", _shown(one, one.read(rows.numbers(one.column, at)))]
        return lines(parts)

    def _head(self, event: ProbeEvent) -> str:
        if event.returns:  # where it returned to is not known, and an address 0 is shown as this
            return f"{event.name}: (0 <- {event.symbol})"
        size = self._sizes.get(event.symbol, 0)
        return f"{event.name}: ({event.symbol}+0x0/{size:#x})"


def _shown(value: Value, numbers: Ints) -> pl.Series:
    if value.hexadecimal:
        return lines(["0x", hexadecimal(numbers)])
    return decimal(numbers, signed=value.signed)

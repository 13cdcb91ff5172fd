"""Records -> lines of the function_graph tracer, with funcgraph-abstime, -proc and -tail.

A function whose exit is the next record of its CPU is one line (`f();`); a task switch has a line
of its own; what is no function is a comment; arrows mark where interrupts begin and end. Source of
truth: kernel/trace/trace_functions_graph.c of Linux 6.12 (print_graph_entry_leaf, _entry_nested,
_return, _comment, _irq, verif_pid).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.simulate.record_columns import ENTRY, EXIT, Pairs, Table, following
from traceview.simulate.text_columns import durations, lines, times

if TYPE_CHECKING:
    from traceview.simulate.ftrace_text_events import EventBodies
    from traceview.simulate.record_columns import Columns, Ints, Mask, Symbols, TaskNames

HEADER: Final = (
    "# tracer: function_graph\n"
    "#\n"
    "#     TIME        CPU  TASK/PID         DURATION                  FUNCTION CALLS\n"
    "#      |          |     |    |           |   |                     |   |   |   |\n"
)
RULE: Final = " ------------------------------------------\n"
EMPTY: Final = "              |  "  # a column without a duration
NS_PER_US: Final = 1000
COMM_BYTES: Final = 7
PROCESS_COLUMNS: Final = 14
LEAF, OPEN, CLOSE = range(3)
FORMS: Final = 3
DEPTHS: Final = 512
NO_TASK: Final = -1
# Functions of arm64 that lie in .irqentry.text (drivers/irqchip/irq-gic*.c).
INTERRUPTS: Final = ("gic_handle_irq",)
BEGINS, ENDS = "  ==========> |\n", "  <========== |\n"
# So many records wait at most for the exit that would make a leaf of an entry.
WAITING: Final = 10_000


class GraphLines:
    """Writes the lines of batches, one after the other."""

    def __init__(self, symbols: Symbols, names: TaskNames, bodies: EventBodies, cpus: int) -> None:
        """*bodies*: of what stands in comments; *cpus* of the host: the CPU column's width."""
        self._symbols, self._names, self._bodies = symbols, names, bodies
        self._digits = len(str(max(cpus - 1, 0)))
        self._cpus = cpus
        self._tids, self._switches = Pairs(), Pairs()
        self._contexts, self._calls = Table(self._context), Table(self._call)
        self._task = np.full(cpus, NO_TASK)  # the last one that each CPU showed
        self._depth = np.zeros(cpus, dtype=np.int64)  # of each CPU's comments
        self._swallowed = np.zeros(0, dtype=np.bool_)  # exits that come next, and were shown

    def text(self, rows: Columns, lost: pl.Series | None, *, more: bool) -> tuple[pl.Series, int]:
        """The lines of the first of *rows*, and how many these are.

        *lost* is what stands before each. *more*: rows will follow, so that those are kept for the
        next call (first in it) which cannot be shown before what follows an entry is known.
        """
        order, first = following(rows.cpu)
        leaf, swallowed = _leaves(rows, order, first)
        swallowed[: len(self._swallowed)] |= self._swallowed
        ready = _ready(rows, order, first) if more else len(rows)
        self._swallowed = swallowed[ready:]
        exit_of = np.arange(len(rows))
        exit_of[order[:-1]] = np.where(leaf[order[:-1]], order[1:], order[:-1])
        order = order[(order < ready) & ~swallowed[order]]
        shown = np.flatnonzero(~swallowed[:ready])
        comments = self._comment_depths(rows, order, leaf)
        prologue = [
            *times(rows.ts_ns[shown] // NS_PER_US, " |  "),
            self._contexts.column(self._tids.numbers(rows.cpu[shown], rows.tid[shown], self._cpus)),
        ]
        begins, ends = self._arrows(rows, shown, leaf, prologue)
        parts = [
            *self._before(rows, order, lost, shown),
            *begins,
            *prologue,
            *self._durations(rows, shown, exit_of[shown], leaf),
            self._functions(rows, shown, leaf, comments),
            *ends,
        ]
        return lines(parts), ready

    def _arrows(
        self, rows: Columns, shown: Ints, leaf: Mask, prologue: list[pl.Series]
    ) -> tuple[list[pl.Series], list[pl.Series]]:
        """What stands before and behind the lines where an interrupt begins and ends."""
        known = [n for n, name in enumerate(self._symbols.names) if name in INTERRUPTS]
        mine = np.isin(rows.symbol[shown], known) if known else np.zeros(0, dtype=np.bool_)
        if not mine.any():
            return [], []
        entry = mine & (rows.kind[shown] == ENTRY)
        at = np.flatnonzero(entry), np.flatnonzero((mine & ~entry) | (entry & leaf[shown]))
        nothing = pl.repeat("", len(shown), eager=True)
        begins, ends = (
            nothing.clone().scatter(some, lines([*(part.gather(some) for part in prologue), arrow]))
            for some, arrow in zip(at, (BEGINS, ENDS), strict=True)
        )
        return [begins], [ends]

    def _before(
        self, rows: Columns, order: Ints, lost: pl.Series | None, shown: Ints
    ) -> list[pl.Series]:
        """What stands before the lines: that events were lost, that the task changes."""
        switch = self._switched(rows, order)
        if lost is None and switch is None:
            return []
        nothing = pl.repeat("", len(rows), eager=True)
        found = lines([one if one is not None else nothing for one in (lost, switch)])
        return [found.gather(shown)]

    def _switched(self, rows: Columns, order: Ints) -> pl.Series | None:
        """The lines that say that a CPU goes on with another task, by row; None: there is none."""
        cpu, tid = rows.cpu[order], rows.tid[order]
        before = np.empty_like(tid)
        before[1:] = tid[:-1]
        begins = np.ones(len(order), dtype=np.bool_)
        begins[1:] = cpu[1:] != cpu[:-1]
        before[begins] = self._task[cpu[begins]]
        ends = np.append(begins[1:], True) if len(order) else begins
        self._task[cpu[ends]] = tid[ends]
        at = np.flatnonzero((before != tid) & (before != NO_TASK))
        if not at.size:
            return None
        said = [
            f"{RULE}{self._cpu(c)}{self._process(b)} => {self._process(t)}\n{RULE}\n"
            for c, b, t in zip(cpu[at].tolist(), before[at].tolist(), tid[at].tolist(), strict=True)
        ]
        return pl.repeat("", len(rows), eager=True).scatter(order[at], said)

    def _comment_depths(self, rows: Columns, order: Ints, leaf: Mask) -> Ints:
        """By row the depth that a comment there stands at (print_graph_comment)."""
        graph = rows.kind[order] <= EXIT
        depth = rows.numbers("depth")[order]
        after = np.where((rows.kind[order] == EXIT) | leaf[order], depth - 1, depth)
        cpu = rows.cpu[order]
        begins = np.ones(len(order), dtype=np.bool_)
        begins[1:] = cpu[1:] != cpu[:-1]
        place = np.arange(len(order))
        start = np.maximum.accumulate(np.where(begins, place, 0))
        latest = np.maximum.accumulate(np.where(graph, place, -1))
        known = latest >= start
        found = np.where(known, after[np.maximum(latest, 0)], self._depth[cpu])
        ends = np.append(begins[1:], True) if len(order) else begins
        self._depth[cpu[ends]] = found[ends]
        by_row = np.zeros(len(rows), dtype=np.int64)
        by_row[order] = found
        return by_row

    def _durations(self, rows: Columns, shown: Ints, exit_of: Ints, leaf: Mask) -> list[pl.Series]:
        timed = (rows.kind[shown] == EXIT) | leaf[shown]
        took = rows.numbers("rettime_ns", exit_of) - rows.numbers("calltime_ns", exit_of)
        columns = durations(np.where(timed, np.maximum(took, 0), 0))
        if timed.all():
            return columns
        filled = pl.DataFrame({"timed": timed, "0": columns[0], "1": columns[1], "2": columns[2]})
        kept = pl.col("timed")
        empty = (EMPTY, "", "")
        return filled.select(
            pl.when(kept).then(pl.col(f"{n}")).otherwise(pl.lit(empty[n])).alias(f"{n}")
            for n in range(3)
        ).get_columns()

    def _functions(self, rows: Columns, shown: Ints, leaf: Mask, depths: Ints) -> pl.Series:
        """What stands behind the duration."""
        kind = rows.kind[shown]
        form = np.where(leaf[shown], LEAF, np.where(kind == EXIT, CLOSE, OPEN))
        depth = np.clip(rows.numbers("depth", shown), 0, DEPTHS - 1)
        number = ((rows.symbol[shown] + 1) * DEPTHS + depth) * FORMS + form
        strings, index = self._calls.strings(np.where(kind <= EXIT, number, 0))
        at = np.flatnonzero(kind > EXIT)
        column = pl.Series(strings, dtype=pl.String)
        if at.size:
            index[at] = len(strings) + np.arange(at.size)
            column = pl.concat([column, self._comments(rows, shown[at], depths)])
        return column.gather(index)

    def _comments(self, rows: Columns, at: Ints, depths: Ints) -> pl.Series:
        indent = Table(lambda depth: "  " * (depth + 1 if depth > 0 else 0) + "/* ")
        body = self._bodies.text(rows, at, bare=True)
        return lines([indent.column(np.maximum(depths[at], 0)), body, " */\n"])

    def _context(self, number: int) -> str:
        cpu, tid = number % self._cpus, self._tids.value(number // self._cpus)
        return f"{self._cpu(cpu)}{self._process(tid)} | "

    def _cpu(self, cpu: int) -> str:
        return f" {cpu:{self._digits}d}) "

    def _process(self, tid: int) -> str:
        name = f"{self._names.comm(tid)[:COMM_BYTES]}-{tid}"
        spaces = max(0, PROCESS_COLUMNS - len(name))
        return " " * (spaces // 2) + name + " " * (spaces - spaces // 2)

    def _call(self, number: int) -> str:
        form, rest = number % FORMS, number // FORMS
        depth, symbol = rest % DEPTHS, rest // DEPTHS - 1
        name = self._symbols.names[symbol] if symbol >= 0 else ""
        shown = (f"{name}();", f"{name}() {{", f"}} /* {name} */")[form]
        return f"{'  ' * depth}{shown}\n"


def _ready(rows: Columns, order: Ints, first: Mask) -> int:
    """How many rows can be shown: up to the first entry that is the last record of its CPU."""
    last = order[np.append(first[1:], True)] if len(order) else order
    waiting = last[rows.kind[last] == ENTRY]
    return max(int(waiting.min(initial=len(rows))), len(rows) - WAITING)


def _leaves(rows: Columns, order: Ints, first: Mask) -> tuple[Mask, Mask]:
    """By row: entries whose exit follows at once on their CPU, and those exits."""
    follows = order[1:]
    before = order[:-1]
    pair = (
        ~first[1:]
        & (rows.kind[before] == ENTRY)
        & (rows.kind[follows] == EXIT)
        & (rows.tid[before] == rows.tid[follows])
        & (rows.symbol[before] == rows.symbol[follows])
        & (rows.lost_before[follows] == 0)  # its own line says what was lost
    )
    leaf, swallowed = np.zeros((2, len(rows)), dtype=np.bool_)
    leaf[before[pair]] = True
    swallowed[follows[pair]] = True
    return leaf, swallowed

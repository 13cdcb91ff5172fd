"""Who ran, and which function a closing brace ends: what function_graph text leaves to the reader.

Without funcgraph-proc a line has no task. The text says where a CPU switches from one task to
another (`1)  sh-12  =>  cat-13`, between rules); before the first switch of a CPU its task is the
one that this switch leaves. Without funcgraph-tail a brace has no name. It ends the latest entry
of its task at its depth; braces and leaves end what is open deeper than they are, and an entry
what is open at its depth or deeper, for then the braces in between were lost.

Source of truth: kernel/trace/trace_functions_graph.c (verif_pid, print_graph_return).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_text_lines import distinct
from traceview.parsers.ftrace_text_rows import NONE, looked_up
from traceview.schema import NAME

if TYPE_CHECKING:
    from traceview.parsers.ftrace_text_lines import Lines, Mask, Positions
    from traceview.parsers.ftrace_text_rows import Heads

SWITCH: Final = r"^ *(\d{1,5})\) +(.{0,16}?-\d{1,9}) +=> +(.{0,16}?-\d{1,9}) *$"
DEEPER: Final = 1 << 20  # more than any depth
NO_TASK: Final = 1 << 40

Task = tuple[int, str | None]


@dataclass(slots=True)
class Switches:
    """Task switches of a stretch of lines, in order: `line`, `cpu`, tasks as indices in `tasks`."""

    line: Positions
    cpu: Positions
    left: Positions
    right: Positions
    tasks: list[Task]

    def first_left(self) -> dict[int, Task]:
        """The task that each CPU's first switch leaves."""
        cpus, first = np.unique(self.cpu, return_index=True)
        return {
            cpu: self.tasks[self.left[row]]
            for cpu, row in zip(cpus.tolist(), first.tolist(), strict=True)
        }


def read_switches(lines: Lines, index: Positions) -> Switches:
    """The switches among the lines at *index*."""
    texts = lines.text(lines.starts[index], lines.ends[index])
    cpu, left, right = texts.str.extract_groups(SWITCH).struct.unnest().iter_columns()
    ok = cpu.is_not_null()
    line = index[ok.to_numpy()]
    task, names = distinct(pl.concat([left.filter(ok), right.filter(ok)], rechunk=True))
    parts = [name.rpartition("-") for name in names]
    tasks: list[Task] = [(int(tid), comm) for comm, _, tid in parts]
    cpus = cpu.filter(ok).cast(pl.Int64).to_numpy()
    return Switches(line, cpus, task[: line.size], task[line.size :], tasks)


@dataclass(slots=True)
class CurrentTasks:
    """Which task runs on each CPU; `first` is which one ran before the first switch."""

    first: dict[int, Task] = field(default_factory=dict)
    now: dict[int, Task] = field(default_factory=dict)

    def assign(self, heads: Heads, switches: Switches) -> None:
        """Give the lines of *heads* that name no task the one that runs on their CPU."""
        missing = np.flatnonzero((heads.tid == NONE) & (heads.cpu != NONE))
        tasks = [*switches.tasks, (NONE, None)]
        chosen = np.full(missing.size, len(tasks) - 1)
        for cpu in np.unique(heads.cpu[missing]).tolist():
            of_cpu = np.flatnonzero(heads.cpu[missing] == cpu)
            here = switches.cpu == cpu
            latest = np.searchsorted(switches.line[here], heads.line[missing[of_cpu]]) - 1
            tasks.append(self.now.get(cpu, self.first.get(cpu, (NONE, None))))
            known = np.append(switches.right[here], len(tasks) - 1)
            chosen[of_cpu] = known[latest]  # -1, before the first, is the one appended
        if missing.size:
            heads.tid = heads.tid.copy()
            heads.tid[missing] = np.array([tid for tid, _ in tasks], np.int64)[chosen]
            comm = looked_up([comm for _, comm in tasks], chosen)
            heads.comm = heads.comm.scatter(missing, comm)
        for cpu in np.unique(switches.cpu).tolist():
            self.now[cpu] = switches.tasks[switches.right[switches.cpu == cpu][-1]]


@dataclass(slots=True)
class OpenCalls:
    """The functions that are open, by task: carried from chunk to chunk."""

    key: Positions = field(default_factory=lambda: np.zeros(0, np.int64))
    depth: Positions = field(default_factory=lambda: np.zeros(0, np.int64))
    symbol: pl.Series = field(default_factory=lambda: pl.Series([], dtype=NAME))

    def name_exits(self, events: pl.DataFrame) -> pl.DataFrame:
        """*events* (in order) with the symbols of exits that have none, as far as known."""
        rows = np.flatnonzero(
            ((events["evidence"] == "fgraph") & events["depth"].is_not_null()).to_numpy()
        )
        if rows.size == 0:
            return events
        calls = events.select("cpu", "tid", "depth", "phase", "symbol")[rows]
        key = np.concatenate((self.key, _keys(calls)))
        depth = np.concatenate((self.depth, calls["depth"].to_numpy().astype(np.int64)))
        symbol = pl.concat([self.symbol, calls["symbol"]], rechunk=True)
        is_entry = np.ones(key.size, np.bool_)
        is_entry[self.key.size :] = (calls["phase"] == "entry").to_numpy()
        nameless = np.zeros(key.size, np.bool_)
        nameless[self.key.size :] = (
            (calls["phase"] == "exit") & calls["symbol"].is_null()
        ).to_numpy()
        order = np.argsort(key, kind="stable")
        rank = np.cumsum(np.diff(key[order], prepend=key[order[0]]) != 0)
        exits, entries = _matches(rank, depth[order], is_entry[order], nameless[order])
        exits, entries = order[exits], order[entries]
        at_end = order[_left_open(rank, depth[order], is_entry[order])]
        at_end.sort()
        carried = self.key.size
        self.key, self.depth, self.symbol = key[at_end], depth[at_end], symbol.gather(at_end)
        if exits.size == 0:
            return events
        named = events["symbol"].scatter(rows[exits - carried], symbol.gather(entries))
        return events.with_columns(symbol=named)


def _keys(calls: pl.DataFrame) -> Positions:
    """One number per task: its thread; idle and unknown ones are one task per CPU."""
    cpu = calls["cpu"].fill_null(NONE).to_numpy().astype(np.int64)
    tid = calls["tid"].fill_null(NONE).to_numpy().astype(np.int64)
    key = np.where(tid > 0, tid, -2 - cpu)
    return np.where(tid < 0, key - NO_TASK, key)


def _matches(
    rank: Positions, depth: Positions, is_entry: Mask, nameless: Mask
) -> tuple[Positions, Positions]:
    """The exits without a name and the entry of each, where it is known.

    The entry is the nearest earlier line of the same task that is not deeper: if that is an entry
    at the same depth.
    """
    exits, entries = [], []
    for level in np.unique(depth[nameless]).tolist():
        shallow = np.flatnonzero(depth <= level)
        here = np.flatnonzero(nameless & (depth == level))
        before = np.searchsorted(shallow, here) - 1
        has = before >= 0
        here, found = here[has], shallow[before[has]]
        ok = is_entry[found] & (depth[found] == level) & (rank[found] == rank[here])
        exits.append(here[ok])
        entries.append(found[ok])
    none = np.zeros(0, np.int64)
    return np.concatenate([none, *exits]), np.concatenate([none, *entries])


def _left_open(rank: Positions, depth: Positions, is_entry: Mask) -> Positions:
    """The entries behind which everything of their task is deeper."""
    level = depth + rank * DEEPER
    lowest = np.minimum.accumulate(level[::-1])[::-1]
    later = np.append(lowest[1:], np.iinfo(np.int64).max)
    return np.flatnonzero(is_entry & (level < later))

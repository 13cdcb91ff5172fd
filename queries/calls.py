"""Calls: entries and exits paired per task, batch by batch.

`CallStream.feed` takes a batch and gives a `Chunk`: every call that closed, each unmap whole
with everything inside it. What is still open is carried: single frames outside an unmap, all
rows of the task inside one. A call is identified by the `seq` of its first event, so that ids
are the same whatever the batch size.

A *call* is complete; censored (its entry or its exit is missing); contaminated (it overlaps a
hole in the trace of a CPU it ran on); or a point (a probe on the entry alone). tid 0 is one task
per CPU. The same function under a kprobe and in the graph is one call (twins.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.arguments import ARGUMENTS, Arguments
from traceview.queries.functions import OP, Functions
from traceview.queries.losses import FOREVER, Losses
from traceview.queries.pairing import NONE, pair, stable_order
from traceview.queries.rows import (
    ENTRY,
    EXIT,
    NIL,
    POINT,
    PROBES,
    call_rows,
    concat,
    take,
)
from traceview.queries.twins import merge_twins
from traceview.schema import EVENTS, STATUSES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from traceview.queries.rows import Ints, Rows
    from traceview.symbols import Probe
    from traceview.trace import Batch
    from traceview.vocabulary import Vocabulary

STATUS: Final = {name: code for code, name in enumerate(STATUSES)}
OPEN: Final = len(STATUSES)
# An unmap of 1 GiB of 4K pages is 2^18 leaves, each of up to about 20 traced calls.
CARRY_ROWS: Final = 16_000_000
STREAMS: Final = 4


@dataclass(frozen=True, slots=True)
class Chunk:
    """Calls in order of (task, start), and up to where each task's calls are final.

    `calls`: columns of equal length: task, start_seq, end_seq (FOREVER: still open), start_ns,
    duration_ns (NIL: none), cpu, tid, comm, function, operation, status (index into STATUSES, or
    OPEN for a frame that may yet close), evidence, stream, depth, ipa, length_bytes, level, mmu,
    object_addr, ret. Open frames are context; they come again when they close.
    `cut`: task -> seq from which on its rows come again.
    """

    calls: Rows
    cut: dict[int, int]


class CallStream:
    """Pairs the events of one source. Feed it batch by batch, then `finish`."""

    def __init__(self, vocabulary: Vocabulary, probes: Mapping[str, Probe] | None = None) -> None:
        """Start at the beginning of a source. *probes*: definitions that the sidecar gives."""
        self.functions = Functions(vocabulary)
        self.counts: Counter[str] = Counter()
        self.losses = Losses()
        self._arguments = Arguments()
        defined = (probes or {}).values()
        self._returns = {probe.symbol for probe in defined if probe.phase == "exit"}
        self._entries = {probe.symbol for probe in defined if probe.phase == "entry"}
        self._exits_seen: set[int] = set()
        self._no_returns: set[int] = set()
        self._carry: Rows | None = None

    def feed(self, batch: Batch, page_size_bytes: int) -> Chunk:
        """The calls that closed with *batch*."""
        rows, unnamed = call_rows(batch.events, self.functions)
        self.counts["unnamed_probes"] += unnamed
        self.losses.add(batch.losses)
        self._arguments.add(rows, batch.args, self.functions, page_size_bytes)
        # What is carried is bounded: an unmap longer than any can be has lost its exit.
        full = self._carry is not None and self._carry["seq"].size > CARRY_ROWS
        self.counts["carry_given_up"] += full
        return self._step(concat(self._carry, rows), last=full)

    def finish(self) -> Chunk:
        """The calls that are still open: they end with the trace, censored."""
        rows = self._carry
        if rows is None:
            rows, _ = call_rows(pl.DataFrame(schema=EVENTS), self.functions)
        return self._step(rows, last=True)

    def _step(self, rows: Rows, *, last: bool) -> Chunk:
        maybe = self._mark_points(rows, last=last)
        partner, closed_at = self._pair(rows, maybe)
        held = self._hold(rows, maybe, partner)
        rows["kind"][maybe & ~held] = POINT
        # Of those, only an unmap and who asks for it are containers of anything.
        operation = self.functions.operations()[rows["function"]]
        framed = held & np.isin(operation, [OP["unmap"], OP["trigger"]])
        at, calls = self._calls(rows, partner, closed_at, (held, framed), last=last)
        cut = {} if last else self._cuts(calls)
        final = self._final(calls, cut)
        self._carry = None if last else self._carried(rows, at, calls, cut, held)
        # A return that is carried comes again: it counts when it is final.
        self.counts["exits_without_entry"] += int((final & (rows["kind"][at] == EXIT)).sum())
        calls = take(calls, final | (calls["status"] == OPEN))
        if self._carry is not None:
            self._arguments.keep(self._carry["seq"])
        calls, merged = merge_twins(calls)
        self.counts["twins"] += merged
        return Chunk(calls, cut)

    def _mark_points(self, rows: Rows, *, last: bool) -> NDArray[np.bool_]:
        """Turn entries of probes that have no return probe into points, in place.

        Returned: the entries of probes of which it is not known yet.
        """
        kind, function = rows["kind"], rows["function"]
        probes = rows["stream"] == PROBES
        self._exits_seen.update(np.unique(function[probes & (kind == EXIT)]).tolist())
        maybe = np.zeros(kind.size, dtype=bool)
        entries = probes & (kind == ENTRY)
        for number in np.unique(function[entries]).tolist():
            symbol = self.functions.symbols[number]
            if number in self._exits_seen:
                continue
            mine = entries & (function == number)
            # A return probe that is defined need not have been recorded.
            stated = symbol in self._returns
            if self._never_returns(rows, mine, number):
                kind[mine] = POINT
            elif stated:
                continue
            elif last or symbol in self._entries:
                kind[mine] = POINT
            else:
                maybe |= mine
        return maybe

    def _never_returns(self, rows: Rows, mine: NDArray[np.bool_], number: int) -> bool:
        """Whether a task entered a function twice that cannot recurse, and no return was seen."""
        tasks = rows["task"][mine]
        twice = np.unique(tasks).size < tasks.size
        if twice and self.functions.not_recursive()[number]:
            self._no_returns.add(number)
        return number in self._no_returns

    def _pair(self, rows: Rows, maybe: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Partner and closing row of every row, NONE where there is none."""
        size = rows["seq"].size
        partner = np.full(size, NONE, dtype=np.int64)
        closed_at = np.full(size, NONE, dtype=np.int64)
        framed = np.flatnonzero(((rows["kind"] == ENTRY) | (rows["kind"] == EXIT)) & ~maybe)
        group = task_numbers(rows["task"][framed]) * STREAMS + rows["stream"][framed]
        order = framed[stable_order(group)]
        group = np.sort(group, kind="stable")
        pairs = pair(
            group, rows["kind"][order] == ENTRY, rows["function"][order], rows["depth"][order]
        )
        self._supersede(rows, order, group, pairs.partner, pairs.closed_at)
        for of, into in ((pairs.partner, partner), (pairs.closed_at, closed_at)):
            known = of != NONE
            into[order[known]] = order[of[known]]
        return partner, closed_at

    def _supersede(
        self, rows: Rows, order: Ints, group: Ints, partner: Ints, closed_at: Ints
    ) -> None:
        """Close frames of functions that were entered again and cannot recurse, in place.

        Those still open then, whatever closed them later: a return behind the second entry is not
        theirs.
        """
        function = rows["function"][order]
        once = self.functions.not_recursive()[function]
        entry = once & (rows["kind"][order] == ENTRY)
        at = np.flatnonzero(entry)
        key = group[at] * (len(self.functions) + 1) + function[at]
        by_key = at[np.argsort(key, kind="stable")]
        key = np.sort(key, kind="stable")
        again = by_key[1:][key[1:] == key[:-1]]
        earlier = by_key[:-1][key[1:] == key[:-1]]
        ends = np.maximum(partner[earlier], closed_at[earlier])
        stale = (ends == NONE) | (ends > again)
        earlier, again = earlier[stale], again[stale]
        returns = partner[earlier]
        partner[returns[returns != NONE]] = NONE
        partner[earlier], closed_at[earlier] = NONE, again

    def _hold(self, rows: Rows, maybe: NDArray[np.bool_], partner: Ints) -> NDArray[np.bool_]:
        """Of the probes that may have no return probe, the frames that may still be open.

        The last one of a task, unless a call that encloses it has closed.
        """
        held = np.zeros(maybe.size, dtype=bool)
        if not maybe.any():
            return held
        at = np.flatnonzero(maybe)[::-1]
        key = task_numbers(rows["task"][at]) * (len(self.functions) + 1) + rows["function"][at]
        _, first = np.unique(key, return_index=True)
        last = np.sort(at[first])
        entries = np.flatnonzero((partner != NONE) & (rows["kind"] == ENTRY))
        inside = _enclosed(
            rows["task"][last], last, rows["task"][entries], entries, partner[entries]
        )
        held[last[~inside]] = True
        return held

    def _calls(
        self,
        rows: Rows,
        partner: Ints,
        closed_at: Ints,
        held_framed: tuple[NDArray[np.bool_], NDArray[np.bool_]],
        *,
        last: bool,
    ) -> tuple[Ints, Rows]:
        """The row of each call's first event, and the calls, in order of (task, start).

        Held entries are left out, unless they are framed: then they are taken for open frames.
        """
        kind = rows["kind"]
        held, framed = held_framed
        orphan = (kind == EXIT) & (partner == NONE)
        begins = (~held | framed) & ((kind != EXIT) | orphan)
        at = np.flatnonzero(begins)
        at = at[stable_order(task_numbers(rows["task"][at]))]
        end = np.where(
            partner[at] != NONE, partner[at], np.where(closed_at[at] != NONE, closed_at[at], at)
        )
        is_open = (kind[at] == ENTRY) & (partner[at] == NONE) & (closed_at[at] == NONE)
        # What closed a frame that lost its exit came after it, and is not inside it.
        gone = (partner[at] == NONE) & (closed_at[at] != NONE)
        end_seq = np.where(is_open, FOREVER, rows["seq"][end] - gone)
        calls = {name: rows[name][at] for name in _COPIED}
        calls["start_seq"], calls["end_seq"] = rows["seq"][at], end_seq
        calls["start_ns"] = np.where(orphan[at], NIL, rows["ts_ns"][at])
        calls["operation"] = self.functions.operations()[rows["function"][at]].astype(np.int64)
        calls["duration_ns"] = _durations(rows, at, partner[at], orphan[at])
        for role in ARGUMENTS:
            # The return value came with the exit, everything else with the entry.
            calls[role] = self._arguments.of(role, rows["seq"][end if role == "ret" else at])
        status = np.full(at.size, STATUS["complete"], dtype=np.int64)
        status[(kind[at] == ENTRY) & (partner[at] == NONE)] = STATUS["censored"]
        status[orphan[at]] = STATUS["censored"]
        status[kind[at] == POINT] = STATUS["point"]
        lost = self._lost(rows, at, end, end_seq)
        status[(status == STATUS["complete"]) & lost] = STATUS["contaminated"]
        if not last:
            status[is_open] = OPEN
        calls["status"] = status
        calls["duration_ns"][status == STATUS["censored"]] = NIL
        return at, calls

    def _lost(self, rows: Rows, at: Ints, end: Ints, end_seq: Ints) -> NDArray[np.bool_]:
        start_seq = rows["seq"][at]
        lost = self.losses.overlap(rows["cpu"][at], start_seq, end_seq)
        moved = np.flatnonzero(rows["cpu"][at] != rows["cpu"][end])
        lost[moved] |= self.losses.overlap(
            rows["cpu"][end[moved]], start_seq[moved], end_seq[moved]
        )
        return lost

    def _cuts(self, calls: Rows) -> dict[int, int]:
        """Where the open unmap of each task begins: from there on its rows are carried."""
        unmap = (calls["operation"] == OP["unmap"]) & (calls["status"] == OPEN)
        cuts: dict[int, int] = {}
        tasks, starts = calls["task"][unmap].tolist(), calls["start_seq"][unmap].tolist()
        for task, start in zip(tasks, starts, strict=True):
            cuts[task] = min(start, cuts.get(task, FOREVER))
        return cuts

    @staticmethod
    def _final(calls: Rows, cut: dict[int, int]) -> NDArray[np.bool_]:
        final: NDArray[np.bool_] = calls["status"] != OPEN
        for task, seq in cut.items():
            final &= ~((calls["task"] == task) & (calls["start_seq"] >= seq))
        return final

    def _carried(
        self,
        rows: Rows,
        at: Ints,
        calls: Rows,
        cut: dict[int, int],
        held: NDArray[np.bool_],
    ) -> Rows:
        """Frames that may still close, and all rows of a task inside its open unmap."""
        keep = held.copy()
        keep[at[calls["status"] == OPEN]] = True
        for task, seq in cut.items():
            keep |= (rows["task"] == task) & (rows["seq"] >= seq)
        return take(rows, keep)


_COPIED: Final = (
    "task", "cpu", "tid", "comm", "function", "stream", "evidence", "depth",
)  # fmt: skip


def task_numbers(tasks: Ints) -> Ints:
    """Small numbers, one per distinct task."""
    if tasks.size == 0:
        return tasks
    changed = np.flatnonzero(np.r_[True, tasks[1:] != tasks[:-1]])
    runs = tasks[changed]
    _, number = np.unique(runs, return_inverse=True)
    return np.repeat(number.astype(np.int64), np.diff(np.r_[changed, tasks.size]))


def _enclosed(task: Ints, at: Ints, call_task: Ints, start: Ints, end: Ints) -> NDArray[np.bool_]:
    """Whether each row lies inside a closed call of its task; all are row positions."""
    inside = np.zeros(at.size, dtype=bool)
    for number in np.unique(task).tolist():
        mine = np.flatnonzero(task == number)
        of = call_task == number
        if not of.any():
            continue
        starts = start[of]
        reach = np.maximum.accumulate(end[of])
        before = np.searchsorted(starts, at[mine]) - 1
        inside[mine] = (before >= 0) & (reach[np.maximum(before, 0)] > at[mine])
    return inside


def _durations(rows: Rows, at: Ints, partner: Ints, orphan: NDArray[np.bool_]) -> Ints:
    """Stated by the format (function_graph), else the difference of the two timestamps."""
    exits = np.where(partner != NONE, partner, at)
    stated = rows["duration_ns"][exits]
    start, end = rows["ts_ns"][at], rows["ts_ns"][exits]
    timed = (partner != NONE) & (start != NIL) & (end != NIL)
    durations = np.where(stated != NIL, stated, np.where(timed, end - start, NIL))
    return np.where(orphan, NIL, durations)

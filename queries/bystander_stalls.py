"""When vCPUs were kept out of their guests by stage-2 faults: from kvm_exit to kvm_entry.

Only exits with a `kvm_guest_fault` in them count: a vCPU that waits for an interrupt (WFI), goes
to user space, or leaves for an interrupt does not wait for the mmu_lock. What is time off the CPU
is known where `sched_switch` was recorded. An exit of which the entry is missing does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from traceview.queries.bystander_events import (
    ENTRY,
    EXIT,
    FAULT,
    IN,
    KINDS_OF_ROWS,
    MMIO,
    OUT,
    USER,
)
from traceview.queries.rows import NIL, take

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.queries.losses import Losses
    from traceview.queries.rows import Ints, Rows


@dataclass(frozen=True, slots=True)
class Settled:
    """What is certain of a stretch of events.

    `stalls`: columns task, start_ns, end_ns, exit_seq, off_cpu; one row per stretch on or off the
    CPU. `faults`: task, ts_ns, ipa, hsr. `exits`: the tasks of exits. `doubts`: start_ns and
    end_ns of the exits that overlap a hole, which may be several.
    """

    stalls: Rows
    faults: Rows
    exits: Ints
    doubts: tuple[Ints, Ints]


class _Order:
    """For each row of events in order of (task, seq): what came before and after on its task."""

    def __init__(self, rows: Rows) -> None:
        self.task, self.kind = rows["task"], rows["kind"]
        self.position = np.arange(self.task.size)
        begins = np.r_[True, self.task[1:] != self.task[:-1]][: self.task.size]
        self.first = np.maximum.accumulate(np.where(begins, self.position, 0))

    def of(self, *kinds: int) -> NDArray[np.bool_]:
        """Which rows are of one of *kinds*."""
        table = np.zeros(KINDS_OF_ROWS, dtype=bool)
        table[list(kinds)] = True
        return table[self.kind]

    def last(self, *kinds: int) -> Ints:
        """The row of one of *kinds* at or before each row, -1 for none."""
        found = np.maximum.accumulate(np.where(self.of(*kinds), self.position, -1))
        return np.where(found >= self.first, found, -1)

    def following(self, *kinds: int) -> Ints:
        """The row of one of *kinds* after each row, -1 for none."""
        size = self.position.size
        hit = np.where(self.of(*kinds), self.position, size)
        found = np.minimum.accumulate(hit[::-1])[::-1]
        found = np.r_[found[1:], size][:size]
        known = np.minimum(found, max(size - 1, 0))
        return np.where((found < size) & (self.task[known] == self.task), found, -1)


def settle(rows: Rows, until_seq: int, losses: Losses, *, last: bool) -> tuple[Settled, Rows]:
    """What is certain of the events before *until_seq*, and the rows that must come again.

    *last*: nothing comes after these.
    """
    rows = take(rows, np.lexsort((rows["seq"], rows["task"])))
    order, kind, seq, ts_ns = _Order(rows), rows["kind"], rows["seq"], rows["ts_ns"]
    settled = seq < until_seq
    turn, closing = order.last(EXIT, ENTRY), order.following(EXIT, ENTRY)
    is_exit = kind == EXIT
    closed = is_exit & (closing >= 0) & settled[closing]
    open_exit = (turn >= 0) & is_exit[turn] & ~closed[turn]
    following = order.following(EXIT, ENTRY, FAULT, MMIO, USER)
    known = (following >= 0) & settled[following]
    memory = (kind == FAULT) & ((following < 0) | (kind[following] != MMIO))
    waits = ~settled | open_exit | ((kind == FAULT) & ~known)
    keep = np.zeros(kind.size, dtype=bool) if last else waits

    faulted = np.zeros(kind.size, dtype=bool)
    faulted[turn[memory & (turn >= 0)]] = True
    whole = closed & faulted & (kind[closing] == ENTRY)
    exits = np.flatnonzero(closed)
    lost = losses.overlap(np.full(exits.size, NIL), seq[exits], seq[closing[exits]])
    doubts = ts_ns[exits[lost]], ts_ns[closing[exits[lost]]]
    faults = {name: rows[name][memory & ~keep] for name in ("task", "ts_ns", "ipa", "hsr")}
    stalls = _stalls(rows, order, turn, whole)
    return Settled(stalls, faults, rows["task"][exits], doubts), take(rows, keep)


def _stalls(rows: Rows, order: _Order, turn: Ints, whole: NDArray[np.bool_]) -> Rows:
    """The stretches between the edges inside the exits *whole*, up to user space."""
    kind, ts_ns = rows["kind"], rows["ts_ns"]
    edge = order.of(EXIT, OUT, IN) & (turn >= 0) & whole[turn]
    edge &= order.last(USER) < turn
    end = order.following(EXIT, ENTRY, USER, OUT, IN)
    at = np.flatnonzero(edge)
    return {
        "task": rows["task"][at],
        "start_ns": ts_ns[at],
        "end_ns": ts_ns[end[at]],
        "exit_seq": rows["seq"][turn[at]],
        "off_cpu": (kind[at] == OUT).astype(np.int64),
    }

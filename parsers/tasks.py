"""Who a task was at the time: comm and tgid of events, from what the trace says of tasks.

A task changes its name when it executes a program, so what sched_switch says counts from its time
on; before, and where nothing was said, the name in the process tree counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers.chunks import MAX_CPUS, NO_TID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from traceview.parsers.chunks import Comms
    from traceview.parsers.columns import Ints
    from traceview.parsers.names import Names

MAX_TID: Final = 1 << 22  # include/linux/threads.h: PID_MAX_LIMIT


def task_of(tid: Ints, cpu: NDArray[np.int32]) -> Ints:
    """A number for each task: idle tasks all have tid 0, and there is one per CPU."""
    return np.where(tid == 0, -1 - cpu.astype(np.int64), tid)


class Tasks:
    """Names and groups of tasks, batch by batch in time order."""

    def __init__(self, comm: Mapping[int, str], tgid: Mapping[int, int], names: Names) -> None:
        """Begin with the names and thread groups that the trace lists, by tid."""
        comms = {tid: name for tid, name in comm.items() if 0 < tid < MAX_TID}
        self._comm = {tid: names.code(name) for tid, name in comms.items()}
        tids = [tid for tid in tgid if 0 <= tid < MAX_TID]
        self._tgid = np.full(max(tids, default=0) + 2, NO_TID, dtype=np.int32)
        self._tgid[tids] = [tgid[tid] for tid in tids]

    def tgids(self, tid: NDArray[np.int32]) -> NDArray[np.int32]:
        """The thread group of each task, NO_TID where the trace does not say."""
        unknown = len(self._tgid) - 1
        return self._tgid[np.where((tid >= 0) & (tid < unknown), tid, unknown)]

    def comms(
        self, ts_ns: Ints, tid: NDArray[np.int32], cpu: NDArray[np.int32], said: Comms
    ) -> NDArray[np.uint32]:
        """The code of the name of each task; times ascend, *said* is all up to the last of them."""
        usable = np.flatnonzero((said.task > -1 - MAX_CPUS) & (said.task < MAX_TID))
        order = usable[np.lexsort((said.ts_ns[usable], said.task[usable]))]
        task, when, code = said.task[order], said.ts_ns[order], said.comm[order]
        first = np.flatnonzero(np.diff(task, prepend=-MAX_TID))
        for at in first.tolist():  # a task that nobody had named before was called so all along
            self._comm.setdefault(int(task[at]), int(code[at]))
        before = np.concatenate([[0], code[:-1]])
        before[first] = [self._comm[one] for one in task[first].tolist()]
        change = np.flatnonzero(code != before)

        of = task_of(tid.astype(np.int64), cpu)
        of[(tid == NO_TID) | (of >= MAX_TID) | (of <= -1 - MAX_CPUS)] = MAX_TID
        # One table for all tasks: those of idle CPUs are negative, so they lie at its end.
        table = np.zeros(MAX_TID + 1 + MAX_CPUS, dtype=np.uint32)
        table[list(self._comm)] = list(self._comm.values())
        found = table[of]
        if change.size:
            _rename(found, of, ts_ns, task[change], when[change], code[change])
        last = np.append(first[1:], len(task))[: len(first)] - 1
        self._comm.update(zip(task[last].tolist(), code[last].tolist(), strict=True))
        return found


def _rename(
    found: NDArray[np.uint32], of: Ints, ts_ns: Ints, task: Ints, when: Ints,
    code: NDArray[np.uint32],
) -> None:  # fmt: skip
    """Give events their tasks' new names from *when* on; changes are sorted by task and time."""
    renamed, begin = np.unique(task, return_index=True)
    table = np.zeros(MAX_TID + 1 + MAX_CPUS, dtype=np.bool_)
    table[renamed] = True
    rows = np.flatnonzero(table[of])
    rows = rows[np.argsort(of[rows], kind="stable")]
    low = np.searchsorted(of[rows], renamed)
    high = np.searchsorted(of[rows], renamed, side="right")
    ends = np.append(begin[1:], len(task))
    for b, e, lo, hi in zip(*(a.tolist() for a in (begin, ends, low, high)), strict=True):
        mine = rows[lo:hi]
        nth = np.searchsorted(when[b:e], ts_ns[mine], side="right") - 1
        new = nth >= 0
        found[mine[new]] = code[b:e][nth[new]]

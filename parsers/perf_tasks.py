"""PERF_RECORD_COMM and FORK: what tasks were called, and when.

A task begins with the name of the one that forked it. Times are those of the records; what perf
made up at the start of the recording, from /proc, has the time 0. Source of truth:
include/uapi/linux/perf_event.h, tools/perf/util/thread.c (thread__fork) of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

from traceview.parsers.chunks import NO_TID, Comms
from traceview.parsers.perf_section import text
from traceview.parsers.tasks import MAX_TID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from traceview.parsers.names import Names

COMM_BYTES = 16  # TASK_COMM_LEN
IDLE = 0


class TaskRecords:
    """What the records said of tasks, in the order of the file."""

    def __init__(self, names: Names) -> None:
        """Begin with nothing."""
        self._names = names
        self._ts_ns, self._tid = array("q"), array("q")
        self._parent, self._comm = array("q"), array("q")
        self._tgid = np.full(MAX_TID, NO_TID, dtype=np.int32)

    def comm(self, ts_ns: int, payload: bytes) -> None:
        """A COMM: pid, tid, name."""
        if len(payload) > 8:
            name = text(payload[8 : 8 + COMM_BYTES])
            self._add(ts_ns, payload, 4, NO_TID, self._names.code(name) if name else 0)

    def fork(self, ts_ns: int, payload: bytes) -> None:
        """A FORK: pid, ppid, tid, ptid, time."""
        if len(payload) >= 16:
            self._add(ts_ns, payload, 8, int.from_bytes(payload[12:16], "little"), 0)

    def _add(self, ts_ns: int, payload: bytes, at: int, parent: int, comm: int) -> None:
        pid = int.from_bytes(payload[:4], "little")
        tid = int.from_bytes(payload[at : at + 4], "little")
        if IDLE < tid < MAX_TID:
            self._ts_ns.append(ts_ns)
            self._tid.append(tid)
            self._parent.append(parent)
            self._comm.append(comm)
            if pid < MAX_TID:
                self._tgid[tid] = pid

    def ran(self, pid: NDArray[np.int32], tid: NDArray[np.int32]) -> None:
        """Tasks *tid* of the processes *pid* were seen running."""
        usable = (tid >= 0) & (tid < MAX_TID)
        self._tgid[tid if usable.all() else tid[usable]] = pid if usable.all() else pid[usable]

    def tgids(self) -> dict[int, int]:
        """The process of each task."""
        known = np.flatnonzero(self._tgid != NO_TID)
        return dict(zip(known.tolist(), self._tgid[known].tolist(), strict=True))

    def comms(self, listed: Mapping[int, str]) -> tuple[dict[int, str], Comms]:
        """Names at the start, those *listed* elsewhere among them, and every change by time."""
        ts_ns, tid, parent, comm = (
            np.frombuffer(one, dtype=np.int64)
            for one in (self._ts_ns, self._tid, self._parent, self._comm)
        )
        order = np.argsort(ts_ns, kind="stable")
        now = {task: self._names.code(name) for task, name in listed.items()}
        start = dict(now)
        code = np.zeros(len(order), dtype=np.uint32)
        columns = (one[order].tolist() for one in (ts_ns, tid, parent, comm))
        for i, (when, task, father, name) in enumerate(zip(*columns, strict=True)):
            code[i] = now[task] = name or now.get(father, 0)
            if when == 0:
                start[task] = now[task]
        said = (code > 0) & (ts_ns[order] > 0)
        names = {task: self._names[one] for task, one in start.items()}
        return (
            {task: name for task, name in names.items() if name},
            Comms(ts_ns[order][said], tid[order][said], code[said]),
        )

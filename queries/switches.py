"""Time that tasks spent off the CPU, from `sched_switch`.

Outside PREEMPT_RT an unmap is never scheduled out (it holds the mmu_lock); on PREEMPT_RT it can
be, and that time is neither walk nor invalidation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.queries.functions import OP
from traceview.queries.losses import FOREVER
from traceview.queries.rows import IDLE_BASE, NIL, whole

if TYPE_CHECKING:
    from traceview.queries.calls import Chunk
    from traceview.queries.rows import Ints
    from traceview.trace import Batch


class Switches:
    """The task switches of one source that an unmap may still contain."""

    def __init__(self) -> None:
        """Start with none."""
        self.seen = False
        self._rows = np.empty((0, 4), dtype=np.int64)  # seq, ts_ns, previous tid, next tid

    def add(self, batch: Batch) -> None:
        """Take the switches of a batch."""
        switches = batch.events.filter(pl.col("name") == "sched_switch").select(
            "seq", "ts_ns", "tid"
        )
        if switches.is_empty():
            return
        self.seen = True
        tids = batch.args.filter(pl.col("name") == "next_pid").select(
            "seq", pl.col("value").alias("next_pid")
        )
        found = switches.join(tids, on="seq", how="left", maintain_order="left")
        columns = [whole(found[name]) for name in ("seq", "ts_ns", "tid", "next_pid")]
        self._rows = np.concatenate([self._rows, np.stack(columns, axis=1)])

    def gaps(self, chunk: Chunk) -> tuple[Ints, Ints, Ints]:
        """Task, seq and off_ns of each time off the CPU of a task with an unmap in *chunk*."""
        calls = chunk.calls
        unmaps = (calls["operation"] == OP["unmap"]) & (calls["task"] < IDLE_BASE)
        tasks = np.unique(calls["task"][unmaps])
        seq, ts_ns, previous, following = self._rows.T
        out = np.flatnonzero(np.isin(previous, tasks) & (ts_ns != NIL))
        back = np.flatnonzero(np.isin(following, tasks) & (ts_ns != NIL))
        off = np.full(out.size, NIL, dtype=np.int64)
        for task in tasks.tolist():
            mine = np.flatnonzero(previous[out] == task)
            returns = back[following[back] == task]
            at = np.searchsorted(returns, out[mine], side="right")
            known = at < returns.size
            off[mine[known]] = ts_ns[returns[at[known]]] - ts_ns[out[mine[known]]]
        self._forget(chunk)
        known = off != NIL
        return previous[out[known]], seq[out[known]], off[known]

    def _forget(self, chunk: Chunk) -> None:
        keep_from = min(chunk.cut.values(), default=FOREVER)
        self._rows = self._rows[self._rows[:, 0] >= keep_from]

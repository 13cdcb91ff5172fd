"""Events that are placed in calls later: a call is known when it ends, its contents before.

Rows wait, batch by batch, until the call that their task is in can no longer grow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.queries.rows import task_keys, whole
from traceview.queries.unmaps import LAST_SEQ, TASK_SHIFT

if TYPE_CHECKING:
    from traceview.queries.calls import Chunk
    from traceview.queries.rows import Ints
    from traceview.queries.unmaps import Placed


class Waiting:
    """Rows with columns `task` and `seq` that are not yet placed."""

    def __init__(self) -> None:
        """Start with none."""
        self._rows: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Let *rows* wait. They have `tid`, `cpu` and `seq`; `task` is added."""
        task = pl.Series("task", task_keys(whole(rows["tid"]), whole(rows["cpu"])))
        self._rows.append(rows.with_columns(task))

    def due(self, chunk: Chunk) -> pl.DataFrame | None:
        """The rows whose calls are final with *chunk*, None if nothing ever waited.

        Those of tasks that are inside an open unmap go on waiting for it.
        """
        if not self._rows:
            return None
        waiting = pl.concat(self._rows)
        cuts = pl.DataFrame(
            {"task": list(chunk.cut), "cut": list(chunk.cut.values())},
            schema={"task": pl.Int64, "cut": pl.Int64},
        )
        waiting = waiting.join(cuts, on="task", how="left", maintain_order="left")
        later = waiting["seq"] >= waiting["cut"].fill_null(LAST_SEQ)
        self._rows = [waiting.filter(later).drop("cut")]
        return waiting.filter(~later).drop("cut")


def positions(rows: pl.DataFrame, placed: Placed) -> Ints:
    """Positions as unmaps.place gives them; -1 for tasks without any call."""
    tasks, first = np.unique(placed.calls["task"], return_index=True)
    base = placed.start[first] >> TASK_SHIFT
    task = rows["task"].to_numpy()
    found = np.searchsorted(tasks, task)
    known = np.minimum(found, max(tasks.size - 1, 0))
    if tasks.size == 0:
        return np.full(task.size, -1, dtype=np.int64)
    hit, number = (found < tasks.size) & (tasks[known] == task), base[known]
    return np.where(hit, (number << TASK_SHIFT) | rows["seq"].to_numpy(), -1)


def id_of(calls: Placed, of: Ints, name: str) -> pl.Series:
    """The ids of the calls at the positions *of*, null at -1."""
    ids = calls.calls["start_seq"][of] if calls.start.size else of
    return pl.Series(name, ids).to_frame().select(pl.when(pl.Series(of >= 0)).then(name))[name]

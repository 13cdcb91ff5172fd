"""Instructions that an emulator saw executed inside unmaps and flushes (`insn` evidence).

There TLBI and DSB are separate and every range operand is exact. What a TLBI's operand means was
decoded by the parser (args `ipa`, `pages`, `level`); here it is placed in the calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.rows import INSTRUCTIONS, task_keys, whole
from traceview.queries.unmaps import LAST_SEQ, TASK_SHIFT, Placed, outermost, owner
from traceview.schema import NAME, conform

if TYPE_CHECKING:
    from traceview.queries.calls import Chunk
    from traceview.queries.rows import Ints
    from traceview.trace import Batch

FLUSHES: Final = ("invalidate_ipa", "invalidate_range", "invalidate_vmid", "cmo")
ARGS: Final = {"op": "text", "operand": "value", "ipa": "value", "pages": "value", "level": "value"}
KINDS: Final = {"tlbi": "tlbi_insns", "dsb": "dsb_insns", "dc": "cmo_lines"}


class Instructions:
    """The instruction events of one source that are not yet placed in a call."""

    def __init__(self) -> None:
        """Start with none."""
        self.seen = False
        self._waiting: list[pl.DataFrame] = []

    def add(self, batch: Batch) -> None:
        """Take the instruction events of a batch."""
        events = batch.events.filter(
            (pl.col("evidence") == "insn") & pl.col("name").is_in(INSTRUCTIONS)
        ).select("seq", "tid", "cpu", "ts_ns", pl.col("name").alias("insn"))
        if events.is_empty():
            return
        self.seen = True
        for name, column in ARGS.items():
            values = batch.args.filter(pl.col("name") == name).select(
                "seq", pl.col(column).alias(name)
            )
            events = events.join(values, on="seq", how="left", maintain_order="left")
        task = pl.Series("task", task_keys(whole(events["tid"]), whole(events["cpu"])))
        self._waiting.append(events.drop("tid", "cpu").with_columns(task, pl.col("op").cast(NAME)))

    def place(self, chunk: Chunk, placed: Placed, unmaps: Placed) -> pl.DataFrame:
        """The instructions inside the final calls of a chunk: schema.INSTRUCTIONS.

        Those of tasks that are inside an open unmap wait for it.
        """
        if not self._waiting:
            return conform("instructions", pl.DataFrame())
        waiting = pl.concat(self._waiting)
        cuts = pl.DataFrame(
            {"task": list(chunk.cut), "cut": list(chunk.cut.values())},
            schema={"task": pl.Int64, "cut": pl.Int64},
        )
        waiting = waiting.join(cuts, on="task", how="left", maintain_order="left")
        later = waiting["seq"] >= waiting["cut"].fill_null(LAST_SEQ)
        self._waiting = [waiting.filter(later).drop("cut")]
        rows = waiting.filter(~later).drop("cut")
        at = _positions(rows, placed)
        flushes = placed.pick(placed.operation(*FLUSHES) & placed.status("complete"))
        flushes = flushes.pick(outermost(flushes))
        in_unmap, in_flush = owner(unmaps, at), owner(flushes, at)
        rows = rows.with_columns(
            pl.col("operand", "ipa").reinterpret(signed=False),
            _id(unmaps, in_unmap, "unmap_id"),
            _id(flushes, in_flush, "call_id"),
        )
        return conform("instructions", rows.filter(pl.Series((in_unmap >= 0) | (in_flush >= 0))))


def count_per_unmap(instructions: pl.DataFrame) -> pl.DataFrame:
    """Columns unmap_id, tlbi_insns, dsb_insns, cmo_lines of *instructions*."""
    return (
        instructions.filter(pl.col("unmap_id").is_not_null())
        .group_by("unmap_id")
        .agg(
            (pl.col("insn") == kind).sum().cast(pl.Int64).alias(name)
            for kind, name in KINDS.items()
        )
    )


def _positions(rows: pl.DataFrame, placed: Placed) -> Ints:
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


def _id(calls: Placed, of: Ints, name: str) -> pl.Series:
    ids = calls.calls["start_seq"][of] if calls.start.size else of
    return pl.Series(name, ids).to_frame().select(pl.when(pl.Series(of >= 0)).then(name))[name]

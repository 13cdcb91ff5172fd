"""Instructions that an emulator saw executed inside unmaps and flushes (`insn` evidence).

There TLBI and DSB are separate and every range operand is exact. What a TLBI's operand means was
decoded by the parser (args `ipa`, `pages`, `level`); here it is placed in the calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.rows import INSTRUCTIONS
from traceview.queries.unmaps import Placed, outermost, owner
from traceview.queries.waiting import Waiting, id_of, positions
from traceview.schema import NAME, conform

if TYPE_CHECKING:
    from traceview.queries.calls import Chunk
    from traceview.trace import Batch

FLUSHES: Final = ("invalidate_ipa", "invalidate_range", "invalidate_vmid", "cmo")
ARGS: Final = {
    "op": "text", "option": "text", "operand": "value", "ipa": "value", "pages": "value",
    "level": "value",
}  # fmt: skip
KINDS: Final = {"tlbi": "tlbi_insns", "dsb": "dsb_insns", "dc": "cmo_lines"}


class Instructions:
    """The instruction events of one source, placed in calls."""

    def __init__(self) -> None:
        """Start with none."""
        self.seen = False
        self._waiting = Waiting()

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
        op = (
            pl.coalesce("op", "option").cast(NAME).alias("op")
        )  # of dsb and isb: what they wait for
        self._waiting.add(events.with_columns(op).drop("option"))

    def place(self, chunk: Chunk, placed: Placed, unmaps: Placed) -> pl.DataFrame:
        """The instructions inside the final calls of a chunk: schema.INSTRUCTIONS.

        Those of tasks that are inside an open unmap wait for it.
        """
        rows = self._waiting.due(chunk)
        if rows is None:
            return conform("instructions", pl.DataFrame())
        at = positions(rows, placed)
        flushes = placed.pick(placed.operation(*FLUSHES) & placed.status("complete"))
        flushes = flushes.pick(outermost(flushes))
        in_unmap, in_flush = owner(unmaps, at), owner(flushes, at)
        rows = rows.with_columns(
            pl.col("operand", "ipa").reinterpret(signed=False),
            id_of(unmaps, in_unmap, "unmap_id"),
            id_of(flushes, in_flush, "call_id"),
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

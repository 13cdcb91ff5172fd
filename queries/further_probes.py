"""Several probes on the entry, or on the return, of one function: each firing counts once.

Every probe event of a function writes a record when the function is called. The first of them in
the trace stands for the call; the records of the others are left out, and their arguments go to it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from traceview.trace import Batch

PROBES: Final = ("kprobe", "fprobe")
KEYS: Final = ("symbol", "phase")
# The records of one call follow one another; interrupts may write a few between them.
NEAR: Final = 64


class FurtherProbes:
    """Which probe event stands for each function's entry and return, in one source."""

    def __init__(self) -> None:
        """Know none."""
        self.left_out = 0
        self._first: dict[tuple[str, str], str] = {}

    def without(self, batch: Batch, counts: pl.DataFrame) -> Batch:
        """*batch* without the records of further probes; *counts* are its events by kind."""
        probes = counts.filter(
            pl.col("evidence").is_in(PROBES),
            pl.col("phase").is_in(["entry", "exit"]),
            pl.col("symbol").is_not_null(),
        )
        said = probes.select(pl.col(*KEYS, "name").cast(pl.String)).unique()
        further = [
            (symbol, phase, name)
            for symbol, phase, name in said.iter_rows()
            if self._name(batch, (symbol, phase), said) != name
        ]
        if not further:
            return batch
        names = pl.DataFrame(further, schema=[*KEYS, "name"], orient="row").with_columns(
            pl.col(name).cast(batch.events.schema[name]) for name in (*KEYS, "name")
        )
        drop = batch.events.join(names, on=[*KEYS, "name"], how="semi", maintain_order="left")
        self.left_out += len(drop)
        kept = batch.events.join(drop.select("seq"), on="seq", how="anti", maintain_order="left")
        return replace(batch, events=kept, args=_moved(batch.args, drop, kept))

    def _name(self, batch: Batch, key: tuple[str, str], said: pl.DataFrame) -> str:
        """The event that stands for this entry or return: the first one of the trace."""
        if key not in self._first:
            symbol, phase = key
            mine = said.filter(pl.col("symbol") == symbol, pl.col("phase") == phase)["name"]
            first = mine[0]
            if len(mine) > 1:
                events = batch.events.filter(
                    pl.col("symbol") == symbol,
                    pl.col("phase") == phase,
                    pl.col("evidence").is_in(PROBES),
                )
                first = str(events["name"][0])
            self._first[key] = first
        return self._first[key]


def _moved(args: pl.DataFrame, drop: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    """*args* with those of dropped events at the event that stands for the same call."""
    by = ["tid", *KEYS]
    found = drop.select("seq", *by).join_asof(
        kept.filter(pl.col("evidence").is_in(PROBES)).select(pl.col("seq").alias("to"), *by),
        left_on="seq", right_on="to", by=by, strategy="nearest", tolerance=NEAR,
        check_sortedness=False,
    )  # fmt: skip
    moved = args.join(found.select("seq", "to"), on="seq", how="left", maintain_order="left")
    dropped = pl.col("seq").is_in(drop["seq"].implode())
    return moved.filter(~dropped | pl.col("to").is_not_null()).select(
        pl.coalesce("to", "seq").alias("seq"), pl.exclude("seq", "to")
    )

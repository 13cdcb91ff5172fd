"""The hypervisor's holes cut along batches: each piece comes with the events that it lies among."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.schema import conform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]


class Holes:
    """Frame of hypervisor_times.HOLES, handed out in order of time."""

    def __init__(self, holes: pl.DataFrame, buffer: str) -> None:
        """*holes* in order of `from_ns`, of *buffer*."""
        self._holes, self._buffer = holes, buffer
        self._from_ns = holes["from_ns"].to_numpy()
        self._open = holes[:0]
        self._next = 0
        self._last_ns: int | None = None

    def add(self, holes: pl.DataFrame) -> None:
        """More, which are open already."""
        self._open = pl.concat([self._open, holes])

    def among(self, at_ns: Ints, seq: Ints) -> pl.DataFrame:
        """Rows of schema.LOSSES between the events handed in before and the last of these."""
        first, last = int(at_ns[0]), int(at_ns[-1])
        begin = first if self._last_ns is None else self._last_ns
        until = int(np.searchsorted(self._from_ns, last, side="right"))
        new = self._holes[self._next : max(until, self._next)]
        self._next = max(until, self._next)
        here = pl.concat([self._open, new]).filter(pl.col("to_ns") >= begin)
        self._open = here.filter(pl.col("to_ns") > last).with_columns(
            pl.lit(None, pl.Int64).alias("count")
        )
        self._last_ns = last
        from_ns, to_ns = here["from_ns"].to_numpy(), here["to_ns"].to_numpy()
        opens = int(seq[0]) - 1 + np.searchsorted(at_ns, from_ns, side="right")
        closes = int(seq[0]) + np.searchsorted(at_ns, to_ns)
        # What goes on beyond these events holds the first and the last of them.
        opens = np.where(from_ns <= begin, int(seq[0]) - 1, opens)
        closes = np.where(to_ns > last, int(seq[-1]) + 1, closes)
        return conform(
            "losses",
            here.with_columns(
                pl.col("from_ns").clip(begin),
                pl.col("to_ns").clip(None, last),
                pl.Series("from_seq", opens).replace(-1, None),
                pl.Series("to_seq", closes),
                pl.lit(self._buffer).alias("buffer"),
            ),
        )

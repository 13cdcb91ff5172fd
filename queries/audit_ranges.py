"""Flushes of a range: what was asked of each, and the operands that a probe inside it recorded.

`kvm_tlb_flush_vmid_range(mmu, addr, size)` calls `__kvm_tlb_flush_vmid_range(mmu, start, pages)`
once per 2^21 pages; without FEAT_TLBIRANGE it calls `__kvm_tlb_flush_vmid` instead, once. Either
may be traced, with or without arguments. The operands are computed inside the inner one: only a
probe in its middle has them (docs/audit.md says how its arguments are to be named).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.calls import OPEN
from traceview.queries.range_operations import MAX_PAGES
from traceview.queries.rows import NIL
from traceview.queries.unmaps import outermost, owner, unmap_calls
from traceview.queries.waiting import Waiting, positions
from traceview.vocabulary import strip_suffix

if TYPE_CHECKING:
    from traceview.queries.calls import Chunk
    from traceview.queries.functions import Functions
    from traceview.queries.rows import Ints
    from traceview.queries.unmaps import Placed
    from traceview.trace import Batch

INNER: Final = "__kvm_tlb_flush_vmid_range"
# Arguments of a probe in the middle of INNER: the register of a range operation, of a single one.
RANGE_OPERAND: Final = ("ripas2e1is", "operand", "tlbi", "xt")
SINGLE_OPERAND: Final = ("ipas2e1is",)

# How many events an operand waits for the return of its flush.
PATIENCE: Final = 1_000_000
MAX_BYTES: Final = 1 << 52  # FEAT_LPA2

FLUSHES: Final = {
    "flush_id": pl.Int64(), "unmap_id": pl.Int64(), "cpu": pl.Int64(), "tid": pl.Int64(),
    "start_ns": pl.Int64(), "status": pl.Int64(), "wrapper": pl.Boolean(),
    "whole_vmid": pl.Boolean(), "spans": pl.Boolean(),
}  # fmt: skip
PIECES: Final = {"flush_id": pl.Int64(), "ipa": pl.Int64(), "length_bytes": pl.Int64()}
OPERANDS: Final = {"flush_id": pl.Int64(), "operand": pl.UInt64(), "single": pl.Boolean()}


class RangeFlushes:
    """The flushes of a range of one source.

    `flushes`: FLUSHES, one per request, `flush_id` being the call_id of the outermost call of it.
    `pieces`: PIECES, what each was asked to invalidate, as far as arguments say. `operands`:
    OPERANDS, in order.
    """

    def __init__(self, functions: Functions) -> None:
        """Start with none."""
        self._functions = functions
        self._flushes: list[pl.DataFrame] = [pl.DataFrame(schema=FLUSHES)]
        self._pieces: list[pl.DataFrame] = [pl.DataFrame(schema=PIECES)]
        self._operands: list[pl.DataFrame] = [pl.DataFrame(schema=OPERANDS)]
        self._waiting = Waiting()
        self._open: set[int] = set()

    @property
    def flushes(self) -> pl.DataFrame:
        """One row per request."""
        return pl.concat(self._flushes)

    @property
    def pieces(self) -> pl.DataFrame:
        """What the requests asked for."""
        return pl.concat(self._pieces)

    @property
    def operands(self) -> pl.DataFrame:
        """What probes recorded."""
        return pl.concat(self._operands)

    def hear(self, batch: Batch, chunk: Chunk, placed: Placed) -> None:
        """Take a batch and the calls that closed with it."""
        self._add_operands(batch)
        every = placed.pick(placed.operation("invalidate_range"))
        top = every.pick(outermost(every))
        self._place_operands(chunk, top, placed)
        final = top.pick(top.calls["status"] != OPEN)
        self._flushes.append(self._rows(final, placed))
        self._pieces.append(self._asked(final, every))
        ids, is_open = top.calls["start_seq"], top.calls["status"] == OPEN
        self._open = set(ids[is_open].tolist())

    def _rows(self, final: Placed, placed: Placed) -> pl.DataFrame:
        calls, ids = final.calls, final.calls["start_seq"]
        unmaps = unmap_calls(placed)
        of = owner(unmaps, final.start)
        unmap_ids = np.where(of >= 0, np.r_[unmaps.calls["start_seq"], NIL][of], NIL)
        vmid = placed.pick(placed.operation("invalidate_vmid"))
        inside = owner(final, vmid.start)
        whole = np.bincount(inside[inside >= 0], minlength=ids.size) > 0
        rows = pl.DataFrame(
            {
                "flush_id": ids, "unmap_id": unmap_ids, "cpu": calls["cpu"], "tid": calls["tid"],
                "start_ns": calls["start_ns"], "status": calls["status"],
                "wrapper": self._functions.wrappers()[calls["function"]], "whole_vmid": whole,
                "spans": np.isin(ids, list(self._open)),
            }
        )  # fmt: skip
        numbers = ("unmap_id", "cpu", "tid", "start_ns")
        known = pl.when(pl.col(*numbers) != NIL).then(pl.col(*numbers))
        return rows.with_columns(known).select(
            pl.col(name).cast(dtype) for name, dtype in FLUSHES.items()
        )

    def _asked(self, final: Placed, every: Placed) -> pl.DataFrame:
        """What the inner calls were asked for; where that is not recorded, what the outer one."""
        of = owner(final, every.start)
        calls = every.calls
        known = (of >= 0) & (calls["ipa"] != NIL) & (calls["length_bytes"] != NIL)
        inner = ~self._functions.wrappers()[calls["function"]]
        size = final.start.size
        has_inner = np.bincount(of[known & inner], minlength=size) > 0
        said = known & (inner | ~has_inner[np.maximum(of, 0)]) if size else known
        rows = pl.DataFrame(
            {
                "flush_id": final.calls["start_seq"][of[said]],
                "ipa": calls["ipa"][said],
                "length_bytes": calls["length_bytes"][said],
            },
            schema=PIECES,
        )
        # What no address space can hold was not recorded as it should have been.
        return rows.filter(
            pl.col("ipa").is_between(0, MAX_BYTES), pl.col("length_bytes").is_between(0, MAX_BYTES)
        )

    def _add_operands(self, batch: Batch) -> None:
        names = [*RANGE_OPERAND, *SINGLE_OPERAND]
        args = batch.args.filter(pl.col("name").is_in(names), pl.col("value").is_not_null())
        if args.is_empty():
            return
        probes = batch.events.filter(
            pl.col("phase") == "instant",
            pl.col("evidence").is_in(["kprobe", "fprobe"]),
            pl.col("symbol").is_not_null(),
        ).select("seq", "tid", "cpu", "symbol")
        symbols = probes["symbol"].unique().cast(pl.String).to_list()
        mine = [name for name in symbols if strip_suffix(name) == INNER]
        found = probes.filter(pl.col("symbol").cast(pl.String).is_in(mine)).join(
            args.select("seq", "name", "value"), on="seq", how="inner", maintain_order="left"
        )
        self._waiting.add(
            found.select(
                "seq", "tid", "cpu",
                pl.col("value").reinterpret(signed=False).alias("operand"),
                pl.col("name").cast(pl.String).is_in(SINGLE_OPERAND).alias("single"),
            )
        )  # fmt: skip

    def _place_operands(self, chunk: Chunk, top: Placed, placed: Placed) -> None:
        rows = self._waiting.due(chunk)
        if rows is None or rows.is_empty():
            return
        of = owner(top, positions(rows, placed))
        # A flush that is not known to return is no call yet.
        seq = rows["seq"].to_numpy()
        still = (of < 0) & (seq > seq.max() - PATIENCE)
        held = of >= 0
        held[held] = top.calls["status"][of[held]] == OPEN
        self._waiting.add(rows.filter(pl.Series(still | held)))
        mine = (of >= 0) & ~held
        ids = pl.Series("flush_id", top.calls["start_seq"][of[mine]], dtype=pl.Int64)
        self._operands.append(
            rows.filter(pl.Series(mine)).select(ids, "operand", "single").cast(OPERANDS)  # type: ignore[arg-type]
        )


def pieces_of(asked: pl.DataFrame, page_bytes: int) -> tuple[Ints, Ints, Ints, Ints]:
    """The calls of the inner function that serve *asked*: its row, start, pages, how many like it.

    As kvm_tlb_flush_vmid_range() cuts what it is asked for: calls of 2^21 pages, and one for the
    rest. The whole ones differ in their start alone, and begin as far from a multiple of 64 KiB.
    """
    start = asked["ipa"].to_numpy() // page_bytes * page_bytes
    pages = asked["length_bytes"].to_numpy() // page_bytes
    calls, rest = pages // MAX_PAGES, pages % MAX_PAGES
    full, part = np.flatnonzero(calls), np.flatnonzero(rest)
    return (
        np.r_[full, part],
        np.r_[start[full], start[part] + calls[part] * (MAX_PAGES * page_bytes)],
        np.r_[np.full(full.size, MAX_PAGES), rest[part]],
        np.r_[calls[full], np.ones(part.size, dtype=np.int64)],
    )

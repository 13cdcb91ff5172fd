"""Guest faults of other tasks on an address that an unmap was clearing at that moment.

A vCPU that faults on a cleared page while the unmap runs shows that somebody wanted the page: its
own translation was gone already, or never there. It waits for mmu_lock. That is information on what
the window meant, not a finding. Read from the tracepoint kvm_guest_fault (argument `ipa`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.losses import FOREVER
from traceview.queries.rows import NIL, whole

if TYPE_CHECKING:
    from traceview.queries.calls import Chunk
    from traceview.queries.rows import Ints
    from traceview.queries.unmaps import Placed
    from traceview.trace import Batch

EVENT: Final = "kvm_guest_fault"
# As tracefs prints it: "ipa 0x80000000, hsr 0x..., hxfar 0x..., pc 0x...".
IPA_TEXT: Final = r"\bipa[ =](0x[0-9a-f]+)"
COLUMNS: Final = ("seq", "tid", "ipa")


class GuestFaults:
    """The guest faults of one source; `seen` says whether any was recorded."""

    def __init__(self) -> None:
        """Start with none."""
        self.seen = 0
        self._waiting: dict[str, Ints] = {name: np.empty(0, dtype=np.int64) for name in COLUMNS}

    def hear(self, batch: Batch, chunk: Chunk, unmaps: Placed) -> Ints:
        """How many faults of other tasks fell into each of *unmaps*, which became final."""
        for name, values in self._faults(batch).items():
            self._waiting[name] = np.concatenate([self._waiting[name], values])
        hits = np.zeros(unmaps.start.size, dtype=np.int64)
        calls, faults = unmaps.calls, self._waiting
        placed = (calls["ipa"] != NIL) & (calls["length_bytes"] != NIL)
        tasks = calls["task"]
        for task in np.unique(tasks[placed]).tolist() if faults["seq"].size else []:
            mine = np.flatnonzero(placed & (tasks == task))
            at = np.searchsorted(calls["start_seq"][mine], faults["seq"]) - 1
            unmap = mine[np.maximum(at, 0)]
            begun = calls["ipa"][unmap]
            inside = (at >= 0) & (faults["seq"] < calls["end_seq"][unmap])
            inside &= (calls["end_seq"][unmap] != FOREVER) & (faults["tid"] != calls["tid"][unmap])
            inside &= (faults["ipa"] >= begun) & (
                faults["ipa"] < begun + calls["length_bytes"][unmap]
            )
            hits += np.bincount(unmap[inside], minlength=hits.size)
        self._forget(min(chunk.cut.values(), default=FOREVER))
        return hits

    def _forget(self, before: int) -> None:
        """Drop what lies before the first unmap that is still open."""
        kept = self._waiting["seq"] >= before
        self._waiting = {name: values[kept] for name, values in self._waiting.items()}

    def _faults(self, batch: Batch) -> dict[str, Ints]:
        events = batch.events.filter(
            (pl.col("evidence") == "tracepoint") & pl.col("name").is_in([EVENT, f"kvm:{EVENT}"])
        ).select("seq", "tid")
        if events.is_empty():
            return {}
        self.seen += len(events)
        args = batch.args.filter(pl.col("name").is_in(["ipa", "text"])).select(
            "seq",
            pl.coalesce(
                "value",
                pl.col("text").str.extract(IPA_TEXT).str.slice(2).str.to_integer(
                    base=16, strict=False
                ),
            ).alias("ipa"),
        )  # fmt: skip
        found = events.join(args.drop_nulls(), on="seq", how="inner", maintain_order="left")
        found = found.unique("seq", keep="first", maintain_order=True)
        return {name: whole(found[name]) for name in COLUMNS}

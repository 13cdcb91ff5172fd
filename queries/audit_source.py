"""What an audit remembers of one trace, and what it knows of how it was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.audit_entries import Entries
from traceview.queries.audit_faults import GuestFaults
from traceview.queries.audit_instructions import CALLS
from traceview.queries.audit_order import observe_order, parts
from traceview.queries.audit_ranges import RangeFlushes
from traceview.queries.audit_windows import SCHEMA, observe_windows
from traceview.queries.breakdown import RANGE_FUNCTIONS
from traceview.queries.rows import NIL
from traceview.queries.unmaps import place
from traceview.schema import EVIDENCE
from traceview.vocabulary import strip_suffix

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.queries.audit_order import Parts
    from traceview.queries.calls import Chunk
    from traceview.queries.source_tables import SourceTables
    from traceview.trace import Batch

FLUSH: Final = "__kvm_tlb_flush_vmid_ipa"
RANGE: Final = "__kvm_tlb_flush_vmid_range"
VMID: Final = "__kvm_tlb_flush_vmid"
LOSING: Final = (
    "events are missing, and this trace does not say where: what is left of two unmaps may look"
    " like one that lacks an invalidation"
)
# Functions of vhe/tlb.c: of nVHE and pKVM they run at EL2 and are in no trace of the host.
OF_VHE: Final = frozenset({
    FLUSH, f"{FLUSH}_nsh", RANGE, VMID, "enter_vmid_context", "exit_vmid_context",
    "__tlb_switch_to_guest", "__tlb_switch_to_host",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a source.

    `flush_seen`: an invalidation by IPA would be in the trace: the function was hit, or it is
    stated that it was traced and others of its file were hit. `tlbirange`: False of a machine where
    flushes of a range drop the whole VMID. `ranges_traced`: a flush of a range would be in the
    trace. `inner_seen`: the function that makes its operations was hit. `sampled`: not every hit of
    a probe was recorded. `doubt`: why what is missing may have been lost; None where the trace
    would say so.
    """

    kernel: str | None
    lpa2: bool | None
    page_bytes: int
    page_known: bool
    flush_seen: bool
    tlbirange: bool | None
    ranges_traced: bool
    inner_seen: bool
    executed: bool
    sampled: bool
    doubt: str | None


class Heard:
    """The observations of one source, chunk by chunk."""

    def __init__(self, tables: SourceTables) -> None:
        """Start with none."""
        self.ranges = RangeFlushes(tables.functions)
        self.faults = GuestFaults()
        self.entries = Entries()
        self._tables = tables
        self._order: list[pl.DataFrame] = []
        self._windows: list[pl.DataFrame] = [pl.DataFrame(schema=SCHEMA)]
        self._calls: list[pl.DataFrame] = [pl.DataFrame(schema=CALLS)]

    @property
    def page_bytes(self) -> int:
        """As stated or read, else 4096."""
        return self._tables.page_bytes

    @property
    def order(self) -> pl.DataFrame:
        """One row per unmap: audit_order.py."""
        return pl.concat(self._order)

    @property
    def windows(self) -> pl.DataFrame:
        """The stale windows: audit_windows.SCHEMA."""
        return pl.concat(self._windows)

    @property
    def calls(self) -> pl.DataFrame:
        """Flushes inside unmaps of which the instructions were recorded: CALLS."""
        return pl.concat(self._calls)

    def hear(self, batch: Batch, chunk: Chunk) -> None:
        """Take a batch and the calls that closed with it."""
        placed = place(chunk)
        found = parts(placed, self._tables.functions)
        row = observe_order(found, self.page_bytes)
        row["faults"] = self.faults.hear(batch, chunk, found.unmaps)
        self._order.append(pl.DataFrame(row))
        self._windows.append(observe_windows(found, self.page_bytes))
        self._calls.append(_executed(found))
        self.ranges.hear(batch, chunk, placed)
        self.entries.hear(batch, chunk, placed, found, self.page_bytes)

    def facts(self, analysis: Analysis, source_id: int) -> Facts:
        """What is known once the whole source was read."""
        source = analysis.sources.row(source_id, named=True)
        counts = analysis.event_counts.filter(
            pl.col("source_id") == source_id,
            pl.col("symbol").is_not_null(),
            pl.col("evidence") != "sample",
        )
        hit = {strip_suffix(name) for name in counts["symbol"].cast(pl.String).unique().to_list()}
        executed = analysis.instructions.filter(pl.col("source_id") == source_id)
        stated = FLUSH in self._tables.traced.functions
        return Facts(
            kernel=source["kernel"],
            lpa2=source["lpa2"],
            page_bytes=self.page_bytes,
            page_known=source["page_size_bytes"] == self.page_bytes,
            flush_seen=FLUSH in hit or (stated and bool(hit & OF_VHE)),
            tlbirange=source["tlbirange"],
            ranges_traced=bool(RANGE_FUNCTIONS & (hit | self._tables.traced.functions)),
            inner_seen=RANGE in hit,
            executed=not executed.is_empty(),
            sampled=any(
                of == source_id and what.code == "sampled-events"
                for of, what in analysis.diagnostics
            ),
            doubt=_doubt(analysis, source_id),
        )


def _doubt(analysis: Analysis, source_id: int) -> str | None:
    """LOSING, where a source loses events without saying where, and shows that it did.

    An unmap without entry that is not the first of its task, one without exit that is not the last,
    one with half a call inside: what lies between two holes can look like one unmap.
    """
    of = pl.col("source_id") == source_id
    losses = analysis.losses.filter(of, pl.col("from_seq").is_null() & pl.col("to_seq").is_null())
    if analysis.sources["loss_known"][source_id] and losses.is_empty():
        return None
    status, begun = pl.col("status"), pl.col("start_ns").is_not_null()
    cut = (status == "contaminated") | ((status == "censored") & begun & (pl.col("left") > 0))
    cut |= (status == "censored") & ~begun & (pl.col("before") > 0)
    number, size = pl.int_range(pl.len()).over("tid"), pl.len().over("tid")
    unmaps = analysis.unmaps.filter(of).with_columns(
        number.alias("before"), (size - number - 1).alias("left")
    )
    return LOSING if unmaps.select(cut.any()).item() else None


def _executed(found: Parts) -> pl.DataFrame:
    """The flushes inside unmaps whose calls are of executed instructions: CALLS."""
    tables = []
    for part, operation in ((found.flushes, "invalidate_ipa"), (found.ranges, "invalidate_range")):
        mine = part.calls["evidence"] == EVIDENCE.index("insn")
        tables.append(
            pl.DataFrame(
                {
                    "call_id": part.calls["start_seq"][mine],
                    "unmap_id": found.unmaps.calls["start_seq"][part.unmap[mine]],
                    "operation": [operation] * int(mine.sum()),
                    "ipa": part.calls["ipa"][mine],
                    "level": part.calls["level"][mine],
                },
                schema=CALLS,
            )
        )
    known = pl.when(pl.col("ipa", "level") != NIL).then(pl.col("ipa", "level"))
    return pl.concat(tables).with_columns(known)


def executed_outside(flushes: pl.DataFrame) -> pl.DataFrame:
    """CALLS of *flushes* (schema.FLUSHES, outside unmaps), as far as instructions were recorded."""
    mine = flushes.filter(
        pl.col("evidence") == "insn",
        pl.col("status") == "complete",
        pl.col("operation").cast(pl.String).is_in(["invalidate_ipa", "invalidate_range"]),
    )
    return mine.select(
        "call_id", pl.lit(None, pl.Int64).alias("unmap_id"), pl.col("operation").cast(pl.String),
        pl.col("ipa").reinterpret(signed=True), pl.col("level").cast(pl.Int64),
    ).cast(CALLS)  # type: ignore[arg-type]  # fmt: skip

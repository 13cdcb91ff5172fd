"""Everything that is learned of one source, batch by batch, and its tables at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from traceview.errors import SettingError
from traceview.queries.breakdown import Traced, break_down, without_cut_off
from traceview.queries.bystanders import Bystanders
from traceview.queries.call_table import names
from traceview.queries.calls import OPEN, CallStream
from traceview.queries.duration_step import DurationStep
from traceview.queries.functions import categorical
from traceview.queries.further_probes import FurtherProbes
from traceview.queries.instructions import Instructions, count_per_unmap
from traceview.queries.own_times import OwnTimes
from traceview.queries.resolution import Resolution
from traceview.queries.rows import NIL
from traceview.queries.samples import Samples
from traceview.queries.steps import Markers, steps_by_time
from traceview.queries.switches import Switches
from traceview.queries.unmaps import (
    INVALIDATIONS,
    observe_unmaps,
    outermost,
    owner,
    place,
    trigger_calls,
)
from traceview.schema import EVENT_COUNTS, EVIDENCE_KIND, OPERATIONS, conform, frame
from traceview.schema import STATUS as STATUS_TYPE
from traceview.trace import Diagnostic
from traceview.vocabulary import strip_suffix

if TYPE_CHECKING:
    from collections.abc import Callable

    from traceview.queries.calls import Chunk
    from traceview.queries.functions import Functions
    from traceview.queries.rows import Ints, Rows
    from traceview.queries.steps import StepIntervals
    from traceview.queries.unmaps import Columns, Placed
    from traceview.trace import Batch, Trace

# kvm_tlb_flush_vmid_range() ends in one or the other (arch/arm64/kvm/hyp/pgtable.c).
INNER_FLUSHES = {"__kvm_tlb_flush_vmid_range", "__kvm_tlb_flush_vmid"}
# Tracepoints of softirqs and IPIs, without those of hard interrupts.
PARTIAL_IRQ = {"softirq_entry", "ipi_entry"}
# Diagnostics of parsers that the rest of a file is missing.
ENDS_EARLY = {"truncated", "damaged-compression", "too-much-damage"}
# Of arm64 (Documentation/arch/arm64/memory.rst); the commonest first.
PAGE_SIZES_BYTES = (4096, 16384, 65536)
# Facts of a host that both the trace and the sidecar may give.
STATED_AND_READ = {
    "kernel": "kernel", "machine": "machine", "cpus": "number of CPUs", "clock": "trace clock",
    "page_size_bytes": "page size in bytes",
}  # fmt: skip
UNSIGNED = ("ipa", "length_bytes", "mmu", "object_addr")


class SourceTables:
    """The tables of one trace. `feed` each batch, `finish`, then ask for `table(name)`."""

    def __init__(self, trace: Trace, *, step_pattern: str, steps: StepIntervals | None) -> None:
        """Start at the beginning of *trace*."""
        self.trace = trace
        self.facts: dict[str, Any] = {}
        self._stream = CallStream(trace.vocabulary, trace.settings.symbols.probes)
        self._steps = steps
        self._markers = Markers(step_pattern)
        self._instructions = Instructions()
        self._further_probes = FurtherProbes()
        self._samples = Samples(self._stream.functions)
        self._switches = Switches()
        self._bystanders = Bystanders()
        self._resolution = Resolution()
        self._duration_step = DurationStep()
        self._own_times = OwnTimes(self._stream.functions)
        self._traced = Traced()
        self._parts: dict[str, list[pl.DataFrame]] = {}
        self._found: list[Diagnostic] = []
        self._clashes = 0
        self._span_ns: list[int] = []
        self._skipped: dict[str, int] = {}
        self._done: dict[str, pl.DataFrame] = {}
        # Those placed in calls with the latest batch; cache lines (dc) are kept as counts only.
        self.instructions = frame("instructions")
        # Those that became due with the latest batch; the ones outside unmaps are not kept.
        self.samples = frame("samples")

    @property
    def page_bytes(self) -> int:
        """What the user states, else what the file says, if arm64 has such pages; else 4096."""
        known = {**self.facts, **self.trace.settings.facts}.get("page_size_bytes")
        return known if known in PAGE_SIZES_BYTES else PAGE_SIZES_BYTES[0]

    @property
    def functions(self) -> Functions:
        """The functions of this source."""
        return self._stream.functions

    @property
    def traced(self) -> Traced:
        """What was traced: of the calls so far, and at the end also what was stated."""
        return self._traced

    def feed(self, batch: Batch) -> Chunk:
        """Take a batch; the chunk of calls that closed with it is returned."""
        self.facts.update(batch.facts)
        self._found.extend(batch.diagnostics)
        for name, count in batch.skipped.items():
            self._skipped[name] = self._skipped.get(name, 0) + count
        counts = self._count_events(batch.events)
        batch = self._further_probes.without(batch, counts)
        self._resolution.add(batch.events)
        self._duration_step.add(batch.events)
        self._markers.add(batch)
        self._instructions.add(batch)
        self._samples.add(batch)
        self._switches.add(batch)
        self._bystanders.add(batch)
        chunk = self._stream.feed(batch, self.page_bytes)
        self._take(chunk)
        self._bystanders.settle(chunk.cut, self._stream.losses)
        return chunk

    def finish(self) -> Chunk:
        """Close what is open and build the tables."""
        chunk = self._stream.finish()
        self._take(chunk)
        self._bystanders.settle({}, self._stream.losses, last=True)
        self._build()
        return chunk

    def table(self, name: str) -> pl.DataFrame:
        """The table of that name, with the columns of its schema."""
        return self._done[name]

    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What the parser found, then what the queries found."""
        counts = self._stream.counts
        unmaps = self._done["unmaps"]
        by_status = dict(unmaps.group_by("status").len().iter_rows())
        ours = (
            ("unnamed-probes", "warning", counts["unnamed_probes"], _UNNAMED),
            ("unnamed-samples", "warning", self._samples.unnamed,
             _UNNAMED_SAMPLES),
            ("further-probes", "info", self._further_probes.left_out,
             "records of further probes on the entry or return of a function that has one"),
            ("censored-unmaps", "warning", by_status.get("censored", 0),
             "unmaps have no entry or no exit in the trace, and enter no statistics"),
            ("contaminated-unmaps", "warning", by_status.get("contaminated", 0),
             "unmaps overlap lost events or contain a cut-off call, and enter no statistics"),
            ("exits-without-entry", "info", counts["exits_without_entry"],
             "returns of functions whose entry is not in the trace"),
            ("carry-given-up", "warning", counts["carry_given_up"],
             "unmaps never ended within the events that are kept in memory"),
            ("contradicting-evidence", "warning", self._clashes,
             "invalidations look like a leaf's by one evidence and like a table's by another"),
        )  # fmt: skip
        found = [Diagnostic(code, severity, f"{count} {text}", count)
                 for code, severity, count, text in ours if count]  # fmt: skip
        return (*self._found, *found)

    # ---- per batch

    def _count_events(self, events: pl.DataFrame) -> pl.DataFrame:
        keys = ("name", "symbol", "phase", "evidence")
        counts = events.group_by(*keys, maintain_order=True).len("count")
        self._part("event_counts", conform("event_counts", counts))
        first, last = events["ts_ns"].min(), events["ts_ns"].max()
        if isinstance(first, int) and isinstance(last, int):
            self._span_ns += [first, last]
        return counts

    def _take(self, chunk: Chunk) -> None:
        placed = place(chunk)
        functions = self._stream.functions
        self._note_traced(placed.calls, functions)
        self._own_times.add(placed)
        gaps = self._switches.gaps(chunk)
        unmaps, row = observe_unmaps(placed, functions, self.page_bytes, gaps, self._stream.losses)
        self._bystanders.take(row)
        self._part("unmaps", as_frame(row))
        self.instructions = self._instructions.place(chunk, placed, unmaps)
        self._part("instruction_counts", count_per_unmap(self.instructions))
        self._part("instructions", self.instructions.filter(pl.col("insn") != "dc"))
        self.samples = self._samples.place(chunk, placed, unmaps)
        inside = pl.col("unmap_id").is_not_null() | pl.col("operation").is_not_null()
        kept = self.samples.filter(inside)
        self._part("samples", kept.with_columns(callchain=None, frames=None))
        self._take_others(placed, unmaps)

    def _take_others(self, placed: Placed, unmaps: Placed) -> None:
        """Triggers that closed, and flushes and destructions outside unmaps."""
        final = placed.calls["status"] != OPEN
        requests = trigger_calls(placed)
        closed = requests.pick(requests.calls["status"] != OPEN)
        self._part("triggers", as_frame(_identity(closed.calls)))
        flushes = placed.pick(placed.operation(*INVALIDATIONS))
        flushes = flushes.pick(outermost(flushes) & (owner(unmaps, flushes.start) < 0))
        flushes = flushes.pick(flushes.calls["status"] != OPEN)
        self._part("flushes", as_frame(_identity(flushes.calls)))
        destroys = placed.pick(placed.operation("destroy") & final)
        destroys = destroys.pick(outermost(destroys))
        self._part("destroys", as_frame(_identity(destroys.calls)))

    def _note_traced(self, calls: Columns, functions: Functions) -> None:
        function = calls["function"]
        hit = np.unique(function[function >= 0])
        timed = np.unique(function[(calls["duration_ns"] != NIL) & (function >= 0)])
        for number in hit.tolist():
            self._traced.functions.add(strip_suffix(functions.symbols[number]))
            self._traced.visits |= functions.meanings[number].visit
        # Some interrupts are not all interrupts: their absence from an unmap would say nothing.
        whole = [functions.symbols[n] not in PARTIAL_IRQ for n in range(len(functions))]
        for numbers, operations in ((hit, self._traced.counted), (timed, self._traced.timed)):
            operations.update(functions.meanings[n].operation for n in numbers.tolist() if whole[n])
        self._traced.timed_functions.update(strip_suffix(functions.symbols[n]) for n in timed)

    def _part(self, name: str, rows: pl.DataFrame) -> None:
        if not rows.is_empty():
            self._parts.setdefault(name, []).append(rows)

    # ---- at the end

    def _build(self) -> None:
        settings = self.trace.settings
        for functions in (settings.traced, self.facts.get("traced")):
            self._traced.state(functions or (), self.trace.vocabulary)
        if self._switches.seen:
            self._traced.timed.add("sched")
        resolution_ns = self._resolution.value_ns(self.facts.get("ts_resolution_ns"))
        found = {
            **self.facts,
            **self._span(),
            "ts_resolution_ns": resolution_ns,
            "duration_step_ns": self._duration_step.value_ns(),
        }
        sources = self.trace.source_row(found)
        self._check_stated_facts()
        self._check_clock(sources["clock"][0])
        self._check_origin(sources["origin"][0])
        unmaps, table_invalidation = self._unmaps()
        self._done["unmaps"] = unmaps
        self._done["own_times"] = self._own_times.table()
        self._done["sources"] = sources.with_columns(
            pl.lit(table_invalidation, dtype=sources.schema["table_invalidation"]).alias(
                "table_invalidation"
            )
        )
        self._done["triggers"] = self._triggers(unmaps)
        self._done["flushes"] = self._others("flushes", self._no_wrappers)
        self._done["destroys"] = self._others("destroys")
        self._done["losses"] = self._losses()
        self._done["bystanders"], self._done["vcpus"] = self._bystanders.tables(
            self._done["losses"], unmaps.select("unmap_id", "leaves"), sources["clock"][0],
            self._found,
        )  # fmt: skip
        self._done["instructions"] = self._joined("instructions", lambda: frame("instructions"))
        self._done["samples"] = self._joined("samples", lambda: frame("samples"))
        self._done["event_counts"] = self._event_counts()

    def _losses(self) -> pl.DataFrame:
        """What was lost, and what a file that ends early no longer has."""
        ended = [found for found in self._found if found.code in ENDS_EARLY]
        if not ended:
            return self._stream.losses.table
        row = {"kind": ["truncated"], "from_ns": [self._span().get("last_ns")]}
        return pl.concat([self._stream.losses.table, frame("losses", row)])

    def _span(self) -> dict[str, int]:
        if not self._span_ns:
            return {}
        return {"first_ns": min(self._span_ns), "last_ns": max(self._span_ns)}

    def _check_stated_facts(self) -> None:
        """What was stated wins over the file; where they differ, somebody is wrong."""
        stated = self.trace.settings.facts
        for name, what in STATED_AND_READ.items():
            said, read = stated.get(name), self.facts.get(name)
            if None not in (said, read) and said != read:
                message = f"{what} {said} was stated; the trace itself says {read}"
                self._found.append(Diagnostic("stated-otherwise", "warning", message))

    def _check_clock(self, clock: str | None) -> None:
        if self._steps is not None and clock is None:
            raise SettingError(
                f"the steps are in clock {self._steps.clock!r}, and the trace does not state its"
                f" clock\nin file: {self.trace.path}\n"
                'state it in TRACE.host.json: {"clock": "local"}'
            )
        if self._steps is not None and clock != self._steps.clock:
            raise SettingError(
                f"the steps are in clock {self._steps.clock!r}, the trace is in {clock!r}"
                f"\nin file: {self.trace.path}"
            )

    def _check_origin(self, origin: str) -> None:
        if origin == "hardware" and self._instructions.seen:
            raise SettingError(
                "origin hardware is stated of a trace of executed instructions, which only an"
                f" emulator can record\nin file: {self.trace.path}"
            )

    def _unmaps(self) -> tuple[pl.DataFrame, str]:
        parts = self._parts.get("unmaps")
        if not parts:
            self._done["traced_calls"] = frame("traced_calls")
            return frame("unmaps"), "unknown"
        raw = self._without_endless_triggers(pl.concat(parts).sort("call_id"))
        raw = raw.with_columns(
            without_cut_off(),
            self._trigger_kinds(raw),
            self._step(raw),
            pl.col("call_id").alias("unmap_id"),
        )
        found, table_invalidation = break_down(raw, self._traced)
        self._done["traced_calls"] = conform("traced_calls", found)
        # Where events were lost, what is left of two neighbours can look like one.
        whole = raw.filter(pl.col("status") == "complete")
        self._clashes = int(whole["n_clash"].sum())
        if self._instructions.seen:
            found = self._with_instruction_counts(found)
        return conform("unmaps", found), table_invalidation

    def _with_instruction_counts(self, found: pl.DataFrame) -> pl.DataFrame:
        counts = self._joined("instruction_counts", lambda: count_per_unmap(frame("instructions")))
        joined = found.join(counts, on="unmap_id", how="left", maintain_order="left")
        return joined.with_columns(pl.col(counts.columns[1:]).fill_null(0))

    def _without_endless_triggers(self, raw: pl.DataFrame) -> pl.DataFrame:
        """*raw* without requests by functions of which no call ever ended in this trace.

        Such a request seems to go on to the end, and everything after it to be inside.
        """
        symbols = self._stream.functions.symbols
        endless = [
            number
            for number in raw["trigger_function"].unique().drop_nulls().to_list()
            if number >= 0 and strip_suffix(symbols[number]) not in self._traced.timed_functions
        ]
        of_one = pl.col("trigger_function").is_in(endless)
        return raw.with_columns(
            pl.when(~of_one).then("trigger_id").alias("trigger_id"),
            pl.when(of_one).then(pl.lit(-1, raw.schema["trigger_function"]))
            .otherwise("trigger_function").alias("trigger_function"),
        )  # fmt: skip

    def _trigger_kinds(self, raw: pl.DataFrame) -> pl.Series:
        meanings = self._stream.functions.meanings
        asked = raw.select("trigger_function", "in_nested").iter_rows()
        kinds = [
            "nested" if nested else None if function < 0 else meanings[function].kind
            for function, nested in asked
        ]
        return pl.Series("trigger_kind", [kind or "unknown" for kind in kinds], dtype=pl.String)

    def _step(self, rows: pl.DataFrame) -> pl.Series:
        if self._steps is not None:
            start, tid = (rows[name].fill_null(NIL).to_numpy() for name in ("start_ns", "tid"))
            return steps_by_time(self._steps, start, tid)
        return self._markers.steps(rows["task"].to_numpy(), rows["start_seq"].to_numpy())

    def _triggers(self, unmaps: pl.DataFrame) -> pl.DataFrame:
        rows = self._named("triggers")
        if rows is None:
            return frame("triggers")
        meanings = self._stream.functions.meanings
        kinds = [meanings[number].kind or "unknown" for number in rows["function"]]
        served = unmaps.group_by("trigger_id").agg(
            pl.len().cast(pl.Int64).alias("unmaps"),
            pl.when(pl.col("duration_ns").is_not_null().all())
            .then(pl.col("duration_ns").sum())
            .alias("unmaps_ns"),
        )
        rows = rows.with_columns(
            pl.col("call_id").alias("trigger_id"), pl.Series("kind", kinds, dtype=pl.String)
        ).join(served.drop_nulls("trigger_id"), on="trigger_id", how="left", maintain_order="left")
        # What a request caused is known if it is whole and unmaps were traced.
        known = (pl.col("status") == "complete") & pl.lit("unmap" in self._traced.counted)
        none = pl.col("unmaps").is_null()
        rows = rows.with_columns(
            pl.when(known).then(pl.col("unmaps").fill_null(0)).alias("unmaps"),
            pl.when(known).then(pl.when(none).then(0).otherwise("unmaps_ns")).alias("unmaps_ns"),
        )
        between = (pl.col("duration_ns") - pl.col("unmaps_ns")).alias("between_ns")
        return conform("triggers", rows.with_columns(between))

    def _others(
        self, name: str, keep: Callable[[pl.DataFrame], pl.DataFrame] = lambda rows: rows
    ) -> pl.DataFrame:
        rows = self._named(name)
        return frame(name) if rows is None else conform(name, keep(rows))

    def _no_wrappers(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Without entry-only probes of a wrapper whose inner function was traced as well."""
        if not self._traced.functions & INNER_FLUSHES:
            return rows
        wraps = pl.Series(self._stream.functions.wrappers()[rows["function"].to_numpy()])
        return rows.filter(~(wraps & (pl.col("status") == "point")))

    def _named(self, name: str) -> pl.DataFrame | None:
        """The calls of one kind, in order, with symbol, operation and step."""
        parts = self._parts.get(name)
        if not parts:
            return None
        rows = pl.concat(parts).sort("call_id")
        operations = [OPERATIONS[code] for code in rows["operation"]]
        return rows.with_columns(
            names(self._stream.functions, rows["function"].to_numpy()).alias("symbol"),
            pl.Series("operation", operations, dtype=pl.String),
            self._step(rows),
        )

    def _event_counts(self) -> pl.DataFrame:
        skipped = conform(
            "event_counts",
            pl.DataFrame(
                {"name": list(self._skipped), "count": list(self._skipped.values())},
                schema={"name": pl.String, "count": pl.Int64},
            ).with_columns(
                pl.lit("instant").alias("phase"), pl.lit("tracepoint").alias("evidence")
            ),
        )
        counts = pl.concat([self._joined("event_counts", lambda: frame("event_counts")), skipped])
        keys = [name for name in EVENT_COUNTS if name != "count"]
        return counts.group_by(keys, maintain_order=True).agg(pl.col("count").sum())

    def _joined(self, name: str, empty: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        parts = self._parts.get(name)
        return pl.concat(parts) if parts else empty()


_UNNAMED_SAMPLES = (
    "samples have addresses and no function names, so nothing tells whether they fell inside"
    " unmaps: give --kallsyms FILE, a copy of the host's /proc/kallsyms"
)
_UNNAMED = (
    "probe events have an address and no symbol, and are left out:"
    " give --kallsyms FILE or a sidecar with kprobe_events"
)


def as_frame(row: Rows) -> pl.DataFrame:
    """Raw columns as a frame: NIL becomes null, codes become names."""
    found = pl.DataFrame(row).with_columns(pl.when(pl.all() != NIL).then(pl.all()))
    return found.with_columns(
        categorical(row["comm"]).alias("comm"),
        pl.Series("status", row["status"].astype(np.uint8)).cat.to(STATUS_TYPE),
        pl.Series("evidence", row["evidence"].astype(np.uint8)).cat.to(EVIDENCE_KIND),
        *(pl.col(name).reinterpret(signed=False) for name in UNSIGNED if name in row),
    )


def _identity(calls: Columns) -> Rows:
    wanted = (
        "task", "cpu", "tid", "comm", "start_ns", "duration_ns", "status", "evidence", "ipa",
        "length_bytes", "level", "mmu", "function", "operation", "start_seq",
    )  # fmt: skip
    row: dict[str, Ints] = {name: calls[name] for name in wanted}
    row["call_id"] = calls["start_seq"]
    return row

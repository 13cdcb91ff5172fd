"""The tables that parsers fill and queries return: columns, types, units.

Nanoseconds are int64 and end in `_ns`; addresses are uint64; enums are dictionary-encoded
strings. Null means "this source cannot say", never zero. In memory the tables are polars
frames; `to_arrow` adds `source_id` and the metadata (`schema_version`, `traceview_version`)
under which they leave the process. docs/schema.md describes each column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
import pyarrow as pa

import traceview

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION: Final = "1"

Schema = dict[str, pl.DataType]

PHASES: Final = ("entry", "exit", "complete", "instant")
EVIDENCE: Final = (
    "fgraph", "kprobe", "fprobe", "insn", "function", "tracepoint", "marker", "sample",
)  # fmt: skip
ORIGINS: Final = ("hardware", "emulated", "synthetic", "unknown")
STATUSES: Final = ("complete", "censored", "contaminated", "point")
STRATEGIES: Final = ("per_pte", "deferred_range", "none", "unknown")
CPUMODES: Final = (
    "unknown", "kernel", "user", "hypervisor", "guest_kernel", "guest_user",
)  # fmt: skip
TABLE_INVALIDATIONS: Final = ("eager", "deferred", "unknown")
TRIGGER_KINDS: Final = ("notifier", "memslot", "nested", "vcpu_init", "guest_memfd", "unknown")
VMS: Final = ("process", "any")
LEAVES_EVIDENCE: Final = ("cmo", "put", "invalidate", "none")
COST_METHODS: Final = ("calibrated", "bounded", "none", "unknown")
OPERATIONS: Final = (
    "unmap", "walk", "invalidate_ipa", "invalidate_range", "invalidate_vmid", "cmo", "table_put",
    "hypercall", "irq", "sched", "lock", "trigger", "destroy", "other",
)  # fmt: skip

PHASE: Final = pl.Enum(PHASES)
EVIDENCE_KIND: Final = pl.Enum(EVIDENCE)
ORIGIN: Final = pl.Enum(ORIGINS)
STATUS: Final = pl.Enum(STATUSES)
STRATEGY: Final = pl.Enum(STRATEGIES)
TABLE_INVALIDATION: Final = pl.Enum(TABLE_INVALIDATIONS)
CPUMODE: Final = pl.Enum(CPUMODES)
TRIGGER_KIND: Final = pl.Enum(TRIGGER_KINDS)
VM_KIND: Final = pl.Enum(VMS)
LEAVES_EVIDENCE_KIND: Final = pl.Enum(LEAVES_EVIDENCE)
OPERATION: Final = pl.Enum(OPERATIONS)
COST_METHOD_KIND: Final = pl.Enum(COST_METHODS)
NAME: Final = pl.Categorical()
I64, I32, U64, F64 = pl.Int64(), pl.Int32(), pl.UInt64(), pl.Float64()
BOOL, TEXT = pl.Boolean(), pl.String()

EVENTS: Final[Schema] = {
    "seq": I64,  # position in time order, unique in a source, increasing over batches
    "buffer": NAME,  # ring-buffer instance; null for the only one
    "ts_ns": I64,  # in the source's trace clock
    "cpu": I32,
    "tid": I32,
    "tgid": I32,
    "comm": NAME,
    "name": NAME,  # the event's name as the file gives it (group stripped if it has none)
    "symbol": NAME,  # function, as the file gives it (compiler suffix kept)
    "probe_ip": U64,  # where only an address was recorded
    "phase": PHASE,
    "duration_ns": I64,  # where the format states it
    "depth": I32,  # where the format states it (function_graph)
    "evidence": EVIDENCE_KIND,
}

ARGS: Final[Schema] = {
    "seq": I64,
    "name": NAME,
    "value": I64,  # 64 bits, two's complement: an address is the same bits as uint64
    "text": TEXT,  # strings, and what is no number
}

LOSSES: Final[Schema] = {
    "buffer": NAME,
    "cpu": I32,
    "kind": NAME,  # lost_events | overrun | overwritten | kprobe_missed | damaged | ...
    "from_ns": I64,
    "to_ns": I64,
    "from_seq": I64,  # last event of that CPU before the hole
    "to_seq": I64,  # first event of that CPU after the hole
    "count": I64,
}

CALLS: Final[Schema] = {
    "call_id": I64,
    "parent_id": I64,
    "unmap_id": I64,
    "symbol": NAME,
    "operation": OPERATION,
    "cpu": I32,
    "tid": I32,
    "start_ns": I64,
    "duration_ns": I64,
    "self_ns": I64,
    "depth": I32,
    "status": STATUS,
    "evidence": EVIDENCE_KIND,
    "ipa": U64,
    "length_bytes": U64,
    "level": I32,
    "mmu": U64,
    "object_addr": U64,
    "ret": I64,
}

COMPONENTS: Final = (
    "invalidate_leaf_ns", "invalidate_table_ns", "invalidate_ipa_ns", "invalidate_range_ns",
    "cmo_ns", "table_put_ns", "hypercall_ns", "irq_ns", "off_cpu_ns", "rest_ns",
)  # fmt: skip

COUNTS: Final = (
    "pte_visits", "invalidate_leaf", "invalidate_table", "invalidate_ipa", "invalidate_range",
    "cmo", "table_put", "hypercall", "irq",
)  # fmt: skip

INSN_COUNTS: Final = ("tlbi_insns", "dsb_insns", "cmo_lines")

UNMAPS: Final[Schema] = {
    "unmap_id": I64,
    "cpu": I32,
    "tid": I32,
    "comm": NAME,
    "start_ns": I64,
    "mmu": U64,
    "step": TEXT,
    "trigger": TRIGGER_KIND,
    "trigger_id": I64,
    "strategy": STRATEGY,
    "ipa": U64,
    "length_bytes": U64,
    "leaves": I64,
    "leaves_l1": I64,
    "leaves_l2": I64,
    "leaves_l3": I64,
    "leaves_evidence": LEAVES_EVIDENCE_KIND,
    **dict.fromkeys(COUNTS, I64),
    "traced_calls": I64,
    **dict.fromkeys(INSN_COUNTS, I64),
    "duration_ns": I64,
    **dict.fromkeys(COMPONENTS, I64),
    "probe_ns": I64,  # how much of duration_ns was tracing: the estimate,
    "probe_low_ns": I64,  # and between what it lies
    "probe_high_ns": I64,
    "separated": pl.List(pl.String()),  # names of the components that are not null
    "status": STATUS,
    "evidence": EVIDENCE_KIND,
}

# Components whose traced calls are counted: what tracing cost is taken out of each of them.
TIMED_COMPONENTS: Final = (
    "invalidate_leaf", "invalidate_table", "invalidate_ipa", "invalidate_range", "cmo",
    "table_put", "hypercall", "irq",
)  # fmt: skip

TRACED_CALLS: Final[Schema] = {
    "unmap_id": I64,
    "traced_calls": I64,  # inside the unmap, at any depth; tracepoints are no calls
    **{f"{name}_calls": I32 for name in TIMED_COMPONENTS},  # whose time is the component's
    **{f"{name}_nested": I32 for name in TIMED_COMPONENTS},  # inside those
}

OWN_TIMES: Final[Schema] = {
    "evidence": EVIDENCE_KIND,
    "symbol": NAME,
    "operation": OPERATION,
    "nested": I64,  # traced calls directly inside a call: 0, 1, or 2 for several
    "arguments": I64,  # that its entry probe fetched, of those that are known; 0 in the graph
    "calls": I64,
    "own_ns": F64,  # trimmed mean; with several inside, per call inside
}

TRACING_COSTS: Final[Schema] = {
    "evidence": EVIDENCE_KIND,
    "method": COST_METHOD_KIND,
    "inside_ns": F64,  # of a traced call, within its own duration
    "inside_low_ns": F64,
    "inside_high_ns": F64,
    "own_ns": F64,  # of the unmap's own call, within its duration
    "own_low_ns": F64,
    "own_high_ns": F64,
    "call_ns": F64,  # of a traced call, within the duration of what contains it
    "call_low_ns": F64,
    "call_high_ns": F64,
    "inside_from": TEXT,
    "own_from": TEXT,
    "call_from": TEXT,
    "strata": I64,  # how many steps or sizes the calibration stands on
    "median_residual": F64,  # relative, each stratum corrected with what the others say
    "worst_residual": F64,
}

TRIGGERS: Final[Schema] = {
    "trigger_id": I64,
    "kind": TRIGGER_KIND,
    "symbol": NAME,
    "cpu": I32,
    "tid": I32,
    "comm": NAME,
    "start_ns": I64,
    "duration_ns": I64,
    "unmaps": I64,
    "unmaps_ns": I64,  # time inside its unmaps; null if one of them has no duration
    "between_ns": I64,  # duration_ns - unmaps_ns: lock wait, cond_resched, the notifier itself
    "step": TEXT,
    "status": STATUS,
    "evidence": EVIDENCE_KIND,
}

BYSTANDERS: Final[Schema] = {
    "unmap_id": I64,
    "vm": VM_KIND,  # process: bystanders are vCPUs of the unmapping process; any: of any VM
    "vcpus": I64,  # other tasks that entered guests before and after, or during it
    "vcpu_ns": I64,  # their time during the unmap, added up
    "stalls": I64,  # their exits for stage-2 faults that overlap the unmap
    "stall_ns": I64,  # the time of these inside the unmap, added up
    "off_cpu_ns": I64,  # more of it, off the CPU; null: not recorded, and part of stall_ns
    "longest_stall_ns": I64,
    "stalled_ns": I64,  # time of the unmap in which at least one of them was stalled
    "guest_faults": I64,  # their stage-2 faults during the unmap
    "window_ns": I64,  # how long after the unmap was looked at
    "window_vcpu_ns": I64,
    "guest_faults_after": I64,  # in the window
    "refaults": I64,  # of these, translation faults in the range that was unmapped
}

VCPUS: Final[Schema] = {
    "tid": I32,
    "tgid": I32,
    "comm": NAME,
    "first_ns": I64,
    "last_ns": I64,
    "unmaps": I64,  # of which it was a bystander
    "exits": I64,
    "guest_faults": I64,
    "stall_ns": I64,  # in exits for stage-2 faults, on the CPU
    "outside_ns": I64,  # outside all unmaps and the windows after them
    "outside_guest_faults": I64,
    "outside_stall_ns": I64,
}

FLUSHES: Final[Schema] = {
    "call_id": I64,
    "symbol": NAME,
    "operation": OPERATION,
    "cpu": I32,
    "tid": I32,
    "start_ns": I64,
    "duration_ns": I64,
    "ipa": U64,
    "length_bytes": U64,
    "level": I32,
    "mmu": U64,
    "step": TEXT,
    "status": STATUS,
    "evidence": EVIDENCE_KIND,
}

DESTROYS: Final[Schema] = {
    "call_id": I64,
    "symbol": NAME,
    "cpu": I32,
    "tid": I32,
    "comm": NAME,
    "start_ns": I64,
    "duration_ns": I64,
    "step": TEXT,
    "status": STATUS,
    "evidence": EVIDENCE_KIND,
}

INSTRUCTIONS: Final[Schema] = {
    "unmap_id": I64,
    "call_id": I64,
    "ts_ns": I64,
    "insn": NAME,  # tlbi | dc | ic | dsb | isb
    "op": NAME,
    "operand": U64,
    "ipa": U64,
    "pages": I64,
    "level": I32,
}

EVENT_COUNTS: Final[Schema] = {
    "name": NAME,
    "symbol": NAME,
    "phase": PHASE,
    "evidence": EVIDENCE_KIND,
    "count": I64,
}

SAMPLES: Final[Schema] = {
    "seq": I64,  # of the sample among the events
    "ts_ns": I64,
    "cpu": I32,
    "tid": I32,
    "comm": NAME,
    "event": NAME,  # what was sampled: cpu-clock, cycles, ...
    "cpumode": CPUMODE,  # PERF_RECORD_MISC_CPUMODE_MASK; guest_*: host code with a vCPU loaded
    "period": I64,
    "ip": U64,
    "symbol": NAME,  # the function at ip
    "callchain": pl.List(pl.UInt64()),  # addresses, innermost first, without context markers
    "frames": pl.List(NAME),  # their functions, null where unnamed
    "unmap_id": I64,
    "operation": OPERATION,  # what the unmap was doing: the component that the sample falls in
}

FACTS: Final[Schema] = {
    "kernel": TEXT,
    "machine": TEXT,
    "cpus": I32,
    "midr": TEXT,
    "fwb": BOOL,
    "tlbirange": BOOL,
    "lpa2": BOOL,
    "dic": BOOL,
    "idc": BOOL,
    "page_size_bytes": I64,
    "errata": TEXT,
    "cntfrq_hz": I64,
    "tracer": TEXT,
    "tracer_options": TEXT,
    "buffer_size_kb": I64,
}

SOURCES: Final[Schema] = {
    "path": TEXT,
    "sha256": TEXT,
    "format": TEXT,
    "run": TEXT,
    "label": TEXT,
    "recorded_at": TEXT,
    "order": I64,
    "origin": ORIGIN,
    "clock": TEXT,
    "first_ns": I64,  # first and last event that has a time
    "last_ns": I64,
    "ts_resolution_ns": I64,
    "duration_step_ns": F64,  # what stated durations are multiples of, where it is above 1
    "loss_known": BOOL,
    "table_invalidation": TABLE_INVALIDATION,
    **FACTS,
}

TABLES: Final[dict[str, Schema]] = {
    "sources": SOURCES,
    "events": EVENTS,
    "args": ARGS,
    "losses": LOSSES,
    "calls": CALLS,
    "unmaps": UNMAPS,
    "traced_calls": TRACED_CALLS,
    "own_times": OWN_TIMES,
    "tracing_costs": TRACING_COSTS,
    "triggers": TRIGGERS,
    "bystanders": BYSTANDERS,
    "vcpus": VCPUS,
    "flushes": FLUSHES,
    "destroys": DESTROYS,
    "instructions": INSTRUCTIONS,
    "samples": SAMPLES,
    "event_counts": EVENT_COUNTS,
}


def frame(table: str, columns: Mapping[str, object] | None = None) -> pl.DataFrame:
    """A frame with the columns and types of *table*; columns not given are null.

    Every given column must have the same number of rows (a scalar is repeated).
    """
    schema = TABLES[table]
    if not columns:
        return pl.DataFrame(schema=schema)
    given = pl.DataFrame(columns)
    return conform(table, given)


def conform(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """*rows* with exactly the columns of *table*, in order, cast; missing ones are null."""
    schema = TABLES[table]
    if rows.is_empty():  # literals alone would make a row
        return pl.DataFrame(schema=schema)
    missing = [pl.lit(None).alias(name) for name in schema if name not in rows.columns]
    return rows.with_columns(missing).select(
        pl.col(name).cast(dtype) for name, dtype in schema.items()
    )


def list_column(values: pl.Series, offsets: np.ndarray) -> pl.Series:
    """A column of lists: row i holds values[offsets[i]:offsets[i + 1]]."""
    items = pa.array(offsets.astype(np.int64))
    return pl.Series(pa.LargeListArray.from_arrays(items, values.to_arrow()))


def to_arrow(table: str, rows: pl.DataFrame, source_id: int | None = None) -> pa.Table:
    """*rows* as an Arrow table with the contract's metadata.

    `source_id` (int32) becomes the first column, unless *rows* has one already.
    """
    if "source_id" not in rows.columns:
        rows = rows.select(pl.lit(source_id, dtype=pl.Int32).alias("source_id"), pl.all())
    metadata = {
        "schema_version": SCHEMA_VERSION,
        "traceview_version": traceview.__version__,
        "table": table,
    }
    return rows.to_arrow().replace_schema_metadata(metadata)

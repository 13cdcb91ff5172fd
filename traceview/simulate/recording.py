"""What a simulated tracer recorded: the one thing that the writers of trace files read.

The model makes it, a writer turns it into ftrace text, trace.dat or a Perfetto trace. A writer
knows no page table and no cost; the model knows no file format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS: Final = ("funcgraph_entry", "funcgraph_exit", "kprobe", "kretprobe", "print")

# One row per record that a ring buffer kept, in order of ts_ns (ties: in the order recorded).
RECORDS: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "cpu": pl.Int32,
    "ts_ns": pl.Int64,  # of the record, in trace_clock
    "tid": pl.Int32,
    "kind": pl.Enum(KINDS),
    "symbol": pl.Categorical,  # of the function; null of print
    "depth": pl.Int32,  # of funcgraph records, else null
    "calltime_ns": pl.Int64,  # of funcgraph_exit, always the local clock
    "rettime_ns": pl.Int64,  # of funcgraph_exit
    "arg0": pl.UInt64,  # of kprobe: x0, x1, x2 as the probe reads them
    "arg1": pl.UInt64,
    "arg2": pl.UInt64,
    "text": pl.String,  # of print: what was written to trace_marker
    "lost_before": pl.Int64,  # records of this CPU that were lost just before this one
}


@dataclass(frozen=True, slots=True)
class Task:
    """A task of the recording."""

    tid: int
    tgid: int
    comm: str


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a kprobe: its name, its type (x64, u64, s32, s8), where the probe reads it.

    None: the register of its number.
    """

    name: str
    type: str
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recording. `batches`: frames of RECORDS, each later than the one before it.

    `lost_at_end`: by CPU, records lost after the last one kept. `probes`: by symbol, the
    arguments of its kprobe (arg0, arg1, ... in this order); `returns`: those with a kretprobe.
    `overwrite`: the ring kept the newest records, not the oldest. `lost_at_end` may be filled
    while the batches are taken.

    A Perfetto trace does not name its probes: probe_events.kprobe_definitions is what the sidecar
    must say under `kprobe_events`.
    """

    batches: Iterator[pl.DataFrame]
    tasks: tuple[Task, ...]
    cpus: int
    clock: str
    probes: dict[str, tuple[Argument, ...]]
    returns: frozenset[str]
    addresses: dict[str, int]  # of every symbol that occurs
    lost_at_end: dict[int, int]
    overwrite: bool
    kernel: str  # uname -r
    page_size_bytes: int
    facts: dict[str, object]  # of the sidecar's `host`
    # Whether the tracer is function_graph (which prints probes as comments) or nop. None: as the
    # first batch has records of the former, or there are no probes.
    graph: bool | None = None

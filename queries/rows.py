"""Events that open or close calls, as plain arrays: what pairing and the unmap model work on.

One row per entry, exit, complete call or entry-only probe, in order of `seq`. NIL stands for
null in the int64 columns. Instructions (tlbi, dc, dsb, ...), markers and task switches are no
calls: see instructions.py, steps.py and switches.py; for arguments, arguments.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.schema import EVIDENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.queries.functions import Functions

    Ints = NDArray[np.int64]
    Rows = dict[str, NDArray[np.int64]]

NIL: Final = np.iinfo(np.int64).min
ENTRY, EXIT, COMPLETE, POINT = 1, -1, 0, 2

# Streams that nest by themselves: a function can be in the graph and under a kprobe at once.
FGRAPH, PROBES, INSN, POINTS = 0, 1, 2, 3
STREAM: Final = {"fgraph": FGRAPH, "kprobe": PROBES, "fprobe": PROBES, "tracepoint": PROBES,
                 "insn": INSN, "function": POINTS, "marker": POINTS, "sample": POINTS}  # fmt: skip
INSTRUCTIONS: Final = ("tlbi", "dc", "ic", "dsb", "isb")

# A task is its tid. tid 0 is one task per CPU, and so is an unknown one.
IDLE_BASE: Final = 1 << 32
UNKNOWN_BASE: Final = 1 << 33

# What cannot be NIL is kept narrow: the rows of an open unmap of 1 GiB are carried in memory.
NARROW: Final = {"kind": np.int8, "stream": np.int8, "evidence": np.int8, "comm": np.int32,
                 "function": np.int32, "depth": np.int32}  # fmt: skip

COLUMNS: Final = (
    "seq", "task", "cpu", "tid", "comm", "ts_ns", "kind", "function", "stream", "evidence",
    "duration_ns", "depth",
)  # fmt: skip


def task_keys(tid: Ints, cpu: Ints) -> Ints:
    """One number per task, from tid and cpu (NIL: unknown)."""
    where = np.where(cpu == NIL, -1, cpu)
    keys: Ints = np.where(
        tid == NIL, UNKNOWN_BASE + where, np.where(tid == 0, IDLE_BASE + where, tid)
    )
    return keys


def call_rows(events: pl.DataFrame, functions: Functions) -> tuple[Rows, int]:
    """The rows of *events* that open or close calls, and how many probes have no known symbol."""
    evidence = codes(events["evidence"])
    phase = codes(events["phase"])
    function = functions.of_symbols(events["symbol"]).astype(np.int64)
    kind = np.array([ENTRY, EXIT, COMPLETE, NIL], dtype=np.int64)[phase]
    stream = np.array([STREAM[name] for name in EVIDENCE], dtype=np.int64)[evidence]
    tracepoint = evidence == EVIDENCE.index("tracepoint")
    if tracepoint.any():
        pairs, kinds = functions.of_events(events["name"].filter(pl.Series(tracepoint)))
        function[tracepoint] = pairs
        kind[tracepoint] = np.where(kinds == POINT, NIL, kinds)
    traced = stream == POINTS
    kind[traced & (kind == ENTRY) & (evidence == EVIDENCE.index("function"))] = POINT
    kind[traced & (kind != POINT)] = NIL
    calls = kind != NIL
    nameless = calls & (function < 0)
    unmarked = nameless & (stream == FGRAPH) & ~_is_mark(events)
    keep = calls & (~nameless | unmarked)
    unnamed = int((nameless & (stream == PROBES)).sum())
    rows = {
        "seq": whole(events["seq"]),
        "cpu": whole(events["cpu"]),
        "tid": whole(events["tid"]),
        "comm": codes(events["comm"]),
        "ts_ns": whole(events["ts_ns"]),
        "kind": kind,
        "function": function,
        "stream": stream,
        "evidence": evidence,
        "duration_ns": whole(events["duration_ns"]),
        "depth": np.where(events["depth"].is_null().to_numpy(), -1, whole(events["depth"])),
    }
    rows = {name: column[keep].astype(NARROW.get(name, np.int64)) for name, column in rows.items()}
    rows["task"] = task_keys(rows["tid"], rows["cpu"])
    return rows, unnamed


def concat(first: Rows | None, second: Rows) -> Rows:
    """The rows of both, *first* before *second*."""
    if first is None or first["seq"].size == 0:
        return second
    return {name: np.concatenate([first[name], second[name]]) for name in COLUMNS}


def take(rows: Rows, at: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
    """Some rows, by position or mask."""
    return {name: column[at] for name, column in rows.items()}


def whole(column: pl.Series) -> Ints:
    """An integer column as int64, NIL for null; uint64 keeps its bits."""
    if column.dtype == pl.UInt64:
        column = column.reinterpret(signed=True)
    values: Ints = column.cast(pl.Int64).fill_null(NIL).to_numpy()
    return values


def codes(column: pl.Series) -> Ints:
    """The category codes of an Enum or Categorical column, -1 for null."""
    values: Ints = column.to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
    return values


def _is_mark(events: pl.DataFrame) -> NDArray[np.bool_]:
    """Interrupt marks of function_graph text: the functions between them carry the time."""
    return events.select((pl.col("name") == "irq").fill_null(value=False))["name"].to_numpy()

"""Columns of text that the kernel prints: times, durations, numbers; and lines from columns.

Source of truth: kernel/trace/trace_functions_graph.c (trace_print_graph_duration) and
trace_output.c (trace_find_mark, trace_print_time) of Linux 6.12.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.simulate.record_columns import Ints

MICROSECONDS: Final = 1_000_000
MARKS: Final = " +!#*@$"
MARKED_ABOVE_NS: Final = (10**4, 10**5, 10**6, 10**7, 10**8, 10**9)
DIGITS: Final = 7  # of a duration at most
WIDTH: Final = 8  # of a duration, with its point
THREE: Final = pl.Series([f"{n:03d}" for n in range(1000)])


def lines(parts: Sequence[pl.Series | str]) -> pl.Series:
    """The parts of each line, joined."""
    named = {f"{n}": part for n, part in enumerate(parts) if isinstance(part, pl.Series)}
    shown = [pl.col(f"{n}") if f"{n}" in named else pl.lit(part) for n, part in enumerate(parts)]
    return pl.DataFrame(named).select(pl.concat_str(shown)).to_series()


def content(column: pl.Series) -> memoryview:
    """All strings of a column, one behind the other."""
    array = column.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_string())
    if not len(array):
        return memoryview(b"")
    offsets = np.frombuffer(array.buffers()[1], np.int64)
    begin, end = int(offsets[array.offset]), int(offsets[array.offset + len(array)])
    return memoryview(array.buffers()[2] or b"")[begin:end]


def times(microseconds: Ints, behind: str) -> list[pl.Series]:
    """`%5lu.%06lu` and what stands *behind* it, in three columns."""
    seconds, rest = np.divmod(microseconds, MICROSECONDS)
    change = np.ones(len(seconds), dtype=np.bool_)
    change[1:] = seconds[1:] != seconds[:-1]  # times ascend: few changes
    shown = pl.Series([f"{one:5d}." for one in seconds[change].tolist()], dtype=pl.String)
    upper, lower = np.divmod(rest, 1000)
    ending = pl.Series([f"{n:03d}{behind}" for n in range(1000)])
    return [shown.gather(np.cumsum(change) - 1), THREE.gather(upper), ending.gather(lower)]


def durations(duration_ns: Ints) -> list[pl.Series]:
    """The duration column of function_graph up to its bar, in three columns."""
    mark = np.searchsorted(np.array(MARKED_ABOVE_NS), duration_ns)  # a mark is for more than
    us, ns = np.divmod(duration_ns, 1000)
    digits = np.minimum(1 + np.searchsorted(10 ** np.arange(1, WIDTH + 1), us, side="right"), WIDTH)
    marks = pl.Series([f"{one} " for one in MARKS])
    return [
        marks.gather(mark),
        pl.Series(us).cast(pl.String),
        FRACTIONS.gather(digits * 1000 + ns),
    ]


def _fraction(digits: int, ns: int) -> str:
    kept = max(0, min(3, DIGITS - digits))
    shown = f".{ns:03d}"[: kept + 1] if kept else ""
    return f"{shown} us {' ' * (WIDTH - digits - len(shown))}|  "


FRACTIONS: Final = pl.Series([_fraction(d, ns) for d in range(WIDTH + 1) for ns in range(1000)])


def hexadecimal(values: Ints) -> pl.Series:
    """`%llx`."""
    raw = pa.py_buffer(np.ascontiguousarray(values).view(np.uint64).astype(">u8"))
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8), len(values), [None, raw])
    digits = pl.Series(array.cast(pa.large_binary())).bin.encode("hex").str.strip_chars_start("0")
    return digits.replace("", "0")


def decimal(values: Ints, *, signed: bool) -> pl.Series:
    """`%lld` or `%llu`."""
    return pl.Series(values if signed else values.view(np.uint64)).cast(pl.String)

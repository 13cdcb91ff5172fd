"""Batches of RECORDS as NumPy columns, with functions and tasks as small numbers.

All writers work column by column: what repeats (a function, a task on a CPU) is looked up in a
table that is made once per distinct value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.simulate.recording import KINDS, RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from traceview.simulate.recording import Task

    Ints = NDArray[np.int64]
    Mask = NDArray[np.bool_]

ENTRY, EXIT, KPROBE, KRETPROBE, PRINT = range(len(KINDS))
IDLE: Final = "<idle>"  # the name of task 0 in the kernel's text
UNKNOWN: Final = "<...>"  # of a task that the kernel has no name of
COMM_BYTES: Final = 15  # TASK_COMM_LEN, less the terminating zero


@dataclass(frozen=True, slots=True)
class Columns:
    """A batch. `symbol`: which of the `names` of the Symbols, -1 for none."""

    rows: pl.DataFrame
    cpu: Ints
    tid: Ints
    ts_ns: Ints
    kind: Ints
    symbol: Ints
    lost_before: Ints

    def __len__(self) -> int:
        return len(self.cpu)

    def behind(self, row: int) -> Columns:
        """The rows from *row* on."""
        return Columns(
            self.rows[row:], self.cpu[row:], self.tid[row:], self.ts_ns[row:], self.kind[row:],
            self.symbol[row:], self.lost_before[row:],
        )  # fmt: skip

    def numbers(self, name: str, at: Ints | Mask | None = None) -> Ints:
        """A column of whole numbers (null is 0), of the rows *at*."""
        column = self.rows[name]
        values = column.fill_null(0).to_numpy() if column.null_count() else column.to_numpy()
        values = values if at is None else values[at]
        return values.view(np.int64) if values.dtype == np.uint64 else values.astype(np.int64)


class Symbols:
    """The functions seen so far, by number."""

    def __init__(self) -> None:
        """None is known."""
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of a function."""
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]

    def numbers(self, column: pl.Series) -> Ints:
        """The number of each row's function, -1 where it has none."""
        distinct = column.unique().drop_nulls()
        codes = distinct.to_physical().to_numpy().astype(np.int64)
        table = np.full(int(codes.max(initial=0)) + 2, -1)
        table[codes] = [self.number(name) for name in distinct.to_list()]
        physical = column.to_physical().cast(pl.Int64).fill_null(len(table) - 1).to_numpy()
        found: Ints = table[physical]
        return found


def columns(rows: pl.DataFrame, symbols: Symbols) -> Columns:
    """*rows* of RECORDS."""
    rows = rows.select(pl.col(name).cast(dtype) for name, dtype in RECORDS.items())

    kind = rows["kind"].to_physical().cast(pl.Int64).to_numpy()
    symbol = symbols.numbers(rows["symbol"])
    cpu, tid, ts_ns, lost = (
        rows[name].cast(pl.Int64).fill_null(0).to_numpy()
        for name in ("cpu", "tid", "ts_ns", "lost_before")
    )
    return Columns(rows, cpu, tid, ts_ns, kind, symbol, lost)


class TaskNames:
    """Names of tasks by tid, as the kernel prints them."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        """Know *tasks*."""
        self._tasks = {one.tid: one for one in tasks}

    def comm(self, tid: int) -> str:
        """The name of a task."""
        if tid == 0:
            return IDLE
        task = self._tasks.get(tid)
        return UNKNOWN if task is None else task.comm[:COMM_BYTES]

    def tgid(self, tid: int) -> int | None:
        """The process of a task; None for the idle task and unknown ones."""
        task = self._tasks.get(tid)
        return None if task is None or tid == 0 else task.tgid


class Table:
    """Strings by number, made as they are first needed."""

    def __init__(self, make: Callable[[int], str]) -> None:
        """*make* gives the string of a number."""
        self._make = make
        self._made: dict[int, str] = {}

    def strings(self, numbers: Ints) -> tuple[list[str], Ints]:
        """The distinct strings of *numbers* (small, not negative), and which of them each is."""
        present = np.zeros(int(numbers.max(initial=0)) + 1, dtype=np.bool_)
        present[numbers] = True
        index = np.cumsum(present) - 1
        return [self._string(n) for n in np.flatnonzero(present).tolist()], index[numbers]

    def column(self, numbers: Ints) -> pl.Series:
        """The string of each number."""
        strings, index = self.strings(numbers)
        return pl.Series(strings, dtype=pl.String).gather(index)

    def _string(self, number: int) -> str:
        if number not in self._made:
            self._made[number] = self._make(number)
        return self._made[number]


class Pairs:
    """Two columns as one number: the second one's values are numbered as they appear."""

    def __init__(self) -> None:
        """No value is known."""
        self._values: list[int] = []
        self._index: dict[int, int] = {}

    def numbers(self, first: Ints, second: Ints, limit: int) -> Ints:
        """The number of *second*, times *limit*, plus *first*, which is below *limit*."""
        distinct, index = np.unique(second, return_inverse=True)
        known = [self._number(value) for value in distinct.tolist()]
        return first + limit * np.array(known, dtype=np.int64)[index]

    def value(self, number: int) -> int:
        """The value with that number."""
        return self._values[number]

    def _number(self, value: int) -> int:
        if value not in self._index:
            self._index[value] = len(self._values)
            self._values.append(value)
        return self._index[value]


def following(cpu: Ints) -> tuple[Ints, Mask]:
    """Rows in order of CPU (then their own), and which of them begin a CPU."""
    order = np.argsort(cpu.astype(np.int32), kind="stable")
    sorted_cpu = cpu[order]
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = sorted_cpu[1:] != sorted_cpu[:-1]
    return order, first

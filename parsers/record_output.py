"""What the kinds of records share: the names they learn, and the chunk that they fill."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.parsers.chunks import (
    NO_DEPTH,
    NO_DURATION,
    Chunk,
    Comms,
    Numbers,
    Texts,
    joined_comms,
    joined_samples,
)
from traceview.parsers.tasks import task_of
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from traceview.parsers.classes import Classes
    from traceview.parsers.columns import Ints
    from traceview.parsers.names import Names
    from traceview.parsers.record_names import Codes, CommCodes, Functions
    from traceview.trace import Want

LISTED = 8  # so many names are listed in a message


@dataclass(slots=True)
class Trouble:
    """What could not be read, counted."""

    unknown: Counter[int] = field(default_factory=Counter)  # event ids without a format
    short: Counter[str] = field(default_factory=Counter)  # by event
    fields: Counter[str] = field(default_factory=Counter)  # by event and field
    headless: int = 0  # records without room for the common fields
    nameless_formats: int = 0  # trace_printk records whose format is not in the file
    repeats: int = 0  # func_repeats records
    formats: list[str] = field(default_factory=list)  # what is wrong with which format

    def diagnostics(self) -> list[Diagnostic]:
        """All of it, in words."""
        said = (
            ("unknown-events", "records of events that the file does not describe, by id",
             self.unknown.total(), _listed((str(id_), n) for id_, n in self.unknown.items())),
            ("short-records", "records too short for the fields of their events",
             self.short.total() + self.headless, _listed(self.short.items())),
            ("damaged-fields", "strings or arrays that do not lie inside of their records",
             self.fields.total(), _listed(self.fields.items())),
            ("unknown-print-formats", "trace_printk records whose format is not in the file",
             self.nameless_formats, ""),
        )  # fmt: skip
        found = [
            Diagnostic(code, "warning", f"{count} {what}{names}", count)
            for code, what, count, names in said
            if count
        ]
        if self.formats:
            count = len(self.formats)
            more = f" and {count - LISTED} more" if count > LISTED else ""
            message = f"event formats that cannot be used: {'; '.join(self.formats[:LISTED])}{more}"
            found.append(Diagnostic("damaged-formats", "warning", message, count))
        if self.repeats:
            message = (
                f"{self.repeats} func_repeats records, each for calls of a function that the tracer"
                " did not record one by one; they are not expanded"
            )
            found.append(Diagnostic("repeated-functions", "info", message, self.repeats))
        return found


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    ordered = sorted(counts, key=lambda item: (-item[1], item[0]))
    if not ordered:
        return ""
    more = f" and {len(ordered) - LISTED} more" if len(ordered) > LISTED else ""
    return ": " + ", ".join(f"{name} ({count})" for name, count in ordered[:LISTED]) + more


@dataclass(frozen=True, slots=True)
class Context:
    """What is known before any record is read, and what is learned from them."""

    want: Want
    names: Names
    classes: Classes
    functions: Functions
    comms: CommCodes
    printk: Mapping[int, str]
    trouble: Trouble


@dataclass(slots=True)
class Output:
    """A chunk being filled, kind by kind."""

    ts_ns: Ints
    cpu: NDArray[np.int32]
    buffer: NDArray[np.uint32]
    tid: NDArray[np.int32]
    what: NDArray[np.uint32] = field(init=False)
    probe_ip: NDArray[np.uint64] = field(init=False)
    duration_ns: Ints = field(init=False)
    depth: NDArray[np.int32] = field(init=False)
    _numbers: list[tuple[Ints, int, Ints]] = field(default_factory=list)
    _texts: list[tuple[Ints, int, pl.Series]] = field(default_factory=list)
    _comms: list[Comms] = field(default_factory=list)

    def __post_init__(self) -> None:
        n = len(self.ts_ns)
        self.what = np.zeros(n, dtype=np.uint32)
        self.probe_ip = np.zeros(n, dtype=np.uint64)
        self.duration_ns = np.full(n, NO_DURATION)
        self.depth = np.full(n, NO_DEPTH, dtype=np.int32)

    def add_numbers(self, row: Ints, name: int, value: Ints) -> None:
        """The argument with the code *name* of some rows."""
        self._numbers.append((row, name, value))

    def add_texts(self, row: Ints, name: int, text: pl.Series) -> None:
        """An argument that is text."""
        if len(row):
            self._texts.append((row, name, text))

    def add_comms(self, row: Ints, tid: Ints, comm: Codes) -> None:
        """What the events in *row* say that the tasks *tid* are called."""
        self._comms.append(Comms(self.ts_ns[row], task_of(tid, self.cpu[row]), comm))

    def chunk(self, skipped: dict[str, int]) -> Chunk:
        """Everything that was added."""
        return Chunk(
            ts_ns=self.ts_ns, cpu=self.cpu, tid=self.tid, what=self.what, buffer=self.buffer,
            probe_ip=self.probe_ip, duration_ns=self.duration_ns, depth=self.depth,
            numbers=self._joined_numbers(), texts=self._joined_texts(),
            comms=joined_comms(self._comms), samples=joined_samples([]), skipped=skipped,
        )  # fmt: skip

    def _joined_numbers(self) -> Numbers:
        total = sum(len(row) for row, _, _ in self._numbers)
        rows = np.empty(total, dtype=np.int64)
        names, values = np.empty(total, dtype=np.uint32), np.empty(total, dtype=np.int64)
        at = 0
        for row, name, value in self._numbers:
            end = at + len(row)
            rows[at:end], names[at:end], values[at:end] = row, name, value
            at = end
        return Numbers(rows, names, values)

    def _joined_texts(self) -> Texts:
        rows = [np.empty(0, dtype=np.int64), *(row for row, _, _ in self._texts)]
        names = [np.full(len(row), name, dtype=np.uint32) for row, name, _ in self._texts]
        texts = [pl.Series(dtype=pl.String), *(text for _, _, text in self._texts)]
        return Texts(
            np.concatenate(rows),
            np.concatenate([np.empty(0, dtype=np.uint32), *names]),
            pl.concat(texts),
        )

"""What the text parsers hand to each other: where a line's event begins, and the rows it gives.

A line gives at most one event. Rows carry their line's index in the chunk as `line`; `seq` takes
its place when the chunk is complete.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_text_lines import nullable
from traceview.schema import ARGS, EVENTS, EVIDENCE_KIND, NAME, PHASE

if TYPE_CHECKING:
    import numpy.typing as npt

    from traceview.parsers.ftrace_text_lines import Mask, Positions

NO_TIME: Final = np.iinfo(np.int64).min
NONE: Final = -1  # no such CPU, thread or thread group
LINE: Final = pl.Int64()
HEAD_COLUMNS: Final = ("line", "ts_ns", "cpu", "tid", "tgid", "comm")
EVENT_ROWS: Final = {"line": LINE, **{name: t for name, t in EVENTS.items() if name != "seq"}}
ARG_ROWS: Final = {"line": LINE, **{name: t for name, t in ARGS.items() if name != "seq"}}


@dataclass(slots=True)
class Heads:
    """Lines whose beginning was understood: when, where, who, and where the event begins and ends.

    `body` and `end` are positions in the buffer. NO_TIME and NONE stand for what is not said.
    `comment`: inside a graph's comment, where the words of a marker have no name before them.
    """

    line: Positions
    ts_ns: Positions
    cpu: Positions
    tid: Positions
    tgid: Positions
    comm: pl.Series
    body: Positions
    end: Positions
    comment: Mask

    def take(self, index: Positions | Mask) -> Heads:
        """The heads at *index* (positions or a mask)."""
        rows = np.flatnonzero(index) if index.dtype == np.bool_ else index
        return Heads(
            self.line[rows],
            self.ts_ns[rows],
            self.cpu[rows],
            self.tid[rows],
            self.tgid[rows],
            self.comm.gather(rows),
            self.body[rows],
            self.end[rows],
            self.comment[rows],
        )

    def frame(self) -> pl.DataFrame:
        """The columns that every event of these lines has."""
        return pl.DataFrame(
            {
                "line": self.line,
                "ts_ns": nullable(self.ts_ns, self.ts_ns != NO_TIME),
                "cpu": nullable(self.cpu.astype(np.int32), self.cpu != NONE),
                "tid": nullable(self.tid.astype(np.int32), self.tid != NONE),
                "tgid": nullable(self.tgid.astype(np.int32), self.tgid != NONE),
                "comm": self.comm,
            }
        )


def no_heads() -> Heads:
    """No lines at all."""
    none = np.zeros(0, np.int64)
    comm = pl.Series([], dtype=NAME)
    return Heads(none, none, none, none, none, comm, none, none, np.zeros(0, np.bool_))


def joined(parts: list[Heads]) -> Heads:
    """*parts* as one, in order of lines."""
    parts = [part for part in parts if part.line.size]
    if len(parts) < 2:
        return parts[0] if parts else no_heads()
    whole = Heads(
        line=np.concatenate([part.line for part in parts]),
        ts_ns=np.concatenate([part.ts_ns for part in parts]),
        cpu=np.concatenate([part.cpu for part in parts]),
        tid=np.concatenate([part.tid for part in parts]),
        tgid=np.concatenate([part.tgid for part in parts]),
        comm=pl.concat([part.comm for part in parts], rechunk=True),
        body=np.concatenate([part.body for part in parts]),
        end=np.concatenate([part.end for part in parts]),
        comment=np.concatenate([part.comment for part in parts]),
    )
    return whole.take(np.argsort(whole.line, kind="stable"))


@dataclass(slots=True)
class Bodies:
    """Heads with their names read: `kind`, the index of the `clean` name, where the payload is."""

    heads: Heads
    kind: Positions
    name: Positions
    clean: list[str]
    payload: Positions

    def take(self, index: Positions | Mask) -> Bodies:
        """The bodies at *index*."""
        return Bodies(
            self.heads.take(index),
            self.kind[index],
            self.name[index],
            self.clean,
            self.payload[index],
        )

    def names(self) -> pl.Series:
        """The event names as a column."""
        return looked_up([*self.clean], self.name)


@dataclass(slots=True)
class Found:
    """What a chunk gave so far."""

    events: list[pl.DataFrame] = field(default_factory=list)
    args: list[pl.DataFrame] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unparsed: list[Positions] = field(default_factory=list)

    def add(self, heads: Heads, evidence: str, **columns: pl.Series | str | None) -> None:
        """One event per head. *columns*: series of that length, or one value for all."""
        if heads.line.size == 0:
            return
        values = {
            name: value if isinstance(value, pl.Series) else pl.lit(value)
            for name, value in columns.items()
        }
        values["evidence"] = pl.lit(evidence, dtype=EVIDENCE_KIND)
        self.events.append(
            heads.frame()
            .with_columns(**values)
            .select(
                (pl.col(n) if n in HEAD_COLUMNS or n in values else pl.lit(None)).cast(t).alias(n)
                for n, t in EVENT_ROWS.items()
            )
        )

    def rows(self) -> pl.DataFrame:
        """The events in order of lines."""
        rows = pl.concat([pl.DataFrame(schema=EVENT_ROWS), *self.events])
        return rows.sort("line") if len(self.events) > 1 else rows

    def unparsed_lines(self) -> Positions:
        """The lines that were not understood, in no order."""
        return np.concatenate([np.zeros(0, np.int64), *self.unparsed])

    def add_args(self, line: Positions, name: pl.Series | str, **columns: pl.Series) -> None:
        """One argument per line: `value` (Int64), `text` (String), or both."""
        if line.size == 0:
            return
        rows = pl.DataFrame({"line": line, **columns}).with_columns(
            name=name if isinstance(name, pl.Series) else pl.lit(name)
        )
        self.args.append(
            rows.select(
                (pl.col(n) if n in rows.columns else pl.lit(None)).cast(t).alias(n)
                for n, t in ARG_ROWS.items()
            )
        )


def phases(codes: npt.NDArray[np.generic]) -> pl.Series:
    """Indices into schema.PHASES as a column."""
    return pl.Series(codes.astype(np.uint8)).cat.to(PHASE)


def looked_up(
    values: list[str | None], index: npt.NDArray[np.int64], dtype: pl.DataType = NAME
) -> pl.Series:
    """The value at each index."""
    return pl.Series(values, dtype=pl.String).cast(dtype).gather(index)

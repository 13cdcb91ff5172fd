"""The batch that a parser of text fills, chunk by chunk, and what is counted over all of them.

A line that was not understood is counted, never dropped in silence: the first is shown, and each
is a hole (ftrace_loss_text.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import polars as pl

from traceview.parsers.ftrace_loss_text import Hole, Losses, loss_rows
from traceview.parsers.ftrace_text_chunks import whole_lines
from traceview.schema import ARGS, EVENTS, SAMPLES, frame
from traceview.trace import Batch, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from traceview.parsers.ftrace_loss_text import Lost
    from traceview.parsers.ftrace_text_lines import Lines, Positions
    from traceview.parsers.ftrace_text_rows import Found
    from traceview.parsers.source import Source
    from traceview.trace import Want

SHOWN_CHARS: Final = 100
ARGS_PER_EVENT: Final = 2  # a batch is full, too, when it has so many arguments
LEAST_CHUNK_BYTES: Final = 1 << 16
BYTES_PER_EVENT: Final = 64  # about what a short line takes


class Reader(Protocol):
    """What each parser of text has: the state between chunks, and a batch being filled."""

    want: Want
    filling: TextBatch

    def take(self, chunk: bytes) -> None:
        """Read a chunk of whole lines into the batch."""

    def finish(self) -> None:
        """The file ends."""

    def batch(self, diagnostics: tuple[Diagnostic, ...] | None = None) -> Batch:
        """What was read since the last batch; *diagnostics* of the source end the trace."""


def read_batches(
    reader: Reader,
    source: Source,
    progress: Callable[[float], None],
    chunk_bytes: int,
    belongs: Callable[[bytes], bool] | None,
) -> Iterator[Batch]:
    """The batches of *source*, cut where whole_lines cuts; chunks are smaller where batches are."""
    of_batch = max(BYTES_PER_EVENT * reader.want.batch_events, LEAST_CHUNK_BYTES)
    chunks = source.chunks(progress, min(chunk_bytes, of_batch))
    for chunk in whole_lines(chunks, belongs):
        reader.take(chunk)
        if reader.filling.is_full:
            yield reader.batch()
    reader.finish()
    yield reader.batch(tuple(dict.fromkeys(source.damage)))


@dataclass(slots=True)
class TextBatch:
    """The rows since the last batch. Lines, `seq`, `unparsed` and losses run on over the file."""

    batch_events: int
    losses: Losses = field(default_factory=Losses)
    seq: int = 0
    line: int = 1
    skipped_events: int = 0
    unparsed: int = 0
    first_unparsed: str = ""
    events: list[pl.DataFrame] = field(default_factory=list)
    args: list[pl.DataFrame] = field(default_factory=list)
    samples: list[pl.DataFrame] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        lines: Lines,
        found: Found,
        events: pl.DataFrame,
        lost: list[Lost],
        samples: pl.DataFrame | None = None,
    ) -> None:
        """Add a chunk: *events* are the rows of *found* by line, *lost* its loss lines."""
        line = events["line"].to_numpy()
        seq = np.arange(self.seq, self.seq + line.size)
        events = events.with_columns(seq=pl.Series(seq))
        unparsed = found.unparsed_lines()
        self._count_unparsed(lines, unparsed)
        self.holes += self.losses.place(lost, unparsed, line, events)
        seq_of_line = np.full(len(lines), -1)
        seq_of_line[line] = seq
        for args in found.args:
            self.args.append(_with_seq(args, seq_of_line).select(*ARGS))
        if samples is not None:
            self.samples.append(_with_seq(samples, seq_of_line).select(*SAMPLES))
        self.events.append(events.select(*EVENTS))
        self.skipped += found.skipped
        self.skipped_events += found.skipped.total()
        self.seq += line.size
        self.line += len(lines)

    def _count_unparsed(self, lines: Lines, rows: Positions) -> None:
        self.unparsed += rows.size
        if rows.size and not self.first_unparsed:
            first = rows.min(keepdims=True)
            text = lines.text(lines.starts[first], lines.ends[first])[0]
            shown = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."
            self.first_unparsed = f"line {self.line + int(first[0])}: {shown!r}"

    @property
    def is_full(self) -> bool:
        """Whether the batch holds as much as the caller wants at once."""
        size = self.batch_events
        events = sum(map(len, self.events))
        return events >= size or sum(map(len, self.args)) >= ARGS_PER_EVENT * size

    @property
    def saw_events(self) -> bool:
        """Whether the file so far has an event, wanted or not."""
        return bool(self.seq or self.skipped_events)

    def close_losses(self) -> None:
        """The file ends: what is still open will not be closed."""
        self.holes += self.losses.open
        self.losses.open = []

    def taken(self, facts: dict[str, Any], diagnostics: tuple[Diagnostic, ...]) -> Batch:
        """The rows as a batch; the next one begins empty."""
        batch = Batch(
            events=pl.concat([frame("events"), *self.events]),
            args=pl.concat([frame("args"), *self.args]),
            losses=loss_rows(self.holes),
            samples=pl.concat([frame("samples"), *self.samples]),
            skipped=dict(self.skipped),
            facts=facts,
            diagnostics=diagnostics,
        )
        self.events, self.args, self.samples, self.holes = [], [], [], []
        self.skipped = Counter()
        return batch

    def about_unparsed(self) -> Iterator[Diagnostic]:
        """How many lines were not understood, and the first, if any."""
        if self.unparsed:
            yield Diagnostic(
                "unparsed-lines",
                "warning",
                f"{self.unparsed} lines were not understood, the first is {self.first_unparsed}",
                self.unparsed,
            )

    def about_no_events(self) -> Iterator[Diagnostic]:
        """That the file has none, if so."""
        if not self.saw_events:
            yield Diagnostic("no-events", "warning", "the trace holds no events")


def _with_seq(rows: pl.DataFrame, seq_of_line: Positions) -> pl.DataFrame:
    return rows.with_columns(pl.Series("seq", seq_of_line[rows["line"].to_numpy()]))

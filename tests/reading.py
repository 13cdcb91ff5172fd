"""All batches of a trace as one, for tests: whatever the format."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl

from traceview.parsers.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.trace import Batch, Diagnostic, Want


@dataclass(frozen=True)
class Read:
    """All batches of a trace."""

    batches: list[Batch]

    @cached_property
    def events(self) -> pl.DataFrame:
        return pl.concat([batch.events for batch in self.batches])

    @cached_property
    def args(self) -> pl.DataFrame:
        """In order of events; those of one event as the parser gave them."""
        return pl.concat([batch.args for batch in self.batches]).sort("seq", maintain_order=True)

    @cached_property
    def losses(self) -> pl.DataFrame:
        return pl.concat([batch.losses for batch in self.batches])

    @cached_property
    def samples(self) -> pl.DataFrame:
        return pl.concat([batch.samples for batch in self.batches])

    @cached_property
    def skipped(self) -> dict[str, int]:
        return dict(sum((Counter(batch.skipped) for batch in self.batches), Counter[str]()))

    @cached_property
    def facts(self) -> dict[str, Any]:
        return {name: fact for batch in self.batches for name, fact in batch.facts.items()}

    @cached_property
    def diagnostics(self) -> dict[str, Diagnostic]:
        return {one.code: one for batch in self.batches for one in batch.diagnostics}

    def column(self, name: str) -> list[Any]:
        return self.events[name].to_list()

    def arg(self, name: str) -> list[Any]:
        """The values (or texts) of an argument, in order of events."""
        rows = self.args.filter(pl.col("name") == name).select("value", "text").iter_rows()
        return [text if value is None else value for value, text in rows]

    def arg_by_seq(self, name: str) -> dict[int, Any]:
        """The values (or texts) of an argument, by event."""
        seq = self.args.filter(pl.col("name") == name)["seq"]
        return dict(zip(seq, self.arg(name), strict=True))


def read_file(
    parse: Callable[[Source, Want], Iterator[Batch]], content: bytes, want: Want
) -> list[Batch]:
    """What a parser makes of a file with this content."""
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return list(parse(Source("trace", file, len(content)), want))

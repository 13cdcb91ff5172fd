"""Reading trace.dat in tests: from bytes to frames, and to records as the reference has them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from traceview.parsers import trace_dat
from traceview.parsers.ring_buffer import read_pages
from traceview.parsers.ring_buffer_pages import groups, page_header
from traceview.parsers.source import Source
from traceview.parsers.trace_dat_cpu_data import CpuDataReader
from traceview.parsers.trace_dat_file import read_contents
from traceview.parsers.trace_dat_pages import cpu_pages
from traceview.trace import Want
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from traceview.trace import Batch, Diagnostic

Lane = tuple[str | None, int]
LOSSES = ["buffer", "cpu", "kind", "from_ns", "to_ns", "count"]


def nulls_first(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """What rows with nulls are sorted by."""
    return tuple((item is not None, item) for item in row)


@dataclass
class Read:
    """All batches of a trace."""

    batches: list[Batch]

    @property
    def events(self) -> pl.DataFrame:
        return pl.concat([batch.events for batch in self.batches])

    @property
    def args(self) -> pl.DataFrame:
        return pl.concat([batch.args for batch in self.batches])

    @property
    def losses(self) -> list[tuple[Any, ...]]:
        rows = pl.concat([batch.losses for batch in self.batches]).select(LOSSES).rows()
        return sorted(rows, key=nulls_first)

    @property
    def facts(self) -> dict[str, Any]:
        return {name: fact for batch in self.batches for name, fact in batch.facts.items()}

    @property
    def diagnostics(self) -> dict[str, Diagnostic]:
        return {one.code: one for batch in self.batches for one in batch.diagnostics}

    def rows(self, *columns: str) -> list[Any]:
        """Those columns of the events; of one column its values."""
        frame = self.events.select(columns)
        return frame.to_series().to_list() if len(columns) == 1 else frame.rows()


def read(data: bytes, *, all_events: bool = True, batch_events: int = 250_000) -> Read:
    """The batches of a trace.dat file with these bytes."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        source = Source("test.dat", file, len(data))
        want = Want(Vocabulary.builtin(), all_events=all_events, batch_events=batch_events)
        return Read(list(trace_dat.read(source, want)))


def records(data: bytes, most: int = 10**9) -> dict[Lane, list[tuple[int, bytes]]]:
    """The records of each CPU as time and payload, *most* of a CPU's at least and no many more."""
    contents = read_contents(memoryview(data), "test.dat")
    header = page_header(contents.header_page, "test.dat")
    reader = CpuDataReader(memoryview(data), "test.dat", contents.compression)
    cpus = cpu_pages(contents, reader, header)
    found: dict[Lane, list[tuple[int, bytes]]] = {}
    for group in groups(cpus):
        pages = read_pages(group.data, group.start, group.size, group.full, header)
        assert (pages.damaged_at < 0).all()
        first, start, size = pages.first.tolist(), pages.start.tolist(), pages.size.tolist()
        ts_ns, content = pages.ts_ns.tolist(), bytes(group.data)
        for page, owner in enumerate(group.owner.tolist()):
            mine = found.setdefault((cpus[owner].buffer, cpus[owner].cpu), [])
            if len(mine) < most:
                mine += [
                    (ts_ns[i], content[start[i] : start[i] + size[i]])
                    for i in range(first[page], first[page + 1])
                ]
    return found

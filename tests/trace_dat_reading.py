"""Reading trace.dat in tests: from bytes to frames, and to records as the reference has them."""

from __future__ import annotations

from typing import Any

from tests import reading
from traceview.parsers import trace_dat
from traceview.parsers.ring_buffer import read_pages
from traceview.parsers.ring_buffer_pages import groups, page_header
from traceview.parsers.trace_dat_cpu_data import CpuDataReader
from traceview.parsers.trace_dat_file import read_contents
from traceview.parsers.trace_dat_pages import cpu_pages
from traceview.trace import Want
from traceview.vocabulary import Vocabulary

Lane = tuple[str | None, int]
LOSSES = ["buffer", "cpu", "kind", "from_ns", "to_ns", "count"]


def nulls_first(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """What rows with nulls are sorted by."""
    return tuple((item is not None, item) for item in row)


class Read(reading.Read):
    """All batches of a trace."""

    def holes(self) -> list[tuple[Any, ...]]:
        """The losses as plain rows."""
        return sorted(self.losses.select(LOSSES).rows(), key=nulls_first)

    def rows(self, *columns: str) -> list[Any]:
        """Those columns of the events; of one column its values."""
        frame = self.events.select(columns)
        return frame.to_series().to_list() if len(columns) == 1 else frame.rows()


def read(data: bytes, *, all_events: bool = True, batch_events: int = 250_000) -> Read:
    """The batches of a trace.dat file with these bytes."""
    want = Want(Vocabulary.builtin(), all_events=all_events, batch_events=batch_events)
    return Read(reading.read_file(trace_dat.read, data, want))


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

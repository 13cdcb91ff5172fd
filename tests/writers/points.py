"""Pages of a ring buffer with one event at each of some times: the least that can be read."""

from __future__ import annotations

from tests.writers.records import Event
from tests.writers.ring_buffer import Writer

POINT = Event(900, "point", ("u64 value", "__data_loc char[] word"), "test")


def points(*times: int, first: int = 0, tid: int = 100, size: int = 4096) -> list[bytes]:
    """Pages with one event at each time, numbered from *first*."""
    writer = Writer(size)
    for n, ts in enumerate(times):
        writer.event(ts, POINT.record(tid, value=first + n, word=f"w{first + n}"))
    writer.flush()
    return writer.pages

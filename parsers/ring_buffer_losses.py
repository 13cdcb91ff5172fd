"""Holes in the records of each CPU: events that were lost, and pages that are damaged.

The kernel marks the first page behind lost events and writes their number behind its data, if there
is room. It also counts, per CPU, all that was overwritten (overrun), refused by a full buffer
(dropped events) or by events that interrupted each other too deeply (commit overrun). What those
counters hold beyond the marks cannot be placed.

Sources of truth: kernel/trace/ring_buffer.c (ring_buffer_read_page), kernel/trace/trace.c
(tracing_stats_read).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.parsers.chunks import Hole
from traceview.schema import LOSSES, conform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from traceview.parsers.ring_buffer import Pages
    from traceview.parsers.ring_buffer_pages import CpuPages

LOST: Final = "lost_events"
DAMAGED: Final = "damaged"

COUNTER: Final = re.compile(
    r"^(overrun|commit overrun|dropped events):\s*(\d{1,18})\s*$", re.MULTILINE
)

Lane = tuple[str | None, int]  # buffer, CPU
Stats = dict[str, int]  # kind of loss -> how many


def parse_stats(text: str) -> Stats:
    """What tracefs `per_cpu/cpuN/stats` counts as lost."""
    return {kind.replace(" ", "_"): int(count) for kind, count in COUNTER.findall(text)}


@dataclass(slots=True)
class _Follower:
    """One CPU of one buffer: `pending` are the holes that its next event will close."""

    buffer: str | None
    cpu: int
    last_ns: int | None = None
    placed: int = 0
    pending: dict[str, int | None] = field(default_factory=dict)

    def breaks(self, kind: str, count: int | None) -> None:
        if kind not in self.pending:
            self.pending[kind] = count
            return
        before = self.pending[kind]
        self.pending[kind] = None if before is None or count is None else before + count

    def close(self, at_ns: int | None) -> list[Hole]:
        since = self.last_ns
        if since is not None and at_ns is not None and since > at_ns:
            since = at_ns  # time went back: the hole has no width
        found = [
            Hole(self.buffer, self.cpu, kind, since, at_ns, count)
            for kind, count in self.pending.items()
        ]
        self.placed += self.pending.get(LOST) or 0
        self.pending.clear()
        return found


class Followers:
    """The holes of all CPUs."""

    def __init__(self, cpus: Iterable[CpuPages]) -> None:
        """Follow *cpus*, by their number."""
        self._all = [_Follower(one.buffer, one.cpu) for one in cpus]
        self.damaged_pages = 0

    def follow(self, pages: Pages, owner: list[int]) -> list[Hole]:
        """The holes that *pages*, the next of each CPU, close; *owner*: whose they are."""
        holes: list[Hole] = []
        first, ts_ns = pages.first.tolist(), pages.ts_ns
        marked = pages.missed | (pages.damaged_at >= 0)
        self.damaged_pages += int((pages.damaged_at >= 0).sum())
        missed, count = pages.missed.tolist(), pages.missed_count.tolist()
        for page, is_marked in enumerate(marked.tolist()):
            one = self._all[owner[page]]
            if missed[page]:
                one.breaks(LOST, count[page] if count[page] >= 0 else None)
            begin, end = first[page], first[page + 1]
            if begin < end:
                if one.pending:
                    holes += one.close(int(ts_ns[begin]))
                one.last_ns = int(ts_ns[end - 1])
            if is_marked and pages.damaged_at[page] >= 0:
                one.breaks(DAMAGED, None)
        return holes

    def last_holes(self) -> list[Hole]:
        """The holes that nothing closes."""
        return [hole for one in self._all for hole in one.close(None)]

    def unplaced(self, stats: Mapping[Lane, Stats]) -> pl.DataFrame:
        """What the counters *stats* hold beyond the holes, as rows that have no place."""
        placed = {(one.buffer, one.cpu): one.placed for one in self._all}
        rows = []
        for (buffer, cpu), counters in stats.items():
            for kind, count in counters.items():
                rest = count - placed.get((buffer, cpu), 0) if kind == "overrun" else count
                if rest > 0:
                    rows.append((buffer, cpu, kind, rest))
        schema = {name: LOSSES[name] for name in ("buffer", "cpu", "kind", "count")}
        return conform("losses", pl.DataFrame(rows, schema=schema, orient="row"))

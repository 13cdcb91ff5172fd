"""What runs on from one bundle of a CPU to the next: times, the running task, and holes.

Perfetto marks a bundle that follows lost events, and writes into each bundle the time at which the
previous one of that CPU ended: where that is later than the last event here, packets are missing.
Where Perfetto cannot parse an event it leaves an event without task and payload behind, drops the
rest of the kernel's page, and goes on with the next one: a hole until the next event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from traceview.parsers.perfetto_bundles import error_ns
from traceview.parsers.perfetto_chunks import NO_TID, Hole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traceview.parsers.perfetto_bundles import Bundle, Group
    from traceview.parsers.perfetto_events import Events
    from traceview.parsers.perfetto_sched import CompactSched
    from traceview.parsers.perfetto_wire import Blob, Ints

Key = tuple[int, int]  # packet sequence, CPU


@dataclass(slots=True)
class Stream:
    """The bundles of one CPU so far. `broken`: why what followed the last event is missing."""

    last_ns: int | None = None
    running: int = NO_TID
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class Followed:
    """The holes of a group of bundles, and the task that each compact switch switched from."""

    holes: list[Hole]
    prev: Ints


class Streams:
    """The streams of all CPUs."""

    def __init__(self, buffers: Mapping[int, str | None]) -> None:
        """*buffers* names the ring buffer of each packet sequence."""
        self._buffers = buffers
        self._streams: dict[Key, Stream] = {}

    def follow(self, group: Group, events: Events, compact: CompactSched) -> Followed:
        """Go on with the bundles of *group*, which hold *events* and *compact*."""
        bundles = group.bundles
        keys = list(zip(group.sequence, group.cpu.tolist(), strict=True))
        switches = compact.switches
        prev = np.concatenate([[NO_TID], switches.columns["next_pid"][:-1]])[: len(switches.owner)]
        spans = _Spans(len(bundles), events, compact)
        partial = np.flatnonzero((events.number == 0) & (events.tid < 0) & ~events.bad)
        of_bundle = np.searchsorted(switches.owner, np.arange(len(bundles) + 1)).tolist()
        holes: list[Hole] = []
        for i, (key, bundle) in enumerate(zip(keys, bundles, strict=True)):
            stream = self._streams.setdefault(key, Stream())
            first, last = spans.of(i)
            before = self._hole_before(key, stream, bundle, first)
            inside = [
                (start, Hole(self._buffers[key[0]], key[1], "parse_error", start, end))
                for start, end in _unparsed(group.blob, bundle, i, events, partial, last)
            ]
            begin, end = of_bundle[i], of_bundle[i + 1]
            if begin < end:
                prev[begin] = NO_TID if before else stream.running
                stream.running = int(switches.columns["next_pid"][end - 1])
            elif before:
                stream.running = NO_TID
            for start, _ in inside:
                at = begin + int(np.searchsorted(switches.columns["ts"][begin:end], start))
                prev[at : min(at + 1, end)] = NO_TID
                stream.running = NO_TID if at == end else stream.running
            holes += [*before, *(hole for _, hole in inside if hole.to_ns is not None)]
            if any(hole.to_ns is None for _, hole in inside):
                stream.broken = "parse_error"
            if bundle.damaged_at is not None or compact.bad[i]:
                stream.broken, stream.running = "damaged", NO_TID
            if last is not None:
                stream.last_ns = max(last, stream.last_ns or 0)
        return Followed(holes, prev)

    def last_holes(self) -> list[Hole]:
        """The holes that no later bundle closes."""
        return [
            Hole(self._buffers[sequence], cpu, stream.broken, stream.last_ns, None)
            for (sequence, cpu), stream in self._streams.items()
            if stream.broken
        ]

    def _hole_before(
        self, key: Key, stream: Stream, bundle: Bundle, first: int | None
    ) -> list[Hole]:
        """What is missing between the last event of the CPU and the *first* of *bundle*."""
        previous = bundle.previous_end_ns
        if bundle.lost_events:
            stream.broken = "lost_events"
        elif stream.last_ns is not None and previous is not None and previous > stream.last_ns:
            stream.broken = stream.broken or "missing_packets"
        if stream.broken is None or first is None:
            return []
        since = previous if stream.last_ns is None else stream.last_ns
        hole = Hole(self._buffers[key[0]], key[1], stream.broken, since, first)
        stream.broken = None
        return [hole]


class _Spans:
    """The first and last time of each bundle."""

    def __init__(self, bundles: int, events: Events, compact: CompactSched) -> None:
        good = slice(None) if not events.bad.any() else ~events.bad
        parts = [(events.owner[good], events.ts_ns[good])]
        parts += [(t.owner, t.columns["ts"]) for t in (compact.switches, compact.wakings)]
        self._parts = []
        for owner, ts in parts:
            bounds = np.searchsorted(owner, np.arange(bundles + 1))
            filled = np.flatnonzero(bounds[1:] > bounds[:-1])
            if filled.size:
                low = np.minimum.reduceat(ts, bounds[filled]).tolist()
                high = np.maximum.reduceat(ts, bounds[filled]).tolist()
                spans = zip(low, high, strict=True)
                self._parts.append(dict(zip(filled.tolist(), spans, strict=True)))

    def of(self, bundle: int) -> tuple[int | None, int | None]:
        """First and last; None for a bundle without events."""
        found = [part[bundle] for part in self._parts if bundle in part]
        return (
            min((low for low, _ in found), default=None),
            max((high for _, high in found), default=None),
        )


def _unparsed(
    blob: Blob, bundle: Bundle, owner: int, events: Events, partial: Ints, last: int | None
) -> list[tuple[int, int | None]]:
    """What Perfetto could not parse: from where to the next event, None behind the last."""
    mine = partial[events.owner[partial] == owner] if partial.size else partial
    found: list[tuple[int, int | None]] = []
    for row in mine.tolist():
        more = row + 1 < len(events.owner) and events.owner[row + 1] == owner
        found.append((int(events.ts_ns[row]), int(events.ts_ns[row + 1]) if more else None))
    if len(bundle.errors) > len(found) and last is not None:
        # Somewhere in the page that begins at the error's time, or behind it.
        starts = [error_ns(blob, span) for span in bundle.errors]
        found += [(min(start, last), last) for start in starts if start is not None]
    return found

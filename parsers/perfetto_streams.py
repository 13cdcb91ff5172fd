"""What runs on from one bundle of a CPU to the next: times, the running task, and holes.

Perfetto marks a bundle that follows lost events, and writes into each bundle the time at which the
previous one of that CPU ended: where that is later than the last event here, packets are missing.
Where Perfetto cannot parse an event it leaves an event without task and payload behind, drops the
rest of the kernel's page, and goes on with the next one: a hole until the next event. Events that
are damaged in the file are holes as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from traceview.parsers.chunks import NO_TID, Hole
from traceview.parsers.perfetto_bundles import error_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traceview.parsers.columns import Ints
    from traceview.parsers.perfetto_bundles import Bundle, Group
    from traceview.parsers.perfetto_events import Events
    from traceview.parsers.perfetto_sched import CompactSched

Key = tuple[int, int]  # packet sequence, CPU
Gap = tuple[str, int | None, int | None]  # kind, from, to


@dataclass(slots=True)
class Stream:
    """The bundles of one CPU so far.

    `broken`: why events behind `broken_ns` are missing, while the next one has not been seen.
    """

    last_ns: int | None = None
    running: int = NO_TID
    broken: str | None = None
    broken_ns: int | None = None

    def breaks(self, kind: str, from_ns: int | None) -> None:
        """Events are missing from *from_ns* on (or from the last one on)."""
        if self.broken is None:
            self.broken = kind
            self.broken_ns = self.last_ns if from_ns is None else from_ns


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
        keys = list(zip(group.sequence, group.cpu.tolist(), strict=True))
        spans, lost = _Spans(len(keys), events, compact), _Lost(group, events)
        switches = _Switches(len(keys), compact)
        holes: list[Hole] = []
        for i, (key, bundle) in enumerate(zip(keys, group.bundles, strict=True)):
            stream = self._streams.setdefault(key, Stream())
            first, last = spans.of(i)
            found = _gap_before(stream, bundle, first)
            before = bool(found)
            unknown = []  # from where on the running task is unknown
            for kind, start, end in lost.of(i, bundle, last):
                since = stream.last_ns if start is None else start
                unknown.append(since)
                if end is None:
                    stream.breaks(kind, since)
                else:
                    found.append((kind, since, end))
            if last is not None:
                stream.last_ns = max(last, stream.last_ns or 0)
            if bundle.damaged_at is not None or compact.bad[i]:
                stream.breaks("damaged", lost.last_of(i))
            stream.running = switches.follow(i, stream.running, known=not before, unknown=unknown)
            if stream.broken:
                stream.running = NO_TID
            holes += [
                Hole(self._buffers[key[0]], key[1], kind, start, end) for kind, start, end in found
            ]
        return Followed(holes, switches.prev)

    def last_holes(self) -> list[Hole]:
        """The holes that no later bundle closes."""
        return [
            Hole(self._buffers[sequence], cpu, stream.broken, stream.broken_ns, None)
            for (sequence, cpu), stream in self._streams.items()
            if stream.broken
        ]


def _gap_before(stream: Stream, bundle: Bundle, first: int | None) -> list[Gap]:
    """What is missing between the last event of the CPU and the *first* of *bundle*."""
    previous = bundle.previous_end_ns
    if bundle.lost_events:
        stream.breaks("lost_events", previous if stream.last_ns is None else None)
    elif stream.last_ns is not None and previous is not None and previous > stream.last_ns:
        stream.breaks("missing_packets", None)
    if stream.broken is None or first is None:
        return []
    gap = (stream.broken, stream.broken_ns, first)
    stream.broken = stream.broken_ns = None
    return [gap]


class _Switches:
    """The compact switches of a group, and which task each switched from."""

    def __init__(self, bundles: int, compact: CompactSched) -> None:
        table = compact.switches
        self._ts, self._next = table.columns["ts"], table.columns["next_pid"]
        self._bounds = np.searchsorted(table.owner, np.arange(bundles + 1)).tolist()
        self.prev = np.concatenate([[NO_TID], self._next[:-1]])[: len(self._next)]

    def follow(self, bundle: int, running: int, *, known: bool, unknown: list[int | None]) -> int:
        """Fill in what a bundle switched from first; returns the task that runs at its end.

        *running* was the task before, if that is *known*; it is not from the times *unknown* on.
        """
        begin, end = self._bounds[bundle], self._bounds[bundle + 1]
        running = running if known else NO_TID
        if begin < end:
            self.prev[begin] = running
            running = int(self._next[end - 1])
        for since in unknown:
            at = begin + int(np.searchsorted(self._ts[begin:end], since or 0))
            self.prev[at : min(at + 1, end)] = NO_TID
            running = NO_TID if at == end else running
        return running


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


class _Lost:
    """Events that are not there: Perfetto could not parse them, or the file is damaged."""

    def __init__(self, group: Group, events: Events) -> None:
        self._blob, self._events = group.blob, events
        partial = (events.number == 0) & (events.tid < 0)
        self._rows = np.flatnonzero(partial | events.bad)
        bundles = np.arange(len(group.bundles) + 1)
        self._bounds = np.searchsorted(events.owner, bundles).tolist()
        self._mine = np.searchsorted(events.owner[self._rows], bundles).tolist()

    def of(self, owner: int, bundle: Bundle, last: int | None) -> list[Gap]:
        """The gaps within a bundle: from None if at its start, to None if at its end."""
        ts, bad = self._events.ts_ns, self._events.bad
        first, end = self._bounds[owner], self._bounds[owner + 1]
        mine = self._rows[self._mine[owner] : self._mine[owner + 1]]
        found: list[Gap] = []
        failures = 0
        for run in np.split(mine, np.flatnonzero(np.diff(mine) > 1) + 1) if mine.size else ():
            a, b = int(run[0]), int(run[-1])
            failures += int((~bad[run]).sum())
            until = int(ts[b + 1]) if b + 1 < end else None
            if not bad[a]:
                found.append(("parse_error", int(ts[a]), until))
            else:
                found.append(("damaged", int(ts[a - 1]) if a > first else None, until))
        if len(bundle.errors) > failures and last is not None:
            # Somewhere in the page that begins at the error's time, or behind it.
            starts = [error_ns(self._blob, span) for span in bundle.errors]
            found += [("parse_error", min(at, last), last) for at in starts if at is not None]
        return found

    def last_of(self, owner: int) -> int | None:
        """The time of a bundle's last event, None where it has none."""
        rows = np.arange(self._bounds[owner], self._bounds[owner + 1])
        good = rows[~self._events.bad[rows]]
        return int(self._events.ts_ns[good[-1]]) if good.size else None

"""Recorded ring buffers -> batches: pages are read, their records decoded, and put in time order.

What a container (trace.dat, a directory of raw dumps) knows about them is a `Recording`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from traceview.errors import ParseError
from traceview.parsers.classes import Classes
from traceview.parsers.event_format import parse_event_format
from traceview.parsers.merge import Merge, untimed
from traceview.parsers.names import Names
from traceview.parsers.records import RecordDecoder, Records
from traceview.parsers.ring_buffer import read_pages
from traceview.parsers.ring_buffer_losses import Followers
from traceview.parsers.ring_buffer_pages import groups
from traceview.parsers.tasks import Tasks
from traceview.trace import Batch, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from traceview.parsers.chunks import Hole
    from traceview.parsers.columns import Ints
    from traceview.parsers.event_format import EventFormat, PageHeader
    from traceview.parsers.ring_buffer_losses import Lane, Stats
    from traceview.parsers.ring_buffer_pages import CpuPages, Group
    from traceview.symbols import Kallsyms
    from traceview.trace import Want

# The events that only one tracer writes.
TRACERS: Final = {"funcgraph_entry": "function_graph", "function": "function"}


def _same(ts: Ints) -> Ints:
    return ts


@dataclass(slots=True)
class Recording:
    """Ring buffers and what is known about them.

    `comm` and `tgid` are by tid. `to_ns` converts recorded times; without `has_time` they are not
    times. `stats`: what the kernel's counters say was lost. `done` is the fraction that has been
    read of `cpus`, `read_on` lets go of what was read, `late` is what is found out while reading.
    """

    header: PageHeader
    cpus: list[CpuPages]
    formats: Iterable[EventFormat]
    comm: Mapping[int, str] = field(default_factory=dict)
    tgid: Mapping[int, int] = field(default_factory=dict)
    kallsyms: Kallsyms | None = None
    printk: Mapping[int, str] = field(default_factory=dict)
    to_ns: Callable[[Ints], Ints] = _same
    has_time: bool = True
    stats: Mapping[Lane, Stats] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    done: Callable[[], float] = lambda: 0.0
    late: Callable[[], list[Diagnostic]] = list
    read_on: Callable[[], None] = lambda: None


def read_recording(
    recording: Recording, want: Want, progress: Callable[[float], None]
) -> Iterator[Batch]:
    """The batches of *recording*."""
    names, classes = Names(), Classes()
    tasks = Tasks(recording.comm, recording.tgid, names)
    merge = Merge(names, classes, tasks, want.batch_events)
    decoder = RecordDecoder(
        recording.formats, want, names, classes, recording.kallsyms, recording.printk
    )
    followers = Followers(recording.cpus)
    cpu = np.array([one.cpu for one in recording.cpus], dtype=np.int32)
    buffer = np.array([names.code(one.buffer) for one in recording.cpus], dtype=np.uint32)
    hit: set[int] = set()
    yield Batch(facts=recording.facts, diagnostics=tuple(_first(recording)))
    for group in groups(recording.cpus):
        records, holes = _records(recording, group, followers, cpu, buffer)
        chunk, _ = decoder.decode(group.data, records)
        merge.add(replace(chunk, holes=[*chunk.holes, *holes]))
        hit.update(np.flatnonzero(np.bincount(chunk.what)).tolist())
        recording.read_on()
        progress(recording.done())
        if group.before is not None:
            before = recording.to_ns(np.array([group.before]))[0]
            yield from _timed(merge.ready(int(before)), recording)
    yield from _timed(merge.rest(followers.last_holes()), recording)
    names_hit = {classes.known[code].name for code in hit}
    yield _last(recording, followers, decoder, merge, names_hit)
    progress(1.0)


def _first(recording: Recording) -> list[Diagnostic]:
    """What is known before the first event."""
    if any(one.next_time() is not None for one in recording.cpus):
        return recording.diagnostics
    nothing = Diagnostic("no-events", "error", "no CPU has recorded events: all buffers are empty")
    return [*recording.diagnostics, nothing]


def _records(
    recording: Recording,
    group: Group,
    followers: Followers,
    cpu: NDArray[np.int32],
    buffer: NDArray[np.uint32],
) -> tuple[Records, list[Hole]]:
    """The records of the pages of *group*, and the holes that they close."""
    pages = read_pages(group.data, group.start, group.size, group.full, recording.header)
    pages = replace(pages, ts_ns=recording.to_ns(pages.ts_ns))
    holes = followers.follow(pages, group.owner.tolist())
    counts = np.diff(pages.first)
    mine = Records(
        pages.start,
        pages.size,
        pages.ts_ns,
        np.repeat(cpu[group.owner], counts),
        np.repeat(buffer[group.owner], counts),
    )
    return mine, holes


def _timed(batches: Iterable[Batch], recording: Recording) -> Iterable[Batch]:
    """*batches*; where the clock counts no time, without the numbers that put them in order."""
    return batches if recording.has_time else map(untimed, batches)


def _last(
    recording: Recording,
    followers: Followers,
    decoder: RecordDecoder,
    merge: Merge,
    hit: set[str],
) -> Batch:
    """What only the end can tell; *hit* are the names of the events that were seen."""
    tracers = {TRACERS[name] for name in hit if name in TRACERS}
    facts = {"tracer": tracers.pop()} if len(tracers) == 1 else {}
    found = [*recording.late(), *decoder.diagnostics()]
    if followers.damaged_pages:
        message = (
            f"{followers.damaged_pages} pages of the ring buffer are damaged or cut off;"
            " what stands before the damage is read"
        )
        found.append(Diagnostic("damaged-pages", "warning", message, followers.damaged_pages))
    found += merge.diagnostics()
    losses = followers.unplaced(recording.stats)
    return Batch(losses=losses, facts=facts, diagnostics=tuple(found))


def read_formats(
    formats: Iterable[tuple[str, str]], diagnostics: list[Diagnostic]
) -> list[EventFormat]:
    """The event formats, by system and text; those that cannot be read are counted."""
    found, bad, first = [], 0, ""
    for system, text in formats:
        try:
            found.append(parse_event_format(text, system))
        except ParseError as err:
            bad += 1
            first = first or f"{err.reason} ({err.reading})"
    if bad:
        message = f"{bad} event formats cannot be read: {first}"
        diagnostics.append(Diagnostic("unreadable-formats", "warning", message, bad))
    return found


def read_cmdlines(text: str) -> dict[int, str]:
    """Names of tasks by tid, from tracefs `saved_cmdlines`."""
    found = {}
    for line in text.splitlines():
        tid, _, name = line.strip().partition(" ")
        if tid.isdecimal() and len(tid) < 10 and name:
            found[int(tid)] = name
    return found

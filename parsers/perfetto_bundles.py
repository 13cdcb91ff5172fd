"""One FtraceEventBundle: its header, its events, and what else it holds.

A bundle is what Perfetto read from one CPU's buffer at once. Source of truth:
protos/perfetto/trace/ftrace/ftrace_event_bundle.proto and traced_probes' cpu_reader.cc (v56).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from traceview.parsers.chunks import MAX_CPUS
from traceview.parsers.perfetto_wire import LENGTH, VARINT, elements, field_at, follow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from traceview.parsers.columns import Ints
    from traceview.parsers.perfetto_wire import Blob, Elements

CPU: Final = 1
EVENT: Final = 2
LOST_EVENTS: Final = 3
COMPACT_SCHED: Final = 4
FTRACE_CLOCK: Final = 5
ERROR: Final = 8
PREVIOUS_END: Final = 10
GENERIC_EVENT_DESCRIPTORS: Final = 11
EVENT_TAG: Final = EVENT << 3 | LENGTH
TIMESTAMP_TAG: Final = 0x08  # field 1 of FtraceEvent, which Perfetto writes first
WIRES: Final = {
    CPU: VARINT,
    EVENT: LENGTH,
    LOST_EVENTS: VARINT,
    COMPACT_SCHED: LENGTH,
    FTRACE_CLOCK: VARINT,
    ERROR: LENGTH,
    PREVIOUS_END: VARINT,
    GENERIC_EVENT_DESCRIPTORS: LENGTH,
}
# Fields of CompactSched that hold time deltas; the first of each bundle is absolute.
SWITCH_TIMESTAMP: Final = 1
WAKING_TIMESTAMP: Final = 7
TIME_LIMIT: Final = 1 << 63

Span = tuple[int, int]


@dataclass(slots=True)
class Bundle:
    """A bundle's fields. Spans are positions in its blob; `events` are (start, stop) arrays."""

    events: tuple[Ints, Ints]
    cpu: int | None = None
    lost_events: bool = False
    clock: int = 0
    previous_end_ns: int | None = None
    compact_sched: list[Span] = field(default_factory=list)
    errors: list[Span] = field(default_factory=list)
    descriptors: list[Span] = field(default_factory=list)
    damaged_at: int | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Bundles that are decoded at once: their bytes in one blob, and what belongs to each."""

    blob: Blob
    bundles: list[Bundle]
    sequence: list[int]  # of the packets
    cpu: NDArray[np.int32]
    epoch: Ints
    buffer: NDArray[np.uint32]  # code of the name of the ring buffer


def event_elements(blob: Blob) -> Elements:
    """What looks like an event anywhere in *blob*."""
    return elements(blob, EVENT_TAG, first=TIMESTAMP_TAG)


def read_bundle(blob: Blob, found: Elements, start: int, stop: int) -> Bundle:
    """The bundle in [start, stop); *found* are the `event_elements` of the blob."""
    chain = follow(blob, found, start, stop)
    bundle = Bundle((chain.start, chain.stop), damaged_at=chain.broken_at)
    for one in chain.others:
        if WIRES.get(one.number, one.wire) != one.wire:
            bundle.damaged_at = one.payload
        elif one.number == CPU:
            bundle.cpu = one.value if one.value < MAX_CPUS else None
        elif one.number == LOST_EVENTS:
            bundle.lost_events = bool(one.value)
        elif one.number == FTRACE_CLOCK:
            bundle.clock = one.value
        elif one.number == PREVIOUS_END:
            bundle.previous_end_ns = one.value if 0 < one.value < TIME_LIMIT else None
        elif one.number == COMPACT_SCHED:
            bundle.compact_sched.append((one.payload, one.payload + one.value))
        elif one.number == ERROR:
            bundle.errors.append((one.payload, one.payload + one.value))
        elif one.number == GENERIC_EVENT_DESCRIPTORS:
            bundle.descriptors.append((one.payload, one.payload + one.value))
    return bundle


def first_ns(blob: Blob, bundle: Bundle) -> int | None:
    """The time of the bundle's first event: no other event of it is earlier."""
    times = []
    starts, stops = bundle.events
    for at, stop in zip(starts[:1].tolist(), stops[:1].tolist(), strict=True):
        times += _number(blob, at, stop, 1)
    for at, stop in bundle.compact_sched:
        times += _first_packed(blob, at, stop)
    if not times:
        times = [time for at, stop in bundle.errors for time in _number(blob, at, stop, 1)]
    return min((time for time in times if 0 < time < TIME_LIMIT), default=None)


def error_ns(blob: Blob, span: Span) -> int | None:
    """The start time of the kernel page that Perfetto could not parse to its end."""
    return next(iter(_number(blob, *span, 1)), None)


def _number(blob: Blob, at: int, stop: int, number: int) -> list[int]:
    while at < stop:
        found = field_at(blob, at, stop)
        if found is None:
            return []
        if found[0][:2] == (number, VARINT):
            return [found[0].value]
        at = found[1]
    return []


def _first_packed(blob: Blob, at: int, stop: int) -> list[int]:
    """The first times of a CompactSched: of its switches and of its wakings."""
    times: list[int] = []
    while at < stop:
        found = field_at(blob, at, stop)
        if found is None:
            return times
        one, at = found
        if one.number in (SWITCH_TIMESTAMP, WAKING_TIMESTAMP) and one.wire == LENGTH and one.value:
            # The payload begins with a varint, as a field of number 1 would behind its tag.
            value = 0
            for i, byte in enumerate(blob.raw[one.payload : min(one.payload + 10, at)]):
                value |= (byte & 0x7F) << (7 * i)
                if byte < 0x80:
                    times.append(value)
                    break
    return times

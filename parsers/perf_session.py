"""What a perf.data says about its recording: events, host, clock, formats.

A file says it in its header (perf_header.py), a pipe in records between the others
(perf_records.py): HEADER_ATTR, HEADER_FEATURE, HEADER_TRACING_DATA; EVENT_UPDATE is in both.
Sources of truth: tools/perf/util/header.c, tools/lib/perf/include/perf/event.h of Linux 6.1 to
7.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from traceview.errors import UnsupportedError
from traceview.parsers.perf_attr import (
    MIN_ATTR_BYTES,
    WRITE_BACKWARD,
    Attr,
    Event,
    parse_attr,
)
from traceview.parsers.perf_features import DIR_FORMAT, READERS, TRACING_DATA
from traceview.parsers.perf_section import Section, text
from traceview.parsers.perf_tracing_data import parse_tracing_data
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from traceview.parsers.perf_tracing_data import TracingData

EVENT_UPDATE_NAME: Final = 2  # PERF_EVENT_UPDATE__NAME
MAX_IDS: Final = 1 << 20  # in all: one per event and CPU or thread
MAX_FEATURE_BYTES: Final = 32 * 1024 * 1024  # the formats of all events of a kernel take 3 MB
ARM64: Final = ("aarch64", "arm64")


@dataclass(slots=True)
class Session:
    """What is known of the recording so far. `path` names the file in errors."""

    path: str
    events: list[Event] = field(default_factory=list)
    by_id: dict[int, Event] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    tracing: TracingData | None = None
    cpuid: str | None = None
    unreadable: list[str] = field(default_factory=list)  # sections that are damaged

    def feature(self, number: int, content: memoryview) -> None:
        """Take in a feature of the header. Raises UnsupportedError for what cannot be read."""
        if number == DIR_FORMAT:
            raise UnsupportedError(
                "this is one file of a directory that perf record --threads wrote; the others hold"
                " the events (record without --threads)",
                path=self.path,
            )
        if len(content) > MAX_FEATURE_BYTES:
            self.unreadable.append(f"feature {number} ({len(content)} bytes)")
        elif number == TRACING_DATA:
            self.tracing_data(bytes(content))
        elif number in READERS:
            try:
                READERS[number](self, Section(content))
            except ValueError as err:
                self.unreadable.append(f"feature {number} ({err})")

    def add_attr(self, content: bytes, ids: list[int]) -> None:
        """Take in an event: its attr, and the ids of its records."""
        try:
            event = Event(parse_attr(content))
        except ValueError as err:
            self.unreadable.append(str(err))
            return
        self.events.append(event)
        self._add_ids(event, ids)

    def _add_ids(self, event: Event, ids: list[int]) -> None:
        """Let *ids* mean *event*, where they mean none yet."""
        if len(self.by_id) + len(ids) > MAX_IDS:
            self.unreadable.append(f"{len(ids)} ids of an event, beyond {MAX_IDS} in all")
            return
        for one in ids:
            self.by_id.setdefault(one, event)
        event.has_ids |= bool(ids)

    def header_attr(self, payload: bytes) -> None:
        """PERF_RECORD_HEADER_ATTR: an attr, as long as it says, then ids."""
        size = int.from_bytes(payload[4:8], "little")
        size = max(size, MIN_ATTR_BYTES)
        ids = payload[size:]
        self.add_attr(payload[:size], Section(ids).u64s(len(ids) // 8))

    def event_update(self, payload: bytes) -> None:
        """PERF_RECORD_EVENT_UPDATE: one of them names the event with that id."""
        section = Section(payload)
        if section.left < 16 or section.u64() != EVENT_UPDATE_NAME:
            return
        event = self.by_id.get(section.u64())
        if event is not None:
            event.name = text(section.take(section.left))

    def tracing_data(self, content: bytes) -> None:
        """HEADER_TRACING_DATA. Raises UnsupportedError for other than 64-bit little-endian."""
        found = parse_tracing_data(content)
        if found.big_endian or found.long_size != 8:
            raise UnsupportedError(
                "recorded on a big-endian or 32-bit kernel; little-endian 64-bit ones are read",
                path=self.path,
            )
        self.tracing = found
        if found.page_size:
            self.facts["page_size_bytes"] = found.page_size
        if found.damage:
            self.unreadable.append(f"tracing data ({found.damage})")

    @property
    def overwrites(self) -> bool:
        """Whether buffers kept their last records only (perf record --overwrite)."""
        return any(event.attr.flags & WRITE_BACKWARD for event in self.events)

    @property
    def sampled(self) -> list[Event]:
        """Tracepoints and probes of which not every hit was recorded (perf record -F)."""
        return [one for one in self.events if one.is_tracepoint and one.attr.skips_hits]

    def final_facts(self) -> dict[str, Any]:
        """Columns of schema.SOURCES."""
        loss_known = not (self.overwrites or self.sampled)
        facts = {"tracer": "perf", "loss_known": loss_known, **self.facts}
        if self.cpuid and facts.get("machine") in ARM64:
            facts["midr"] = self.cpuid
        clocks = dict.fromkeys(event.attr.clock for event in self.events)
        if clocks:
            facts["clock"] = ", ".join(clocks)
        return facts

    def name_events(self) -> None:
        """Name tracepoints that nobody named by the id of their format."""
        formats = self.tracing.formats if self.tracing else []
        names = {one.id: f"{one.system}:{one.name}" for one in formats}
        for event in self.events:
            if event.is_tracepoint and not event.name:
                event.name = names.get(event.attr.config)

    def diagnostics(self) -> list[Diagnostic]:
        """What is missing or cannot be read."""
        found = []
        if self.unreadable:
            message = f"parts of the header cannot be read: {'; '.join(self.unreadable[:4])}"
            found.append(
                Diagnostic("damaged-header", "warning", message, len(self.unreadable))
            )  # fmt: skip
        if self.tracing is not None:
            found += self.tracing.diagnostics
        if self.overwrites:
            message = (
                "recorded with --overwrite: the buffer of each CPU holds its last events only; how"
                " many are gone, and from when on, nobody counted"
            )
            found.append(Diagnostic("overwritten", "warning", message))
        if self.tracing is None and any(event.is_tracepoint for event in self.events):
            message = (
                "the file has no tracing data (it was cut off, or perf record did not end in"
                " order), so what tracepoints and probes recorded cannot be read: only that they"
                " occurred, and when"
            )
            found.append(Diagnostic("no-tracing-data", "warning", message))
        return found

    def describe(self, number: int, attr: Attr, name: str, ids: list[int]) -> None:
        """Name the event with one of *ids*, or the one at that place; make it if it is new."""
        event = next((self.by_id[one] for one in ids if one in self.by_id), None)
        if event is None and number < len(self.events) and not self.events[number].has_ids:
            event = self.events[number]
        if event is None:
            event = Event(attr)
            self.events.append(event)
        event.name = name
        self._add_ids(event, ids)

"""Samples of perf.data -> chunks of events.

A tracepoint or probe has the kernel's raw record in its RAW data, decoded as in a trace.dat
(records.py); task, CPU and time are the sample's own. Anything else is a sampling event: an
address, a cpumode, a callchain. The callchain of a tracepoint is not read: it is no statistical
evidence.

A cpumode of guest says that a vCPU was loaded. On arm64 with VHE that holds for host code inside
KVM_RUN too, so these samples are kept and counted; perf script hides them.

Source of truth: include/uapi/linux/perf_event.h of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers import perf_attr as a
from traceview.parsers.chunks import NO_TID, Chunk, Numbers, Samples, Texts, joined_chunks
from traceview.parsers.classes import Class
from traceview.parsers.perf_columns import callchains, read_samples
from traceview.parsers.perf_layout import UNKNOWN
from traceview.parsers.perf_probe_names import ProbeNames
from traceview.parsers.perf_records import SAMPLE
from traceview.parsers.record_kinds import PROBE_FIELDS
from traceview.parsers.records import RecordDecoder, Records

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.parsers.classes import Classes
    from traceview.parsers.columns import Ints, Words
    from traceview.parsers.event_format import EventFormat
    from traceview.parsers.names import Names
    from traceview.parsers.perf_attr import Event
    from traceview.parsers.perf_columns import Columns
    from traceview.parsers.perf_layout import Layouts
    from traceview.parsers.perf_records import Window
    from traceview.parsers.perf_session import Session
    from traceview.trace import Diagnostic, Want

CPUMODE_MASK: Final = 7
CPUMODES: Final = 6  # PERF_RECORD_MISC_CPUMODE_UNKNOWN to GUEST_USER, the order of schema.CPUMODES
GUEST_KERNEL: Final = 4

RAW_RECORD, PLAIN, SAMPLING = range(3)  # what the samples of an event hold


class SampleDecoder:
    """Decodes the samples of one window after the other."""

    def __init__(
        self, session: Session, layouts: Layouts, want: Want, names: Names, classes: Classes
    ) -> None:
        """Decide what to do with the samples of each event."""
        tracing = session.tracing
        self._formats = {one.id: one for one in tracing.formats} if tracing else {}
        self._records = RecordDecoder(
            self._formats.values(), want, names, classes,
            tracing.kallsyms if tracing else None, tracing.printk if tracing else {},
        )  # fmt: skip
        self._layouts, self._want, self._classes = layouts, want, classes
        self._how = np.array([self._way(one) for one in session.events], dtype=np.int64)
        self._class = [self._class_of(one) for one in session.events]
        self._code = np.array([classes.code(one) for one in self._class], dtype=np.uint32)
        self._period = np.array([one.attr.period for one in session.events], dtype=np.uint64)
        self.probes = ProbeNames(self._formats.values(), want, classes)
        self.unknown_ids = 0
        self.damaged = 0
        self.guest = 0

    def diagnostics(self) -> list[Diagnostic]:
        """What was found wrong with raw records, and how probes got their names."""
        return [*self._records.diagnostics(), *self.probes.assumed.diagnostics()]

    def decode(self, window: Window, first: int) -> Chunk:
        """The samples of *window* that are wanted; *first*: the number of its first record."""
        words, heads = window.words, window.heads
        rows = np.flatnonzero(heads.astype(np.uint32) == SAMPLE)
        at, length = window.at[rows], window.length[rows]
        event = self._layouts.events_of_samples(words, at, length)
        columns = read_samples(self._layouts, words, at, length, event)
        unknown = event == UNKNOWN
        bad = columns.bad | unknown
        if bad.any():
            self.unknown_ids += int(unknown.sum())
            self.damaged += int((columns.bad & ~unknown).sum())
            keep = np.flatnonzero(~bad)
            rows, event, columns = rows[keep], event[keep], columns.take(keep)
        if not self._layouts.have_time:
            columns.ts_ns = first + rows
        mode = (heads[rows] >> 32).astype(np.uint8) & np.uint8(CPUMODE_MASK)
        self.guest += int(((mode >= GUEST_KERNEL) & (mode < CPUMODES)).sum())
        return self._chunk(words, columns, event, mode)

    def _way(self, event: Event) -> int:
        """What the samples of *event* hold."""
        if not event.is_tracepoint:
            return SAMPLING
        has_raw = event.attr.sample_type & a.RAW and event.attr.config in self._formats
        return RAW_RECORD if has_raw else PLAIN

    def _class_of(self, event: Event) -> Class:
        """The class of the events of *event*, but for those in raw records."""
        if not event.is_tracepoint:
            return Class(event.label, None, "instant", "sample")
        name = event.label.rpartition(":")[2]
        phase = _probe_phase(self._formats.get(event.attr.config))
        if phase:
            return Class(name, None, phase, "kprobe")
        return Class(name, None, "instant", "tracepoint")

    def _chunk(self, words: Words, columns: Columns, event: Ints, mode: NDArray[np.uint8]) -> Chunk:
        """All events, in the order of the file."""
        how = self._how[event]
        present = np.flatnonzero(np.bincount(how)).tolist()
        if present == [RAW_RECORD]:
            return self._raw(words, columns)[0]
        parts, places = [Chunk.blank(columns.ts_ns[:0])], [how[:0]]
        for way in present:
            mine = np.flatnonzero(how == way)
            part = columns.take(mine)
            if way == RAW_RECORD:
                chunk, which = self._raw(words, part)
            elif way == SAMPLING:
                chunk, which = self._sampling(words, part, event[mine], mode[mine])
            else:
                chunk, which = self._plain(part, event[mine])
            parts.append(chunk)
            places.append(mine[which])
        return in_order(joined_chunks(parts), np.concatenate(places))

    def _raw(self, words: Words, columns: Columns) -> tuple[Chunk, Ints]:
        """The events in raw records."""
        buffer = np.zeros(len(columns.ts_ns), dtype=np.uint32)
        records = Records(columns.raw, columns.raw_size, columns.ts_ns, columns.cpu, buffer)
        chunk, which = self._records.decode(words.view(np.uint8), records)
        tid = columns.tid[which]
        if (tid == NO_TID).any():  # the task has left its process; the record has its number still
            tid = np.where(tid == NO_TID, chunk.tid, tid)
        return replace(chunk, tid=tid, what=self.probes.named(chunk.what)), which

    def _sampling(
        self, words: Words, columns: Columns, event: Ints, mode: NDArray[np.uint8]
    ) -> tuple[Chunk, Ints]:
        """The samples of sampling events."""
        rows = np.arange(len(event))
        frames, ip = callchains(words, columns)
        period = np.where(columns.period == 0, self._period[event].view(np.int64), columns.period)
        samples = Samples(rows, np.where(mode < CPUMODES, mode, 0), period, frames, ip)
        chunk = Chunk.blank(
            columns.ts_ns, cpu=columns.cpu, tid=columns.tid, what=self._code[event],
            probe_ip=columns.ip, samples=samples,
        )  # fmt: skip
        return chunk, rows

    def _plain(self, columns: Columns, event: Ints) -> tuple[Chunk, Ints]:
        """Tracepoints and probes of which nothing is known but that they occurred."""
        wanted = np.array([self._is_wanted(one) for one in self._class], dtype=np.bool_)[event]
        skipped = Counter(self._class[one].name for one in event[~wanted].tolist())
        which = np.flatnonzero(wanted)
        event, columns = event[which], columns.take(which)
        # A probe on a function's entry is where the function is; a return is at its caller.
        entry = np.array([one.phase == "entry" for one in self._class], dtype=np.bool_)[event]
        chunk = Chunk.blank(
            columns.ts_ns, cpu=columns.cpu, tid=columns.tid,
            what=self.probes.named(self._code[event]),
            probe_ip=np.where(entry, columns.ip, np.uint64(0)), skipped=dict(skipped),
        )  # fmt: skip
        return chunk, which

    def _is_wanted(self, one: Class) -> bool:
        if self._want.all_events or one.evidence != "tracepoint":
            return True
        return self._want.vocabulary.wants_event(one.name)


def _probe_phase(event: EventFormat | None) -> str | None:
    """The phase of a probe with that format, None where it is none."""
    phases = (phase for name, phase in PROBE_FIELDS.items() if event and event.field(name))
    return next(phases, None)


def in_order(chunk: Chunk, places: Ints) -> Chunk:
    """*chunk* with its events in the order of *places*."""
    order = np.argsort(places, kind="stable")
    if (order[1:] > order[:-1]).all():
        return chunk
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    numbers, texts, samples = chunk.numbers, chunk.texts, chunk.samples
    return replace(
        chunk,
        **{name: column[order] for name, column in chunk.columns().items()},
        numbers=Numbers(place[numbers.row], numbers.name, numbers.value),
        texts=Texts(place[texts.row], texts.name, texts.text),
        samples=replace(samples, row=place[samples.row]),
    )

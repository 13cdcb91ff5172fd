"""The events of `perf script` text, chunk by chunk: what is on a line becomes rows of a batch.

What outlives a chunk is the state of `Reader`. Records that are no events (PERF_RECORD_*) are
counted by type, but for losses. Sources of truth: tools/perf/builtin-script.c (process_event,
print_event_with_time), tools/perf/util/event.c (perf_event__fprintf), 4.4 to 7.2.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.errors import UnsupportedError
from traceview.parsers.ftrace_event_text import EventText
from traceview.parsers.ftrace_header import Header
from traceview.parsers.ftrace_loss_text import Hole
from traceview.parsers.ftrace_text_lines import Lines, distinct
from traceview.parsers.ftrace_text_rows import NONE, Found, looked_up
from traceview.parsers.perf_script_chain import (
    BELOW,
    PayloadEnds,
    find_frames,
    name_probes_by_frame,
    read_frames,
    sample_rows,
)
from traceview.parsers.perf_script_checks import Shapes, Times
from traceview.parsers.perf_script_head import EVENT, NAMELESS, SIDE_BAND, TIMELESS, HeadReader
from traceview.parsers.perf_script_notes import NAME_TEXT, Notes, comments
from traceview.parsers.text_batch import TextBatch
from traceview.schema import CPUMODES
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from traceview.parsers.ftrace_loss_text import Lost
    from traceview.parsers.ftrace_text_lines import Mask
    from traceview.parsers.perf_script_chain import Frames
    from traceview.parsers.perf_script_head import ScriptHeads
    from traceview.parsers.perf_script_probes import ProbeNames
    from traceview.trace import Batch, Want

SHOWN_TYPES: Final = 30

RECORD: Final = r"^(PERF_RECORD_[A-Z0-9_]{2,30}|DEFERRED CALLCHAIN)"
LOST: Final = re.compile(r"PERF_RECORD_LOST lost (\d{1,18})")
GUEST_MODES: Final = [CPUMODES.index(mode) for mode in ("guest_kernel", "guest_user")]
NEEDED: Final = "perf script -F +time,+event prints them"


@dataclass(slots=True)
class Reader:
    """The state between chunks, and the batch that is being filled."""

    want: Want
    path: str
    probes: ProbeNames
    heads: HeadReader = field(default_factory=HeadReader)
    notes: Notes = field(default_factory=Notes)
    event_text: EventText = field(init=False)
    tracepoints: int = 0
    without_payload: int = 0
    loss_lines: int = 0
    of_host: bool = False
    shows_guest: bool = False
    times: Times = field(default_factory=Times)
    shapes: Shapes = field(default_factory=Shapes)
    ends: PayloadEnds = field(default_factory=PayloadEnds)
    records: Counter[str] = field(default_factory=Counter)
    filling: TextBatch = field(init=False)

    def __post_init__(self) -> None:
        self.filling = TextBatch(self.want.batch_events)
        self.event_text = EventText(self.want, Header())

    def take(self, chunk: bytes) -> None:
        """Read a chunk of whole lines into the batch."""
        lines = Lines(chunk)
        found = Found()
        self.notes.read_header(lines, comments(lines))
        heads = self.heads.read(lines)
        frames = self._without_head(lines, heads, found)
        found.unparsed.append(heads.heads.line[heads.kind == NAMELESS])
        self._refuse(lines, heads, found)
        lost = self._side_band(lines, heads.take(heads.kind == SIDE_BAND), found)
        samples, on_line = self._events(lines, heads.take(heads.kind == EVENT), frames, found)
        rows = found.rows()
        for some in (frames, on_line):
            rows = name_probes_by_frame(rows, some)
        rows = self.probes.named(rows)
        self.of_host |= bool((rows["evidence"] == "kprobe").any())
        self.filling.add(lines, found, rows, lost, samples)
        self._refuse_differences()

    def _without_head(self, lines: Lines, heads: ScriptHeads, found: Found) -> Frames:
        """Read the lines that begin no event; return those that are frames of call chains."""
        rest = np.ones(len(lines), np.bool_)
        rest[heads.heads.line] = False
        index = np.flatnonzero(rest)
        is_frame, ip = find_frames(lines, index)
        frame_at, index = index[is_frame], index[~is_frame]
        texts = lines.text(lines.starts[index], lines.ends[index])
        below = texts.str.contains(BELOW).to_numpy()
        # What belongs to an event comes without anything else in between.
        owner = np.arange(len(lines))
        owner[frame_at], owner[index[below]] = -1, -1
        owner = np.maximum.accumulate(owner)
        owned = (owner >= 0) & ~rest[owner]
        said = self.notes.read_messages(texts)
        blank = (texts.str.strip_chars(" \t\r") == "") | texts.str.starts_with("#")
        known = blank.to_numpy() | said | (below & owned[index])
        known |= self._count_records(texts, ~known)
        mine = owned[frame_at]
        found.unparsed += [index[~known], frame_at[~mine]]
        return read_frames(lines, frame_at[mine], ip[mine], owner[frame_at[mine]])

    def _count_records(self, texts: pl.Series, among: Mask) -> Mask:
        """Count records that are no events, by type; return which of *texts* are some."""
        types = texts.str.extract(RECORD)
        among = among & types.is_not_null().to_numpy()
        for name, count in types.filter(among).value_counts().iter_rows():
            self.records[name.removeprefix("PERF_RECORD_")] += count
        return among

    def _side_band(self, lines: Lines, heads: ScriptHeads, found: Found) -> list[Lost]:
        """Count records of other types; return the losses that they state."""
        body, end = heads.heads.body, heads.heads.end
        texts = lines.text(body, end)
        is_loss = texts.str.starts_with("PERF_RECORD_LOST ").to_numpy()
        self._count_records(texts, ~is_loss)
        lost: list[Lost] = []
        rows = np.flatnonzero(is_loss)
        for row, text in zip(rows.tolist(), texts.gather(rows), strict=True):
            line, cpu = int(heads.heads.line[row]), int(heads.heads.cpu[row])
            if match := LOST.fullmatch(text.rstrip()):
                lost.append((line, None if cpu == NONE else cpu, int(match[1])))
            else:
                found.unparsed.append(heads.heads.line[row : row + 1])
        self.loss_lines += len(lost)
        return lost

    def _events(
        self, lines: Lines, heads: ScriptHeads, frames: Frames, found: Found
    ) -> tuple[pl.DataFrame, Frames]:
        """Read events; return the rows of samples, and the addresses on lines of others."""
        self.times.take(heads.heads.ts_ns)
        self.shows_guest |= bool(np.isin(heads.cpumode, GUEST_MODES).any())
        index, names = distinct(lines.text(heads.heads.body, heads.name_end))
        whole = self.shapes.are_whole(heads.shape, index, names)
        printable = [NAME_TEXT.fullmatch(name) is not None for name in names]
        whole &= np.array(printable, np.bool_)[index]
        found.unparsed.append(heads.heads.line[~whole])
        heads, index = heads.take(whole), index[whole]
        sampled = np.array([self.notes.is_sampled(name) for name in names], np.bool_)[index]
        payload = np.minimum(heads.name_end + 1, heads.heads.end)
        payload += lines.spaces_after(payload)
        sampled &= ~lines.has(payload, "(")  # a probe, whatever it is called
        name = looked_up([*names], index[sampled])
        rows, ips = sample_rows(lines, heads.take(sampled), frames, name)
        found.add(heads.heads.take(sampled), "sample", name=name, phase="instant", probe_ip=ips)
        others = heads.take(~sampled)
        self.probes.take(others.heads.line, names, index[~sampled])
        others.heads.end, on_line = self.ends.read(lines, others)
        self.tracepoints += others.heads.line.size
        self.without_payload += int((payload[~sampled] >= others.heads.end).sum())
        self.event_text.read(lines, others.heads, found)
        self.of_host |= any(name.startswith("kvm:") for name in names)
        return rows, on_line

    def _refuse(self, lines: Lines, heads: ScriptHeads, found: Found) -> None:
        """Raise UnsupportedError if there was no event yet, and these lines show why."""
        events = int((heads.kind == EVENT).sum())
        if self.filling.saw_events or not found.unparsed:
            return
        nameless = int((heads.kind == NAMELESS).sum())
        if nameless > max(events, 1):  # one may be the end of a file that was cut
            raise UnsupportedError(f"the events have no names\n{NEEDED}", path=self.path)
        rows = found.unparsed_lines()
        texts = lines.text(lines.starts[rows], lines.ends[rows])
        texts = texts.filter(~texts.str.starts_with("\t"))
        if not events and texts.str.contains(TIMELESS).sum() * 2 > len(texts):
            raise UnsupportedError(f"the events have no times\n{NEEDED}", path=self.path)

    def _refuse_differences(self) -> None:
        if self.times.are_differences:
            raise UnsupportedError(
                "the times are differences from event to event\n"
                "perf script without --deltatime prints times",
                path=self.path,
            )

    def finish(self) -> None:
        """The file ends: what is still open will not be closed."""
        self.filling.close_losses()
        if self.notes.lost and not self.loss_lines:
            self.filling.holes.append(Hole("lost_events", None, None))

    def batch(self, diagnostics: tuple[Diagnostic, ...] | None = None) -> Batch:
        """What was read since the last batch; *diagnostics* of the source end the trace."""
        facts = {"loss_known": self._loss_known, **self.notes.facts}
        if self.heads.resolution_ns is not None:
            facts["ts_resolution_ns"] = self.heads.resolution_ns
        if traced := self.probes.assumed.traced():
            facts["traced"] = traced
        found = () if diagnostics is None else (*diagnostics, *self._diagnostics())
        return self.filling.taken(facts, found)

    @property
    def _loss_known(self) -> bool:
        return bool(self.loss_lines or self.notes.lost)

    def _diagnostics(self) -> Iterator[Diagnostic]:
        yield from self.filling.about_unparsed()
        yield from self.notes.diagnostics()
        yield from self.probes.assumed.diagnostics()
        yield from self.filling.about_no_events()
        if self.filling.saw_events and not self._loss_known:
            yield Diagnostic(
                "losses-not-shown",
                "info",
                "the text shows no loss: perf script prints losses only with --show-lost-events",
            )
        if self.of_host and not self.shows_guest and not self.notes.guest_samples:
            yield Diagnostic(
                "guest-cpumode",
                "info",
                "perf script prints no records with guest cpumode, which on arm64 is also the"
                " host's own code while a vCPU is loaded: if there were any, they are missing here",
            )
        if self.records:
            shown = sorted(self.records.most_common(SHOWN_TYPES))
            types = ", ".join(f"{name} {count}" for name, count in shown)
            yield Diagnostic(
                "records-not-used",
                "info",
                f"records that say nothing of events, by type: {types}",
                self.records.total(),
            )
        if self.tracepoints and self.without_payload == self.tracepoints:
            yield Diagnostic(
                "no-payloads",
                "warning",
                "the text says nothing of its events but their names, so that probes cannot be"
                " recognised: perf script -F +trace prints what they recorded",
                self.tracepoints,
            )
        yield from self.times.diagnostics()

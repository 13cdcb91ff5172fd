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
import polars as pl

from traceview.errors import UnsupportedError
from traceview.parsers.ftrace_event_text import EventText
from traceview.parsers.ftrace_header import Header
from traceview.parsers.ftrace_loss_text import Hole, Losses, loss_rows
from traceview.parsers.ftrace_text_lines import Lines, distinct
from traceview.parsers.ftrace_text_rows import EVENT_ROWS, NONE, Found, looked_up
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
from traceview.schema import ARGS, CPUMODES, EVENTS, SAMPLES, frame
from traceview.trace import Batch, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.parsers.ftrace_loss_text import Lost
    from traceview.parsers.ftrace_text_lines import Mask
    from traceview.parsers.perf_script_chain import Frames
    from traceview.parsers.perf_script_head import ScriptHeads
    from traceview.trace import Want

SHOWN_CHARS: Final = 100
SHOWN_TYPES: Final = 30
ARGS_PER_EVENT: Final = 2  # a batch is full, too, when it has so many arguments

RECORD: Final = r"^(PERF_RECORD_[A-Z0-9_]{2,30}|DEFERRED CALLCHAIN)"
LOST: Final = re.compile(r"PERF_RECORD_LOST lost (\d{1,18})")
GUEST_MODES: Final = [CPUMODES.index(mode) for mode in ("guest_kernel", "guest_user")]
NEEDED: Final = "perf script -F +time,+event prints them"


@dataclass(slots=True)
class Reader:
    """The state between chunks, and the batch that is being filled."""

    want: Want
    path: str
    heads: HeadReader = field(default_factory=HeadReader)
    notes: Notes = field(default_factory=Notes)
    event_text: EventText = field(init=False)
    losses: Losses = field(default_factory=Losses)
    line: int = 1
    seq: int = 0
    skipped_events: int = 0
    unparsed: int = 0
    first_unparsed: str = ""
    tracepoints: int = 0
    without_payload: int = 0
    loss_lines: int = 0
    of_host: bool = False
    shows_guest: bool = False
    times: Times = field(default_factory=Times)
    shapes: Shapes = field(default_factory=Shapes)
    ends: PayloadEnds = field(default_factory=PayloadEnds)
    events: list[pl.DataFrame] = field(default_factory=list)
    args: list[pl.DataFrame] = field(default_factory=list)
    samples: list[pl.DataFrame] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
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
        self._count_unparsed(lines, found)
        self._store(lines, found, lost, (frames, on_line), samples)
        self.line += len(lines)
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
        others.heads.end, on_line = self.ends.read(lines, others)
        self.tracepoints += others.heads.line.size
        self.without_payload += int((payload[~sampled] >= others.heads.end).sum())
        self.event_text.read(lines, others.heads, found)
        self.of_host |= any(name.startswith("kvm:") for name in names)
        return rows, on_line

    def _refuse(self, lines: Lines, heads: ScriptHeads, found: Found) -> None:
        """Raise UnsupportedError if there was no event yet, and these lines show why."""
        events = int((heads.kind == EVENT).sum())
        if self.seq or self.skipped_events or not found.unparsed:
            return
        nameless = int((heads.kind == NAMELESS).sum())
        if nameless > max(events, 1):  # one may be the end of a file that was cut
            raise UnsupportedError(f"the events have no names\n{NEEDED}", path=self.path)
        rows = np.concatenate(found.unparsed)
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

    def _count_unparsed(self, lines: Lines, found: Found) -> None:
        rows = np.concatenate([np.zeros(0, np.int64), *found.unparsed])
        self.unparsed += rows.size
        if rows.size and not self.first_unparsed:
            first = rows.min(keepdims=True)
            text = lines.text(lines.starts[first], lines.ends[first])[0]
            shown = text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."
            self.first_unparsed = f"line {self.line + int(first[0])}: {shown!r}"

    def _store(
        self,
        lines: Lines,
        found: Found,
        lost: list[Lost],
        frames: tuple[Frames, Frames],
        samples: pl.DataFrame,
    ) -> None:
        rows = pl.concat([pl.DataFrame(schema=EVENT_ROWS), *found.events])
        if len(found.events) > 1:
            rows = rows.sort("line")
        for some in frames:
            rows = name_probes_by_frame(rows, some)
        self.of_host |= bool((rows["evidence"] == "kprobe").any())
        line = rows["line"].to_numpy()
        rows = rows.with_columns(seq=pl.Series(np.arange(self.seq, self.seq + line.size)))
        unparsed = np.concatenate([np.zeros(0, np.int64), *found.unparsed])
        self.holes += self.losses.place(lost, unparsed, line, rows)
        seq_of_line = np.full(len(lines), -1)
        seq_of_line[line] = np.arange(self.seq, self.seq + line.size)
        for args in found.args:
            seq = pl.Series("seq", seq_of_line[args["line"].to_numpy()])
            self.args.append(args.with_columns(seq).select(*ARGS))
        seq = pl.Series("seq", seq_of_line[samples["line"].to_numpy()])
        self.samples.append(samples.with_columns(seq).select(*SAMPLES))
        self.events.append(rows.select(*EVENTS))
        self.skipped += found.skipped
        self.skipped_events += found.skipped.total()
        self.seq += line.size

    @property
    def is_full(self) -> bool:
        """Whether the batch holds as much as the caller wants at once."""
        size = self.want.batch_events
        events = sum(map(len, self.events))
        return events >= size or sum(map(len, self.args)) >= ARGS_PER_EVENT * size

    def finish(self) -> None:
        """The file ends: what is still open will not be closed."""
        self.holes += self.losses.open
        self.losses.open = []
        if self.notes.lost and not self.loss_lines:
            self.holes.append(Hole("lost_events", None, None))

    def batch(self, diagnostics: tuple[Diagnostic, ...] | None = None) -> Batch:
        """What was read since the last batch; *diagnostics* of the source end the trace."""
        facts = {"loss_known": self._loss_known, **self.notes.facts}
        if self.heads.resolution_ns is not None:
            facts["ts_resolution_ns"] = self.heads.resolution_ns
        batch = Batch(
            events=pl.concat([frame("events"), *self.events]),
            args=pl.concat([frame("args"), *self.args]),
            losses=loss_rows(self.holes),
            samples=pl.concat([frame("samples"), *self.samples]),
            skipped=dict(self.skipped),
            facts=facts,
            diagnostics=() if diagnostics is None else (*diagnostics, *self._diagnostics()),
        )
        self.events, self.args, self.samples, self.holes = [], [], [], []
        self.skipped = Counter()
        return batch

    @property
    def _loss_known(self) -> bool:
        return bool(self.loss_lines or self.notes.lost)

    def _diagnostics(self) -> Iterator[Diagnostic]:
        if self.unparsed:
            yield Diagnostic(
                "unparsed-lines",
                "warning",
                f"{self.unparsed} lines were not understood, the first is {self.first_unparsed}",
                self.unparsed,
            )
        yield from self.notes.diagnostics()
        if self.seq == 0 and self.skipped_events == 0:
            yield Diagnostic("no-events", "warning", "the trace holds no events")
        elif not self._loss_known:
            yield Diagnostic(
                "losses-not-shown",
                "info",
                "the text shows no loss: perf script prints losses only with --show-lost-events",
            )
        if self.of_host and not self.shows_guest and not self.notes.guest_samples:
            yield Diagnostic(
                "guest-cpumode",
                "info",
                "perf script prints no samples with guest cpumode, which on arm64 is also the"
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

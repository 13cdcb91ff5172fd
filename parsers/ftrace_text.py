"""Text that ftrace prints: tracefs `trace` and `trace_pipe`, `trace-cmd report`, `perf ftrace`.

What is read: function_graph with every combination of its options, the function tracer, kprobe,
kretprobe and fprobe events with arguments, tracepoints, markers, stack traces, task switches, loss
lines, headers, and the instruction events of an emulator (ftrace_insn_text.py). One line is at
most one event; a leaf of function_graph (`f();`) is one `complete` event.

What text cannot say: function_graph text drops digits of a duration as it grows (the value is
exact as printed), has neither times nor tasks unless asked for, and never states loss; event lines
have microseconds, or nanoseconds if trace-cmd was asked; fprobes look like kprobes; the latency
format counts from the start of the trace and cuts names to 8 bytes, function_graph to 7.

A file is read in chunks of whole lines, and each chunk column by column (ftrace_text_lines.py);
what outlives a chunk is the state of `Reader`. Lines that are not understood are counted in the
diagnostic `unparsed-lines`. Sources of truth: see the modules of each part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_event_head import (
    MICROSECONDS,
    NANOSECONDS,
    NUMBER,
    RELATIVE,
    EventHeads,
    read_verbose,
)
from traceview.parsers.ftrace_event_text import EventText
from traceview.parsers.ftrace_graph_calls import CurrentTasks, OpenCalls, Switches, read_switches
from traceview.parsers.ftrace_graph_head import (
    GraphHeads,
    merged,
    read_bars,
    read_graph_heads,
    read_without_duration,
)
from traceview.parsers.ftrace_graph_text import GraphText
from traceview.parsers.ftrace_header import INTERESTING, Header
from traceview.parsers.ftrace_loss_text import Hole, read_losses
from traceview.parsers.ftrace_text_chunks import in_stack, whole_lines
from traceview.parsers.ftrace_text_lines import Lines, next_of
from traceview.parsers.ftrace_text_rows import NO_TIME, NONE, Found, joined
from traceview.parsers.source import CHUNK_BYTES
from traceview.parsers.text_batch import TextBatch, read_batches
from traceview.parsers.text_times import TimeOrder
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.parsers.ftrace_graph_calls import Task
    from traceview.parsers.ftrace_loss_text import Lost
    from traceview.parsers.ftrace_text_lines import Mask, Positions
    from traceview.parsers.ftrace_text_rows import Heads
    from traceview.parsers.source import Source
    from traceview.trace import Batch, Want

HEAD_LINES: Final = 200
LAYOUT: Final = r"^(?:#|cpus=\d|version = \d| ?=> | \(Overruns: )"

TRACER_LINE: Final = re.compile(rb"\s*# tracer: \S")
EVENT_BODY: Final = r"^(?:[\w.$/:-]+:(?: |$)|.* <-|<.*stack trace)"
CPUS_LINE: Final = re.compile(rb"\s*(?:version = \d+\s*\n)?cpus=\d+\s*$", re.MULTILINE)


def detect(head: bytes) -> bool:
    """Whether *head*, the start of a file, is ftrace text.

    A header line says so; otherwise at least half of the first lines must be lines of a trace,
    which `perf script` output, where a task is no `name-pid`, is not.
    """
    if TRACER_LINE.match(head):
        return True
    whole = head[: head.rfind(b"\n") + 1] or head
    lines = Lines(b"".join(whole.splitlines(keepends=True)[:HEAD_LINES]))
    told = CPUS_LINE.match(head) is not None
    events = EventHeads().read(lines, numbers_are_ns=told)
    known = np.zeros(len(lines), np.bool_)
    bodies = lines.text(events.body, events.end).str.contains(EVENT_BODY).to_numpy()
    known[events.line[(events.ts_ns != NO_TIME) & bodies]] = True
    known[read_graph_heads(lines, known).heads.line] = True
    rest = np.flatnonzero(~known)
    known[read_verbose(lines, rest).line] = True
    known[read_without_duration(lines, rest, bare=False).heads.line] = True
    known[read_switches(lines, rest).line] = True
    known[[line for line, *_ in read_losses(lines, rest)]] = True
    text = lines.text(lines.starts, lines.ends).str.strip_chars(" \t\r-")
    counted = ((text != "") & ~text.str.contains(r"^(?:#|=>|cpus=|version = )")).to_numpy()
    return bool(told and not counted.any()) or bool(
        known.any() and (known & counted).sum() * 2 >= counted.sum()
    )


def read(
    source: Source,
    want: Want,
    progress: Callable[[float], None],
    *,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Batch]:
    """Yield the batches of *source*; see Trace.batches."""
    reader = Reader(want)
    reader.tasks.first = _first_tasks(source, chunk_bytes)
    belongs = in_stack if want.all_events else None
    yield from read_batches(reader, source, progress, chunk_bytes, belongs)


def _first_tasks(source: Source, chunk_bytes: int) -> dict[int, Task]:
    """The task before the first switch of each CPU, if this is a graph without a task column.

    That switch may be anywhere in the file, so all of it is searched beforehand.
    """
    head = source.head()
    lines = Lines(head[: head.rfind(b"\n") + 1] or head)
    graph = read_graph_heads(lines, np.zeros(len(lines), np.bool_)).heads
    has_tasks = bool((graph.tid != NONE).any()) or b"TASK/PID" in head
    if has_tasks or (graph.line.size == 0 and b"# tracer: function_graph" not in head):
        return {}
    first: dict[int, Task] = {}
    for chunk in whole_lines(source.chunks(chunk_bytes=chunk_bytes)):
        if b" => " in chunk:
            lines = Lines(chunk)
            for cpu, task in read_switches(lines, _switch_lines(lines)).first_left().items():
                first.setdefault(cpu, task)
    return first


def _switch_lines(lines: Lines) -> Positions:
    equal = lines.positions("=")
    arrow = equal[lines.has(equal - 1, " => ")]
    line: Positions = np.unique(lines.line_of(arrow))
    return line[line >= 0]


@dataclass(slots=True)
class Reader:
    """The state between chunks, and the batch that is being filled."""

    want: Want
    header: Header = field(default_factory=Header)
    event_heads: EventHeads = field(default_factory=EventHeads)
    graph_text: GraphText = field(init=False)
    event_text: EventText = field(init=False)
    tasks: CurrentTasks = field(default_factory=CurrentTasks)
    open_calls: OpenCalls = field(default_factory=OpenCalls)
    times: TimeOrder = field(default_factory=TimeOrder)
    graph_times: bool = False
    filling: TextBatch = field(init=False)

    def __post_init__(self) -> None:
        self.filling = TextBatch(self.want.batch_events)
        self.graph_text = GraphText(self.want)
        self.event_text = EventText(self.want, self.header)

    def take(self, chunk: bytes) -> None:
        """Read a chunk of whole lines into the batch."""
        lines = Lines(chunk)
        self._headers(lines)
        found = Found()
        lost, stacks = self._lines(lines, found)
        if self.header.instructions:
            self._instructions(found)
        if self.want.all_events:
            _add_stacks(lines, stacks, found)
        self._store(lines, found, lost)

    def _instructions(self, found: Found) -> None:
        instructions = self.event_text.instructions
        instructions.decode_operands(found)
        if instructions.lpa2:
            self.header.facts["lpa2"] = True

    def _headers(self, lines: Lines) -> None:
        begins = lines.buffer[lines.starts] == ord("#")
        rows = np.flatnonzero(begins | lines.has(lines.starts, "cpus="))
        if rows.size:
            texts = lines.text(lines.starts[rows], lines.ends[rows])
            self.header.read(texts.filter(texts.str.contains(INTERESTING)).to_list())

    def _lines(self, lines: Lines, found: Found) -> tuple[list[Lost], Positions]:
        """Read every line; return the loss lines, and the lines that announce a stack trace."""
        heads = self.event_heads.read(lines, numbers_are_ns=self.header.trace_cmd)
        taken = np.zeros(len(lines), np.bool_)
        taken[heads.line] = True
        graph = read_graph_heads(lines, taken)
        taken[graph.heads.line] = True
        rest = np.flatnonzero(~taken)
        switches = read_switches(lines, np.intersect1d(rest, _switch_lines(lines)))
        lost = read_losses(lines, rest[lines.has(lines.starts[rest], "CPU:")])
        rest = rest[~_is_layout(lines, rest, switches, lost)]
        more = [heads]
        if rest.size:
            verbose = read_verbose(lines, rest)
            rest = np.setdiff1d(rest, verbose.line)
            more.append(verbose)
            if verbose.line.size:
                self.event_heads.kinds.add(MICROSECONDS)
            bare = self.header.tracer == "function_graph"
            short = read_without_duration(lines, rest, bare=bare)
            found.unparsed.append(np.setdiff1d(rest, short.heads.line))
            graph = merged(graph, short)
        self.tasks.assign(graph.heads, switches)
        more.append(self.graph_text.read(lines, graph, found, depths=False))
        columns, stacks = self.event_text.read(lines, joined(more), found)
        self._reported_graph(lines, columns, found)
        self.graph_times |= bool((graph.heads.ts_ns != NO_TIME).any())
        if lost:
            self.header.facts["loss_known"] = True
        return lost, stacks

    def _reported_graph(self, lines: Lines, heads: Heads, found: Found) -> None:
        """Add the function_graph events that trace-cmd prints as event lines."""
        pipes = next_of(lines.positions("|"), heads.body, heads.end)
        bars = read_bars(lines, pipes)
        bars.ok &= pipes < heads.end
        raw = heads.take(~bars.ok)
        heads, bars = heads.take(bars.ok), bars.take(bars.ok)
        heads.body = np.minimum(bars.at + 3, heads.end)
        graph = GraphHeads(heads, bars.duration_ns, bars.irq)
        self.graph_text.read(lines, graph, found, depths=True)
        self.graph_text.read_fields(lines, raw, found)

    def _store(self, lines: Lines, found: Found, lost: list[Lost]) -> None:
        rows = self.open_calls.name_exits(found.rows())
        if len(rows):
            self._add_overwritten()
        self.filling.add(lines, found, rows, lost)
        self.times.take(rows["ts_ns"].drop_nulls().to_numpy())

    def finish(self) -> None:
        """The file ends: what is still open will not be closed."""
        self._add_overwritten()
        self.filling.close_losses()

    def _add_overwritten(self) -> None:
        """What the header counts is missing before the first event."""
        if self.filling.seq == 0 and self.header.overwritten:
            hole = Hole("overwritten", None, self.header.overwritten)
            self.filling.losses.open.append(hole)

    def batch(self, diagnostics: tuple[Diagnostic, ...] | None = None) -> Batch:
        """What was read since the last batch; *diagnostics* of the source end the trace."""
        facts = dict(self.header.facts)
        kinds = self.event_heads.kinds
        if self.graph_times or kinds & {MICROSECONDS, RELATIVE}:
            facts["ts_resolution_ns"] = 1000
        elif NANOSECONDS in kinds or (NUMBER in kinds and self.header.trace_cmd):
            facts["ts_resolution_ns"] = 1
        found = () if diagnostics is None else (*diagnostics, *self._diagnostics())
        return self.filling.taken(facts, found)

    def _diagnostics(self) -> Iterator[Diagnostic]:
        kinds = self.event_heads.kinds
        yield from self.filling.about_unparsed()
        yield from self.filling.about_no_events()
        if RELATIVE in kinds:
            yield Diagnostic(
                "relative-times",
                "info",
                "times count from the start of the trace (option latency-format): they compare"
                " with no other source",
            )
        if NUMBER in kinds:
            yield _about_numbers(trace_cmd=self.header.trace_cmd)
        yield from self.times.diagnostics()


def _about_numbers(*, trace_cmd: bool) -> Diagnostic:
    if trace_cmd:
        message = "times are printed without a point: they are taken as nanoseconds"
        return Diagnostic("plain-number-times", "info", message)
    message = "times are printed without a point (trace_clock counter or cycles): they are no times"
    return Diagnostic("plain-number-times", "warning", message)


def _is_layout(
    lines: Lines,
    rows: Positions,
    switches: Switches,
    lost: list[Lost],
) -> Mask:
    """Which lines say nothing by themselves, or were read already."""
    texts = lines.text(lines.starts[rows], lines.ends[rows])
    known = np.isin(rows, switches.line) | np.isin(rows, [line for line, *_ in lost])
    layout = (texts.str.strip_chars(" \t\r-") == "") | texts.str.contains(LAYOUT)
    return layout.to_numpy() | known


def _add_stacks(lines: Lines, announced: Positions, found: Found) -> None:
    """Give each stack trace its functions, innermost first, one a line."""
    begins = np.flatnonzero(lines.has(lines.starts, "=> ") | lines.has(lines.starts, " => "))
    if announced.size == 0 or begins.size == 0:
        return
    # A stack's lines follow the line that announces it, and nothing else comes between.
    before = begins - np.arange(begins.size)
    first = begins[np.searchsorted(before, before)] - 1
    mine = np.isin(first, announced)
    start = lines.starts[begins[mine]]
    texts = lines.text(start + lines.spaces_after(start) + len("=> "), lines.ends[begins[mine]])
    joined_up = (
        pl.DataFrame({"line": first[mine], "text": texts.str.strip_chars(" ")})
        .group_by("line", maintain_order=True)
        .agg(pl.col("text").str.join("\n"))
    )
    found.add_args(joined_up["line"].to_numpy(), "stack", text=joined_up["text"])

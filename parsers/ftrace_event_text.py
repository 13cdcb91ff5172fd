"""What stands behind the time of an event line: `name: payload`, or `function <-caller`.

An event is a probe if its payload begins with a probe's location (ftrace_probe_text.py), and a
tracepoint otherwise. Tracepoints that nobody asked for are counted, not read. A marker is a line
of tracing_mark_write (tracefs) or print (trace-cmd).

Inside function_graph text an event is a comment: `/* name: payload */`, but a marker is its bare
words, which may begin with a word and a colon as well. A comment is an event if it names a probe's
location or a tracepoint of a known subsystem; otherwise its words are kept as a marker.

Sources of truth: kernel/trace/trace_output.c (trace_fn_trace, trace_print_print,
trace_func_repeats_print, trace_stack_print), trace_functions_graph.c (print_graph_comment), 5.10
to 7.x; libtraceevent plugins/plugin_function.c.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_argument_text import (
    ANY_FIELD,
    WantedArguments,
    matched_arguments,
    numbers,
)
from traceview.parsers.ftrace_insn_text import NAMES as INSTRUCTIONS
from traceview.parsers.ftrace_insn_text import InstructionText
from traceview.parsers.ftrace_probe_text import ProbeText
from traceview.parsers.ftrace_symbol_text import read_symbols
from traceview.parsers.ftrace_text_lines import copied, distinct, next_of
from traceview.parsers.ftrace_text_rows import Bodies, looked_up

if TYPE_CHECKING:
    from traceview.parsers.ftrace_header import Header
    from traceview.parsers.ftrace_probe_text import Located
    from traceview.parsers.ftrace_text_lines import Lines, Mask, Positions
    from traceview.parsers.ftrace_text_rows import Found, Heads
    from traceview.trace import Want

NAME_BYTES: Final = 64
EVENT_NAME: Final = re.compile(r"(?:[\w.-]+[:/])*([A-Za-z_][\w.$-]*)")
OTHER, MARKER, GRAPH, FUNCTION, STACK, INSTRUCTION, EVENT = range(7)
KINDS: Final = {
    "print": MARKER, "bprint": MARKER, "bputs": MARKER,
    "funcgraph_entry": GRAPH, "funcgraph_exit": GRAPH, "funcgraph_retaddr_entry": GRAPH,
    "function": FUNCTION, "func_repeats": FUNCTION,
    "kernel_stack": STACK, "user_stack": STACK,
}  # fmt: skip
MARK_WRITE: Final = re.compile(r"tracing_mark_write(?:\.\w+)*")
# What trace-cmd prints before the words of a marker: where they were written.
WRITER: Final = (
    r"^(?:tracing_mark_write[\w.]*: |[0-9a-f]{16}: |ip=\S+ (?:\(0x[0-9a-f]+\) )?(?:fmt=\S+ )?buf=)"
)
# Subsystems whose tracepoints are recognised inside a graph, beside those of the vocabulary. What
# is left out is kept as the words of a marker; what is wrongly in here would lose a marker.
SUBSYSTEMS: Final = re.compile(
    r"(?:hrtimer|hyp|ipi|irq|kvm|rcu|sched|softirq|sys_enter|sys_exit|tick|timer|vgic|workqueue)_\w+"
)
NAMED_NUMBER: Final = r"(?:^|[\s,(]){name}[=: ]\s*(0x[0-9a-fA-F]+|-?\d+)(?:[\s,)]|$)"
SWITCH_FIELDS: Final = (
    r"prev_comm=(?<prev_comm>.*?) prev_pid=(?<prev_pid>\d+) .*?prev_state=(?<prev_state>\S+)"
    r" (?:==> )?next_comm=(?<next_comm>.*?) next_pid=(?<next_pid>\d+)"
)
SWITCH_SHORT: Final = (
    r"^(?<prev_comm>.*?):(?<prev_pid>\d+) \[-?\d+\] (?<prev_state>\S+)"
    r" ==> (?<next_comm>.*?):(?<next_pid>\d+) \["
)


@dataclass(slots=True)
class EventText:
    """Reads event bodies into rows."""

    want: Want
    header: Header
    probes: ProbeText = field(init=False)
    instructions: InstructionText = field(init=False)

    def __post_init__(self) -> None:
        self.probes = ProbeText(WantedArguments(self.want))
        self.instructions = InstructionText(self.want)

    def read(self, lines: Lines, heads: Heads, found: Found) -> tuple[Heads, Positions]:
        """Add the events of *heads* to *found*.

        Returns the heads of trace-cmd's function_graph events, with their payload as body, and
        the lines that a stack trace follows.
        """
        bodies = self._bodies(lines, heads)
        located = self.probes.locate(lines, bodies, bodies.kind == EVENT)
        self._comments(bodies, located)
        of_kind = {
            kind: np.flatnonzero(bodies.kind == kind) for kind in np.unique(bodies.kind).tolist()
        }

        def of(*kinds: int) -> Positions:
            rows = [of_kind[kind] for kind in kinds if kind in of_kind]
            return np.sort(np.concatenate(rows)) if rows else np.zeros(0, np.int64)

        self._markers(lines, bodies.take(of(MARKER)), found)
        is_probe = located.found[of(EVENT)]
        probes, tracepoints = of(EVENT)[is_probe], of(EVENT)[~is_probe]
        evidence = "insn" if self.header.instructions else "kprobe"
        self.probes.read(lines, bodies.take(probes), located.take(probes), evidence, found)
        self._tracepoints(lines, bodies.take(tracepoints), found)
        self.instructions.read(lines, bodies.take(of(INSTRUCTION)), found)
        functions, stacks = of(OTHER, FUNCTION), of(STACK)
        if functions.size:
            is_stack = self._functions(lines, bodies.take(functions), found)
            stacks = np.sort(np.concatenate((stacks, functions[is_stack])))
        self._stacks(bodies.take(stacks), found)
        graph = bodies.take(of(GRAPH))
        graph.heads.body = graph.payload
        return graph.heads, heads.line[stacks]

    def _bodies(self, lines: Lines, heads: Heads) -> Bodies:
        colons = lines.positions(":")
        colons = colons[np.isin(lines.buffer[colons + 1], (ord(" "), ord("\n")))]
        colon = next_of(colons, heads.body, heads.end)
        named = (colon < heads.end) & (colon - heads.body <= NAME_BYTES)
        name, names = distinct(lines.text(heads.body, np.where(named, colon, heads.body)))
        kinds = [self._kind(text) for text in names]
        payload = np.minimum(colon + 1, heads.end)
        payload = np.minimum(payload + lines.spaces_after(payload), heads.end)
        kind = np.array(kinds, np.int64)[name]
        clean = [_event_name(text) or "" for text in names]
        return Bodies(heads, kind, name, clean, np.where(kind == OTHER, heads.body, payload))

    def _kind(self, text: str) -> int:
        name = _event_name(text)
        if name is None:
            return OTHER
        if MARK_WRITE.fullmatch(name):
            return MARKER
        if self.header.instructions and name in INSTRUCTIONS:
            return INSTRUCTION
        return KINDS.get(name, EVENT)

    def _comments(self, bodies: Bodies, located: Located) -> None:
        """Tell, inside a graph's comments, events from the bare words of a marker."""
        comment = bodies.heads.comment
        if not comment.any():
            return
        vocabulary = self.want.vocabulary
        known = [
            bool(SUBSYSTEMS.fullmatch(name)) or vocabulary.wants_event(name)
            for name in bodies.clean
        ]
        event = (bodies.kind == EVENT) & (located.found | np.array(known, np.bool_)[bodies.name])
        words = comment & ~event
        bodies.kind[words] = MARKER
        bodies.payload[words] = bodies.heads.body[words]

    def _markers(self, lines: Lines, bodies: Bodies, found: Found) -> None:
        names = [name if name in ("bprint", "bputs") else "print" for name in bodies.clean]
        # The words of a comment may begin with anything; that is no name.
        index = np.where(bodies.heads.comment, len(names), bodies.name)
        name = looked_up([*names, "print"], index)
        found.add(bodies.heads, "marker", name=name, phase="instant")
        words = copied(lines.text(bodies.payload, bodies.heads.end))
        if self.header.trace_cmd:
            words = words.str.replace(WRITER, "")
        found.add_args(bodies.heads.line, "buf", text=words)

    def _tracepoints(self, lines: Lines, bodies: Bodies, found: Found) -> None:
        wants = self.want.vocabulary.wants_event
        wanted = [self.want.all_events or wants(name) for name in bodies.clean]
        taken = np.array(wanted, np.bool_)[bodies.name]
        counts = np.bincount(bodies.name[~taken], minlength=len(bodies.clean))
        for name, count in zip(bodies.clean, counts.tolist(), strict=True):
            if count:
                found.skipped[name] += count
        bodies = bodies.take(taken)
        found.add(bodies.heads, "tracepoint", name=bodies.names(), phase="instant")
        is_switch = np.array([name == "sched_switch" for name in bodies.clean], np.bool_)[
            bodies.name
        ]
        self._switches(lines, bodies.take(is_switch), found)
        if self.want.all_events:
            bodies = self._fields(lines, bodies.take(~is_switch), found)
        for index, event in enumerate(bodies.clean):
            for argument in self.want.vocabulary.event_arguments(event):
                self._asked(lines, bodies.take(bodies.name == index), argument, found)

    def _asked(self, lines: Lines, bodies: Bodies, name: str, found: Found) -> None:
        """The number that follows *name* in a tracepoint's text: `name=1`, `name: 1`, `name 1`."""
        texts = lines.text(bodies.payload, bodies.heads.end)
        value = numbers(texts.str.extract(NAMED_NUMBER.format(name=re.escape(name))))
        line = bodies.heads.line[value.is_not_null().to_numpy()]
        found.add_args(line, name, value=value.drop_nulls())

    def _switches(self, lines: Lines, bodies: Bodies, found: Found) -> None:
        """The arguments of sched_switch, which trace-cmd prints in a form of its own."""
        texts = lines.text(bodies.payload, bodies.heads.end)
        full = texts.str.extract_groups(SWITCH_FIELDS).struct.unnest()
        short = texts.str.extract_groups(SWITCH_SHORT).struct.unnest()
        for name in ("prev_pid", "next_pid", "prev_comm", "next_comm", "prev_state"):
            column = full[name].zip_with(full[name].is_not_null(), short[name])
            line = bodies.heads.line[column.is_not_null().to_numpy()]
            column = column.drop_nulls()
            if name.endswith("_pid"):
                found.add_args(line, name, value=column.cast(pl.Int64))
            elif self.want.all_events:
                found.add_args(line, name, text=copied(column))

    def _fields(self, lines: Lines, bodies: Bodies, found: Found) -> Bodies:
        """The `name=value` pairs of tracepoints; the whole text of those that have none.

        Returned: those that have none.
        """
        texts = copied(lines.text(bodies.payload, bodies.heads.end))
        pairs = matched_arguments(texts, ANY_FIELD)
        value, text = pairs.values()
        names = looked_up([*pairs.names], pairs.name)
        found.add_args(bodies.heads.line[pairs.row], names, value=value, text=text)
        bare = np.ones(len(texts), np.bool_)
        bare[pairs.row] = False
        found.add_args(bodies.heads.line[bare], "text", text=texts.filter(bare))
        return bodies.take(np.flatnonzero(bare))

    def _functions(self, lines: Lines, bodies: Bodies, found: Found) -> Mask:
        """Function tracer lines. Returns which of *bodies* announce a stack trace instead."""
        start, end = bodies.payload, bodies.heads.end
        is_stack = lines.has(start, "<stack trace") | lines.has(start, "<user stack trace")
        less = lines.positions("<")
        arrow = next_of(less[lines.buffer[less + 1] == ord("-")], start, end)
        # `f <-g`, `f(a=1) <-g`, and without a parent only where the tracer is known.
        paren = next_of(lines.positions("("), start, arrow)
        stop = np.minimum(arrow, paren)
        stop = np.maximum(stop - lines.spaces_before(stop), start)
        symbols = read_symbols(lines.text(start, stop))
        alone = (bodies.kind == FUNCTION) | (self.header.tracer == "function")
        valid = symbols.valid & ((arrow < end) | alone) & ~is_stack
        found.unparsed.append(bodies.heads.line[~valid & ~is_stack])
        heads, symbols = bodies.heads.take(valid), symbols.take(valid)
        found.add(
            heads,
            "function",
            name="function",
            phase="entry",
            symbol=symbols.symbol,
            probe_ip=symbols.probe_ip,
        )
        if self.want.all_events:
            self._parents(lines, heads.line, arrow[valid], heads.end, found)
        return is_stack

    def _parents(
        self, lines: Lines, line: Positions, arrow: Positions, end: Positions, found: Found
    ) -> None:
        start = np.minimum(arrow + 2, end)
        start += np.where(start < end, lines.buffer[start] == ord("-"), 0)
        start = np.minimum(start + lines.spaces_after(start), end)
        stop = next_of(lines.positions("("), start, end)
        stop = np.maximum(stop - lines.spaces_before(stop), start)
        known = arrow < end
        found.add_args(line[known], "parent_ip", text=copied(lines.text(start, stop).filter(known)))

    def _stacks(self, bodies: Bodies, found: Found) -> None:
        """Stack traces are events of their own; their lines are added by ftrace_text.py."""
        if self.want.all_events:
            found.add(bodies.heads, "tracepoint", name="kernel_stack", phase="instant")
        elif bodies.heads.line.size:
            found.skipped["kernel_stack"] += bodies.heads.line.size


def _event_name(text: str) -> str | None:
    match = EVENT_NAME.fullmatch(text)
    return None if match is None else match[1]

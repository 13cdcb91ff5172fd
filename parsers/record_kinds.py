"""The kinds of events that records hold, and what each becomes.

A kprobe is known by its fields `__probe_ip`, or `__probe_func` and `__probe_ret_ip`, never by its
name; the tracers' own events by their names and the system `ftrace`. What lacks the fields that
make its kind is read as a tracepoint. Layouts of function_graph differ: a signed or unsigned depth
of 4 or 8 bytes, a return value (6.5), a return address (6.13: an event of its own) and the
argument registers up to the end of the record (6.14).

The address of a uprobe is one of a program: such an event is no call of a kernel function.
func_repeats says how often a function was called again and when last, not when in between: it is
counted (or a tracepoint, where all events are wanted), never expanded into calls.

Sources of truth: kernel/trace/trace_entries.h and trace_probe.h of Linux 5.10 to 7.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import polars as pl

from traceview.parsers.chunks import NO_DEPTH, NO_DURATION
from traceview.parsers.classes import Class
from traceview.parsers.record_arguments import Callers, FieldArguments, RegisterArguments
from traceview.parsers.record_fields import Layout, field_spans, text_column
from traceview.parsers.record_names import COMM_BYTES, AddressCodes
from traceview.parsers.record_texts import BinaryFormats
from traceview.parsers.task_states import state_texts
from traceview.symbols import ENTRY_SLACK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from traceview.parsers.columns import Ints, Words
    from traceview.parsers.event_format import EventFormat, Field
    from traceview.parsers.record_fields import Part
    from traceview.parsers.record_names import Codes
    from traceview.parsers.record_output import Context, Output

# The upper half of the address space is the kernel's.
KERNEL_ADDRESSES: Final = 1 << 63
FTRACE: Final = "ftrace"
PROBE_SLOT_BITS: Final = 6  # an event has few probes, but there may be thousands of events
# Stacks and raw writes of programs: no events of their own.
NEVER: Final = ("kernel_stack", "user_stack", "raw_data")
PROBE_FIELDS: Final = {"__probe_func": "exit", "__probe_ip": "entry"}
FPROBE_SYSTEM: Final = "fprobes"  # the default group; their records look like those of kprobes
DYNAMIC: Final = 0  # the size of a field that goes to the end of its record


class Kind(Protocol):
    """What to do with the records of one event."""

    def read(self, part: Part, out: Output) -> None:
        """Put the events of *part* into *out*."""
        ...


class Tracepoint:
    """An event that stands for itself; all its fields are arguments where all are wanted."""

    def __init__(self, event: EventFormat, context: Context) -> None:
        """Read all fields, or those that the vocabulary asks for."""
        asked = context.want.vocabulary.event_arguments(event.name)
        whole = context.want.all_events
        fields = [one for one in event.own_fields if whole or one.name in asked]
        self._code = context.classes.code(Class(event.name, None, "instant", "tracepoint"))
        self._arguments = FieldArguments(context, event, fields)
        self._layout = Layout(self._arguments.numbers)

    def read(self, part: Part, out: Output) -> None:
        """Put the events of *part* into *out*."""
        out.what[part.row] = self._code
        self._arguments.add(part, self._layout.read(part), out.what[part.row], out)


class Probe:
    """A kprobe, kretprobe or fprobe."""

    def __init__(self, event: EventFormat, context: Context, start: Field) -> None:
        """*start* holds the address: of the probe, or of the function that returns."""
        self._name, self._context = event.name, context
        self._phase = PROBE_FIELDS[start.name]
        self._evidence = "fprobe" if event.system == FPROBE_SYSTEM else "kprobe"
        hidden = () if context.want.all_events else ("__probe_ret_ip",)
        fields = [one for one in event.own_fields if one.name not in (start.name, *hidden)]
        returns = self._phase == "exit"
        self._arguments = FieldArguments(context, event, fields, is_probe=True, keep_all=returns)
        self._layout = Layout([start, *self._arguments.numbers])
        self._codes = AddressCodes(self._make, PROBE_SLOT_BITS)

    def read(self, part: Part, out: Output) -> None:
        """Put the events of *part* into *out*."""
        address, *columns = self._layout.read(part)
        what = self._codes.look_up(address.view(np.uint64))
        out.what[part.row] = what
        out.probe_ip[part.row] = address.view(np.uint64)
        self._arguments.add(part, columns, what, out)

    def _make(self, addresses: Words) -> Codes:
        functions = self._context.functions
        found = zip(
            addresses.tolist(), functions.names(addresses), functions.offsets(addresses).tolist(),
            strict=True,
        )  # fmt: skip
        return np.array([self._code(*one) for one in found], dtype=np.uint32)

    def _code(self, address: int, symbol: str | None, offset: int) -> int:
        if 0 < address < KERNEL_ADDRESSES:
            return self._context.classes.code(Class(self._name, None, "instant", "tracepoint"))
        inside = self._phase == "entry" and self._evidence == "kprobe" and symbol is not None
        phase = "instant" if inside and offset > ENTRY_SLACK_BYTES else self._phase
        return self._context.classes.code(Class(self._name, symbol, phase, self._evidence))


class FunctionEntry:
    """function_graph or the function tracer: a function begins."""

    def __init__(self, event: EventFormat, context: Context, function: Field) -> None:
        """*function* holds its address."""
        if event.name == "function":
            name, evidence, caller = "function", "function", "parent_ip"
        else:
            name, evidence, caller = "funcgraph_entry", "fgraph", "retaddr"
        self._codes = _function_codes(context, name, "entry", evidence)
        self._depth = _number(event, "depth") if evidence == "fgraph" else None
        called_from = _number(event, caller) if context.want.all_events else None
        self._callers = Callers(context) if called_from else None
        self._layout = Layout([one for one in (function, self._depth, called_from) if one])
        self._registers = _registers(event, context)

    def read(self, part: Part, out: Output) -> None:
        """Put the events of *part* into *out*."""
        function, *columns = self._layout.read(part)
        what = self._codes.look_up(function.view(np.uint64))
        out.what[part.row] = what
        out.probe_ip[part.row] = function.view(np.uint64)
        if self._depth:
            out.depth[part.row] = _depths(columns[0])
        if self._callers:
            self._callers.add(part, columns[-1], out)
        if self._registers:
            self._registers.add(part, what, out)


class GraphExit:
    """function_graph: a function returns. calltime and rettime are of the local clock, always."""

    def __init__(self, event: EventFormat, context: Context, func: Field) -> None:
        """*func* holds the function's address."""
        self._codes = _function_codes(context, "funcgraph_exit", "exit", "fgraph")
        times = [_number(event, "calltime"), _number(event, "rettime")]
        self._head = {"func": func, "depth": _number(event, "depth")}
        if all(times):
            self._head |= dict(zip(("calltime", "rettime"), times, strict=True))
        self._head["ret"] = _number(event, "retval")
        if context.want.all_events:
            self._head["overrun"] = _number(event, "overrun")
        self._head = {name: one for name, one in self._head.items() if one}
        self._layout = Layout([one for one in self._head.values() if one])
        self._arguments = {name: context.names.code(name) for name in ("ret", "overrun")}

    def read(self, part: Part, out: Output) -> None:
        """Put the events of *part* into *out*."""
        columns = dict(zip(self._head, self._layout.read(part), strict=True))
        func = columns["func"].view(np.uint64)
        out.what[part.row] = self._codes.look_up(func)
        out.probe_ip[part.row] = func
        if "depth" in columns:
            out.depth[part.row] = _depths(columns["depth"])
        if "calltime" in columns:
            out.duration_ns[part.row] = _durations(columns["calltime"], columns["rettime"])
        for name, code in self._arguments.items():
            if name in columns:
                out.add_numbers(part.row, code, columns[name])


class Switch:
    """sched_switch: it also says what the two tasks are called."""

    def __init__(self, event: EventFormat, context: Context, pids: tuple[Field, Field]) -> None:
        """*pids* are prev_pid and next_pid."""
        self._context = context
        self._code = context.classes.code(Class(event.name, None, "instant", "tracepoint"))
        self._pids = [context.names.code(one.name) for one in pids]
        names = ("prev_comm", "next_comm")
        self._comms = [event.field(name) for name in names]
        self._comm_codes = [context.names.code(name) for name in names]
        state = _number(event, "prev_state") if context.want.all_events else None
        self._state_code = context.names.code("prev_state") if state else None
        read = {*names, *(one.name for one in pids), *([state.name] if state else [])}
        fields = event.own_fields if context.want.all_events else ()
        rest = [one for one in fields if one.name not in read]
        self._arguments = FieldArguments(context, event, rest)
        head = [one for one in (*pids, state) if one]
        self._head = len(head)
        self._layout = Layout([*head, *self._arguments.numbers])

    def read(self, part: Part, out: Output) -> None:
        """Put the events of *part* into *out*."""
        columns = self._layout.read(part)
        out.what[part.row] = self._code
        for i, code in enumerate(self._pids):
            out.add_numbers(part.row, code, columns[i])
        for i, comm in enumerate(self._comms):
            if comm is not None and comm.kind == "text":
                self._name(part, comm, columns[i], self._comm_codes[i], out)
        if self._state_code is not None:
            out.add_texts(part.row, self._state_code, state_texts(columns[2]))
        self._arguments.add(part, columns[self._head :], out.what[part.row], out)

    def _name(self, part: Part, comm: Field, tid: Ints, code: int, out: Output) -> None:
        names = self._context.names
        rows = part.row
        if comm.size == COMM_BYTES:
            found = self._context.comms.look_up(part.data, part.start + comm.offset)
        else:
            spans, _ = field_spans(part, comm)
            found = names.codes(text_column(part.data, spans))
            rows, tid = rows[spans.at], tid[spans.at]
        out.add_comms(rows, tid, found)
        if self._context.want.all_events:
            out.add_texts(rows, code, names.column(found).cast(pl.String))


class Marker:
    """A write to trace_marker, or trace_printk: text at the end, or a format with its numbers."""

    def __init__(self, event: EventFormat, context: Context, text: Field) -> None:
        """*text*: the text itself, or the address of a format."""
        self._context, self._event, self._text = context, event.name, text
        self._code = context.classes.code(Class("print", None, "instant", "marker"))
        self._buf = context.names.code("buf")
        words = event.field("buf")
        self._formats = BinaryFormats(context, words if event.name == "bprint" else None)
        ip = _number(event, "ip") if context.want.all_events else None
        self._ip = context.names.code("ip") if ip else None
        self._layout = Layout([one for one in (text, ip) if one and one.kind == "number"])

    def read(self, part: Part, out: Output) -> None:
        """Put the events of *part* into *out*."""
        out.what[part.row] = self._code
        columns = self._layout.read(part)
        if self._text.kind == "number":
            rows, text = np.arange(len(part)), self._formats.render(part, columns[0])
        else:
            spans, bad = field_spans(part, self._text)
            if bad.any():
                self._context.trouble.fields[f"{self._event}.buf"] += int(bad.sum())
            rows, text = spans.at, text_column(part.data, spans)
        out.add_texts(part.row[rows], self._buf, text.str.strip_chars_end("\n"))
        if self._ip is not None:
            out.add_numbers(part.row, self._ip, columns[-1])


def kind_of(event: EventFormat, context: Context) -> Kind | None:
    """What to do with the records of *event*; None: they are counted only."""
    fields = {one.name: one for one in event.own_fields if one.kind == "number"}
    for name in PROBE_FIELDS:
        if name in fields:
            return Probe(event, context, fields[name])
    if event.system == FTRACE:
        if event.name in NEVER:
            return None
        found = _tracer_kind(event, context, fields)
        if found is not None:
            return found
    if event.name == "sched_switch" and {"prev_pid", "next_pid"} <= fields.keys():
        return Switch(event, context, (fields["prev_pid"], fields["next_pid"]))
    if context.want.all_events or context.want.vocabulary.wants_event(event.name):
        return Tracepoint(event, context)
    return None


def _tracer_kind(event: EventFormat, context: Context, fields: dict[str, Field]) -> Kind | None:
    """The kind of an event of the tracers themselves, None for those that are like tracepoints."""
    made: dict[str, tuple[Callable[[EventFormat, Context, Field], Kind], str]] = {
        "funcgraph_entry": (FunctionEntry, "func"),
        "fgraph_retaddr_entry": (FunctionEntry, "func"),
        "funcgraph_exit": (GraphExit, "func"),
        "function": (FunctionEntry, "ip"),
        "print": (Marker, "buf"),
        "bprint": (Marker, "fmt"),
        "bputs": (Marker, "str"),
    }
    if event.name not in made:
        return None
    kind, needed = made[event.name]
    start = fields.get(needed)
    if event.name == "print":
        start = next((one for one in event.own_fields if one.name == needed), None)
        start = start if start and start.kind == "text" else None
    if start is None:
        context.trouble.formats.append(f"{event.name} has no field {needed}")
        return None
    return kind(event, context, start)


def _number(event: EventFormat, name: str) -> Field | None:
    one = event.field(name)
    return one if one is not None and one.kind == "number" else None


def _registers(event: EventFormat, context: Context) -> RegisterArguments | None:
    args = event.field("args")
    usable = args is not None and args.kind == "array" and args.size == DYNAMIC
    return RegisterArguments(context, args) if args is not None and usable else None


def _function_codes(context: Context, name: str, phase: str, evidence: str) -> AddressCodes:
    def make(addresses: Words) -> Codes:
        classes = (
            Class(name, symbol, phase, evidence) for symbol in context.functions.names(addresses)
        )
        return np.array([context.classes.code(one) for one in classes], dtype=np.uint32)

    return AddressCodes(make)


def _depths(depth: Ints) -> Ints:
    return np.where((depth < 0) | (depth > np.iinfo(np.int32).max), NO_DEPTH, depth)


def _durations(called: Ints, returned: Ints) -> Ints:
    took = returned - called
    known = (returned.view(np.uint64) >= called.view(np.uint64)) & (took >= 0)
    return np.where(known, took, NO_DURATION)

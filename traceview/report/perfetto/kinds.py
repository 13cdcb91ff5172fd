"""What each kind of event is written as: a message that Perfetto knows, or one that says itself.

function_graph, markers and the tracepoints of the package's FtraceEvent are written as such, as
far as what was recorded fits their fields. Everything else describes itself
(`generic_event_descriptors`, Perfetto 50 and later). An event of a traced function does so too,
because Perfetto's kprobe_event has no arguments; its group says of what function it is, and by
what evidence: `traceview/EVIDENCE/PHASE/FUNCTION`, which parsers/perfetto_kinds.py reads.

Sources of truth: protos/perfetto/trace/ftrace/{ftrace_event,ftrace_event_bundle}.proto;
include/linux/sched.h for the letters of a task's state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.byte_columns import Pool
from traceview.protobuf_columns import Message, Number, Text, number

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traceview.byte_columns import Ints, Mask
    from traceview.protobuf_columns import Part

FIRST_DESCRIBED: Final = 65536  # below are the events that Perfetto knows
MOST_FIELDS: Final = 31  # trace_processor refuses descriptions with a higher field number
PROBES: Final = ("kprobe", "fprobe", "insn", "function")
# Messages of FtraceEvent that say of what kind the event is: no tracepoint of that name is one.
NO_TRACEPOINTS: Final = ("generic", "kprobe_event", "funcgraph_entry", "funcgraph_exit", "print")
STATE_LETTERS: Final = "SDTtXZPI"
PREEMPTED: Final = 1 << len(STATE_LETTERS)
I32: Final = (-(1 << 31), (1 << 31) - 1)
RANGES: Final = {
    FieldDescriptorProto.TYPE_INT32: I32,
    FieldDescriptorProto.TYPE_ENUM: I32,
    FieldDescriptorProto.TYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptorProto.TYPE_BOOL: (0, 1),
    FieldDescriptorProto.TYPE_INT64: None,
    FieldDescriptorProto.TYPE_UINT64: None,
}
TEXTUAL: Final = FieldDescriptorProto.TYPE_STRING

Key = tuple[str, str, str, str | None]  # evidence, phase, name, function


@dataclass(frozen=True, slots=True)
class Column:
    """An argument of the events of one kind: which of them have it, and what it is."""

    present: Mask
    numbers: Ints | None
    texts: tuple[Pool, Ints] | None

    def part(self, field_number: int) -> Part:
        """The argument as a field."""
        if self.texts is not None:
            return Text(field_number, *self.texts, present=self.present)
        return Number(field_number, self.numbers, self.present)

    def fits(self, kind: int) -> bool:
        """Whether all of it can be held by a field of that type."""
        if self.texts is not None or kind == TEXTUAL:
            return self.texts is not None and kind == TEXTUAL
        if kind not in RANGES or self.numbers is None:
            return False
        limits = RANGES[kind]
        said = self.numbers[self.present]
        return limits is None or bool(((said >= limits[0]) & (said <= limits[1])).all())


Arguments = dict[tuple[str, bool], Column]  # name, whether it is text


@dataclass(slots=True)
class Described:
    """A kind of event that describes itself; with a new argument it becomes a new kind."""

    name: str
    group: str
    fields: dict[tuple[str, bool], int] = field(default_factory=dict)
    signed: set[str] = field(default_factory=set)
    refused: set[tuple[str, bool]] = field(default_factory=set)  # there is no room for them
    number: int | None = None

    def description(self) -> Any:
        """The GenericEventDescriptor."""
        message = DescriptorProto(name=self.name)
        for (name, textual), at in self.fields.items():
            kind = FieldDescriptorProto.TYPE_UINT64
            if textual:
                kind = TEXTUAL
            elif name in self.signed:
                kind = FieldDescriptorProto.TYPE_INT64
            message.field.add(name=name, number=at, type=kind)
        return pb.FtraceEventBundle.GenericEventDescriptor(
            field_id=self.number, group_name=self.group,
            event_descriptor=message.SerializeToString(deterministic=True),
        )  # fmt: skip


class Kinds:
    """What is known of the kinds of events of one trace; `left_out` counts what has no room."""

    def __init__(self) -> None:
        """Know none."""
        self._described: dict[Key, Described] = {}
        self._misfits: set[str] = set()
        self.left_out = 0
        self.descriptions: list[Any] = []  # in the order in which they were first needed

    def payload(self, key: Key, arguments: Arguments, probe_ip: Column | None, rows: int) -> Part:
        """The field of FtraceEvent that says what *rows* events of kind *key* are."""
        evidence, _, name, _ = key
        if evidence == "marker":
            return _message("print", _marker(arguments), rows)
        event = name.rpartition(":")[2] or name
        if evidence == "tracepoint" and event not in self._misfits:
            known = _known(event, arguments)
            if known is not None:
                return _message(event, known, rows)
            self._misfits.add(event)
        if probe_ip is not None and evidence in PROBES:
            arguments = {("__probe_ip", False): probe_ip, **arguments}
        return self._describing(key, event, arguments, rows)

    def _describing(self, key: Key, event: str, arguments: Arguments, rows: int) -> Part:
        evidence, phase, _, function = key
        group = f"traceview/{evidence}/{phase}/{function or ''}" if evidence in PROBES else ""
        kind = self._described.setdefault(key, Described(event, group))
        if kind.number is None or arguments.keys() - kind.fields.keys() - kind.refused:
            self._grow(kind, arguments)
        assert kind.number is not None
        self.left_out += sum(int(arguments[one].present.sum()) for one in kind.refused)
        parts = [column.part(kind.fields[one]) for one, column in arguments.items()
                 if one in kind.fields]  # fmt: skip
        return _field(kind.number, parts, rows)

    def _grow(self, kind: Described, arguments: Arguments) -> None:
        """Describe *kind* anew, with room for *arguments*."""
        for one, column in arguments.items():
            if one in kind.fields:
                continue
            if len(kind.fields) == MOST_FIELDS:
                kind.refused.add(one)
                continue
            kind.fields[one] = len(kind.fields) + 1
            if column.numbers is not None and _signed(column.numbers[column.present]):
                kind.signed.add(one[0])
        kind.number = FIRST_DESCRIBED + len(self.descriptions)
        self.descriptions.append(kind.description())


def _field(field_number: int, parts: list[Part], rows: int) -> Part:
    if parts:
        return Message(field_number, parts)
    return Text(field_number, Pool.of([b""]), np.zeros(rows, dtype=np.int64))


def _message(event: str, parts: list[Part], rows: int) -> Part:
    return _field(number("FtraceEvent", event), parts, rows)


def _marker(arguments: Arguments) -> list[Part]:
    """What was written to trace_marker; a line in Perfetto ends as the kernel's does."""
    texts = [column for (_, textual), column in arguments.items() if textual]
    return [texts[0].part(number("PrintFtraceEvent", "buf"))] if texts else []


@cache
def _known_fields(event: str) -> Mapping[str, tuple[int, int]] | None:
    """The fields of an event that Perfetto knows: name -> number and type."""
    known = pb.FtraceEvent.DESCRIPTOR.fields_by_name.get(event)
    if known is None or known.message_type is None or event in NO_TRACEPOINTS:
        return None
    return {one.name: (one.number, one.type) for one in known.message_type.fields
            if not one.is_repeated}  # fmt: skip


def _known(event: str, arguments: Arguments) -> list[Part] | None:
    """The fields of an event that Perfetto knows, None where it has no place for all of them."""
    fields = _known_fields(event)
    if fields is None:
        return None
    parts: dict[int, Part] = {}
    for (name, textual), said in arguments.items():
        column = said
        if textual and (event, name) == ("sched_switch", "prev_state"):
            column = _state(said)
        at, kind = fields.get(name, (0, 0))
        if not at or at in parts or not column.fits(kind):
            return None
        parts[at] = column.part(at)
    return [parts[at] for at in sorted(parts)]


def _state(said: Column) -> Column:
    """The state of a task as a number; what is no state keeps its place, as running."""
    assert said.texts is not None
    pool, which = said.texts
    words = [
        bytes(pool.data[at : at + size]).decode()
        for at, size in zip(pool.start.tolist(), pool.length.tolist(), strict=True)
    ]
    states = np.array([task_state(word) for word in words], dtype=np.int64)
    return Column(said.present, states[which], None)


def task_state(letters: str) -> int:
    """`S`, `D|K`, `R+`: the bits of prev_state."""
    bits = sum(1 << STATE_LETTERS.index(one) for one in set(letters) & set(STATE_LETTERS))
    return bits | (PREEMPTED if letters.endswith("+") else 0)


def _signed(values: Ints) -> bool:
    """Whether numbers are negative, and not addresses, whose highest bits are all set."""
    negative = values[values < 0]
    return bool(negative.size) and bool((negative > -(1 << 40)).all())

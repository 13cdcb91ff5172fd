"""The kinds of ftrace events: what the fields of each mean, and which are wanted.

Known kinds come from the descriptor of FtraceEvent in the `perfetto` package; events that Perfetto
did not know when it was built (kprobes with arguments, tracepoints of modules) describe themselves
in `generic_event_descriptors`, with field numbers from 65536. Each kind's fields become `slots` of
one table, so that a field of an event is looked up by two additions, whatever its kind.

Sources of truth: protos/perfetto/trace/ftrace/{ftrace_event,generic}.proto; kernel/trace/
trace_probe.h of Linux 6.12 (`__probe_ip`; `__probe_func` and `__probe_ret_ip` of return probes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from google.protobuf.message import DecodeError
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.parsers.classes import Class
from traceview.parsers.perfetto_host import text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.parsers.classes import Classes
    from traceview.parsers.columns import Ints
    from traceview.parsers.names import Names
    from traceview.trace import Want

# What to do with a field. The actions up to STRING make arguments, the others fill columns.
IGNORE: Final = 0
NUMBER: Final = 1
STRING: Final = 2
NEXT_PID: Final = 3  # a number, too
TASK_STATE: Final = 4  # a string, too
PREV_COMM: Final = 5  # strings, too, where all events are wanted
NEXT_COMM: Final = 6
PROBE_IP: Final = 7
GRAPH_FUNC: Final = 8
GRAPH_DEPTH: Final = 9
GRAPH_CALLTIME: Final = 10
GRAPH_RETTIME: Final = 11
PROBE_NAME: Final = 12
PROBE_TYPE: Final = 13
LEGACY_NAME: Final = 14
LEGACY_FIELD: Final = 15
ACTIONS: Final = 16
# Those whose field is length-delimited.
IS_TEXT: Final = np.isin(
    np.arange(ACTIONS), [STRING, PREV_COMM, NEXT_COMM, PROBE_NAME, LEGACY_NAME, LEGACY_FIELD]
)

FIRST_GENERIC: Final = 65536
FIRST_ALIAS: Final = 3 << 15
NUMBERS: Final = 1 << 17  # ftrace event ids are 16-bit, so there are no more generic events
MAX_FIELD_NUMBER: Final = 512
TEXT_TYPES: Final = (FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_BYTES)

COLUMNS: Final = {
    "funcgraph_entry": {"func": GRAPH_FUNC, "depth": GRAPH_DEPTH},
    "funcgraph_exit": {
        "func": GRAPH_FUNC, "depth": GRAPH_DEPTH, "calltime": GRAPH_CALLTIME,
        "rettime": GRAPH_RETTIME,
    },
    "kprobe_event": {"name": PROBE_NAME, "type": PROBE_TYPE},
    "generic": {"event_name": LEGACY_NAME, "field": LEGACY_FIELD},
    "sched_switch": {
        "prev_comm": PREV_COMM, "next_comm": NEXT_COMM, "next_pid": NEXT_PID,
        "prev_state": TASK_STATE,
    },
}  # fmt: skip
SPECIAL: Final = {
    "funcgraph_entry": ("entry", "fgraph"),
    "funcgraph_exit": ("exit", "fgraph"),
    "kprobe_event": ("instant", "kprobe"),
    "print": ("instant", "marker"),
}
ALWAYS_WANTED: Final = (*COLUMNS, "print")
# Arguments that queries use although no Meaning knows them.
BASIC_ARGUMENTS: Final = {"print": ("buf",), "sched_switch": ("prev_pid", "next_pid")}
PROBE_STARTS: Final = {"__probe_ip": "entry", "__probe_func": "exit"}
# The group of events that `traceview export` wrote (docs/export.md): evidence, phase, function.
STATED: Final = re.compile(
    r"traceview/(kprobe|fprobe|insn|function)/(entry|exit|instant)/(.*)", re.DOTALL
)


class Field(NamedTuple):
    """A field of an event's payload: its `number` and `name`, and what it holds."""

    number: int
    name: str
    is_text: bool
    repeated: bool = False


@cache
def known_events() -> dict[int, tuple[str, tuple[Field, ...]]]:
    """The events that the package knows: field number of FtraceEvent -> name and fields."""
    return {
        one.number: (
            one.name,
            tuple(
                Field(arg.number, arg.name, arg.type in TEXT_TYPES, arg.is_repeated)
                for arg in one.message_type.fields
            ),
        )
        for one in pb.FtraceEvent.DESCRIPTOR.fields
        if one.message_type is not None
    }


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of event that is wanted. `actions`: what to do with each of its fields."""

    what: Class
    actions: dict[Field, int]


@dataclass(frozen=True, slots=True)
class Table:
    """The wanted kinds, as arrays. Kind 0 is that of all others; unknown fields are ignored."""

    of_number: NDArray[np.uint16]  # field number of FtraceEvent (capped at NUMBERS) -> kind
    what: NDArray[np.uint32]  # code of the Class, where all events of the kind share it
    first_slot: Ints
    last_slot: Ints
    action: NDArray[np.uint8]
    arg: NDArray[np.uint32]  # code of the argument's name
    repeated: NDArray[np.bool_]
    number: dict[str, int]  # name of a kind of COLUMNS -> its index


class Kinds:
    """What is known of the kinds of events, by field number of FtraceEvent."""

    def __init__(self, want: Want, names: Names, classes: Classes) -> None:
        """Know the kinds of the package."""
        self._want, self._names, self._classes = want, names, classes
        self._kinds: dict[int, Kind] = {}
        self._generic_names: dict[int, str] = {}
        self._described: dict[int, tuple[str, bytes]] = {}
        self._aliases: dict[tuple[str, bytes], int] = {}
        self.aliases: dict[int, dict[int, int]] = {}  # sequence -> field number -> alias
        self.unreadable = 0
        for number, (name, fields) in known_events().items():
            if name in ALWAYS_WANTED or self._wants(name):
                self._kinds[number] = self._known(name, fields)

    def name(self, number: int) -> str:
        """The name of a kind, or its field number where it is unknown."""
        if number in known_events():
            return known_events()[number][0]
        return self._generic_names.get(number, f"field {number} of FtraceEvent")

    def _known(self, name: str, fields: tuple[Field, ...]) -> Kind:
        columns = COLUMNS.get(name, {})
        phase, evidence = SPECIAL.get(name, ("instant", "tracepoint"))
        actions = {one: columns.get(one.name) or self._argument(name, one) for one in fields}
        return Kind(Class(name, None, phase, evidence), actions)

    def _wants(self, name: str) -> bool:
        return self._want.all_events or self._want.vocabulary.wants_event(name)

    def _argument(self, event: str, arg: Field) -> int:
        """The action of an argument of a tracepoint."""
        asked = (*BASIC_ARGUMENTS.get(event, ()), *self._want.vocabulary.event_arguments(event))
        if not self._want.all_events and arg.name not in asked:
            return IGNORE
        return STRING if arg.is_text else NUMBER

    def describe(self, sequence: int, content: bytes) -> None:
        """Learn a self-describing event of the packet sequence *sequence*."""
        try:
            generic = pb.FtraceEventBundle.GenericEventDescriptor.FromString(content)
            described = DescriptorProto.FromString(generic.event_descriptor)
        except DecodeError:
            self.unreadable += 1
            return
        number, content = generic.field_id, generic.event_descriptor
        if not FIRST_GENERIC <= number < FIRST_ALIAS:
            self.unreadable += 1
            return
        key = (text(generic.group_name), content)
        before = self._described.setdefault(number, key)
        if before != key:  # a producer that was started anew may give a number anew
            alias = self._aliases.setdefault(key, FIRST_ALIAS + len(self._aliases))
            if alias < NUMBERS:
                self.aliases.setdefault(sequence, {})[number] = alias
                number = alias
        if number not in self._generic_names:
            self._generic_names[number] = text(described.name)
            kind = self._generic(described, text(generic.group_name))
            if kind is not None:
                self._kinds[number] = kind

    def _generic(self, described: DescriptorProto, group: str) -> Kind | None:
        """A kprobe, where it has a probe's fields; else a tracepoint. None: not wanted."""
        name = text(described.name)
        fields = [
            Field(one.number, text(one.name), one.type in TEXT_TYPES) for one in described.field
        ]
        stated = STATED.fullmatch(group)
        if stated is not None:
            evidence, phase, symbol = stated.groups()
            actions = {one: self._probe_argument(one, "__probe_ip") for one in fields}
            return Kind(Class(name, symbol or None, phase, evidence), actions)
        start = probe_start([one.name for one in fields])
        if start is not None:
            actions = {one: self._probe_argument(one, start) for one in fields}
            return Kind(Class(name, None, PROBE_STARTS[start], "kprobe"), actions)
        if not self._wants(name):
            return None
        actions = {one: self._argument(name, one) for one in fields}
        return Kind(Class(name, None, "instant", "tracepoint"), actions)

    def _probe_argument(self, arg: Field, start: str) -> int:
        """The action of a field of a probe whose own fields begin with *start*."""
        if arg.name in PROBE_STARTS:
            return PROBE_IP if arg.name == start else IGNORE
        if arg.name.startswith("__probe_") and not self._want.all_events:
            return IGNORE
        return STRING if arg.is_text else NUMBER

    def table(self) -> Table:
        """Everything known, as arrays."""
        count = len(self._kinds) + 1
        of_number = np.zeros(NUMBERS + 1, dtype=np.uint16)
        what = np.zeros(count, dtype=np.uint32)
        first, last = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        action, arg, repeated, index = [IGNORE], [0], [False], {}
        for i, (number, kind) in enumerate(self._kinds.items(), 1):
            of_number[number], what[i] = i, self._classes.code(kind.what)
            does = {one.number: (one, act) for one, act in kind.actions.items()}
            width = min(max(does, default=0), MAX_FIELD_NUMBER) + 1
            first[i], last[i] = len(action), len(action) + width
            for n in range(width + 1):  # the last slot is that of all higher numbers
                one, act = does.get(n, (None, IGNORE)) if n < width else (None, IGNORE)
                action.append(act)
                arg.append(self._names.code(one.name) if one and act else 0)
                repeated.append(one is not None and one.repeated)
            if kind.what.name in COLUMNS and number < FIRST_GENERIC:
                index[kind.what.name] = i
        return Table(
            of_number, what, first, last,
            np.array(action, dtype=np.uint8), np.array(arg, dtype=np.uint32),
            np.array(repeated, dtype=np.bool_), index,
        )  # fmt: skip


def probe_start(fields: list[str]) -> str | None:
    """The field with which a probe's own fields begin, None for an event that is no probe.

    Perfetto keeps the fields of an event that is gone when the kernel gives its id to another one,
    and writes them before the new event's own: so the last start is the true one.
    """
    starts = [name for name in fields if name in PROBE_STARTS]
    return starts[-1] if starts else None

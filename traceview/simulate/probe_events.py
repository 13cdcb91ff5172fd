"""The kprobes of a simulated recording as the kernel defines them: names, ids, fields.

An entry's event is named after its function, the return's `<function>_ret`; the group is that of
`traceview record`. Where a function returns to is not simulated: that address is 0. Source of
truth: kernel/trace/trace_probe.{c,h} and trace_kprobe.c of Linux 6.12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from traceview.simulate.recording import Argument, Recorded

GROUP: Final = "traceview"
FIRST_ID: Final = 1551  # dynamic events come behind the built-in ones
TYPE: Final = re.compile(r"([usx])(8|16|32|64)")
COMMON_BYTES: Final = 8  # common_type, _flags, _preempt_count, _pid
FETCHED: Final = "arg{}"  # the column of RECORDS that holds argument n
LAST_FUNCTION_BYTES: Final = 256
MOST_FUNCTION_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Value:
    """One argument: `column` of RECORDS holds it, `width` bytes of it are recorded."""

    name: str
    type: str
    place: str
    column: str
    width: int
    signed: bool
    hexadecimal: bool

    @property
    def declaration(self) -> str:
        """Its type in the event's format."""
        return f"{'s' if self.signed else 'u'}{self.width * 8}"

    @property
    def print_format(self) -> str:
        """How libtraceevent is told to print it."""
        letter = "x" if self.hexadecimal else "d" if self.signed else "u"
        long = "L" if self.width == 8 and not self.signed else "l" if self.width == 8 else ""
        return f"{self.name}={'0x' if self.hexadecimal else ''}%{long}{letter}"

    def read(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """What the probe records of 64 bits: the low bytes, with their sign."""
        kind = np.dtype(f"{'i' if self.signed else 'u'}{self.width}")
        return values.astype(kind).astype(np.int64)


@dataclass(frozen=True, slots=True)
class ProbeEvent:
    """A kprobe (`returns`: a kretprobe) of `symbol`."""

    id: int
    name: str
    symbol: str
    returns: bool
    values: tuple[Value, ...] = ()

    @property
    def offsets(self) -> list[int]:
        """Where the arguments lie in the record: one behind the other, not aligned."""
        widths = [one.width for one in self.values]
        return [COMMON_BYTES + 8 * len(self.places) + sum(widths[:n]) for n in range(len(widths))]

    @property
    def size(self) -> int:
        """The bytes of the record."""
        return COMMON_BYTES + 8 * len(self.places) + sum(one.width for one in self.values)

    @property
    def places(self) -> tuple[str, ...]:
        """The fields before the arguments: addresses."""
        return ("__probe_func", "__probe_ret_ip") if self.returns else ("__probe_ip",)

    def format(self) -> str:
        """The text of its format file."""
        places = self.places
        lines = [
            field("unsigned long", name, COMMON_BYTES + 8 * n, 8) for n, name in enumerate(places)
        ]
        for one, at in zip(self.values, self.offsets, strict=True):
            lines.append(field(one.declaration, one.name, at, one.width, signed=one.signed))
        place = "(%lx <- %lx)" if self.returns else "(%lx)"
        shown = " ".join([place, *(one.print_format for one in self.values)])
        read = "".join(f", REC->{name}" for name in (*places, *(one.name for one in self.values)))
        return event_format(self.name, self.id, lines, f'"{shown}"{read}')


def event_format(name: str, id_: int, fields: list[str], shown: str) -> str:
    """The text of a format file."""
    common = (
        field("unsigned short", "common_type", 0, 2),
        field("unsigned char", "common_flags", 2, 1),
        field("unsigned char", "common_preempt_count", 3, 1),
        field("int", "common_pid", 4, 4, signed=True),
    )
    body = "".join(common) + "\n" + "".join(fields)
    return f"name: {name}\nID: {id_}\nformat:\n{body}\nprint fmt: {shown}\n"


def field(type_: str, name: str, offset: int, size: int, *, signed: bool = False) -> str:
    """The line of a field in a format file."""
    return f"\tfield:{type_} {name};\toffset:{offset};\tsize:{size};\tsigned:{int(signed)};\n"


def probe_events(recorded: Recorded) -> dict[tuple[str, bool], ProbeEvent]:
    """The events, by symbol and whether it is the return."""
    found: dict[tuple[str, bool], ProbeEvent] = {}
    for symbol in dict.fromkeys((*recorded.probes, *sorted(recorded.returns))):
        name = re.sub(r"\W", "_", symbol)
        if symbol in recorded.probes:
            values = tuple(_value(n, one) for n, one in enumerate(recorded.probes[symbol]))
            id_ = FIRST_ID + len(found)
            found[symbol, False] = ProbeEvent(id_, name, symbol, returns=False, values=values)
        if symbol in recorded.returns:
            id_ = FIRST_ID + len(found)
            found[symbol, True] = ProbeEvent(id_, f"{name}_ret", symbol, returns=True)
    return found


def _value(n: int, argument: Argument) -> Value:
    match = TYPE.fullmatch(argument.type)
    if match is None:
        raise ValueError(f"the argument {argument.name} is of the unknown type {argument.type}")
    letter, width = match[1], int(match[2]) // 8
    column = FETCHED.format(n)
    place = argument.place or f"%x{n}"
    return Value(argument.name, argument.type, place, column, width, letter == "s", letter == "x")


def kprobe_definitions(recorded: Recorded) -> str:
    """What tracefs `kprobe_events` says of the recording's probes."""
    lines = []
    for event in probe_events(recorded).values():
        said = "".join(f" {one.name}={one.place}:{one.type}" for one in event.values)
        lines.append(f"{'r' if event.returns else 'p'}:{GROUP}/{event.name} {event.symbol}{said}\n")
    return "".join(lines)


def function_sizes(addresses: Mapping[str, int]) -> dict[str, int]:
    """How long the functions are, as kallsyms says it: up to the next one."""
    order = sorted(addresses, key=addresses.__getitem__)
    ends = [*(addresses[name] for name in order[1:]), None]
    sizes = {}
    for name, end in zip(order, ends, strict=True):
        size = LAST_FUNCTION_BYTES if end is None else end - addresses[name]
        sizes[name] = min(max(size, 4), MOST_FUNCTION_BYTES)
    return sizes

"""Writes tracefs event formats, and records as the kernel lays them out.

An `Event` is declared as in C; its fields are placed with the alignment of a 64-bit compiler, or
packed. `format()` is the text of its `format` file, `record()` the bytes from `common_type` on, not
padded: a ring buffer pads to 4 bytes, perf.data so that the size of 4 bytes and the record together
are a multiple of 8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

COMMON = (
    "unsigned short common_type",
    "unsigned char common_flags",
    "unsigned char common_preempt_count",
    "int common_pid",
)
SIZES = {
    "char": 1, "bool": 1, "u8": 1, "s8": 1, "short": 2, "u16": 2, "s16": 2, "int": 4, "u32": 4,
    "s32": 4, "long": 8, "u64": 8, "s64": 8, "pid_t": 4,
}  # fmt: skip
UNSIGNED = ("unsigned", "u8", "u16", "u32", "u64", "bool", "*")


@dataclass(frozen=True)
class Place:
    """A field where it lies: `count` elements of `width` bytes; 0: to the end of the record."""

    declaration: str
    name: str
    offset: int
    width: int
    count: int
    is_signed: bool
    location: str = ""  # "__data_loc" or "__rel_loc", of `count` strings or arrays

    @property
    def size(self) -> int:
        """Its fixed bytes."""
        return self.count * (4 if self.location else self.width)

    def line(self) -> str:
        """Its line in a format file."""
        return (
            f"\tfield:{self.declaration};\toffset:{self.offset};\tsize:{self.size};"
            f"\tsigned:{int(self.is_signed)};\n"
        )


@dataclass(frozen=True)
class Event:
    """The layout of one event, and what writes its records."""

    id: int
    name: str
    declarations: tuple[str, ...]
    system: str = "kvmlab"
    print_format: str = '""'
    packed: bool = False

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Its fields, the common ones first."""
        found: list[Place] = []
        at = 0
        for declaration in (*COMMON, *self.declarations):
            place = _placed(declaration, at, packed=self.packed)
            found.append(place)
            at = place.offset + place.size
        return tuple(found)

    def format(self) -> str:
        """The text of its format file."""
        lines = [one.line() for one in self.places]
        lines.insert(len(COMMON), "\n")
        head = f"name: {self.name}\nID: {self.id}\nformat:\n"
        return f"{head}{''.join(lines)}\nprint fmt: {self.print_format}\n"

    def record(self, tid: int = 100, **values: Any) -> bytes:
        """A record of the task *tid*; fields that are not given are 0 or empty."""
        values |= {"common_type": self.id, "common_pid": tid}
        fixed = bytearray(max(one.offset + one.size for one in self.places))
        last = self.places[-1]
        if not last.count:
            return self._open_ended(fixed, last, values)
        behind = b""
        for one in self.places:
            value = values.get(one.name)
            if one.location:
                behind += _located(fixed, one, value, len(fixed) + len(behind))
            else:
                fixed[one.offset : one.offset + one.size] = _packed(one, value, one.size)
        return bytes(fixed) + behind

    def _open_ended(self, fixed: bytearray, last: Place, values: dict[str, Any]) -> bytes:
        for one in self.places[:-1]:
            fixed[one.offset : one.offset + one.size] = _packed(one, values.get(one.name), one.size)
        return bytes(fixed[: last.offset]) + _packed(last, values.get(last.name), None)


def _placed(declaration: str, at: int, *, packed: bool) -> Place:
    words = declaration.replace("*", " * ").split()
    location = words.pop(0) if words[0] in ("__data_loc", "__rel_loc") else ""
    array = re.search(r"\[(\d*)\]$", declaration)
    brackets = re.findall(r"\[(\d*)\]", declaration)
    kind = next((word.partition("[")[0] for word in words if word.partition("[")[0] in SIZES), "")
    width = 8 if "*" in words else SIZES[kind]
    count = int(brackets[-1] or 0) if brackets else 1
    if location:
        count = max(1, count)
    elif array is None:
        count = 1
    align = 1 if packed else 4 if location else width
    unsigned = any(word.partition("[")[0] in UNSIGNED for word in words)
    is_signed = not unsigned and kind != "char" and not location
    name = re.sub(r"\[.*", "", words[-1])
    return Place(declaration, name, -(-at // align) * align, width, count, is_signed, location)


def _located(fixed: bytearray, one: Place, value: Any, end: int) -> bytes:
    """Write the places of *value*, that of its first element being *end*; return its bytes."""
    items = value if one.count > 1 else [value]
    behind = b""
    for i, item in enumerate(items):
        content = _packed(one, item, None)
        at = one.offset + 4 * i
        start = end + len(behind) - (at + 4 if one.location == "__rel_loc" else 0)
        fixed[at : at + 4] = (len(content) << 16 | start).to_bytes(4, "little")
        behind += content
    return behind


def _packed(one: Place, value: Any, size: int | None) -> bytes:
    """*value* in *size* bytes; text of any size ends in NUL."""
    if value is None:
        return bytes(size or 0)
    content: bytes
    if isinstance(value, str):
        content = value.encode() + (b"\0" if size is None else b"")
    elif isinstance(value, bytes):
        content = value
    else:
        mask = (1 << 8 * one.width) - 1
        items = [value] if isinstance(value, int) else value
        content = b"".join((item & mask).to_bytes(one.width, "little") for item in items)
    return content if size is None else content[:size].ljust(size, b"\0")


# Events as Linux 6.12 has them, unless their names say otherwise.
FUNCTION = Event(1, "function", ("unsigned long ip", "unsigned long parent_ip"), "ftrace")
FUNCTION_ARGS = Event(  # 6.15
    1, "function", ("unsigned long ip", "unsigned long parent_ip", "unsigned long args[]"), "ftrace"
)
GRAPH_ENTRY = Event(11, "funcgraph_entry", ("unsigned long func", "int depth"), "ftrace")
GRAPH_ENTRY_ARGS = Event(  # 7.2
    11, "funcgraph_entry", ("unsigned long func", "unsigned long depth", "unsigned long args[]"),
    "ftrace",
)  # fmt: skip
GRAPH_RETADDR = Event(
    20, "fgraph_retaddr_entry",
    ("unsigned long func", "unsigned int depth", "unsigned long retaddr"), "ftrace", packed=True,
)  # fmt: skip
GRAPH_EXIT = Event(
    10, "funcgraph_exit",
    ("unsigned long func", "int depth", "unsigned int overrun", "unsigned long long calltime",
     "unsigned long long rettime"), "ftrace",
)  # fmt: skip
GRAPH_EXIT_5_10 = Event(
    10, "funcgraph_exit",
    ("unsigned long func", "unsigned long overrun", "unsigned long long calltime",
     "unsigned long long rettime", "int depth"), "ftrace",
)  # fmt: skip
GRAPH_EXIT_RETVAL = Event(  # CONFIG_FUNCTION_GRAPH_RETVAL
    10, "funcgraph_exit",
    ("unsigned long func", "unsigned long retval", "unsigned int depth", "unsigned int overrun",
     "unsigned long long calltime", "unsigned long long rettime"), "ftrace", packed=True,
)  # fmt: skip
PRINT = Event(5, "print", ("unsigned long ip", "char buf[]"), "ftrace")
BPRINT = Event(6, "bprint", ("unsigned long ip", "const char * fmt", "u32 buf[]"), "ftrace")
BPUTS = Event(14, "bputs", ("unsigned long ip", "const char * str"), "ftrace")
FUNC_REPEATS = Event(
    19, "func_repeats",
    ("unsigned long ip", "unsigned long parent_ip", "u16 count", "u16 top_delta_ts",
     "u32 bottom_delta_ts"), "ftrace",
)  # fmt: skip
USER_STACK = Event(12, "user_stack", ("unsigned int tgid", "unsigned long caller[8]"), "ftrace")
SCHED_SWITCH = Event(
    310, "sched_switch",
    ("char prev_comm[16]", "pid_t prev_pid", "int prev_prio", "long prev_state",
     "char next_comm[16]", "pid_t next_pid", "int next_prio"), "sched",
)  # fmt: skip
IRQ_ENTRY = Event(101, "irq_handler_entry", ("int irq", "__data_loc char[] name"), "irq")
TLBI_IPA = Event(
    1551, "tlbi_ipa", ("unsigned long __probe_ip", "u64 mmu", "u64 ipa", "s32 level"),
    print_format='"(%lx) mmu=0x%Lx ipa=0x%Lx level=%d", REC->__probe_ip, REC->mmu, REC->ipa,'
    ' REC->level',
)  # fmt: skip
TLBI_IPA_RET = Event(
    1552, "tlbi_ipa_ret", ("unsigned long __probe_func", "unsigned long __probe_ret_ip", "s32 ret")
)

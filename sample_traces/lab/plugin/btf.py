"""Where members of a kernel's structures lie, and what its functions take: from BTF.

The type information that a kernel carries of itself (`/sys/kernel/btf/vmlinux`), read as far as
three questions need it. Source of truth: Documentation/bpf/btf.rst, include/uapi/linux/btf.h, 6.12.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

from sample_traces.lab.errors import LabError

MAGIC: Final = 0xEB9F
HEADER: Final = struct.Struct("<HBBIIIII")
TYPE: Final = struct.Struct("<III")
MEMBER: Final = struct.Struct("<III")
PARAMETER: Final = struct.Struct("<II")

INT, PTR, ARRAY, STRUCT, UNION, ENUM = 1, 2, 3, 4, 5, 6
TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO = 8, 9, 10, 11, 12, 13
VAR, DATASEC, DECL_TAG, TYPE_TAG, ENUM64 = 14, 15, 17, 18, 19
NAMES_OF_TYPES: Final = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)

# Bytes behind a type: of each, and of each of its members.
FIXED: Final = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
OF_MEMBER: Final = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}


@dataclass(frozen=True, slots=True)
class Type:
    """One type: `refers` is its size or another type; `at` is where its members begin."""

    kind: int
    members: int
    bitfields: bool
    refers: int
    name: int
    at: int


@dataclass(slots=True)
class Btf:
    """The types of one kernel."""

    data: bytes
    types: list[Type] = field(default_factory=list)
    strings: int = 0
    named: dict[tuple[int, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            magic, _, _, header, types, size, strings, length = HEADER.unpack_from(self.data)
        except struct.error as error:
            raise LabError("not BTF: it is too short") from error
        if magic != MAGIC:
            raise LabError("not BTF: it begins with other bytes")
        self.strings = header + strings
        if self.strings + length > len(self.data):
            raise LabError(f"not BTF, or cut off after {len(self.data)} bytes")
        try:
            self._read(header + types, header + types + size)
        except (struct.error, IndexError, ValueError) as error:
            raise LabError("not BTF: its types are none") from error

    def _read(self, at: int, end: int) -> None:
        self.types.append(Type(0, 0, bitfields=False, refers=0, name=0, at=0))
        while at < end:
            name, info, refers = TYPE.unpack_from(self.data, at)
            kind, members = info >> 24 & 31, info & 0xFFFF
            one = Type(kind, members, bool(info >> 31), refers, name, at + TYPE.size)
            if kind in (STRUCT, FUNC) and name:
                self.named.setdefault((kind, self._string(name)), len(self.types))
            self.types.append(one)
            at += TYPE.size + FIXED.get(kind, 0) + OF_MEMBER.get(kind, 0) * members

    def _string(self, at: int) -> str:
        start = self.strings + at
        return self.data[start : self.data.index(b"\0", start)].decode("utf-8", "replace")

    def offset(self, structure: str, member: str) -> int | None:
        """In bytes, of a member of a structure; None where the kernel has no such thing."""
        number = self.named.get((STRUCT, structure))
        bits = None if number is None else self._offset(self.types[number], member)
        return None if bits is None else bits // 8

    def _offset(self, structure: Type, member: str) -> int | None:
        for index in range(structure.members):
            name, number, bits = MEMBER.unpack_from(self.data, structure.at + MEMBER.size * index)
            bits = bits & 0xFFFFFF if structure.bitfields else bits
            if self._string(name) == member:
                return int(bits)
            inner = self.types[number]
            if not name and inner.kind in (STRUCT, UNION):
                found = self._offset(inner, member)
                if found is not None:
                    return int(bits) + found
        return None

    def parameters(self, function: str) -> dict[str, str]:
        """The parameters of a function in order, with the structure that each points to ("")."""
        number = self.named.get((FUNC, function))
        if number is None:
            return {}
        proto = self.types[self.types[number].refers]
        found = {}
        for index in range(proto.members):
            name, kind = PARAMETER.unpack_from(self.data, proto.at + PARAMETER.size * index)
            found[self._string(name)] = self._points_to(kind)
        return found

    def _points_to(self, number: int) -> str:
        pointer = self._meant(number)
        if pointer.kind != PTR:
            return ""
        target = self._meant(pointer.refers)
        return self._string(target.name) if target.kind == STRUCT else ""

    def _meant(self, number: int) -> Type:
        one = self.types[number]
        while one.kind in NAMES_OF_TYPES:
            one = self.types[one.refers]
        return one

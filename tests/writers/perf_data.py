"""Small perf.data files and pipes, laid out as perf record and the kernel write them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import zstandard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.writers.records import Event as Format

# enum perf_event_sample_format, in the order of a sample where it differs from that of the bits
IP, TID, TIME, ADDR, READ, CALLCHAIN, ID, CPU, PERIOD, STREAM_ID, RAW = (1 << n for n in range(11))
BRANCH_STACK, REGS_USER, STACK_USER, WEIGHT, DATA_SRC, IDENTIFIER = (
    1 << n for n in range(11, 17)
)  # fmt: skip
TRANSACTION, REGS_INTR, PHYS_ADDR, AUX, CGROUP, DATA_PAGE_SIZE, CODE_PAGE_SIZE, WEIGHT_STRUCT = (
    1 << n for n in range(17, 25)
)
ENABLED, RUNNING, FORMAT_ID, GROUP, FORMAT_LOST = (1 << n for n in range(5))
FREQ, SAMPLE_ID_ALL, USE_CLOCKID = 1 << 10, 1 << 18, 1 << 25
HW_INDEX, COUNTERS = 1 << 17, 1 << 19
ATTR_BYTES = 144
TRACEPOINT, SOFTWARE = 2, 1
# What perf record asks for with tracepoints.
USUAL = IDENTIFIER | IP | TID | TIME | CPU | PERIOD | RAW


@dataclass(frozen=True)
class Event:
    """An event of a recording."""

    name: str = "cpu-clock"
    ids: tuple[int, ...] = (1,)
    type: int = SOFTWARE
    config: int = 0
    sample_type: int = USUAL & ~RAW
    read_format: int = 0
    period: int = 1
    flags: int = SAMPLE_ID_ALL
    clockid: int = 0
    branch_type: int = 0
    regs_user: int = 0b1011
    regs_intr: int = 0b11

    def has(self, bit: int) -> bool:
        """Whether samples have that field."""
        return bool(self.sample_type & bit)

    def attr(self, size: int = ATTR_BYTES) -> bytes:
        """Its perf_event_attr."""
        head = struct.pack(
            "<IIQQQQQ", self.type, size, self.config, self.period, self.sample_type,
            self.read_format, self.flags,
        )  # fmt: skip
        tail = struct.pack(
            "<QQIiQ", self.branch_type, self.regs_user, 64, self.clockid, self.regs_intr
        )  # fmt: skip
        return (head.ljust(72, b"\0") + tail).ljust(size, b"\0")[:size]


@dataclass(frozen=True)
class Sample:
    """What a sample holds; fields that its event does not ask for are not written."""

    event: Event
    ts_ns: int = 0
    cpu: int = 0
    pid: int = 100
    tid: int = 100
    ip: int = 0xFFFF800080001000
    period: int = 1
    id: int | None = None
    misc: int = 1
    members: int = 1  # of the group that READ reads
    chain: tuple[int, ...] = ()
    raw: bytes = b""
    branches: int = 0
    has_regs: bool = True
    stack: bytes = b""
    aux: bytes = b""
    filler: int = 0x1122334455667788  # of every field that says nothing here

    def record(self) -> bytes:
        """The PERF_RECORD_SAMPLE."""
        return record(9, self.fixed() + self.behind(), misc=self.misc)

    def fixed(self) -> bytes:
        """The fields of 8 bytes, up to PERIOD."""
        identity = self.event.ids[0] if self.id is None else self.id
        parts = (
            (IDENTIFIER, u64(identity)), (IP, u64(self.ip)),
            (TID, struct.pack("<ii", self.pid, self.tid)), (TIME, u64(self.ts_ns)),
            (ADDR, u64(self.filler)), (ID, u64(identity)), (STREAM_ID, u64(self.filler)),
            (CPU, struct.pack("<iI", self.cpu, 0)), (PERIOD, u64(self.period)),
        )  # fmt: skip
        return b"".join(content for bit, content in parts if self.event.has(bit))

    def behind(self) -> bytes:
        """The other fields."""
        event, found = self.event, b""
        if event.has(READ):
            found += self.read()
        if event.has(CALLCHAIN):
            found += u64(len(self.chain), *self.chain)
        if event.has(RAW):
            found += raw(self.raw)
        if event.has(BRANCH_STACK):
            found += self.branch_stack()
        for bit, mask in ((REGS_USER, event.regs_user), (STACK_USER, 0)):
            if event.has(bit):
                found += self.registers(mask) if bit == REGS_USER else self.user_stack()
        words = (WEIGHT, WEIGHT_STRUCT, DATA_SRC, TRANSACTION)
        found += u64(self.filler) * sum(event.has(bit) for bit in words)
        if event.has(REGS_INTR):
            found += self.registers(event.regs_intr)
        words = (PHYS_ADDR, CGROUP, DATA_PAGE_SIZE, CODE_PAGE_SIZE)
        found += u64(self.filler) * sum(event.has(bit) for bit in words)
        if event.has(AUX):
            found += u64(len(padded(self.aux))) + padded(self.aux)
        return found

    def read(self) -> bytes:
        """struct read_format."""
        form = self.event.read_format
        times = u64(self.filler) * ((form & ENABLED > 0) + (form & RUNNING > 0))
        each = u64(self.filler) * (1 + bool(form & FORMAT_ID) + bool(form & FORMAT_LOST))
        if form & GROUP:
            return u64(self.members) + times + each * self.members
        return each[:8] + times + each[8:]

    def branch_stack(self) -> bytes:
        """Branches, with the index and the counters that the event asks for."""
        event = self.event
        index = u64(self.filler) if event.branch_type & HW_INDEX else b""
        counters = u64(self.filler) * self.branches if event.branch_type & COUNTERS else b""
        return u64(self.branches) + index + u64(self.filler) * 3 * self.branches + counters

    def registers(self, mask: int) -> bytes:
        """The registers in *mask*; ABI 0: none."""
        return u64(2) + u64(self.filler) * mask.bit_count() if self.has_regs else u64(0)

    def user_stack(self) -> bytes:
        """A piece of stack, and how much of it is used."""
        stack = padded(self.stack)
        return u64(len(stack)) + stack + (u64(len(stack)) if stack else b"")


def u64(*values: int) -> bytes:
    """Numbers of 8 bytes."""
    return struct.pack(f"<{len(values)}Q", *(value % (1 << 64) for value in values))


def padded(content: bytes, size: int = 8) -> bytes:
    """*content* with zeros up to a multiple of *size*."""
    return content + bytes(-len(content) % size)


def string(content: str) -> bytes:
    """A perf_header_string: padded to 64 bytes."""
    text = padded(content.encode() + b"\0", 64)
    return struct.pack("<I", len(text)) + text


def raw(content: bytes) -> bytes:
    """RAW data: size and data are a multiple of 8 bytes together."""
    data = content + bytes(-(4 + len(content)) % 8)
    return struct.pack("<I", len(data)) + data


def record(kind: int, payload: bytes = b"", *, misc: int = 0, size: int | None = None) -> bytes:
    """A record; *size*: what it says of its own."""
    size = 8 + len(payload) if size is None else size
    return struct.pack("<IHH", kind, misc, size) + payload


@dataclass(frozen=True)
class Stamp:
    """The trailer of records that are no samples."""

    event: Event
    ts_ns: int = 0
    cpu: int = 0
    pid: int = 0
    tid: int = 0
    id: int | None = None

    def trailer(self) -> bytes:
        """struct sample_id."""
        identity = self.event.ids[0] if self.id is None else self.id
        parts = (
            (TID, struct.pack("<ii", self.pid, self.tid)), (TIME, u64(self.ts_ns)),
            (ID, u64(identity)), (STREAM_ID, u64(0)), (CPU, struct.pack("<iI", self.cpu, 0)),
            (IDENTIFIER, u64(identity)),
        )  # fmt: skip
        if not self.event.flags & SAMPLE_ID_ALL:
            return b""
        return b"".join(content for bit, content in parts if self.event.has(bit))

    def lost(self, count: int) -> bytes:
        """A LOST."""
        return record(2, u64(self.event.ids[0], count) + self.trailer())

    def lost_samples(self, count: int, *, by_bpf: bool = False) -> bytes:
        """A LOST_SAMPLES."""
        return record(13, u64(count) + self.trailer(), misc=by_bpf << 15)

    def comm(self, tid: int, name: str, pid: int | None = None) -> bytes:
        """A COMM."""
        ids = struct.pack("<ii", tid if pid is None else pid, tid)
        return record(3, ids + padded(name.encode() + b"\0") + self.trailer())

    def fork(self, tid: int, parent: int) -> bytes:
        """A FORK."""
        ids = struct.pack("<iiii", tid, parent, tid, parent)
        return record(7, ids + u64(self.ts_ns) + self.trailer())

    def switch(self, *, out: bool, other: int | None = None) -> bytes:
        """A SWITCH, or with the *other* task a SWITCH_CPU_WIDE."""
        misc = out << 13
        if other is None:
            return record(14, self.trailer(), misc=misc)
        return record(15, struct.pack("<ii", other, other) + self.trailer(), misc=misc)

    def other(self, kind: int, payload: bytes = b"") -> bytes:
        """A record of another type of the kernel's."""
        return record(kind, payload + self.trailer())


@dataclass
class Recording:
    """Events, records, and what the header says; `features` are contents by number."""

    events: Sequence[Event]
    records: bytes = b""
    features: dict[int, bytes] = field(default_factory=dict)
    attr_size: int = ATTR_BYTES

    def file(self) -> bytes:
        """As perf record writes a file."""
        ids = b"".join(u64(*event.ids) for event in self.events)
        at, attrs = 104, b""
        for event in self.events:
            attrs += event.attr(self.attr_size) + u64(at, 8 * len(event.ids))
            at += 8 * len(event.ids)
        data = at + len(attrs)
        place = data + len(self.records) + 16 * len(self.features)
        places = contents = b""
        for number in sorted(self.features):
            places += u64(place + len(contents), len(self.features[number]))
            contents += self.features[number]
        bits = sum(1 << number for number in self.features)
        header = b"PERFILE2" + u64(104, self.attr_size + 16, at, len(attrs), data)
        header += u64(len(self.records), 0, 0) + bits.to_bytes(32, "little")
        return header + ids + attrs + self.records + places + contents

    def pipe(self) -> bytes:
        """As perf record -o - writes it."""
        found = b"PERFILE2" + u64(16)
        for event in self.events:
            found += record(64, event.attr(self.attr_size) + u64(*event.ids))
        for number, content in self.features.items():
            if number == 1:
                data = padded(content)
                found += record(66, struct.pack("<II", len(data), 0)) + data
            else:
                found += record(80, u64(number) + content)
        return found + self.records


def event_desc(events: Sequence[Event]) -> bytes:
    """HEADER_EVENT_DESC."""
    found = struct.pack("<II", len(events), ATTR_BYTES)
    for event in events:
        found += event.attr() + struct.pack("<I", len(event.ids)) + string(event.name)
        found += u64(*event.ids)
    return found


def tracing_data(
    formats: Sequence[Format], *, version: str = "0.6", cmdlines: str = "", printk: str = "",
    kallsyms: str = "", long_size: int = 8,
) -> bytes:  # fmt: skip
    """HEADER_TRACING_DATA."""
    page = "\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;\n"
    page += f"\tfield: local_t commit;\toffset:8;\tsize:{long_size};\tsigned:1;\n"
    page += "\tfield: char data;\toffset:16;\tsize:4080;\tsigned:1;\n"
    found = b"\x17\x08\x44tracing" + version.encode() + b"\0\0" + bytes([long_size])
    found += struct.pack("<I", 4096)
    for name, content in (("header_page", page), ("header_event", "# none\n")):
        found += name.encode() + b"\0" + u64(len(content)) + content.encode()
    found += struct.pack("<I", 0)
    systems = sorted({form.system for form in formats})
    found += struct.pack("<I", len(systems))
    for system in systems:
        mine = [form.format().encode() for form in formats if form.system == system]
        found += system.encode() + b"\0" + struct.pack("<I", len(mine))
        found += b"".join(u64(len(text)) + text for text in mine)
    for text in (kallsyms, printk):
        found += struct.pack("<I", len(text)) + text.encode()
    return found + (b"" if version == "0.5" else u64(len(cmdlines)) + cmdlines.encode())


def compressed(*pushes: bytes, aligned: bool = True) -> bytes:
    """*pushes* as COMPRESSED2 records (COMPRESSED, not *aligned*): one stream, flushed at each."""
    packer = zstandard.ZstdCompressor().compressobj()
    found = b""
    for push in pushes:
        packed = packer.compress(push) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        if aligned:
            found += record(83, u64(len(packed)) + padded(packed))
        else:
            found += record(81, packed)
    return found

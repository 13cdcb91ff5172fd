"""A slow, obvious decoder of perf.data, record by record, to hold the parser against.

It reads sound files only, walks over every field of a sample that perf_event.h names, and leaves
raw records to the reference of records. What is damaged is not its business.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import zstandard

from tests.record_reference import Reference
from traceview.parsers.event_format import parse_event_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.parsers.event_format import EventFormat
    from traceview.trace import Want

MODES = ("unknown", "kernel", "user", "hypervisor", "guest_kernel", "guest_user")
SOFTWARE = {0: "cpu-clock", 1: "task-clock", 2: "page-faults", 9: "dummy"}
HARDWARE = {0: "cycles", 1: "instructions"}


@dataclass
class Attr:
    """The fields of a perf_event_attr by their names in perf_event.h."""

    type: int
    size: int
    config: int
    period: int
    sample_type: int
    read_format: int
    flags: int
    branch_type: int
    regs_user: int
    regs_intr: int

    @classmethod
    def of(cls, content: bytes) -> Attr:
        content = content.ljust(144, b"\0")
        head = struct.unpack_from("<IIQQQQQ", content)
        return cls(*head, *struct.unpack_from("<QQ4x4xQ", content, 72))

    def has(self, bit: int) -> bool:
        return bool(self.sample_type >> bit & 1)


@dataclass
class Sample:
    """One sample, as schema.EVENTS and SAMPLES have it; `mode` is known of all."""

    ts_ns: int | None = None
    cpu: int | None = None
    tid: int | None = None
    name: str = ""
    phase: str = "instant"
    evidence: str = "sample"
    symbol: str | None = None
    probe_ip: int | None = None
    args: dict[str, int | str] = field(default_factory=dict)
    cpumode: str | None = None
    period: int | None = None
    callchain: list[int] | None = None
    mode: int = field(default=0, compare=False)


@dataclass
class Recording:
    """All that the records say."""

    samples: list[Sample] = field(default_factory=list)
    holes: list[tuple[int | None, int | None, int, int]] = field(default_factory=list)
    lost_samples: int = 0
    comms: list[tuple[int, int, str]] = field(default_factory=list)  # time, tid, name
    counts: Counter[int] = field(default_factory=Counter)
    guest: int = 0


class Words:
    """Numbers one behind the other."""

    def __init__(self, content: bytes, at: int = 0) -> None:
        self.content, self.at = content, at

    def take(self, form: str) -> Any:
        found = struct.unpack_from("<" + form, self.content, self.at)
        self.at += struct.calcsize("<" + form)
        return found[0] if len(found) == 1 else found

    def u64(self) -> int:
        return int(self.take("Q"))

    def skip(self, size: int) -> bytes:
        self.at += size
        return self.content[self.at - size : self.at]

    def string(self) -> str:
        return self.skip(self.take("I")).split(b"\0")[0].decode()


class File:
    """What the header or the describing records of a pipe say."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.attrs: list[Attr] = []
        self.ids: dict[int, int] = {}
        self.names: dict[int, str] = {}
        self.formats: list[EventFormat] = []
        _, size = struct.unpack_from("<8sQ", content)
        self.is_pipe = size == 16
        if self.is_pipe:
            self.data = (16, len(content))
            return
        words = Words(content, 16)
        attr_size, attrs, attrs_size, data, data_size = words.take("5Q")
        words.take("2Q")
        bits = int.from_bytes(words.take("32s"), "little")
        self.data = (data, data + data_size)
        for at in range(attrs, attrs + attrs_size, attr_size):
            ids, ids_size = struct.unpack_from("<QQ", content, at + attr_size - 16)
            self.add(content[at : at + attr_size - 16], content[ids : ids + ids_size])
        place = data + data_size
        for number in range(256):
            if bits >> number & 1:
                begin, size = struct.unpack_from("<QQ", content, place)
                place += 16
                self.feature(number, content[begin : begin + size])

    def add(self, attr: bytes, ids: bytes) -> None:
        for one in struct.unpack(f"<{len(ids) // 8}Q", ids):
            self.ids[one] = len(self.attrs)
        self.attrs.append(Attr.of(attr))

    def feature(self, number: int, content: bytes) -> None:
        if number == 1:
            self.tracing_data(Words(content))
        if number == 12:
            words = Words(content)
            count, attr_size = words.take("II")
            for event in range(count):
                words.at += attr_size
                ids = words.take("I")
                self.names[event] = words.string()
                words.at += 8 * ids

    def tracing_data(self, words: Words) -> None:
        assert words.content[:10] == b"\x17\x08\x44tracing"
        words.at = words.content.index(b"\0", 10) + 1 + 6
        for head in (b"header_page\0", b"header_event\0"):
            words.skip(len(head))
            words.skip(words.u64())
        for _ in range(words.take("I")):
            self.format("ftrace", words)
        for _ in range(words.take("I")):
            end = words.content.index(b"\0", words.at)
            system = words.content[words.at : end].decode()
            words.at = end + 1
            for _ in range(words.take("I")):
                self.format(system, words)

    def format(self, system: str, words: Words) -> None:
        self.formats.append(parse_event_format(words.skip(words.u64()).decode(), system))

    def event_of(self, identity: int | None) -> int:
        if identity is None or len(self.attrs) == 1:
            return 0
        return self.ids.get(identity, 0 if identity == 0 else -1)

    def label(self, event: int) -> str:
        attr = self.attrs[event]
        for form in self.formats:
            if attr.type == 2 and form.id == attr.config:
                return f"{form.system}:{form.name}"
        kinds = {0: HARDWARE, 1: SOFTWARE}.get(attr.type, {})
        return self.names.get(event) or kinds.get(attr.config, "?")


def decode(content: bytes, want: Want) -> Recording:
    """All records of *content*; samples in time order, equal times in the order of the file."""
    file = File(content)
    records = list(chain(content, *file.data, file))
    packed = b"".join(body for kind, _, body in records if kind in (81, 83))
    if packed:
        unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
        records += chain(unpacked, 0, len(unpacked), file)
    found = Recording()
    raw = Reference(file.formats, want, {})
    last: dict[int | None, int] = {}
    for kind, misc, body in records:
        found.counts[kind] += 1
        if kind == 9:
            sample, wanted = read_sample(file, misc, body, raw)
            if wanted is not None:
                wanted.mode = misc & 7
                found.samples.append(wanted)
            if sample is not None:
                found.guest += misc & 7 in (4, 5)
                last[sample.cpu] = sample.ts_ns or last.get(sample.cpu, 0)
        elif kind < 64:
            ts, cpu, _ = trailer(file, body)
            read_other(found, kind, misc, body, ts, cpu, last.get(cpu))
            if ts:
                last[cpu] = ts
    if all(attr.has(2) for attr in file.attrs):
        found.samples.sort(key=lambda one: one.ts_ns or 0)
    return found


def chain(content: bytes, at: int, end: int, file: File) -> Iterator[tuple[int, int, bytes]]:
    """Type, misc and content of each record."""
    while at < end:
        kind, misc, size = struct.unpack_from("<IHH", content, at)
        body = content[at + 8 : at + size]
        at += size
        if kind == 64:
            size = max(64, struct.unpack_from("<I", body, 4)[0])
            file.add(body[:size], body[size:])
        elif kind == 66:
            (size,) = struct.unpack_from("<I", body)
            file.feature(1, content[at : at + size])
            at += size
        elif kind == 71:
            at += struct.unpack_from("<Q", body)[0]
        elif kind == 80:
            file.feature(struct.unpack_from("<Q", body)[0], body[8:])
        elif kind == 83:
            (size,) = struct.unpack_from("<Q", body)
            body = body[8 : 8 + size]
        yield kind, misc, body


def identity(file: File, words: tuple[int, ...], *, others: bool) -> int | None:
    attr = file.attrs[0]
    if attr.has(16):
        return words[-1] if others else words[0]
    if attr.has(6):
        return (
            words[-1 - attr.has(9) - attr.has(7)]
            if others
            else words[sum(attr.has(bit) for bit in (0, 1, 2, 3))]
        )
    return None


def trailer(file: File, body: bytes) -> tuple[int | None, int | None, int | None]:
    """Time, CPU and tid behind a record that is no sample."""
    if not file.attrs or not file.attrs[0].flags >> 18 & 1:
        return None, None, None
    words = struct.unpack(f"<{len(body) // 8}Q", body)
    attr = file.attrs[file.event_of(identity(file, words, others=True))]
    at = len(words) - sum(attr.has(bit) for bit in (1, 2, 6, 9, 7, 16))
    tid = ts = cpu = None
    for bit in (1, 2, 6, 9, 7, 16):
        if attr.has(bit):
            tid = words[at] >> 32 if bit == 1 else tid
            ts = words[at] if bit == 2 else ts
            cpu = words[at] & 0xFFFFFFFF if bit == 7 else cpu
            at += 1
    return ts, cpu, tid


def read_other(
    found: Recording, kind: int, misc: int, body: bytes, ts: int | None, cpu: int | None,
    before: int | None,
) -> None:  # fmt: skip
    if kind == 2:
        (count,) = struct.unpack_from("<Q", body, 8)
        begin = min(before, ts or 0) if before else None
        found.holes.append((cpu, begin, ts or 0, count))
    elif kind == 13 and not misc >> 15 & 1:
        found.lost_samples += struct.unpack_from("<Q", body)[0]
    elif kind == 3:
        _, tid = struct.unpack_from("<II", body)
        found.comms.append((ts or 0, tid, body[8:24].split(b"\0")[0].decode()))


def read_sample(
    file: File, misc: int, body: bytes, raw: Reference
) -> tuple[Sample | None, Sample | None]:
    """What the sample says, and the event that it is, if it is wanted."""
    words = Words(body)
    plain = struct.unpack_from(f"<{len(body) // 8}Q", body)
    event = file.event_of(identity(file, plain, others=False))
    if event < 0:
        return None, None
    attr = file.attrs[event]
    sample = Sample(name=file.label(event), cpumode=MODES[misc & 7])
    sample.period = 0 if attr.flags >> 10 & 1 else attr.period
    if attr.has(16):
        words.u64()
    ip = words.u64() if attr.has(0) else None
    if attr.has(1):
        _, tid = words.take("ii")
        sample.tid = tid if tid >= 0 else None
    if attr.has(2):
        sample.ts_ns = words.u64()
    for bit in (3, 6, 9):
        if attr.has(bit):
            words.u64()
    if attr.has(7):
        cpu, _ = words.take("iI")
        sample.cpu = cpu if cpu >= 0 else None
    if attr.has(8):
        sample.period = words.u64() or sample.period
    sample.period = sample.period or None
    if attr.has(4):
        read_values(words, attr.read_format)
    sample.callchain = frames(words) if attr.has(5) else []
    record = raw_data(words) if attr.has(10) else None
    if attr.type != 2:
        walk_the_rest(words, attr)
        sample.probe_ip = ip
        return sample, sample
    if record is None or attr.config not in raw.formats:
        return sample, plain_tracepoint(sample, attr, ip, raw)
    return sample, tracepoint(sample, record, raw)


def tracepoint(sample: Sample, record: bytes, raw: Reference) -> Sample | None:
    event = raw.decode(record)
    if event is None:
        return None
    tid = event.tid if sample.tid is None else sample.tid
    return Sample(
        sample.ts_ns, sample.cpu, tid, event.name, event.phase, event.evidence,
        event.symbol, event.probe_ip, event.args,
    )  # fmt: skip


def plain_tracepoint(sample: Sample, attr: Attr, ip: int | None, raw: Reference) -> Sample | None:
    """One without its record, or without a format."""
    found = Sample(sample.ts_ns, sample.cpu, sample.tid, sample.name.split(":")[-1])
    found.evidence = "tracepoint"
    form = raw.formats.get(attr.config)
    if form and form.field("__probe_ip"):
        found.phase, found.evidence, found.probe_ip = "entry", "kprobe", ip
    if form and form.field("__probe_func"):
        found.phase, found.evidence = "exit", "kprobe"
    wanted = raw.want.all_events or raw.want.vocabulary.wants_event(found.name)
    return found if wanted or found.evidence == "kprobe" else None


def read_values(words: Words, form: int) -> None:
    times = (form & 1) + (form >> 1 & 1)
    each = 1 + (form >> 2 & 1) + (form >> 4 & 1)
    if form >> 3 & 1:
        members = words.u64()
        words.at += 8 * (times + each * members)
    else:
        words.at += 8 * (times + each)


def frames(words: Words) -> list[int]:
    ips = [words.u64() for _ in range(words.u64())]
    found: list[int] = []
    was_deferred = False
    for ip in ips:
        if ip < (1 << 64) - 4095 and not was_deferred:
            found.append(ip)
        was_deferred = ip == (1 << 64) - 640
    return found


def raw_data(words: Words) -> bytes:
    return words.skip(words.take("I"))


def walk_the_rest(words: Words, attr: Attr) -> None:
    """What follows RAW: nothing of it is used, but it must end where the record does."""
    if attr.has(11):
        count = words.u64()
        words.at += 8 * (attr.branch_type >> 17 & 1) + 24 * count
        words.at += 8 * count * (attr.branch_type >> 19 & 1)
    if attr.has(12) and words.u64():
        words.at += 8 * attr.regs_user.bit_count()
    if attr.has(13):
        size = words.u64()
        words.at += size + 8 * bool(size)
    words.at += 8 * sum(attr.has(bit) for bit in (14, 24, 15, 17))
    if attr.has(18) and words.u64():
        words.at += 8 * attr.regs_intr.bit_count()
    words.at += 8 * sum(attr.has(bit) for bit in (19, 21, 22, 23))
    if attr.has(20):
        words.skip(words.u64())
    assert words.at == len(words.content)

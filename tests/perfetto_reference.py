"""A slow, obvious decoder of Perfetto traces, event by event, to hold the parser against.

It reads with the generated classes of the `perfetto` package. Damage, holes and time order across
CPUs are not its business: events come in the order in which the file has them.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import zstandard
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator

STATES = "SDTtXZPI"
GRAPH = {"funcgraph_entry": "entry", "funcgraph_exit": "exit"}
INT64 = 1 << 63


@dataclass
class Event:
    """One event; the fields are those of schema.EVENTS, arguments are (name, value, text)."""

    ts_ns: int
    cpu: int
    tid: int | None
    name: str
    phase: str = "instant"
    evidence: str = "tracepoint"
    symbol: str | None = None
    probe_ip: int | None = None
    duration_ns: int | None = None
    depth: int | None = None
    args: list[tuple[str, int | None, str | None]] = field(default_factory=list)


def packets(content: bytes) -> Iterator[Any]:
    """The packets of a trace, those inside compressed ones included."""
    for packet in pb.Trace.FromString(content).packet:
        if packet.compressed_packets:
            yield from packets(zlib.decompress(packet.compressed_packets))
        elif packet.zstd_compressed_packets:
            inner = zstandard.ZstdDecompressor().stream_reader(packet.zstd_compressed_packets)
            yield from packets(inner.read())
        else:
            yield packet


def text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def signed(value: int) -> int:
    return value - 2 * INT64 if value >= INT64 else value


def state_text(state: int) -> str:
    letters = [letter for bit, letter in enumerate(STATES) if state & (1 << bit)]
    return ("|".join(letters) if letters else "R") + ("+" if state & 0x100 else "")


class Reference:
    """Decodes every event with every argument."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.messages: dict[int, tuple[str, Any]] = {}
        self.symbols: dict[int, dict[int, str]] = {}
        self.running: dict[tuple[int, int], int] = {}
        self.failed: list[int] = []  # where Perfetto could not parse an event of the bundle

    def events(self) -> list[Event]:
        found = []
        for packet in packets(self.content):
            if not packet.HasField("ftrace_events"):
                continue
            sequence = packet.trusted_packet_sequence_id
            cleared = packet.sequence_flags & 1 or packet.incremental_state_cleared
            if cleared or packet.previous_packet_dropped:
                self.symbols[sequence] = {}
            for symbol in packet.interned_data.kernel_symbols:
                self.symbols.setdefault(sequence, {})[symbol.iid] = symbol.str.decode()
            bundle = packet.ftrace_events
            for generic in bundle.generic_event_descriptors:
                self.describe(generic)
            if bundle.lost_events:
                self.running.pop((sequence, bundle.cpu), None)
            self.failed = [e.timestamp for e in bundle.event if not e.HasField("pid")]
            for event in bundle.event:
                one = self.event(bundle.cpu, sequence, event)
                if one is not None:
                    found.append(one)
            found += self.switches(bundle, sequence)
            found += self.wakings(bundle)
        return found

    def describe(self, generic: Any) -> None:
        if generic.field_id in self.messages:
            return
        described = descriptor_pb2.DescriptorProto.FromString(generic.event_descriptor)
        name = described.name
        file = descriptor_pb2.FileDescriptorProto(
            name=f"{generic.field_id}.proto", package="x", syntax="proto2"
        )
        file.message_type.add().CopyFrom(described)
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"x.{name}"))
        self.messages[generic.field_id] = name, kind

    def event(self, cpu: int, sequence: int, event: Any) -> Event | None:
        common = {"ts_ns": event.timestamp, "cpu": cpu, "tid": event.pid}
        name = event.WhichOneof("event")
        if name is None:
            for unknown in UnknownFieldSet(event):
                if unknown.field_number in self.messages:
                    name, kind = self.messages[unknown.field_number]
                    return generic(name, kind.FromString(unknown.data), common)
            return None
        payload = getattr(event, name)
        if name in GRAPH:
            symbol = self.symbols.get(sequence, {}).get(payload.func)
            one = Event(**common, name=name, phase=GRAPH[name], evidence="fgraph", symbol=symbol)
            one.depth = payload.depth if payload.HasField("depth") else None
            if name == "funcgraph_exit":
                one.duration_ns = payload.rettime - payload.calltime
                one.args = [("overrun", payload.overrun, None)]
            return one
        if name == "kprobe_event":
            phase = {1: "entry", 2: "exit", 3: "instant"}[payload.type]
            symbol = text(payload.name)
            return Event(**common, name=symbol, phase=phase, evidence="kprobe", symbol=symbol)
        if name == "generic":
            return legacy(payload, common)
        one = Event(**common, name=name, evidence="marker" if name == "print" else "tracepoint")
        one.args = arguments(payload)
        if name == "sched_switch":
            one.args = [arg for arg in one.args if arg[0] != "prev_state"]
            one.args.append(("prev_state", None, state_text(payload.prev_state)))
        return one

    def switches(self, bundle: Any, sequence: int) -> Iterator[Event]:
        compact, ts, key = bundle.compact_sched, 0, (sequence, bundle.cpu)
        for i, delta in enumerate(compact.switch_timestamp):
            ts += delta
            if any(failed <= ts for failed in self.failed):
                self.running.pop(key, None)
                self.failed = [failed for failed in self.failed if failed > ts]
            prev = self.running.get(key)
            one = Event(ts, bundle.cpu, prev, "sched_switch")
            one.args = [
                ("next_pid", compact.switch_next_pid[i], None),
                ("next_prio", compact.switch_next_prio[i], None),
                ("next_comm", None, compact.intern_table[compact.switch_next_comm_index[i]]),
                ("prev_state", None, state_text(compact.switch_prev_state[i])),
            ]
            if prev is not None:
                one.args.append(("prev_pid", prev, None))
            self.running[key] = compact.switch_next_pid[i]
            yield one

    def wakings(self, bundle: Any) -> Iterator[Event]:
        compact, ts = bundle.compact_sched, 0
        for i, delta in enumerate(compact.waking_timestamp):
            ts += delta
            one = Event(ts, bundle.cpu, None, "sched_waking")
            one.args = [
                ("pid", compact.waking_pid[i], None),
                ("prio", compact.waking_prio[i], None),
                ("target_cpu", compact.waking_target_cpu[i], None),
                ("comm", None, compact.intern_table[compact.waking_comm_index[i]]),
            ]
            yield one


def arguments(message: Any) -> list[tuple[str, int | None, str | None]]:
    """The fields that are set, repeated ones one by one."""
    found: list[tuple[str, int | None, str | None]] = []
    for one, value in message.ListFields():
        for item in value if one.is_repeated else [value]:
            if isinstance(item, (str, bytes)):
                found.append((one.name, None, text(item)))
            else:
                found.append((one.name, signed(int(item)), None))
    return [
        (name, value, words.rstrip("\n") if words and name == "buf" else words)
        for name, value, words in found
    ]


def generic(name: str, message: Any, common: dict[str, Any]) -> Event:
    one = Event(**common, name=name)
    values = {f.name: getattr(message, f.name) for f in message.DESCRIPTOR.fields}
    if "__probe_func" in values:
        one.phase, one.evidence, one.probe_ip = "exit", "kprobe", values["__probe_func"]
    elif "__probe_ip" in values:
        one.phase, one.evidence, one.probe_ip = "entry", "kprobe", values["__probe_ip"]
    hidden = ("__probe_func", "__probe_ip")
    one.args = [arg for arg in arguments(message) if arg[0] not in hidden]
    return one


def legacy(payload: Any, common: dict[str, Any]) -> Event:
    """GenericFtraceEvent: what stands before the last start of a probe belongs to another event."""
    one = Event(**common, name=payload.event_name)
    fields = list(payload.field)
    starts = [i for i, f in enumerate(fields) if f.name in ("__probe_ip", "__probe_func")]
    if starts:
        fields = fields[starts[-1] :]
        one.evidence, one.probe_ip = "kprobe", fields[0].uint_value
        one.phase = "entry" if fields[0].name == "__probe_ip" else "exit"
        fields = fields[1:]
    args: dict[str, tuple[str, int | None, str | None]] = {}
    for f in fields:
        if f.HasField("str_value"):
            args[f.name] = (f.name, None, f.str_value)
        else:
            args[f.name] = (f.name, signed(f.int_value or f.uint_value), None)
    one.args = list(args.values())
    return one


def class_counts(content: bytes) -> dict[str, int]:
    """How many events there are of each function, probe or tracepoint; compact ones included."""
    found: Counter[str] = Counter()
    symbols: dict[int, str] = {}
    names: dict[int, str] = {}
    for packet in packets(content):
        if not packet.HasField("ftrace_events"):
            continue
        if packet.sequence_flags & 1 or packet.previous_packet_dropped:
            symbols = {}
        symbols.update((s.iid, s.str.decode()) for s in packet.interned_data.kernel_symbols)
        bundle = packet.ftrace_events
        for one in bundle.generic_event_descriptors:
            described = descriptor_pb2.DescriptorProto.FromString(one.event_descriptor)
            names[one.field_id] = described.name
        for event in bundle.event:
            kind = event.WhichOneof("event")
            if kind in GRAPH:
                found[f"{symbols[getattr(event, kind).func]} {kind}"] += 1
            elif kind == "kprobe_event":
                found[event.kprobe_event.name] += 1
            elif kind == "generic":
                found[event.generic.event_name] += 1
            elif kind is not None:
                found[kind] += 1
            else:
                for unknown in UnknownFieldSet(event):
                    found[names[unknown.field_number]] += 1
        found["sched_switch"] += len(bundle.compact_sched.switch_timestamp)
        found["sched_waking"] += len(bundle.compact_sched.waking_timestamp)
    return +found

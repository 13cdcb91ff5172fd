"""Small Perfetto traces, written with the generated classes of the `perfetto` package."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import zstandard
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TYPES = {
    "u64": FieldDescriptorProto.TYPE_UINT64,
    "s64": FieldDescriptorProto.TYPE_INT64,
    "string": FieldDescriptorProto.TYPE_STRING,
}


def varint(value: int, *, width: int = 1) -> bytes:
    """*value*, padded to at least *width* bytes as protozero does with lengths."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value >= 0x80 or len(found) + 1 < width:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def field(number: int, content: int | bytes | str, *, width: int = 1) -> bytes:
    """One field on the wire: a varint, or length-delimited bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content), width=width) + content


def trace(*packets: Any) -> bytes:
    """The packets (messages, or their bytes), each with its tag and length."""
    contents = (p if isinstance(p, bytes) else p.SerializeToString() for p in packets)
    return b"".join(field(1, content) for content in contents)


def packet(sequence: int = 2, **fields: Any) -> Any:
    """A TracePacket of a sequence; *fields* are messages or values."""
    found = pb.TracePacket(trusted_packet_sequence_id=sequence, trusted_uid=0)
    for name, value in fields.items():
        if hasattr(value, "SerializeToString"):
            getattr(found, name).CopyFrom(value)
        else:
            setattr(found, name, int(value) if name == "previous_packet_dropped" else value)
    return found


def compressed(*packets: Any, zstd: bool = False) -> Any:
    """A packet with *packets* inside."""
    content = trace(*packets)
    if zstd:
        return packet(zstd_compressed_packets=zstandard.ZstdCompressor().compress(content))
    return packet(compressed_packets=zlib.compress(content))


def bundle(cpu: int = 0, events: Sequence[Any] = (), **fields: Any) -> Any:
    """A FtraceEventBundle; *events* are FtraceEvents."""
    found = pb.FtraceEventBundle(cpu=cpu, **fields)
    found.event.extend(events)
    return found


def events(cpu: int, *found: Any, sequence: int = 2, **fields: Any) -> Any:
    """A packet with one bundle of *found*."""
    return packet(sequence, ftrace_events=bundle(cpu, found), **fields)


def event(ts_ns: int, tid: int, **kind: Mapping[str, Any]) -> Any:
    """A FtraceEvent of one *kind*: event(1, 2, print={"buf": "x"})."""
    return pb.FtraceEvent(timestamp=ts_ns, pid=tid, **kind)


def generic(ts_ns: int, tid: int, number: int, values: Mapping[int, int | str]) -> Any:
    """A self-describing event: field *number* of FtraceEvent with the fields *values*."""
    payload = b"".join(field(n, value) for n, value in values.items())
    return pb.FtraceEvent.FromString(event(ts_ns, tid).SerializeToString() + field(number, payload))


def described(number: int, name: str, fields: Mapping[str, str], group: str = "kvmlab") -> Any:
    """A GenericEventDescriptor; *fields* are names and types (u64, s64, string)."""
    message = DescriptorProto(name=name)
    for nth, (one, kind) in enumerate(fields.items(), 1):
        message.field.add(name=one, number=nth, type=TYPES[kind])
    return pb.FtraceEventBundle.GenericEventDescriptor(
        field_id=number, group_name=group, event_descriptor=message.SerializeToString()
    )


def legacy(ts_ns: int, tid: int, name: str, fields: Iterable[tuple[str, int | str]]) -> Any:
    """A GenericFtraceEvent."""
    found = event(ts_ns, tid, generic={"event_name": name})
    for one, value in fields:
        kind = "str_value" if isinstance(value, str) else "uint_value"
        found.generic.field.add(name=one, **{kind: value})
    return found


def graph_entry(ts_ns: int, tid: int, iid: int, depth: int | None = 0) -> Any:
    """A funcgraph_entry."""
    deep = {} if depth is None else {"depth": depth}
    return event(ts_ns, tid, funcgraph_entry={"func": iid, **deep})


def graph_exit(ts_ns: int, tid: int, iid: int, called: int, returned: int, depth: int = 0) -> Any:
    """A funcgraph_exit, with its two times of the local clock."""
    times = {"calltime": called, "rettime": returned, "overrun": 0}
    return event(ts_ns, tid, funcgraph_exit={"func": iid, "depth": depth, **times})


def symbols(names: Mapping[int, str]) -> Any:
    """Interned kernel symbols."""
    found = pb.InternedData()
    for iid, name in names.items():
        found.kernel_symbols.add(iid=iid, str=name.encode())
    return found


def compact(
    switches: Sequence[tuple[int, int, int, str]] = (),
    wakings: Sequence[tuple[int, int, int, str]] = (),
) -> Any:
    """A CompactSched: (ts, next_pid, prev_state, next_comm), (ts, pid, target_cpu, comm)."""
    found = pb.FtraceEventBundle.CompactSched()
    table: list[str] = []

    def interned(name: str) -> int:
        if name not in table:
            table.append(name)
        return table.index(name)

    before = 0
    for ts, next_pid, prev_state, comm in switches:
        found.switch_timestamp.append(ts - before)
        found.switch_next_pid.append(next_pid)
        found.switch_next_prio.append(120)
        found.switch_prev_state.append(prev_state)
        found.switch_next_comm_index.append(interned(comm))
        before = ts
    before = 0
    for ts, pid, target_cpu, comm in wakings:
        found.waking_timestamp.append(ts - before)
        found.waking_pid.append(pid)
        found.waking_prio.append(120)
        found.waking_target_cpu.append(target_cpu)
        found.waking_comm_index.append(interned(comm))
        before = ts
    found.intern_table.extend(table)
    return found


def ftrace_config(**fields: Any) -> Any:
    """A packet with a trace config that has one data source linux.ftrace."""
    config = pb.TraceConfig()
    source = config.data_sources.add().config
    source.name = "linux.ftrace"
    source.ftrace_config.CopyFrom(pb.FtraceConfig(**fields))
    return packet(1, trace_config=config)


def stats(sequence: int = 2, *, end: bool, **fields: Any) -> Any:
    """A packet with ftrace_stats of the start or the end of the trace."""
    phase = pb.FtraceStats.END_OF_TRACE if end else pb.FtraceStats.START_OF_TRACE
    return packet(sequence, ftrace_stats=pb.FtraceStats(phase=phase, **fields))


def process_tree(threads: Iterable[tuple[int, int, str]]) -> Any:
    """A ProcessTree of (tid, tgid, comm)."""
    found = pb.ProcessTree()
    for tid, tgid, comm in threads:
        if tid == tgid:
            found.processes.add(pid=tid, cmdline=[comm], cmdline_is_comm=True)
        else:
            found.threads.add(tid=tid, tgid=tgid, name=comm)
    return found

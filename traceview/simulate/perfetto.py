"""A simulated recording as a Perfetto trace, with the packets that traced and traced_probes write.

A bundle that follows lost events says so, but not how many they were: that is in the counters of
the last ftrace_stats, together with what was lost behind the last event of a CPU. Probes have an
address and no function's name, as in every Perfetto trace: what names them is the sidecar's
`kprobe_events` (probe_events.kprobe_definitions) or a symbol table.

Perfetto knows the clocks boot, global, local and mono_raw; times of others are written as if they
were of its own, the boot clock, which mono is as long as the host does not sleep. Sources of truth:
protos/perfetto/trace/{trace_packet,clock_snapshot,system_info}.proto and ftrace/
{ftrace_event_bundle,ftrace_stats}.proto of Perfetto 56.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.protobuf_columns import TRACE_PACKET, delimited, number, packet
from traceview.simulate.perfetto_events import Events
from traceview.simulate.probe_events import GROUP
from traceview.simulate.record_columns import Symbols
from traceview.simulate.recording import RECORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import BinaryIO

    from traceview.simulate.perfetto_events import Encoded
    from traceview.simulate.recording import Recorded

BUNDLE_EVENTS: Final = 1024
CLOCKS: Final = {"global": 2, "local": 3, "mono_raw": 4}  # FtraceClock
SERVICE, PROBES = 1, 2  # packet sequences: of traced, of the ftrace data source
CLEARED, NEEDS_STATE = 1, 2
REALTIME_FREE_CLOCKS: Final = (6, 3, 5)  # BuiltinClock: boot, monotonic, monotonic raw


def write_perfetto(
    recorded: Recorded, file: BinaryIO, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Write all of *recorded*; *progress* hears how many records were written so far."""
    batches = iter(recorded.batches)
    first = next((batch for batch in batches if batch.height), pl.DataFrame(schema=RECORDS))
    first_ns = int(first["ts_ns"][0]) if first.height else 0
    events = Events(recorded, Symbols())
    bundles = _Bundles(events, CLOCKS.get(recorded.clock))
    file.writelines(packet(one) for one in _about(recorded, first_ns))
    done = 0
    for batch in chain([first], batches):
        file.writelines(bundles.packets(events.encode(batch)))
        done += batch.height
        progress(done)
    file.write(packet(_stats(recorded, bundles.lanes)))


def _about(recorded: Recorded, first_ns: int) -> Iterable[Any]:
    """What stands before the events."""
    snapshot = pb.ClockSnapshot(primary_trace_clock=pb.BUILTIN_CLOCK_BOOTTIME)
    for clock in REALTIME_FREE_CLOCKS:
        snapshot.clocks.add(clock_id=clock, timestamp=first_ns)
    yield pb.TracePacket(trusted_packet_sequence_id=SERVICE, clock_snapshot=snapshot)
    yield pb.TracePacket(trusted_packet_sequence_id=SERVICE, trace_config=_config(recorded))
    info = pb.SystemInfo(num_cpus=recorded.cpus, page_size=recorded.page_size_bytes)
    info.utsname.sysname, info.utsname.release = "Linux", recorded.kernel
    info.utsname.machine = "aarch64"
    yield pb.TracePacket(trusted_packet_sequence_id=SERVICE, system_info=info)
    stats = pb.FtraceStats(phase=pb.FtraceStats.START_OF_TRACE)
    for cpu in range(recorded.cpus):
        stats.cpu_stats.add(cpu=cpu)
    yield pb.TracePacket(trusted_packet_sequence_id=PROBES, ftrace_stats=stats)
    tree = pb.ProcessTree()
    for task in recorded.tasks:
        if task.tid == task.tgid:
            tree.processes.add(pid=task.tid, cmdline=[task.comm], cmdline_is_comm=True)
        else:
            tree.threads.add(tid=task.tid, tgid=task.tgid, name=task.comm)
    if recorded.tasks:
        yield pb.TracePacket(
            timestamp=first_ns, trusted_packet_sequence_id=PROBES, process_tree=tree
        )


def _config(recorded: Recorded) -> Any:
    """What such a recording would have asked for; which functions is not stated."""
    config = pb.TraceConfig()
    source = config.data_sources.add().config
    source.name = "linux.ftrace"
    asked = source.ftrace_config
    asked.ftrace_events.append("ftrace/print")
    if recorded.probes or recorded.returns:
        asked.ftrace_events.append(f"{GROUP}/*")
    graph = not asked.ftrace_events[1:] if recorded.graph is None else recorded.graph
    if graph:
        asked.enable_function_graph = True
    asked.symbolize_ksyms = True
    return config


def _stats(recorded: Recorded, lanes: dict[int, _Lane]) -> Any:
    """The counters at the end."""
    stats = pb.FtraceStats(phase=pb.FtraceStats.END_OF_TRACE)
    for cpu in range(recorded.cpus):
        lane = lanes.get(cpu, _Lane())
        stats.cpu_stats.add(
            cpu=cpu, overrun=lane.lost, read_events=lane.events, now_ts=lane.last_ns / 1e9,
            dropped_events=recorded.lost_at_end.get(cpu, 0),
        )  # fmt: skip
    return pb.TracePacket(trusted_packet_sequence_id=PROBES, ftrace_stats=stats)


@dataclass(slots=True)
class _Lane:
    """What was written of a CPU."""

    events: int = 0
    lost: int = 0
    last_ns: int = 0


@dataclass(slots=True)
class _Bundles:
    """Makes packets of encoded events. `clock`: FtraceClock, None for Perfetto's own."""

    events: Events
    clock: int | None
    lanes: dict[int, _Lane] = field(default_factory=dict)
    _begun: bool = False
    _named: int = 0

    def packets(self, encoded: Encoded) -> Iterator[bytes]:
        """The events of a batch; a bundle begins where a CPU begins, or events were lost."""
        changes = np.flatnonzero(np.diff(encoded.cpu)) + 1
        starts = {0, *changes.tolist(), *np.flatnonzero(encoded.lost_before).tolist()}
        bounds = sorted({*starts, len(encoded.cpu)})
        for begin, end in pairwise(bounds):
            for low in range(begin, end, BUNDLE_EVENTS):
                yield self._packet(encoded, low, min(low + BUNDLE_EVENTS, end))

    def _packet(self, encoded: Encoded, low: int, high: int) -> bytes:
        cpu, first_ns = int(encoded.cpu[low]), int(encoded.ts_ns[low])
        lane = self.lanes.setdefault(cpu, _Lane())
        lost = int(encoded.lost_before[low])
        bundle = pb.FtraceEventBundle(cpu=cpu, previous_bundle_end_timestamp=lane.last_ns)
        if lost:
            bundle.lost_events = True
        if self.clock is not None:
            bundle.ftrace_clock = self.clock
        one = pb.TracePacket(trusted_packet_sequence_id=PROBES, sequence_flags=NEEDS_STATE)
        if not self._begun:
            self._begun = True
            one.sequence_flags, one.first_packet_on_sequence = NEEDS_STATE | CLEARED, True
            bundle.generic_event_descriptors.extend(self.events.descriptions())
            if self.clock is not None:  # one pair of times ties the clock to Perfetto's own
                bundle.ftrace_timestamp = bundle.boot_timestamp = first_ns
        names = self.events.symbols.names
        for iid, name in enumerate(names[self._named :], self._named + 1):
            one.interned_data.kernel_symbols.add(iid=iid, str=name.encode())
        self._named = len(names)
        lane.events += high - low
        lane.lost += lost
        lane.last_ns = int(encoded.ts_ns[high - 1])
        events = encoded.data[encoded.bounds[low] : encoded.bounds[high]]
        content = bundle.SerializeToString(deterministic=True) + events.tobytes()
        head = one.SerializeToString(deterministic=True)
        return delimited(
            TRACE_PACKET, head + delimited(number("TracePacket", "ftrace_events"), content)
        )

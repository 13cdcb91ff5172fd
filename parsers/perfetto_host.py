"""What a Perfetto trace says about its host and its recording: facts, tasks, and what went wrong.

These packets are few; they are read with the generated classes of the `perfetto` package. Sources
of truth: protos/perfetto/trace/{system_info,ps,ftrace/ftrace_stats,clock_snapshot,perfetto}.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
from google.protobuf.message import DecodeError
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.schema import LOSSES, conform
from traceview.trace import Diagnostic

# FtraceClock: absent means the default, the boot clock.
FTRACE_CLOCKS: Final = {0: "boot", 2: "global", 3: "local", 4: "mono_raw"}
REALTIME_CLOCK: Final = 1  # BuiltinClock.BUILTIN_CLOCK_REALTIME
MIDR_ARCHITECTURE: Final = 0xF  # since Armv7 the field holds this, whatever /proc/cpuinfo prints
MANY: Final = 8  # names listed in a message

# The packets that are read here: field of TracePacket -> class of its message.
MESSAGES: Final[dict[str, Any]] = {
    "clock_snapshot": pb.ClockSnapshot,
    "cpu_info": pb.CpuInfo,
    "ftrace_stats": pb.FtraceStats,
    "process_stats": pb.ProcessStats,
    "process_tree": pb.ProcessTree,
    "service_event": pb.TracingServiceEvent,
    "system_info": pb.SystemInfo,
    "trace_config": pb.TraceConfig,
    "trace_stats": pb.TraceStats,
}


def text(value: str | bytes) -> str:
    """A string field: the package hands out bytes where it is no UTF-8."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def listed(names: list[str]) -> str:
    """*names* for a message: the first MANY of them."""
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + more


@dataclass(slots=True)
class Host:
    """What the metadata packets said so far. `comm` and `tgid` are keyed by thread id."""

    facts: dict[str, Any] = field(default_factory=dict)
    comm: dict[int, str] = field(default_factory=dict)
    tgid: dict[int, int] = field(default_factory=dict)
    probe_phases: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    config: Any = None
    sources_started: bool = False
    stats: dict[tuple[int, int], Any] = field(default_factory=dict)  # (sequence, phase) -> last
    buffers: Any = None
    clocks: set[int] = field(default_factory=set)
    unreadable: int = 0

    def read(self, name: str, content: bytes, sequence: int) -> None:
        """Take in the packet field *name*."""
        try:
            message = MESSAGES[name].FromString(content)
        except DecodeError:
            self.unreadable += 1
            return
        if name == "ftrace_stats":
            self.stats[sequence, message.phase] = message
        else:
            getattr(self, f"_{name}")(message)

    def _clock_snapshot(self, message: Any) -> None:
        if "recorded_at" in self.facts:
            return
        for clock in message.clocks:
            if clock.clock_id == REALTIME_CLOCK and clock.timestamp < 2**62:
                at = datetime.fromtimestamp(clock.timestamp / 1e9, UTC)
                self.facts["recorded_at"] = at.isoformat(timespec="seconds")

    def _cpu_info(self, message: Any) -> None:
        midrs = dict.fromkeys(
            cpu.arm_identifier.implementer << 24
            | cpu.arm_identifier.variant << 20
            | MIDR_ARCHITECTURE << 16
            | cpu.arm_identifier.part << 4
            | cpu.arm_identifier.revision
            for cpu in message.cpus
            if cpu.HasField("arm_identifier")
        )
        if midrs:
            self.facts["midr"] = ", ".join(f"{midr:#018x}" for midr in midrs)
        if message.cpus:
            self.facts.setdefault("cpus", len(message.cpus))

    def _process_tree(self, message: Any) -> None:
        for process in message.processes:
            self.tgid[process.pid] = process.pid
            if process.cmdline_is_comm and process.cmdline:
                self.comm[process.pid] = text(process.cmdline[0])
        for thread in message.threads:
            self.tgid[thread.tid] = thread.tgid
            if thread.name:
                self.comm[thread.tid] = text(thread.name)

    def _process_stats(self, message: Any) -> None:
        for process in message.processes:
            self.tgid.setdefault(process.pid, process.pid)
            for thread in process.threads:
                self.tgid.setdefault(thread.tid, process.pid)

    def _service_event(self, message: Any) -> None:
        self.sources_started |= message.all_data_sources_started

    def _system_info(self, message: Any) -> None:
        found = {
            "kernel": text(message.utsname.release),
            "machine": text(message.utsname.machine),
            "cpus": message.num_cpus,
            "page_size_bytes": message.page_size,
        }
        self.facts.update({name: value for name, value in found.items() if value})
        if message.machine_name:  # of a machine that is traced from another one
            self.facts["hostnames"] = (text(message.machine_name),)

    def _trace_config(self, message: Any) -> None:
        for source in message.data_sources:
            if source.config.name != "linux.ftrace":
                continue
            config = self.config = source.config.ftrace_config
            self.facts["tracer"] = "function_graph" if config.enable_function_graph else "nop"
            if config.buffer_size_kb:
                self.facts["buffer_size_kb"] = config.buffer_size_kb
            for probe in config.kprobe_events:
                phase = {1: "entry", 2: "exit"}.get(probe.type)
                if phase:
                    self.probe_phases[text(probe.probe)].add(phase)
            self.facts["traced"] = _traced(config)

    def _trace_stats(self, message: Any) -> None:
        self.buffers = message.buffer_stats

    def probe_phase(self, name: str) -> str:
        """What an `instant` kprobe_event is: the half that the config asked for, if it says."""
        phases = self.probe_phases.get(name, set())
        return next(iter(phases)) if len(phases) == 1 else "instant"

    def final_facts(self) -> dict[str, Any]:
        """Everything known of the source, as columns of schema.SOURCES."""
        clocks = {FTRACE_CLOCKS.get(clock, "unknown") for clock in self.clocks or {0}}
        facts = {
            "loss_known": True,
            "clock": clocks.pop() if len(clocks) == 1 else "unknown",
            **self.facts,
        }
        pages = max((stats.cpu_buffer_size_pages for stats in self.stats.values()), default=0)
        if pages and "page_size_bytes" in facts:
            # As the kernel reports it: what was asked for, rounded up to pages, and one page.
            facts["buffer_size_kb"] = pages * facts["page_size_bytes"] // 1024
        return facts

    def losses(self) -> pl.DataFrame:
        """What the kernel's counters lost during the recording: rows that cannot be placed."""
        rows: list[tuple[str, int | None, int]] = []
        for (sequence, phase), end in sorted(self.stats.items(), key=lambda item: item[0]):
            if phase != pb.FtraceStats.END_OF_TRACE:
                continue
            start = self.stats.get((sequence, pb.FtraceStats.START_OF_TRACE), pb.FtraceStats())
            before = {stats.cpu: stats for stats in start.cpu_stats}
            for after in end.cpu_stats:
                old = before.get(after.cpu, pb.FtraceCpuStats())
                for kind in ("overrun", "commit_overrun", "dropped_events"):
                    lost = getattr(after, kind) - getattr(old, kind)
                    if 0 < lost < 2**63 and after.cpu < 2**31:
                        rows.append((kind, after.cpu, lost))
            missed = end.kprobe_stats.misses - start.kprobe_stats.misses
            if 0 < missed < 2**63:
                rows.append(("kprobe_missed", None, missed))
        schema = {name: LOSSES[name] for name in ("kind", "cpu", "count")}
        return conform("losses", pl.DataFrame(rows, schema=schema, orient="row"))

    def diagnostics(self, *, bundles: int) -> list[Diagnostic]:
        """What the recording itself says went wrong."""
        found = [*_totals(self.losses()), *self._stated(), *self._buffer_trouble()]
        found += counted(
            "damaged-metadata", self.unreadable,
            "packets about the host or the recording that cannot be read",
        )  # fmt: skip
        if self.clocks - {0} and self.final_facts()["clock"] in ("local", "unknown"):
            message = (
                "the trace clock is local or unknown: times of different CPUs may be off"
                " against each other, and so may the order of events across CPUs"
            )
            found.append(Diagnostic("clock-not-comparable", "warning", message))
        if not bundles:
            found.append(Diagnostic("no-ftrace-events", "error", self._why_nothing()))
        return found

    def _stated(self) -> list[Diagnostic]:
        """Errors that traced_probes wrote down."""
        found = []
        ends = [s for (_, phase), s in self.stats.items() if phase == pb.FtraceStats.END_OF_TRACE]
        errors = {error for stats in ends for error in stats.ftrace_parse_errors}
        if errors:
            names = [pb.FtraceParseStatus.Name(error) for error in sorted(errors)]
            message = (
                "Perfetto could not parse some of the kernel's pages and left out the rest of each"
                f" ({listed(names)}); the holes are in the losses"
            )
            found.append(Diagnostic("ftrace-parse-errors", "warning", message))
        absent = {
            text(name)
            for stats in self.stats.values()
            for name in (*stats.unknown_ftrace_events, *stats.failed_ftrace_events)
        }
        if absent:
            message = (
                "asked for but not recorded, because unknown to the kernel or refused:"
                f" {listed(sorted(absent))}"
            )
            found.append(Diagnostic("events-not-enabled", "warning", message, len(absent)))
        return found

    def _buffer_trouble(self) -> list[Diagnostic]:
        """What Perfetto's own buffers lost."""
        full = sum(buffer.chunks_discarded for buffer in self.buffers or ())
        wrapped = sum(buffer.chunks_overwritten for buffer in self.buffers or ())
        return [
            *counted(
                "perfetto-buffer-full", full,
                "Perfetto's trace buffer was full: the end was not recorded; chunks lost",
            ),
            *counted(
                "perfetto-buffer-overwritten", wrapped,
                "Perfetto's trace buffer wrapped around: the start is gone; chunks lost",
            ),
        ]  # fmt: skip

    def _why_nothing(self) -> str:
        """The likely cause of a trace without any ftrace bundle."""
        start = "the trace holds no ftrace events"
        if self.config is None:
            return f"{start}: its config has no data source linux.ftrace, or is not in the file"
        if self.stats:
            return f"{start}: ftrace was on, and none of the events of the config occurred"
        never = "" if self.sources_started else " (the trace never says that all sources started)"
        filters = [text(name) for name in self.config.function_filters]
        filters += [text(name) for name in self.config.function_graph_roots]
        if filters:
            names = list(dict.fromkeys(filters))
            return (
                f"{start}: the data source linux.ftrace did not start{never}. One name in"
                " function_filters or function_graph_roots that the kernel does not know is enough"
                " for that, and Perfetto does not say so. Look each of them up in tracefs"
                f" available_filter_functions: {', '.join(names)}"
            )
        return (
            f"{start}: the data source linux.ftrace did not start{never}. Likely causes: tracefs"
            " is not mounted or not writable for traced_probes, or another tracer is in use"
        )


def counted(code: str, count: int, what: str) -> list[Diagnostic]:
    """A warning that names *what* and how many, if there are any."""
    return [Diagnostic(code, "warning", f"{what}: {count}", count)] if count else []


def _traced(config: Any) -> tuple[str, ...]:
    """The functions that the recording was told to time, whether they were hit or not.

    A name that the kernel does not have makes the whole data source fail, so those of a trace
    with events were there.
    """
    both = 3  # KPROBE_TYPE_BOTH
    names = [text(probe.probe) for probe in config.kprobe_events if probe.type == both]
    if config.enable_function_graph:
        names += [text(name) for name in config.function_filters]
    return tuple(sorted({name for name in names if name.isidentifier()}))


def _totals(losses: pl.DataFrame) -> list[Diagnostic]:
    """The losses without a place, over all CPUs."""
    messages = {
        "overrun": "events overwritten in the kernel's buffers before they were read",
        "commit_overrun": "events lost in commits (the kernel's buffer is far too small)",
        "dropped_events": "events dropped because the kernel's buffers were full",
        "kprobe_missed": "kprobe hits missed (a probe recursed, or maxactive is too small)",
    }
    totals = losses.group_by(pl.col("kind").cast(pl.String)).agg(pl.col("count").sum())
    lost = dict(totals.iter_rows())
    return [
        one
        for kind, what in messages.items()
        for one in counted(kind.replace("_", "-"), lost.get(kind, 0), what)
    ]

"""The back end tracefs: the ring buffers as they are, read while they fill. A raw dump.

It needs nothing but the kernel. It records in an instance of its own, where the kernel lets the
tracer run there; nobody else's buffers are touched then. Sources: Documentation/trace/ftrace.rst;
kernel/trace/{trace.c,trace_functions_graph.c} of Linux 6.12.95.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError
from traceview.record.dump_files import copy_formats, copy_host, copy_settings, page_bytes
from traceview.record.hypervisor import HypervisorReader
from traceview.record.kernel_losses import KernelLosses
from traceview.record.probes import GROUP, define, events
from traceview.record.rings import HALF_FULL_PERCENT, Rings
from traceview.record.settings import elements, neutral_graph
from traceview.record.tracefs_files import Tracefs

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.record.backend import Losses, Setup
    from traceview.record.host import Host
    from traceview.record.plan import Plan

COPY_MARKER: Final = "options/copy_trace_marker"


class TracefsBackend:
    """Records without any other program."""

    name = "tracefs"
    trace = "trace"

    def __init__(self) -> None:
        """Nothing is set up yet."""
        self._setup: Setup | None = None
        self._rings: Rings | None = None
        self._losses: KernelLosses | None = None
        self._hypervisor: HypervisorReader | None = None

    def problems(self, host: Host, plan: Plan) -> tuple[str, ...]:
        """Why it cannot record *plan* on *host*: rings hold addresses of functions, not names."""
        hidden = host.root / "proc/sys/kernel/kptr_restrict"
        if plan.graph and hidden.exists() and hidden.read_text(encoding="ascii").strip() == "2":
            mend = "sysctl kernel.kptr_restrict=1"
            return (f"kernel.kptr_restrict is 2, so /proc/kallsyms has no addresses: {mend}",)
        return ()

    def limits(self, host: Host, plan: Plan) -> tuple[str, ...]:  # noqa: ARG002 - of the protocol
        """None: the others are compared with it."""
        return ()

    def prepare(self, setup: Setup) -> None:
        """Buffers, clock, filter, kprobes, tracer; nothing is recorded yet."""
        self._setup = setup
        tracefs, plan = Tracefs(setup.host.tracefs), setup.plan
        if plan.instance is not None:
            try:
                tracefs.make_instance(plan.instance)
            except OSError as err:
                raise SettingError(
                    f"instances/{plan.instance} cannot be made: {err.strerror}"
                ) from err
        buffers = self._buffers
        buffers.set("tracing_on", "0")
        _set_up_buffers(buffers, plan)
        define(tracefs, plan.probes)
        if plan.graph:
            _set_up_graph(tracefs, buffers, plan, setup)
        for event in (*plan.events, *(f"{GROUP}/{one}" for one in events(plan.probes))):
            buffers.set(f"events/{event.replace(':', '/')}/enable", "1")
        buffers.write("trace", "")
        self._rings = Rings(buffers, self._folder, page_bytes(tracefs, buffers))
        self._losses = KernelLosses(setup.host.tracefs, plan.instance)
        if plan.hypervisor:
            self._hypervisor = HypervisorReader(tracefs, self._folder)
            self._hypervisor.prepare(plan.hypervisor_kb)

    @property
    def _buffers(self) -> Tracefs:
        assert self._setup is not None
        tracefs = Tracefs(self._setup.host.tracefs)
        instance = self._setup.plan.instance
        return tracefs if instance is None else tracefs.instance(instance)

    @property
    def _folder(self) -> Path:
        assert self._setup is not None
        return self._setup.folder / self.trace

    def start(self) -> None:
        """Record, and read what is recorded."""
        assert self._rings is not None
        if self._hypervisor is not None:
            self._hypervisor.start()
        self._rings.start()
        self._buffers.set("tracing_on", "1")

    def watch(self) -> Losses:
        """What the rings lost so far."""
        assert self._rings is not None
        assert self._losses is not None
        self._rings.check()
        return self._lost()

    def _lost(self) -> Losses:
        """Of the host's rings and of the hypervisor's."""
        assert self._losses is not None
        found = self._losses.so_far()
        if self._hypervisor is None:
            return found
        own = self._hypervisor.lost()
        by_cpu = {
            cpu: found.by_cpu.get(cpu, 0) + own.by_cpu.get(cpu, 0)
            for cpu in sorted({*found.by_cpu, *own.by_cpu})
        }
        known = found.events is not None and own.events is not None
        events = (found.events or 0) + (own.events or 0) if known else None
        notes = "; ".join(filter(None, (found.note, own.note)))
        return replace(found, events=events, by_cpu=by_cpu, note=notes)

    def stop(self) -> None:
        """Record nothing more."""
        if self._setup is not None:
            with contextlib.suppress(OSError):
                self._buffers.write("tracing_on", "0")
        if self._hypervisor is not None:
            self._hypervisor.stop()

    def save(self) -> Losses:
        """The rest of the rings, and the files beside them."""
        assert self._setup is not None
        assert self._rings is not None
        assert self._losses is not None
        tracefs, plan = Tracefs(self._setup.host.tracefs), self._setup.plan
        systems = {event.partition(":")[0] for event in plan.events}
        try:
            self._rings.finish()
            if self._hypervisor is not None:
                self._hypervisor.finish()
            copy_settings(tracefs, self._buffers, self._folder)
            copy_formats(
                tracefs, self._buffers, {*systems, GROUP} if plan.probes else systems, self._folder
            )
            copy_host(self._setup.host.root, self._folder)
        except OSError as err:
            raise SettingError(f"the recording cannot be saved: {err}") from err
        return self._lost()

    def close(self) -> None:
        """Let go of the rings: an instance of which a file is open cannot be removed."""
        if self._rings is not None:
            self._rings.close()
            self._rings = None
        if self._hypervisor is not None:
            self._hypervisor.close()


def _set_up_buffers(buffers: Tracefs, plan: Plan) -> None:
    buffers.set("trace_clock", plan.clock)
    buffers.set("buffer_size_kb", str(plan.buffer_kb))
    # Of records that are lost the oldest go: pages then say where (RB_MISSED_EVENTS).
    buffers.set("trace_options", "overwrite")
    for name, value in (
        ("buffer_percent", str(HALF_FULL_PERCENT)),
        ("options/record-tgid", "1"),
        ("options/copy_trace_marker", "1"),
        ("options/pause-on-trace", "0"),
    ):
        if buffers.exists(name) and (plan.instance is not None or name != COPY_MARKER):
            buffers.set(name, value)

    if plan.instance is None:
        _widen(buffers)


def _widen(buffers: Tracefs) -> None:
    """What an earlier user of the top level left behind must not hide tasks or CPUs."""
    for name in ("set_ftrace_pid", "set_ftrace_notrace_pid", "set_event_pid",
                 "set_event_notrace_pid"):  # fmt: skip
        if buffers.text(name) not in {"", "no pid"}:
            buffers.set(name, "")
    mask = f"{(1 << len(buffers.names('per_cpu'))) - 1:x}"
    groups = [mask[max(0, end - 8) : end] for end in range(len(mask), 0, -8)]
    if buffers.exists("tracing_cpumask"):
        buffers.set("tracing_cpumask", ",".join(reversed(groups)))


def _set_up_graph(tracefs: Tracefs, buffers: Tracefs, plan: Plan, setup: Setup) -> None:
    if "function_graph" not in buffers.text("available_tracers").split():
        raise SettingError(
            f"function_graph works in no instance of {setup.host.kernel}\nvalid: --top-level"
        )
    for name in neutral_graph(tracefs):
        setup.say(f"{name} was set, and limits every function_graph: neutral while recording")
    buffers.set("set_ftrace_filter", " ".join(plan.graph))
    if buffers.exists("set_ftrace_notrace"):
        buffers.set("set_ftrace_notrace", "")
    traced = set(elements(buffers, "set_ftrace_filter"))
    if traced != set(plan.graph):
        differ = " ".join(sorted(traced ^ set(plan.graph)))
        raise SettingError(
            f"set_ftrace_filter is not what was written to it; it differs by {differ}"
        )
    buffers.set("current_tracer", "function_graph")

"""From a preset and a host to a plan: names, buffers, where it is recorded, what it can answer."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError
from traceview.record.answers import Chosen, answers
from traceview.record.buffers import choose, hypervisor_kb, size
from traceview.record.names import (
    WITHOUT_VHE,
    base,
    by_base,
    resolve,
    resolve_events,
    resolve_probes,
)
from traceview.record.perf_probes import kprobes_of
from traceview.record.plan import Plan
from traceview.record.preset import AT_EL2, FLUSH_RANGE, PRESETS, TOP, Probe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.record.host import Host

TRACEFS_BACKEND: Final = "tracefs"
PERF_BACKEND: Final = "perf"
ELSEWHERE: Final = (
    "an arm64 host with KVM; there without Python: traceview record --script; without such a"
    " host: traceview simulate"
)
OPERAND: Final = re.compile(r"\+(0x[0-9a-f]{1,5}),(x[0-9]{1,2}),([a-z][a-z0-9_]{0,30})")
# What a kernel needs so that an instance hears what is written to the top level's trace_marker.
COPY_MARKER: Final = "copy_trace_marker"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for. `hypervisor`: None: remotes/hypervisor is recorded where it is."""

    preset: str = "top"
    backend: str = TRACEFS_BACKEND
    buffer_kb: int | None = None
    top_level: bool = False
    operands: tuple[str, ...] = ()
    hypervisor: bool | None = None


def make_plan(host: Host, wish: Wish) -> Plan:
    """The plan of one capture; raises SettingError for what no host could do."""
    if wish.preset not in PRESETS:
        raise SettingError(f"no preset {wish.preset!r}\nvalid: {', '.join(PRESETS)}")
    preset = PRESETS[wish.preset]
    operands = _operands(wish.operands)
    if operands and not preset.probes:
        raise SettingError("--operand adds a kprobe\nvalid: with --preset args")
    suffixed = by_base(host.functions)
    graph, no_functions = resolve(preset.graph, host, suffixed)
    probes, no_probes = resolve_probes((*preset.probes, *operands), host, suffixed)
    if wish.backend == PERF_BACKEND:
        graph, probes = (), kprobes_of(graph, probes)
    events, no_events = resolve_events(preset.events, host)
    instance, where = _place(host, wish, graph=bool(graph))
    hypervisor = wants_hypervisor(host, wish)
    clock = "mono" if "mono" in host.clocks or not host.clocks else "local"
    if hypervisor:
        clock = "boot"  # the hypervisor's
    buffers = choose(
        host, stated_kb=wish.buffer_kb, is_read=wish.backend == TRACEFS_BACKEND,
        hypervisor=hypervisor,
    )  # fmt: skip
    timed = _bases((*graph, *(one.symbol for one in probes if one.returns)))
    counted = timed | _bases(one.symbol for one in probes if not one.offset)
    chosen = Chosen(host, timed, counted, probes, frozenset(events), hypervisor)
    own_kb = hypervisor_kb(buffers.per_cpu_kb, wish.buffer_kb) if hypervisor else 0
    notes = [f"buffers: {buffers.text}", *where]
    if hypervisor:
        notes += _hypervisor_notes(own_kb, counted)
    if clock == "local":
        notes.append("clock: local, for this kernel has no mono; CPUs cannot be compared by time")
    return Plan(
        preset=preset.name,
        backend=wish.backend,
        graph=graph,
        probes=probes,
        events=events,
        clock=clock,
        buffer_kb=buffers.per_cpu_kb,
        instance=instance,
        hypervisor=hypervisor,
        hypervisor_kb=own_kb,
        traced=tuple(sorted(timed if host.mode == "vhe" else timed - AT_EL2)),
        dropped=(*no_functions, *no_probes, *no_events),
        answers=answers(chosen),
        notes=tuple(notes),
    )


def wants_hypervisor(host: Host, wish: Wish) -> bool:
    """Whether remotes/hypervisor is recorded: unless said, where it is and unmaps go to EL2."""
    if wish.hypervisor is not None:
        return wish.hypervisor
    return wish.backend == TRACEFS_BACKEND and host.hypervisor and host.mode in WITHOUT_VHE


def _hypervisor_notes(own_kb: int, counted: frozenset[str]) -> list[str]:
    notes = [f"hypervisor: {size(own_kb)} of its own on each CPU, read by a child of the recorder"]
    if counted - set(TOP):
        notes.append(
            "hypervisor: its times are whole microseconds and are placed between the host's"
            " events: --preset top says most exactly how long an unmap is at EL2"
        )
    return notes


def problems(host: Host, plan: Plan) -> list[str]:
    """Why nothing can be recorded on this host, the first reason first."""
    if host.machine != "aarch64":
        machine = host.machine or "of an unknown machine"
        return [f"this host is {machine}: the functions are arm64's\nvalid: {ELSEWHERE}"]
    if not host.is_root:
        return ["only root may set tracefs: run it as root"]
    if not host.tracers:
        how = "mount -t tracefs nodev /sys/kernel/tracing, or the kernel has none"
        return [f"tracefs is not mounted at {host.tracefs}: {how}"]
    if not host.kvm:
        return ["there is no /dev/kvm: no VM can run here, and no unmap happen"]
    found = []
    if plan.graph and "function_graph" not in host.tracers:
        found.append("this kernel has no tracer function_graph (CONFIG_FUNCTION_GRAPH_TRACER)")
    if plan.probes and not host.kprobes:
        found.append("this kernel has no kprobe_events (CONFIG_KPROBE_EVENTS)")
    if not plan.graph and not plan.probes:
        found.append(f"none of the functions of preset {plan.preset} can be traced here")
    if plan.instance is None and host.busy:
        found.append(f"the top level of tracefs is in use: {'; '.join(host.busy)}")
    if plan.hypervisor and not host.hypervisor:
        found.append(
            "this kernel has no remotes/hypervisor: 7.1 and later have, without VHE and with"
            " CONFIG_NVHE_EL2_TRACING"
        )
    elif plan.hypervisor and host.hypervisor_busy:
        found.append(f"{host.hypervisor_busy}: end that, or --no-hypervisor")
    return found


def _place(host: Host, wish: Wish, *, graph: bool) -> tuple[str | None, list[str]]:
    """The instance to record in, None for the top level, and why."""
    if wish.backend != TRACEFS_BACKEND:
        return None, []
    if wish.top_level:
        return None, ["tracefs: its top level, as asked for"]
    if graph and not host.graph_in_instances:
        return None, [
            f"tracefs: its top level, for function_graph works in no instance of {host.kernel}"
        ]
    name = f"traceview-{os.getpid()}"
    where = [f"tracefs: buffers of its own, instances/{name}"]
    if COPY_MARKER not in host.options:
        where.append(
            "markers: the command and its children write theirs into these buffers; those of other"
            " programs go to the top level and are not recorded (--top-level records all)"
        )
    return name, where


def _operands(stated: Iterable[str]) -> tuple[Probe, ...]:
    """`+0x54,x0,ipas2e1is`: a probe of an instruction of __kvm_tlb_flush_vmid_range."""
    found = []
    for number, text in enumerate(stated, 1):
        parts = OPERAND.fullmatch(text)
        if parts is None:
            raise SettingError(
                f"no operand: {text!r}\nvalid: +OFFSET,REGISTER,INSTRUCTION of {FLUSH_RANGE},"
                " such as +0x54,x0,ipas2e1is (docs/how-to.md)"
            )
        offset, register, instruction = parts.groups()
        found.append(
            Probe(
                f"operand{number}", FLUSH_RANGE, (f"{instruction}=%{register}:x64",),
                returns=False, offset=int(offset, 16),
            )
        )  # fmt: skip
    return tuple(found)


def _bases(names: Iterable[str]) -> frozenset[str]:
    return frozenset(map(base, names))

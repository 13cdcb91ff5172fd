"""What a host offers to a recorder: read from tracefs, /proc, /sys and the boot log, once.

Every path is below `root`, so that tests give a tree of files in place of a host.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traceview.record.preset import Release, Releases


@dataclass(frozen=True, slots=True)
class Host:
    """What was found. None and empty: not there, or it could not be read (`unknowns` says why).

    `facts` are keys of the sidecar's `host` (traceview.host.HOST_KEYS). `mode` is that of KVM's
    boot message (arch/arm64/kvm/arm.c): vhe, nvhe or protected. `virtual`: what says that this
    host is itself a virtual machine. `busy`: why tracefs' top level is not to be touched.
    """

    tracefs: Path
    kernel: str
    machine: str
    kvm: bool
    mode: str | None
    root: Path = Path("/")
    is_root: bool = True
    functions: frozenset[str] = frozenset()  # available_filter_functions
    tracers: frozenset[str] = frozenset()  # available_tracers
    events: frozenset[str] = frozenset()  # SYSTEM:EVENT
    clocks: frozenset[str] = frozenset()  # trace_clock
    options: frozenset[str] = frozenset()  # options/
    readme: str = ""  # README of tracefs
    kprobes: bool = False  # kprobe_events is there
    fprobes: bool = False  # dynamic_events takes f: lines (README of tracefs)
    graph_in_instances: bool = False  # function_graph may be set in instances/ (6.12 and later)
    hypervisor: bool = False  # remotes/hypervisor is there (7.1 and later, nVHE and pKVM)
    hypervisor_busy: str = ""  # why that is not to be touched
    busy: tuple[str, ...] = ()
    cpus: tuple[int, ...] = ()  # online
    memory_available_kb: int | None = None
    defer_switch: bool = False  # /sys/module/kvm/parameters/unmap_defer (docs/how-to.md)
    virtual: str | None = None
    programs: Mapping[str, str] = field(default_factory=dict)  # trace-cmd, perf, perfetto: version
    facts: Mapping[str, Any] = field(default_factory=dict)
    unknowns: tuple[str, ...] = ()

    @property
    def release(self) -> Release | None:
        """The first two numbers of the kernel's release, by which kernel facts are looked up."""
        found = re.match(r"(\d{1,4})\.(\d{1,4})", self.kernel)
        return None if found is None else (int(found[1]), int(found[2]))

    def fits(self, on: Releases) -> bool:
        """Whether the kernel is between the two of *on*; one of unknown release fits no bounds."""
        first, last = on
        if first is None and last is None:
            return True
        release = self.release
        return release is not None and (
            (first is None or first <= release) and (last is None or release <= last)
        )

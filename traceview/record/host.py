"""What a host offers to a recorder: read from tracefs, /proc, /sys and the boot log, once.

Every path is below `root`, so that tests give a tree of files in place of a host.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Host:
    """What was found. None and empty: not there, or it could not be read (`unknowns` says why).

    `facts` are keys of the sidecar's `host` (traceview.host.HOST_KEYS). `mode` is that of KVM's
    boot message (arch/arm64/kvm/arm.c): vhe, nvhe or protected.
    """

    tracefs: Path
    kernel: str
    machine: str
    kvm: bool
    mode: str | None
    functions: frozenset[str] = frozenset()  # available_filter_functions
    tracers: frozenset[str] = frozenset()  # available_tracers
    events: frozenset[str] = frozenset()  # SYSTEM:EVENT
    kprobes: bool = False  # kprobe_events is there
    fprobes: bool = False  # dynamic_events takes f: lines (README of tracefs)
    graph_in_instances: bool = False  # function_graph may be set in instances/ (6.12 and later)
    hypervisor: bool = False  # remotes/hypervisor is there (7.1 and later, nVHE and pKVM)
    programs: Mapping[str, str] = field(default_factory=dict)  # trace-cmd, perf, perfetto: version
    facts: Mapping[str, Any] = field(default_factory=dict)
    unknowns: tuple[str, ...] = ()

"""What a recording wants: functions, probes and events by preset, before any host was asked.

A name stands for the kernel's function with any compiler suffix (`.isra.0`, `.part.0`): a host
resolves it, or lacks it (plan.py). Sources: arch/arm64/kvm/hyp/{pgtable.c,vhe/tlb.c},
arch/arm64/kvm/{mmu,pkvm}.c of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Probe:
    """One kprobe of an entry and, if `returns`, one of the return.

    `event` is its name in the group `traceview`, the return's is `<event>_ret`. Arguments are
    fetchargs of Documentation/trace/kprobetrace.rst. `on`: the kernels that it fits, as
    (first, last) of `uname -r`'s first two numbers, either may be None.
    """

    event: str
    symbol: str
    arguments: tuple[str, ...] = ()
    returns: bool = True
    offset: int = 0
    on: tuple[tuple[int, int] | None, tuple[int, int] | None] = (None, None)


@dataclass(frozen=True, slots=True)
class Preset:
    """What one preset wants. `graph`: functions of function_graph; `events`: SYSTEM:EVENT."""

    name: str
    what: str
    graph: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()
    events: tuple[str, ...] = ()


TOP: Final = ("kvm_pgtable_stage2_unmap", "pkvm_pgtable_stage2_unmap")
OPERATIONS: Final = (
    *TOP,
    "__kvm_tlb_flush_vmid_ipa",
    "__kvm_tlb_flush_vmid_range",
    "__kvm_tlb_flush_vmid",
    "clean_dcache_guest_page",
    "kvm_s2_put_page",
)

"""What a capture of a plan will be able to answer, said before it is made.

The questions are those of `traceview analyze` and `traceview audit`; the reasons are the kernel's:
what has a function of its own, what runs at EL2, what one call holds. Sources: docs/how-to.md
section 4, docs/audit.md, arch/arm64/kvm/hyp/vhe/tlb.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from traceview.record.names import base
from traceview.record.plan import Answer
from traceview.record.preset import (
    CMO,
    FAULT,
    FLUSH_IPA,
    FLUSH_RANGE,
    PKVM_UNMAP,
    PUT_PAGE,
    UNMAP,
    WALKER,
)  # fmt: skip

if TYPE_CHECKING:
    from traceview.record.host import Host
    from traceview.record.preset import Probe

CALLERS: Final = ("kvm_unmap_gfn_range", "kvm_arch_flush_shadow_memslot")
VCPU_EVENTS: Final = frozenset({"kvm:kvm_entry", "kvm:kvm_exit", "sched:sched_switch"})


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is recorded. `timed`: with durations; `counted`: entries at least. No suffixes."""

    host: Host
    timed: frozenset[str]
    counted: frozenset[str]
    probes: tuple[Probe, ...]
    events: frozenset[str]
    hypervisor: bool = False  # its entries and exits too

    @property
    def invisible(self) -> str | None:
        """Why no invalidation can be seen, None where it can."""
        if self.host.mode == "vhe":
            return None
        if self.host.mode is None:
            return "KVM's mode is not known: visible in VHE mode only"
        return f"KVM runs in {self.host.mode} mode: it happens at EL2, where no tracer looks"

    @property
    def unmaps(self) -> bool:
        """Whether unmaps are recorded with their durations."""
        return bool(self.timed & {UNMAP, PKVM_UNMAP})  # one that is not called is not traced


def answers(chosen: Chosen) -> tuple[Answer, ...]:
    """Every question, in the order in which people ask."""
    return tuple(
        Answer(question, can, why)
        for question, (can, why) in (
            ("how long an unmap takes", _headline(chosen)),
            ("how it invalidates, per leaf or deferred", _strategy(chosen)),
            ("how many leaves it clears", _leaves(chosen)),
            ("how its time divides: invalidation, cache maintenance, tables, walk", _split(chosen)),
            ("how often and how long an unmap is at EL2", _at_el2(chosen)),
            ("TLBI apart from DSB", (False, "one call holds both; no trace can tell them apart")),
            ("whether every invalidation is there and in time (traceview audit)", _audit(chosen)),
            ("addresses of invalidations", _addresses(chosen)),
            ("levels of leaves", _levels(chosen)),
            ("what a range TLBI really covers", _operands(chosen)),
            ("who asked for the unmap", _trigger(chosen)),
            ("what tasks that run vCPUs paid", _bystanders(chosen)),
        )
    )


def _headline(chosen: Chosen) -> tuple[bool, str]:
    if not chosen.unmaps:
        name = PKVM_UNMAP if chosen.host.mode == "protected" else UNMAP
        return False, f"{name} is not traced here"
    others = sorted(chosen.counted - {UNMAP, PKVM_UNMAP})
    if not others and not chosen.events:
        return True, "one traced call per unmap: as little tracing as there can be"
    return True, (
        "with what tracing its calls costs in it; a recording with --preset top says how much"
    )


def _strategy(chosen: Chosen) -> tuple[bool, str]:
    if chosen.invisible:
        return False, chosen.invisible
    if FLUSH_IPA not in chosen.counted:
        return False, f"{FLUSH_IPA} is not recorded"
    has_range = any(name.startswith(FLUSH_RANGE) for name in chosen.host.functions)
    if has_range and FLUSH_RANGE not in chosen.counted:
        return False, f"{FLUSH_RANGE} is not recorded"
    return True, "by the flushes inside each unmap"


def _leaves(chosen: Chosen) -> tuple[bool, str]:
    if PKVM_UNMAP in chosen.timed:
        return False, "EL2 has the page tables of a pKVM host, and clears them"
    if PUT_PAGE in chosen.counted:
        return True, f"by {PUT_PAGE}: one for each leaf, two for each freed table"
    if FLUSH_IPA in chosen.counted and chosen.invisible is None:
        return True, f"by {FLUSH_IPA}, where invalidation is per leaf; not where it is deferred"
    return False, "neither page-table references nor flushes are recorded"


def _split(chosen: Chosen) -> tuple[bool, str]:
    if chosen.hypervisor:
        return True, "stays at EL2 against the rest; what is done in them is not recorded"
    if chosen.invisible:
        return False, f"{chosen.invisible}; its time is part of the walk's"
    if FLUSH_IPA not in chosen.timed:
        return False, f"{FLUSH_IPA} is not recorded with its durations"
    if CMO in chosen.timed:
        fwb = chosen.host.facts.get("fwb")
        more = "; with FWB an unmap does no cache maintenance" if fwb else ""
        return True, f"calls of each with their durations{more}"
    return True, "invalidation against the rest; cache maintenance and tables are in the rest"


def _at_el2(chosen: Chosen) -> tuple[bool, str]:
    if chosen.hypervisor and chosen.unmaps:
        return True, "by the hypervisor's own events, in whole microseconds"
    if chosen.host.mode == "vhe":
        return False, "the kernel itself runs at EL2 in VHE mode, and no unmap goes there"
    if not chosen.host.hypervisor:
        return False, "this kernel has no remotes/hypervisor; 7.1 and later can"
    return False, "remotes/hypervisor is not recorded"


def _audit(chosen: Chosen) -> tuple[bool, str]:
    if chosen.invisible:
        return False, chosen.invisible
    if not {FLUSH_IPA, PUT_PAGE} <= chosen.counted:
        return False, f"{FLUSH_IPA} and {PUT_PAGE} are not both recorded"
    if WALKER in {base(one.symbol) for one in chosen.probes}:
        return True, "with the visits of the walker and the addresses of all"
    return True, "by order and number of calls; by address only with --preset args"


def _addresses(chosen: Chosen) -> tuple[bool, str]:
    if chosen.invisible:
        return False, chosen.invisible
    if any(base(one.symbol) == FLUSH_IPA and one.arguments for one in chosen.probes):
        return True, "arguments of kprobes"
    return False, "function_graph records no arguments; --preset args does"


def _levels(chosen: Chosen) -> tuple[bool, str]:
    if PKVM_UNMAP in chosen.timed:
        return False, "EL2 has the page tables of a pKVM host, and walks them"
    if any(base(one.symbol) == WALKER and one.arguments for one in chosen.probes):
        return True, "from what the walker is given"
    return False, "the walker's arguments are not recorded; --preset args does"


def _operands(chosen: Chosen) -> tuple[bool, str]:
    if chosen.invisible:
        return False, chosen.invisible
    if any(one.offset for one in chosen.probes):
        return True, "if the offsets given are those of the TLBI instructions of this kernel"
    return False, (
        "the operand is made inside the call: a probe of the instruction is needed (--operand);"
        " else the kernel's formula is assumed"
    )


def _trigger(chosen: Chosen) -> tuple[bool, str]:
    seen = [name for name in CALLERS if name in chosen.timed]
    if len(seen) == len(CALLERS):
        return True, "by the callers of the unmap: MMU notifier or memslot; others are unknown"
    return False, "its callers are not recorded; --preset deep does"


def _bystanders(chosen: Chosen) -> tuple[bool, str]:
    if chosen.events >= VCPU_EVENTS:
        faults = "" if FAULT in chosen.events else "; not their faults"
        return True, f"by entries and exits of vCPUs{faults}"
    return False, "entries and exits of vCPUs are not recorded; --preset bystanders does"

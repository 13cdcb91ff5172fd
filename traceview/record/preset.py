"""What a recording wants: functions, probes and events by preset, before any host was asked.

A name stands for the kernel's function with any compiler suffix (`.isra.0`, `.part.0`): a host
resolves it, or lacks it (names.py). Sources: arch/arm64/kvm/hyp/{pgtable.c,vhe/tlb.c},
arch/arm64/kvm/{mmu,pkvm}.c and arch/arm64/include/asm/kvm_pgtable.h; read in 6.1, 6.12.95 and
7.1.8, between them as the commits named below say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

Release = tuple[int, int]  # the first two numbers of `uname -r`
Releases = tuple[Release | None, Release | None]  # the first and the last, None: no bound
EVERY: Final[Releases] = (None, None)


@dataclass(frozen=True, slots=True)
class Probe:
    """One kprobe of an entry and, if `returns`, one of the return.

    `event` is its name in the group `traceview`, the return's is `<event>_ret`. Arguments are
    fetchargs of Documentation/trace/kprobetrace.rst. `on`: the kernels that it fits. Of several
    probes of one `event` a plan takes the first that fits its kernel. `needs`: text that tracefs
    README has where the kernel understands the arguments.
    """

    event: str
    symbol: str
    arguments: tuple[str, ...] = ()
    returns: bool = True
    offset: int = 0
    on: Releases = EVERY
    needs: str = ""


@dataclass(frozen=True, slots=True)
class Preset:
    """What one preset wants. `graph`: functions of function_graph; `events`: SYSTEM:EVENT."""

    name: str
    what: str
    graph: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()
    events: tuple[str, ...] = ()


UNMAP: Final = "kvm_pgtable_stage2_unmap"
PKVM_UNMAP: Final = "pkvm_pgtable_stage2_unmap"
FLUSH_IPA: Final = "__kvm_tlb_flush_vmid_ipa"
FLUSH_RANGE: Final = "__kvm_tlb_flush_vmid_range"
WALKER: Final = "stage2_unmap_walker"
PUT_PAGE: Final = "kvm_s2_put_page"
CMO: Final = "clean_dcache_guest_page"

TOP: Final = (UNMAP, PKVM_UNMAP)
OPERATIONS: Final = (*TOP, FLUSH_IPA, FLUSH_RANGE, "__kvm_tlb_flush_vmid", CMO, PUT_PAGE)
CALLERS_AND_HELPERS: Final = (
    "kvm_unmap_gfn_range", "__unmap_stage2_range", "stage2_apply_range",
    "kvm_arch_flush_shadow_memslot", "kvm_pgtable_walk", "__kvm_pgtable_walk", WALKER,
    "stage2_unmap_put_pte", "stage2_put_pte", "stage2_unmap_defer_tlb_flush",
    "kvm_tlb_flush_vmid_range", "enter_vmid_context", "exit_vmid_context", "__tlb_switch_to_guest",
    "__tlb_switch_to_host",
)  # fmt: skip

# Kernels that have a name, where not all since 5.10 do. Two names of one thing exclude each other.
SINCE: Final[dict[str, Releases]] = {
    # FEAT_TLBIRANGE in KVM, merged for 6.6 (7657ea920c54 and what leads to it). It renamed
    # stage2_put_pte.
    FLUSH_RANGE: ((6, 6), None),
    "kvm_tlb_flush_vmid_range": ((6, 6), None),
    "stage2_unmap_defer_tlb_flush": ((6, 6), None),
    "stage2_unmap_put_pte": ((6, 6), None),
    "stage2_put_pte": (None, (6, 5)),
    # vhe/tlb.c: tlb_switch_to_* in 6.1, *_vmid_context in 6.12.95; where it changed was not read.
    "__tlb_switch_to_guest": (None, (6, 11)),
    "__tlb_switch_to_host": (None, (6, 11)),
    "enter_vmid_context": ((6, 2), None),
    "exit_vmid_context": ((6, 2), None),
    # pkvm.c; not in 6.12.95, in 7.1.8.
    PKVM_UNMAP: ((6, 13), None),
}
# Called on a pKVM host only, and there in place of kvm_pgtable_stage2_unmap (7.1.8, mmu.c,
# KVM_PGT_FN).
PROTECTED_ONLY: Final = frozenset({PKVM_UNMAP})
# vhe/tlb.c: outside VHE mode EL2 has its own copies of these, and the host's are there and not
# called.
AT_EL2: Final = frozenset(
    {FLUSH_IPA, FLUSH_RANGE, "__kvm_tlb_flush_vmid", "enter_vmid_context", "exit_vmid_context",
     "__tlb_switch_to_guest", "__tlb_switch_to_host"}
)  # fmt: skip
# What walks the page tables of guests. Where the kernel has pkvm_pgtable_stage2_unmap, EL2 has the
# tables of a pKVM host, and walks them.
OF_TABLES: Final = frozenset(
    {UNMAP, CMO, PUT_PAGE, WALKER, "kvm_pgtable_walk", "__kvm_pgtable_walk", "stage2_put_pte",
     "stage2_unmap_put_pte", "stage2_unmap_defer_tlb_flush", "kvm_tlb_flush_vmid_range"}
)  # fmt: skip

# The fetchargs of the functions' own arguments are the same from 5.10 to 7.1: x0, x1, x2 of
#   kvm_pgtable_stage2_unmap(pgt, u64 addr, u64 size)             pgtable.c
#   pkvm_pgtable_stage2_unmap(pgt, u64 addr, u64 size)            pkvm.c
#   __kvm_tlb_flush_vmid_ipa(mmu, phys_addr_t ipa, int level)     vhe/tlb.c (u32 until 6.7)
#   __kvm_tlb_flush_vmid_range(mmu, phys_addr_t start, unsigned long pages)
#   kvm_s2_put_page(void *addr)                                   mmu.c
UNMAP_ARGUMENTS: Final = ("addr=%x1:x64", "size=%x2:x64")
# What the walker is given is not. Until 6.1: (u64 addr, u64 end, u32 level, ptep, flag, arg). From
# 6.2 a pointer to struct kvm_pgtable_visit_ctx { ptep, old, arg, mm_ops, addr, end, level, flags };
# in 6.12.95 and 7.1.8 `start` is before `addr`. It came between 6.3 and 6.4 (where in the stable
# releases of 6.3 was not read, so none fits). `level` was u32 until 6.7, then s8; the byte at its
# offset says the same on a little-endian machine.
WALKER_PROBES: Final = (
    Probe(
        "walker", WALKER, ("addr=%x0:x64", "level=%x2:s8"), returns=False, on=(None, (6, 1))
    ),
    Probe(
        "walker", WALKER, ("addr=+32(%x0):x64", "level=+48(%x0):s8"), returns=False,
        on=((6, 2), (6, 2)),
    ),
    Probe(
        "walker", WALKER, ("addr=+40(%x0):x64", "level=+56(%x0):s8"), returns=False,
        on=((6, 4), (7, 2)),
    ),
    # Later kernels may move it again: their BTF says where it is, if they have it (6.6 and later).
    Probe(
        "walker", WALKER, ("addr=ctx->addr:x64", "level=ctx->level:s8"), returns=False,
        on=((7, 3), None), needs="<argname>[->field",
    ),
)  # fmt: skip
ARGUMENT_PROBES: Final = (
    Probe("unmap", UNMAP, UNMAP_ARGUMENTS),
    Probe("pkvm_unmap", PKVM_UNMAP, UNMAP_ARGUMENTS),
    *WALKER_PROBES,
    Probe("ipa", FLUSH_IPA, ("mmu=%x0:x64", "ipa=%x1:x64", "level=%x2:s32")),
    Probe("range", FLUSH_RANGE, ("mmu=%x0:x64", "start=%x1:x64", "pages=%x2:u64")),
    Probe("put_page", PUT_PAGE, ("addr=%x0:x64",), returns=False),
)
FAULT: Final = "kvm:kvm_guest_fault"

PRESETS: Final[dict[str, Preset]] = {
    one.name: one
    for one in (
        Preset("top", "the unmap alone: the headline, and the calibration of split", TOP),
        Preset("split", "the unmap and its operations: strategy, leaves, components", OPERATIONS),
        Preset(
            "args",
            "kprobes with addresses: traceview audit, levels of leaves",
            probes=ARGUMENT_PROBES,
            events=(FAULT,),
        ),
        Preset(
            "bystanders",
            "split, and what the tasks that run vCPUs did meanwhile",
            OPERATIONS,
            events=("kvm:kvm_entry", "kvm:kvm_exit", FAULT, "sched:sched_switch"),
        ),
        Preset(
            "deep",
            "callers, walker and helpers too: a look, no measurement, it costs most",
            (*OPERATIONS, *CALLERS_AND_HELPERS),
        ),
    )
}

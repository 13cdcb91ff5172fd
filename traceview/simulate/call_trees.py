"""What the kernel calls inside an unmap, by what is visited: trees of calls with named costs.

Two shapes: `6.1` (stage2_put_pte is a function of its own; per-PTE invalidation only) and `6.12`
(it is inlined; deferral into one range flush where the CPU has FEAT_S2FWB and FEAT_TLBIRANGE).
Kernels between and after them differ in names and in what is inlined, not in the order.

Source: arch/arm64/kvm/hyp/{pgtable.c,vhe/tlb.c}, arch/arm64/kvm/mmu.c, virt/kvm/kvm_main.c of
Linux 6.1 and 6.12, as Debian's compiler inlined them (function_graph captures of 6.1.176 and
6.12.95).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SHAPES: Final = ("6.1", "6.12")
UNMAP: Final = "kvm_pgtable_stage2_unmap"
FLUSH: Final = "__kvm_tlb_flush_vmid_ipa"
RANGE: Final = "__kvm_tlb_flush_vmid_range"
RANGE_OUTER: Final = "kvm_tlb_flush_vmid_range"
FLUSH_ALL: Final = "__kvm_tlb_flush_vmid"
CLEAN: Final = "clean_dcache_guest_page"
PUT: Final = "kvm_s2_put_page"
WALKER: Final = "stage2_unmap_walker"
# Objects that run at EL2 without VHE: nothing there can be traced by the host's tracers.
AT_EL2: Final = frozenset(
    {FLUSH, RANGE, FLUSH_ALL, "enter_vmid_context", "exit_vmid_context", "__tlb_switch_to_guest",
     "__tlb_switch_to_host"}
)  # fmt: skip
INTERRUPT: Final = ("irq_enter_rcu", "gic_handle_irq", "irq_exit_rcu")
# Leaves are of levels 1 to 3; a template for each.
LEVELS: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `cost` names its own time, shared out evenly around what it calls."""

    symbol: str
    cost: str
    inside: tuple[Call, ...] = ()
    component: str | None = None
    operations: bool = False  # its time has the range operations of this unmap in it


@dataclass(frozen=True, slots=True)
class Edge:
    """The begin or the end of a call that other templates lie in; `cost` is the time before it."""

    symbol: str
    opens: bool
    cost: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Time in which nothing is called."""

    cost: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A line written to trace_marker."""

    cost: str


Piece = Call | Edge | Pause | Mark
Template = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides which calls are made."""

    shape: str
    fwb: bool
    tlbirange: bool
    vhe: bool
    deferred: bool  # leaves are left to one range flush
    tables_deferred: bool  # tables too: 6.6 to 6.8


def templates(machine: Machine) -> dict[str, Template]:
    """By name, what is called for each thing that can happen."""
    found: dict[str, Template] = {
        "mark": (Mark("marker"),),
        "unmap_open": (
            Edge(UNMAP, opens=True, cost="stage2_apply_range"),
            Edge("kvm_pgtable_walk", opens=True, cost="unmap"),
            Edge("__kvm_pgtable_walk", opens=True, cost="walk"),
        ),
        "unmap_close": _unmap_close(machine),
        "descend": (Edge("__kvm_pgtable_walk", opens=True, cost="table"),),
        "hole": (Pause("entry"), Call(WALKER, "visit")),
        "freed": _table(machine, freed=True),
        "kept": _table(machine, freed=False),
        **_triggers(machine),
        **_protecting(machine),
    }
    for level in LEVELS:
        found[f"leaf_l{level}"] = _leaf(machine, level, cacheable=True)
        found[f"device_l{level}"] = _leaf(machine, level, cacheable=False)
        found[f"fault_l{level}"] = _fault(machine, level)
    return found


def interrupt(costs: tuple[str, str, str]) -> Template:
    """A hard interrupt as the tracer sees it: three calls beside each other."""
    return tuple(
        Call(symbol, cost, component="irq") for symbol, cost in zip(INTERRUPT, costs, strict=True)
    )


def _has_fwb(times: int) -> tuple[Call, ...]:
    return (Call("stage2_has_fwb", "trivial"),) * times


def _flush(machine: Machine, kind: str) -> Call:
    names = ("enter_vmid_context", "exit_vmid_context")
    if machine.shape == "6.1":
        names = ("__tlb_switch_to_guest", "__tlb_switch_to_host")
    inside = tuple(Call(name, "context") for name in names)
    if kind == "range":
        return Call(RANGE, "invalidate_range", inside, "invalidate_range", operations=True)
    return Call(FLUSH, f"invalidate_{kind}", inside, f"invalidate_{kind}")


def _cleared(machine: Machine, *flush: Call) -> tuple[Call, ...]:
    """The entry is cleared, invalidated (or not), and its table loses a reference."""
    calls = (*flush, Call(PUT, "put", component="table_put"))
    return (Call("stage2_put_pte", "put_pte", calls),) if machine.shape == "6.1" else calls


def _leaf(machine: Machine, level: int, *, cacheable: bool) -> Template:
    # stage2_pte_cacheable() asks once, then the cleaning of a cacheable leaf once more; a kernel
    # that can defer asks again, after it looked at TLBIRANGE.
    asked = 1 + cacheable + (machine.shape != "6.1" and machine.tlbirange)
    flush = () if machine.deferred else (_flush(machine, "leaf"),)
    inside = (*_has_fwb(asked), *_cleared(machine, *flush))
    if cacheable and not machine.fwb:
        inside = (*inside, Call(CLEAN, f"clean_l{level}", component="cmo"))
    return (Pause("entry"), Call(WALKER, "leaf", inside))


def _table(machine: Machine, *, freed: bool) -> Template:
    up = Edge("__kvm_pgtable_walk", opens=False)
    if not freed:
        return (up, Pause("entry"), Call(WALKER, "visit"))
    # Only a kernel that leaves tables to the range flush asks for them whether it may.
    flush = _has_fwb(1) if machine.tables_deferred else (_flush(machine, "table"),)
    inside = (*_cleared(machine, *flush), Call(PUT, "free", component="table_put"))
    return (up, Pause("entry"), Call(WALKER, "freed_table", inside))


def _unmap_close(machine: Machine) -> Template:
    done: tuple[Piece, ...] = (
        Edge("__kvm_pgtable_walk", opens=False),
        Edge("kvm_pgtable_walk", opens=False, cost="walk_end"),
    )
    if machine.shape != "6.1" and machine.tlbirange:
        done = (*done, *_has_fwb(1))
    if machine.deferred:
        inner = _flush(machine, "range")
        done = (*done, Call(RANGE_OUTER, "range_frame", (inner,), "invalidate_range"))
    return (*done, Edge(UNMAP, opens=False, cost="unmap_end"))


def _triggers(machine: Machine) -> dict[str, Template]:
    """Around the unmaps of one request."""
    applied = ("__unmap_stage2_range", "stage2_apply_range")
    if machine.shape == "6.1":
        applied = ("__unmap_stage2_range.isra.0", "stage2_apply_range")
    asked = {
        "notifier": ("kvm_mmu_notifier_invalidate_range_start", "kvm_unmap_gfn_range"),
        "memslot": ("kvm_set_memslot", "kvm_arch_flush_shadow_memslot"),
        "vcpu_init": ("stage2_unmap_vm",),
    }
    found: dict[str, Template] = {}
    for kind, chain in asked.items():
        names = (*chain, *(applied if kind != "vcpu_init" else applied[1:]))
        first = Edge(names[0], opens=True, cost="request")
        found[f"{kind}_open"] = (first, *(Edge(n, opens=True, cost="trigger") for n in names[1:]))
        ends: list[Piece] = [Edge(name, opens=False, cost="trigger") for name in reversed(names)]
        if machine.shape != "6.1" and kind != "vcpu_init":
            ends.insert(2, Call("kvm_nested_s2_unmap", "trivial"))
        if kind == "notifier":
            ends += [Pause("trigger"), Call("kvm_mmu_notifier_invalidate_range_end", "trigger")]
        found[f"{kind}_close"] = tuple(ends)
    return found


def _protecting(machine: Machine) -> dict[str, Template]:
    """Dirty logging begins: everything is write-protected, then flushed. That is no unmap."""
    protect = Call("kvm_pgtable_stage2_wrprotect", "request")
    if machine.shape == "6.1":
        return {
            "protect_open": (protect,),
            "protect_piece": (Call(FLUSH_ALL, "invalidate_range"),), "protect_close": (),
        }  # fmt: skip
    piece = _flush(machine, "range")
    if not machine.tlbirange:
        piece = Call(FLUSH_ALL, "invalidate_range")
    return {
        "protect_open": (protect, Edge(RANGE_OUTER, opens=True, cost="trigger")),
        "protect_piece": (piece,),
        "protect_close": (Edge(RANGE_OUTER, opens=False, cost="range_frame"),),
    }


def _fault(machine: Machine, level: int) -> Template:
    """A stage-2 fault maps a leaf: the same functions, outside any unmap."""
    clean = "trivial" if machine.fwb else f"clean_l{level}"
    inside = (*_has_fwb(1), Call(CLEAN, clean))
    walked: Call = Call("__kvm_pgtable_walk", "table", inside)
    return (Pause("fault"), *_has_fwb(1), Call("kvm_pgtable_walk", "walk", (walked,)))

"""The list that the plugin reads: addresses of functions, offsets in structures.

From the guest's own `/proc/kallsyms` (booted with `nokaslr`, as every boot of the lab) and, for the
identity of tasks and the place of an entry, its `/sys/kernel/btf/vmlinux`:

    python3 -m sample_traces.lab.plugin kallsyms [btf.vmlinux] > list.txt

Source of truth for the names: arch/arm64/kvm/hyp/pgtable.c, hyp/vhe/tlb.c and mmu.c, 6.1 to 7.2.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from sample_traces.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sample_traces.lab.plugin.btf import Btf

UNMAP: Final = "kvm_pgtable_stage2_unmap"
WALKER: Final = "stage2_unmap_walker"
VISIT: Final = "kvm_pgtable_visit_ctx"

# gate: instructions are written while it runs; inside: it is written only then; stores: it clears
# entries. What clears them may be inlined in the walker, or not.
WANTED: Final = {
    UNMAP: "gate",
    WALKER: "stores",
    "stage2_unmap_put_pte": "stores",
    "stage2_put_pte": "stores",
    "kvm_clear_pte": "stores",
    "__kvm_tlb_flush_vmid_ipa": "gate",
    "__kvm_tlb_flush_vmid_ipa_nsh": "gate",
    "__kvm_tlb_flush_vmid_range": "gate",
    "__kvm_tlb_flush_vmid": "gate",
    "kvm_tlb_flush_vmid_range": "",
    "kvm_s2_put_page": "",
    "dcache_clean_inval_poc": "",
    "kvm_unmap_gfn_range": "",
    "kvm_arch_flush_shadow_memslot": "",
    # The last reference to a page is gone; an interrupt.
    "__folio_put": "inside",
    "el1h_64_irq_handler": "inside",
}
# struct kvm_pgtable_visit_ctx has the same members since 6.3; a kernel without BTF does not say so,
# but one that flushes ranges is at least 6.6.
BY_SOURCE: Final = "addr=+0x28(%x0):x64 level=+0x38(%x0):s8"
FLUSHES_RANGES: Final = "kvm_tlb_flush_vmid_range"
# Where tasks are switched, and where what is written to trace_marker comes from.
SINGLE: Final = {
    "cpu_switch_to": "switch",
    "tracing_mark_write": "marker",
    "__arch_copy_from_user": "copy",
}
# Registers hold the arguments that the walker had before there was a context: to 6.1.
TYPES: Final = {"addr": "x64", "level": "s8"}
OF_REGISTERS: Final = {"addr": "x64", "level": "s32"}
SUFFIX: Final = re.compile(r"\.(?:isra|constprop|part|cold)\b.*")


def listed(kallsyms: str, btf: Btf | None) -> Iterator[str]:
    """The lines of the list. Raises LabError if there is nothing to list."""
    symbols = sorted(_symbols(kallsyms.splitlines()))
    addresses = sorted({address for address, _ in symbols})
    ends = dict(pairwise(addresses))
    at = {name: address for address, name in symbols}
    found = set()
    for address, name in symbols:
        plain = SUFFIX.sub("", name)
        if plain not in WANTED or address not in ends:
            continue
        found.add(plain)
        place = _place(btf, has_context=FLUSHES_RANGES in at) if plain == WALKER else ""
        size = ends[address] - address
        words = ("function", f"{address:x}", f"{size:x}", name, WANTED[plain], place)
        yield " ".join(word for word in words if word)
    if UNMAP not in found:
        raise LabError(
            f"no {UNMAP} among {len(symbols)} symbols\n"
            "is it /proc/kallsyms of a kernel with KVM, read with kptr_restrict 0?"
        )
    if "cpu_switch_to" not in at:
        raise LabError("no cpu_switch_to among the symbols, so tasks cannot be told apart")
    for name, keyword in SINGLE.items():
        if name in at:
            yield f"{keyword} {at[name]:x}"
    if btf is not None:
        yield _task(btf)


def _symbols(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for line in lines:
        words = line.split()
        # Modules follow, and symbols that are no code; a hidden address is 0.
        if len(words) == 3 and words[1] in "tTwW" and int(words[0], 16):
            yield int(words[0], 16), words[2]


def _place(btf: Btf | None, *, has_context: bool) -> str:
    """Which entry the walker visits, as arguments of a probe; nothing where that is unknown."""
    if btf is None:
        return BY_SOURCE if has_context else ""
    parameters = btf.parameters(WALKER)
    names = [*parameters]
    if names and parameters[names[0]] == VISIT:
        offsets = {name: btf.offset(VISIT, name) for name in TYPES}
        return " ".join(
            f"{name}=+{offset:#x}(%x0):{TYPES[name]}"
            for name, offset in offsets.items()
            if offset is not None
        )
    return " ".join(
        f"{name}=%x{names.index(name)}:{kind}"
        for name, kind in OF_REGISTERS.items()
        if name in names
    )


def _task(btf: Btf) -> str:
    offsets = {name: btf.offset("task_struct", name) for name in ("pid", "tgid", "comm", "cpu")}
    if offsets["cpu"] is None:  # then in the thread_info that the task begins with
        offsets["cpu"] = btf.offset("thread_info", "cpu")
    if None in offsets.values():
        raise LabError("its BTF has no task_struct with pid, tgid, comm and cpu")
    return "task " + " ".join(f"{name}={offset:x}" for name, offset in offsets.items())

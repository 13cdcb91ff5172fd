"""Small simulated recordings, drawn at random: what a ring buffer kept, record by record."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import polars as pl
from hypothesis import strategies as st

from traceview.simulate.recording import RECORDS, Argument, Recorded, Task

SYMBOLS = ("kvm_pgtable_stage2_unmap", "stage2_unmap_walker", "__kvm_tlb_flush_vmid_ipa",
           "kvm_s2_put_page", "__unmap_stage2_range.isra.0")  # fmt: skip
ADDRESSES = {name: 0xFFFF_8000_8010_0000 + 0x140 * n for n, name in enumerate(SYMBOLS)}
PROBES = {
    "kvm_pgtable_stage2_unmap": (Argument("pgt", "x64"), Argument("addr", "x64"),
                                 Argument("size", "u64")),
    "__kvm_tlb_flush_vmid_ipa": (Argument("mmu", "x64"), Argument("ipa", "x64"),
                                 Argument("level", "s32")),
    "stage2_unmap_walker": (Argument("addr", "u64"), Argument("level", "s8")),
    "kvm_s2_put_page": (),
}  # fmt: skip
RETURNS = frozenset({"kvm_pgtable_stage2_unmap", "__kvm_tlb_flush_vmid_ipa"})
COMMS = ("kvmunmap", "vcpu 0", "kworker/1:2", "a-b", "fifteen_letters")
WORDS = ("KVMLAB begin s01.1 dontneed", "x", "ends: */ not", "ünïcode", "a" * 150, "two words")
STEPS_NS = (0, 1, 999, 12_345, 1_000_000, (1 << 27) - 1, 1 << 27, 5_000_000_001)
LATER_NS = 40_000_000_000  # how far calltime and rettime are from the record's own clock


@dataclass
class Recording:
    """The records as they are made, and what is needed to make the next one."""

    cpus: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    now_ns: int = 36_000_000_000
    stacks: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    running: dict[int, int] = field(default_factory=dict)
    losing: dict[int, int] = field(default_factory=dict)

    def add(self, cpu: int, kind: str, symbol: str | None, **more: Any) -> None:
        tid = self.running[cpu]
        row = dict.fromkeys(RECORDS)
        row |= {"cpu": cpu, "ts_ns": self.now_ns, "tid": tid, "kind": kind, "symbol": symbol,
                "lost_before": self.losing.pop(cpu, 0), **more}  # fmt: skip
        self.rows.append(row)

    def enter(self, cpu: int, symbol: str) -> None:
        stack = self.stacks.setdefault(self.running[cpu], [])
        self.add(cpu, "funcgraph_entry", symbol, depth=len(stack))
        stack.append((symbol, self.now_ns))

    def leave(self, cpu: int) -> None:
        stack = self.stacks.setdefault(self.running[cpu], [])
        if not stack:
            return
        symbol, since = stack.pop()
        self.add(
            cpu, "funcgraph_exit", symbol, depth=len(stack),
            calltime_ns=since + LATER_NS, rettime_ns=self.now_ns + LATER_NS,
        )  # fmt: skip


OPERATIONS = ("enter", "enter", "leave", "leave", "kprobe", "kretprobe", "print", "switch", "lose",
              "forget")  # fmt: skip


@st.composite
def recordings(draw: st.DrawFn, *, graph: bool = True, probes: bool = True) -> Recorded:
    """A recording with function_graph records, or kprobes, or both; in batches of any size."""
    cpus = draw(st.sampled_from((1, 2, 3, 12)))
    made = Recording(cpus)
    free = [300 + n for n in range(3 * cpus)]
    operation = st.tuples(
        st.sampled_from(OPERATIONS), st.integers(0, cpus - 1), st.sampled_from(STEPS_NS),
        st.sampled_from(SYMBOLS), st.integers(0, (1 << 64) - 1), st.sampled_from(WORDS),
    )  # fmt: skip
    for what, cpu, step_ns, symbol, number, words in draw(st.lists(operation, max_size=60)):
        made.now_ns += step_ns + 1
        if cpu not in made.running:
            made.running[cpu] = free.pop(0) if cpu else 0  # the idle task, too
        if what == "enter" and graph:
            made.enter(cpu, symbol)
        elif what == "leave" and graph:
            made.leave(cpu)
        elif what == "kprobe" and probes and symbol in PROBES:
            made.add(cpu, "kprobe", symbol, arg0=number, arg1=number >> 7, arg2=number >> 40)
        elif what == "kretprobe" and probes and symbol in RETURNS:
            made.add(cpu, "kretprobe", symbol)
        elif what == "print":
            made.add(cpu, "print", None, text=words)
        elif what == "switch":
            free.append(made.running[cpu])
            made.running[cpu] = free.pop(0)
            if free[-1] == 0:  # CPU 0's own
                free.pop()
        elif what == "lose":
            made.losing[cpu] = made.losing.get(cpu, 0) + 1 + number % 1000
        elif what == "forget":
            made.stacks.pop(made.running[cpu], None)
    sizes = draw(st.lists(st.integers(1, 20), min_size=1, max_size=8))
    return as_recorded(made, sizes, graph=graph, probes=probes)


def long_recording(seed: int, unmaps: int, sizes: list[int] | None = None) -> Recorded:
    """Unmaps on two CPUs, with losses, markers, probes and long pauses: many pages of records."""
    chance = random.Random(seed)
    made = Recording(2, running={0: 301, 1: 302})
    for n in range(unmaps):
        cpu = chance.randrange(2)
        made.now_ns += chance.choice((5, 1000, 1 << 28))
        if chance.random() < 0.05:
            made.losing[cpu] = chance.randrange(1, 1 << 20)
        if chance.random() < 0.3:
            made.add(cpu, "print", None, text=f"step {n} {'x' * chance.randrange(300)}")
        made.now_ns += 1
        made.enter(cpu, SYMBOLS[0])
        for _ in range(chance.randrange(8)):
            made.now_ns += chance.randrange(1, 5000)
            made.enter(cpu, SYMBOLS[2])
            made.now_ns += 1
            made.add(cpu, "kprobe", SYMBOLS[1], arg0=chance.getrandbits(64), arg1=n)
            made.now_ns += chance.choice((7, 1 << 27))
            made.leave(cpu)
        made.now_ns += 3
        made.leave(cpu)
    return as_recorded(made, sizes or [1000])


def as_recorded(
    made: Recording, sizes: list[int], *, graph: bool = True, probes: bool = True
) -> Recorded:
    """What was made, in batches whose sizes repeat."""
    whole = pl.DataFrame(made.rows, schema={**RECORDS, "kind": pl.String, "symbol": pl.String})
    whole = whole.select(pl.col(name).cast(dtype) for name, dtype in RECORDS.items())
    batches, at, n = [], 0, 0
    while at < whole.height:
        batches.append(whole[at : at + sizes[n % len(sizes)]])
        at, n = at + sizes[n % len(sizes)], n + 1
    tids = {row["tid"] for row in made.rows} - {0}
    return Recorded(
        batches=iter(batches),
        tasks=tuple(Task(tid, 300, COMMS[tid % len(COMMS)]) for tid in sorted(tids)),
        cpus=made.cpus, clock="mono", probes=PROBES if probes else {},
        returns=RETURNS if probes else frozenset(), addresses=ADDRESSES,
        lost_at_end=dict(made.losing), overwrite=False, kernel="6.12.95-arm64",
        page_size_bytes=4096, facts={}, graph=graph,
    )  # fmt: skip

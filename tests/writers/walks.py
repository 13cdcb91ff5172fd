"""Unmaps as the kernels make them, and the forms in which a tracer writes them down.

`unmap()` is the tree of calls of arch/arm64/kvm/hyp/pgtable.c: per PTE (to 6.5, or without FWB),
deferred with tables invalidated at once (6.9, 6.6.47), deferred as it was before f62d4c3eb687. What
of it is traced, with which arguments, and in which format, a test chooses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.writers import perfetto as pf
from tests.writers.events import Recorder
from tests.writers.ftrace_text import Events, Graph, GraphOptions, Task, insn_header

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

UNMAP, WALKER, PUT = "kvm_pgtable_stage2_unmap", "stage2_unmap_walker", "kvm_s2_put_page"
FLUSH, OUTER = "__kvm_tlb_flush_vmid_ipa", "kvm_tlb_flush_vmid_range"
RANGE, VMID = "__kvm_tlb_flush_vmid_range", "__kvm_tlb_flush_vmid"
CMO, WRITE_PROTECT = "clean_dcache_guest_page", "kvm_mmu_wp_memory_region"
EVERYTHING = (UNMAP, WALKER, PUT, FLUSH, OUTER, RANGE, CMO, WRITE_PROTECT)
PAGE, START, MMU = 4096, 0x8000_0000, 0xFFFF_0000_0001_0000
TABLES = (0xFFFF_0000_0100_0000, 0xFFFF_0000_0200_0000, 0xFFFF_0000_0300_0000)
UNKNOWN_LEVEL = 2147483647
VCPU = Task("vcpu0", 0)


@dataclass(frozen=True)
class Call:
    """A call with its arguments and what it calls."""

    symbol: str
    args: dict[str, int] = field(default_factory=dict)
    inner: tuple[Call, ...] = ()


def flush(ipa: int, level: int) -> Call:
    return Call(FLUSH, {"mmu": MMU, "ipa": ipa, "level": level})


def range_flush(ipa: int, pages: int, page: int = PAGE) -> Call:
    """kvm_tlb_flush_vmid_range(): the inner function once per 2^21 pages."""
    inner = [
        Call(RANGE, {"mmu": MMU, "start": ipa + at * page, "pages": min(pages - at, 1 << 21)})
        for at in range(0, pages, 1 << 21)
    ]
    return Call(OUTER, {"mmu": MMU, "addr": ipa, "size": pages * page}, tuple(inner))


def dirty_log(ipa: int, pages: int, page: int = PAGE) -> Call:
    """Write protection of a memslot, which flushes its range and unmaps nothing."""
    return Call(WRITE_PROTECT, {}, (range_flush(ipa, pages, page),))


def unmap(
    pages: int, *, deferred: bool, eager: bool = True, start: int = START, tables: int = 2
) -> Call:
    """An unmap of *pages* pages, of which *tables* tables become empty, from the lowest up."""
    visits = []
    for page in range(pages):
        ipa = start + page * PAGE
        entry = TABLES[0] + page * 8
        calls = [] if deferred else [flush(ipa, 3)]
        calls.append(Call(PUT, {"addr": entry}))
        visits.append(Call(WALKER, {"addr": ipa, "level": 3}, tuple(calls)))
    for at in range(tables):
        calls = [flush(start, UNKNOWN_LEVEL)] if eager or not deferred else []
        calls += [Call(PUT, {"addr": TABLES[at + 1] + 16}), Call(PUT, {"addr": TABLES[at]})]
        visits.append(Call(WALKER, {"addr": start, "level": 2 - at}, tuple(calls)))
    last = [range_flush(start, pages)] if deferred else []
    return Call(UNMAP, {"addr": start, "size": pages * PAGE}, (*visits, *last))


def visible(calls: Iterable[Call], symbols: Collection[str]) -> list[Call]:
    """What a tracer of *symbols* sees of *calls*."""
    found = []
    for call in calls:
        inner = visible(call.inner, symbols)
        found += [replace(call, inner=tuple(inner))] if call.symbol in symbols else inner
    return found


def without_arguments(calls: Iterable[Call], symbols: Collection[str]) -> list[Call]:
    """*calls*, the arguments of *symbols* not recorded."""
    return [
        replace(
            call,
            args={} if call.symbol in symbols else call.args,
            inner=tuple(without_arguments(call.inner, symbols)),
        )
        for call in calls
    ]


def recorded(calls: Sequence[Call], made: Recorder | None = None) -> Recorder:
    """In memory, as probes with arguments."""
    made = made or Recorder()
    for call in calls:
        made.enter(call.symbol, **{name: signed(value) for name, value in call.args.items()})
        recorded(call.inner, made)
        made.leave(call.symbol)
    return made


def graph_text(calls: Sequence[Call], made: Graph | None = None) -> str:
    """As function_graph text, with times: no arguments."""
    made = made or Graph(GraphOptions(abstime=True, proc=True, tail=True))
    for call in calls:
        if call.inner:
            made.enter(call.symbol)
            graph_text(call.inner, made)
            made.leave(20_000)
        else:
            made.leaf(call.symbol)
    return made.text()


def kprobe_text(calls: Sequence[Call], made: Events | None = None) -> str:
    """As lines of tracefs, of probes with arguments on entry and of returns."""
    made = made or Events()
    for call in calls:
        args = "".join(f" {name}={value:#x}" for name, value in call.args.items())
        made.event(f"p_{call.symbol}: ({call.symbol}+0x0/0x100){args}")
        kprobe_text(call.inner, made)
        made.event(f"r_{call.symbol}: (caller+0x10/0x100 <- {call.symbol})")
    return made.text()


# What a flush executes (arch/arm64/kvm/hyp/vhe/tlb.c); `{ipa}` is the page of a single operation.
BEFORE = ("dsb: option=ishst", "isb: option=sy")
SINGLE = "tlbi: op=ipas2e1is xt={ipa:#x}"
AFTER = (
    "dsb: option=ish", "tlbi: op=vmalle1is xt=0x0", "dsb: option=ish", "isb: option=sy",
)  # fmt: skip
FLUSH_CODE = (*BEFORE, SINGLE, *AFTER)


def executed_text(
    calls: Sequence[Call],
    flush_code: Sequence[str] = FLUSH_CODE,
    range_operands: Sequence[int] = (),
    made: Events | None = None,
) -> str:
    """As an emulator's record of functions and instructions; single pages without *range_operands*.

    Flushes by IPA execute *flush_code*, those of a range one operation per operand.
    """
    made = made or Events(style="ns")
    if not made.lines:
        made.lines.append(insn_header())
    ranged = (*BEFORE, *(f"tlbi: op=ripas2e1is xt={one:#x}" for one in range_operands), *AFTER)
    for call in calls:
        values = enumerate(call.args.values(), call.symbol in (UNMAP, WALKER))
        args = "".join(f" x{at}={value:#x}" for at, value in values)
        made.event(f"{call.symbol}: ({call.symbol}+0x0/0x100){args}", task=VCPU)
        if call.symbol in (FLUSH, RANGE):
            page = [*call.args.values()][1] >> 12
            for line in flush_code if call.symbol == FLUSH or not range_operands else ranged:
                made.event(line.format(ipa=page), task=VCPU)
        executed_text(call.inner, flush_code, range_operands, made)
        made.event(f"{call.symbol}_ret: (0xffff800080060d88 <- {call.symbol}) ret=0x0", task=VCPU)
    return "".join(made.lines)


def perfetto_trace(calls: Sequence[Call]) -> bytes:
    """As a Perfetto trace of function_graph."""
    numbers = {name: at for at, name in enumerate(sorted(_symbols(calls)), 1)}
    now, events = 1000, []

    def write(call: Call, depth: int) -> None:
        nonlocal now
        called = now = now + 100
        events.append(pf.graph_entry(now, 7, numbers[call.symbol], depth))
        for one in call.inner:
            write(one, depth + 1)
        now += 50
        events.append(pf.graph_exit(now, 7, numbers[call.symbol], called, now, depth))

    for call in calls:
        write(call, 0)
    names = pf.symbols({at: name for name, at in numbers.items()})
    return pf.trace(pf.events(0, *events, interned_data=names))


def signed(value: int) -> int:
    """The same 64 bits as schema.ARGS holds them."""
    return value - (1 << 64) if value >> 63 else value


def _symbols(calls: Iterable[Call]) -> set[str]:
    found = set()
    for call in calls:
        found |= {call.symbol} | _symbols(call.inner)
    return found

"""What a simulated tracer traces: the presets of `traceview record`, by the functions of a kernel.

The names are those of the recorder (docs/how-to); what a kernel does not have, or runs at EL2, is
left out, as the recorder would have to.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError
from traceview.simulate.call_trees import (
    AT_EL2,
    CLEAN,
    FLUSH,
    FLUSH_ALL,
    INTERRUPT,
    PUT,
    RANGE,
    RANGE_OUTER,
    UNMAP,
    WALKER,
    Call,
    Edge,
    Machine,
    templates,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from traceview.simulate.call_trees import Piece

OPERATIONS: Final = (UNMAP, FLUSH, RANGE, FLUSH_ALL, CLEAN, PUT)
CALLERS_AND_HELPERS: Final = (
    "kvm_unmap_gfn_range", "__unmap_stage2_range", "stage2_apply_range",
    "kvm_arch_flush_shadow_memslot", "kvm_pgtable_walk", "__kvm_pgtable_walk", WALKER,
    "stage2_put_pte", RANGE_OUTER, "enter_vmid_context", "exit_vmid_context",
    "__tlb_switch_to_guest", "__tlb_switch_to_host",
)  # fmt: skip
FUNCTIONS: Final[dict[str, tuple[str, ...]]] = {
    "top": (UNMAP,), "split": OPERATIONS, "deep": (*OPERATIONS, *CALLERS_AND_HELPERS),
    "args": (UNMAP, WALKER, FLUSH, RANGE, PUT),
}  # fmt: skip
# Probes that record the entry alone.
ENTRY_ONLY: Final = frozenset({WALKER, PUT})
PRESETS: Final = tuple(FUNCTIONS)
TRACERS: Final = ("function_graph", "kprobe")


@dataclass(frozen=True, slots=True)
class Tracer:
    """What is traced, and by what. `returns`: the probes that record the return too."""

    graph: frozenset[str] = frozenset()
    probes: frozenset[str] = frozenset()
    returns: frozenset[str] = frozenset()

    @property
    def timed(self) -> frozenset[str]:
        """Functions whose durations are recorded."""
        return self.graph | (self.probes & self.returns)

    @property
    def counted(self) -> frozenset[str]:
        """Functions whose calls are recorded."""
        return self.graph | self.probes

    def visible(self, machine: Machine) -> Tracer:
        """Without what runs at EL2 on a host without VHE."""
        if machine.vhe:
            return self
        return Tracer(self.graph - AT_EL2, self.probes - AT_EL2, self.returns - AT_EL2)


def tracer_of(
    preset: str, machine: Machine, *, tracer: str | None = None, functions: Iterable[str] = ()
) -> Tracer:
    """What *preset* and further *functions* trace on such a machine. Raises SettingError.

    *tracer*: function_graph or kprobe; None: kprobe for args, else function_graph.
    """
    known = known_functions(machine.shape) | set(INTERRUPT)
    for name in functions:
        if name not in known:
            raise SettingError(
                f"this kernel has no function {name!r}\nit has: {', '.join(sorted(known))}"
            )
    wanted = known & {*FUNCTIONS[preset], *functions}
    if (tracer or ("kprobe" if preset == "args" else "function_graph")) == "function_graph":
        return Tracer(graph=frozenset(wanted)).visible(machine)
    returns = wanted - ENTRY_ONLY if preset == "args" else wanted
    return Tracer(probes=frozenset(wanted), returns=frozenset(returns)).visible(machine)


def known_functions(shape: str) -> set[str]:
    """Every function of the call trees of a kernel, without suffixes, whatever the machine."""
    found: set[str] = {FLUSH_ALL}
    for fwb, tlbirange, deferred in product((True, False), repeat=3):
        machine = Machine(shape, fwb, tlbirange, True, deferred and shape != "6.1", False)  # noqa: FBT003
        for template in templates(machine).values():
            for piece in template:
                found.update(name.partition(".")[0] for name in _symbols(piece))
    return found


def _symbols(piece: Piece) -> Iterator[str]:
    if isinstance(piece, Edge):
        yield piece.symbol
    elif isinstance(piece, Call):
        yield piece.symbol
        for one in piece.inside:
            yield from _symbols(one)

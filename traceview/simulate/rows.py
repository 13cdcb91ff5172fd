"""Call trees -> flat tables of rows, with costs, what is traced and what that costs.

A template is a stretch of rows; each row is a begin or an end of a call, with the time before it.
What is not traced stays in the tables: its time passes, and no record is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.simulate.call_trees import (
    CLEAN,
    FLUSH,
    PUT,
    RANGE,
    RANGE_OUTER,
    UNMAP,
    WALKER,
    Call,
    Edge,
    Mark,
    Pause,
)  # fmt: skip
from traceview.simulate.recording import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from traceview.simulate.call_trees import Template
    from traceview.simulate.presets import Tracer

PICOSECONDS: Final = 1000
COMPONENTS: Final = (
    "invalidate_leaf", "invalidate_table", "invalidate_range", "cmo", "table_put", "irq",
)  # fmt: skip
REST: Final = len(COMPONENTS)
NOT_RECORDED: Final = -1
ENTRY, EXIT, KPROBE, KRETPROBE, PRINT = (KINDS.index(kind) for kind in KINDS)
# Which arguments a probe of the function reads: x0, x1, x2 where PLACES names no others.
ARGUMENTS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    UNMAP: (("pgt", "x64"), ("addr", "x64"), ("size", "x64")),
    FLUSH: (("mmu", "x64"), ("ipa", "x64"), ("level", "s32")),
    RANGE: (("mmu", "x64"), ("start", "x64"), ("pages", "u64")),
    RANGE_OUTER: (("mmu", "x64"), ("addr", "x64"), ("size", "x64")),
    CLEAN: (("va", "x64"), ("size", "x64")),
    PUT: (("addr", "x64"),),
    WALKER: (("addr", "x64"), ("level", "s8")),
    "kvm_unmap_gfn_range": (("kvm", "x64"),),
    "kvm_arch_flush_shadow_memslot": (("kvm", "x64"),),
}
# By shape of the kernel: (u64 addr, u64 end, u32 level, ...), or struct kvm_pgtable_visit_ctx.
PLACES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "6.1": {WALKER: ("%x0", "%x2")}, "6.12": {WALKER: ("+40(%x0)", "+56(%x0)")},
}  # fmt: skip


@dataclass(slots=True)
class Row:
    """One row. `part` and `true_part` say what the time before it belongs to."""

    symbol: str | None
    opens: int
    gap_ns: float
    kind: int
    part: int
    true_part: int
    template: str
    operations: bool = False
    is_first: bool = True  # of the rows of one begin or end: the one that opens or closes


@dataclass(slots=True)
class _Flattening:
    """Where a template has come to."""

    tracer: Tracer
    cost: Callable[[str], float]
    template: str
    rows: list[Row] = field(default_factory=list)
    waiting_ns: float = 0.0
    part: int = REST
    true_part: int = REST

    def add(self, symbol: str | None, opens: int, *, operations: bool = False) -> None:
        """A begin (1), an end (-1) or a mark (0), as the tracers record it."""
        for number, kind in enumerate(self._kinds(symbol, opens)):
            self.rows.append(
                Row(
                    symbol, opens, self.waiting_ns, kind, self.part, self.true_part, self.template,
                    operations and number == 0, is_first=number == 0,
                )
            )  # fmt: skip
            self.waiting_ns = 0.0

    def _kinds(self, symbol: str | None, opens: int) -> list[int]:
        if symbol is None:
            return [PRINT]
        name = symbol.partition(".")[0]
        probed, graphed = name in self.tracer.probes, name in self.tracer.graph
        # The probe lies behind the patched entry: graph, probe, function, probe's return, graph.
        kinds = [ENTRY] * graphed + [KPROBE] * probed
        if opens < 0:
            kinds = [KRETPROBE] * (name in self.tracer.returns and probed) + [EXIT] * graphed
        return kinds or [NOT_RECORDED]

    def piece(self, piece: Call | Edge | Pause | Mark) -> None:
        """Add the rows of one piece."""
        if isinstance(piece, Pause):
            self.waiting_ns += self.cost(piece.cost)
        elif isinstance(piece, Mark):
            self.waiting_ns += self.cost(piece.cost)
            self.add(None, 0)
        elif isinstance(piece, Edge):
            self.waiting_ns += self.cost(piece.cost) if piece.cost else 0.0
            self.add(piece.symbol, 1 if piece.opens else -1)
        else:
            self._call(piece)

    def _call(self, call: Call) -> None:
        before = self.part, self.true_part
        first = len(self.rows)
        self.add(call.symbol, 1)
        component = COMPONENTS.index(call.component) if call.component else REST
        if component != REST and self.true_part == REST:
            self.true_part = component
        if self.part == REST and call.symbol.partition(".")[0] in self.tracer.timed:
            self.part = component
        for row in self.rows[first + 1 :]:  # behind the first begin the call has begun
            row.part, row.true_part = self.part, self.true_part
        share = self.cost(call.cost) / (len(call.inside) + 1)
        for one in call.inside:
            self.waiting_ns += share
            self._call(one)
        self.waiting_ns += share
        self.add(call.symbol, -1, operations=call.operations)
        self.part, self.true_part = before


@dataclass(frozen=True, slots=True)
class Rows:
    """Every template's rows, one behind another. `begin` and `count` by template."""

    names: tuple[str, ...]
    begin: NDArray[np.int64]
    count: NDArray[np.int64]
    symbols: tuple[str, ...]
    symbol: NDArray[np.int32]  # -1 of a mark
    opens: NDArray[np.int8]
    gap_ps: NDArray[np.int64]
    kind: NDArray[np.int8]
    part: NDArray[np.int8]
    true_part: NDArray[np.int8]
    operations: NDArray[np.bool_]
    is_first: NDArray[np.bool_]
    before_ps: NDArray[np.int64]  # of tracing, ahead of the row's time stamp
    after_ps: NDArray[np.int64]  # of tracing, behind it
    record_ps: NDArray[np.int64]  # from the time that is measured to the record's time stamp

    def makes(self, template: str, symbol: str) -> bool:
        """Whether a template calls a function."""
        begin = int(self.begin[self.number(template)])
        end = begin + int(self.count[self.number(template)])
        known = self.symbols.index(symbol) if symbol in self.symbols else -2
        return bool((self.symbol[begin:end] == known).any())

    def number(self, template: str) -> int:
        """Of a template."""
        return self.names.index(template)


def flatten(
    trees: Mapping[str, Template],
    tracer: Tracer,
    cost: Callable[[str], float],
    tracing_ns: Callable[[str], float],
) -> Rows:
    """The rows of all *trees*; *cost* and *tracing_ns* are of the profile."""
    every: list[Row] = []
    begin, count = [], []
    for name, template in trees.items():
        flat = _Flattening(tracer, cost, name)
        for piece in template:
            flat.piece(piece)
        begin.append(len(every))
        count.append(len(flat.rows))
        every += flat.rows
    symbols = tuple(dict.fromkeys(row.symbol for row in every if row.symbol is not None))
    number = {symbol: at for at, symbol in enumerate(symbols)}
    before, after, to_record = zip(*(_tracing(row, tracing_ns) for row in every), strict=True)
    return Rows(
        tuple(trees), np.array(begin), np.array(count), symbols,
        np.array([number.get(row.symbol or "", -1) for row in every], dtype=np.int32),
        np.array([row.opens for row in every], dtype=np.int8),
        _ps([row.gap_ns for row in every]),
        np.array([row.kind for row in every], dtype=np.int8),
        np.array([row.part for row in every], dtype=np.int8),
        np.array([row.true_part for row in every], dtype=np.int8),
        np.array([row.operations for row in every]),
        np.array([row.is_first for row in every]),
        _ps(before), _ps(after), _ps(to_record),
    )  # fmt: skip


def _ps(ns: object) -> NDArray[np.int64]:
    return np.rint(np.asarray(ns, dtype=np.float64) * PICOSECONDS).astype(np.int64)


def _tracing(row: Row, ns: Callable[[str], float]) -> tuple[float, float, float]:
    """What recording a row takes before and after its time stamp, and how late the record is.

    function_graph reads calltime and then writes the entry, reads rettime and then writes the exit
    (kernel/trace/fgraph.c). A probe's time stamp is that of its record; arguments are fetched and
    written behind it.
    """
    if row.kind == ENTRY:
        return ns("graph_before"), ns("graph_entry"), ns("graph_entry") / 4
    if row.kind == EXIT:
        return ns("graph_return"), ns("graph_exit"), ns("graph_exit") / 4
    if row.kind == KPROBE:
        arguments = len(ARGUMENTS.get((row.symbol or "").partition(".")[0], ()))
        return ns("probe_before"), ns("probe_entry") + arguments * ns("probe_argument"), 0.0
    if row.kind == KRETPROBE:
        return ns("probe_return"), ns("probe_exit"), 0.0
    return (0.0, ns("marker_write"), 0.0) if row.kind == PRINT else (0.0, 0.0, 0.0)

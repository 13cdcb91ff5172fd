"""What really happened in each simulated unmap: one row each, whatever the tracer could see.

Counts come from the walk, not from the records. `duration_ns` and the components are what a tracer
that loses nothing reads (whole ticks); `true_ns` and its parts are without tracing and interrupts.
A component whose function is not traced is null, like the duration of an unmap that is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from traceview.simulate.call_trees import CLEAN, FLUSH, LEVELS, PUT, RANGE, RANGE_OUTER, UNMAP
from traceview.simulate.events import quantised_ns
from traceview.simulate.rows import COMPONENTS, ENTRY, EXIT, KPROBE, KRETPROBE, PICOSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from traceview.simulate.call_trees import Machine
    from traceview.simulate.events import Cpu, Events
    from traceview.simulate.items import Items
    from traceview.simulate.page_table import Granule
    from traceview.simulate.presets import Tracer
    from traceview.simulate.ring import Ring
    from traceview.simulate.rows import Rows

    Ints = NDArray[np.int64]

PARTS: Final = (*COMPONENTS, "rest")
# What must be traced for a component to be seen.
SEEN_BY: Final[dict[str, tuple[str, ...]]] = {
    "invalidate_leaf": (FLUSH,), "invalidate_table": (FLUSH,),
    "invalidate_range": (RANGE, RANGE_OUTER), "cmo": (CLEAN,), "table_put": (PUT,),
    "irq": ("irq_enter_rcu", "gic_handle_irq", "irq_exit_rcu"),
}  # fmt: skip
COUNTS: Final = (
    "leaves", "leaves_l1", "leaves_l2", "leaves_l3", "holes", "tables_freed", "tables_kept",
    "pte_visits", "invalidate_leaf", "invalidate_table", "invalidate_range", "range_operations",
    "cmo", "cache_lines", "table_put",
)  # fmt: skip
TRUTH: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "vm": pl.Int32, "cpu": pl.Int32, "tid": pl.Int32, "step": pl.String, "action": pl.String,
    "trigger": pl.String, "ipa": pl.Int64, "length_bytes": pl.Int64, "strategy": pl.String,
    "table_invalidation": pl.String, **dict.fromkeys(COUNTS, pl.Int64), "interrupts": pl.Int64,
    "interrupts_ns": pl.Int64, "traced_calls": pl.Int64, "irq": pl.Int64, "start_ns": pl.Int64,
    "duration_ns": pl.Int64, **{f"{part}_ns": pl.Int64 for part in PARTS}, "true_ns": pl.Int64,
    **{f"true_{part}_ns": pl.Int64 for part in PARTS if part != "irq"}, "first_record": pl.Int64,
    "last_record": pl.Int64, "lost_records": pl.Int64, "status": pl.String,
}  # fmt: skip


@dataclass(slots=True)
class _Sums:
    """What the events of an unmap add up to so far, by unmap."""

    parts: Ints
    true_parts: Ints
    interrupts: Ints
    interrupts_ps: Ints
    calls: Ints
    irq: Ints
    start_ns: Ints  # of the record, by which readers know when it began
    begin_ns: Ints
    end_ns: Ints
    first: Ints
    last: Ints


def _sums(size: int) -> _Sums:
    width = len(PARTS)
    one = [np.zeros(size, dtype=np.int64) for _ in range(9)]
    return _Sums(
        np.zeros((size, width), dtype=np.int64), np.zeros((size, width), dtype=np.int64), *one
    )


@dataclass(slots=True)
class Bookkeeper:
    """Adds up the events of one group of items."""

    machine: Machine
    granule: Granule
    rows: Rows
    tracer: Tracer
    clock_offset_ns: int
    line_bytes: int
    items: Items
    operations: Ints  # range operations, by unmap
    sums: _Sums = field(init=False)

    def __post_init__(self) -> None:
        """Start with nothing."""
        self.sums = _sums(self.items.start.size)

    def add(self, events: Events, cpu: Cpu, first_record: int) -> None:
        """Take the events of some items. *first_record*: how many this CPU recorded before."""
        rows, sums = self.rows, self.sums
        is_unmap = rows.symbol[events.row] == self._symbol(UNMAP)
        opens = is_unmap & (rows.opens[events.row] > 0)
        begins = opens & rows.is_first[events.row]
        of = self._unmap_of(events, begins)
        inside = (of >= 0) & ~begins
        at = np.flatnonzero(inside)
        _add(sums.true_parts, of[at], events.true_part[at], events.own_ps[at])
        size = self.items.start.size
        sums.interrupts += _total(of[at], events.interrupts[at], size)
        sums.interrupts_ps += _total(of[at], events.interrupt_ps[at], size)
        kind = rows.kind[events.row]
        recorded = np.cumsum(kind >= 0) - 1 + first_record
        primary = self._primary(kind, events.row)
        self._measure(events, cpu, of, primary, opens)
        shown = np.flatnonzero((kind >= 0) & is_unmap & primary)
        first, last = shown[opens[shown]], shown[~opens[shown]]
        sums.first[of[first]], sums.last[of[last]] = recorded[first], recorded[last]
        stamped = events.measured_ps[first] + rows.record_ps[events.row[first]]
        sums.start_ns[of[first]] = quantised_ns(stamped, cpu.cntfrq_hz)

    def _unmap_of(self, events: Events, begins: NDArray[np.bool_]) -> Ints:
        """The unmap of each row, -1 outside; an interrupt ahead of its begin is outside."""
        of = self.items.unmap[events.item]
        template = self.rows.number("interrupt")
        first = self.rows.begin[template]
        interrupt = (events.row >= first) & (events.row < first + self.rows.count[template])
        if interrupt.any():
            others = np.flatnonzero(~interrupt)
            at = np.flatnonzero(interrupt)
            host = others[np.searchsorted(others, at)]
            of[at[begins[host]]] = -1
        return of

    def _symbol(self, name: str) -> int:
        return self.rows.symbols.index(name) if name in self.rows.symbols else -2

    def _primary(self, kind: NDArray[np.int8], row: Ints) -> NDArray[np.bool_]:
        """The rows that durations are read from: function_graph's, where a function has both."""
        graph = (kind == ENTRY) | (kind == EXIT)
        probe = (kind == KPROBE) | (kind == KRETPROBE)
        graphed = np.array(
            [symbol.partition(".")[0] in self.tracer.graph for symbol in self.rows.symbols]
            + [False]
        )
        found: NDArray[np.bool_] = graph | (probe & ~graphed[self.rows.symbol[row]])
        return found

    def _measure(
        self, events: Events, cpu: Cpu, of: Ints, primary: NDArray[np.bool_],
        opens: NDArray[np.bool_],
    ) -> None:  # fmt: skip
        at = np.flatnonzero(primary)
        if at.size == 0:
            return
        sums, size = self.sums, self.items.start.size
        read = quantised_ns(events.measured_ps[at], cpu.cntfrq_hz)
        took = np.diff(read, prepend=cpu.last_measured_ns)
        cpu.last_measured_ns = int(read[-1])
        within = np.flatnonzero((of[at] >= 0) & ~opens[at])
        _add(sums.parts, of[at[within]], events.part[at[within]], took[within])
        is_begin = (self.rows.opens[events.row[at]] > 0) & (of[at] >= 0) & ~opens[at]
        sums.calls += np.bincount(of[at[is_begin]], minlength=size)
        irq = is_begin & (self.rows.part[events.row[at]] != events.part[at])
        irq |= is_begin & np.isin(self.rows.symbol[events.row[at]], self._irq_symbols())
        sums.irq += np.bincount(of[at[irq]], minlength=size)
        is_unmap = self.rows.symbol[events.row[at]] == self._symbol(UNMAP)
        first, last = np.flatnonzero(opens[at]), np.flatnonzero(is_unmap & ~opens[at])
        sums.begin_ns[of[at[first]]] = read[first]
        sums.end_ns[of[at[last]]] = read[last]

    def _irq_symbols(self) -> list[int]:
        return [self._symbol(name) for name in SEEN_BY["irq"]]

    def truth(self) -> pl.DataFrame:
        """One row per unmap of the group."""
        items, sums, size = self.items, self.sums, self.items.start.size
        shift = self.granule.page_shift
        counts = self._counts()
        seen = UNMAP in self.tracer.timed
        whole = sums.end_ns - sums.begin_ns
        columns: dict[str, Any] = {
            "vm": np.full(size, items.vm.number), "cpu": np.full(size, items.vm.cpu),
            "tid": np.full(size, items.vm.tid), "step": items.step,
            "action": [items.action] * size, "trigger": [items.trigger] * size,
            "ipa": items.start << shift, "length_bytes": (items.end - items.start) << shift,
            "strategy": self._strategy(counts["leaves"], counts["tables_freed"]),
            "table_invalidation": [self._table_invalidation()] * size, **counts,
            "interrupts": sums.interrupts, "interrupts_ns": sums.interrupts_ps // PICOSECONDS,
            "traced_calls": sums.calls, "irq": sums.irq,
            "start_ns": sums.start_ns + self.clock_offset_ns,
            "duration_ns": whole if seen else [None] * size,
            **{
                f"{part}_ns": sums.parts[:, number] if seen and self._sees(part) else [None] * size
                for number, part in enumerate(PARTS)
            },
            "true_ns": sums.true_parts.sum(axis=1) // PICOSECONDS,
            **{
                f"true_{part}_ns": sums.true_parts[:, number] // PICOSECONDS
                for number, part in enumerate(PARTS) if part != "irq"
            },
            "first_record": sums.first, "last_record": sums.last,
            "lost_records": np.zeros(size, dtype=np.int64),
            "status": ["complete" if seen else None] * size,
        }  # fmt: skip
        return pl.DataFrame(
            {name: pl.Series(name, columns[name], dtype=dtype) for name, dtype in TRUTH.items()}
        )

    def _sees(self, part: str) -> bool:
        return part == "rest" or any(name in self.tracer.timed for name in SEEN_BY[part])

    def _strategy(self, leaves: Ints, tables: Ints) -> list[str]:
        if self.machine.deferred:
            return ["deferred_range"] * leaves.size
        return ["per_pte" if any_ else "none" for any_ in (leaves + tables > 0).tolist()]

    def _table_invalidation(self) -> str:
        return "deferred" if self.machine.tables_deferred else "eager"

    def _counts(self) -> dict[str, Ints]:
        """From what the walk visited."""
        items, size = self.items, self.items.start.size
        mine = items.unmap >= 0
        of, template = items.unmap[mine], items.template[mine]

        def count(*names: str) -> Ints:
            wanted = [self.rows.number(name) for name in names]
            return np.bincount(of[np.isin(template, wanted)], minlength=size).astype(np.int64)

        leaf = {level: count(f"leaf_l{level}", f"device_l{level}") for level in LEVELS}
        normal = {level: count(f"leaf_l{level}") for level in LEVELS}
        leaves, zero = _sum(leaf.values(), size), np.zeros(size, dtype=np.int64)
        freed, kept, holes = count("freed"), count("kept"), count("hole")
        cleaned = not self.machine.fwb
        by_level = (self.granule.size_bytes(level) // self.line_bytes for level in LEVELS)
        lines = _sum((n * one for n, one in zip(normal.values(), by_level, strict=True)), size)
        deferred, per_pte = self.machine.deferred, not self.machine.deferred
        return {
            "leaves": leaves, **{f"leaves_l{level}": leaf[level] for level in LEVELS},
            "holes": holes, "tables_freed": freed, "tables_kept": kept,
            "pte_visits": leaves + holes + freed + kept,
            "invalidate_leaf": leaves if per_pte else zero,
            "invalidate_table": zero if self.machine.tables_deferred else freed,
            "invalidate_range": zero + 1 if deferred else zero,
            "range_operations": self.operations if deferred else zero,
            "cmo": _sum(normal.values(), size) if cleaned else zero,
            "cache_lines": lines if cleaned else zero,
            "table_put": leaves + 2 * freed,
        }  # fmt: skip


def with_losses(truth: pl.DataFrame, ring: Ring) -> pl.DataFrame:
    """State what the buffer lost of each unmap.

    `status`: complete; contaminated, where its begin and its end were kept; censored, where one of
    them was; unseen, where neither was.
    """
    if not ring.lost or truth["status"].null_count():
        return truth
    first, last = truth["first_record"].to_numpy(), truth["last_record"].to_numpy()
    until = [ring.lost_before(one) for one in (first, first + 1, last, last + 1)]
    lost, begin, end = until[3] - until[0], until[1] - until[0], until[3] - until[2]
    names = np.array(["contaminated", "censored", "unseen"])
    status = np.where(lost == 0, "complete", names[begin + end])
    return truth.with_columns(pl.Series("lost_records", lost), pl.Series("status", status.tolist()))


def _add(sums: Ints, of: Ints, part: Ints, amount: Ints) -> None:
    """Add *amount* to (of, part) of *sums*; exact below 2^53."""
    width = sums.shape[1]
    at = of * width + part
    sums += (
        np.bincount(at, weights=amount, minlength=sums.size).astype(np.int64).reshape(sums.shape)
    )


def _sum(columns: Iterable[Ints], size: int) -> Ints:
    return np.sum([*columns], axis=0, dtype=np.int64).reshape(size)


def _total(of: Ints, amount: Ints, size: int) -> Ints:
    return np.bincount(of, weights=amount, minlength=size).astype(np.int64)

"""Events -> the rows that a ring buffer is given (recording.RECORDS), before any is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.simulate.call_trees import CLEAN, FLUSH, PUT, RANGE, RANGE_OUTER, UNMAP, WALKER
from traceview.simulate.events import quantised_ns
from traceview.simulate.page_table import LAST_LEVEL
from traceview.simulate.recording import KINDS, RECORDS
from traceview.simulate.rows import ARGUMENTS, ENTRY, EXIT, KPROBE, PRINT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.simulate.events import Cpu, Events
    from traceview.simulate.items import Items, Vm
    from traceview.simulate.page_table import Granule
    from traceview.simulate.rows import Rows

    Ints = NDArray[np.int64]

LEVEL_UNKNOWN: Final = (1 << 31) - 1  # TLBI_TTL_UNKNOWN
# Where the structures of a VM lie, its tables, level by level, and its guest's memory.
KVM_AT: Final = 0xFFFF_0000_1000_0000
VM_BYTES: Final = 1 << 14
TABLES_AT: Final = np.uint64(0xFFFF_1000_0000_0000)
TABLES_OF_LEVEL: Final = 1 << 16  # more than the memory of one step has
LINEAR_AT: Final = np.uint64(0xFFFF_4000_0000_0000)
LINEAR_BYTES: Final = 1 << 45
ENTRY_BYTES: Final = 8
CODE_AT: Final = 0xFFFF_8000_8009_0000


@dataclass(frozen=True, slots=True)
class Recorder:
    """What a record of an event looks like: the tables that all events of a recording share."""

    rows: Rows
    granule: Granule
    clock_offset_ns: int
    table_level: str

    def records(self, items: Items, events: Events, cpu: Cpu) -> pl.DataFrame:
        """The records of *events*, in order."""
        kind = self.rows.kind[events.row]
        kept = np.flatnonzero(kind >= 0)
        row, item, kind = events.row[kept], events.item[kept], kind[kept]
        measured = events.measured_ps[kept]
        quantised = quantised_ns(measured, cpu.cntfrq_hz)
        stamp = quantised_ns(measured + self.rows.record_ps[row], cpu.cntfrq_hz)
        still_open = cpu.open_ns.setdefault(items.vm.tid, [])
        depth, calltime = _nesting(kind, quantised, still_open)
        graph, ends = (kind == ENTRY) | (kind == EXIT), kind == EXIT
        columns: dict[str, pl.Series] = {
            "cpu": pl.repeat(cpu.number, kept.size, dtype=pl.Int32, eager=True),
            "ts_ns": pl.Series(stamp + self.clock_offset_ns),
            "tid": pl.repeat(items.vm.tid, kept.size, dtype=pl.Int32, eager=True),
            "kind": _kinds().gather(kind.astype(np.int64)),
            "symbol": _symbols(self.rows).gather(self.rows.symbol[row].astype(np.int64) + 1),
            "depth": _only(depth, graph, pl.Int32),
            "calltime_ns": _only(calltime, ends, pl.Int64),
            "rettime_ns": _only(quantised, ends, pl.Int64),
            **self._arguments(items, row, item, kind == KPROBE),
            "text": _texts(items, item, kind == PRINT),
            "lost_before": pl.repeat(0, kept.size, dtype=pl.Int64, eager=True),
        }
        return pl.DataFrame({name: columns[name].alias(name) for name in RECORDS})

    def _arguments(
        self, items: Items, row: Ints, item: Ints, probed: NDArray[np.bool_]
    ) -> dict[str, pl.Series]:
        size = row.size
        names = ("arg0", "arg1", "arg2")
        if not probed.any():
            return {n: pl.repeat(None, size, dtype=pl.UInt64, eager=True) for n in names}
        at = np.flatnonzero(probed)
        values = np.zeros((3, at.size), dtype=np.uint64)
        known = np.zeros((3, at.size), dtype=bool)
        symbol = self.rows.symbol[row[at]]
        for number, name in enumerate(self.rows.symbols):
            mine = np.flatnonzero(symbol == number)
            wanted = ARGUMENTS.get(name.partition(".")[0], ())
            if mine.size and wanted:
                given = self._values(name.partition(".")[0], items, item[at[mine]], row[at[mine]])
                for place, one in enumerate(given):
                    values[place, mine], known[place, mine] = one, True
        found = {}
        for place, name in enumerate(names):
            whole = np.zeros(size, dtype=np.uint64)
            valid = np.zeros(size, dtype=bool)
            whole[at], valid[at] = values[place], known[place]
            found[name] = _only(whole, valid, pl.UInt64)
        return found

    def _values(
        self, symbol: str, items: Items, item: Ints, row: Ints
    ) -> tuple[NDArray[np.uint64], ...]:
        """What the probe of one function reads."""
        vm = items.vm
        shift = self.granule.page_shift
        page, level = items.page[item], items.level[item]
        mmu = np.full(item.size, kvm_address(vm) + 0x100, dtype=np.uint64)
        if symbol in (UNMAP, RANGE, RANGE_OUTER):
            start, pages = page, items.pages[item]
            size = pages if symbol == RANGE else pages << shift
            first = mmu + np.uint64(0x200) if symbol == UNMAP else mmu
            return first, (start << shift).astype(np.uint64), size.astype(np.uint64)
        if symbol == CLEAN:
            bytes_ = np.array([self.granule.size_bytes(one) for one in range(LAST_LEVEL + 1)])
            va = LINEAR_AT + ((page << shift) % LINEAR_BYTES).astype(np.uint64)
            return va, bytes_[level].astype(np.uint64)
        if symbol == PUT:
            return (self._reference(vm, page, level, row),)
        # What begins before the unmap is visited where the unmap begins.
        ipa = (np.maximum(page, items.start_of(item)) << shift).astype(np.uint64)
        if symbol == FLUSH:
            return mmu, ipa, self._flush_level(items, item, level).astype(np.uint64)
        if symbol == WALKER:
            return ipa, level.astype(np.uint64)
        return (np.full(item.size, kvm_address(vm), dtype=np.uint64),)

    def _reference(self, vm: Vm, page: Ints, level: Ints, row: Ints) -> NDArray[np.uint64]:
        """What a reference is dropped of: an entry or, as the last of a table, the table itself."""
        begin, freed = self.rows.begin, self.rows.number("freed")
        rows = np.arange(begin[freed], begin[freed] + self.rows.count[freed])
        put = self.rows.symbol[rows] == self.rows.symbols.index(PUT)
        table = row == rows[put & (self.rows.kind[rows] == KPROBE)][-1]
        # The pages of an entry, and of a table of that level, which is an entry of the level above.
        entries, tables = (
            np.array([self.granule.shift(one - above) for one in range(LAST_LEVEL + 1)])
            for above in (0, 1)
        )
        number = page >> np.where(table, entries[level], tables[level])
        entry = np.where(table, 0, page >> entries[level])
        at = (vm.number * (LAST_LEVEL + 1) + level + table) * TABLES_OF_LEVEL
        at += number % TABLES_OF_LEVEL
        page_bytes = self.granule.page_size_bytes
        found: NDArray[np.uint64] = TABLES_AT + (
            at * page_bytes + entry * ENTRY_BYTES % page_bytes
        ).astype(np.uint64)
        return found

    def _flush_level(self, items: Items, item: Ints, level: Ints) -> Ints:
        """The level that is passed for a leaf, and for a table."""
        of_table = items.template[item] == self.rows.number("freed")
        if self.table_level == "own":
            return level
        other = LEVEL_UNKNOWN if self.table_level == "unknown" else 0
        return np.where(of_table, other, level)


def kvm_address(vm: Vm) -> int:
    """Of the struct kvm of a VM."""
    return KVM_AT + vm.number * VM_BYTES


def addresses(rows: Rows) -> dict[str, int]:
    """Of every function that can occur: where no kernel has them, one behind another."""
    return {symbol: CODE_AT + 0x400 * at for at, symbol in enumerate(rows.symbols)}


def _nesting(kind: NDArray[np.int8], quantised: Ints, open_ns: list[int]) -> tuple[Ints, Ints]:
    """Depth and calltime of graph records of a task; *open_ns* of calls that are open is kept."""
    graph = np.flatnonzero((kind == ENTRY) | (kind == EXIT))
    opens = kind[graph] == ENTRY
    carried = len(open_ns)
    depth_after = carried + np.cumsum(np.where(opens, 1, -1))
    depth = depth_after - opens
    # Calls that are open already stand ahead, as if they had begun here.
    all_depth = np.r_[np.arange(carried), depth]
    all_time = np.r_[np.array(open_ns, dtype=np.int64), quantised[graph]]
    all_opens = np.r_[np.ones(carried, dtype=bool), opens]
    order = np.argsort(all_depth.astype(np.uint8), kind="stable")
    times = all_time[order]
    begun = np.empty_like(all_time)
    begun[order] = np.r_[0, times[:-1]]
    calltime = np.zeros(kind.size, dtype=np.int64)
    calltime[graph] = begun[carried:]
    depths = np.zeros(kind.size, dtype=np.int64)
    depths[graph] = depth
    last = np.flatnonzero(np.r_[all_depth[order][1:] != all_depth[order][:-1], True])
    still = [int(times[at]) for at in last if all_opens[order][at]] if order.size else []
    open_ns[:] = still
    return depths, calltime


def _only(
    values: NDArray[np.generic], valid: NDArray[np.bool_], dtype: type[pl.DataType]
) -> pl.Series:
    series = pl.Series(values, dtype=dtype)
    if valid.all():
        return series
    return pl.select(pl.when(pl.Series(valid)).then(series)).to_series()


def _kinds() -> pl.Series:
    return pl.Series(KINDS, dtype=RECORDS["kind"])


def _symbols(rows: Rows) -> pl.Series:
    """Null, then every function: a mark's symbol is -1."""
    return pl.Series([None, *rows.symbols], dtype=pl.Categorical)


def _texts(items: Items, item: Ints, marks: NDArray[np.bool_]) -> pl.Series:
    if not marks.any():
        return pl.repeat(None, item.size, dtype=pl.String, eager=True)
    which = np.where(marks, items.text[item], -1)
    return pl.Series([None, *items.texts], dtype=pl.String).gather(which + 1)

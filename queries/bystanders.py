"""What an unmap costs others: how long vCPUs of other tasks were in stage-2 faults, and how often.

An unmap holds the mmu_lock for writing, and a stage-2 fault needs it: a vCPU that faults meanwhile
waits, on its CPU, between its `kvm_exit` and its `kvm_entry`. That time contains what handling a
fault takes anyway, so it is an upper bound, and is set against the same vCPUs outside unmaps.
After an unmap the guest faults on what was taken from it; that is looked at for WINDOW_NS.

Limits: what TLB invalidations do to a running guest (refilled TLBs, DVM traffic) causes no event.
No event of a vCPU names its VM; the process does, where the recorder kept it (`vm`), and a vCPU
that itself unmapped, only from other MMUs, is known to be of another. On PREEMPT_RT a wait for
the mmu_lock is time off the CPU. Memory: the batch, the unmaps, and what
others did beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.bystander_events import ENTRY, EXIT, FAULT, no_events, vcpu_events
from traceview.queries.bystander_intervals import Union, by_value, overlapping, spread
from traceview.queries.bystander_stalls import settle
from traceview.queries.bystander_tables import (
    COUNTED,
    STALL,
    UNMAP,
    WINDOW_NS,
    Holes,
    Seen,
    Vcpu,
    bystander_table,
    joined,
    vcpu_table,
)
from traceview.queries.calls import STATUS
from traceview.queries.losses import FOREVER
from traceview.queries.rows import IDLE_BASE, NIL, take
from traceview.schema import frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from traceview.queries.losses import Losses
    from traceview.queries.rows import Ints, Rows
    from traceview.trace import Batch, Diagnostic

SAMPLED: Final = "sampled-events"  # of the parser of perf.data: not all events were recorded
PAIRS: Final = 1 << 20  # of an unmap and a fault in its window, looked at together
# ESR_ELx.DFSC, bits 5:0: translation fault, levels 0 to 3; level -1 (Arm ARM D24.2.40).
STATUS_CODE, TRANSLATION, LEVEL_MINUS_1 = 0x3F, 0x04, 0x2B


class Bystanders:
    """Collects what vCPUs did while others unmapped, batch by batch, of one source."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._rows = no_events()
        self._vcpus: dict[int, Vcpu] = {}
        self._kinds: set[int] = set()
        self._switches = False
        self._near: Rows = {name: np.empty(0, dtype=np.int64) for name in UNMAP}
        self._past: list[Rows] = []
        self._stalls: list[Rows] = []
        self._faults: list[Rows] = []
        self._mmus: dict[int, set[int]] = {}
        self._doubts: list[tuple[Ints, Ints]] = []
        self._last_ns = NIL
        self._last_seq = -1
        self._located = False
        self._events = pl.DataFrame()

    def add(self, batch: Batch) -> None:
        """Take the events of a batch."""
        events = batch.events
        if events.is_empty():
            return
        rows = vcpu_events(batch, self._vcpus)
        self._last_seq = int(events["seq"][-1])
        latest = events["ts_ns"].max()
        self._last_ns = max(self._last_ns, latest) if isinstance(latest, int) else self._last_ns
        self._events = events.select("tid", "tgid")
        self._switches = self._switches or bool((events["name"] == "sched_switch").any())
        self._meet(rows)
        self._rows = {name: np.concatenate([self._rows[name], rows[name]]) for name in rows}

    def take(self, unmaps: Rows) -> None:
        """Take the unmaps that closed (raw rows of unmaps.py)."""
        timed = (unmaps["start_ns"] != NIL) & (unmaps["duration_ns"] != NIL)
        if not timed.any():
            return
        new = {name: unmaps[name][timed] for name in ("task", "start_ns", "ipa", "length_bytes")}
        new["unmap_id"] = unmaps["call_id"][timed]
        new["end_ns"] = new["start_ns"] + unmaps["duration_ns"][timed]
        new["asked"] = (unmaps["status"][timed] == STATUS["complete"]).astype(np.int64)
        new["tgid"] = self._processes(new["task"])
        new["own_vm"] = self._have_vcpus(new["tgid"], unmaps["end_seq"][timed])
        new["nested"], new["mmu"] = unmaps["in_nested"][timed], unmaps["mmu"][timed]
        for task, mine in by_value(new["task"]):
            known = new["mmu"][mine][new["nested"][mine] == 0]
            self._mmus.setdefault(task, set()).update(np.unique(known[known != NIL]).tolist())
        self._near = {name: np.concatenate([self._near[name], new[name]]) for name in UNMAP}

    def settle(self, cuts: Mapping[int, int], losses: Losses, *, last: bool = False) -> None:
        """Count what is certain. *cuts*: the seq at which each task entered its open unmap."""
        until = FOREVER if last else min(cuts.values(), default=self._last_seq + 1)
        found, self._rows = settle(self._rows, until, losses, last=last)
        self._doubts.append(found.doubts)
        for task, mine in by_value(found.exits):
            self._vcpus[task].exits += mine.size
        taken = Union(self._near["start_ns"], self._near["end_ns"] + WINDOW_NS)
        self._outside(found.stalls, found.faults, taken)
        asked = np.flatnonzero(self._near["asked"])
        if asked.size:
            self._inside(asked, found.stalls)
            self._beside(asked, found.faults)
        self._forget(last=last)

    def tables(
        self,
        losses: pl.DataFrame,
        leaves: pl.DataFrame,
        clock: str | None,
        found: Iterable[Diagnostic],
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The tables `bystanders` and `vcpus`.

        *leaves*: unmap_id and leaves of the unmaps; *found*: what the parser found wrong. Both
        tables are empty where the clocks of CPUs need not agree, or no fault was recorded.
        """
        if clock == "local" or FAULT not in self._kinds:
            return frame("bystanders"), frame("vcpus")
        for vcpu in self._vcpus.values():
            vcpu.mmus = frozenset(self._mmus.get(vcpu.task, ()))
        seen = Seen(
            unmaps=joined(self._past, UNMAP),
            stalls=joined(self._stalls, STALL),
            faults=joined(self._faults, COUNTED),
            doubts=Union(*(np.concatenate(of) for of in zip(*self._doubts, strict=True))),
            vcpus=tuple(self._vcpus.values()),
            holes=Holes(losses, everywhere=any(one.code == SAMPLED for one in found)),
            last_ns=self._last_ns,
            exits={EXIT, ENTRY} <= self._kinds,
            switches=self._switches,
            located=self._located,
        )
        return bystander_table(seen, leaves), vcpu_table(seen)

    # ---- who there is

    def _meet(self, rows: Rows) -> None:
        """Take note of the tasks of *rows* and of when they were seen."""
        core = take(rows, np.isin(rows["kind"], (EXIT, ENTRY, FAULT)))
        self._kinds.update(np.unique(core["kind"]).tolist())
        for task, mine in by_value(core["task"]):
            of = take(core, mine)
            first = Vcpu(task, int(of["ts_ns"][0]), int(of["seq"][0]))
            self._vcpus.setdefault(task, first).meet(of)

    def _processes(self, tasks: Ints) -> Ints:
        """The process of each task, as the latest batch knows it; NIL for unknown."""
        of = {task: vcpu.tgid for task, vcpu in self._vcpus.items()}
        asked = np.unique(tasks)
        real = asked[asked < IDLE_BASE]
        if self._events["tgid"].null_count() < self._events.height:
            known = self._events.filter(pl.col("tid").is_in(real)).drop_nulls().unique("tid")
            of |= dict(known.iter_rows())
        tgid = np.array([of.get(task, NIL) for task in asked.tolist()], dtype=np.int64)
        return tgid[np.searchsorted(asked, tasks)]

    def _have_vcpus(self, tgid: Ints, end_seq: Ints) -> Ints:
        """Whether each process had entered or left a guest before its unmap ended."""
        first: dict[int, int] = {}
        for vcpu in self._vcpus.values():
            first[vcpu.tgid] = min(first.get(vcpu.tgid, FOREVER), vcpu.first_seq)
        first.pop(NIL, None)
        met = np.array([first.get(one, FOREVER) for one in tgid.tolist()], dtype=np.int64)
        return (met < end_seq).astype(np.int64)

    # ---- what they did

    def _outside(self, stalls: Rows, faults: Rows, taken: Union) -> None:
        """Add up each vCPU's stalls and faults, and those outside what unmaps have *taken*."""
        self._located = self._located or bool((faults["ipa"] != NIL).any())
        on_cpu = take(stalls, stalls["off_cpu"] == 0)
        length = on_cpu["end_ns"] - on_cpu["start_ns"]
        outside = length - taken.within(on_cpu["start_ns"], on_cpu["end_ns"])
        for task, mine in by_value(on_cpu["task"]):
            vcpu = self._vcpus[task]
            vcpu.stall_ns += int(length[mine].sum())
            vcpu.outside_stall_ns += int(outside[mine].sum())
        free = ~taken.holds(faults["ts_ns"])
        for task, mine in by_value(faults["task"]):
            vcpu = self._vcpus[task]
            vcpu.guest_faults += mine.size
            vcpu.outside_guest_faults += int(free[mine].sum())

    def _inside(self, unmaps: Ints, stalls: Rows) -> None:
        """Keep the stalls of others that overlap *unmaps* (rows of `_near`), cut to them."""
        for task, mine in by_value(stalls["task"]):
            others = unmaps[self._near["task"][unmaps] != task]
            start, end = self._near["start_ns"][others], self._near["end_ns"][others]
            of = take(stalls, mine)
            unmap, stall = overlapping(start, end, of["start_ns"], of["end_ns"])
            cut = {
                "unmap_id": self._near["unmap_id"][others[unmap]],
                "task": of["task"][stall],
                "start_ns": np.maximum(start[unmap], of["start_ns"][stall]),
                "end_ns": np.minimum(end[unmap], of["end_ns"][stall]),
                "exit_seq": of["exit_seq"][stall],
                "off_cpu": of["off_cpu"][stall],
            }
            self._stalls.append(cut)

    def _beside(self, unmaps: Ints, faults: Rows) -> None:
        """Count the faults of others during *unmaps* (rows of `_near`), and in their windows."""
        for task, mine in by_value(faults["task"]):
            others = unmaps[self._near["task"][unmaps] != task]
            start, end = self._near["start_ns"][others], self._near["end_ns"][others]
            of = take(faults, mine)
            begin, low, high = (
                np.searchsorted(of["ts_ns"], moment) for moment in (start, end, end + WINDOW_NS)
            )
            some = high > begin
            others, begin, low, high = (rows[some] for rows in (others, begin, low, high))
            counts = {
                "unmap_id": self._near["unmap_id"][others],
                "task": np.full(others.size, task, dtype=np.int64),
                "guest_faults": low - begin,
                "guest_faults_after": high - low,
                "refaults": self._refaults(others, of, low, high),
            }
            self._faults.append(counts)

    def _refaults(self, unmaps: Ints, faults: Rows, low: Ints, high: Ints) -> Ints:
        """How many of the *faults* from low to high are on what each of *unmaps* took."""
        ipa, length = self._near["ipa"][unmaps], self._near["length_bytes"][unmaps]
        translation = _translation(faults["hsr"]) & (faults["ipa"] != NIL)
        found = np.zeros(unmaps.size, dtype=np.int64)
        for part in _blocks(high - low):
            unmap, fault = spread(low[part], high[part])
            unmap += part.start
            at = faults["ipa"][fault] - ipa[unmap]
            hit = translation[fault] & (at >= 0) & (at < length[unmap]) & (ipa[unmap] != NIL)
            found += np.bincount(unmap[hit], minlength=unmaps.size)
        return found

    def _forget(self, *, last: bool) -> None:
        """Put aside the unmaps that nothing which is yet to come can concern."""
        pending = self._rows["ts_ns"]
        floor_ns = FOREVER if last else min(int(pending.min(initial=FOREVER)), self._last_ns)
        gone = self._near["end_ns"] + WINDOW_NS < floor_ns
        self._past.append(take(self._near, gone))
        self._near = take(self._near, ~gone)


def _translation(hsr: Ints) -> NDArray[np.bool_]:
    """Whether each syndrome is of a page that was not mapped; an unknown one may be."""
    code = hsr & STATUS_CODE
    hit = np.isin(code & ~0x3, [TRANSLATION])
    hit |= code == LEVEL_MINUS_1
    hit |= hsr == NIL
    return hit


def _blocks(count: Ints) -> Iterator[slice]:
    """Stretches of rows with about PAIRS pairs each."""
    if count.size == 0:
        return
    block = np.cumsum(count) // PAIRS
    edges = np.flatnonzero(np.r_[True, block[1:] != block[:-1]][: count.size]).tolist()
    for low, high in zip(edges, [*edges[1:], count.size], strict=True):
        yield slice(low, high)

"""The tables `bystanders` and `vcpus`, from what queries/bystanders.py collected of a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from traceview.queries.bystander_intervals import Union, by_value
from traceview.queries.functions import categorical
from traceview.queries.losses import FOREVER
from traceview.queries.rows import NIL, take, whole
from traceview.schema import conform, frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from traceview.queries.rows import Ints, Rows

WINDOW_NS: Final = 1_000_000
UNMAP: Final = (
    "unmap_id", "task", "tgid", "mmu", "nested", "start_ns", "end_ns", "ipa", "length_bytes",
    "own_vm", "asked",
)  # fmt: skip
STALL: Final = ("unmap_id", "task", "start_ns", "end_ns", "exit_seq", "off_cpu")
COUNTED: Final = ("unmap_id", "task", "guest_faults", "guest_faults_after", "refaults")
# What a hole leaves unknown: all that is counted during an unmap, and all that is counted after.
DURING: Final = (
    "stalls", "stall_ns", "off_cpu_ns", "longest_stall_ns", "stalled_ns", "guest_faults",
)  # fmt: skip
AFTER: Final = ("guest_faults_after", "refaults")
# Losses of this kind are of kprobes only.
PROBES_ONLY: Final = "kprobe_missed"


@dataclass(slots=True)
class Vcpu:
    """A task that enters guests, and what it did in this source.

    `outside`: of the time that is neither in an unmap nor in the window after one.
    """

    task: int
    first_ns: int
    first_seq: int
    last_ns: int = NIL
    tgid: int = NIL
    comm: int = -1
    exits: int = 0
    guest_faults: int = 0
    stall_ns: int = 0
    outside_guest_faults: int = 0
    outside_stall_ns: int = 0
    unmaps: int = 0
    mmus: frozenset[int] = frozenset()  # from which it unmapped, those of nested guests left out

    def meet(self, events: Rows) -> None:
        """Learn from further *events* of it."""
        self.last_ns = max(self.last_ns, int(events["ts_ns"][-1]))
        known = events["tgid"][events["tgid"] != NIL]
        if self.tgid == NIL and known.size:
            self.tgid = int(known[0])
        self.comm = int(events["comm"][-1])


class Holes:
    """When events may be missing, on any CPU; everywhere if some loss cannot be placed."""

    def __init__(self, losses: pl.DataFrame, *, everywhere: bool = False) -> None:
        """Look at *losses* (schema.LOSSES). *everywhere*: some are missing anyway."""
        rows = losses.filter((pl.col("kind") != PROBES_ONLY).fill_null(value=True))
        start, end = whole(rows["from_ns"]), whole(rows["to_ns"])
        self._everywhere = everywhere or bool(((start == NIL) & (end == NIL)).any())
        end = np.where(end == NIL, FOREVER, end)
        self._holes = Union(start, np.maximum(end, start + 1))

    def touch(self, start: Ints, end: Ints) -> NDArray[np.bool_]:
        """Which stretches a hole may reach into."""
        if self._everywhere:
            return np.ones(start.size, dtype=bool)
        return self._holes.touches(start, end)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was collected of a source.

    `unmaps`: columns UNMAP; `stalls`: columns STALL, cut to the unmaps; `faults`: columns COUNTED,
    of one vCPU beside one unmap; of both, vCPUs of any VM; `doubts`: stretches in
    which the exits of some vCPU are unclear; `exits`, `switches`, `located`: whether exits and
    entries, task switches, and the addresses of faults were recorded.
    """

    unmaps: Rows
    stalls: Rows
    faults: Rows
    doubts: Union
    vcpus: tuple[Vcpu, ...]
    holes: Holes
    last_ns: int
    exits: bool
    switches: bool
    located: bool


def joined(parts: Sequence[Rows], columns: Iterable[str]) -> Rows:
    """All rows of *parts*."""
    nothing = [np.empty(0, dtype=np.int64)]
    return {name: np.concatenate(nothing + [part[name] for part in parts]) for name in columns}


Kind = tuple[int, int, int, int, int]  # of an unmap: task, tgid, own_vm, mmu, nested


def bystanders_of(vcpus: Iterable[Vcpu], kind: Kind) -> list[Vcpu]:
    """The vCPUs that are of the VM of such an unmap, or may be; not those of the task itself."""
    task, tgid, own_vm, mmu, nested = kind
    if own_vm:
        return [one for one in vcpus if one.task != task and one.tgid == tgid]
    known = mmu != NIL and not nested
    return [
        one
        for one in vcpus
        if one.task != task and not (known and one.mmus and mmu not in one.mmus)
    ]


def _kinds(unmaps: Rows) -> tuple[list[Kind], Ints]:
    """The kinds of unmaps that differ in who their bystanders are, and that of each unmap."""
    keys = np.stack([unmaps[name] for name in ("task", "tgid", "own_vm", "mmu", "nested")])
    kinds, kind = np.unique(keys, axis=1, return_inverse=True)
    return [(a, b, c, d, e) for a, b, c, d, e in kinds.T.tolist()], kind.reshape(-1)


def bystander_table(seen: Seen, leaves: pl.DataFrame) -> pl.DataFrame:
    """schema.BYSTANDERS; *leaves*: unmap_id and leaves of the unmaps."""
    unmaps = take(seen.unmaps, np.flatnonzero(seen.unmaps["asked"]))
    unmaps = take(unmaps, np.argsort(unmaps["unmap_id"]))
    if unmaps["unmap_id"].size == 0:
        return frame("bystanders")
    start, end = unmaps["start_ns"], unmaps["end_ns"]
    until = np.clip(end + WINDOW_NS, end, max(seen.last_ns, 0))
    until = np.maximum(until, end)
    rows: dict[str, Any] = {"unmap_id": unmaps["unmap_id"], "window_ns": until - end}
    rows |= _who(seen, unmaps, start, end, until)
    rows |= _stalls(_theirs(seen, seen.stalls, unmaps), unmaps)
    rows |= _faults(_theirs(seen, seen.faults, unmaps), unmaps)
    table = pl.DataFrame(rows).join(leaves, on="unmap_id", how="left", maintain_order="left")
    known = pl.Series((unmaps["ipa"] != NIL) & (unmaps["length_bytes"] != NIL)) & seen.located
    lost = pl.Series(seen.holes.touch(start, end) | seen.doubts.touches(start, end))
    lost_after = pl.Series(seen.holes.touch(end, until))
    # Nothing that was not mapped can be missed.
    refaults = pl.when(pl.col("leaves") == 0).then(0).otherwise("refaults")
    stalls = [name for name in DURING if name != "guest_faults"]
    return conform(
        "bystanders",
        table.with_columns(pl.when(known).then(refaults).alias("refaults"))
        .with_columns(pl.when(~lost).then(pl.col(DURING)), pl.when(~lost_after).then(pl.col(AFTER)))
        .with_columns(
            pl.when(pl.lit(seen.exits)).then(pl.col(stalls)),
            pl.when(pl.col("own_vm") == 1)
            .then(pl.lit("process"))
            .otherwise(pl.lit("any"))
            .alias("vm"),
        )
        .with_columns(pl.when(pl.lit(seen.switches)).then("off_cpu_ns").alias("off_cpu_ns")),
    )


def _who(seen: Seen, unmaps: Rows, start: Ints, end: Ints, until: Ints) -> dict[str, Ints]:
    """How many vCPUs there were in each unmap, their time in it, and in the window after it."""
    count, inside, after = (np.zeros(start.size, dtype=np.int64) for _ in range(3))
    kinds, kind = _kinds(unmaps)
    for number, mine in by_value(kind):
        for vcpu in bystanders_of(seen.vcpus, kinds[number]):
            begins = np.maximum(start[mine], vcpu.first_ns)
            lived = np.minimum(end[mine], vcpu.last_ns) - begins
            count[mine] += lived >= 0
            vcpu.unmaps += int((lived >= 0).sum())
            inside[mine] += np.maximum(lived, 0)
            begins = np.maximum(end[mine], vcpu.first_ns)
            after[mine] += np.maximum(np.minimum(until[mine], vcpu.last_ns) - begins, 0)
    return {
        "own_vm": unmaps["own_vm"], "vcpus": count, "vcpu_ns": inside, "window_vcpu_ns": after,
    }  # fmt: skip


def _theirs(seen: Seen, rows: Rows, unmaps: Rows) -> Rows:
    """Those of *rows* (with unmap_id and task) that are of bystanders of their unmap."""
    kinds, kind = _kinds(unmaps)
    keep = np.zeros(rows["task"].size, dtype=bool)
    for number, mine in by_value(kind[np.searchsorted(unmaps["unmap_id"], rows["unmap_id"])]):
        among = [one.task for one in bystanders_of(seen.vcpus, kinds[number])]
        keep[mine] = np.isin(rows["task"][mine], among)
    return take(rows, keep)


def _faults(faults: Rows, unmaps: Rows) -> dict[str, Ints]:
    """The faults beside each of *unmaps*, which are in order of their ids."""
    size, of = unmaps["unmap_id"].size, np.searchsorted(unmaps["unmap_id"], faults["unmap_id"])
    return {name: _sum(of, faults[name], size) for name in ("guest_faults", *AFTER)}


def _stalls(stalls: Rows, unmaps: Rows) -> dict[str, Ints]:
    """What the stalls amount to in each of *unmaps*, which are in order of their ids."""
    size = unmaps["unmap_id"].size
    of = np.searchsorted(unmaps["unmap_id"], stalls["unmap_id"])
    length = stalls["end_ns"] - stalls["start_ns"]
    on_cpu = stalls["off_cpu"] == 0
    each = np.unique(np.stack([of, stalls["exit_seq"]]), axis=1)[0]
    longest = np.zeros(size, dtype=np.int64)
    np.maximum.at(longest, of[on_cpu], length[on_cpu])
    # The unmaps one after the other on one axis, so that stalls of different ones stay apart.
    which, place = np.unique(of, return_inverse=True)
    step = int((unmaps["end_ns"] - unmaps["start_ns"]).max(initial=0)) + 1
    base = place * step - unmaps["start_ns"][of]
    union = Union((base + stalls["start_ns"])[on_cpu], (base + stalls["end_ns"])[on_cpu])
    stalled = np.zeros(size, dtype=np.int64)
    axis = np.arange(which.size, dtype=np.int64) * step
    stalled[which] = union.within(axis, axis + step)
    return {
        "stalls": np.bincount(each, minlength=size).astype(np.int64),
        "stall_ns": _sum(of[on_cpu], length[on_cpu], size),
        "off_cpu_ns": _sum(of[~on_cpu], length[~on_cpu], size),
        "longest_stall_ns": longest,
        "stalled_ns": stalled,
    }


def _sum(of: Ints, time: Ints, size: int) -> Ints:
    return np.bincount(of, weights=time, minlength=size).astype(np.int64)


def vcpu_table(seen: Seen) -> pl.DataFrame:
    """schema.VCPUS, in order of their first event, once bystander_table() was made."""
    vcpus = sorted(seen.vcpus, key=lambda one: one.first_seq)
    of = {
        "task": [one.task for one in vcpus],
        "tgid": [one.tgid for one in vcpus],
        "comm": [one.comm for one in vcpus],
        "first_ns": [one.first_ns for one in vcpus],
        "last_ns": [one.last_ns for one in vcpus],
        "unmaps": [one.unmaps for one in vcpus],
        "exits": [one.exits for one in vcpus],
        "guest_faults": [one.guest_faults for one in vcpus],
        "stall_ns": [one.stall_ns for one in vcpus],
        "outside_guest_faults": [one.outside_guest_faults for one in vcpus],
        "outside_stall_ns": [one.outside_stall_ns for one in vcpus],
    }
    columns = {name: np.array(values, dtype=np.int64) for name, values in of.items()}
    start, end = columns["first_ns"], columns["last_ns"]
    taken = Union(seen.unmaps["start_ns"], seen.unmaps["end_ns"] + WINDOW_NS)
    columns["outside_ns"] = end - start - taken.within(start, end)
    comm = categorical(columns.pop("comm"))
    whole_ = pl.Series(~seen.holes.touch(start, end))
    table = pl.DataFrame(columns).rename({"task": "tid"})
    stalls = ["exits", "stall_ns", "outside_stall_ns"]
    outside = ["outside_ns", "outside_guest_faults", "outside_stall_ns"]
    return conform(
        "vcpus",
        table.with_columns(
            comm.alias("comm"), pl.when(pl.col("tgid") != NIL).then("tgid").alias("tgid")
        )
        .with_columns(pl.when(pl.lit(seen.exits)).then(pl.col(stalls)))
        .with_columns(pl.when(whole_).then(pl.col(outside))),
    )

"""What happened inside each `kvm_pgtable_stage2_unmap`: counts and time, from a chunk of calls.

Only what nests inside the unmap on the same task counts: the same operations also run on the
fault path. Time belongs to the outermost classified call below the unmap; interrupts and time
off the CPU are cut out of whatever they interrupt. The rows are raw observations (`RAW`);
breakdown.py turns them into schema.UNMAPS once the whole source is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.queries.calls import OPEN, STATUS, task_numbers
from traceview.queries.functions import OP
from traceview.queries.leaves import (
    LEAF,
    LEVELS,
    TABLE,
    UNKNOWN,
    Inside,
    block_level,
    classify_flushes,
    count_visits,
)
from traceview.queries.losses import FOREVER
from traceview.queries.rows import NIL
from traceview.schema import EVIDENCE, STATUSES, TIMED_COMPONENTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.queries.calls import Chunk
    from traceview.queries.functions import Functions
    from traceview.queries.losses import Losses
    from traceview.queries.rows import Ints, Rows

    Mask = NDArray[np.bool_]

# A position in a chunk: task number, then seq. 2^21 tasks of 2^42 events.
TASK_SHIFT: Final = 42
LAST_SEQ: Final = (1 << TASK_SHIFT) - 1

TIMED: Final = ("invalidate_ipa", "invalidate_range", "cmo", "table_put", "hypercall", "irq")
INVALIDATIONS: Final = ("invalidate_ipa", "invalidate_range", "invalidate_vmid")


class Columns:
    """Some rows of columns that are gathered when they are asked for, not before.

    An unmap of 1 GiB has millions of calls; most questions need two or three of their columns.
    """

    def __init__(self, rows: Rows, at: Ints | None = None) -> None:
        """All rows, or those at the positions *at*."""
        self._rows, self._at = rows, at

    def __getitem__(self, name: str) -> Ints:
        column = self._rows[name]
        return column if self._at is None else column[self._at]

    def pick(self, mask: Mask) -> Columns:
        """Some of these rows."""
        return Columns(self._rows, np.flatnonzero(mask) if self._at is None else self._at[mask])


@dataclass(frozen=True, slots=True)
class Placed:
    """The calls of a chunk with their positions, in order of position."""

    calls: Columns
    start: Ints
    end: Ints

    def pick(self, mask: Mask) -> Placed:
        """Some of the calls."""
        return Placed(self.calls.pick(mask), self.start[mask], self.end[mask])

    def operation(self, *names: str) -> Mask:
        """Which calls are of these operations."""
        return np.isin(self.calls["operation"], [OP[name] for name in names])

    def status(self, *names: str) -> Mask:
        """Which calls have one of these statuses."""
        return np.isin(self.calls["status"], [STATUS[name] for name in names])


def place(chunk: Chunk) -> Placed:
    """The calls of *chunk* with positions that compare within and across tasks."""
    calls = chunk.calls
    base = task_numbers(calls["task"]) << TASK_SHIFT
    end = np.where(calls["end_seq"] == FOREVER, LAST_SEQ, calls["end_seq"])
    return Placed(Columns(calls), base | calls["start_seq"], base | end)


def outermost(placed: Placed) -> Mask:
    """Which of the calls lie in none of the others."""
    if placed.start.size == 0:
        return np.zeros(0, dtype=bool)
    reach = np.maximum.accumulate(placed.end)
    outer: Mask = np.r_[True, placed.start[1:] > reach[:-1]]
    return outer


def owner(containers: Placed, at: Ints) -> Ints:
    """Which of the disjoint *containers* each position lies in, -1 for none."""
    if containers.start.size == 0:
        return np.full(at.size, -1, dtype=np.int64)
    found = np.searchsorted(containers.start, at, side="right") - 1
    known = np.maximum(found, 0)
    return np.where((found >= 0) & (at <= containers.end[known]), found, -1)


def unmap_calls(placed: Placed) -> Placed:
    """The unmaps of a chunk that are final, outermost, in order.

    One whose beginning is not in the trace reaches back to the unmap before it on its task (its
    entry may lie in any hole): what it did must not be taken for something outside unmaps.
    """
    unmaps = placed.pick(placed.operation("unmap") & (placed.calls["status"] != OPEN))
    unmaps = unmaps.pick(outermost(unmaps))
    calls, start, end = unmaps.calls, unmaps.start, unmaps.end
    beheaded = np.flatnonzero(unmaps.status("censored") & (start == end))
    if beheaded.size == 0:
        return unmaps
    base = start >> TASK_SHIFT << TASK_SHIFT
    before = np.r_[0, end[:-1] + 1]
    start = start.copy()
    start[beheaded] = np.maximum(base, before)[beheaded]
    return Placed(calls, start, end)


def observe_unmaps(
    placed: Placed,
    functions: Functions,
    page_bytes: int,
    gaps: tuple[Ints, Ints, Ints],
    losses: Losses,
) -> tuple[Placed, Rows]:
    """The unmaps, and one raw row for each.

    *gaps*: task, seq and length of each time that a task was off the CPU (switches.py).
    """
    unmaps = unmap_calls(placed)
    of, mask = _in_unmaps(placed, unmaps)
    inside, of = placed.pick(mask), of[mask]
    size = unmaps.start.size
    row: Rows = {name: unmaps.calls[name] for name in _IDENTITY}
    row["call_id"] = unmaps.calls["start_seq"]
    row["traced_calls"] = _count(of, inside.calls["evidence"] != EVIDENCE.index("tracepoint"), size)
    row["cut_off"] = _count(of, inside.operation(*TIMED) & inside.status("censored"), size)
    kind = _count_operations(row, inside, of, functions, page_bytes)
    _add_time(row, unmaps, inside, (of, kind), _place_gaps(unmaps, gaps))
    _trigger(row, unmaps, placed, functions, losses)
    row["mmu"] = _first_known(unmaps.calls["mmu"], inside.calls["mmu"], of)
    return unmaps, row


def _in_unmaps(placed: Placed, unmaps: Placed) -> tuple[Ints, Mask]:
    """Which of *unmaps* each call lies in, and which calls are inside one and final."""
    of = owner(unmaps, placed.start)
    own = placed.operation("unmap") & placed.status(*STATUSES)
    return of, (of >= 0) & ~own & (placed.calls["status"] != OPEN)


def call_components(placed: Placed, functions: Functions, page_bytes: int) -> Ints:
    """The component that holds the time of each call: an index into schema.TIMED_COMPONENTS.

    A call inside a classified one is of its component, unless an interrupt was cut out there; -1
    for the walk, for what is not classified, and outside unmaps.
    """
    unmaps = unmap_calls(placed)
    of, mask = _in_unmaps(placed, unmaps)
    inside, of = placed.pick(mask), of[mask]
    row: Rows = {"call_id": unmaps.calls["start_seq"]}
    kind = _count_operations(row, inside, of, functions, page_bytes)
    timed = _is_timed(inside)
    at = np.flatnonzero(timed)
    calls = inside.pick(timed)
    outer = outermost(calls)
    top = calls.pick(outer)
    component = np.r_[_component(top, kind[at[outer]]), -1][owner(top, inside.start)]
    irq = calls.pick(calls.operation("irq"))
    component[owner(irq.pick(outermost(irq)), inside.start) >= 0] = TIMED_COMPONENTS.index("irq")
    found = np.full(placed.start.size, -1, dtype=np.int64)
    found[mask] = component
    return found


def _is_timed(inside: Placed) -> Mask:
    """Which calls have a time that belongs to a component."""
    timed = inside.operation(*TIMED) & inside.status("complete", "contaminated")
    timed &= inside.calls["duration_ns"] != NIL
    return timed


def _count_operations(
    row: Rows, inside: Placed, of: Ints, functions: Functions, page_bytes: int
) -> Ints:
    """Fill the counts; returned: LEAF, TABLE or UNKNOWN per call (UNKNOWN if no flush)."""
    size = row["call_id"].size
    visit = functions.visits()[inside.calls["function"]]
    outer_range = functions.wrappers()[inside.calls["function"]]
    is_range, is_flush = inside.operation("invalidate_range"), inside.operation("invalidate_ipa")
    is_put = inside.operation("table_put")
    row["n_range"] = np.maximum(
        _count(of, is_range & outer_range, size), _count(of, is_range & ~outer_range, size)
    )
    row["n_visit"], row["n_put"] = _count(of, visit, size), _count(of, is_put, size)
    flushes, visits = _inside(inside, of, is_flush), _inside(inside, of, visit)
    puts = _inside(inside, of, is_put)
    found, clashes = classify_flushes(flushes, visits, puts, row["n_range"] > 0, page_bytes)
    kind = np.full(of.size, UNKNOWN, dtype=np.int64)
    kind[is_flush] = found
    row["n_clash"] = np.bincount(flushes.unmap[clashes], minlength=size).astype(np.int64)
    for code, name in ((LEAF, "n_leaf"), (TABLE, "n_table"), (UNKNOWN, "n_ipa")):
        row[name] = _count(of, is_flush & (kind == code), size)
    counts = count_visits(visits, puts, size)
    row["leaf_visits"], row["table_visits"], row["odd_visits"] = (
        counts.leaves,
        counts.tables,
        counts.odd,
    )
    is_cmo = _once(inside, "cmo")
    row["n_cmo"], row["n_irq"] = _count(of, is_cmo, size), _count(of, _once(inside, "irq"), size)
    row["n_hypercall"] = _count(of, _once(inside, "hypercall"), size)
    cmo_level = block_level(inside.calls["length_bytes"], page_bytes)
    for number, level in enumerate(LEVELS):
        row[f"visit_l{level}"] = counts.by_level[:, number]
        leaf = is_flush & (kind == LEAF) & (inside.calls["level"] == level)
        row[f"flush_l{level}"] = _count(of, leaf, size)
        row[f"cmo_l{level}"] = _count(of, is_cmo & (cmo_level == level), size)
    return kind


def _once(inside: Placed, operation: str) -> Mask:
    """Calls of *operation* that lie in no other one: a wrapper and what it calls count once."""
    mask = inside.operation(operation)
    mine = inside.pick(mask)
    mask[mask] = outermost(mine)
    return mask


def _place_gaps(unmaps: Placed, gaps: tuple[Ints, Ints, Ints]) -> tuple[Ints, Ints]:
    """Position and length of the gaps of tasks that have an unmap here."""
    task, seq, off_ns = gaps
    tasks, first = np.unique(unmaps.calls["task"], return_index=True)
    known = np.isin(task, tasks)
    number = (unmaps.start[first] >> TASK_SHIFT)[np.searchsorted(tasks, task[known])]
    return (number << TASK_SHIFT) | seq[known], off_ns[known]


def _add_time(
    row: Rows, unmaps: Placed, inside: Placed, of_kind: tuple[Ints, Ints], gaps: tuple[Ints, Ints]
) -> None:
    """Add up the time of the outermost classified calls; interrupts and gaps are cut out."""
    of, kind = of_kind
    size = row["call_id"].size
    timed = _is_timed(inside)
    at = np.flatnonzero(timed)
    calls = inside.pick(timed)
    outer = outermost(calls)
    top = calls.pick(outer)
    time = top.calls["duration_ns"].copy()
    top_of, top_kind = of[at[outer]], kind[at[outer]]
    irq = calls.pick(calls.operation("irq"))
    irq = irq.pick(outermost(irq))
    host = owner(top, irq.start)
    cut = (host >= 0) & ~top.operation("irq")[np.maximum(host, 0)]
    np.subtract.at(time, host[cut], irq.calls["duration_ns"][cut])
    gap_of = owner(unmaps, gaps[0])
    gap_host, gap_irq = owner(top, gaps[0]), owner(irq, gaps[0])
    irq_time = irq.calls["duration_ns"].copy()
    in_irq = gap_irq >= 0
    np.subtract.at(irq_time, gap_irq[in_irq], gaps[1][in_irq])
    # A gap inside an interrupt that was cut out of something has left it already.
    cut_out = np.zeros(in_irq.size, dtype=bool)
    cut_out[in_irq] = cut[gap_irq[in_irq]]
    hosted = (gap_host >= 0) & (gap_of >= 0) & ~cut_out
    np.subtract.at(time, gap_host[hosted], gaps[1][hosted])
    row["t_off_cpu"] = _sum(gap_of[gap_of >= 0], gaps[1][gap_of >= 0], size)
    irq_ns = _total(top_of, top.operation("irq"), time, size)
    row["t_irq"] = irq_ns + _sum(top_of[host[cut]], irq_time[cut], size)
    _count_traced(row, inside, of, (top, _component(top, top_kind)), irq.pick(cut))
    flush = top.operation("invalidate_ipa")
    row["t_leaf"] = _total(top_of, flush & (top_kind == LEAF), time, size)
    row["t_table"] = _total(top_of, flush & (top_kind == TABLE), time, size)
    row["t_ipa"] = _total(top_of, flush & (top_kind == UNKNOWN), time, size)
    for name, operation in (
        ("t_range", "invalidate_range"), ("t_cmo", "cmo"), ("t_put", "table_put"),
        ("t_hypercall", "hypercall"),
    ):  # fmt: skip
        row[name] = _total(top_of, top.operation(operation), time, size)


def _component(top: Placed, kind: Ints) -> Ints:
    """The component of each outermost classified call, an index into schema.TIMED; or -1."""
    flush = top.operation("invalidate_ipa")
    found = np.full(kind.size, -1, dtype=np.int64)
    for code, name in ((LEAF, "leaf"), (TABLE, "table"), (UNKNOWN, "ipa")):
        found[flush & (kind == code)] = TIMED_COMPONENTS.index(f"invalidate_{name}")
    for name in ("invalidate_range", "cmo", "table_put", "hypercall", "irq"):
        found[top.operation(name)] = TIMED_COMPONENTS.index(name)
    return found


def _count_traced(
    row: Rows, inside: Placed, of: Ints, top_component: tuple[Placed, Ints], cut: Placed
) -> None:
    """How many traced calls each component is made of, and how many lie inside those.

    Tracing costs something per call, and where it lands depends on what the call lies in. What
    lies in the interrupts *cut* out of a component has left it with their time; what such an
    interrupt leaves there by being traced itself, a part of one call, is taken to be in the rest.
    """
    top, component = top_component
    called = inside.calls["evidence"] != EVIDENCE.index("tracepoint")
    host, away = owner(top, inside.start), owner(cut, inside.start)
    in_component = np.r_[component, -1][host]  # host is -1 outside all of them
    in_component[away >= 0] = TIMED_COMPONENTS.index("irq")
    start = np.where(away >= 0, np.r_[cut.start, -1][away], np.r_[top.start, -1][host])
    itself = start == inside.start
    size = row["call_id"].size
    for number, name in enumerate(TIMED_COMPONENTS):
        mine = called & (in_component == number)
        row[f"{name}_calls"] = _count(of, mine & itself, size)
        row[f"{name}_nested"] = _count(of, mine & ~itself, size)


def trigger_calls(placed: Placed) -> Placed:
    """The requests of a chunk: outermost trigger calls, open ones included, points not."""
    triggers = placed.pick(placed.operation("trigger") & ~placed.status("point"))
    return triggers.pick(outermost(triggers))


def _trigger(
    row: Rows, unmaps: Placed, placed: Placed, functions: Functions, losses: Losses
) -> None:
    """Which request each unmap serves, and of what kind.

    Whatever asked for it, an unmap inside a nested one belongs to nested virtualisation: it covers
    the whole IPA space and would swamp the others.
    """
    requests = trigger_calls(placed)
    begun = (unmaps.start >> TASK_SHIFT << TASK_SHIFT) | unmaps.calls["start_seq"]
    of = owner(requests, begun)
    asked = requests.calls["start_seq"] if requests.start.size else np.array([NIL])
    function = requests.calls["function"] if requests.start.size else np.array([-1])
    # Behind a hole the request may have ended and another one begun.
    cut = losses.overlap(unmaps.calls["cpu"], asked[of], unmaps.calls["start_seq"])
    known = (of >= 0) & ~cut
    row["trigger_id"] = np.where(known, asked[of], NIL).astype(np.int64)
    row["trigger_function"] = np.where(known, function[of], -1).astype(np.int64)
    kinds = np.array([*(m.kind == "nested" for m in functions.meanings), False])
    nested = placed.pick(placed.operation("trigger") & kinds[placed.calls["function"]])
    nested = nested.pick(~nested.status("point"))
    within = owner(nested.pick(outermost(nested)), begun) >= 0
    row["in_nested"] = within.astype(np.int64)


_IDENTITY: Final = (
    "task", "cpu", "tid", "comm", "start_ns", "duration_ns", "status", "evidence", "ipa",
    "length_bytes", "start_seq", "end_seq",
)  # fmt: skip


def _inside(inside: Placed, of: Ints, mask: Mask) -> Inside:
    return Inside(
        of[mask], inside.start[mask], inside.calls["level"][mask], inside.calls["ipa"][mask]
    )


def _count(of: Ints, mask: Mask, size: int) -> Ints:
    return np.bincount(of[mask], minlength=size).astype(np.int64)


def _total(of: Ints, mask: Mask, time: Ints, size: int) -> Ints:
    return _sum(of[mask], time[mask], size)


def _sum(of: Ints, time: Ints, size: int) -> Ints:
    """Exact: nanoseconds of one unmap stay far below 2^53."""
    return np.bincount(of, weights=time, minlength=size).astype(np.int64)


def _first_known(own: Ints, of_calls: Ints, of: Ints) -> Ints:
    known = np.flatnonzero(of_calls != NIL)
    unmap, first = np.unique(of[known], return_index=True)
    found = own.copy()
    missing = found[unmap] == NIL
    found[unmap[missing]] = of_calls[known[first[missing]]]
    return found

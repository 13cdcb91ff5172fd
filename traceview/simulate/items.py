"""Rounds of a step -> items: the templates that one CPU goes through, in order.

A slot is one thing of a round: a marker, the faults that map it, the begin or end of a request, an
unmap. An item is one template of a slot; an unmap has as many as its walk visits entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.simulate.call_trees import LEVELS, RANGE
from traceview.simulate.page_table import DESCEND, FREED, HOLE, KEPT, LEAF, Unmaps, walk
from traceview.simulate.workload import map_rounds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from traceview.simulate.page_table import Granule, Leaves
    from traceview.simulate.rows import Rows
    from traceview.simulate.workload import Round

    Ints = NDArray[np.int64]

MARK, FAULTS, OPEN, CLOSE, UNMAP, PROTECT = range(6)
MOST_RANGE_PAGES: Final = 1 << 21  # MAX_TLBI_RANGE_PAGES: what one range flush takes
# How many leaves, and how many unmaps, are made ready at once.
AT_ONCE: Final = 1 << 16
UNMAPS_AT_ONCE: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Vm:
    """A VM: one task on one CPU, and the addresses that its probes show."""

    number: int
    tid: int
    cpu: int


@dataclass(frozen=True, slots=True)
class Items:
    """Templates in order. `pages`: of an unmap, of a range flush.

    `unmap`: index into `start`, `end` (pages) and `step`, or -1; `text`: into `texts`, or -1.
    """

    vm: Vm
    template: Ints
    page: Ints
    level: Ints
    pages: Ints
    unmap: Ints
    text: Ints
    texts: list[str]
    start: Ints
    end: Ints
    step: list[str]
    action: str
    trigger: str

    def start_of(self, item: Ints) -> Ints:
        """Where the unmap of each item begins, in pages; 0 outside of unmaps."""
        starts: Ints = np.append(self.start, 0)[self.unmap[item]]
        return starts


def notice(vm: Vm, rows: Rows, text: str) -> Items:
    """A marker by itself."""
    zero, none = np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    template = np.full(1, rows.number("mark"), dtype=np.int64)
    return Items(
        vm, template, zero, zero, zero, zero - 1, zero, [text], none, none, [], "", ""
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Slots:
    """The slots of some rounds: what each is, its round, and its unmap or request."""

    kind: Ints
    of_round: Ints
    unmap: Ints  # counted through all rounds
    text: Ints

    def part(self, first: int, last: int) -> _Slots:
        """Some of them."""
        return _Slots(
            *(one[first:last] for one in (self.kind, self.of_round, self.unmap, self.text))
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """All rounds of a step on one VM. `prefix`: of the names of its markers."""

    plan: Round
    granule: Granule
    vm: Vm
    rows: Rows
    prefix: str

    def items(self, rng: np.random.Generator) -> Iterator[Items]:
        """A few rounds at a time; a round that is large in several parts."""
        plan, step, done = self.plan, self.plan.step, 0
        per_round = max(1, plan.units.size)
        at_once = max(1, min(AT_ONCE // per_round, UNMAPS_AT_ONCE // max(1, plan.unmaps)))
        kinds, unmaps = _one_round(plan)
        while done < step.repetitions:
            rounds = min(at_once, step.repetitions - done)
            leaves = map_rounds(plan, self.granule, rounds, rng)
            names = [f"{self.prefix}{step.id}.{done + number + 1}" for number in range(rounds)]
            slots = _slots(kinds, unmaps, rounds, plan.unmaps)
            for first, last in _groups(slots, plan):
                yield self._part(leaves, slots.part(first, last), names)
            done += rounds

    def _part(self, leaves: Leaves, slots: _Slots, names: list[str]) -> Items:
        plan, rows, trigger = self.plan, self.rows, self.plan.step.trigger
        # Of each slot that is one item, its template; unmaps and faults follow.
        single = {
            MARK: "mark", OPEN: f"{trigger}_open", CLOSE: f"{trigger}_close",
        }  # fmt: skip
        parts = []
        for what, name in single.items():
            at = np.flatnonzero(slots.kind == what)
            parts.append(_items(at, np.zeros(at.size), rows.number(name)))
        walks = np.flatnonzero(slots.kind == UNMAP)
        unmap = slots.unmap[walks]
        parts += self._walks(leaves, walks, unmap, slots.of_round[walks])
        if _recorded(rows, [f"fault_l{level}" for level in LEVELS]):
            mapped = np.flatnonzero(slots.kind == FAULTS)
            parts += self._faults(leaves, mapped, slots.of_round[mapped])
        protects = np.flatnonzero(slots.kind == PROTECT)
        parts += self._protecting(protects)
        slot, at, template, page, level, pages = (
            np.concatenate(one) for one in zip(*parts, strict=True)
        )
        order = np.lexsort((at, slot))
        slot = slot[order]
        low = int(unmap[0]) if unmap.size else 0
        of = np.where(slots.unmap[slot] >= 0, slots.unmap[slot] - low, -1)
        local = unmap % max(1, plan.unmaps)
        return Items(
            self.vm, template[order], page[order], level[order], pages[order], of, slots.text[slot],
            [text for name in names for text in _texts(plan, name)],
            plan.start[local], plan.end[local],
            [names[number] for number in (unmap // max(1, plan.unmaps)).tolist()], plan.step.action,
            trigger,
        )  # fmt: skip

    def _walks(
        self, leaves: Leaves, slot: Ints, unmap: Ints, of_round: Ints
    ) -> list[tuple[Ints, ...]]:
        """The items of unmaps: begin, what the walk visits, end."""
        if slot.size == 0:
            return []
        local = unmap % self.plan.unmaps
        ranges = Unmaps(of_round, self.plan.start[local], self.plan.end[local])
        visits = walk(self.granule, ranges, leaves.seen_from(int(unmap[0])))
        of_leaf = 10 * visits.level + 100 * (~visits.cacheable).astype(np.int64)
        template = _visit_templates(self.rows)[visits.kind + (visits.kind == LEAF) * of_leaf]
        position = np.arange(visits.unmap.size) + 1
        ends = np.full(slot.size, np.iinfo(np.int64).max)
        pages = ranges.end - ranges.start
        begin, end = self.rows.number("unmap_open"), self.rows.number("unmap_close")
        return [
            _items(slot, np.zeros(slot.size), begin, ranges.start, 0, pages),
            _items(slot[visits.unmap], position, template, visits.page, visits.level),
            _items(slot, ends, end, ranges.start, 0, pages),
        ]

    def _protecting(self, slot: Ints) -> list[tuple[Ints, ...]]:
        """All memory of the step is write-protected and flushed, 2^21 pages at once."""
        rows, page = self.rows, self.granule.page_size_bytes
        first, total = self.plan.step.gpa // page, self.plan.step.size_bytes // page
        # Without FEAT_TLBIRANGE everything is flushed at once.
        whole = not rows.makes("protect_piece", RANGE)
        starts = np.arange(first, first + total, total if whole else MOST_RANGE_PAGES)
        pages = np.minimum(MOST_RANGE_PAGES, first + total - starts)
        last = starts.size + 1
        begin, piece, end = (rows.number(f"protect_{n}") for n in ("open", "piece", "close"))
        every = np.repeat(slot, starts.size)
        places = np.tile(np.arange(1, last), slot.size)
        found = [
            _items(slot, np.zeros(slot.size), begin, first, 0, total),
            _items(every, places, piece, np.tile(starts, slot.size), 0, np.tile(pages, slot.size)),
            _items(slot, np.full(slot.size, last), end, first, 0, total),
        ]
        return found if slot.size else []

    def _faults(self, leaves: Leaves, slot: Ints, of_round: Ints) -> list[tuple[Ints, ...]]:
        """A fault for each leaf of the rounds that are mapped here."""
        low = np.searchsorted(leaves.space, of_round, side="left")
        high = np.searchsorted(leaves.space, of_round, side="right")
        counts = high - low
        begins = np.repeat(low - (np.cumsum(counts) - counts), counts)
        which = begins + np.arange(int(counts.sum()))
        level = leaves.level[which]
        numbers = np.array([0, *(self.rows.number(f"fault_l{one}") for one in LEVELS)])
        faults = np.repeat(slot, counts)
        return [_items(faults, which, numbers[level], leaves.page[which], level)]


def _texts(plan: Round, name: str) -> tuple[str, str, str]:
    step = plan.step
    where = f"gpa={step.gpa:#x} bytes={step.size_bytes}"
    backing = f"{step.backing_bytes >> 10}k"
    return (
        f"KVMLAB touch {name} {where}",
        f"KVMLAB begin {name} {step.action} backing={backing} {where}",
        f"KVMLAB end {name} {step.action}",
    )


def _one_round(plan: Round) -> tuple[list[int], list[int]]:
    """The kinds of slots of a round, and the unmap of each, else -1."""
    kinds, unmaps = [MARK, FAULTS, MARK], [-1, -1, -1]
    if plan.step.protects:
        return [*kinds, PROTECT, MARK], [*unmaps, -1, -1]
    number = 0
    for count in plan.requests:
        kinds += [OPEN, *([UNMAP] * count), CLOSE]
        unmaps += [-1, *range(number, number + count), -1]
        number += count
    return [*kinds, MARK], [*unmaps, -1]


def _slots(kinds: list[int], unmaps: list[int], rounds: int, per_round: int) -> _Slots:
    kind = np.tile(np.array(kinds, dtype=np.int64), rounds)
    of_round = np.repeat(np.arange(rounds), len(kinds))
    unmap = np.tile(np.array(unmaps, dtype=np.int64), rounds)
    unmap = np.where(unmap >= 0, unmap + of_round * per_round, -1)
    text = np.where(kind == MARK, np.cumsum(kind == MARK) - 1, -1)
    return _Slots(kind, of_round, unmap, text)


def _groups(slots: _Slots, plan: Round) -> Iterator[tuple[int, int]]:
    """Stretches of slots whose walks fit in memory: each unmap visits its range at most."""
    pages = plan.end - plan.start
    weight = np.ones(slots.kind.size, dtype=np.int64)
    walks = slots.unmap >= 0
    weight[walks] += np.minimum(pages[slots.unmap[walks] % max(1, plan.unmaps)], 1 << 18)
    group = (np.cumsum(weight) - weight) // (4 * AT_ONCE)
    edges = np.r_[0, np.flatnonzero(np.diff(group)) + 1, slots.kind.size]
    yield from zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def _recorded(rows: Rows, templates: list[str]) -> bool:
    """Whether anything of these templates makes a record: else their time is left out."""
    for name in templates:
        begin = int(rows.begin[rows.number(name)])
        count = int(rows.count[rows.number(name)])
        if (rows.kind[begin : begin + count] >= 0).any():
            return True
    return False


def _items(
    slot: Ints,
    at: NDArray[np.generic],
    template: Ints | int,
    page: Ints | int = 0,
    level: Ints | int = 0,
    pages: Ints | int = 0,
) -> tuple[Ints, ...]:
    """Slot, position in it, template, page, level and pages of some items."""
    whole = (np.asarray(one, dtype=np.int64) for one in (at, template, page, level, pages))
    return (slot.astype(np.int64), *(np.broadcast_to(one, slot.size) for one in whole))


def _visit_templates(rows: Rows) -> Ints:
    """The template of each kind of visit: of a leaf by level, and by whether it is cacheable."""
    found = np.full(140, -1, dtype=np.int64)
    for kind, name in ((HOLE, "hole"), (DESCEND, "descend"), (FREED, "freed"), (KEPT, "kept")):
        found[kind] = rows.number(name)
    for level in LEVELS:
        found[LEAF + 10 * level] = rows.number(f"leaf_l{level}")
        found[LEAF + 10 * level + 100] = rows.number(f"device_l{level}")
    return found

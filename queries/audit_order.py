"""In which order an unmap cleared entries, invalidated them and let go of page tables.

`stage2_unmap_walker` clears an entry, invalidates it (or leaves that to the flush of the range at
the end), and then drops references: one (`kvm_s2_put_page`) for a leaf, two for a table that became
empty, of which the second frees the page. No call shows the store itself. What the order of calls
decides depends on what was traced beside the invalidations:

- visits: the walker's visits say which references belong to which entry.
- addresses: the argument of `kvm_s2_put_page` is the entry's address, or that of the table itself
  when it is freed. A page that loses its own reference after one in it was dropped is a table.
- counts: references alone. Up to two may follow an invalidation (one, if it names the level of
  pages); so a leaf that nobody invalidated can look like a part of a table, and on a deferring
  kernel a table that nobody invalidated like two leaves.

Source: arch/arm64/kvm/hyp/pgtable.c (stage2_unmap_walker, stage2_unmap_put_pte; stage2_put_pte
before 6.6), 6.1, 6.6, 6.8, 6.12 and 7.x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.queries.calls import OPEN
from traceview.queries.leaves import LEAF, Inside, classify_flushes
from traceview.queries.rows import NIL
from traceview.queries.unmaps import Placed, outermost, owner, unmap_calls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.queries.functions import Functions
    from traceview.queries.rows import Ints, Rows
    from traceview.queries.unmaps import Columns

    Mask = NDArray[np.bool_]

EVIDENCE: Final = ("visits", "addresses", "counts")
COUNTS: Final = EVIDENCE.index("counts")
LEVELS: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Part:
    """Calls of one kind inside unmaps, in order; `unmap` is the index of the unmap of each."""

    unmap: Ints
    start: Ints
    end: Ints
    calls: Columns

    def latest_before(self, other: Part) -> Ints:
        """For each of *other* the latest of these that began before it in its unmap, else -1."""
        at = np.searchsorted(self.start, other.start, side="left") - 1
        if self.start.size == 0:
            return np.full(other.start.size, -1, dtype=np.int64)
        same = (at >= 0) & (self.unmap[np.maximum(at, 0)] == other.unmap)
        return np.where(same, at, -1)

    def count(self, mask: Mask, size: int) -> Ints:
        """How many of the calls in *mask* each of *size* unmaps has."""
        return np.bincount(self.unmap[mask], minlength=size).astype(np.int64)

    def inside(self) -> Inside:
        """As leaves.py wants them."""
        return Inside(self.unmap, self.start, self.calls["level"], self.calls["ipa"])


@dataclass(frozen=True, slots=True)
class Parts:
    """The unmaps of a chunk, and what happened inside them."""

    unmaps: Placed
    visits: Part
    flushes: Part
    ranges: Part
    puts: Part
    cmos: Part

    @property
    def size(self) -> int:
        """How many unmaps."""
        return int(self.unmaps.start.size)

    def last_range(self) -> Ints:
        """Where the last flush of a range of each unmap begins, -1 where it has none."""
        found = np.full(self.size, -1, dtype=np.int64)
        found[self.ranges.unmap] = self.ranges.start  # in order: the last one stays
        return found


@dataclass(frozen=True, slots=True)
class Order:
    """What one kind of evidence says per unmap.

    `usable`: whether it can be asked. `released`: table pages that were freed. `early`: of these
    without an invalidation between the clearing of the entry and the release. `uncovered`: entries
    (of leaves, and by counts of either) that no invalidation followed.
    """

    usable: Mask
    released: Ints
    early: Ints
    uncovered: Ints


def parts(placed: Placed, functions: Functions) -> Parts:
    """What is inside the unmaps that became final."""
    unmaps = unmap_calls(placed)
    of = owner(unmaps, placed.start)
    mask = (of >= 0) & ~placed.operation("unmap") & (placed.calls["status"] != OPEN)
    inside, of = placed.pick(mask), of[mask]

    def part(mask: Mask, *, outer: bool = False) -> Part:
        calls, unmap = inside.pick(mask), of[mask]
        if outer:
            top = outermost(calls)
            calls, unmap = calls.pick(top), unmap[top]
        return Part(unmap, calls.start, calls.end, calls.calls)

    return Parts(
        unmaps,
        part(functions.visits()[inside.calls["function"]]),
        part(inside.operation("invalidate_ipa"), outer=True),
        part(inside.operation("invalidate_range"), outer=True),
        part(inside.operation("table_put")),
        part(inside.operation("cmo"), outer=True),
    )


def observe_order(found: Parts, page_bytes: int) -> Rows:
    """One raw row per unmap: counts by the best evidence that it has."""
    size = found.size
    orders = (_by_visits(found), _by_addresses(found, page_bytes), _by_counts(found))
    evidence = np.select([one.usable for one in orders], range(3), COUNTS)
    row: Rows = {
        "unmap_id": found.unmaps.calls["start_seq"],
        "order_evidence": evidence,
        **{
            name: np.choose(evidence, [getattr(one, name) for one in orders])
            for name in ("released", "early", "uncovered")
        },
    }
    for name, part in (("flushes", found.flushes), ("puts", found.puts), ("ranges", found.ranges)):
        row[f"n_{name}"] = part.count(np.ones(part.unmap.size, dtype=bool), size)
    row.update(_arguments(found, page_bytes))
    return row


def flush_kinds(found: Parts, page_bytes: int) -> Ints:
    """LEAF, TABLE or UNKNOWN per flush by IPA."""
    deferred = np.bincount(found.ranges.unmap, minlength=found.size) > 0
    kinds, _ = classify_flushes(
        found.flushes.inside(), found.visits.inside(), found.puts.inside(), deferred, page_bytes
    )
    return kinds


def _by_visits(found: Parts) -> Order:
    visits, puts, flushes, size = found.visits, found.puts, found.flushes, found.size
    visit = visits.latest_before(puts)
    dropped = np.bincount(visit[visit >= 0], minlength=visits.start.size)
    last = np.flatnonzero((visit >= 0) & (visit != np.r_[visit[1:], -1]))
    of_visit = visit[last]
    flush = flushes.latest_before(puts)[last]
    done = _follows(flushes, flush, visits.start[of_visit], puts.start[last])
    leaf, table = dropped[of_visit] == 1, dropped[of_visit] == 2
    unmap = puts.unmap[last]
    later = found.last_range()[unmap] > visits.start[of_visit]
    odd = puts.count(visit < 0, size) + np.bincount(unmap[~leaf & ~table], minlength=size)
    visited = visits.count(np.ones(visits.unmap.size, dtype=bool), size) > 0
    return Order(
        visited & (odd == 0),
        _count(unmap, table, size),
        _count(unmap, table & ~done, size),
        _count(unmap, leaf & ~done & ~later, size),
    )


def _by_addresses(found: Parts, page_bytes: int) -> Order:
    puts, flushes, size = found.puts, found.flushes, found.size
    address = puts.calls["object_addr"]
    known = address != NIL
    page = address // page_bytes
    before = np.r_[-1, puts.unmap[:-1]] == puts.unmap
    elsewhere = before & (np.r_[NIL, page[:-1]] != page)
    release = known & (address % page_bytes == 0) & elsewhere & ~_first_of(puts.unmap, page)
    parent = np.r_[release[1:], False]
    leaf = ~release & ~parent
    # What was invalidated since the reference before the entry's own.
    own = np.arange(puts.start.size) - release
    since = np.where(
        np.r_[-1, puts.unmap][own] == puts.unmap,
        np.r_[-1, puts.start][own],
        found.unmaps.start[puts.unmap],
    )
    done = _follows(flushes, flushes.latest_before(puts), since, puts.start)
    later = found.last_range()[puts.unmap] > puts.start
    return Order(
        (puts.count(known, size) > 0) & (puts.count(~known, size) == 0),
        _count(puts.unmap, release, size),
        _count(puts.unmap, release & ~done, size),
        _count(puts.unmap, leaf & ~done & ~later, size),
    )


def _by_counts(found: Parts) -> Order:
    """Of puts alone; `released` counts the tables that are known by their own invalidation."""
    puts, flushes, size = found.puts, found.flushes, found.size
    flush = flushes.latest_before(puts)
    first = np.r_[True, flush[1:] != flush[:-1]] if flush.size else np.zeros(0, dtype=bool)
    run = np.cumsum(first) - 1
    position = np.arange(flush.size) - np.flatnonzero(first)[run] if flush.size else flush
    deferred = found.last_range()[flushes.unmap] >= 0
    # An invalidation at the level of pages is a leaf's, which drops one reference.
    of_page = (flushes.calls["level"] == LEVELS[-1]) & ~deferred
    alone = (flush < 0) | (position >= np.where(np.r_[of_page, False][flush], 1, 2))
    later = found.last_range()[puts.unmap] > puts.start
    dropped = np.bincount(flush[flush >= 0], minlength=flushes.start.size)
    table = ((dropped == 2) & ~of_page) | (deferred & (dropped >= 2))
    zero = np.zeros(size, dtype=np.int64)
    return Order(
        np.ones(size, dtype=bool),
        _count(flushes.unmap, table, size),
        zero,
        _count(puts.unmap, alone & ~later, size),
    )


def _arguments(found: Parts, page_bytes: int) -> Rows:
    """Addresses and levels of invalidations against those of the unmap and of the visits."""
    flushes, visits, size = found.flushes, found.visits, found.size
    ipa, level = flushes.calls["ipa"], flushes.calls["level"]
    low = found.unmaps.calls["ipa"]
    high = np.where(found.unmaps.calls["length_bytes"] == NIL, NIL, low) + np.maximum(
        found.unmaps.calls["length_bytes"], 0
    )
    low, high = low[flushes.unmap], high[flushes.unmap]
    known = (ipa != NIL) & (low != NIL) & (high != NIL)
    leaf = flush_kinds(found, page_bytes) == LEAF
    visit = visits.latest_before(flushes)
    visited = visit >= 0
    at = np.maximum(visit, 0)
    of_visit = {
        name: np.where(visited, np.r_[visits.calls[name], NIL][at], NIL)
        for name in ("ipa", "level")
    }
    compared = (ipa != NIL) & (of_visit["ipa"] != NIL)
    hinted = leaf & np.isin(level, LEVELS) & (of_visit["level"] != NIL)
    again = (ipa != NIL) & leaf & ~_first_of(flushes.unmap, np.where(leaf, ipa, NIL))
    masks = {
        "flushes_placed": known,
        "flushes_outside": known & ((ipa < low // page_bytes * page_bytes) | (ipa >= high)),
        "flushes_again": again,
        "visits_compared": compared,
        "visits_elsewhere": compared & (ipa // page_bytes != of_visit["ipa"] // page_bytes),
        "levels_compared": hinted,
        "levels_other": hinted & (level != of_visit["level"]),
    }
    return {name: flushes.count(mask, size) for name, mask in masks.items()}


def _follows(flushes: Part, flush: Ints, since: Ints, until: Ints) -> Mask:
    """Whether the flush of that index (-1: none) began after *since* and ended before *until*."""
    if flushes.start.size == 0:
        return np.zeros(flush.size, dtype=bool)
    at = np.maximum(flush, 0)
    done: Mask = (flush >= 0) & (flushes.start[at] > since) & (flushes.end[at] < until)
    return done


def _first_of(unmap: Ints, value: Ints) -> Mask:
    """Which rows are the first of their value in their unmap."""
    first = np.zeros(unmap.size, dtype=bool)
    order = np.lexsort((value, unmap))  # stable: the earliest of equals comes first
    changed = np.r_[
        True, (unmap[order][1:] != unmap[order][:-1]) | (value[order][1:] != value[order][:-1])
    ][: unmap.size]
    first[order[changed]] = True
    return first


def _count(unmap: Ints, mask: Mask, size: int) -> Ints:
    return np.bincount(unmap[mask], minlength=size).astype(np.int64)

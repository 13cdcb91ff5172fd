"""Which invalidations of an unmap were for leaves and which for freed tables, and how many leaves.

A table that becomes empty is flushed by the same function as a leaf. What tells them apart:

- Page-table references. `stage2_unmap_walker` drops one reference (`kvm_s2_put_page`) for a leaf
  and two for a freed table, none for a hole. With the walker's visits traced, references are
  counted per visit; without them, from one flush to the next.
- The level argument. A leaf's is its level (3, 2, 1). A table's is 0 (6.1) or TLBI_TTL_UNKNOWN =
  2147483647 (6.12, 7.x). Older kernels pass the table's own level: a flush at level 2 or 1 is then
  a table's exactly if this unmap flushed something deeper in the same block, because a block and
  a table cannot both be there.
- On a deferring kernel leaves are not flushed one by one: each such flush is a table's.

Source: arch/arm64/kvm/hyp/pgtable.c (stage2_unmap_walker, stage2_unmap_put_pte, stage2_put_pte).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.queries.rows import NIL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.queries.rows import Ints

LEAF, TABLE, UNKNOWN = 0, 1, 2
LEVELS: Final = (1, 2, 3)
LEAF_PUTS, TABLE_PUTS = 1, 2


@dataclass(frozen=True, slots=True)
class Inside:
    """Calls of one kind inside unmaps: `unmap` is the unmap's index, `at` the position.

    Positions increase; `level` and `ipa` are NIL where unknown.
    """

    unmap: Ints
    at: Ints
    level: Ints
    ipa: Ints


@dataclass(frozen=True, slots=True)
class VisitCounts:
    """Per unmap: visits that dropped one reference, two, and more."""

    leaves: Ints
    tables: Ints
    odd: Ints
    by_level: NDArray[np.int64]  # unmaps x LEVELS: leaf visits of known level


def classify_flushes(
    flushes: Inside, visits: Inside, puts: Inside, deferred: NDArray[np.bool_], page_bytes: int
) -> tuple[Ints, NDArray[np.bool_]]:
    """LEAF, TABLE or UNKNOWN per flush; and of which two kinds of evidence disagree."""
    by_puts = _by_puts(flushes, visits, puts, deferred.size)
    by_level = _by_level(flushes, page_bytes)
    found = np.where(by_puts != UNKNOWN, by_puts, by_level)
    clash = (by_puts != UNKNOWN) & (by_level != UNKNOWN) & (by_puts != by_level)
    late = deferred[flushes.unmap]
    clash |= late & (by_level == LEAF)
    return np.where(late, TABLE, found), clash


def count_visits(visits: Inside, puts: Inside, unmaps: int) -> VisitCounts:
    """How many references each visit of an unmap dropped."""
    owner = _owner(visits, puts)
    dropped = np.bincount(owner[owner >= 0], minlength=visits.at.size)[: visits.at.size]
    leaf = dropped == LEAF_PUTS
    by_level = np.stack(
        [_per_unmap(visits.unmap[leaf & (visits.level == level)], unmaps) for level in LEVELS],
        axis=1,
    )
    return VisitCounts(
        _per_unmap(visits.unmap[leaf], unmaps),
        _per_unmap(visits.unmap[dropped == TABLE_PUTS], unmaps),
        _per_unmap(visits.unmap[dropped > TABLE_PUTS], unmaps),
        by_level,
    )


def block_level(length_bytes: Ints, page_bytes: int) -> Ints:
    """The level of a leaf of that size: 3 page, 2 and 1 block, 0 neither."""
    level = np.zeros(length_bytes.size, dtype=np.int64)
    for number in LEVELS:
        level[length_bytes == 1 << _level_shift(number, page_bytes)] = number
    return level


def _level_shift(level: int, page_bytes: int) -> int:
    page = page_bytes.bit_length() - 1
    return page + (3 - level) * (page - 3)


def _owner(first: Inside, then: Inside) -> Ints:
    """For each of *then*, the latest of *first* before it in the same unmap, else -1."""
    at = np.searchsorted(first.at, then.at, side="right") - 1
    if first.at.size == 0:
        return np.full(then.at.size, -1, dtype=np.int64)
    same = (at >= 0) & (first.unmap[np.maximum(at, 0)] == then.unmap)
    return np.where(same, at, -1)


def _by_puts(flushes: Inside, visits: Inside, puts: Inside, unmaps: int) -> Ints:
    visited = _per_unmap(visits.unmap, unmaps) > 0
    visit_of_put, visit_of_flush = _owner(visits, puts), _owner(visits, flushes)
    per_visit = np.bincount(visit_of_put[visit_of_put >= 0], minlength=visits.at.size + 1)
    flush_of_put = _owner(flushes, puts)
    per_flush = np.bincount(flush_of_put[flush_of_put >= 0], minlength=flushes.at.size + 1)
    dropped = np.where(
        visited[flushes.unmap],
        np.where(visit_of_flush >= 0, per_visit[visit_of_flush], 0),
        per_flush[: flushes.at.size],
    )
    return np.where(dropped == LEAF_PUTS, LEAF, np.where(dropped == TABLE_PUTS, TABLE, UNKNOWN))


def _by_level(flushes: Inside, page_bytes: int) -> Ints:
    level = flushes.level
    kind = np.full(level.size, UNKNOWN, dtype=np.int64)
    kind[level == LEVELS[-1]] = LEAF
    kind[(level != NIL) & ((level <= 0) | (level > LEVELS[-1]))] = TABLE
    for number in (2, 1):
        block = flushes.ipa >> _level_shift(number, page_bytes)
        key = (flushes.unmap << 40) ^ block
        mine = (level == number) & (flushes.ipa != NIL)
        deeper = (level > number) & (level <= LEVELS[-1]) & (flushes.ipa != NIL)
        kind[mine] = np.where(np.isin(key[mine], key[deeper]), TABLE, LEAF)
    return kind


def _per_unmap(unmap: Ints, unmaps: int) -> Ints:
    return np.bincount(unmap, minlength=unmaps).astype(np.int64)

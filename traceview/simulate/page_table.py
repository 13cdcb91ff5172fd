"""The stage-2 walk of an unmap: which entries are visited, in what order, and what each one is.

Works on many unmaps at once. Addresses are page numbers of the granule. Levels are the
architecture's: 3 holds pages, 2 and 1 blocks; the first level depends on the IPA size, and its
tables are concatenated, never freed.

The walk is that of kvm_pgtable_walk() with LEAF | TABLE_POST, as stage2_unmap asks for it: an entry
that is a table is descended into and visited after its children; it is freed there when the last
entry below it is gone. A block that lies only partly in the range is cleared whole.

Source: arch/arm64/kvm/hyp/pgtable.c (__kvm_pgtable_visit, stage2_unmap_walker, kvm_pgtable_stage2_
unmap), arch/arm64/include/asm/{kvm_pgtable.h,stage2_pgtable.h} of Linux 6.1 and 6.12.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

LAST_LEVEL: Final = 3
# What is visited: an entry that is not valid, a leaf, a table before its children (no visit by the
# walker, but a step down), and a table after them, freed or kept.
HOLE, LEAF, DESCEND, FREED, KEPT = range(5)
NEVER: Final = np.iinfo(np.int64).max

# The position of a visit within its unmap, and what comes first where several are at one.
RANK_BITS: Final = 6
_RANK_LEAF, _RANK_DOWN, _RANK_UP = 40, 20, 8
SPACE_SHIFT: Final = 41


@dataclass(frozen=True, slots=True)
class Granule:
    """How translation is divided into levels."""

    page_size_bytes: int
    ipa_bits: int

    @property
    def page_shift(self) -> int:
        """Of a page."""
        return self.page_size_bytes.bit_length() - 1

    @property
    def first_level(self) -> int:
        """stage2_pgtable_levels(): up to 16 tables are concatenated at the first level.

        There are two levels at least (kvm_get_vtcr), so that blocks need not be split.
        """
        return LAST_LEVEL + 1 - max(2, (self.ipa_bits - 8) // (self.page_shift - 3))

    @property
    def chunk_pages(self) -> int:
        """What stage2_apply_range() hands on at once: a block of KVM_PGTABLE_MIN_BLOCK_LEVEL."""
        return 1 << self.shift(1 if self.page_size_bytes == 4096 else 2)

    def shift(self, level: int) -> int:
        """Pages of an entry at *level*, as a power of two."""
        return (LAST_LEVEL - level) * (self.page_shift - 3)

    def size_bytes(self, level: int) -> int:
        """Bytes of an entry at *level*."""
        return self.page_size_bytes << self.shift(level)


@dataclass(frozen=True, slots=True)
class Unmaps:
    """Ranges [start, end) that are unmapped one after another; `space`: which VM's memory."""

    space: Ints
    start: Ints
    end: Ints


@dataclass(frozen=True, slots=True)
class Leaves:
    """What is mapped before all unmaps, in order of (space, page).

    `owner` is the unmap that clears the leaf, NEVER of one that stays. `cacheable`: normal memory.
    """

    space: Ints
    page: Ints
    level: Ints
    owner: Ints
    cacheable: NDArray[np.bool_]

    def seen_from(self, unmap: int) -> Leaves:
        """The same, unmaps being counted from *unmap* on: those before it are negative."""
        owner = np.where(self.owner == NEVER, NEVER, self.owner - unmap)
        return replace(self, owner=owner)


@dataclass(frozen=True, slots=True)
class Visits:
    """In the order of the walk. `page` is the first one of the entry, whatever it is."""

    unmap: Ints
    kind: Ints
    level: Ints
    page: Ints
    cacheable: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Tables:
    """The entries of one level that are tables, in order, and the unmap that frees each."""

    key: Ints
    freed_by: Ints


def walk(granule: Granule, unmaps: Unmaps, leaves: Leaves) -> Visits:
    """Every visit of every unmap."""
    parts: list[tuple[Ints, ...]] = []
    level = granule.first_level
    shift = granule.shift(level)
    of = np.arange(unmaps.start.size)
    of, entry = _ragged(of, unmaps.start >> shift, ((unmaps.end - 1) >> shift) + 1)
    while of.size:
        kind, cacheable = _look_up(granule, leaves, unmaps, of, entry, level)
        down = kind >= FREED
        parts.append(_placed(unmaps, granule, of, entry, level, kind, cacheable))
        if not down.any():
            break
        parts.append(
            _placed(
                unmaps, granule, of[down], entry[down], level,
                np.full(int(down.sum()), DESCEND), cacheable[down],
            )
        )  # fmt: skip
        of, entry = _children(granule, unmaps, of[down], entry[down], level)
        level += 1
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    _, unmap, kinds, levels, page, cached = (column[order] for column in columns)
    return Visits(unmap, kinds, levels, page, cached.astype(bool))


def owners(start: Ints, end: Ints, leaf_start: Ints, leaf_end: Ints) -> Ints:
    """Which of the ranges, taken in order, clears each leaf: the first that touches it."""
    first = np.searchsorted(leaf_end, start, side="right")
    last = np.searchsorted(leaf_start, end, side="left")
    owner = np.full(leaf_start.size, NEVER, dtype=np.int64)
    for number in range(start.size - 1, -1, -1):
        owner[first[number] : last[number]] = number
    return owner


def _ragged(of: Ints, first: Ints, end: Ints) -> tuple[Ints, Ints]:
    """All numbers of each [first, end), and whose they are."""
    counts = end - first
    total = int(counts.sum())
    begins = np.repeat(first - (np.cumsum(counts) - counts), counts)
    return np.repeat(of, counts), begins + np.arange(total, dtype=np.int64)


def _tables(granule: Granule, leaves: Leaves, level: int) -> _Tables:
    below = leaves.level > level
    key = (leaves.space[below] << SPACE_SHIFT) | (leaves.page[below] >> granule.shift(level))
    if key.size == 0:
        return _Tables(key, key)
    begins = np.flatnonzero(np.r_[True, key[1:] != key[:-1]])
    return _Tables(key[begins], np.maximum.reduceat(leaves.owner[below], begins))


def _look_up(
    granule: Granule, leaves: Leaves, unmaps: Unmaps, of: Ints, entry: Ints, level: int
) -> tuple[Ints, NDArray[np.bool_]]:
    """What each entry of one level is when its unmap comes to it."""
    asked = (unmaps.space[of] << SPACE_SHIFT) | entry
    kind = np.full(of.size, HOLE, dtype=np.int64)
    here = leaves.level == level
    leaf_key = (leaves.space[here] << SPACE_SHIFT) | (leaves.page[here] >> granule.shift(level))
    at, found = _find(leaf_key, asked)
    mine = found.copy()
    mine[found] = leaves.owner[here][at[found]] == of[found]
    kind[mine] = LEAF
    cacheable = np.zeros(of.size, dtype=bool)
    cacheable[mine] = leaves.cacheable[here][at[mine]]
    if level < LAST_LEVEL:
        tables = _tables(granule, leaves, level)
        at, found = _find(tables.key, asked)
        freed_by = tables.freed_by[at[found]]
        kind[found] = np.where(
            freed_by == of[found], FREED, np.where(freed_by > of[found], KEPT, kind[found])
        )
    return kind, cacheable


def _find(keys: Ints, asked: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    at = np.searchsorted(keys, asked)
    known = np.minimum(at, max(keys.size - 1, 0))
    found = np.zeros(asked.size, dtype=bool) if keys.size == 0 else keys[known] == asked
    return known, found


def _children(
    granule: Granule, unmaps: Unmaps, of: Ints, entry: Ints, level: int
) -> tuple[Ints, Ints]:
    shift, below = granule.shift(level), granule.shift(level + 1)
    start = np.maximum(unmaps.start[of], entry << shift)
    end = np.minimum(unmaps.end[of], (entry + 1) << shift)
    return _ragged(of, start >> below, ((end - 1) >> below) + 1)


def _placed(
    unmaps: Unmaps, granule: Granule, of: Ints, entry: Ints, level: int, kind: Ints,
    cacheable: NDArray[np.bool_],
) -> tuple[Ints, ...]:  # fmt: skip
    """Key of the order, unmap, kind, level, page, cacheable."""
    shift = granule.shift(level)
    begins = np.maximum(entry << shift, unmaps.start[of]) - unmaps.start[of]
    ends = np.minimum((entry + 1) << shift, unmaps.end[of]) - unmaps.start[of]
    after = kind >= FREED
    rank = np.where(after, _RANK_UP - level, np.where(kind == DESCEND, _RANK_DOWN + level, 0))
    rank = np.where(kind < DESCEND, _RANK_LEAF, rank)
    key = (of << 46) | (np.where(after, ends, begins) << RANK_BITS) | rank
    return (
        key, of, kind, np.full(of.size, level, dtype=np.int64), entry << shift,
        cacheable.astype(np.int64),
    )  # fmt: skip

"""The walk of an unmap over random page tables, against one that is written as the kernel's is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traceview.simulate.page_table import (
    DESCEND,
    FREED,
    HOLE,
    KEPT,
    LAST_LEVEL,
    LEAF,
    Granule,
    Leaves,
    Unmaps,
    owners,
    walk,
)  # fmt: skip
from traceview.simulate.simulator import range_operations

GRANULES = (Granule(4096, 40), Granule(4096, 48), Granule(16384, 47), Granule(65536, 48))


@dataclass
class Table:
    """A table: entries that are leaves (their first page) or tables."""

    entries: dict[int, Any] = field(default_factory=dict)


@dataclass
class Reference:
    """A page table as a tree, walked entry by entry."""

    granule: Granule
    root: Table = field(default_factory=Table)
    visits: list[tuple[int, int, int, int]] = field(default_factory=list)

    def map(self, page: int, level: int) -> bool:
        table = self.root
        for at in range(self.granule.first_level, level):
            below = table.entries.setdefault(page >> self.granule.shift(at), Table())
            if not isinstance(below, Table):
                return False
            table = below
        if page >> self.granule.shift(level) in table.entries:
            return False
        table.entries[page >> self.granule.shift(level)] = "leaf"
        return True

    def unmap(self, number: int, start: int, end: int) -> None:
        self._walk(number, self.root, self.granule.first_level, start, end)

    def _walk(self, number: int, table: Table, level: int, start: int, end: int) -> None:
        shift = self.granule.shift(level)
        for entry in range(start >> shift, ((end - 1) >> shift) + 1):
            found = table.entries.get(entry)
            page = entry << shift
            if found is None:
                self.visits.append((number, HOLE, level, page))
            elif isinstance(found, Table):
                self.visits.append((number, DESCEND, level, page))
                low, high = max(start, page), min(end, page + (1 << shift))
                self._walk(number, found, level + 1, low, high)
                kind = KEPT if found.entries else FREED
                self.visits.append((number, kind, level, page))
                if kind == FREED:
                    del table.entries[entry]
            else:
                self.visits.append((number, LEAF, level, page))
                del table.entries[entry]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Granule, list[tuple[int, int]], list[tuple[int, int]]]:
    """A granule, leaves (page, level) and ranges of pages, close together."""
    granule = draw(st.sampled_from(GRANULES))
    block = granule.shift(2)
    lowest = 2 if granule.page_size_bytes > 4096 else 1
    base = draw(st.integers(0, 3)) << granule.shift(max(1, granule.first_level))
    near = st.integers(0, 3).map(lambda n: n << block)
    page = st.tuples(near, st.integers(0, 12)).map(lambda at: base + at[0] + at[1])
    levels = st.sampled_from([3, 3, 3, 2, lowest])
    leaves = draw(st.lists(st.tuples(page, levels), max_size=25))
    ends = st.one_of(st.integers(1, 20), st.integers(1, 4).map(lambda n: n << block))
    ranges = draw(st.lists(st.tuples(page, ends), min_size=1, max_size=5))
    aligned = [(p >> granule.shift(level) << granule.shift(level), level) for p, level in leaves]
    return granule, aligned, [(start, start + length) for start, length in ranges]


@settings(max_examples=150)
@given(cases())
def test_the_walk_visits_what_a_walk_entry_by_entry_visits(
    case: tuple[Granule, list[tuple[int, int]], list[tuple[int, int]]],
) -> None:
    granule, leaves, ranges = case
    reference = Reference(granule)
    mapped = sorted({one for one in leaves if reference.map(*one)})
    for number, (start, end) in enumerate(ranges):
        reference.unmap(number, start, end)
    page, level = np.array(mapped, dtype=np.int64).reshape(-1, 2).T
    start, end = np.array(ranges, dtype=np.int64).T
    size = np.array([1 << granule.shift(int(one)) for one in level], dtype=np.int64)
    owner = owners(start, end, page, page + size)
    zero = np.zeros_like(page)
    visits = walk(
        granule, Unmaps(np.zeros_like(start), start, end),
        Leaves(zero, page, level, owner, np.ones(page.size, dtype=bool)),
    )  # fmt: skip
    columns = (visits.unmap, visits.kind, visits.level, visits.page)
    assert list(zip(*(one.tolist() for one in columns), strict=True)) == reference.visits


@pytest.mark.parametrize(
    ("granule", "first", "chunk_bytes"),
    [
        (Granule(4096, 40), 1, 1 << 30), (Granule(4096, 48), 0, 1 << 30),
        (Granule(4096, 52), 0, 1 << 30), (Granule(16384, 40), 2, 32 << 20),
        (Granule(16384, 52), 0, 32 << 20), (Granule(65536, 40), 2, 512 << 20),
        (Granule(65536, 32), 2, 512 << 20),
        (Granule(65536, 52), 1, 512 << 20),
    ],
)  # fmt: skip
def test_the_first_level_and_the_largest_unmap_are_those_of_the_granule(
    granule: Granule, first: int, chunk_bytes: int
) -> None:
    assert granule.first_level == first
    assert granule.chunk_pages * granule.page_size_bytes == chunk_bytes
    assert granule.shift(LAST_LEVEL) == 0


def operations_one_by_one(start: int, pages: int, page_bytes: int, *, lpa2: bool) -> int:
    """__flush_tlb_range_op of 6.9 and later."""
    number, scale = 0, 3
    while pages > 0:
        if pages == 1 or (lpa2 and start % (1 << 16)):
            start, pages, number = start + page_bytes, pages - 1, number + 1
            continue
        num = (min(pages, 32 << (5 * scale + 1)) >> (5 * scale + 1)) - 1
        if num >= 0:
            taken = (num + 1) << (5 * scale + 1)
            start, pages, number = start + taken * page_bytes, pages - taken, number + 1
        scale -= 1
    return number


@given(
    st.integers(0, 1 << 20), st.integers(1, 1 << 21), st.sampled_from([4096, 16384, 65536]),
    st.booleans(),
)  # fmt: skip
def test_a_range_takes_as_many_operations_as_the_kernels_loop_makes(
    start: int,
    pages: int,
    page_bytes: int,
    lpa2: bool,  # noqa: FBT001
) -> None:
    found = range_operations(np.array([start]), np.array([pages]), page_bytes, lpa2=lpa2)
    assert found[0] == operations_one_by_one(start * page_bytes, pages, page_bytes, lpa2=lpa2)

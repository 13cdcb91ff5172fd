"""The operations that the kernel makes of a range, by its three formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traceview.parsers.tlbi_operand import covered_bytes
from traceview.queries.range_operations import (
    ASCENDING,
    DESCENDING_30,
    DESCENDING_31,
    FORMULAS,
    LPA2_BYTES,
    MAX_PAGES,
    Formula,
    covered,
    possible_formulas,
    sequence,
    whole,
)

GIB = 1 << 30
RIGHT = ((ASCENDING, MAX_PAGES - 1), (DESCENDING_30, MAX_PAGES - 1), (DESCENDING_31, MAX_PAGES))
GRANULES = (4096, 16384, 65536)


def pairs(formula: Formula, pages: int) -> list[tuple[int, int] | None]:
    """(SCALE, NUM) of each operation, None for a single page."""
    operations = sequence(formula, GIB, pages, 4096)
    return [
        None if one.scale is None or one.num is None else (one.scale, one.num) for one in operations
    ]


def test_511_pages_ascending_are_a_page_and_two_ranges() -> None:
    assert pairs(ASCENDING, 511) == [None, (0, 30), (1, 6)]


@pytest.mark.parametrize("formula", [DESCENDING_30, DESCENDING_31])
def test_511_pages_descending_are_two_ranges_and_a_page(formula: Formula) -> None:
    assert pairs(formula, 511) == [(1, 6), (0, 30), None]


def test_8_gib_make_the_operand_that_was_recorded_and_cover_512_mib() -> None:
    (one,) = sequence(DESCENDING_30, GIB, MAX_PAGES, 4096)
    assert (one.scale, one.num) == (-9, 1)
    assert one.operand == 0xFFFF_7080_0004_0000
    assert one.covers_pages * 4096 == 512 << 20 == covered_bytes(one.operand)


def test_8_gib_with_the_fix_are_one_whole_operation() -> None:
    (one,) = sequence(DESCENDING_31, GIB, MAX_PAGES, 4096)
    assert (one.scale, one.num, one.operand) == (3, 31, 0x0000_7F80_0004_0000)
    assert one.operand is not None
    assert covered_bytes(one.operand) == 8 * GIB


@pytest.mark.parametrize(("page_bytes", "pages"), [(4096, 2), (16384, 0), (65536, 2)])
def test_ascending_the_scale_of_2_21_pages_falls_into_the_granule(
    page_bytes: int, pages: int
) -> None:
    (one,) = sequence(ASCENDING, GIB, MAX_PAGES, page_bytes)
    assert (one.scale, one.num, one.covers_pages) == (4, 0, pages)


# SCALE -9 sets a bit of the granule: of 16K (2) it makes 64K (3).
@pytest.mark.parametrize(("page_bytes", "short"), [(4096, 1 << 17), (16384, 0), (65536, 1 << 17)])
def test_the_largest_range_of_every_granule_is_whole_with_the_fix_and_short_without(
    page_bytes: int, short: int
) -> None:
    start, pages = np.array([0, 0]), np.array([MAX_PAGES, MAX_PAGES - 1])
    assert covered(DESCENDING_31, start, pages, page_bytes).tolist() == pages.tolist()
    assert covered(DESCENDING_30, start, pages, page_bytes).tolist() == [short, MAX_PAGES - 1]


def test_with_lpa2_pages_are_single_until_64_kib_and_bases_count_64_kib() -> None:
    operations = sequence(DESCENDING_31, GIB + 0xE000, 100, 4096, lpa2=True)
    assert [one.scale for one in operations] == [None, None, 1, 0]
    assert [one.pages for one in operations] == [1, 1, 64, 34]
    assert operations[2].operand is not None
    assert operations[2].operand & ((1 << 37) - 1) == (GIB + 0x10000) >> 16


def test_with_lpa2_an_unaligned_8_gib_range_escapes_the_bug() -> None:
    start, pages = np.array([GIB, GIB + 4096]), np.array([MAX_PAGES, MAX_PAGES])
    found = covered(DESCENDING_30, start, pages, 4096, lpa2=True)
    assert found.tolist() == [1 << 17, MAX_PAGES]


@pytest.mark.parametrize("page_bytes", [4096, 65536])
def test_lpa2_is_no_matter_before_6_8_and_with_64k_pages(page_bytes: int) -> None:
    formula = ASCENDING if page_bytes == 4096 else DESCENDING_31
    plain = sequence(formula, GIB + page_bytes, 77, page_bytes)
    assert sequence(formula, GIB + page_bytes, 77, page_bytes, lpa2=True) == plain


@given(
    formula=st.sampled_from(RIGHT),
    page=st.integers(0, 1 << 36),
    pages=st.one_of(st.integers(0, 5000), st.integers(0, MAX_PAGES)),
    page_bytes=st.sampled_from(GRANULES),
    lpa2=st.booleans(),
)
def test_a_right_formula_covers_exactly_the_range_and_nothing_twice(
    formula: tuple[Formula, int], page: int, pages: int, page_bytes: int, *, lpa2: bool
) -> None:
    formula_, most = formula
    start, pages = page % (1 << 30) * page_bytes, min(pages, most)
    operations = sequence(formula_, start, pages, page_bytes, lpa2=lpa2)
    at = start
    for one in operations:
        assert one.start == at
        assert one.covers_pages == one.pages
        if one.scale is not None and one.num is not None:
            assert 0 <= one.scale <= 3
            assert 0 <= one.num <= 31
            wide = lpa2 and formula_.knows_lpa2 and page_bytes < LPA2_BYTES
            assert one.start % (LPA2_BYTES if wide else page_bytes) == 0
        at += one.pages * page_bytes
    assert at == start + pages * page_bytes


@given(
    formula=st.sampled_from(FORMULAS),
    page=st.integers(0, 64),
    pages=st.one_of(st.integers(MAX_PAGES - 40, MAX_PAGES), st.integers(0, MAX_PAGES)),
    page_bytes=st.sampled_from(GRANULES),
    lpa2=st.booleans(),
)
def test_what_many_ranges_cover_is_what_their_operations_cover(
    formula: Formula, page: int, pages: int, page_bytes: int, *, lpa2: bool
) -> None:
    start = page * page_bytes
    one_by_one = sum(
        one.covers_pages for one in sequence(formula, start, pages, page_bytes, lpa2=lpa2)
    )
    together = covered(formula, np.array([start]), np.array([pages]), page_bytes, lpa2=lpa2)
    assert together.tolist() == [one_by_one]


@pytest.mark.parametrize(
    ("release", "formulas"),
    [
        ("6.6.0", (ASCENDING,)), ("6.6.28", (ASCENDING,)), ("6.6.29", (DESCENDING_31,)),
        ("6.7.12-amd64", (ASCENDING,)), ("6.8.0", (DESCENDING_30,)), ("6.8.6", (DESCENDING_30,)),
        ("6.8.7", (DESCENDING_31,)), ("6.9-rc3", (DESCENDING_30,)), ("6.9.0", (DESCENDING_31,)),
        ("6.12.95+deb13-arm64", (DESCENDING_31,)), ("7.2.12", (DESCENDING_31,)),
        ("6.8.0-45-generic", (DESCENDING_30, DESCENDING_31)),
        ("6.6.0-72.0.0.oe2403", (ASCENDING, DESCENDING_31)),
        ("5.14.0-427.el9", FORMULAS), ("6.1.176", FORMULAS), (None, FORMULAS), ("odd", FORMULAS),
    ],
)  # fmt: skip
def test_a_release_says_which_formulas_are_possible(
    release: str | None, formulas: tuple[Formula, ...]
) -> None:
    assert possible_formulas(release) == formulas


@pytest.mark.parametrize(
    ("ranges", "inside", "overlap"),
    [
        ([(0, 10)], 10, False), ([(2, 5), (5, 12)], 8, False), ([(0, 6), (4, 10)], 10, True),
        ([(20, 30)], 0, False), ([], 0, False), ([(-5, 3), (8, 9)], 4, False),
        ([(0, 10), (3, 4), (4, 5)], 10, True),
    ],
)  # fmt: skip
def test_what_ranges_cover_of_a_range(
    ranges: list[tuple[int, int]], inside: int, *, overlap: bool
) -> None:
    assert whole(ranges, 0, 10) == (inside, overlap)

"""Stretches of time: unions and overlaps are what counting moments gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from traceview.queries.bystander_intervals import Union, by_value, overlapping

STRETCHES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)), max_size=12)


def ints(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@given(STRETCHES, STRETCHES)
def test_unions_measure_what_counting_moments_measures(
    some: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    union = Union(ints([a for a, _ in some]), ints([a + n for a, n in some]))
    held = {moment for a, n in some for moment in range(a, a + n)}
    start, end = ints([a for a, _ in asked]), ints([a + n for a, n in asked])
    assert union.within(start, end).tolist() == [len(held & {*range(a, a + n)}) for a, n in asked]
    assert union.holds(start).tolist() == [a in held for a, _ in asked]
    low, high = overlapping(start, end, union.start, union.end)
    wanted = [
        (i, j)
        for i, (a, n) in enumerate(asked)
        for j, (s, e) in enumerate(zip(union.start, union.end, strict=True))
        if (s < a + n and a < e) or (n == 0 and s < a < e)
    ]
    assert list(zip(low.tolist(), high.tolist(), strict=True)) == wanted


def test_rows_come_by_value_in_order() -> None:
    found = [(value, rows_.tolist()) for value, rows_ in by_value(ints([3, 1, 3, 2]))]
    assert found == [(1, [1]), (2, [3]), (3, [0, 2])]
    assert list(by_value(ints([]))) == []

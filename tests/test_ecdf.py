"""Distribution functions in a few points."""

from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from traceview.queries.ecdf import ecdf


def rows(**groups: list[int]) -> pl.DataFrame:
    return pl.DataFrame({
        "group": [name for name, values in groups.items() for _ in values],
        "ns": [value for values in groups.values() for value in values],
    }, schema={"group": pl.String, "ns": pl.Int64})  # fmt: skip


def test_few_values_are_all_there_with_the_share_that_is_not_above_them() -> None:
    found = ecdf(rows(a=[30, 10, 20, 20], b=[5]), "group", "ns")
    assert found.rows() == [
        ("a", 10, 1, 0.25, 4), ("a", 20, 3, 0.75, 4), ("a", 30, 4, 1.0, 4), ("b", 5, 1, 1.0, 1),
    ]  # fmt: skip


def test_nothing_has_no_points() -> None:
    assert ecdf(rows(), "group", "ns").is_empty()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=400), st.integers(1, 20))
def test_the_points_of_many_lie_on_the_exact_function_and_its_ends_are_there(
    values: list[int], points: int
) -> None:
    found = ecdf(rows(a=values), "group", "ns", points)
    exact = np.array(values)
    for _, value, at_most, share, of in found.iter_rows():
        assert at_most == int((exact <= value).sum())
        assert share == at_most / of
        assert of == len(values)
    assert found["value"].to_list() == sorted(set(found["value"]))
    assert (found["value"][0], found["value"][-1]) == (min(values), max(values))
    assert len(found) <= points + 1

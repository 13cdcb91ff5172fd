"""What unmaps without a usable time could make of a ratio."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.writers.sides import side
from traceview.queries.comparison import compare
from traceview.queries.worst_case import median_bounds

TIMES = st.lists(st.integers(1, 10**6), min_size=1, max_size=30)


@given(TIMES, st.lists(st.integers(1, 10**6), max_size=30))
def test_the_median_of_all_lies_within_the_bounds_whatever_the_others_were(
    known: list[int], unknown: list[int]
) -> None:
    low, high = median_bounds(np.array(known, dtype=np.float64), len(unknown))
    truth = float(np.median([*known, *unknown]))
    # With as many unknown as known the middle may be half of one of each.
    assert low <= truth
    assert high is None or truth <= high


@given(TIMES)
def test_with_none_left_out_the_bounds_are_the_median(known: list[int]) -> None:
    middle = float(np.median(known))
    assert median_bounds(np.array(known, dtype=np.float64), 0) == (middle, middle)


@pytest.mark.parametrize("steps", [True, False])
def test_lost_unmaps_bound_the_ratio_of_the_sizes_that_they_could_be_of(*, steps: bool) -> None:
    columns = {"trigger": "unknown"} if steps else None
    base = side(2000, alone=False, unmap_columns=columns, factors=[1, 1.01, 1.02, 1.03, 1.04, 1.05])
    lost = pl.when(pl.col("step") == "w64.1").then(pl.lit("censored")).otherwise(
        pl.col("status").cast(pl.String)
    ).cast(base.unmaps.schema["status"])  # fmt: skip
    base = replace(base, unmaps=base.unmaps.with_columns(lost.alias("status")))
    with_ = side(1000, alone=False, strategy="deferred_range", label="b", unmap_columns=columns)
    for size in compare(base, with_).sizes:
        # By step it is known which one was lost; by kind it could have been any.
        if steps and size.cell["leaves"] != 64:
            assert size.worst is None
            continue
        assert size.worst is not None
        assert (size.worst.base_excluded, size.worst.with_excluded) == (6, 0)
        assert size.ratio is not None
        assert size.worst.high is not None
        assert size.worst.low <= size.ratio.interval.value <= size.worst.high


def test_where_nothing_is_lost_there_is_no_worst_case() -> None:
    found = compare(side(2000), side(1000, strategy="deferred_range", label="b"))
    assert all(size.worst is None for size in found.sizes)

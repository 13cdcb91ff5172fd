"""What unmaps cost by their leaves: points and lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

from traceview.queries.leaf_costs import MOST_FITTED, MOST_SIZES, leaf_costs, leaf_line

if TYPE_CHECKING:
    from collections.abc import Sequence


def unmaps(pairs: Sequence[tuple[int | None, int]], group: str = "a") -> pl.DataFrame:
    return pl.DataFrame(
        [(group, *pair) for pair in pairs],
        schema={"group": pl.String, "leaves": pl.Int64, "duration_ns": pl.Int64}, orient="row",
    )  # fmt: skip


def test_a_point_is_the_median_per_leaf_of_the_unmaps_of_one_size() -> None:
    found = leaf_costs(unmaps([(4, 400), (4, 800), (4, 1200), (8, 1600), (None, 5), (0, 7)]))
    columns = ("leaves", "unmaps", "median_ns", "p5_ns", "p95_ns", "duration_ns")
    assert found.select(columns).rows() == [
        (4, 3, 200.0, 100.0, 300.0, 800), (8, 1, 200.0, 200.0, 200.0, 1600),
    ]  # fmt: skip


def test_very_many_sizes_share_points_and_lose_no_unmap() -> None:
    pairs = [(leaves, 100 * leaves) for leaves in range(1, 5 * MOST_SIZES)]
    found = leaf_costs(unmaps(pairs))
    assert len(found) < MOST_SIZES
    assert found["unmaps"].sum() == len(pairs)
    assert (found["median_ns"] == 100).all()
    assert (found["most"] < 1.1 * found["fewest"]).all()
    assert (found["fewest"].min(), found["most"].max()) == (1, 5 * MOST_SIZES - 1)


def test_groups_are_told_apart() -> None:
    found = leaf_costs(pl.concat([unmaps([(4, 400)]), unmaps([(4, 800)], "b")]))
    assert found.select("group", "median_ns").rows() == [("a", 100.0), ("b", 200.0)]


def test_a_line_finds_the_cost_of_a_leaf_and_of_an_unmap() -> None:
    line = leaf_line(unmaps([(leaves, 1000 + 50 * leaves) for leaves in (1, 8, 64, 512)]))
    assert line is not None
    assert (line.slope, line.intercept) == pytest.approx((50, 1000))


def test_two_sizes_make_no_line() -> None:
    assert leaf_line(unmaps([(1, 100), (8, 800), (8, 900)])) is None


def test_of_very_many_unmaps_each_size_has_its_say() -> None:
    often = [(1, 1050 + at % 5) for at in range(3 * MOST_FITTED)]
    line = leaf_line(unmaps([*often, (64, 1000 + 64 * 50), (512, 1000 + 512 * 50)]))
    assert line is not None
    assert line.sizes == 3
    assert line.slope == pytest.approx(50, rel=0.01)
    assert line.points <= MOST_FITTED + 3


def test_more_sizes_than_are_fitted_are_thinned_evenly() -> None:
    line = leaf_line(unmaps([(at, 1000 + 50 * at) for at in range(1, 2 * MOST_FITTED)]))
    assert line is not None
    assert line.points <= MOST_FITTED
    assert (line.slope, line.intercept) == pytest.approx((50, 1000))

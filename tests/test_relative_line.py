"""The line is the one with the smallest relative errors, and says how well it fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from traceview.errors import QueryError
from traceview.queries.relative_line import EXACT, RelativeLine, relative_line

SIZES = 2.0 ** np.arange(0, 19)


def line_of(leaves: object, durations: object, weights: object = None) -> RelativeLine:
    found = relative_line(leaves, durations, weights)  # type: ignore[arg-type]
    assert found is not None
    return found


def smallest_error(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> float:
    """The minimum by linear programming: the errors split into parts above and below."""
    points = len(x)
    cost = np.concatenate([[0, 0, 0, 0], w, w])
    line = np.column_stack([np.ones(points), -np.ones(points), x, -x])
    equal = np.hstack([line, np.eye(points), -np.eye(points)])
    return float(linprog(cost, A_eq=equal, b_eq=y, bounds=(0, None)).fun)


def test_durations_on_a_line_give_that_line() -> None:
    found = line_of(SIZES, 2600 + 436 * SIZES)
    assert (found.intercept, found.slope) == pytest.approx((2600, 436))
    assert (found.points, found.sizes, found.left_out) == (19, 19, 0)
    assert found.mean_error == pytest.approx(0, abs=1e-9)
    assert found.at(512) == pytest.approx(2600 + 436 * 512)


def test_one_interrupt_does_not_tilt_the_line() -> None:
    durations = 2600 + 436 * SIZES
    durations[-1] += 5e7
    found = line_of(SIZES, durations)
    assert (found.intercept, found.slope) == pytest.approx((2600, 436))
    assert found.worst.leaves == SIZES[-1]
    assert found.worst.relative == pytest.approx(5e7 / durations[-1])


def test_small_sizes_count_as_much_as_large_ones() -> None:
    generator = np.random.default_rng(5)
    found = line_of(SIZES, (2600 + 436 * SIZES) * generator.lognormal(0, 0.02, len(SIZES)))
    assert found.intercept == pytest.approx(2600, rel=0.1)
    assert found.slope == pytest.approx(436, rel=0.05)


def test_sizes_on_no_line_are_said() -> None:
    found = line_of([1, 2, 4, 512], [1000, 1100, 1300, 900_000])
    assert found.worst.leaves in {1, 4, 512}
    assert abs(found.worst.relative) > 0.05


def test_noise_of_a_side_does_not_lower_its_line() -> None:
    # Relative to the durations themselves, this line would lie 15% too low.
    generator = np.random.default_rng(6)
    leaves = np.repeat([1.0, 16.0, 512.0], 4000)
    found = line_of(leaves, 436 * leaves * generator.lognormal(0, 0.4, len(leaves)))
    assert found.slope == pytest.approx(436, rel=0.02)


@pytest.mark.parametrize("points", [7, 60, EXACT, EXACT + 1, 1500])
@pytest.mark.parametrize("step", [0.0, 40.0])
def test_no_line_has_a_smaller_error(points: int, step: float) -> None:
    generator = np.random.default_rng(points)
    leaves = generator.choice(SIZES[:11], points)
    leaves[:2] = 1, 2
    durations = (700 + 436 * leaves) * generator.standard_t(2, points).clip(-3, 9).__abs__() + 50
    if step:
        durations = np.maximum(step, np.round(durations / step) * step)
    weights = generator.integers(1, 4, points).astype(float)
    found = line_of(leaves, durations, weights)
    medians = np.array([
        np.median(np.repeat(durations[leaves == one], weights[leaves == one].astype(int)))
        for one in leaves
    ])  # fmt: skip
    least = smallest_error(leaves, durations, weights / medians)
    assert found.mean_error * weights.sum() == pytest.approx(least, rel=1e-7)


def test_many_points_on_a_level_line_end_the_search() -> None:
    leaves = np.tile([1.0, 2.0], EXACT)
    found = line_of(leaves, np.full(len(leaves), 80.0))
    assert (found.intercept, found.slope) == pytest.approx((80, 0), abs=1e-6)


def test_a_weight_counts_a_point_that_often() -> None:
    x, y, w = [1, 2, 3, 5], [10.0, 24.0, 31.0, 47.0], [1, 3, 2, 1]
    weighted, repeated = line_of(x, y, w), line_of(np.repeat(x, w), np.repeat(y, w))
    assert weighted.slope == pytest.approx(repeated.slope)
    assert weighted.mean_error == pytest.approx(repeated.mean_error)
    assert line_of([*x, 4], [*y, 9999.0], [*w, 0]) == weighted


def test_durations_of_zero_are_left_out_and_counted() -> None:
    found = line_of([0, 1, 2, 4], [0.0, 10, 20, 40])
    assert (found.left_out, found.points) == (1, 3)
    assert found.slope == pytest.approx(10)


@pytest.mark.parametrize("leaves", [[], [4.0], [4.0, 4.0, 4.0]])
def test_one_size_has_no_line(leaves: list[float]) -> None:
    assert relative_line(leaves, [7.0] * len(leaves)) is None


@pytest.mark.parametrize(
    ("leaves", "durations", "weights"),
    [([1, 2], [1], None), ([1, np.nan], [1, 2], None), ([1, 2], [1, 2], [1, -1]), (1, 2, None)],
)
def test_what_is_no_set_of_points_is_refused(
    leaves: object, durations: object, weights: object
) -> None:
    with pytest.raises(QueryError, match="a line wants"):
        relative_line(leaves, durations, weights)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1 << 18), st.integers(1, 1 << 40)), min_size=2, max_size=30)
)
def test_any_points_have_a_finite_line_or_none(points: list[tuple[int, int]]) -> None:
    leaves, durations = zip(*points, strict=True)
    found = relative_line(leaves, durations)
    assert (found is None) == (len(set(leaves)) < 2)
    assert found is None or np.isfinite([found.intercept, found.slope, found.mean_error]).all()

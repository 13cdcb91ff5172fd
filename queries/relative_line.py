"""A straight line through durations of sizes that span five decades: intercept + slope * leaves.

What is smallest is the sum of absolute *relative* errors (Narula and Wellington, "Prediction,
linear regression and the minimum sum of relative errors", Technometrics 19, 1977): least squares
would fit the largest size alone, and one interrupt would tilt it. An error is taken relative to
the median of its size, not to the duration itself: otherwise short durations weigh more and the
line of a noisy side comes out too low.

The best line passes through two of the points (Appa and Smith, "On L1 and Chebyshev estimation",
Mathematical Programming 5, 1973), so up to EXACT points all pairs are tried. Beyond that the slope
is searched for: the smallest sum at a given slope is a convex function of it, with the weighted
median as intercept; the line found is then moved onto points as long as that helps (Bloomfield
and Steiger, Least Absolute Deviations, 1983). Where several lines are equally good, any is given.

The line is a description, `Misfit` says how far from it the sizes lie. Nothing here has an
interval: one line is one estimate of one run (run_intervals.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.errors import QueryError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

EXACT: Final = 200
CHUNK: Final = 2048  # lines tried at a time
NARROW: Final = 1e-10  # how well a slope is searched for, relative to the steepest in sight
PIVOTS: Final = 50
EQUAL: Final = 1e-12  # sums of weights that differ by less are rounding of a float


@dataclass(frozen=True, slots=True)
class Misfit:
    """The size whose median lies furthest from the line, relative to that median.

    `relative` is above 0 where the durations are longer than the line says.
    """

    leaves: float
    relative: float


@dataclass(frozen=True, slots=True)
class RelativeLine:
    """duration = `intercept` + `slope` * leaves, from `points` of `sizes` distinct sizes.

    `mean_error` is the (weighted) mean of the absolute relative errors that was minimised;
    `left_out` counts durations of 0 or less, which nothing can be relative to.
    """

    intercept: float
    slope: float
    points: int
    sizes: int
    mean_error: float
    worst: Misfit
    left_out: int

    def at(self, leaves: float) -> float:
        """The duration that the line gives for *leaves*."""
        return self.intercept + self.slope * leaves


def relative_line(
    leaves: ArrayLike, durations: ArrayLike, weights: ArrayLike | None = None
) -> RelativeLine | None:
    """The line through *durations* (any unit) over *leaves*, one of each per unmap.

    None with fewer than two distinct sizes. *weights*, one per unmap, count a point that many
    times; with weights of 1 / (unmaps of that size) every size has the same say. Raises
    QueryError when the arrays differ in length or hold what is no number, or a negative weight.
    """
    x, y, w = _points(leaves, durations, weights)
    kept = (y > 0) & (w > 0)
    left_out = int(np.count_nonzero((y <= 0) & (w > 0)))
    x, y, w = x[kept], y[kept], w[kept]
    sizes, at = np.unique(x, return_inverse=True)
    if len(sizes) < 2:
        return None
    order = np.argsort(at, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(at[order])) + 1)
    medians = np.array([_weighted_median(y[group], w[group]) for group in groups])
    relative = w / medians[at]
    intercept, slope = _best(x, y, relative)
    error = float(np.sum(relative * np.abs(y - intercept - slope * x)) / w.sum())
    apart = (medians - intercept - slope * sizes) / medians
    worst = int(np.argmax(np.abs(apart)))
    misfit = Misfit(float(sizes[worst]), float(apart[worst]))
    return RelativeLine(intercept, slope, len(x), len(sizes), error, misfit, left_out)


def _points(
    leaves: ArrayLike, durations: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    x, y = (np.asarray(one, dtype=np.float64) for one in (leaves, durations))
    w = np.ones_like(x) if weights is None else np.asarray(weights, dtype=np.float64)
    if not (x.ndim == 1 and x.shape == y.shape == w.shape):
        raise QueryError(
            f"a line wants as many durations and weights as sizes: {x.shape}, {y.shape}, {w.shape}"
        )
    if not all(np.isfinite(one).all() for one in (x, y, w)) or bool((w < 0).any()):
        raise QueryError("a line wants finite sizes and durations, and weights of 0 or more")
    return x, y, w


def _best(x: Floats, y: Floats, w: Floats) -> tuple[float, float]:
    """The intercept and slope with the smallest sum of w |y - intercept - slope x|."""
    if len(x) <= EXACT:
        return _tried(x, y, w)
    return _onto_points(x, y, w, _searched(x, y, w))


def _tried(x: Floats, y: Floats, w: Floats) -> tuple[float, float]:
    """Every line through two points of different size."""
    one, other = np.triu_indices(len(x), 1)
    apart = x[one] != x[other]
    one, other = one[apart], other[apart]
    slopes = (y[other] - y[one]) / (x[other] - x[one])
    intercepts = y[one] - slopes * x[one]
    sums = np.empty(len(slopes))
    for start in range(0, len(slopes), CHUNK):
        part = slice(start, start + CHUNK)
        sums[part] = np.abs(y - intercepts[part, None] - slopes[part, None] * x) @ w
    least = int(np.argmin(sums))
    return float(intercepts[least]), float(slopes[least])


def _searched(x: Floats, y: Floats, w: Floats) -> float:
    """The slope of the smallest sum, by golden section between slopes that enclose it."""

    def total(slope: float) -> float:
        rest = y - slope * x
        return float(np.sum(w * np.abs(rest - _weighted_median(rest, w))))

    # Heavy, and wanted for many points only.
    from scipy.optimize import minimize_scalar  # noqa: PLC0415

    scale = float(np.max(y) / np.ptp(x))
    low, high = -scale, scale
    while total(low) <= total(low / 2):
        low *= 2
    while total(high) <= total(high / 2):
        high *= 2
    narrow = {"xatol": NARROW * scale, "maxiter": 200}
    return float(minimize_scalar(total, bounds=(low, high), method="bounded", options=narrow).x)


def _onto_points(x: Floats, y: Floats, w: Floats, slope: float) -> tuple[float, float]:
    """From the best line of that slope to lines through a point and another, while they gain."""
    rest = y - slope * x
    intercept = _weighted_median(rest, w)
    least = float(np.sum(w * np.abs(rest - intercept)))
    through = int(np.argmin(np.abs(rest - intercept)))
    for _ in range(PIVOTS):
        others = np.flatnonzero(x != x[through])
        run = x[others] - x[through]
        slopes = (y[others] - y[through]) / run
        turned = _weighted_median(slopes, w[others] * np.abs(run))
        moved = float(y[through] - turned * x[through])
        total = float(np.sum(w * np.abs(y - moved - turned * x)))
        if total >= least:
            break
        intercept, slope, least = moved, turned, total
        through = int(others[np.argmin(np.abs(slopes - turned))])
    return intercept, slope


def _weighted_median(values: Floats, weights: Floats) -> float:
    """Half of the weight lies on either side; the middle of two values where both will do."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    half = below[-1] / 2
    first, last = np.searchsorted(below, (half * (1 - EQUAL), half * (1 + EQUAL)))
    return float((values[order[first]] + values[order[min(last, len(order) - 1)]]) / 2)

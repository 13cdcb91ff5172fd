"""Intervals that were tried and not taken: what the tables compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ends = tuple[float, float]

RESAMPLES: Final = 999
TAILS: Final = (0.025, 0.975)


def percentile_bootstrap(made: Generator, base: Floats, with_: Floats) -> Ends:
    """The ratio of geometric means, by resampling whole runs."""
    low, high = np.quantile(_resampled(made, base, with_), TAILS)
    return float(np.exp(low)), float(np.exp(high))


def bca_bootstrap(made: Generator, base: Floats, with_: Floats) -> Ends:
    """The same, bias-corrected and accelerated (Efron 1987), with the jackknife of both sides."""
    seen = np.log(base).mean() - np.log(with_).mean()
    resampled = _resampled(made, base, with_)
    share = np.clip((np.mean(resampled < seen) + np.mean(resampled <= seen)) / 2, 1e-4, 1 - 1e-4)
    bias = float(special.ndtri(share))
    pulls = np.concatenate([_pulls(np.log(base)), -_pulls(np.log(with_))])
    bent = float(np.sum(pulls**3) / (6 * np.sum(pulls**2) ** 1.5))
    moved = bias + special.ndtri(np.array(TAILS))
    low, high = np.quantile(resampled, special.ndtr(bias + moved / (1 - bent * moved)))
    return float(np.exp(low)), float(np.exp(high))


def plain_welch(base: Floats, with_: Floats) -> Ends:
    """Welch's interval of a difference, not widened for skewness."""
    parts = [side.var(ddof=1) / len(side) for side in (base, with_)]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(base) - 1) + parts[1] ** 2 / (len(with_) - 1))
    return _around(base.mean() - with_.mean(), np.sqrt(sum(parts)), freedom)


def adjusted_for_order(base: Floats, with_: Floats, is_base: NDArray[np.bool_]) -> Ends:
    """The ratio, with a straight line over the positions taken out (analysis of covariance)."""
    logs = np.empty(len(is_base))
    logs[is_base], logs[~is_base] = np.log(base), np.log(with_)
    place = np.arange(len(is_base)) - (len(is_base) - 1) / 2
    model = np.column_stack([np.ones(len(is_base)), is_base, place])
    fitted, rest, *_ = np.linalg.lstsq(model, logs)
    freedom = len(is_base) - 3
    error = np.sqrt(float(rest[0]) / freedom * np.linalg.inv(model.T @ model)[1, 1])
    low, high = _around(fitted[1], error, freedom)
    return float(np.exp(low)), float(np.exp(high))


def neighbours(base: Floats, with_: Floats) -> Ends:
    """The ratio by paired t of the first run of each side, the second, and so on."""
    apart = np.log(base) - np.log(with_)
    low, high = _around(apart.mean(), apart.std(ddof=1) / np.sqrt(len(apart)), len(apart) - 1)
    return float(np.exp(low)), float(np.exp(high))


def _around(value: float, error: float, freedom: float) -> Ends:
    reach = float(error * special.stdtrit(freedom, TAILS[1]))
    return float(value) - reach, float(value) + reach


def _resampled(made: Generator, base: Floats, with_: Floats) -> Floats:
    sides = [
        np.log(side)[made.integers(0, len(side), (RESAMPLES, len(side)))].mean(axis=1)
        for side in (base, with_)
    ]
    return np.asarray(sides[0] - sides[1])


def _pulls(logs: Floats) -> Floats:
    """What each run does to the mean, by leaving it out."""
    return np.asarray((logs - logs.mean()) / (len(logs) - 1))

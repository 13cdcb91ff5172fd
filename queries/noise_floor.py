"""A/A: what the runs of one side differ by among themselves, and how often that looks real.

Every balanced split of the runs into two halves is compared as two sides would be (Welch's t on
the log scale, run_intervals.py). The splits share runs, so `false_alarms` is no independent
estimate of an error rate: it shows whether these runs, as they are, keep to the 5% that their
intervals promise.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, islice
from math import comb
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

from traceview.queries.run_intervals import CONFIDENCE, Runs, exponential, log_runs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MOST_SPLITS: Final = 2000
SEED: Final = 1
FEWEST_RUNS: Final = 4
TINY: Final = 1e-28  # a variance of logarithms below this is rounding of a float


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """What runs of one side differ by among themselves.

    `ratio` is what 95% of the `splits` stay below (the larger half over the smaller), and
    `false_alarms` the share of splits whose Welch interval excludes 1. A half has half the runs,
    so two full sides are expected to differ less, by a factor of sqrt(2) on the log scale.
    `all_splits` is False where a seeded sample of them was taken.
    """

    ratio: float
    splits: int
    all_splits: bool
    false_alarms: float
    runs_per_half: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Half:
    """One half of every split: means, squared standard errors, what the quantum leaves."""

    mean: NDArray[np.float64]
    error2: NDArray[np.float64]
    undecided: NDArray[np.float64]


def noise_floor(
    runs: ArrayLike, *, quantum: float = 0.0, splits: int = MOST_SPLITS, seed: int = SEED
) -> NoiseFloor | None:
    """Compare the runs of one side with each other, over its splits into two halves.

    An odd run makes one half larger. None with fewer than four runs: a half needs two. Raises
    QueryError as welch_ratio does.
    """
    logs = log_runs(runs, quantum)
    size = len(logs.values)
    if size < FEWEST_RUNS:
        return None
    first, every = _halves(size, splits, seed)
    halves = [_half(logs, half) for half in (first, ~first)]
    apart = np.abs(halves[0].mean - halves[1].mean)
    parts = [half.error2 for half in halves]
    errors2 = parts[0] + parts[1]
    # Halves whose runs are equal have no interval, so they raise no alarm either.
    given = errors2 > 0
    fourth = parts[0] ** 2 / (size // 2 - 1) + parts[1] ** 2 / (size - size // 2 - 1)
    freedom = np.divide(errors2**2, fourth, out=np.ones_like(fourth), where=fourth > 0)
    reach = special.stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(errors2)
    alarms = given & (apart > reach + halves[0].undecided + halves[1].undecided)
    return NoiseFloor(
        exponential(float(np.quantile(apart, 0.95))), len(first), every, float(alarms.mean()),
        (size // 2, size - size // 2),
    )  # fmt: skip


def _halves(size: int, most: int, seed: int) -> tuple[NDArray[np.bool_], bool]:
    """Which runs are in the first half, a row per split; and whether these are all splits.

    Of an even number of runs every split appears once, not also with its halves swapped.
    """
    half = size // 2
    count = comb(size, half) // (2 if size % 2 == 0 else 1)
    if count <= most:
        chosen = np.array(list(islice(combinations(range(size), half), count)))
    else:
        generator = np.random.default_rng(seed)
        chosen = np.argsort(generator.random((most, size)), axis=1)[:, :half]
    first = np.zeros((len(chosen), size), dtype=np.bool_)
    np.put_along_axis(first, chosen, values=True, axis=1)
    return first, count <= most


def _half(logs: Runs, chosen: NDArray[np.bool_]) -> _Half:
    many = chosen.sum(axis=1)
    mean = chosen @ logs.values / many
    apart = np.where(chosen, logs.values - mean[:, None], 0.0)
    seen = (apart**2).sum(axis=1) / (many - 1)
    variance = np.maximum(np.where(seen < TINY, 0.0, seen), logs.tick**2 / 12)
    undecided = np.where(np.sqrt(seen) >= logs.tick / 2, 0.0, logs.half)
    return _Half(mean, variance / many, undecided)

"""Runs with a known truth: noise between runs, unmaps inside them, drift, and a clock's quantum.

The time of an unmap is truth * run * drift * unmap, counted by a clock that ticks every quantum.
The noise between runs has a spread of 5 to 20%; the unmaps of a run spread by 10%, and one in
fifty is hit by an interrupt. A run's estimate is the median of its unmaps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BASE_NS: Final = 1927.0  # per leaf, one operation for each
WITH_NS: Final = 436.0  # per leaf, deferred (both from the v5 posting, 4K pages)
RATIO: Final = BASE_NS / WITH_NS
WITHIN: Final = 0.1
INTERRUPTED: Final = 0.02
INTERRUPT: Final = 4.0

# Factors between runs. The skewed ones only ever add time, as disturbances do.
NOISES: Final[dict[str, Callable[[Generator, int], Floats]]] = {
    "normal": lambda made, runs: 1 + 0.05 * made.standard_normal(runs),
    "t3": lambda made, runs: np.maximum(0.1, 1 + 0.05 * made.standard_t(3, runs)),
    "lognormal, skewness 1.75": lambda made, runs: 1 + 0.1 * made.lognormal(0, 0.5, runs),
    "exponential, skewness 2": lambda made, runs: 1 + 0.1 * made.exponential(1, runs),
    "lognormal, skewness 6.2": lambda made, runs: 1 + 0.1 * made.lognormal(0, 1, runs),
}


def unmaps(
    made: Generator, truth_ns: Floats, many: int, quantum_ns: float = 0.0, within: float = WITHIN
) -> Floats:
    """The durations of *many* unmaps, a row for each run whose true duration is given."""
    shape = (len(truth_ns), many)
    times = truth_ns[:, None] * made.lognormal(0, within, shape)
    times *= 1 + INTERRUPT * (made.random(shape) < INTERRUPTED)
    if not quantum_ns:
        return times
    # Two readings of a counter: where in a tick the first falls is chance.
    return np.floor(times / quantum_ns + made.random(shape)) * quantum_ns


def estimates(
    made: Generator, truth_ns: Floats, many: int | Sequence[int], quantum_ns: float = 0.0
) -> Floats:
    """One estimate per run: the median of *many* unmaps, of one number or one for each run."""
    if isinstance(many, int):
        return np.median(unmaps(made, truth_ns, many, quantum_ns), axis=1)
    each = zip(truth_ns, many, strict=True)
    return np.array([
        np.median(unmaps(made, np.array([truth]), count, quantum_ns)) for truth, count in each
    ])  # fmt: skip


def linear_drift(made: Generator, positions: int, size: float) -> Floats:
    """Factors per position that rise or fall by *size* (on the log scale) from first to last."""
    return np.asarray(np.exp(made.choice((-1, 1)) * size * np.linspace(-0.5, 0.5, positions)))


def random_walk(made: Generator, positions: int, size: float) -> Floats:
    """Factors per position of a random walk that is expected to end *size* from its start."""
    return np.asarray(
        np.exp(np.cumsum(made.standard_normal(positions)) * size / np.sqrt(positions))
    )

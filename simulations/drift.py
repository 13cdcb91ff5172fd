"""Drift between the first run and the last, and the order of the sides under it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from simulations import rival_intervals
from simulations.coverage import UNMAPS, held
from simulations.synthetic_runs import (
    BASE_NS,
    RATIO,
    WITH_NS,
    estimates,
    linear_drift,
    random_walk,
)
from traceview.queries.recording_plan import RecordedRun, recording_plan
from traceview.queries.run_intervals import paired_ratio, welch_ratio

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    from simulations.coverage import Trial

    Floats = NDArray[np.float64]
    Order = Callable[[Generator, int], NDArray[np.bool_]]

SPREAD: Final = 0.05  # of the runs, beside the drift


def _rising_and_falling(made: Generator, positions: int, size: float) -> Floats:
    place = np.linspace(-1, 1, positions)
    return np.asarray(np.exp(made.choice((-1, 1)) * size * place**2))


DRIFTS: Final[dict[str, Callable[[Generator, int, float], Floats]]] = {
    "none": lambda _made, positions, _size: np.ones(positions),
    "straight line": linear_drift,
    "rising and falling": _rising_and_falling,
    "random walk": random_walk,
}


def _repeated(block: str) -> Order:
    pattern = np.array([one == "A" for one in block])
    return lambda _made, runs: np.resize(pattern, 2 * runs)


def _random_pairs(made: Generator, runs: int) -> NDArray[np.bool_]:
    first = made.random(runs) < 0.5
    return np.column_stack([first, ~first]).ravel()


def shuffled(made: Generator, runs: int) -> NDArray[np.bool_]:
    """Any order of the runs of two sides."""
    return made.permutation(np.arange(2 * runs) < runs)


def sequential(_made: Generator, runs: int) -> NDArray[np.bool_]:
    """All of base, then all of with."""
    return np.arange(2 * runs) < runs


ORDERS: Final[dict[str, Order]] = {
    "ABBA": _repeated("ABBA"),
    "ABAB": _repeated("AB"),
    "random order inside pairs": _random_pairs,
    "all of A, then all of B": sequential,
}


def permitted(is_base: NDArray[np.bool_]) -> bool:
    """Whether recording_plan() takes this order for interleaved."""
    runs = [RecordedRun("base" if one else "with", at) for at, one in enumerate(is_base)]
    return recording_plan(runs).kind == "interleaved"


def drifting(
    order: Order,
    drift: str,
    size: float,
    runs: int,
    method: str = "ours",
    *,
    only: bool | None = None,
) -> Trial:
    """The ratio of runs in an *order* while the host drifts.

    *method*: ours, adjusted (a line over the positions taken out) or neighbours (paired t).
    *only*: orders that recording_plan() permits, or those that it does not.
    """

    def trial(made: Generator) -> tuple[bool, float]:
        is_base = order(made, runs)
        while only is not None and permitted(is_base) != only:
            is_base = order(made, runs)
        factors = DRIFTS[drift](made, 2 * runs, size) * (
            1 + SPREAD * made.standard_normal(2 * runs)
        )
        base = estimates(made, BASE_NS * factors[is_base], UNMAPS)
        with_ = estimates(made, WITH_NS * factors[~is_base], UNMAPS)
        if method == "adjusted":
            return held(rival_intervals.adjusted_for_order(base, with_, is_base), RATIO)
        if method == "neighbours":
            return held(rival_intervals.neighbours(base, with_), RATIO)
        return held(welch_ratio(base, with_), RATIO)

    return trial


def concurrent(drift: str, size: float, pairs: int) -> Trial:
    """Pairs that run at the same time: both sides have the same drift."""

    def trial(made: Generator) -> tuple[bool, float]:
        shared = DRIFTS[drift](made, pairs, size)
        base, with_ = (
            estimates(made, truth * shared * (1 + SPREAD * made.standard_normal(pairs)), UNMAPS)
            for truth in (BASE_NS, WITH_NS)
        )
        return held(paired_ratio(base, with_), RATIO)

    return trial

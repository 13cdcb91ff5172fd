"""What a set of runs could have found, and how many runs a ratio needs.

Both take the spread between the runs that were seen for the true one, which five runs know to
within a factor of about three. Power is that of the t tests of run_intervals.py, from the
noncentral t distribution (Cohen, Statistical Power Analysis, 1988), not from a normal one, which
promises too much with few runs. What the clock's quantum hides is added: no number of runs finds
it.
"""

from __future__ import annotations

from math import inf, isnan, log
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

from traceview.errors import QueryError
from traceview.queries.run_intervals import (
    CONFIDENCE,
    NO_QUANTUM,
    both_sides,
    exponential,
    log_runs,
    spread_of,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

POWER: Final = 0.8
# More runs than anyone records: where the search for a number of runs ends.
MOST_RUNS: Final = 100_000
# The degrees of freedom of two runs are so uncertain that the power of Welch's t falls short.
FEWEST_RUNS: Final = 3
STEPS: Final = 2000


def minimum_detectable_ratio(
    base: ArrayLike,
    with_: ArrayLike,
    *,
    paired: bool,
    power: float = POWER,
    alpha: float = 1 - CONFIDENCE,
    quantum: tuple[float, float] = NO_QUANTUM,
) -> float | None:
    """The smallest ratio above 1 that these runs find with probability *power*.

    It takes the spread seen for the true one. None with fewer than two runs (pairs) on a side,
    and where runs do not differ at all. Raises QueryError as the intervals do.
    """
    seen = spread_of(*both_sides(log_runs, base, with_, quantum), paired=paired)
    if seen is None:
        return None
    freedom = seen.freedom(seen.runs)
    low, high = 0.0, 1.0
    while _power(high, freedom, alpha) < power:
        low, high = high, high * 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(middle, freedom, alpha) < power else (low, middle)
    return exponential(high * seen.error(seen.runs) + seen.undecided)


def runs_needed(
    base: ArrayLike,
    with_: ArrayLike,
    ratio: float,
    *,
    paired: bool,
    power: float = POWER,
    alpha: float = 1 - CONFIDENCE,
    quantum: tuple[float, float] = NO_QUANTUM,
) -> int | None:
    """Runs per side (pairs) that would find *ratio* with probability *power*, at this spread.

    FEWEST_RUNS at least. None where the spread is not known (see minimum_detectable_ratio), where
    the quantum alone hides the ratio, and beyond MOST_RUNS. Raises QueryError when *ratio* is 1
    or not positive.
    """
    if not 0 < ratio < inf or ratio == 1:
        raise QueryError(f"not a ratio that runs could find: {ratio:g}")
    seen = spread_of(*both_sides(log_runs, base, with_, quantum), paired=paired)
    if seen is None or abs(log(ratio)) <= seen.undecided:
        return None
    apart = abs(log(ratio)) - seen.undecided

    def found(size: int) -> bool:
        runs = (size,) * len(seen.variances)
        return _power(apart / seen.error(runs), seen.freedom(runs), alpha) >= power

    low, high = FEWEST_RUNS - 1, FEWEST_RUNS
    while not found(high):
        low, high = high, high * 2
        if high > MOST_RUNS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) else (middle, high)
    return high


def _power(moved: float, freedom: float, alpha: float) -> float:
    """How often a t test finds an effect of *moved* standard errors."""
    reach = float(special.stdtrit(freedom, 1 - alpha / 2))
    inside = float(special.nctdtr(freedom, moved, reach) - special.nctdtr(freedom, moved, -reach))
    return 1 - (_inside(moved, freedom, reach) if isnan(inside) else inside)


def _inside(moved: float, freedom: float, reach: float) -> float:
    """The same, averaged over the standard error's distribution: nctdtr() gives NaN at times."""
    middles = (np.arange(STEPS) + 0.5) / STEPS
    scale = reach * np.sqrt(special.chdtri(freedom, middles) / freedom)
    return float(np.mean(special.ndtr(scale - moved) - special.ndtr(-scale - moved)))

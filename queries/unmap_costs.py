"""The time of an unmap as a sum: a base, so much per leaf of each level, so much per freed table.

Fitted to the medians of cells of like work, with errors relative to them (durations span five
decades), none of the costs below 0 (Lawson and Hanson 1974, scipy.optimize.nnls). A cell differs
from the sum by its own noise and by what the sum does not know (entries visited without a leaf,
caches): that second, relative misfit is estimated from the residuals, and is in every interval. It
is what is left of the error where the times have no noise at all. A few cells can lie on a sum by
chance, so it is estimated as if PRIOR_CELLS further ones had been PRIOR off.

Costs are told apart as far as the cells differ in what they hold: where all of them freed as many
tables, those are in the base.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import optimize

from traceview.queries.moderated_noise import reach

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROUNDS: Final = 8
# A cost that fewer further cells support is not told apart from the others.
SPARE: Final = 2
SAME: Final = 1e-9
PRIOR, PRIOR_CELLS = 0.05, 3


@dataclass(frozen=True, slots=True)
class Work:
    """What an unmap holds: leaves by level (name: number), and freed tables."""

    leaves: tuple[tuple[str, float], ...]
    tables: float

    @property
    def total(self) -> float:
        """All leaves."""
        return sum(number for _, number in self.leaves)


@dataclass(frozen=True, slots=True)
class Fit:
    """`costs` (ns) by `names`: base, a level, table; `covariance`, and the relative `misfit`.

    `freedom` of the residuals; `cells` that it stands on.
    """

    names: tuple[str, ...]
    costs: Floats
    covariance: Floats
    misfit: float
    freedom: int
    cells: int

    def at(self, work: Work) -> tuple[float, float]:
        """The time of an unmap of that *work*, and its relative standard error in a new cell."""
        row = _row(work, self.names)
        value = float(row @ self.costs)
        if value <= 0:
            return 0.0, float("inf")
        variance = float(row @ self.covariance @ row) / value**2 + self.misfit**2
        return value, float(np.sqrt(max(variance, 0.0)))

    @property
    def reach(self) -> float:
        """How many standard errors an interval is wide to each side."""
        return reach(self.freedom)

    def errors(self) -> Floats:
        """The standard errors of the costs."""
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))


def fit(works: Sequence[Work], times: Floats, variances: Floats) -> Fit | None:
    """The costs, from one row per cell: its median time (ns), and the relative variance of that.

    None where no cost per leaf can be told from the base: with too few sizes, or times of nothing.
    """
    if not len(works) or bool((times <= 0).any()):
        return None
    names = _told_apart(works)
    if names is None:
        return None
    rows = np.array([_row(work, names) for work in works])
    freedom = len(works) - len(names)
    between = 0.0
    costs = np.zeros(len(names))
    for _ in range(ROUNDS):
        weight = 1 / np.sqrt(between + variances + 1e-12)
        scaled = rows * (weight / times)[:, None]
        size = np.sqrt((scaled**2).sum(axis=0))
        costs = optimize.nnls(scaled / size, weight)[0] / size
        residual = (times - rows @ costs) / times
        between = _between(residual, variances, freedom)
    weight = 1 / np.sqrt(between + variances + 1e-12)
    scaled = rows * (weight / times)[:, None]
    held = costs > 0
    covariance = np.zeros((len(names), len(names)))
    if held.any():
        covariance[np.ix_(held, held)] = np.linalg.pinv(scaled[:, held].T @ scaled[:, held])
    misfit = float(np.sqrt(between))
    return Fit(names, costs, covariance, misfit, freedom + PRIOR_CELLS, len(works))


def _between(residual: Floats, variances: Floats, freedom: int) -> float:
    """The variance between cells that leaves residuals as large as they are (Paule and Mandel)."""
    low, high = 0.0, float((residual**2).sum())
    for _ in range(60):
        middle = (low + high) / 2
        excess = float((residual**2 / (middle + variances + 1e-18)).sum()) - max(1, freedom)
        low, high = (middle, high) if excess > 0 else (low, middle)
    return (freedom * high + PRIOR_CELLS * PRIOR**2) / (freedom + PRIOR_CELLS)


def _told_apart(works: Sequence[Work]) -> tuple[str, ...] | None:
    """The costs that so many cells of such work can tell apart."""
    levels = sorted({name for work in works for name, number in work.leaves if number})
    if not levels:
        return None
    names = ("base", *levels)
    sizes = len({(work.leaves, work.tables) for work in works})
    if sizes < len(names) + 1 or not _full(works, names):
        return None
    wider = (*names, "table")
    return wider if sizes >= len(wider) + SPARE and _full(works, wider) else names


def _full(works: Sequence[Work], names: tuple[str, ...]) -> bool:
    rows = np.array([_row(work, names) for work in works])
    size = np.sqrt((rows**2).sum(axis=0))
    if bool((size == 0).any()):
        return False
    return int(np.linalg.matrix_rank(rows / size, tol=SAME)) == len(names)


def _row(work: Work, names: tuple[str, ...]) -> Floats:
    leaves = dict(work.leaves)
    known = {"base": 1.0, "table": work.tables}
    return np.array([known.get(name, leaves.get(name, 0.0)) for name in names])

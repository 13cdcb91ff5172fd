"""How well unmaps are predicted that the prediction does not stand on.

- halves: each run's unmaps of each cell are split at random, the one half predicts the median of
  the other: by its own times (`halves`), and by costs that are fitted to it (`costs`).
- sizes: each number of leaves is predicted by costs fitted to all others (`sizes`).
- runs: each run is predicted by the others (`runs`), where there are three at least.

Of each: how many were tried, how many lay in the 95% interval that was stated beforehand, and how
wide that was. Splits are the same at each call (SEED).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import polars as pl

from traceview.queries.predicted_cell import NARROW
from traceview.queries.prediction_locations import MOST, cells_of, locations
from traceview.queries.size_costs import LEAST, work_of
from traceview.queries.stated_spread import IN_HALF, split, spreads_of
from traceview.queries.unmap_costs import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from traceview.queries.prediction import Prediction
    from traceview.queries.stated_spread import Halves, Spread
    from traceview.queries.unmap_costs import Work

    Floats = NDArray[np.float64]

Tried = tuple[float, float, float, float]  # value, low, high, truth
Kind = Literal["halves", "costs", "sizes", "runs"]
SEED: Final = 20230206
SPLITS: Final = 40
# Of a half alone, whose spread is held against itself as that of the whole is.
INNER_SPLITS: Final = 10
MIN_RUNS: Final = 3


@dataclass(frozen=True, slots=True)
class Trial:
    """One kind of hold-out: `covered` of `tried`; medians over these of width and error.

    `half_width`, `worst_half_width`: of the interval, relative to the prediction; `off`: absolute
    relative error; `narrow`: how many of the intervals are NARROW at most.
    """

    kind: Kind
    tried: int
    covered: int
    half_width: float
    worst_half_width: float
    off: float
    narrow: int

    @property
    def coverage(self) -> float:
        """The share within the interval."""
        return self.covered / self.tried


def hold_out(of: Prediction, splits: int = SPLITS) -> tuple[Trial, ...]:
    """The trials that the traces bear."""
    found = [
        *_halves(of, splits),
        _sizes(of),
        _runs(of),
    ]
    return tuple(one for one in found if one is not None)


def _trial(kind: Kind, tried: Sequence[Tried]) -> Trial | None:
    if not tried:
        return None
    value, low, high, truth = np.array(tried).T
    half = (high - low) / 2 / value
    # Of equal floats that went through a logarithm.
    inside = (low <= truth * (1 + 1e-9)) & (truth * (1 - 1e-9) <= high)
    return Trial(
        kind, len(tried), int(inside.sum()), float(np.median(half)), float(half.max()),
        float(np.median(np.abs(value / truth - 1))), int((half <= NARROW).sum()),
    )  # fmt: skip


def _halves(of: Prediction, splits: int) -> list[Trial | None]:
    """What runs differ by is in both halves, and no part of the error."""
    random = np.random.default_rng(SEED)
    works = {tuple(cell.location.cell.values()): work_of(cell) for cell in of.cells}
    cells: list[tuple[Work | None, list[Floats]]] = []
    for cell, rows in cells_of(of.measured.timed):
        runs = [run["ns"].to_numpy() for _, run in rows.group_by("run", maintain_order=True)]
        enough = [run for run in runs if run.size >= 2 * IN_HALF]
        cells += [(works.get(tuple(cell.values())), enough)] if enough else []
    own: list[Tried] = []
    by_costs: list[Tried] = []
    for _ in range(splits if cells else 0):
        halves = [split(runs, random) for _, runs in cells]
        known = spreads_of([half.one for half in halves], max(of.quantum_ns, 1.0), INNER_SPLITS)
        own += [_by_own(half, spread) for half, spread in zip(halves, known, strict=True)]
        by_costs += _by_costs([work for work, _ in cells], halves, known)
    return [_trial("halves", own), _trial("costs", by_costs)]


def _by_own(half: Halves, spread: Spread) -> Tried:
    error = float(np.sqrt(spread.variance * half.factor([half.one, half.other])))
    return _tried(half.value, spread.reach * error + spread.tick, half.truth)


def _tried(value: float, half: float, truth: float) -> Tried:
    half = min(half, MOST)
    return value, value * float(np.exp(-half)), value * float(np.exp(half)), truth


def _by_costs(
    works: Sequence[Work | None], halves: Sequence[Halves], spreads: Sequence[Spread]
) -> list[Tried]:
    known = [
        (work, half, spread)
        for work, half, spread in zip(works, halves, spreads, strict=True)
        if work is not None
    ]
    times = np.array([half.value for _, half, _ in known])
    variances = np.array([spread.variance * half.factor([half.one]) for _, half, spread in known])
    fitted = fit([work for work, _, _ in known], times, variances)
    found: list[Tried] = []
    if fitted is None:
        return found
    for work, half, spread in known:
        value, error = fitted.at(work)
        if value > 0:
            further = spread.variance * half.factor([half.other])
            wide = max(LEAST, fitted.reach * float(np.sqrt(error**2 + further)))
            found.append(_tried(value, wide, half.truth))
    return found


def _sizes(of: Prediction) -> Trial | None:
    if isinstance(of.fitted, str):
        return None
    held = [(one.value, one.low, one.high, one.measured) for one in of.fitted.left_out]
    return _trial("sizes", held)


def _runs(of: Prediction) -> Trial | None:
    """Each run's medians from those of the others."""
    runs = of.measured.timed["run"].unique(maintain_order=True).to_list()
    if len(runs) < MIN_RUNS:
        return None
    found = []
    for run in runs:
        mine = of.measured.timed.filter(pl.col("run") == run)
        others = of.measured.timed.filter(pl.col("run") != run)
        truths = {
            tuple(c.values()): float(np.median(r["ns"].to_numpy())) for c, r in cells_of(mine)
        }
        for at in locations(others, of.quantum_ns):
            truth = truths.get(tuple(at.cell.values()))
            if truth is not None:
                found.append((at.ns, *at.interval(), truth))
    return _trial("runs", found)

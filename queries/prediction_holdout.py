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

from traceview.queries.moderated_noise import median_factor, moderated, reach, variances_of
from traceview.queries.prediction_locations import MOST, cells_of, locations
from traceview.queries.size_costs import LEAST, work_of
from traceview.queries.unmap_costs import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from traceview.queries.prediction import Prediction
    from traceview.queries.unmap_costs import Work

    Floats = NDArray[np.float64]

Tried = tuple[float, float, float, float]  # value, low, high, truth
Kind = Literal["halves", "costs", "sizes", "runs"]
SEED: Final = 20230206
SPLITS: Final = 40
# A half of fewer is no half.
IN_HALF: Final = 2
MIN_RUNS: Final = 3
# What the project asks of a prediction: so much of them within their interval, none wider.
ENOUGH: Final = 0.9
NARROW: Final = 0.15


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


@dataclass(frozen=True, slots=True)
class _Half:
    """The two halves of one cell, by run."""

    work: Work | None
    one: list[Floats]
    other: list[Floats]

    @property
    def value(self) -> float:
        """The typical time of the first half."""
        return _typical(self.one)

    @property
    def truth(self) -> float:
        """That of the second."""
        return _typical(self.other)

    def factor(self, halves: Sequence[list[Floats]]) -> float:
        """The variance of the typical time of *halves*, of 1 for one value."""
        each = [median_factor(of.size) for half in halves for of in half]
        return sum(each) / len(self.one) ** 2


def _typical(runs: list[Floats]) -> float:
    return float(np.exp(np.mean([np.log(np.median(of)) for of in runs])))


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
        halves = [_split(work, runs, random) for work, runs in cells]
        noise = _noise(halves, of.quantum_ns)
        own += _by_own(halves, noise)
        by_costs += _by_costs(halves, noise)
    return [_trial("halves", own), _trial("costs", by_costs)]


def _split(work: Work | None, runs: list[Floats], random: np.random.Generator) -> _Half:
    mixed = [random.permutation(run) for run in runs]
    return _Half(
        work, [run[: run.size // 2] for run in mixed], [run[run.size // 2 :] for run in mixed]
    )


def _noise(halves: Sequence[_Half], quantum_ns: float) -> list[tuple[float, float, float]]:
    """Per cell: variance of one value within a run, its freedom, and half a step of the clock."""
    ticks = max(quantum_ns, 1.0) / np.array([half.value for half in halves])
    freedom = np.array([sum(run.size - 1.0 for run in half.one) for half in halves])
    variances = np.array(
        [
            sum((run.size - 1) * v for run, v in zip(half.one, variances_of(half.one), strict=True))
            for half in halves
        ]
    ) / np.maximum(freedom, 1.0)
    noise = moderated(variances, freedom, ticks**2 / 12)
    return [
        (variance, free, tick / 2 if variance < tick**2 / 4 else 0.0)
        for variance, free, tick in zip(
            noise.variance.tolist(), noise.freedom.tolist(), ticks.tolist(), strict=True
        )
    ]


def _by_own(halves: Sequence[_Half], noise: Sequence[tuple[float, float, float]]) -> list[Tried]:
    found = []
    for half, (variance, freedom, tick) in zip(halves, noise, strict=True):
        error = float(np.sqrt(variance * half.factor([half.one, half.other])))
        found.append(_tried(half.value, reach(freedom) * error + tick, half.truth))
    return found


def _tried(value: float, half: float, truth: float) -> Tried:
    half = min(half, MOST)
    return value, value * float(np.exp(-half)), value * float(np.exp(half)), truth


def _by_costs(halves: Sequence[_Half], noise: Sequence[tuple[float, float, float]]) -> list[Tried]:
    known = [(half, one) for half, one in zip(halves, noise, strict=True) if half.work is not None]
    works = [half.work for half, _ in known if half.work is not None]
    times = np.array([half.value for half, _ in known])
    variances = np.array([one[0] * half.factor([half.one]) for half, one in known])
    fitted = fit(works, times, variances)
    found: list[Tried] = []
    if fitted is None:
        return found
    for work, (half, one) in zip(works, known, strict=True):
        value, error = fitted.at(work)
        if value > 0:
            further = one[0] * half.factor([half.other])
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

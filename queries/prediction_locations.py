"""The typical time of each cell, and how far that of further unmaps of it may be.

The typical time is the median of a run, and over runs the geometric mean of those. What is
predicted is the same of a further run where there are several runs: the unit of replication is the
run. Within one run it is the median of as many further unmaps of that run, and says nothing of
another boot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from traceview.queries.moderated_noise import (
    Noise,
    median_factor,
    moderated,
    reach,
    variances_of,
)
from traceview.queries.prediction_cells import CELL
from traceview.queries.stated_spread import (
    SPLITS,
    Spread,
    spreads,
    spreads_of,
    typical,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# The share of unmaps whose time is exactly that of their cell where nothing varies but interrupts.
ALIKE: Final = 0.5
# Times of fewer steps of the clock are alike on any host.
STEPS: Final = 100
MOST: Final = 50.0  # on the log scale, of what is still a float


@dataclass(frozen=True, slots=True)
class Location:
    """`ns` of one cell, from `unmaps` of `runs`; relative standard errors and their `freedom`.

    `error`: of `ns` itself; `further`: of what further unmaps of the cell differ from it by;
    `tick`: half a step of the clock, relative, where the noise is too small to average it out.
    `tracing`: as which part of `ns` the time may be taken where what tracing cost is not sure
    (as taken, least, most).
    """

    cell: dict[str, Any]
    ns: float
    unmaps: int
    runs: int
    error: float
    further: float
    freedom: float
    tick: float
    tracing: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def interval(self) -> tuple[float, float]:
        """Between what the typical time of further unmaps lies."""
        half = min(MOST, reach(self.freedom) * self.further + self.tick)
        return self.ns * float(np.exp(-half)), self.ns * float(np.exp(half))


def locations(timed: pl.DataFrame, quantum_ns: float) -> list[Location]:
    """One per cell of *timed* (`run`, CELL, `ns`), in order of cells."""
    cells = cells_of(timed)
    by_run = [
        [of["ns"].to_numpy() for _, of in rows.group_by("run", maintain_order=True)]
        for _, rows in cells
    ]
    several = max((len(groups) for groups in by_run), default=0) > 1
    step = max(quantum_ns, 1.0)
    if not cells:
        return []
    found = _between_runs(by_run, step) if several else spreads_of(by_run, step, SPLITS)
    return [
        _location(cell, groups, spread, several=several)
        for (cell, _), groups, spread in zip(cells, by_run, found, strict=True)
    ]


def cells_of(rows: pl.DataFrame) -> list[tuple[dict[str, Any], pl.DataFrame]]:
    """The cells of *rows* in the order of reports, and the rows of each."""
    ordered = rows.sort(*CELL, nulls_last=True, maintain_order=True)
    parts = ordered.group_by(CELL, maintain_order=True)
    return [(dict(zip(CELL, key, strict=True)), of) for key, of in parts]


def without_spread(timed: pl.DataFrame, quantum_ns: float) -> bool:
    """Whether unmaps of like work took the same time to the clock's step, but for interrupts."""
    step = max(quantum_ns, 1.0)
    middle = pl.col("ns").median().over(CELL)
    alike = ((pl.col("ns") - middle).abs() <= step).mean().over(CELL)
    rows = timed.select(
        alike.alias("alike"), middle.alias("middle"), pl.len().over(CELL).alias("n")
    )
    several = rows.filter((pl.col("n") > 2) & (pl.col("middle") > STEPS * step))
    return bool(len(several)) and bool((several["alike"] >= ALIKE).all())


def _between_runs(by_run: Sequence[list[Floats]], step_ns: float) -> list[Spread]:
    """Of each cell the spread of the medians of runs.

    One slow boot slows all cells: what they share is no more runs, and adds no freedom.
    """
    values = [np.array([np.median(of) for of in groups]) for groups in by_run]
    ticks = step_ns / np.array([float(np.median(of)) for of in values])
    freedom = np.array([of.size - 1.0 for of in values])
    noise = moderated(variances_of(values), freedom, ticks**2 / 12)
    most = max(1.0, float(freedom.max()))
    return spreads(Noise(noise.variance, np.minimum(noise.freedom, most)), ticks, 1.0)


def _location(
    cell: dict[str, Any], groups: list[Floats], spread: Spread, *, several: bool
) -> Location:
    unmaps = sum(of.size for of in groups)
    if several:
        own = spread.variance / len(groups)
        further = own + spread.variance
    else:
        own = spread.variance * median_factor(unmaps)
        further = 2 * own
    return Location(
        cell, typical(groups), unmaps, len(groups), float(np.sqrt(own)), float(np.sqrt(further)),
        spread.freedom, spread.tick,
    )  # fmt: skip

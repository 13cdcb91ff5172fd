"""What the unmaps that are left out could change, however long they took.

A censored or contaminated unmap has no time that could be used, and a long one is likelier to be
one. So the median of a run is bounded: all that were left out could have been shorter than any
that was not, or longer. Those of which the step is known count in its sizes; the others could
belong to every size of their run. Unmaps that were lost wholly are in no bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.queries.matched_unmaps import CELL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.queries.matched_unmaps import Mode


@dataclass(frozen=True, slots=True)
class WorstRatio:
    """`excluded` unmaps of either side could be of this size; the ratio then lies between these.

    `low` is 0 and `high` None where as many are left out as are not.
    """

    base_excluded: int
    with_excluded: int
    low: float
    high: float | None


def excluded_per_cell(lost: pl.DataFrame, kept: pl.DataFrame, mode: Mode) -> pl.DataFrame:
    """How many of *lost* could be of each run and cell of *kept*: `run`, CELL, `excluded`.

    By step, those of the same stem, and those of which the step is not known; by kind, all.
    """
    cells = kept.select("run", *CELL).unique(maintain_order=True)
    anywhere = lost if mode == "kind" else lost.filter(pl.col("stem").is_null())
    of_stem = lost.drop_nulls("stem") if mode == "step" else lost.clear()
    found = cells.join(
        anywhere.group_by("run").agg(pl.len().alias("anywhere")),
        on="run", how="left", maintain_order="left",
    ).join(
        of_stem.group_by("run", "stem").agg(pl.len().alias("of_stem")),
        on=["run", "stem"], how="left", maintain_order="left",
    )  # fmt: skip
    total = pl.col("anywhere").fill_null(0) + pl.col("of_stem").fill_null(0)
    return found.select("run", *CELL, total.cast(pl.Int64).alias("excluded"))


def median_bounds(times: NDArray[np.float64], excluded: int) -> tuple[float, float | None]:
    """The median of *times* and of *excluded* more, if these were all shortest, or all longest.

    0 and None where more are left out than are not: then the median may be one of those.
    """
    ordered = np.sort(times)
    middle = (ordered.size + excluded - 1) / 2
    return _at(ordered, middle - excluded) or 0.0, _at(ordered, middle)


def _at(ordered: NDArray[np.float64], place: float) -> float | None:
    """The value at *place*, halfway between two of them; None outside."""
    first, second = int(np.floor(place)), int(np.ceil(place))
    if first < 0 or second >= ordered.size:
        return None
    return float(ordered[first] + ordered[second]) / 2


def worst_case(
    base: list[tuple[NDArray[np.float64], int]], with_: list[tuple[NDArray[np.float64], int]]
) -> WorstRatio | None:
    """The ratio of geometric means over runs at its worst; each run: times, and how many excluded.

    None where nothing is left out.
    """
    counts = [sum(excluded for _, excluded in side) for side in (base, with_)]
    if not any(counts):
        return None
    ours, theirs = ([median_bounds(*run) for run in side] for side in (base, with_))
    least = _ratio([low for low, _ in ours], [high for _, high in theirs])
    most = _ratio([high for _, high in ours], [low for low, _ in theirs])
    return WorstRatio(counts[0], counts[1], least or 0.0, most)


def _ratio(base: list[float | None] | list[float], with_: list[float | None] | list[float]) -> (
    float | None
):  # fmt: skip
    """The ratio of geometric means; None where one is not known or nothing."""
    ours, theirs = ([time for time in side if time] for side in (base, with_))
    if len(ours) < len(base) or len(theirs) < len(with_):
        return None
    return float(np.exp(np.mean(np.log(ours)) - np.mean(np.log(theirs))))

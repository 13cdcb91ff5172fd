"""A/A: what the runs of one side differ by among themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from traceview.queries.duration_step import duration_step_of
from traceview.queries.matched_unmaps import LeftOut, one_side
from traceview.queries.noise_floor import NoiseFloor, noise_floor
from traceview.queries.run_estimates import cells_of, estimates_of, of_cell, run_medians
from traceview.queries.run_power import minimum_detectable_ratio

if TYPE_CHECKING:
    import polars as pl

    from traceview.queries.analysis import Analysis
    from traceview.queries.run_estimates import Variant


@dataclass(frozen=True, slots=True)
class SameSize:
    """One cell of an A/A comparison: `estimates` of the runs (ns, `variant`), and their noise.

    `detectable`: the least ratio that as many runs on each of two sides find with a power of 0.8.
    """

    cell: dict[str, Any]
    unmaps: int
    variant: Variant
    estimates: tuple[float, ...]
    noise: NoiseFloor | None
    detectable: float | None


@dataclass(frozen=True, slots=True)
class SameSide:
    """What the runs of one side differ by among themselves."""

    side: Analysis
    runs: tuple[str, ...]
    sizes: tuple[SameSize, ...]
    left_out: tuple[LeftOut, ...]
    quantum_ns: float


def same_side(of: Analysis, whole: Analysis | None = None) -> SameSide:
    """A/A: the noise floor of the runs of one side, size by size.

    *whole*: what it was filtered from, where it was.

    Raises QueryError when no unmap is complete and has a duration.
    """
    rows, left_out = one_side(of, whole)
    quantum = duration_step_of(of)
    table = run_medians(rows)
    sizes = [_same_size(cell, table, quantum) for cell in cells_of(table).iter_rows(named=True)]
    return SameSide(
        of, tuple(rows["run"].unique(maintain_order=True)), tuple(sizes), left_out, quantum
    )


def _same_size(cell: dict[str, Any], table: pl.DataFrame, quantum: float) -> SameSize:
    medians = of_cell(table, cell)
    estimates = estimates_of(medians)
    variant: Variant = "raw" if estimates["corrected"] is None else "corrected"
    values = estimates[variant] or []
    positive = len(values) > 0 and min(values) > 0
    least = None
    if positive and len(values) > 1:
        least = minimum_detectable_ratio(values, values, paired=False, quantum=(quantum, quantum))
    return SameSize(
        cell, int(medians["unmaps"].sum()), variant, tuple(values),
        noise_floor(values, quantum=quantum) if positive else None, least,
    )  # fmt: skip

"""What tracing one call costs, from two captures of the same workload that trace unlike numbers.

One capture traces `kvm_pgtable_stage2_unmap` alone, the other also what it calls. A pair of
unmaps that did the same work then differs by the traced calls inside the second. Each stratum (a
step of the workload, or a size) gives one estimate of the cost per call; these vary by more than
their own noise, because calls are not all alike. So they are joined as random effects, with the
between-strata variance of Paule and Mandel (1982), and the interval is that of the prediction for
a further stratum (Higgins, Thompson and Spiegelhalter 2009, J. R. Statist. Soc. A 172): the cost
is applied to unmaps that it was not measured on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# With fewer the spread between strata is not known.
MIN_STRATA: Final = 3
CONFIDENCE: Final = 0.95
FITS: Final = 0.5
FITS_WORST: Final = 2.0
# Of the median of n values that spread like a normal distribution: variance pi/2 s^2/n; s from
# the median absolute deviation.
MEDIAN_FACTOR: Final = 1.4826 * float(np.sqrt(np.pi / 2))
# Durations are whole nanoseconds: what rounding leaves of the variance of a difference of two.
ROUNDING_NS2: Final = 2 / 12
DOUBLINGS, HALVINGS = 80, 80
# What an unmap did, whoever watched; null where it was not traced.
WORK: Final = (
    "leaves", "invalidate_leaf", "invalidate_table", "invalidate_range", "cmo", "table_put",
)  # fmt: skip
# With more strata one of them does not move the variance between all: it is estimated only once.
EXACT: Final = 200


@dataclass(frozen=True, slots=True)
class PerCall:
    """`value` ns per traced call, between `low` and `high` in a further stratum, from `strata`.

    Residuals: each stratum corrected with the cost that the others give, the relative difference
    from what was measured without those calls; their median and the largest.
    """

    value: float
    low: float
    high: float
    strata: int
    median_residual: float
    worst_residual: float

    @property
    def fits(self) -> bool:
        """Whether one cost per call tells what the calls cost; else it is no more than a range."""
        return self.median_residual <= FITS and self.worst_residual <= FITS_WORST


def strata(detailed: pl.DataFrame, plain: pl.DataFrame) -> pl.DataFrame:
    """The strata that two captures have in common; unmaps pair by step and order within it.

    Both have a row per unmap: `step`, `order`, `of` (unmaps in that step, of any status),
    `placed` (matching.py), `status`, `duration_ns`, `traced_calls` and WORK. Left out are steps of
    which the two have unlike numbers of unmaps, unmaps that are not complete in both, and pairs
    that are seen to have done other work: more calls were made there, not traced. One row per stem
    and number of further traced calls: `stem`, `calls`, `pairs`, `detailed_ns`, `plain_ns`
    (medians), `variance` (of their difference).
    """
    keys = ["step", "order", "of"]
    whole = (pl.col("status") == "complete") & pl.col("placed")
    columns = [*keys, "stem", "duration_ns", "traced_calls", *WORK]
    pairs = (
        detailed.filter(whole)
        .select(columns)
        .join(
            plain.filter(whole).select(*keys, "duration_ns", "traced_calls", *WORK),
            on=keys,
            suffix="_plain",
            nulls_equal=True,
            maintain_order="left",
        )
        .drop_nulls(["duration_ns", "duration_ns_plain"])
        .filter(same_work("_plain"))
    )
    calls = (pl.col("traced_calls") - pl.col("traced_calls_plain")).alias("calls")
    return (
        pairs.with_columns(calls)
        .filter(pl.col("calls") > 0)
        .group_by("stem", "calls", maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("pairs"),
            pl.col("duration_ns").median().alias("detailed_ns"),
            pl.col("duration_ns_plain").median().alias("plain_ns"),
            (_noise("duration_ns") + _noise("duration_ns_plain") + ROUNDING_NS2).alias("variance"),
        )
    )


def same_work(suffix: str) -> pl.Expr:
    """Whether two unmaps did the same, as far as both are known; the other's columns end so."""
    return pl.all_horizontal(
        (pl.col(name) == pl.col(f"{name}{suffix}")).fill_null(value=True) for name in WORK
    )


def _noise(column: str) -> pl.Expr:
    """The variance of the median of *column*."""
    values = pl.col(column)
    deviation = (values - values.median()).abs().median() * MEDIAN_FACTOR
    return deviation**2 / pl.len()


def cost_per_call(
    detailed_ns: Floats, plain_ns: Floats, calls: Floats, variance: Floats
) -> PerCall | None:
    """The cost of tracing one call, from one row per stratum; None with fewer than MIN_STRATA.

    *variance*: of the difference of the two durations, within its stratum. A cost is never below
    0; None also where all of its interval is: then the unmaps did not do the same work.
    """
    size = calls.size
    if size < MIN_STRATA:
        return None
    slope, noise = (detailed_ns - plain_ns) / calls, variance / calls**2
    value, error, between = _random_effects(slope, noise)
    half = _t_quantile(size - 2) * float(np.sqrt(between + error**2))
    known = plain_ns > 0
    if value + half <= 0 or not known.any():
        return None
    left = detailed_ns - calls * np.maximum(_by_others(slope, noise, between), 0.0)
    residuals = np.abs(left - plain_ns)[known] / plain_ns[known]
    middle, worst = float(np.median(residuals)), float(residuals.max())
    return PerCall(max(0.0, value), max(0.0, value - half), value + half, size, middle, worst)


def _by_others(values: Floats, variance: Floats, between: float) -> Floats:
    """For each stratum the mean that the others give; *between*: the variance between all."""
    if values.size <= EXACT:
        return np.array(
            [_random_effects(*_without(at, values, variance))[0] for at in range(values.size)]
        )
    weight = 1 / (variance + between)
    weighted = weight * values
    return np.asarray((weighted.sum() - weighted) / (weight.sum() - weight))


def _without(at: int, *arrays: Floats) -> list[Floats]:
    return [np.delete(values, at) for values in arrays]


def _random_effects(values: Floats, variance: Floats) -> tuple[float, float, float]:
    """Mean, its standard error, and the variance between strata (Paule and Mandel)."""

    def excess(between: float) -> float:
        weight = 1 / (variance + between)
        mean = np.average(values, weights=weight)
        return float(np.sum(weight * (values - mean) ** 2) - (values.size - 1))

    between = _root_of_falling(excess, float(np.var(values)))
    weight = 1 / (variance + between)
    mean = float(np.average(values, weights=weight))
    return mean, float(1 / np.sqrt(weight.sum())), between


def _root_of_falling(function: Callable[[float], float], scale: float) -> float:
    """Where the falling *function* of a number >= 0 becomes 0; 0 if it never is above."""
    if function(0.0) <= 0:
        return 0.0
    low, high = 0.0, max(scale, 1e-12)
    for _ in range(DOUBLINGS):
        if function(high) <= 0:
            break
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return (low + high) / 2


def _t_quantile(degrees: int) -> float:
    from scipy import special  # noqa: PLC0415 - only where captures calibrate each other

    return float(special.stdtrit(degrees, (1 + CONFIDENCE) / 2))

"""The cost of tracing, taken out of the component that it is in (docs/observer.md).

A component is made of calls, each of which contains its own part inside, and of traced calls
inside those, each of which it contains wholly. The rest of the walk contains the parts outside of
the components' calls, the calls that belong to no component, and the unmap's own part inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import polars as pl

from traceview.schema import TIMED_COMPONENTS

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

Bound = Literal["", "_low", "_high"]
# What tracing is taken out of; interrupts recorded by tracepoints have no traced calls.
CORRECTED: Final = (*TIMED_COMPONENTS, "rest")


def corrected(analysis: Analysis) -> pl.DataFrame:
    """The unmaps of *analysis* with what is left of each time without tracing, in order.

    Beside `source_id` and schema.UNMAPS: `corrected_ns`, `corrected_low_ns`, `corrected_high_ns`
    of the duration, and the same of each component (`cmo_corrected_ns`, ...) and of the rest;
    Float64, null where the time or the cost is unknown. The estimates of the components, with
    `off_cpu_ns`, sum to `corrected_ns`. Where the cost is only bounded, the estimate is null and
    no bound is below 0; a calibrated one may be, where it does not fit, and is left so.
    """
    costs = analysis.tracing_costs.drop(
        "strata",
        "median_residual",
        "worst_residual",
        "inside_from",
        "own_from",
        "call_from",
        strict=False,
    )
    counts = analysis.traced_calls.drop("traced_calls")
    rows = (
        analysis.unmaps.lazy()
        .join(costs.lazy(), on=["source_id", "evidence"], how="left", maintain_order="left")
        .join(counts.lazy(), on=["source_id", "unmap_id"], how="left", maintain_order="left")
    )
    names: tuple[Bound, ...] = ("", "_low", "_high")
    rows = rows.with_columns(_left(name, which) for name in CORRECTED for which in names)
    rows = rows.with_columns(_whole(which) for which in names)
    return rows.select(
        *analysis.unmaps.columns,
        *(f"corrected{which}_ns" for which in names),
        *(f"{name}_corrected{which}_ns" for name in CORRECTED for which in names),
    ).collect()


def _opposite(which: Bound) -> Bound:
    """The cost that leaves this bound of a time: the most tracing leaves the least."""
    opposites: dict[Bound, Bound] = {"": "", "_low": "_high", "_high": "_low"}
    return opposites[which]


def _left(name: str, which: Bound) -> pl.Expr:
    """What is left of one component."""
    cost = _rest_cost(_opposite(which)) if name == "rest" else _cost(name, _opposite(which))
    left = _at_least_nothing(f"{name}_ns", cost)
    if name == "rest" and which == "_high":  # tracing adds to it: inside is a part of the call
        left = pl.when(left > pl.col("rest_ns")).then("rest_ns").otherwise(left)
    return left.alias(f"{name}_corrected{which}_ns")


def _whole(which: Bound) -> pl.Expr:
    return (pl.col("duration_ns") - pl.col(f"probe{_opposite(which)}_ns")).cast(pl.Float64).alias(
        f"corrected{which}_ns"
    )  # fmt: skip


def _at_least_nothing(time: str, cost: pl.Expr) -> pl.Expr:
    left = pl.col(time) - cost
    return pl.when((pl.col("method") == "bounded") & (left < 0)).then(0.0).otherwise(left)


def _times(count: pl.Expr, cost: pl.Expr) -> pl.Expr:
    """No calls cost nothing, also where the cost of one is unknown."""
    return pl.when(count != 0).then(count * cost).otherwise(0.0)


def _cost(name: str, which: Bound) -> pl.Expr:
    calls, nested = (pl.col(f"{name}_{what}").cast(pl.Int64) for what in ("calls", "nested"))
    return _times(calls, pl.col(f"inside{which}_ns")) + _times(nested, pl.col(f"call{which}_ns"))


def _rest_cost(which: Bound) -> pl.Expr:
    """The own + call * (all - those inside components) - inside * the components' own calls."""
    components, nested = (
        pl.sum_horizontal(pl.col(f"{name}_{what}").cast(pl.Int64) for name in TIMED_COMPONENTS)
        for what in ("calls", "nested")
    )
    whole = _times(pl.col("traced_calls") - nested, pl.col(f"call{which}_ns"))
    # More inside the components' calls is less outside them.
    other = _times(components, pl.col(f"inside{_opposite(which)}_ns"))
    return pl.col(f"own{which}_ns") + whole - other

"""The step in which the durations of a source grow: the tick of the counter behind them.

function_graph states durations in nanoseconds, made of a counter that ticks every 1 to 42 ns
(CNTFRQ_EL0 of 1 GHz down to 24 MHz). A tick of 41.67 ns shows as 41 and 42: no common divisor,
but every duration is within a rounding of a multiple.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.queries.analysis import Analysis

# Longer ones are printed with fewer digits (trace_print_graph_duration, trace_functions_graph.c).
LONGEST_NS: Final = 100_000
KEPT: Final = 4096
# With fewer distinct durations a common step may be chance.
ENOUGH: Final = 20
ROUNDING_NS: Final = 1.0
NS_PER_S: Final = 1e9


class DurationStep:
    """Collects the distinct durations that the format itself states, batch by batch."""

    def __init__(self) -> None:
        """Start with none."""
        self._seen: set[int] = set()

    def add(self, events: pl.DataFrame) -> None:
        """Look at the durations of a batch (schema.EVENTS)."""
        if len(self._seen) < KEPT:
            values = events.select(pl.col("duration_ns").drop_nulls().unique(maintain_order=True))
            short = values.filter(pl.col("duration_ns").is_between(1, LONGEST_NS))
            self._seen.update(short["duration_ns"].head(KEPT).to_list())

    def value_ns(self) -> float | None:
        """The step; None where there is none above a nanosecond, or too little to tell."""
        return step_of(self._seen)


def step_of(durations_ns: Iterable[int]) -> float | None:
    """The largest step of which all *durations_ns* are multiples, to a rounding.

    Found from the least difference, and refined with each longer duration.
    """
    values = sorted(set(durations_ns))
    if len(values) < ENOUGH:
        return None
    step = float(min(after - before for before, after in pairwise(values)))
    if step < 2:
        return None
    product, squares = 0.0, 0.0
    for value in values:
        ticks = round(value / step)
        product, squares = product + value * ticks, squares + ticks * ticks
        step = product / squares if squares else step
    allowed = min(ROUNDING_NS, step / 4)
    fits = all(abs(value - round(value / step) * step) <= allowed for value in values)
    return step if fits else None


def duration_step_of(of: Analysis) -> float:
    """The coarsest step of the durations of a side, 0 where none is known.

    Where the durations themselves do not show it, that of the counter, if its frequency is known.
    """
    kinds = of.unmaps.drop_nulls("evidence").select("source_id", "evidence").unique()
    rows = of.sources.join(kinds, on="source_id", how="inner")
    graph = pl.col("evidence") == "fgraph"
    ticks = pl.when(pl.col("cntfrq_hz") > 0).then("cntfrq_hz")  # a sidecar may state anything
    steps = rows.select(
        pl.when(graph)
        .then(pl.coalesce("duration_step_ns", NS_PER_S / ticks))
        .otherwise(pl.col("ts_resolution_ns").cast(pl.Float64))
    )
    return float(steps.to_series().max() or 0.0)  # type: ignore[arg-type]

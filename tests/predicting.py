"""Captures of unmaps whose costs are known, as predictions are tried on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from simulations.synthetic_unmaps import STEPS, Machine, Step, captures
from traceview.queries.prediction_holdout import Trial, hold_out

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.queries.prediction import Prediction
    from traceview.queries.strategy_counts import Strategy


MACHINE = Machine()
WHICH: tuple[tuple[Strategy, Strategy], ...] = (
    ("per_pte", "deferred_range"), ("deferred_range", "per_pte"),
)  # fmt: skip


def observed(
    strategy: Strategy = "per_pte", seed: int = 1, machine: Machine = MACHINE, **options: Any
) -> Analysis:
    return captures(machine, strategy, np.random.default_rng(seed), **options)


def trials(found: Prediction, splits: int = 10) -> dict[str, Trial]:
    return {one.kind: one for one in hold_out(found, splits)}


def untraceable(whole: Analysis) -> Analysis:
    """The detailed captures alone, with nothing that says what tracing cost them."""
    detailed = pl.col("source_id") % 2 == 1
    traced = replace(
        whole, sources=whole.sources.filter(detailed), unmaps=whole.unmaps.filter(detailed)
    )
    bare = replace(traced, tracing_costs=traced.tracing_costs.with_columns(
        pl.lit(None, dtype=pl.Float64).alias(name) for name in ("own_ns", "inside_ns", "call_ns")
    ))  # fmt: skip
    return replace(bare, unmaps=bare.unmaps.with_columns(pl.lit(None, pl.Int64).alias("probe_ns")))


def step_of(name: str) -> Step:
    return next(step for step in STEPS if step.name == name)

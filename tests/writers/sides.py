"""Sides of a comparison made by hand: runs of a workload whose true times are known."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.writers.analyses import analysis, source, unmap
from traceview.queries.observer import priced
from traceview.schema import TIMED_COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.queries.analysis import Analysis

SIZES = (16, 64, 256, 1024)
REPETITIONS = 3


def side(
    per_leaf_ns: float,
    *,
    label: str = "a",
    runs: int = 6,
    strategy: str = "per_pte",
    cost_ns: int = 300,
    own_ns: int = 200,
    constant_ns: int = 1000,
    factors: Sequence[float] | None = None,
    orders: Sequence[int | None] | None = None,
    alone: bool = True,
    sizes: Sequence[int] = SIZES,
    unmap_columns: dict[str, Any] | None = None,
    **facts: Any,
) -> Analysis:
    """Priced: a capture of the unmap alone (unless not *alone*) and a detailed one per run.

    A per-PTE unmap makes two traced calls per leaf, a deferring one makes one, and one per unmap;
    each adds *cost_ns*, of which *own_ns* lies inside the call. *factors*: what the true times of
    each run are multiplied with.
    """
    calls = 2 if strategy == "per_pte" else 1
    unmaps: list[dict[str, Any]] = []
    counts: list[dict[str, Any]] = []
    sources: list[dict[str, Any]] = []
    for run in range(runs):
        factor = 1.0 if factors is None else factors[run]
        order = run if orders is None else orders[run]
        stated = {"run": f"{label}{run}", "label": label, "order": order, **facts}
        for detailed in (False, True) if alone else (True,):
            number = len(sources)
            sources.append(source(source_id=number, path=f"{label}{run}.{detailed}", **stated))
            for leaves in sizes:
                traced = (calls * leaves + (strategy != "per_pte")) if detailed else 0
                true_ns = factor * (constant_ns + per_leaf_ns * leaves)
                for repetition in range(REPETITIONS):
                    row = _row(true_ns, leaves, traced, (cost_ns, own_ns), strategy)
                    row |= {"step": f"w{leaves}.{repetition}", "source_id": number}
                    unmaps.append(row | (unmap_columns or {}))
                    counts.append(_counts(number, len(counts), leaves, traced, strategy))
    times = [{
        "source_id": number, "evidence": "fgraph", "symbol": "stage2_has_fwb", "nested": 0,
        "operation": "walk", "arguments": 0,
        "calls": 100, "own_ns": float(own_ns),
    } for number in range(len(sources)) if not alone or number % 2]  # fmt: skip
    return priced(analysis(unmaps, sources, own_times=times, traced_calls=counts))


def _row(
    true_ns: float, leaves: int, traced: int, cost: tuple[int, int], strategy: str
) -> dict[str, Any]:
    """An unmap whose invalidations take a third of its time, and its puts a sixth."""
    cost_ns, own_ns = cost
    duration = round(true_ns) + own_ns + traced * cost_ns
    if not traced:
        nothing = dict.fromkeys((
            "invalidate_leaf_ns", "invalidate_table_ns", "invalidate_range_ns", "cmo_ns",
            "table_put_ns",
        ))  # fmt: skip
        unknown = {"strategy": "unknown", "trigger": "unknown"}
        return unmap(duration, None, traced_calls=0, **(nothing | unknown | {"rest_ns": duration}))
    per_pte = strategy == "per_pte"
    invalidate = round(true_ns / 3) + own_ns * (leaves if per_pte else 1)
    put = round(true_ns / 6) + own_ns * leaves
    split = {
        "invalidate_leaf_ns": invalidate if per_pte else 0, "invalidate_table_ns": 0,
        "invalidate_range_ns": 0 if per_pte else invalidate, "cmo_ns": 0, "table_put_ns": put,
        "rest_ns": duration - invalidate - put,
    }  # fmt: skip
    counted = {
        "invalidate_leaf": leaves if per_pte else 0, "invalidate_range": 0 if per_pte else 1,
        "table_put": leaves, "cmo": 0, "invalidate_table": 0,
    }  # fmt: skip
    return unmap(duration, leaves, traced_calls=traced, strategy=strategy, **split, **counted)


def _counts(
    source_id: int, unmap_id: int, leaves: int, traced: int, strategy: str
) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"{name}_{what}": 0 for name in TIMED_COMPONENTS for what in ("calls", "nested")
    }
    if traced:
        name = "invalidate_leaf" if strategy == "per_pte" else "invalidate_range"
        found |= {
            f"{name}_calls": leaves if strategy == "per_pte" else 1,
            "table_put_calls": leaves,
        }
    return {"source_id": source_id, "unmap_id": unmap_id, "traced_calls": traced, **found}


def noisy(runs: int, seed: int, spread: float = 0.03) -> list[float]:
    """What the true times of runs differ by: lognormal."""
    factors = np.exp(np.random.default_rng(seed).normal(0, spread, runs))
    return [float(factor) for factor in factors]


def relabeled(of: Analysis, **facts: Any) -> Analysis:
    """*of* with other facts about all of its sources."""
    import polars as pl  # noqa: PLC0415

    stated = {
        name: pl.lit(value).cast(of.sources.schema[name]).alias(name)
        for name, value in facts.items()
    }
    return replace(of, sources=of.sources.with_columns(**stated))

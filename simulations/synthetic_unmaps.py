"""Captures of unmaps whose costs are known, as tables: what a prediction is tried on.

A run has two captures: one of the unmap alone, and a detailed one of other repetitions of the same
steps. All times of an unmap vary together (log-normal), and some meet an interrupt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from traceview.queries.analysis import KEPT, Analysis
from traceview.queries.observer import priced
from traceview.schema import TABLES, conform, frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator

    from traceview.queries.strategy_counts import Strategy

INTERRUPT_NS: Final = 2500.0
SHORTEST: Final = "clean_dcache_guest_page"


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of unmap: so many leaves, freed tables, and how often it is repeated."""

    name: str
    leaves: int
    tables: int
    repetitions: int = 12


@dataclass(frozen=True, slots=True)
class Machine:
    """Costs in ns: what a host does, and what tracing a call adds inside it and around it.

    `around`: the caller's work, a part of an invalidate call; `shortest`: what the shortest traced
    function takes itself; `spread`: of the logarithm of times; `interrupted`: how many unmaps.
    """

    base: float = 300.0
    leaf: float = 300.0
    table: float = 400.0
    put: float = 40.0
    ipa: float = 1200.0
    range: float = 1500.0
    around: float = 0.02
    inside: float = 60.0
    outside: float = 90.0
    shortest: float = 5.0
    spread: float = 0.04
    between_runs: float = 0.02
    interrupted: float = 0.03

    def calls(self, step: Step, strategy: Strategy) -> dict[str, tuple[int, float]]:
        """Of each component: how many calls, and the time of one."""
        leaves = step.leaves if strategy == "per_pte" else 0
        return {
            "invalidate_leaf": (leaves, self.ipa),
            "invalidate_table": (step.tables, self.ipa),
            "invalidate_range": (int(strategy == "deferred_range"), self.range),
            "cmo": (0, 0.0),
            "table_put": (step.leaves + 2 * step.tables, self.put),
        }

    def time(self, step: Step, strategy: Strategy) -> float:
        """Of an unmap that nobody traces and nothing interrupts."""
        calls = self.calls(step, strategy)
        flushes = calls["invalidate_leaf"][0] + calls["invalidate_table"][0]
        inside = sum(number * each for number, each in calls.values())
        walk = self.base + self.leaf * step.leaves + self.table * step.tables
        return walk + inside + self.around * self.ipa * flushes


STEPS: Final = (
    Step("64k", 16, 2), Step("512k", 128, 2), Step("1m", 256, 2), Step("2m", 512, 2),
    Step("4m", 1024, 3), Step("8m", 2048, 5), Step("sparse", 32, 0),
)  # fmt: skip


def captures(
    machine: Machine, strategy: Strategy, random: Generator, *, runs: int = 1, cpus: int | None = 4,
    steps: Sequence[Step] = STEPS, **facts: Any,
) -> Analysis:  # fmt: skip
    """Two captures of each run; *facts*: columns of schema.SOURCES."""
    sources: list[dict[str, Any]] = []
    unmaps: list[dict[str, Any]] = []
    traced: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    for run in range(runs):
        slow = float(np.exp(random.normal(0.0, machine.between_runs))) if runs > 1 else 1.0
        for detailed in (False, True):
            number = len(sources)
            sources.append(_source(number, run, cpus, facts))
            for step in steps:
                for repetition in range(step.repetitions):
                    row, counted = _unmap(machine, step, strategy, random, detailed=detailed)
                    row["duration_ns"] = row["duration_ns"] * slow
                    row["step"] = f"{step.name}.{repetition + 1}"
                    unmaps.append({"source_id": number, "unmap_id": len(unmaps), **row})
                    traced.append({"source_id": number, "unmap_id": len(unmaps) - 1, **counted})
            own += _own_times(machine, number) if detailed else []
    return _priced(sources, unmaps, traced, own)


def _source(number: int, run: int, cpus: int | None, facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "source_id": number, "path": f"capture-{number}", "format": "trace.dat",
        "label": "synthetic", "run": f"run-{run}", "origin": "synthetic", "cpus": cpus, "fwb": True,
        "tlbirange": True, "lpa2": False, "page_size_bytes": 4096, "kernel": "6.12.0",
        "machine": "aarch64", "loss_known": True, "table_invalidation": "eager", **facts,
    }  # fmt: skip


def _unmap(
    machine: Machine, step: Step, strategy: Strategy, random: Generator, *, detailed: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    vary = float(np.exp(random.normal(0.0, machine.spread)))
    stopped = INTERRUPT_NS if random.random() < machine.interrupted else 0.0
    true = machine.time(step, strategy) * vary + stopped
    row: dict[str, Any] = {
        "cpu": 0, "tid": 7, "start_ns": 0, "trigger": "notifier", "status": "complete",
        "evidence": "fgraph", "traced_calls": 0, "strategy": "unknown",
        "duration_ns": true + machine.inside,
    }  # fmt: skip
    if not detailed:
        return {**row, "rest_ns": row["duration_ns"]}, {"traced_calls": 0}
    calls = machine.calls(step, strategy)
    number = sum(many for many, _ in calls.values())
    parts = {
        f"{name}_ns": many * (each * vary + machine.inside) for name, (many, each) in calls.items()
    }
    duration = true + machine.inside + number * (machine.inside + machine.outside)
    row |= parts | {name: many for name, (many, _) in calls.items()}
    row |= {
        "duration_ns": duration, "rest_ns": duration - sum(parts.values()),
        "traced_calls": number, "strategy": strategy, "leaves": step.leaves,
        "leaves_l1": 0, "leaves_l2": 0, "leaves_l3": step.leaves,
        "length_bytes": max(1, step.leaves) * 4096,
    }  # fmt: skip
    counted = {"traced_calls": number} | {
        f"{name}_calls": many for name, (many, _) in calls.items()
    }
    return row, counted


def _own_times(machine: Machine, number: int) -> list[dict[str, Any]]:
    shared = {"source_id": number, "evidence": "fgraph", "arguments": 0, "calls": 1000}
    walk = machine.outside + machine.leaf / 2
    return [
        {**shared, "symbol": SHORTEST, "operation": "cmo", "nested": 0,
         "own_ns": machine.inside + machine.shortest},
        {**shared, "symbol": "kvm_s2_put_page", "operation": "table_put", "nested": 0,
         "own_ns": machine.inside + machine.put},
        {**shared, "symbol": "kvm_pgtable_stage2_unmap", "operation": "unmap", "nested": 2,
         "own_ns": walk},
    ]  # fmt: skip


def _priced(
    sources: list[dict[str, Any]], unmaps: list[dict[str, Any]], traced: list[dict[str, Any]],
    own: list[dict[str, Any]],
) -> Analysis:  # fmt: skip
    given = {"sources": sources, "unmaps": unmaps, "traced_calls": traced, "own_times": own}
    frames = {name: _rows(name, given.get(name, [])) for name in KEPT}
    return priced(Analysis(**frames, tracing_costs=frame("tracing_costs"), diagnostics=()))


def _rows(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    if not rows:
        return pl.DataFrame(schema={"source_id": pl.Int32(), **TABLES[table]})
    whole = [name for name, dtype in TABLES[table].items() if dtype == pl.Int64()]
    found = pl.DataFrame(rows, infer_schema_length=None)
    floats = [name for name in whole if name in found.columns and found[name].dtype.is_float()]
    found = found.with_columns(pl.col(name).round().cast(pl.Int64) for name in floats)
    return found.select(pl.col("source_id").cast(pl.Int32)).hstack(conform(table, found))

"""A prediction held against captures of what it predicts: the other kernel, or the switch flipped.

Counts are compared unmap by unmap, in the same place of the same workload; times cell by cell. What
the times are off by has two parts: what is around the calls (the walk, the page-table references),
which a prediction takes over from the traces, and the calls themselves. Where the kernels differ,
the walk does too, and no model of one kernel knows that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.errors import QueryError
from traceview.queries.duration_step import duration_step_of
from traceview.queries.prediction import as_one
from traceview.queries.prediction_cells import PLACE, measured
from traceview.queries.prediction_locations import cells_of, locations
from traceview.queries.strategy_counts import STRATEGIES

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.queries.prediction import Cell, Prediction
    from traceview.queries.prediction_cells import Basis, Measured
    from traceview.queries.prediction_locations import Location

COUNTED: Final = (
    "leaves", "invalidate_leaf", "invalidate_table", "invalidate_range", "cmo", "table_put",
)  # fmt: skip
# What may differ between the two, and explains the walk.
FACTS: Final = ("kernel", "machine", "midr", "cpus", "fwb", "tlbirange", "page_size_bytes")
# What a time holds: only those of one kind are compared.
SCALES: Final[dict[Basis, str]] = {
    "alone": "captures of the unmap alone", "corrected": "captures of the unmap alone",
    "traced": "detailed captures with what tracing cost them", "insn": "executed instructions",
}  # fmt: skip
# What a cell is called on both sides; levels and triggers are not known of every capture.
NAMED: Final = ("stem", "leaves", "tables", "length_bytes")


@dataclass(frozen=True, slots=True)
class CheckedCount:
    """Of one count: unmaps of which both sides know it, and how many are `equal`.

    `first`: the first place where they are not: step, predicted, counted.
    """

    name: str
    compared: int
    equal: int
    first: tuple[str, int, int] | None


@dataclass(frozen=True, slots=True)
class CheckedTime:
    """One cell: predicted and measured ns; the walk (all but calls) in the traces, and there."""

    cell: Cell
    measured: Location
    walk_now: float | None
    walk_there: float | None

    @property
    def off(self) -> float:
        """Of the prediction, relative to what was measured."""
        return self.cell.then.value / self.measured.ns - 1

    @property
    def inside(self) -> bool:
        """Whether the interval holds what was measured."""
        return self.cell.then.low <= self.measured.ns <= self.cell.then.high


@dataclass(frozen=True, slots=True)
class Check:
    """`facts`: what differs between the hosts and kernels: name, here, there.

    `unmaps` there have a prediction, `not_matched` have none; `no_times`: why times cannot be
    compared; `stated`: whether any fact is stated of both; `executed`: times are instructions, to
    which nothing was added.
    """

    counts: tuple[CheckedCount, ...]
    times: tuple[CheckedTime, ...]
    facts: tuple[tuple[str, str, str], ...]
    unmaps: int
    not_matched: int
    no_times: str | None
    stated: bool
    executed: bool

    @property
    def counts_hold(self) -> bool:
        """Whether every count that can be compared is as predicted."""
        return all(one.compared == one.equal for one in self.counts)


def check(of: Prediction, truth: Analysis, calibration: Analysis | None = None) -> Check:
    """*of* held against the unmaps of *truth*, which is priced.

    Raises QueryError where some of them are of another strategy, or none is in the place of one
    that is predicted.
    """
    truth = as_one(truth, calibration)
    there = measured(truth, calibration)
    _refuse_strategies(of, there)
    pairs, not_matched = _pairs(of, there)
    why = _unlike_times(of.measured.basis, there.basis)
    times = () if why else tuple(_times(of, there, duration_step_of(truth)))
    if pairs.is_empty() and not times:
        raise QueryError(
            "no unmap of --against stands in the place of one that is predicted: the same workload,"
            " with the same steps, is what a prediction can be held against"
        )
    facts = [
        (name, here, other)
        for name in FACTS
        if (here := _known(of.analysis, name)) and (other := _known(truth, name)) and here != other
    ]
    counted = tuple(one for name in COUNTED if (one := _count(pairs, name)) is not None)
    stated = any(_known(of.analysis, name) and _known(truth, name) for name in FACTS)
    return Check(
        counted, times, tuple(facts), len(pairs), not_matched, why, stated, there.basis == "insn"
    )


def _refuse_strategies(of: Prediction, there: Measured) -> None:
    """Captures of another strategy cannot hold a prediction of this one."""
    seen = there.detailed["strategy"].cast(pl.String)
    other = seen.is_in([name for name in STRATEGIES if name != of.to]).sum()
    if other:
        raise QueryError(
            f"{other} of {len(seen)} unmaps of --against do not invalidate by {of.to}, which is"
            f" predicted\nvalid: captures of {of.to} alone"
        )


def _unlike_times(here: Basis, there: Basis) -> str | None:
    """Why times on these two bases cannot be compared; None where they can."""
    if SCALES[here] == SCALES[there]:
        return None
    return f"the times here are of {SCALES[here]}, there of {SCALES[there]}"


def _pairs(of: Prediction, there: Measured) -> tuple[pl.DataFrame, int]:
    """Each unmap there with what is predicted of its place; how many there have nothing.

    Where runs did unlike work in one place, with each of it.
    """
    mine = of.measured.detailed.filter("placed")
    other = there.detailed.filter("placed")
    if mine.is_empty() or other.is_empty():
        return pl.DataFrame(schema={"step": pl.String}), len(there.detailed)
    predicted = mine.select(*PLACE, *(expr.alias(name) for name, expr in _then(of).items()))
    counted = other.select(*PLACE, *(pl.col(name).alias(f"{name}_there") for name in COUNTED))
    predicted = predicted.unique(maintain_order=True)
    place = list(PLACE)
    found = counted.join(predicted, on=place, nulls_equal=True, how="inner", maintain_order="left")
    alone = counted.join(predicted, on=place, nulls_equal=True, how="anti")
    return found, len(alone) + len(there.detailed) - len(other)


def _then(of: Prediction) -> dict[str, pl.Expr]:
    """The counts of each unmap under the strategy that is predicted (strategy_counts.counts)."""
    same = {"leaves": pl.col("size"), "table_put": pl.col("table_put")}
    none = pl.lit(0, dtype=pl.Int64)
    if of.to == of.strategy:
        return {**{name: pl.col(name) for name in COUNTED}, **same}
    if of.to == "per_pte":
        return same | {
            "invalidate_leaf": pl.col("size"), "invalidate_table": pl.col("freed"),
            "invalidate_range": none, "cmo": pl.col("cmo"),
        }  # fmt: skip
    eager = of.wish.tables == "eager"
    return same | {
        "invalidate_leaf": none, "invalidate_table": pl.col("freed") if eager else none,
        "invalidate_range": none + 1, "cmo": pl.when(pl.col("cmo").is_not_null()).then(none),
    }  # fmt: skip


def _count(pairs: pl.DataFrame, name: str) -> CheckedCount | None:
    if name not in pairs.columns:
        return None
    known = pairs.drop_nulls([name, f"{name}_there"])
    if known.is_empty():
        return None
    unlike = known.filter(pl.col(name) != pl.col(f"{name}_there"))
    first = None
    if len(unlike):
        step, mine, other = unlike.select("step", name, f"{name}_there").row(0)
        first = (str(step or "no step"), int(mine), int(other))
    return CheckedCount(name, len(known), len(known) - len(unlike), first)


def _times(of: Prediction, there: Measured, quantum_ns: float) -> list[CheckedTime]:
    measured_there: dict[tuple[Any, ...], Location] = {}
    if len(there.timed):
        measured_there = {_name(at.cell): at for at in locations(there.timed, quantum_ns)}
    walk_now, walk_there = _walks(of.measured), _walks(there)
    found = []
    for cell in of.cells:
        name = _name(cell.location.cell)
        if name in measured_there:
            at = measured_there[name]
            found.append(CheckedTime(cell, at, walk_now.get(name), walk_there.get(name)))
    return found


def _name(cell: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(cell[name] for name in NAMED)


def _walks(of: Measured) -> dict[tuple[Any, ...], float]:
    """Per cell, the time without invalidate calls and cache maintenance, where it is estimated."""
    if of.detailed.is_empty() or of.basis == "traced" or of.detailed["ns"].null_count():
        return {}
    calls = pl.sum_horizontal(
        (pl.col(name) * pl.col(f"{name}_each")).fill_null(0.0)
        for name in ("invalidate_leaf", "invalidate_table", "invalidate_range", "cmo")
    )
    rows = of.detailed.with_columns((pl.col("ns") - calls).alias("walk"))
    return {
        _name(cell): float(part["walk"].median() or 0.0)  # type: ignore[arg-type]
        for cell, part in cells_of(rows)
    }


def _known(analysis: Analysis | None, fact: str) -> str:
    if analysis is None:
        return ""
    values = analysis.sources[fact].drop_nulls().unique(maintain_order=True)
    return ", ".join(str(value) for value in values if value != "unknown")

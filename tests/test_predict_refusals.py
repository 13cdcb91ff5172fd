"""What is predicted of other numbers of CPUs, and what of nothing: refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from simulations.synthetic_unmaps import Machine, Step, captures
from tests.predicting import MACHINE, observed, step_of
from traceview.errors import QueryError
from traceview.queries.prediction import Wish, predict

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis


# ---- CPUs


def cpu_captures(*numbers: int) -> Analysis:
    parts = [
        captures(Machine(ipa=600 + 50 * n, spread=0.01, interrupted=0), "per_pte",
                 np.random.default_rng(n), cpus=n)
        for n in numbers
    ]  # fmt: skip
    frames = {}
    for name in ("sources", "unmaps", "traced_calls", "own_times", "tracing_costs"):
        shifted = [
            getattr(part, name).with_columns(
                (pl.col("source_id") + 2 * at).cast(pl.Int32),
                *([pl.lit(f"cpus-{numbers[at]}").alias("run")] if name == "sources" else []),
            )
            for at, part in enumerate(parts)
        ]
        frames[name] = pl.concat(shifted)
    return replace(parts[0], **frames)


def test_other_numbers_of_cpus_are_predicted_between_those_measured() -> None:
    found = predict(cpu_captures(2, 4, 16), Wish(cpus=8))
    for cell in found.cells:
        true = Machine(ipa=1000).time(step_of(cell.location.cell["stem"]), "per_pte")
        assert cell.then.low <= true <= cell.then.high
        assert cell.location.cell["cpus"] == 8


@pytest.mark.parametrize(
    ("numbers", "wanted", "why"),
    [((4,), 8, "at least 3 different numbers of CPUs"), ((2, 4), 3, "at least 3"),
     ((2, 4, 16), 64, "lies outside of what was measured")],
)  # fmt: skip
def test_other_numbers_of_cpus_are_refused_where_nothing_shows_them(
    numbers: tuple[int, ...], wanted: int, why: str
) -> None:
    with pytest.raises(QueryError, match=why):
        predict(cpu_captures(*numbers), Wish(cpus=wanted))


def test_traces_of_unlike_numbers_of_cpus_are_refused_together() -> None:
    with pytest.raises(QueryError, match="an invalidation waits for all of them"):
        predict(cpu_captures(2, 4, 16), Wish())


# ---- refusals


@pytest.mark.parametrize("fact", ["fwb", "tlbirange"])
def test_a_host_that_cannot_defer_is_refused_unless_as_if(fact: str) -> None:
    without = observed("per_pte", 1, MACHINE, **{fact: False})
    with pytest.raises(QueryError, match=f"would not defer.*no {fact.upper()}"):
        predict(without, Wish("deferred_range"))
    assert predict(without, Wish("deferred_range", as_if=True)).cells


def test_cache_maintenance_says_that_there_is_no_fwb() -> None:
    whole = observed(fwb=None)
    some = whole.unmaps.with_columns(pl.when(pl.col("cmo").is_not_null()).then(1).alias("cmo"))
    with pytest.raises(QueryError, match="so it has no FWB"):
        predict(replace(whole, unmaps=some), Wish("deferred_range"))


def test_several_kernels_are_refused() -> None:
    whole = observed(runs=2)
    kernels = pl.Series("kernel", ["6.1", "6.1", "6.12", "6.12"])
    two = replace(whole, sources=whole.sources.with_columns(kernels))
    with pytest.raises(QueryError, match="2 kernels"):
        predict(two, Wish("deferred_range"))


def test_both_strategies_are_measured_and_not_predicted() -> None:
    whole = observed()
    half = pl.int_range(pl.len()) % 2 == 0
    kind = whole.unmaps["strategy"].dtype
    mixed = whole.unmaps.with_columns(
        pl.when(half & (pl.col("strategy") == "per_pte"))
        .then(pl.lit("deferred_range", dtype=kind))
        .otherwise("strategy")
        .alias("strategy")
    )
    with pytest.raises(QueryError, match="compare --group strategy"):
        predict(replace(whole, unmaps=mixed), Wish("deferred_range"))


def test_an_unknown_strategy_is_refused_with_what_it_takes() -> None:
    whole = observed()
    kind = whole.unmaps["strategy"].dtype
    blind = whole.unmaps.with_columns(pl.lit("unknown", dtype=kind).alias("strategy"))
    with pytest.raises(QueryError, match="nVHE"):
        predict(replace(whole, unmaps=blind), Wish("deferred_range"))


def test_mostly_contaminated_unmaps_are_refused() -> None:
    whole = observed()
    kind = whole.unmaps["status"].dtype
    most = (pl.int_range(pl.len()) % 4 != 0) & (pl.col("traced_calls") > 0)
    lossy = whole.unmaps.with_columns(
        pl.when(most).then(pl.lit("contaminated", dtype=kind)).otherwise("status").alias("status")
    )
    with pytest.raises(QueryError, match="contaminated by loss"):
        predict(replace(whole, unmaps=lossy), Wish("deferred_range"))


def test_too_few_unmaps_are_refused() -> None:
    few = observed(steps=[Step("a", 4, 1, 3), Step("b", 8, 1, 3)])
    with pytest.raises(QueryError, match="6 unmaps can be used, fewer than the 8"):
        predict(few, Wish("deferred_range"))

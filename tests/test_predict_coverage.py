"""Intervals of predictions hold the truth of synthetic machines (simulations/predictions.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from simulations.predictions import MACHINES, held_out, other_strategy
from traceview.queries.predicted_cell import NARROW
from traceview.queries.stated_spread import ENOUGH

if TYPE_CHECKING:
    from traceview.queries.strategy_counts import Strategy

pytestmark = pytest.mark.simulations
WHICH: tuple[tuple[Strategy, Strategy], ...] = (
    ("per_pte", "deferred_range"), ("deferred_range", "per_pte"),
)  # fmt: skip
BROKEN = "a range call costs four calls"
ONE_RUN = [name for name, (_, runs) in MACHINES.items() if runs == 1 and name != BROKEN]


@pytest.mark.parametrize(("of", "to"), WHICH)
@pytest.mark.parametrize("name", ONE_RUN)
def test_the_other_strategy_is_covered(name: str, of: Strategy, to: Strategy) -> None:
    assert other_strategy(name, of, to, trials=3).share >= ENOUGH


def test_a_machine_that_breaks_an_assumption_is_missed_where_it_matters() -> None:
    found = other_strategy(BROKEN, "per_pte", "deferred_range", trials=3)
    assert found.share < 1


@pytest.mark.parametrize("name", ["one run", "five runs"])
def test_halves_are_covered_by_narrow_intervals(name: str) -> None:
    for kind in ("halves", "costs"):  # of as many trials as the suite has time for
        found = held_out(name, "per_pte", kind, trials=2)
        assert found is not None
        assert found.share >= ENOUGH
        assert found.half_width <= NARROW

"""The tick of the counter behind durations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.writers.analyses import analysis, source, unmap
from traceview.queries.duration_step import duration_step_of, step_of


@given(st.sampled_from([1e9 / 24e6, 1e9 / 25e6, 1e9 / 31.25e6, 1e9 / 62.5e6, 10.0, 1e9 / 19.2e6]),
       st.integers(0, 2**32))  # fmt: skip
def test_a_tick_is_found_also_where_it_is_no_whole_number(tick_ns: float, seed: int) -> None:
    ticks = np.random.default_rng(seed).integers(1, 1000, size=400)
    # ktime is mult and shift: rounded down.
    durations = np.floor(np.unique(ticks) * tick_ns).astype(int).tolist()
    found = step_of(durations)
    assert found is not None
    assert found == pytest.approx(tick_ns, rel=1e-3)


@given(st.integers(0, 2**32))
def test_nanoseconds_that_share_nothing_have_no_step(seed: int) -> None:
    assert step_of(np.random.default_rng(seed).integers(1, 5000, size=400).tolist()) is None


def test_few_durations_tell_nothing() -> None:
    assert step_of(range(40, 4000, 400)) is None


@pytest.mark.parametrize(("cntfrq_hz", "step_ns"), [(25_000_000, 40.0), (0, 0.0), (None, 0.0)])
def test_a_counter_that_does_not_tick_has_no_step(cntfrq_hz: int | None, step_ns: float) -> None:
    assert duration_step_of(analysis([unmap()], [source(cntfrq_hz=cntfrq_hz)])) == step_ns

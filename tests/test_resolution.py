"""The clock's step is read off the times."""

from __future__ import annotations

import pytest

import traceview
from tests.writers.events import Recorder


def resolution_ns(made: Recorder) -> int | None:
    found: int | None = traceview.analyze(made.trace()).sources["ts_resolution_ns"][0]
    return found


@pytest.mark.parametrize(("tick_ns", "found"), [(16, 16), (1000, 1000), (7, 7), (1, None)])
def test_all_times_are_multiples_of_the_step(tick_ns: int, found: int | None) -> None:
    made = Recorder(tick_ns=tick_ns, now_ns=0)
    for _ in range(300):
        made.call("clean_dcache_guest_page")
    assert resolution_ns(made) == found


def test_few_times_show_nothing() -> None:
    made = Recorder(tick_ns=1000)
    made.call("clean_dcache_guest_page")
    assert resolution_ns(made) is None


def test_a_tick_that_is_no_whole_number_of_nanoseconds_shows_nothing() -> None:
    made = Recorder(tick_ns=0)
    for tick in range(600):
        made.write("x", "instant", evidence="tracepoint", ts_ns=round(tick * 1000 / 24))
    assert resolution_ns(made) is None

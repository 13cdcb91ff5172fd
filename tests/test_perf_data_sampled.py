"""Tracepoints of perf.data of which not every hit was recorded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.perf_data_reading import read
from tests.test_perf_data import CLOCK, KPROBE, RETURN, file, tracepoint
from tests.writers import perf_data as w

NOT_STATED = w.USUAL & ~w.PERIOD


@pytest.mark.parametrize(
    ("period", "flags", "sample_type", "rate"),
    [(499, w.FREQ, w.USUAL, "at 499 Hz"), (10, 0, NOT_STATED, "every 10th"),
     (2, 0, NOT_STATED, "every 2nd"), (113, 0, NOT_STATED, "every 113th")],
)  # fmt: skip
def test_tracepoints_that_were_sampled_are_incomplete(
    period: int, flags: int, sample_type: int, rate: str
) -> None:
    how = {"period": period, "flags": flags | w.SAMPLE_ID_ALL}
    probes = [replace(tracepoint(KPROBE, n, **how), sample_type=sample_type) for n in range(9, 19)]
    every_hit = replace(tracepoint(RETURN, 2), sample_type=sample_type)
    found = read(file(*probes, every_hit, formats=(KPROBE, RETURN)))
    said = found.diagnostics["sampled-events"]
    assert (said.severity, said.count) == ("warning", 10)
    assert said.message.count("kvmlab:s2_unmap") == 8
    assert f"s2_unmap and 2 more {rate}; " in said.message
    assert found.facts["loss_known"] is False


@pytest.mark.parametrize(
    "event",
    [tracepoint(KPROBE), tracepoint(KPROBE, period=10), replace(CLOCK, period=499, flags=w.FREQ)],
    ids=["period 1", "each hit states its period", "clock"],
)
def test_where_every_hit_is_recorded_nothing_is_incomplete(event: w.Event) -> None:
    found = read(file(event, formats=(KPROBE,)))
    assert "sampled-events" not in found.diagnostics
    assert found.facts["loss_known"] is True

"""The Python interface has the power of the command line."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import traceview
from traceview.schema import CALLS, EVENTS, UNMAPS

SAMPLES = Path(__file__).parent.parent / "sample_traces"
SAMPLE = SAMPLES / "kprobes-6.1-max.perfetto.xz"


def test_a_trace_has_sources_and_batches_of_events() -> None:
    trace = traceview.open_trace(SAMPLE)
    sources = trace.sources()
    assert sources.select("format", "origin", "clock").rows() == [("perfetto", "emulated", "boot")]
    batches = list(trace.batches())
    assert batches
    assert all(list(batch.events.columns) == list(EVENTS) for batch in batches)


def test_reading_a_trace_twice_gives_the_same() -> None:
    trace = traceview.open_trace(SAMPLE)
    assert traceview.unmaps(trace).equals(traceview.unmaps(trace))


def test_unmaps_and_calls_are_frames_of_the_contract() -> None:
    trace = traceview.open_trace(SAMPLE)
    unmaps, calls = traceview.unmaps(trace), traceview.calls(trace)
    assert unmaps.columns == ["source_id", *UNMAPS]
    assert calls.columns == list(CALLS)
    inside = calls.filter(pl.col("unmap_id").is_not_null())
    assert set(inside["unmap_id"]) == set(unmaps["unmap_id"])


def test_a_whole_trace_fits_in_tables() -> None:
    tables = traceview.open_trace(SAMPLE).tables()
    assert tables.events.height > 10_000
    assert set(tables.args["seq"]) <= set(tables.events["seq"])


def test_every_public_name_can_be_had_and_no_other() -> None:
    for name in traceview.__all__:
        assert getattr(traceview, name) is not None
    assert set(traceview.__all__) <= set(dir(traceview))
    with pytest.raises(AttributeError, match="no_such"):
        traceview.no_such  # noqa: B018

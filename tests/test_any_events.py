"""Whatever events a parser hands over, the queries answer and never contradict themselves."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

import traceview
from tests.writers.events import Recorder
from traceview.schema import COMPONENTS, PHASES, TABLES

SYMBOLS = (
    None, "kvm_pgtable_stage2_unmap", "__kvm_tlb_flush_vmid_ipa", "kvm_tlb_flush_vmid_range",
    "__kvm_tlb_flush_vmid_range", "kvm_s2_put_page", "stage2_unmap_walker", "kvm_unmap_gfn_range",
    "clean_dcache_guest_page", "kvm_pgtable_stage2_destroy", "gic_handle_irq", "f.isra.0",
)  # fmt: skip
NAMES = (
    "irq_handler_entry", "irq_handler_exit", "sched_switch", "hyp_enter", "hyp_exit", "irq", "x",
)  # fmt: skip
MAYBE_SMALL = st.none() | st.integers(0, 3)
EVENT: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(SYMBOLS),
        "phase": st.sampled_from(PHASES),
        "evidence": st.sampled_from(("fgraph", "kprobe", "function", "tracepoint", "insn")),
        "cpu": MAYBE_SMALL,
        "tid": MAYBE_SMALL,
        "ts_ns": st.none() | st.integers(0, 2**62),
        "duration_ns": st.none() | st.integers(0, 2**40),
        "depth": MAYBE_SMALL,
    }
)


@st.composite
def any_recordings(draw: st.DrawFn) -> Recorder:
    """Any events in any order, with any holes."""
    made = Recorder()
    for name, fields in draw(st.lists(st.tuples(st.sampled_from(NAMES), EVENT), max_size=40)):
        made.write(name, **{**fields, "next_pid": 1, "level": 3})
    place = st.integers(0, 40)
    for low, high in draw(st.lists(st.tuples(place, place), max_size=3)):
        made.losses.append({"kind": "lost_events", "from_seq": low, "to_seq": high, "cpu": 0})
    return made


@given(any_recordings(), st.integers(1, 41))
@settings(max_examples=40, deadline=None)
def test_any_sequence_of_events_is_analysed(made: Recorder, size: int) -> None:
    analysis = traceview.analyze(made.trace(size))
    for name in TABLES:
        if hasattr(analysis, name):
            assert getattr(analysis, name).columns == ["source_id", *TABLES[name]]
    whole = analysis.unmaps.filter(
        pl.col("status") == "complete", pl.col("duration_ns").is_not_null()
    )
    sums = whole.select(pl.sum_horizontal(COMPONENTS).alias("sum"))["sum"]
    assert (sums == whole["duration_ns"]).all()
    assert analysis.event_counts["count"].sum() == len(made.events)
    calls = traceview.calls(made.trace(size))
    assert calls["call_id"].is_unique().all()

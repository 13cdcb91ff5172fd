"""Unmaps add up again from their calls: every figure that the calls determine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import traceview
from tests.test_any_events import any_recordings
from tests.writers.events import Recorder
from traceview.queries.analysis import analyze
from traceview.queries.readded import Readding

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.queries.breakdown import Traced
    from traceview.queries.readded import Readded
    from traceview.trace import Trace

UNMAP, FLUSH, CMO = (
    "kvm_pgtable_stage2_unmap", "__kvm_tlb_flush_vmid_ipa", "clean_dcache_guest_page",
)  # fmt: skip


def readded(trace: Trace) -> tuple[Analysis, Readded, str]:
    """What is read of *trace*, and what its unmaps add up to again."""
    heard: dict[str, Any] = {}
    pieces: list[pl.DataFrame] = []

    def hear(_source: int, _batch: object, _chunk: object, tables: Any) -> None:
        heard["traced"], heard["page_bytes"] = tables.traced, tables.page_bytes

    def sink(_source: int, table: str, rows: pl.DataFrame) -> None:
        inside = rows.filter(pl.col("unmap_id").is_not_null()) if table == "calls" else rows.clear()
        pieces.extend([inside] if len(inside) else [])

    found = analyze(trace, sink=sink, hear=hear)
    traced: Traced = heard["traced"]
    readding = Readding(trace.vocabulary, traced, heard["page_bytes"])
    for piece in pieces:
        readding.add(piece)
    again, invalidation = readding.against(found.unmaps, found.traced_calls, found.instructions)
    return found, again, invalidation


@given(any_recordings(), st.integers(1, 41))
@settings(max_examples=20, deadline=None)
def test_unmaps_of_any_sequence_of_events_add_up_again(made: Recorder, size: int) -> None:
    found, again, invalidation = readded(made.trace(size))
    assert again.differences == []
    assert again.unmaps == len(found.unmaps)
    assert invalidation == found.sources["table_invalidation"][0]


STEPS = st.tuples(
    st.sampled_from((UNMAP, FLUSH, CMO, "kvm_s2_put_page", "stage2_unmap_walker")),
    st.sampled_from(("entry", "exit", "exit", "complete")),
    st.sampled_from(("fgraph", "kprobe")),
    st.integers(1, 2),
)


# A flush that lost its exit and an unmap that is open cross: the second flush is inside both.
CROSSING = [(UNMAP, "entry", "kprobe", 1), *(
    (name, "entry", "fgraph", 1) for name in (FLUSH, UNMAP, FLUSH)
)]  # fmt: skip


@given(st.lists(STEPS, max_size=40), st.integers(1, 41))
@example(CROSSING, 1)
@settings(max_examples=20, deadline=None)
def test_calls_of_two_tracers_at_once_add_up_again(
    steps: list[tuple[str, str, str, int]], size: int
) -> None:
    made = Recorder()
    for symbol, phase, evidence, tid in steps:
        stated = {"duration_ns": 5} if phase == "complete" else {}
        made.on(tid=tid).write(symbol, phase, symbol=symbol, evidence=evidence, level=3, **stated)
    found, again, _ = readded(made.trace(size))
    assume(not one_call_lies_in_two_unmaps(made.trace()))
    assert again.differences == []
    assert again.unmaps == len(found.unmaps)


def one_call_lies_in_two_unmaps(trace: Trace) -> bool:
    """Whether calls of an unmap lie in one that is counted with another unmap.

    That takes unmaps of which only the exits are there. What lies in what is then not in the calls
    of either alone, and its operation may be counted twice.
    """
    calls = traceview.calls(trace).select("call_id", "parent_id", "unmap_id")
    both = calls.join(calls, left_on="parent_id", right_on="call_id", suffix="_of_parent")
    return not both.filter(pl.col("unmap_id") != pl.col("unmap_id_of_parent")).is_empty()


def test_of_unmaps_off_the_cpu_components_are_known_within_that_time() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.enter(CMO)
    made.tracepoint("sched_switch", next_pid=200)
    made.on(tid=200).tracepoint("sched_switch", next_pid=100)
    made.on(tid=100).leave(CMO)
    made.leave(UNMAP)
    found, again, _ = readded(made.trace())
    assert (found.unmaps["off_cpu_ns"][0], found.unmaps["cmo_ns"][0]) == (10, 20)
    assert (again.differences, again.off_cpu) == ([], 1)


def test_what_was_changed_is_named_with_both_values() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.call(CMO)
    made.leave(UNMAP)
    trace = made.trace()
    found = analyze(trace)
    longer = found.unmaps.with_columns(pl.col("cmo_ns") + 1)
    pieces: list[pl.DataFrame] = []
    heard: list[Any] = []
    analyze(
        trace, hear=lambda *of: heard.append(of[3].traced),
        sink=lambda _, table, rows: pieces.append(rows) if table == "calls" else None,
    )  # fmt: skip
    readding = Readding(trace.vocabulary, heard[-1], 4096)
    readding.add(pl.concat(pieces))
    again, _ = readding.against(longer, found.traced_calls, found.instructions)
    (only,) = again.differences
    assert (only.where, only.stated, only.found) == ("cmo_ns of unmap 0", 11, 10)

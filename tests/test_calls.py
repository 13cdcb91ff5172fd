"""Entries and exits become calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import traceview
from tests.writers.events import Recorder
from traceview.symbols import Probe, SymbolSources
from traceview.trace import Settings

if TYPE_CHECKING:
    from traceview.trace import Trace

UNMAP, FLUSH = "kvm_pgtable_stage2_unmap", "__kvm_tlb_flush_vmid_ipa"
PUT, WALKER, CMO = "kvm_s2_put_page", "stage2_unmap_walker", "clean_dcache_guest_page"


def rows(trace: Trace, *columns: str) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = traceview.calls(trace).select(columns).rows()
    return found


def test_nested_calls_have_parents_depth_and_own_time() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.call(FLUSH)
    made.call(FLUSH)
    made.leave(UNMAP)
    assert rows(made.trace(), "call_id", "parent_id", "depth", "duration_ns", "self_ns") == [
        (0, None, 0, 50, 30),
        (1, 0, 1, 10, 10),
        (3, 0, 1, 10, 10),
    ]


def test_recursion_pairs_the_innermost_first() -> None:
    made = Recorder()
    for _ in range(3):
        made.enter("__kvm_pgtable_walk")
    for _ in range(3):
        made.leave("__kvm_pgtable_walk")
    assert rows(made.trace(), "depth", "duration_ns") == [(0, 50), (1, 30), (2, 10)]


def test_a_call_follows_its_task_to_another_cpu() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.on(tid=200, cpu=0).enter(FLUSH)
    made.on(tid=100, cpu=1).leave(UNMAP)
    made.on(tid=200, cpu=0).leave(FLUSH)
    assert rows(made.trace(), "tid", "duration_ns", "status") == [
        (100, 20, "complete"),
        (200, 20, "complete"),
    ]


def test_the_idle_task_is_one_task_per_cpu() -> None:
    made = Recorder(tid=0)
    made.on(cpu=0).enter(FLUSH)
    made.on(cpu=1).enter(FLUSH)
    made.on(cpu=0).leave(FLUSH)
    made.on(cpu=1).leave(FLUSH)
    assert rows(made.trace(), "cpu", "duration_ns") == [(0, 20), (1, 20)]


def test_a_missed_return_costs_only_the_call_it_belongs_to() -> None:
    made = Recorder()
    made.call(FLUSH)
    made.enter(UNMAP)
    made.enter(FLUSH)  # its kretprobe was missed
    made.leave(UNMAP)
    assert rows(made.trace(), "symbol", "status", "duration_ns") == [
        (FLUSH, "complete", 10),
        (UNMAP, "complete", 20),
        (FLUSH, "censored", None),
    ]


def test_a_function_that_cannot_recurse_and_is_entered_again_had_returned() -> None:
    made = Recorder()
    made.call(UNMAP)
    made.enter(UNMAP)  # its kretprobe was missed
    made.call(UNMAP)
    assert rows(made.trace(), "status", "duration_ns") == [
        ("complete", 10),
        ("censored", None),
        ("complete", 10),
    ]


def test_calls_cut_by_the_ends_of_the_trace_are_censored() -> None:
    made = Recorder()
    made.leave(UNMAP)
    made.call(FLUSH)
    made.enter(UNMAP)
    assert rows(made.trace(), "symbol", "status", "start_ns", "duration_ns") == [
        (UNMAP, "censored", None, None),
        (FLUSH, "complete", 1020, 10),
        (UNMAP, "censored", 1040, None),
    ]


def test_a_probe_without_return_probe_gives_points() -> None:
    made = Recorder()
    made.enter(UNMAP)
    for _ in range(3):
        made.enter(PUT)
    made.leave(UNMAP)
    found = rows(made.trace(), "symbol", "status", "parent_id")
    assert found == [(UNMAP, "complete", None)] + 3 * [(PUT, "point", 0)]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_return_probe_that_first_fires_in_a_later_batch_still_pairs(size: int) -> None:
    made = Recorder()
    made.enter("kvm_unmap_gfn_range")
    made.call(UNMAP)
    made.leave("kvm_unmap_gfn_range")
    assert rows(made.trace(size), "symbol", "status") == [
        ("kvm_unmap_gfn_range", "complete"),
        (UNMAP, "complete"),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_first_unmap_is_whole_though_it_spans_many_batches(size: int) -> None:
    made = Recorder()
    made.enter(UNMAP)
    for _ in range(20):
        made.call(FLUSH)
        made.enter(PUT)
    made.leave(UNMAP)
    found = traceview.unmaps(made.trace(size))
    assert found.select("table_put", "traced_calls", "status").rows() == [(20, 40, "complete")]


def test_an_unmap_too_long_to_keep_is_censored_and_does_not_vanish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("traceview.queries.calls.CARRY_ROWS", 20)
    made = Recorder()
    made.call(UNMAP)
    made.enter(UNMAP)
    for _ in range(40):
        made.call(FLUSH)
    made.leave(UNMAP)
    analysis = traceview.analyze(made.trace(10))
    whole = analysis.unmaps.filter(pl.col("start_ns").is_not_null())
    assert whole["status"].to_list() == ["complete", "censored"]
    assert "carry-given-up" in {found.code for _, found in analysis.diagnostics}


def test_a_return_without_entry_is_counted_once_however_often_it_is_carried() -> None:
    made = Recorder()
    made.call(UNMAP)
    made.enter(UNMAP)
    made.leave(WALKER)
    for _ in range(10):
        made.call(FLUSH)
    made.leave(UNMAP)
    found = {d.code: d.count for _, d in traceview.analyze(made.trace(3)).diagnostics}
    assert found["exits-without-entry"] == 1


def test_probe_definitions_say_which_probes_return() -> None:
    made = Recorder()
    made.enter(FLUSH)
    made.enter(PUT)
    defined = {
        "f": Probe(FLUSH, "entry", "kprobe"),
        "f_ret": Probe(FLUSH, "exit", "kprobe"),
        "p": Probe(PUT, "entry", "kprobe"),
    }
    stated = Settings(symbols=SymbolSources(defined))
    assert rows(made.trace(settings=stated), "symbol", "status") == [
        (FLUSH, "censored"),
        (PUT, "point"),
    ]


def test_a_return_probe_that_is_defined_and_was_not_recorded_makes_no_call_cut_off() -> None:
    made = Recorder()
    made.enter(UNMAP)
    for _ in range(3):
        made.enter(FLUSH)
    made.leave(UNMAP)
    defined = {"f": Probe(FLUSH, "entry", "kprobe"), "f_ret": Probe(FLUSH, "exit", "kprobe")}
    stated = Settings(symbols=SymbolSources(defined))
    assert rows(made.trace(settings=stated), "symbol", "status") == [
        (UNMAP, "complete"),
        *[(FLUSH, "point")] * 3,
    ]


def test_only_calls_that_overlap_a_hole_of_their_cpu_are_contaminated() -> None:
    made = Recorder()
    made.call(FLUSH)  # 0, 1
    made.enter(UNMAP)  # 2
    made.on(tid=200, cpu=1).enter(UNMAP)  # 3
    made.on(tid=100, cpu=0).leave(UNMAP)  # 4: the hole lies between 2 and 4 on CPU 0
    made.on(tid=200, cpu=1).leave(UNMAP)  # 5
    made.losses.append({"cpu": 0, "kind": "lost_events", "from_seq": 2, "to_seq": 4})
    assert rows(made.trace(), "tid", "symbol", "status") == [
        (100, FLUSH, "complete"),
        (100, UNMAP, "contaminated"),
        (200, UNMAP, "complete"),
    ]


def test_a_function_traced_twice_has_the_graph_s_time_and_the_probe_s_arguments() -> None:
    made = Recorder()
    for ipa in (0x1000, 0x2000):
        made.enter(FLUSH, ipa=ipa, level=3)
        made.enter(FLUSH, evidence="fgraph", depth=0)
        made.leave(FLUSH, evidence="fgraph", depth=0, duration_ns=7)
        made.leave(FLUSH)
    found = rows(made.trace(), "evidence", "duration_ns", "ipa", "level")
    assert found == [("fgraph", 7, 0x1000, 3), ("fgraph", 7, 0x2000, 3)]


def test_compiler_suffixes_do_not_keep_an_entry_from_its_exit() -> None:
    made = Recorder()
    made.enter("__unmap_stage2_range.isra.0")
    made.leave("__unmap_stage2_range")
    assert rows(made.trace(), "status") == [("complete",)]


def test_interrupt_tracepoints_are_calls() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.tracepoint("irq_handler_entry")
    made.tracepoint("irq_handler_exit")
    made.leave(UNMAP)
    assert rows(made.trace(), "operation", "duration_ns") == [("unmap", 30), ("irq", 10)]


FUNCTIONS = (UNMAP, FLUSH, PUT, WALKER, CMO, "__kvm_pgtable_walk", "unknown_function")


@st.composite
def workloads(draw: st.DrawFn) -> Recorder:
    """Tasks that call functions, each properly nested, in any interleaving over two CPUs."""
    made = Recorder()
    for name in FUNCTIONS:  # from here on every function is known to have a return probe
        made.call(name)
    stacks: dict[int, list[str]] = {100: [], 200: [], 300: []}
    for _ in range(draw(st.integers(1, 60))):
        tid = draw(st.sampled_from(sorted(stacks)))
        made.on(tid=tid, cpu=0 if tid < 300 else 1)
        stack = stacks[tid]
        # What a kernel never does: the operations do not nest in themselves.
        free = [name for name in FUNCTIONS if name not in stack or name == "__kvm_pgtable_walk"]
        if stack and draw(st.sampled_from((True, False))):
            made.leave(stack.pop())
        elif free:
            stack.append(draw(st.sampled_from(free)))
            made.enter(stack[-1])
    for tid, stack in stacks.items():
        made.on(tid=tid, cpu=0 if tid < 300 else 1)
        while stack:
            made.leave(stack.pop())
    return made


@given(workloads(), st.integers(1, 70))
@settings(max_examples=6, deadline=None)
def test_the_batch_size_changes_nothing(made: Recorder, size: int) -> None:
    whole, parts = traceview.calls(made.trace()), traceview.calls(made.trace(size))
    assert_frame_equal(whole, parts)
    assert whole["status"].unique().to_list() == ["complete"]


@given(workloads(), st.data())
@settings(max_examples=10, deadline=None)
def test_with_events_lost_no_complete_call_is_wrong_and_none_vanishes(
    made: Recorder, data: st.DataObject
) -> None:
    true = {(r[0], r[1]): r[2] for r in rows(made.trace(), "call_id", "symbol", "duration_ns")}
    mine = [e["seq"] for e in made.events if e["cpu"] == 0]
    low = data.draw(st.integers(0, len(mine) - 2))
    high = data.draw(st.integers(low + 1, len(mine) - 1))
    lost = set(mine[low + 1 : high])
    made.events = [e for e in made.events if e["seq"] not in lost]
    made.losses = [{"cpu": 0, "kind": "lost_events", "from_seq": mine[low], "to_seq": mine[high]}]
    began = sum(e["phase"] == "entry" for e in made.events)
    found = traceview.calls(made.trace(data.draw(st.integers(1, 70))))
    for call, symbol, duration, status in found.select(
        "call_id", "symbol", "duration_ns", "status"
    ).rows():
        if status == "complete":
            assert true[call, symbol] == duration
    assert found.filter(pl.col("start_ns").is_not_null()).height == began


@pytest.mark.parametrize("batch_events", [None, 1, 2, 3])
def test_an_unmap_that_was_entered_again_has_ended_whatever_returns_later(
    batch_events: int | None,
) -> None:
    """Its return was missed: neither a return behind the second entry nor its caller's is its."""
    made = Recorder(evidence="fgraph")
    made.enter("__kvm_pgtable_walk")
    made.enter(UNMAP)
    made.enter(UNMAP)
    made.leave(UNMAP)
    made.leave(UNMAP)
    made.enter(UNMAP)
    made.enter(UNMAP)
    made.leave("__kvm_pgtable_walk")
    found = traceview.unmaps(made.trace(batch_events))
    assert found["status"].to_list() == ["censored", "complete", "censored", "censored", "censored"]

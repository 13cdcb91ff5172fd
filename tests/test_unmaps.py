"""What happened inside an unmap: strategy, leaves, counts, and time that sums exactly."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import traceview
from tests.writers.events import Recorder
from traceview.errors import SettingError
from traceview.schema import COMPONENTS
from traceview.trace import Settings

UNMAP, FLUSH = "kvm_pgtable_stage2_unmap", "__kvm_tlb_flush_vmid_ipa"
OUTER, RANGE = "kvm_tlb_flush_vmid_range", "__kvm_tlb_flush_vmid_range"
PUT, WALKER, CMO = "kvm_s2_put_page", "stage2_unmap_walker", "clean_dcache_guest_page"
NOTIFIER, MEMSLOT = "kvm_mmu_notifier_invalidate_range_start", "kvm_arch_flush_shadow_memslot"
TABLE_6_1, TABLE_6_12 = 0, 2147483647
BLOCK, PAGE = 2 << 20, 4096


def one(made: Recorder, settings: Settings | None = None) -> dict[str, Any]:
    found = traceview.unmaps(made.trace(settings=settings))
    assert found.height == 1
    row: dict[str, Any] = found.row(0, named=True)
    return row


def per_pte(
    made: Recorder, pages: int, *, tables: int = 0, table_level: int = TABLE_6_12, put: bool = True
) -> None:
    """An unmap as a kernel without range invalidation does it, with cache maintenance."""
    made.enter(UNMAP, addr=0, size=pages * PAGE)
    for page in range(pages):
        made.call(FLUSH, ipa=page * PAGE, level=3)
        if put:
            made.call(PUT)
        made.call(CMO, size=PAGE)
    for _ in range(tables):
        made.call(FLUSH, ipa=0, level=table_level)
        if put:
            made.call(PUT)
            made.call(PUT)
    made.leave(UNMAP)


def test_a_per_pte_unmap_has_a_flush_and_a_cmo_per_leaf_and_a_flush_per_table() -> None:
    made = Recorder()
    per_pte(made, 5, tables=2)
    row = one(made)
    assert (row["strategy"], row["leaves"], row["leaves_evidence"]) == ("per_pte", 5, "cmo")
    assert (row["invalidate_leaf"], row["invalidate_table"], row["cmo"]) == (5, 2, 5)
    assert (row["leaves_l1"], row["leaves_l2"], row["leaves_l3"]) == (0, 0, 5)
    assert (row["table_put"], row["traced_calls"]) == (9, 5 * 3 + 2 * 3)
    assert row["invalidate_range_ns"] == 0
    assert row["invalidate_ipa_ns"] is None


@pytest.mark.parametrize("table_level", [TABLE_6_1, TABLE_6_12])
def test_without_references_the_level_tells_a_table_from_a_leaf(table_level: int) -> None:
    made = Recorder()
    per_pte(made, 3, tables=1, table_level=table_level, put=False)
    row = one(made)
    assert (row["invalidate_leaf"], row["invalidate_table"]) == (3, 1)


def test_a_flush_at_a_table_s_own_level_is_told_from_a_block_by_what_lies_below_it() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.call(FLUSH, ipa=0x1000, level=3)
    made.call(FLUSH, ipa=0x0, level=2)  # the table that held that page
    made.call(FLUSH, ipa=4 * BLOCK, level=2)  # a block
    made.leave(UNMAP)
    row = one(made)
    assert (row["invalidate_leaf"], row["invalidate_table"]) == (2, 1)
    assert (row["leaves_l2"], row["leaves_l3"]) == (1, 1)


def test_without_arguments_two_references_make_a_table() -> None:
    made = Recorder()
    made.enter(UNMAP)
    for puts in (1, 1, 2):
        made.call(FLUSH)
        for _ in range(puts):
            made.call(PUT)
    made.leave(UNMAP)
    row = one(made)
    assert (row["leaves"], row["leaves_evidence"]) == (2, "put")
    assert (row["invalidate_leaf"], row["invalidate_table"]) == (2, 1)
    assert row["leaves_l3"] is None


def test_without_arguments_and_references_leaf_and_table_are_not_separable() -> None:
    made = Recorder()
    made.enter(UNMAP)
    for _ in range(3):
        made.call(FLUSH)
    made.leave(UNMAP)
    row = one(made)
    assert (row["leaves"], row["leaves_evidence"]) == (None, "none")
    assert (row["invalidate_leaf"], row["invalidate_table"], row["invalidate_ipa"]) == (
        None,
        None,
        3,
    )
    assert (row["invalidate_leaf_ns"], row["invalidate_ipa_ns"]) == (None, 30)
    assert row["strategy"] == "unknown"  # a deferring kernel flushes tables with it as well


def deferred(made: Recorder, pages: int, tables: int) -> None:
    made.enter(UNMAP)
    for _ in range(pages):
        made.enter(WALKER)
        made.call(PUT)
        made.leave(WALKER)
    for _ in range(tables):
        made.enter(WALKER)
        made.call(FLUSH, level=TABLE_6_12)
        made.call(PUT)
        made.call(PUT)
        made.leave(WALKER)
    made.enter(WALKER)  # a hole
    made.leave(WALKER)
    made.enter(OUTER)
    made.call(RANGE)
    made.leave(OUTER)
    made.leave(UNMAP)


def test_a_deferred_unmap_has_one_range_flush_and_eager_tables() -> None:
    made = Recorder()
    deferred(made, 4, 2)
    analysis = traceview.analyze(made.trace())
    row = analysis.unmaps.row(0, named=True)
    assert (row["strategy"], row["leaves"], row["leaves_evidence"]) == ("deferred_range", 4, "put")
    assert (row["pte_visits"], row["invalidate_range"]) == (7, 1)
    assert (row["invalidate_leaf"], row["invalidate_table"]) == (0, 2)
    assert (row["invalidate_leaf_ns"], row["invalidate_range_ns"]) == (0, 30)
    assert analysis.sources["table_invalidation"].to_list() == ["eager"]


def test_tables_freed_without_a_flush_of_their_own_are_deferred() -> None:
    made = Recorder()
    made.call(FLUSH)  # the function is traced
    made.enter(UNMAP)
    made.enter(WALKER)
    made.call(PUT)
    made.call(PUT)
    made.leave(WALKER)
    made.call(RANGE)
    made.leave(UNMAP)
    assert traceview.analyze(made.trace()).sources["table_invalidation"].to_list() == ["deferred"]


def test_a_deferred_unmap_without_walker_and_references_has_no_number_of_leaves() -> None:
    made = Recorder()
    made.enter(UNMAP, addr=0, size=512 * PAGE)
    made.call(FLUSH, level=TABLE_6_12)
    made.call(RANGE)
    made.leave(UNMAP)
    row = one(made)
    assert (row["leaves"], row["leaves_evidence"]) == (None, "none")
    assert row["length_bytes"] == 512 * PAGE


def test_nothing_mapped_is_strategy_none_on_a_per_pte_kernel() -> None:
    made = Recorder()
    per_pte(made, 1)
    made.call(UNMAP)
    found = traceview.unmaps(made.trace())
    assert found["strategy"].to_list() == ["per_pte", "none"]
    assert found["leaves"].to_list() == [1, 0]


def test_strategy_is_unknown_when_the_flush_functions_were_not_traced() -> None:
    made = Recorder()
    made.call(UNMAP)
    row = one(made)
    assert row["strategy"] == "unknown"
    assert [row[name] for name in COMPONENTS if row[name] is not None] == [10]
    assert row["separated"] == ["rest_ns"]
    assert row["leaves"] is None


def test_a_sidecar_that_lists_the_flush_functions_makes_their_absence_a_fact() -> None:
    made = Recorder()
    made.call(UNMAP)
    row = one(made, Settings(traced=frozenset({UNMAP, FLUSH, RANGE, CMO, PUT})))
    assert (row["strategy"], row["leaves"], row["invalidate_leaf_ns"]) == ("none", 0, 0)
    assert (row["cmo_ns"], row["table_put_ns"], row["irq_ns"]) == (0, 0, None)


def test_cleared_leaves_without_a_flush_are_hidden_flushes_whatever_the_sidecar_lists() -> None:
    """As on an nVHE host, where flushes run in the hypervisor."""
    made = Recorder()
    made.enter(UNMAP, addr=0, size=PAGE)
    made.call(PUT)
    made.leave(UNMAP)
    row = one(made, Settings(traced=frozenset({UNMAP, FLUSH, RANGE})))
    assert row["strategy"] == "unknown"


def test_what_runs_outside_the_unmap_or_on_another_task_does_not_count() -> None:
    made = Recorder()
    made.call(CMO)  # the fault path
    made.call(FLUSH, ipa=0, level=2)  # break before make
    made.enter(UNMAP)
    made.on(tid=200, cpu=1).call(CMO)
    made.on(tid=100, cpu=0).leave(UNMAP)
    analysis = traceview.analyze(made.trace())
    assert analysis.unmaps.select("cmo", "invalidate_leaf").rows() == [(0, 0)]
    assert analysis.flushes.select("symbol", "level").rows() == [(FLUSH, 2)]


def test_what_an_unmap_did_before_the_trace_began_is_not_taken_for_a_flush_outside() -> None:
    made = Recorder()
    made.call(FLUSH, ipa=0, level=3)
    made.leave(UNMAP)
    made.call(FLUSH, ipa=0, level=2)
    analysis = traceview.analyze(made.trace())
    assert analysis.unmaps["status"].to_list() == ["censored"]
    assert analysis.flushes["level"].to_list() == [2]


def test_traced_calls_of_an_interrupt_leave_with_it_what_it_interrupts() -> None:
    made = Recorder(evidence="fgraph")
    made.enter(UNMAP)
    made.enter(CMO)
    made.call("other")
    made.enter("gic_handle_irq")
    made.call("ktime_get")
    made.call("ktime_get")
    made.leave("gic_handle_irq")
    made.leave(CMO)
    made.enter("gic_handle_irq")
    made.call("ktime_get")
    made.leave("gic_handle_irq")
    made.leave(UNMAP)
    (counts,) = traceview.analyze(made.trace()).traced_calls.to_dicts()
    assert (counts["cmo_calls"], counts["cmo_nested"]) == (1, 1)
    assert (counts["irq_calls"], counts["irq_nested"]) == (2, 3)
    assert counts["traced_calls"] == 7


def test_an_interrupt_is_cut_out_of_what_it_interrupts() -> None:
    made = Recorder()
    made.enter(UNMAP)  # 1010
    made.enter(CMO)  # 1020
    made.tracepoint("irq_handler_entry")  # 1030
    made.tracepoint("irq_handler_exit")  # 1040
    made.leave(CMO)  # 1050
    made.tracepoint("irq_handler_entry")
    made.tracepoint("softirq_entry")
    made.tracepoint("softirq_exit")
    made.tracepoint("irq_handler_exit")
    made.leave(UNMAP)  # 1100
    row = one(made)
    assert (row["cmo_ns"], row["irq_ns"], row["irq"]) == (20, 40, 2)
    assert (row["rest_ns"], row["duration_ns"]) == (30, 90)


def test_time_off_the_cpu_is_cut_out_of_what_it_interrupts() -> None:
    made = Recorder()
    made.enter(UNMAP)  # 1010
    made.enter(CMO)
    made.tracepoint("sched_switch", next_pid=200)  # 1030
    made.on(tid=200).tracepoint("sched_switch", next_pid=100)  # 1040
    made.on(tid=100).leave(CMO)
    made.leave(UNMAP)
    row = one(made)
    assert (row["cmo_ns"], row["off_cpu_ns"], row["rest_ns"]) == (20, 10, 20)


def test_a_component_traced_by_entries_only_is_counted_and_not_timed() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.enter(CMO, size=PAGE)
    made.enter(CMO, size=PAGE)
    made.leave(UNMAP)
    row = one(made)
    assert (row["cmo"], row["cmo_ns"], row["rest_ns"]) == (2, None, 30)


def test_an_unmap_with_a_cut_off_call_inside_is_contaminated() -> None:
    made = Recorder()
    per_pte(made, 1)
    made.enter(UNMAP)
    made.enter(FLUSH)  # its return was missed: its time would sit in rest
    made.leave(UNMAP)
    found = traceview.unmaps(made.trace())
    assert found["status"].to_list() == ["complete", "contaminated"]
    assert found["leaves"].to_list() == [1, None]


@pytest.mark.parametrize(
    ("symbols", "kind"),
    [
        ((NOTIFIER, "kvm_unmap_gfn_range"), "notifier"),
        ((MEMSLOT,), "memslot"),
        (("stage2_unmap_vm",), "vcpu_init"),
        ((NOTIFIER, "kvm_unmap_gfn_range", "kvm_nested_s2_unmap"), "nested"),
        (("kvm_gmem_invalidate_begin", "kvm_unmap_gfn_range"), "guest_memfd"),
        (("somebody",), "unknown"),
    ],
)
def test_the_trigger_is_who_asked(symbols: tuple[str, ...], kind: str) -> None:
    made = Recorder()
    for symbol in symbols:
        made.enter(symbol)
    made.call(UNMAP)
    for symbol in reversed(symbols):
        made.leave(symbol)
    assert one(made)["trigger"] == kind


def test_a_request_counts_its_unmaps_and_the_time_between_them() -> None:
    made = Recorder()
    made.enter(NOTIFIER)  # 1010
    made.call(UNMAP)
    made.call(UNMAP)
    made.leave(NOTIFIER)  # 1060
    made.call(NOTIFIER)
    found = traceview.analyze(made.trace()).triggers
    assert found.select("kind", "unmaps", "unmaps_ns", "between_ns").rows() == [
        ("notifier", 2, 20, 30),
        ("notifier", 0, 0, 10),
    ]


def test_vm_destruction_is_no_unmap() -> None:
    made = Recorder()
    made.enter("kvm_pgtable_stage2_destroy")
    made.call("stage2_free_walker")
    made.leave("kvm_pgtable_stage2_destroy")
    analysis = traceview.analyze(made.trace())
    assert analysis.unmaps.is_empty()
    assert analysis.destroys["duration_ns"].to_list() == [30]


def test_dirty_logging_is_a_flush_and_no_unmap() -> None:
    made = Recorder()
    made.enter(OUTER)
    made.call(RANGE, start=0, pages=512)
    made.leave(OUTER)
    analysis = traceview.analyze(made.trace())
    assert analysis.unmaps.is_empty()
    assert analysis.flushes["symbol"].to_list() == [OUTER]


def test_an_entry_only_trace_has_points_without_anything_inside() -> None:
    made = Recorder(evidence="function")
    made.enter(UNMAP)
    made.enter(FLUSH)
    row = one(made)
    assert (row["status"], row["strategy"], row["duration_ns"]) == ("point", "unknown", None)
    assert (row["cmo"], row["invalidate_ipa"], row["leaves"]) == (None, None, None)


@pytest.mark.parametrize(("pages", "leaves"), [(5, None), (6, None), (10, 10)])
def test_cache_maintenance_that_the_references_contradict_counts_no_leaves(
    pages: int, leaves: int | None
) -> None:
    """No flush is visible (nVHE): 6 pages and 10 references are 2 tables, or 4 pages of devices."""
    made = Recorder()
    made.enter(UNMAP)
    for at in range(10):
        made.call(PUT)
        if at < pages:
            made.call(CMO)
    made.leave(UNMAP)
    assert traceview.unmaps(made.trace())["leaves"].to_list() == [leaves]


def test_cache_maintenance_and_references_of_tables_that_are_known_count_leaves() -> None:
    made = Recorder()
    made.enter(UNMAP)
    for _ in range(6):
        for name in (FLUSH, PUT, CMO):
            made.call(name)
    for name in (FLUSH, PUT, PUT):
        made.call(name)
    made.leave(UNMAP)
    found = traceview.unmaps(made.trace()).row(0, named=True)
    assert (found["leaves"], found["leaves_evidence"]) == (6, "cmo")


def test_a_leaf_that_is_not_cacheable_is_counted_by_its_reference() -> None:
    made = Recorder()
    made.enter(UNMAP)
    for cacheable in (True, False):
        made.call(FLUSH, ipa=0, level=3)
        made.call(PUT)
        if cacheable:
            made.call(CMO, size=PAGE)
    made.leave(UNMAP)
    row = one(made)
    assert (row["leaves"], row["leaves_evidence"], row["cmo"]) == (2, "put", 1)


def test_contradicting_evidence_is_said() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.call(FLUSH, ipa=0, level=3)  # a leaf's level
    made.call(PUT)
    made.call(PUT)  # a table's references
    made.leave(UNMAP)
    codes = [found.code for _, found in traceview.analyze(made.trace()).diagnostics]
    assert "contradicting-evidence" in codes


def test_the_mmu_is_that_of_the_flushes_inside() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.call(FLUSH, mmu=0xFFFF000000001000 - (1 << 64), ipa=0, level=3)
    made.leave(UNMAP)
    assert one(made)["mmu"] == 0xFFFF000000001000


CALLS = st.sampled_from([FLUSH, PUT, CMO, WALKER, RANGE, "irq", "__kvm_pgtable_walk", "other"])


@given(st.lists(st.lists(st.tuples(CALLS, st.booleans()), max_size=25), min_size=1, max_size=5),
       st.integers(1, 40))  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_the_components_always_sum_to_the_duration(
    unmaps: list[list[tuple[str, bool]]], size: int
) -> None:
    made = Recorder(tick_ns=7)
    for steps in unmaps:
        made.enter(UNMAP)
        stack: list[str] = []
        for name, enters in steps:
            if enters and name not in stack:
                stack.append(name)
                edge(made, name, enters=True)
            elif stack:
                edge(made, stack.pop(), enters=False)
        while stack:
            edge(made, stack.pop(), enters=False)
        made.leave(UNMAP)
    found = traceview.unmaps(made.trace(size))
    assert found["status"].unique().to_list() == ["complete"]
    sums = found.select(pl.sum_horizontal(COMPONENTS).alias("sum"))["sum"]
    assert (sums == found["duration_ns"]).all()
    assert (found.select(pl.min_horizontal(COMPONENTS).alias("least"))["least"] >= 0).all()


def edge(made: Recorder, name: str, *, enters: bool) -> None:
    if name == "irq":
        made.tracepoint(f"irq_handler_{'entry' if enters else 'exit'}")
    elif enters:
        made.enter(name)
    else:
        made.leave(name)


def test_an_unmap_that_lost_its_exit_does_not_swallow_the_next() -> None:
    made = Recorder()
    made.call(UNMAP)
    made.enter(UNMAP)  # its return was missed
    made.call(UNMAP)
    assert traceview.unmaps(made.trace())["status"].to_list() == [
        "complete",
        "censored",
        "complete",
    ]


def test_a_request_that_lost_its_exit_does_not_take_the_next_one_s_unmap() -> None:
    made = Recorder()
    made.call(NOTIFIER)
    made.enter(NOTIFIER)  # its return was missed
    made.enter(NOTIFIER)
    made.call(UNMAP)
    made.leave(NOTIFIER)
    found = traceview.analyze(made.trace())
    assert found.triggers["unmaps"].to_list() == [0, None, 1]
    assert found.unmaps["trigger"].to_list() == ["notifier"]


def test_behind_a_hole_nobody_knows_whose_request_it_is() -> None:
    made = Recorder()
    made.enter(NOTIFIER)  # 0: its exit and the memslot's entry are lost
    made.call(UNMAP)  # 1, 2
    made.leave(MEMSLOT)
    made.call(NOTIFIER)
    made.call(MEMSLOT)
    made.losses.append({"cpu": 0, "kind": "lost_events", "from_seq": 0, "to_seq": 1})
    assert traceview.unmaps(made.trace())["trigger"].to_list() == ["unknown"]


@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_trace_that_ends_inside_an_unmap_without_a_trigger_is_read(size: int) -> None:
    made = Recorder()
    made.enter(NOTIFIER)
    made.call(UNMAP)
    made.leave(NOTIFIER)
    made.enter(UNMAP)
    assert traceview.unmaps(made.trace(size))["status"].to_list() == ["complete", "censored"]


def test_what_a_request_caused_is_unknown_when_unmaps_were_not_traced() -> None:
    made = Recorder()
    made.call(NOTIFIER)
    assert traceview.analyze(made.trace()).triggers["unmaps"].to_list() == [None]


def test_one_unmap_with_unclear_flushes_spoils_no_other() -> None:
    made = Recorder()
    per_pte(made, 2, tables=1)
    made.enter(UNMAP)
    made.call(FLUSH)
    made.leave(UNMAP)
    found = traceview.unmaps(made.trace())
    assert found["invalidate_leaf"].to_list() == [2, None]
    assert found["invalidate_ipa"].to_list() == [None, 1]


def test_flushes_count_leaves_that_had_no_cache_maintenance() -> None:
    made = Recorder()
    made.enter(UNMAP)
    for page in range(4):
        made.call(FLUSH, ipa=page * PAGE, level=3)
        if page < 2:  # the others are a device's
            made.call(CMO, size=PAGE)
    made.leave(UNMAP)
    row = one(made)
    assert (row["leaves"], row["leaves_evidence"], row["cmo"]) == (4, "invalidate", 2)


def test_time_off_the_cpu_inside_an_interrupt_is_cut_out_once() -> None:
    made = Recorder()
    made.enter(UNMAP)  # 1010
    made.enter(RANGE)  # 1020
    made.tracepoint("irq_handler_entry")
    made.tracepoint("sched_switch", next_pid=200)  # 1040
    made.on(tid=200).tracepoint("sched_switch", next_pid=100)  # 1050
    made.on(tid=100).tracepoint("irq_handler_exit")
    made.leave(RANGE)  # 1070
    made.leave(UNMAP)
    row = one(made)
    assert (row["invalidate_range_ns"], row["irq_ns"], row["off_cpu_ns"]) == (20, 20, 10)
    assert row["rest_ns"] == 20


def test_some_interrupts_are_not_all_interrupts() -> None:
    made = Recorder()
    made.tracepoint("ipi_entry")
    made.tracepoint("ipi_exit")
    made.call(UNMAP)
    assert (one(made)["irq"], one(made)["irq_ns"]) == (None, None)


def test_what_is_under_an_entry_probe_and_did_not_happen_took_no_time() -> None:
    made = Recorder()
    made.enter(CMO)  # the fault path
    made.call(UNMAP)
    assert (one(made)["cmo"], one(made)["cmo_ns"]) == (0, 0)


def test_executed_instructions_are_no_hardware_recording() -> None:
    made = Recorder(evidence="insn")
    made.enter(UNMAP)
    made.write("tlbi", "instant", op="ipas2e1is", operand=0)
    made.leave(UNMAP)
    with pytest.raises(SettingError, match="emulator"):
        traceview.analyze(made.trace(settings=Settings(facts={"origin": "hardware"})))
    assert one(made)["tlbi_insns"] == 1


def test_a_stated_function_that_was_hit_by_its_entry_alone_is_not_timed() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.enter(CMO, size=PAGE)
    made.leave(UNMAP)
    row = one(made, Settings(traced=frozenset({UNMAP, CMO, PUT})))
    assert (row["cmo"], row["cmo_ns"], row["table_put_ns"]) == (1, None, 0)


@pytest.mark.parametrize(("page", "block"), [(16384, 32 << 20), (65536, 512 << 20)])
def test_the_size_of_pages_decides_what_a_leaf_is(page: int, block: int) -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.enter(CMO, size=page)
    made.enter(CMO, size=block)
    made.call(RANGE, start=0, pages=2)
    made.leave(UNMAP)
    settings = Settings(facts={"page_size_bytes": page})
    analysis = traceview.analyze(made.trace(settings=settings))
    assert analysis.unmaps.select("leaves_l2", "leaves_l3").rows() == [(1, 1)]
    calls = traceview.calls(made.trace(settings=settings))
    assert calls.filter(pl.col("symbol") == RANGE)["length_bytes"].to_list() == [2 * page]


@pytest.mark.parametrize(("stated", "level"), [(65536, 3), (7, None), (2**62, None)])
def test_the_size_of_pages_is_the_file_s_if_there_are_such_pages(
    stated: int, level: int | None
) -> None:
    made = Recorder(facts={"page_size_bytes": stated})
    made.enter(UNMAP)
    made.enter(CMO, size=65536)
    made.leave(UNMAP)
    assert one(made)["leaves_l3"] == (1 if level == 3 else None)

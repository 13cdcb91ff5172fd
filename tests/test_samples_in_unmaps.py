"""Samples of a profiler: which fall inside unmaps, and what the unmap was doing there."""

from __future__ import annotations

import polars as pl
import pytest

from tests.writers.analyses import analysis
from tests.writers.events import Recorder
from traceview.queries.analysis import analyze
from traceview.queries.filters import Filters, apply
from traceview.queries.sample_groups import sample_groups

UNMAP = "kvm_pgtable_stage2_unmap"
WALKER, WALK = "stage2_unmap_walker", "__kvm_pgtable_walk"
ABOVE = (UNMAP, "stage2_apply_range", "kvm_unmap_gfn_range")


@pytest.mark.parametrize(
    ("below", "operation"),
    [
        ((), "unmap"),
        ((WALKER, WALK, WALK), "walk"),
        (("__kvm_tlb_flush_vmid_ipa", WALKER, WALK), "invalidate_ipa"),
        (("exit_vmid_context", "__kvm_tlb_flush_vmid_ipa", WALKER), "invalidate_ipa"),
        (("exit_vmid_context", WALKER, WALK), "invalidate_ipa"),
        (("__tlb_switch_to_host.isra.0", WALKER), "invalidate_ipa"),
        (("exit_vmid_context", "kvm_tlb_flush_vmid_range"), "invalidate_range"),
        (("__pi_dcache_clean_inval_poc", "clean_dcache_guest_page", WALKER, WALK), "cmo"),
        (("folio_put", "kvm_s2_put_page", WALKER), "table_put"),
        (("gic_handle_irq", "el1_interrupt", "clean_dcache_guest_page", WALKER), "irq"),
        (("something_new", WALKER), "walk"),
        ((None, WALKER), "walk"),
    ],
)
def test_a_sample_counts_for_the_outermost_component_below_the_unmap(
    below: tuple[str | None, ...], operation: str
) -> None:
    recorder = Recorder()
    recorder.sample(*below, *ABOVE)
    assert analyze(recorder.trace()).samples["operation"].to_list() == [operation]


def test_a_flush_above_the_unmap_is_not_its_work() -> None:
    recorder = Recorder()
    recorder.sample(WALKER, *ABOVE, "el1_interrupt", "clean_dcache_guest_page")
    assert analyze(recorder.trace()).samples["operation"].to_list() == ["walk"]


def test_samples_outside_unmaps_are_heard_and_not_kept() -> None:
    recorder = Recorder()
    recorder.sample("clean_dcache_guest_page", "user_mem_abort")
    recorder.sample(WALKER, *ABOVE)
    heard: list[pl.DataFrame] = []

    def sink(_: int, table: str, rows: pl.DataFrame) -> None:
        if table == "samples":
            heard.append(rows)

    found = analyze(recorder.trace(), sink=sink).samples
    everything = pl.concat(heard)
    assert everything["operation"].to_list() == [None, "walk"]
    assert everything["frames"].list.len().to_list() == [2, 4]
    assert found["seq"].to_list() == [1]


@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_a_sample_without_a_callchain_is_placed_in_the_unmap_of_its_task(batch_events: int) -> None:
    recorder = Recorder()
    recorder.sample("clean_dcache_guest_page", chain=False)
    start = recorder.enter(UNMAP)
    recorder.sample("__kvm_tlb_flush_vmid_ipa", chain=False)
    recorder.on(tid=7).sample("clean_dcache_guest_page", chain=False)
    recorder.on(tid=100).sample(chain=False)
    recorder.leave(UNMAP)
    recorder.sample("clean_dcache_guest_page", chain=False)
    found = analyze(recorder.trace(batch_events)).samples
    assert found["unmap_id"].to_list() == [start, start]
    assert found["operation"].to_list() == ["invalidate_ipa", None]


def test_the_groups_say_how_much_counting_leaves_open() -> None:
    recorder = Recorder()
    for _ in range(8):
        recorder.sample("__kvm_tlb_flush_vmid_ipa", *ABOVE)
    recorder.sample(WALKER, *ABOVE)
    recorder.sample(*ABOVE)
    rows = sample_groups(analyze(recorder.trace()))
    assert rows["operation"].to_list() == ["invalidate_ipa", "walk"]
    assert rows["samples"].to_list() == [8, 2]
    assert rows["of"].to_list() == [10, 10]
    # Wilson's interval of 8 of 10, as any table of it has: 0.490 .. 0.943.
    assert rows["share_low"][0] == pytest.approx(0.4902, abs=5e-5)
    assert rows["share_high"][0] == pytest.approx(0.9433, abs=5e-5)


def test_filters_keep_samples_of_the_unmaps_they_keep() -> None:
    unmap = {"source_id": 0, "duration_ns": 10, "status": "complete", "trigger": "notifier"}
    sample = {"source_id": 0, "operation": "walk"}
    whole = analysis(
        [{**unmap, "cpu": 0}, {**unmap, "cpu": 1}],
        samples=[
            {**sample, "seq": 5, "cpu": 0, "unmap_id": 0},
            {**sample, "seq": 6, "cpu": 1, "unmap_id": 1},
            {**sample, "seq": 7, "cpu": 1},
        ],
    )
    assert apply(Filters(cpus=(1,)), whole).samples["seq"].to_list() == [6, 7]
    assert apply(Filters(triggers=("notifier",)), whole).samples["seq"].to_list() == [5, 6]


def test_samples_of_which_no_function_is_known_are_counted() -> None:
    recorder = Recorder()
    recorder.sample(chain=False, ip=(1 << 63) + 4096)
    recorder.sample(chain=False, ip=4096)  # of user space: nobody can name it
    recorder.sample(WALKER, *ABOVE)
    said = {what.code: what.count for _, what in analyze(recorder.trace()).diagnostics}
    assert said["unnamed-samples"] == 1

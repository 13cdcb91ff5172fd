"""Caveats: each appears when it applies, and only then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.writers.analyses import analysis, source, unmap
from traceview.report.caveats import caveats
from traceview.schema import COMPONENTS

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis


def codes(*unmaps: dict[str, Any], sources: list[dict[str, Any]] | None = None) -> set[str]:
    return {caveat.code for caveat in caveats(analysis(list(unmaps), sources))}


def texts(found: Analysis) -> dict[str, str]:
    return {caveat.code: caveat.text for caveat in caveats(found)}


def hit(name: str, *, symbol: str | None = "", phase: str = "entry", **columns: Any) -> Any:
    """A row of event_counts: a function, or a tracepoint if *symbol* is None."""
    return {
        "source_id": 0, "name": name, "symbol": name if symbol == "" else symbol, "phase": phase,
        "evidence": "tracepoint" if symbol is None else "kprobe", "count": 5, **columns,
    }  # fmt: skip


@pytest.mark.parametrize("origin", ["emulated", "synthetic", "unknown"])
def test_an_origin_that_is_not_hardware_is_always_said(origin: str) -> None:
    assert f"origin-{origin}" in codes(sources=[source(origin=origin)])
    assert not any(code.startswith("origin") for code in codes(unmap()))


def test_cache_maintenance_where_fwb_is_stated_is_a_contradiction() -> None:
    with_cmo, without = unmap(cmo=8, cmo_ns=100), unmap(cmo=0)
    assert "cmo-despite-fwb" in codes(with_cmo, sources=[source(fwb=True)])
    assert "cmo-despite-fwb" not in codes(with_cmo, sources=[source(fwb=False)])
    assert "cmo-despite-fwb" not in codes(with_cmo, sources=[source(fwb=None)])
    assert "cmo-despite-fwb" not in codes(without, sources=[source(fwb=True)])
    said = texts(analysis([with_cmo, without], [source(fwb=True)]))["cmo-despite-fwb"]
    assert said.startswith("FWB is stated, and 1 unmap did cache maintenance")


def test_unknown_loss_is_said_and_known_loss_is_not() -> None:
    assert "loss-unknown" in codes(unmap(), sources=[source(loss_known=False)])
    assert "loss-unknown" not in codes(unmap())


def test_excluded_unmaps_are_counted() -> None:
    found = caveats(analysis([unmap(), unmap(status="censored"), unmap(status="contaminated")]))
    said = {caveat.code: caveat.text for caveat in found}
    assert said["excluded-censored"].startswith("1 unmap of 3 (33.3%) censored")
    assert said["excluded-contaminated"].startswith("1 unmap of 3 (33.3%) contaminated")


def test_entries_only_have_no_durations() -> None:
    unknown: dict[str, Any] = {"leaves": None, "strategy": "unknown", "trigger": "unknown"}
    assert codes(unmap(None, status="point", **unknown)) == {"entries-only"}


def test_what_is_unknown_of_unmaps_is_counted() -> None:
    found = codes(unmap(leaves=None, strategy="unknown", trigger="unknown"))
    assert {"leaves-unknown", "strategy-unknown", "trigger-unknown"} <= found
    assert not {"leaves-unknown", "strategy-unknown", "trigger-unknown"} & codes(unmap())


def test_tlbi_and_dsb_are_never_called_separable() -> None:
    assert "tlbi-dsb-not-separable" in codes(unmap())
    counted = caveats(analysis([unmap(tlbi_insns=2, dsb_insns=3)]))
    assert any("the counts of instructions are" in caveat.text for caveat in counted)


def test_invalidation_in_the_rest_of_the_walk_is_said() -> None:
    bare = dict.fromkeys(("invalidate_leaf_ns", "invalidate_table_ns", "invalidate_range_ns"))
    found = codes(unmap(1000, rest_ns=750, **bare))
    assert "invalidation-not-separated" in found
    assert "tlbi-dsb-not-separable" not in found


def test_leaf_and_table_invalidations_in_one_number_are_said() -> None:
    one = {"invalidate_leaf_ns": None, "invalidate_table_ns": None, "invalidate_ipa_ns": 620}
    said = texts(analysis([unmap(1000, **one), unmap()]))["leaf-table-not-separable"]
    assert said.startswith("for 1 of 2 unmaps a flush could be a leaf's or a table's")
    assert "leaf-table-not-separable" not in codes(unmap())


def test_components_that_were_not_traced_are_named() -> None:
    said = texts(analysis([unmap(cmo_ns=None)]))["not-separated"]
    assert "cache maintenance (clean_dcache_guest_page was not traced or never hit)" in said
    assert "table release" not in said
    assert "invalidations" not in said


def test_components_of_which_only_entries_were_traced_are_named_as_such() -> None:
    hits = [hit("__clean_dcache_guest_page"), hit("softirq_entry", symbol=None)]
    said = texts(analysis([unmap(cmo_ns=None, cmo=8)], event_counts=hits))["not-separated"]
    assert "cache maintenance (__clean_dcache_guest_page by entry only)" in said
    assert "interrupts (of interrupts only softirq_entry was traced)" in said


def test_what_did_not_happen_hides_nothing() -> None:
    found = texts(analysis([unmap(cmo_ns=None, cmo=0, irq=0)]))
    assert "not-separated" not in found


FLUSH = "__kvm_tlb_flush_vmid_ipa"


def deferring(**columns: Any) -> dict[str, Any]:
    """An unmap whose leaf time is 0 by construction and whose table flushes have no time."""
    given: dict[str, Any] = {
        "strategy": "deferred_range", "invalidate_leaf": 0, "invalidate_leaf_ns": 0,
        "invalidate_range": 1, "invalidate_range_ns": 300, "invalidate_table_ns": None, "irq_ns": 0,
    }  # fmt: skip
    return unmap(1000, **{**given, **columns})


def test_a_zero_by_construction_hides_no_flush_that_has_an_entry_only() -> None:
    found = texts(analysis([deferring(invalidate_table=2)], event_counts=[hit(FLUSH)]))
    assert f"invalidations of leaves and tables ({FLUSH} by entry only)" in found["not-separated"]


def test_a_flush_that_was_never_traced_is_said_to_be_in_the_rest() -> None:
    range_flush = hit("kvm_tlb_flush_vmid_range", phase="exit")
    found = texts(analysis([deferring()], event_counts=[range_flush]))["not-separated"]
    assert f"invalidations of leaves and tables ({FLUSH} was not traced or never hit" in found
    assert "of ranges" not in found
    none = texts(analysis([deferring(invalidate_table=0)], event_counts=[hit(FLUSH)]))
    assert "not-separated" not in none


def test_range_flushes_of_which_only_the_entry_is_known_are_in_the_rest() -> None:
    ranges = deferring(invalidate_range_ns=None, invalidate_table=1, invalidate_table_ns=40)
    hits = [hit("kvm_tlb_flush_vmid_range"), hit(FLUSH, phase="exit")]
    said = texts(analysis([ranges], event_counts=hits))["not-separated"]
    assert "invalidations of ranges (kvm_tlb_flush_vmid_range by entry only)" in said
    assert "leaves and tables" not in said


def test_invalidation_that_is_in_the_rest_everywhere_has_the_true_reason() -> None:
    bare = dict.fromkeys(("invalidate_leaf_ns", "invalidate_table_ns", "invalidate_range_ns"))
    hits = [hit(FLUSH), hit("kvm_tlb_flush_vmid_range")]
    found = texts(analysis([unmap(invalidate_ipa=9, **bare)], event_counts=hits))
    assert f"{FLUSH} by entry only" in found["invalidation-not-separated"]
    assert "not traced" not in found["invalidation-not-separated"]


def test_a_zero_of_what_has_entries_only_is_no_time() -> None:
    hits = [hit("kvm_s2_put_page")]
    found = texts(analysis([unmap(table_put=9, table_put_ns=0)], event_counts=hits))
    assert "table release (kvm_s2_put_page by entry only)" in found["not-separated"]
    hits += [hit("kvm_s2_put_page", phase="exit")]
    found = texts(analysis([unmap(table_put=9, table_put_ns=0)], event_counts=hits))
    assert "table release" not in found["not-separated"]


def test_reasons_are_counted_per_unmap() -> None:
    sources = [source(run="1"), source(source_id=1, path="b", run="2")]
    unmaps = [unmap(), unmap(cmo_ns=None, cmo=1), unmap(source_id=1, cmo_ns=None)]
    hits = [hit("clean_dcache_guest_page")]
    said = texts(analysis(unmaps, sources, event_counts=hits))["not-separated"]
    assert (
        "cache maintenance (clean_dcache_guest_page by entry only: 1 unmap;"
        " clean_dcache_guest_page was not traced or never hit: 1 unmap of 3)"
    ) in said


def test_a_function_that_was_hit_is_never_said_to_be_untraced() -> None:
    functions = (
        FLUSH, "kvm_tlb_flush_vmid_range", "kvm_s2_put_page", "clean_dcache_guest_page",
        "kvm_unmap_gfn_range", "gic_handle_irq",
    )  # fmt: skip
    nothing: dict[str, Any] = {
        name: None for name in COMPONENTS if name != "rest_ns"
    } | {"leaves": None, "strategy": "unknown", "trigger": "unknown"}  # fmt: skip
    for phase in ("entry", "exit", "instant"):
        hits = [hit(name, phase=phase) for name in functions]
        found = analysis([unmap(**nothing)], [source(origin="emulated")], event_counts=hits)
        for caveat in caveats(found):
            assert "not traced" not in caveat.text, caveat
            assert "never hit" not in caveat.text, caveat
            assert "was traced or hit" not in caveat.text, caveat


def test_a_trigger_of_which_only_the_entry_is_known_is_not_called_untraced() -> None:
    unknown = unmap(trigger="unknown")
    said = texts(analysis([unknown], event_counts=[hit("kvm_unmap_gfn_range")]))["trigger-unknown"]
    assert "kvm_unmap_gfn_range was recorded by entry only" in said
    timed = [hit("kvm_unmap_gfn_range"), hit("kvm_unmap_gfn_range", phase="exit")]
    said = texts(analysis([unknown], event_counts=timed))["trigger-unknown"]
    assert "they lie in no call of what was recorded" in said
    assert "no function that asks for unmaps" in texts(analysis([unknown]))["trigger-unknown"]


def test_leaves_of_unknown_size_are_said() -> None:
    placed = {"leaves_l1": None, "leaves_l2": None, "leaves_l3": None}
    assert "leaf-size-unknown" in codes(unmap(leaves=4, **placed))
    assert "leaf-size-unknown" not in codes(unmap(leaves=0, **placed), unmap(leaves=None), unmap())


def test_tracing_overhead_is_said_of_measured_traces_only() -> None:
    assert "overhead-not-calibrated" in codes(unmap())
    assert "overhead-not-calibrated" not in codes(unmap(evidence="insn"))


def test_a_coarse_clock_is_said_and_a_fine_one_is_not() -> None:
    timed = unmap(evidence="kprobe")
    assert "clock-resolution" in codes(timed, sources=[source(ts_resolution_ns=1000)])
    assert "clock-resolution" not in codes(timed, sources=[source(ts_resolution_ns=1)])
    assert "clock-resolution" not in codes(timed, sources=[source()])


def test_a_coarse_clock_is_said_where_leaves_are_unknown() -> None:
    coarse = [source(ts_resolution_ns=1000)]
    bare = dict.fromkeys(name for name in COMPONENTS if name != "rest_ns")
    short = unmap(50_000, None, evidence="kprobe", **bare)
    said = texts(analysis([short], coarse))["clock-resolution"]
    assert said.startswith("times are multiples of 1 us")
    assert "50.0 us per unmap" in said
    long = unmap(10**6, None, evidence="kprobe", **bare)
    assert "clock-resolution" not in codes(long, sources=coarse)
    parts = {**bare, "table_put_ns": 8000, "table_put": 8}
    said = texts(analysis([unmap(10**6, None, evidence="kprobe", **parts)], coarse))[
        "clock-resolution"
    ]
    assert said.endswith(": 1.00 us per table release (mean of each unmap)")


def test_durations_that_the_format_states_do_not_depend_on_its_times() -> None:
    stated = unmap(evidence="fgraph")
    assert "clock-resolution" not in codes(stated, sources=[source(ts_resolution_ns=1000)])


def test_one_run_permits_no_inference() -> None:
    runs = [source(label="a", run="1"), source(source_id=1, label="a", run="2")]
    assert "one-run" in codes(unmap())
    assert "one-run" not in codes(unmap(), unmap(source_id=1), sources=runs)


def test_traces_of_unstated_runs_may_be_of_one_boot() -> None:
    sources = [source(label="a", run="1"), source(source_id=1, label="a")]
    found = codes(unmap(), unmap(source_id=1), sources=sources)
    assert {"runs-unknown", "one-run"} <= found


def test_several_files_are_no_replication_unless_they_state_different_runs() -> None:
    unmaps = [unmap(), unmap(source_id=1)]
    same = [source(label="a", run="1"), source(source_id=1, label="a", run="1")]
    assert "one-run" in codes(*unmaps, sources=same)
    unstated = [source(label="a"), source(source_id=1, label="a")]
    said = texts(analysis(unmaps, unstated))["one-run"]
    assert said.startswith("one run as far as is stated:")
    one_of_two = [*same, source(source_id=2, label="b", run="1"), source(source_id=3, label="b")]
    one_of_two[1]["run"] = "2"
    assert texts(analysis(unmaps, one_of_two))["one-run"].startswith("one run of b as far")


@pytest.mark.parametrize(
    ("fact", "values"),
    [
        ("kernel", ("6.1", "6.12")), ("machine", ("aarch64", "x86_64")), ("midr", ("0x1", "0x2")),
        ("fwb", (True, False)), ("tlbirange", (True, False)), ("origin", ("hardware", "unknown")),
    ],
)  # fmt: skip
def test_one_label_over_different_machines_is_said(fact: str, values: tuple[Any, Any]) -> None:
    first, second = ({"label": "a", fact: value} for value in values)
    mixed = analysis([unmap()], [source(**first), source(source_id=1, **second)])
    (said,) = [c for c in caveats(mixed) if c.code == "mixed-hosts"]
    assert said.severity == "strong"
    assert said.sources == (0, 1)
    assert str(values[1]) in said.text
    apart = [source(**first), source(source_id=1, **{**second, "label": "b"})]
    assert "mixed-hosts" not in codes(unmap(), sources=apart)
    silent = [source(**first), source(source_id=1, label="a", **{fact: None})]
    assert fact == "origin" or "mixed-hosts" not in codes(unmap(), sources=silent)


def test_one_label_over_different_evidence_is_said() -> None:
    sources = [source(label="a"), source(source_id=1, label="a")]
    found = analysis([unmap(), unmap(source_id=1, evidence="kprobe")], sources)
    assert "evidence (fgraph, kprobe)" in texts(found)["mixed-hosts"]


def test_sources_without_label_are_mixed_where_they_share_a_group() -> None:
    sources = [source(path="-"), source(source_id=1, path="-", kernel="6.1")]
    assert "mixed-hosts" in codes(unmap(), sources=sources)


def test_times_of_executed_instructions_are_said_to_be_counts() -> None:
    found = caveats(analysis([unmap(evidence="insn")], [source(origin="emulated")]))
    (said,) = [c for c in found if c.code == "times-are-instructions"]
    assert said.text == "times are counts of executed instructions, 1 ns = 1 instruction"
    assert said.severity == "strong"
    assert "times-are-instructions" not in codes(unmap())
    bare = analysis(event_counts=[hit("tlbi", symbol=None, evidence="insn")])
    assert "times-are-instructions" in texts(bare)


def test_a_caveat_of_some_sources_names_them() -> None:
    sources = [source(label="old"), source(source_id=1, label="new", origin="emulated")]
    (said,) = [c for c in caveats(analysis([unmap()], sources)) if c.code == "origin-emulated"]
    assert said.sources == (1,)
    assert said.text.startswith("new: origin emulated")


def test_a_caveat_of_some_sources_of_a_label_names_their_files() -> None:
    sources = [source(label="a"), source(source_id=1, label="a", path="b.txt", loss_known=False)]
    said = texts(analysis([unmap()], sources))["loss-unknown"]
    assert said.startswith("b.txt: loss unknown")

"""Caveats: each appears when it applies, and only then."""

from __future__ import annotations

from typing import Any

import pytest

from tests.writers.analyses import analysis, source, unmap
from traceview.report.caveats import caveats


def codes(*unmaps: dict[str, Any], sources: list[dict[str, Any]] | None = None) -> set[str]:
    return {caveat.code for caveat in caveats(analysis(list(unmaps), sources))}


@pytest.mark.parametrize("origin", ["emulated", "synthetic", "unknown"])
def test_an_origin_that_is_not_hardware_is_always_said(origin: str) -> None:
    assert f"origin-{origin}" in codes(sources=[source(origin=origin)])
    assert not any(code.startswith("origin") for code in codes(unmap()))


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
    assert "leaf-table-not-separable" in codes(unmap(1000, **one))
    assert "leaf-table-not-separable" not in codes(unmap())


def test_components_that_were_not_traced_are_named() -> None:
    (said,) = [c.text for c in caveats(analysis([unmap(cmo_ns=None)])) if c.code == "not-separated"]
    assert "cache maintenance (clean_dcache_guest_page was not traced)" in said
    assert "table release" not in said


def test_components_of_which_only_entries_were_traced_are_named_as_such() -> None:
    found = caveats(analysis([unmap(cmo_ns=None, cmo=8)]))
    (said,) = [caveat.text for caveat in found if caveat.code == "not-separated"]
    assert "cache maintenance (clean_dcache_guest_page by entry only)" in said


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
    assert "runs-unknown" in found
    assert "one-run" not in found


def test_a_caveat_of_some_sources_names_them() -> None:
    sources = [source(label="old"), source(source_id=1, label="new", origin="emulated")]
    (said,) = [c for c in caveats(analysis([unmap()], sources)) if c.code == "origin-emulated"]
    assert said.sources == (1,)
    assert said.text.startswith("new: origin emulated")

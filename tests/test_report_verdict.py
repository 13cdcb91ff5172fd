"""The sentences of the verdict: they carry their numbers, and claim no more than the times can."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_verdict import made, traced, tracing_cost, without_maintenance
from tests.writers.analyses import analysis, source, unmap
from traceview.queries.verdict import verdicts
from traceview.report.verdict import verdict, verdict_rows

SIZES = {"l2": "2M", "l3": "4K", "mixed": "mixed", "unknown": "-", "none": "none"}
CLAIMS = ("supported", "contradicted", "not most of the time")


def said(
    unmaps: list[dict[str, Any]],
    price: dict[str, Any] | None = None,
    width: int = 200,
    **facts: Any,
) -> str:
    calls = [traced(at, invalidate_leaf_calls=1, cmo_calls=1) for at in range(len(unmaps))]
    found = verdicts(
        analysis(
            unmaps, [source(**facts)], traced_calls=calls, tracing_costs=[price or tracing_cost()]
        )
    )
    lines = [line.plain for line in verdict(found, width, SIZES)]
    assert all(len(line) <= width for line in lines)
    return " ".join(" ".join(lines).split())


def test_without_unmaps_there_is_no_section() -> None:
    assert said([]) == ""


def test_each_hypothesis_has_a_sentence_with_its_numbers() -> None:
    found = said(made(leaf=100, cmo=800, rest=100))
    assert "per_pte, 4K: 6 unmaps, 6 leaves" in found
    assert (
        "TLBI+DSB count contradicted: invalidate calls (1.0 per leaf) take 10% of the time without"
        " tracing; cache maintenance takes more"
    ) in found
    assert (
        "CMO supported: cache maintenance takes 80% of the time without tracing, 8.00 times the"
        " invalidate calls"
    ) in found
    assert "DSB wait not separable: a DSB is timed only with the invalidate and cache" in found
    assert (
        "what if the calls of leaf invalidation took nothing and all else stayed: 900 instead of"
        " 1,000 ns per leaf, 1.11 times as fast; those of cache maintenance likewise: 200"
        " instead of 1,000 ns per leaf, 5.00 times as fast"
    ) in found


def test_where_neither_is_most_it_is_said_what_is() -> None:
    found = said(made(leaf=100, cmo=100, rest=800))
    assert "not most of the time: invalidate calls (1.0 per leaf) take 10%" in found
    assert "; of the others most is in the rest of the walk, 80%" in found
    assert "the invalidate and cache maintenance calls, with every DSB in them, take 20%" in found


def test_that_most_is_elsewhere_is_said_where_it_holds_over_the_whole_range() -> None:
    bounded = tracing_cost("bounded", own=(0, 0, 10), inside=(0, 0, 10), call=(0, 0, 700))
    found = said(made(leaf=100, cmo=100, rest=1400), bounded)
    assert "not most of the time: invalidate calls" in found
    assert "; the rest of the walk: 8.3 to 88%" in found
    assert "of the others most" not in found


def test_a_component_that_may_be_nothing_is_not_named_as_the_largest() -> None:
    wide = tracing_cost("bounded", own=(0, 0, 3000), inside=(0, 0, 10), call=(0, 0, 20))
    found = said(made(leaf=100, cmo=0, rest=1400, irq_ns=1000), wide)
    assert "not most of the time: invalidate calls" in found
    assert "rest of the walk" not in found.partition("TLBI+DSB count")[2].partition("CMO")[0]


def test_a_kernel_that_defers_has_fwb_whether_stated_or_not() -> None:
    rows = [{**one, "strategy": "deferred_range", "leaves": None} for one in without_maintenance()]
    found = said(rows, fwb=None)
    assert "CMO not measured: this machine does no cache maintenance: only with FWB does" in found
    assert "times the invalidate calls" not in found
    assert "those of cache maintenance" not in found


def test_none_seen_where_leaves_are_not_known_contradicts_nothing() -> None:
    found = said([{**one, "leaves": None} for one in without_maintenance()], fwb=None)
    assert "CMO not measured: no cache maintenance was seen, and whether leaves were" in found


def test_ranges_per_unmap_are_those_per_leaf() -> None:
    bounded = tracing_cost("bounded", own=(0, 0, 10), inside=(0, 0, 10), call=(0, 0, 20))
    rows = [{**one, "leaves": None} for one in made(leaf=500, cmo=50, rest=50)]
    assert "90 ns..140 ns instead of 600 ns..650 ns per unmap" in said(rows, bounded)


def test_a_calibration_that_does_not_fit_leaves_ranges_and_is_said_not_to() -> None:
    wide = tracing_cost(inside=(0, 15, 20), call=(0, 80, 200))
    found = said(made(leaf=800, cmo=100, rest=10), wide)
    assert (
        "calibration does not fit these unmaps: its estimate leaves less than nothing of" in found
    )
    assert "the rest of the walk; so it is no estimate of them" in found
    assert re.search(r"take \d+ to \d+% of the time without tracing", found)
    assert "any number of" not in found


def test_of_what_may_leave_nothing_the_factor_has_no_end() -> None:
    wide = tracing_cost("bounded", own=(0, 0, 220), inside=(0, 0, 10), call=(0, 0, 100))
    found = said(made(leaf=800, cmo=0, rest=10), wide)
    assert "what tracing cost leaves open how much that is" in found
    assert "any number of times the invalidate calls" not in found


def test_a_machine_with_fwb_measures_no_cache_maintenance() -> None:
    found = said(without_maintenance(), fwb=True)
    assert "CMO not measured: this machine does no cache maintenance (FWB)" in found
    assert "those of cache maintenance" not in found
    assert "with the invalidate calls around it" in found
    found = said(without_maintenance(), fwb=None)
    assert "no cache maintenance was done here, as on a machine with FWB" in found


def test_an_interval_goes_with_every_estimate_and_a_bound_has_none() -> None:
    wide = tracing_cost(inside=(10.0, 20.0, 20.0), call=(20.0, 20.0, 21.0))
    found = said(made(leaf=500, cmo=50, rest=50), wide)
    assert "82% (82..84) of the time without tracing" in found
    assert "whether that is their number or the wait in each, timings do not say" in found
    bounded = tracing_cost("bounded", own=(0, 0, 10), inside=(0, 0, 10), call=(0, 0, 20))
    found = said(made(leaf=500, cmo=50, rest=50), bounded)
    assert "take 78 to 85% of what tracing leaves" in found
    assert "instead of 600..650 ns per leaf" in found


def test_what_tracing_leaves_open_is_said() -> None:
    wide = tracing_cost("bounded", own=(0, 0, 10), inside=(0, 0, 700), call=(0, 0, 710))
    found = said(made(leaf=800, cmo=790, rest=800), wide)
    assert "undecided: invalidate calls" in found
    assert "what tracing cost leaves open whether that is more than half" in found
    assert "1.11 to 1.99 times as fast" in found


def test_few_and_unlike_unmaps_decide_nothing() -> None:
    assert "fewer than 5 unmaps decide nothing" in said(made(count=2))
    unlike = [*made(count=8, leaf=800, cmo=100), *made(count=2, leaf=1000, cmo=90_000)]
    assert "more than half in 2 of 10 unmaps only" in said(unlike)


def test_nothing_separated_is_one_line() -> None:
    parts = ("invalidate_leaf_ns", "invalidate_table_ns", "invalidate_range_ns", "cmo_ns",
             "table_put_ns", "cmo", "invalidate_leaf")  # fmt: skip
    found = said([unmap(1000, None, **dict.fromkeys(parts), rest_ns=1000)] * 6, fwb=None)
    assert found.endswith("not measured: neither invalidation nor cache maintenance is separated")


@pytest.mark.parametrize(
    ("facts", "note"),
    [({"origin": "emulated"}, "no verdict: emulated times are no evidence about hardware"),
     ({"origin": "synthetic"}, "no verdict: simulated times follow their model"),
     ({"origin": "unknown"}, "no verdict: nobody stated that these times are of hardware")],
)  # fmt: skip
def test_times_that_are_no_evidence_are_called_so_in_every_line(
    facts: dict[str, Any], note: str
) -> None:
    found = said(made(leaf=100, cmo=800), **facts)
    assert note in found
    assert "TLBI+DSB count no evidence: invalidate calls" in found
    assert "CMO no evidence: cache maintenance takes" in found
    assert "what if in these times, the calls of" in found
    assert "DSB wait not separable: a DSB is timed only with" in found
    assert not any(claim in found for claim in CLAIMS)


def test_instructions_give_counts_per_leaf() -> None:
    rows = [
        {**one, "tlbi_insns": 2, "dsb_insns": 3, "cmo_lines": 64, "evidence": "insn"}
        for one in made(leaf=100, cmo=800)
    ]
    found = said(rows, {"source_id": 0, "evidence": "insn", "method": "none"})
    assert "no verdict: executed instructions are no times; counts are evidence" in found
    assert "DSB wait not separable: what a DSB waits is in no count of instructions" in found
    assert "executed per leaf: 2.0 TLBI, 3.0 DSB, 64.0 CMO lines" in found
    assert "% of the instructions" in found
    assert not any(claim in found for claim in CLAIMS)


parts = st.integers(0, 1000)


@given(
    st.lists(st.tuples(parts, parts, parts), min_size=1, max_size=7),
    st.sampled_from(["calibrated", "bounded", "unknown", "none"]),
    st.sampled_from(["hardware", "emulated", "synthetic", "unknown"]),
    st.sampled_from([None, 1]),
    st.integers(40, 120),
)
@settings(max_examples=25, deadline=None)
def test_whatever_was_recorded_has_lines_that_fit_and_claims_only_of_hardware(
    unmaps: list[tuple[int, int, int]], method: str, origin: str, leaves: int | None, width: int
) -> None:
    rows = [{**one, "leaves": leaves} for of in unmaps for one in made(1, *of)]
    price = {"source_id": 0, "evidence": "fgraph", "method": method}
    if method in {"calibrated", "bounded"}:
        price = tracing_cost(method, inside=(0.0, 5.0, 30.0), call=(0.0, 20.0, 60.0))
    found = said(rows, price, width, origin=origin)
    assert not re.search(r"\b(nan|inf|None)\b|-\d", found)
    if origin != "hardware":
        assert not any(claim in found for claim in CLAIMS)


def test_the_document_keeps_what_the_times_would_say_apart() -> None:
    rows = made(leaf=100, cmo=800)
    calls = [traced(at, invalidate_leaf_calls=1, cmo_calls=1) for at in range(len(rows))]
    found = analysis(
        rows, [source(origin="emulated")], traced_calls=calls, tracing_costs=[tracing_cost()]
    )
    (row,) = verdict_rows(verdicts(found))
    assert row["hypotheses"]["cmo"] == {
        "status": "no_evidence", "reason": "most", "agree": 6, "in_recorded_time": "supported",
    }  # fmt: skip
    assert row["parts"]["cmo"]["share"] == {"value": 0.8, "low": 0.8, "high": 0.8}

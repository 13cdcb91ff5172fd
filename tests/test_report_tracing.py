"""Raw and corrected side by side, what tracing cost, and where every unmap is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from tests.writers.analyses import analysis, source, unmap
from traceview.queries.filters import Filters
from traceview.report.contents import contents
from traceview.report.json_document import analysis_json
from traceview.report.terminal import summary
from traceview.schema import TIMED_COMPONENTS
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from traceview.queries import Analysis

LOST: dict[str, Any] = {"status": "contaminated", "leaves": None, "strategy": "unknown"}


def tracing_cost(method: str = "calibrated", **columns: Any) -> dict[str, Any]:
    row = {
        "source_id": 0, "evidence": "fgraph", "method": method,
        "own_ns": 12.0, "own_low_ns": 8.0, "own_high_ns": 12.0, "own_from": "kvm_s2_put_page",
        "inside_ns": 12.0, "inside_low_ns": 8.0, "inside_high_ns": 12.0,
        "call_ns": 20.0, "call_low_ns": 19.0, "call_high_ns": 21.0, "strata": 8,
        "median_residual": 0.01, "worst_residual": 0.04,
    }  # fmt: skip
    if method == "bounded":
        row |= {
            "own_ns": None, "inside_ns": None, "call_ns": None, "strata": None, "own_low_ns": 0.0,
            "inside_low_ns": 0.0, "call_low_ns": 0.0, "call_from": "stage2_unmap_walker",
            "median_residual": None, "worst_residual": None,
        }  # fmt: skip
    return row | columns


def priced_unmaps(method: str = "calibrated", count: int = 6, **columns: Any) -> Analysis:
    """Unmaps of 8 leaves and 1000 ns with 10 traced calls in each, all of them of components."""
    probe: dict[str, Any] = {"probe_ns": 212, "probe_low_ns": 198, "probe_high_ns": 222}
    if method == "bounded":
        probe = {"probe_ns": None, "probe_low_ns": 0, "probe_high_ns": 222}
    zeros = {f"{name}_{what}": 0 for name in TIMED_COMPONENTS for what in ("calls", "nested")}
    calls = {**zeros, "source_id": 0, "invalidate_leaf_calls": 5, "table_put_calls": 5}
    return analysis(
        [unmap(1000, **probe, **{"traced_calls": 10, **columns}) for _ in range(count)],
        [source()],
        traced_calls=[{**calls, "unmap_id": at} for at in range(count)],
        tracing_costs=[tracing_cost(method)],
    )


def text(
    found: Analysis, width: int = 100, calibration: Analysis | None = None, **options: Any
) -> str:
    shown = contents(found, options.pop("filters", None), calibration=calibration)
    return "\n".join(line.plain for line in summary(shown, width, **options))


def flat(found: Analysis, **options: Any) -> str:
    return " ".join(text(found, 200, **options).split())


def codes(found: Analysis, calibration: Analysis | None = None) -> set[str]:
    return {one.code for one in contents(found, calibration=calibration).caveats}


@pytest.mark.parametrize("method", ["calibrated", "bounded"])
def test_no_line_is_wider_than_the_terminal(method: str) -> None:
    found = priced_unmaps(method)
    for width in range(40, 161, 4):
        for line in text(found, width, calibration=found).splitlines():
            assert len(line) <= width


def test_raw_and_corrected_stand_side_by_side() -> None:
    said = flat(priced_unmaps())
    assert "ns/leaf corrected untraced tracing" in said
    assert "corrected: ns/leaf without tracing; untraced: bounds of ns/leaf without" in said
    assert "125 98.5 97.2..100 21%" in said
    assert "without tracing 4.73 us (4.67 us..4.81 us)" in said
    assert "L 68.5% 67.5 (67.5..70.0)" in said


def test_the_bounds_outlast_what_matters_less_in_a_narrow_terminal() -> None:
    for width in range(50, 110):
        lines = text(priced_unmaps(), width).splitlines()
        titles = next((line for line in lines if line.startswith("  strategy")), "")
        if titles and "untraced" not in titles:
            assert not {"p95", "corrected", "tracing"} & set(titles.split())
            assert "bounds of ns/leaf without tracing" not in " ".join(lines)


def test_a_share_that_is_at_most_so_is_explained_as_such() -> None:
    assert "tracing: its share of the times (<=: at most)" in flat(priced_unmaps("bounded"))
    assert "(<=: at most)" not in flat(priced_unmaps())


def test_the_cost_says_where_it_is_from() -> None:
    plain = analysis([], [source(path="top.dat")])
    said = flat(priced_unmaps(), calibration=plain)
    assert "calibrated with 8 steps or sizes of top.dat (each corrected with the cost" in said
    assert "half of them are within 1.0%, the worst is 4.0% off)" in said
    assert "per call 20 ns (19 ns..21 ns)" in said
    assert "12 ns (8 ns..12 ns) for the unmap's own, which no capture shows" in said
    assert "the shortest kvm_s2_put_page" in said
    assert "21.2% (19.8%..22.2%) of 6.00 us in 6 complete unmaps was tracing" in said


def test_a_bound_is_said_to_be_one() -> None:
    said = flat(priced_unmaps("bounded"))
    assert "bounded by the shortest calls, not estimated (--calibration)" in said
    assert "took at most 21 ns (stage2_unmap_walker)" in said
    assert "at most 22.2% of 6.00 us in 6 complete unmaps: a bound" in said
    assert "without tracing at least 4.67 us:" in said
    assert "<=22%" in said
    assert "overhead-not-calibrated" in codes(priced_unmaps("bounded"))


def test_an_emulators_record_needs_no_word_about_tracing() -> None:
    found = analysis(
        [unmap(evidence="insn", probe_ns=0, probe_low_ns=0, probe_high_ns=0)],
        tracing_costs=[{"source_id": 0, "evidence": "insn", "method": "none"}],
    )
    said = text(found)
    assert "corrected" not in said
    assert "What tracing cost" not in said
    assert not {"overhead-not-calibrated", "corrected-below-zero"} & codes(found)


def test_a_calibrated_trace_is_not_called_uncalibrated() -> None:
    assert "overhead-not-calibrated" not in codes(priced_unmaps())


def test_an_unmap_alone_contains_its_own_tracing() -> None:
    found = analysis([unmap(traced_calls=0)])
    (said,) = [c for c in contents(found).caveats if c.code == "overhead-not-calibrated"]
    assert said.text.endswith("what tracing the unmaps themselves cost")


def test_a_calibration_that_misses_its_own_steps_is_said() -> None:
    found = priced_unmaps()
    off = replace(
        found, tracing_costs=analysis(
            tracing_costs=[tracing_cost(worst_residual=0.3)]).tracing_costs
    )  # fmt: skip
    assert "calibration-residual" in codes(off)
    assert "calibration-residual" not in codes(found)
    bounded = analysis(tracing_costs=[tracing_cost("bounded", strata=8)]).tracing_costs
    unfit = replace(found, tracing_costs=bounded)
    assert "calibration-does-not-fit" in codes(unfit)
    assert "bounded: one cost per call does not fit 8 steps or sizes of the other" in flat(unfit)
    bounded = bounded.with_columns(median_residual=0.666, worst_residual=2.0)
    said = flat(replace(found, tracing_costs=bounded))
    assert "half of them are 66.6% off or more, the worst is 200.0% off): each traced call" in said


def test_more_tracing_than_time_is_said_in_words_and_not_in_percent() -> None:
    found = priced_unmaps(count=1)
    more = found.unmaps.with_columns(
        pl.lit(1200).alias("probe_ns"), pl.lit(1500).alias("probe_high_ns")
    )
    said = flat(replace(found, unmaps=more))
    assert "100.0% (19.8%..100.0%) of 1.00 us in 1 complete unmap was tracing, or more" in said
    assert "or more than there is: the calibration does not fit" in said
    assert "120%" not in said
    assert "more than there is" not in flat(priced_unmaps())


def test_a_calibration_that_traced_more_is_said_to_have() -> None:
    found = priced_unmaps()
    more = analysis([unmap(traced_calls=20)], [source(path="deep.dat")])
    fewer = analysis([unmap(traced_calls=0)], [source(path="top.dat")])
    words = "the calibration traced more than the trace"
    assert words in flat(found, calibration=more)
    assert words not in flat(found, calibration=fewer)
    assert words not in flat(found)


def test_a_calibration_of_an_unstated_host_is_on_the_users_word() -> None:
    found = priced_unmaps()
    known = analysis([], [source(midr="0x410fd8c0")])
    (said,) = [
        c
        for c in contents(found, calibration=known).caveats
        if c.code == "calibration-host-unstated"
    ]
    assert said.text.startswith("MIDR not stated of the traces or of the calibration")
    both = replace(found, sources=known.sources)
    assert "calibration-host-unstated" not in codes(both, known)


def test_corrected_times_below_zero_are_counted_and_named() -> None:
    """Five releases of 12 ns of tracing each, of which only 50 ns were measured."""
    found = priced_unmaps(table_put_ns=50)
    (said,) = [c for c in contents(found).caveats if c.code == "corrected-below-zero"]
    assert said.text.startswith("6 complete unmaps, corrected below zero: of 6 the table release")
    assert "P -1.3% -1.2" in flat(found)
    assert "corrected-below-zero" not in codes(priced_unmaps(table_put_ns=60))


def test_damage_of_the_calibration_is_said() -> None:
    plain = analysis(diagnostics=((0, Diagnostic("kprobe-missed", "warning", "3 hits", 3)),))
    said = flat(priced_unmaps(), calibration=plain)
    assert "Diagnostics of the calibration - warning: 3 hits [kprobe-missed]" in said


def test_where_every_unmap_is_is_shown_only_if_some_are_not_counted() -> None:
    assert "What the numbers stand on" not in text(analysis([unmap()] * 3))
    found = analysis([unmap(100), unmap(200), unmap(300), unmap(None, **LOST)])
    said = flat(found)
    assert "What the numbers stand on began contaminated counted 4 1 3" in said
    assert "per_pte 4K notifier 1 150 ns 200 ns 250 ns" in said
    assert "wholly in a hole" not in said


def test_unmaps_in_holes_are_said_to_be_in_no_bound() -> None:
    found = analysis([unmap(), unmap(None, **LOST)], [source(loss_known=False)])
    assert "unmaps that lie wholly in a hole are in no count, and not in this" in flat(found)
    assert "1 500 ns 1.00 us any" in flat(found)


def test_what_filters_cannot_place_is_in_the_ledger() -> None:
    found = analysis([unmap(), unmap(trigger="memslot"), unmap(None, trigger="unknown", **LOST)])
    said = flat(found, filters=Filters(triggers=("notifier",)))
    assert "began filtered out undecided by filters counted 3 1 1 1" in said


def test_the_document_has_the_cost_the_ledger_and_the_verdict() -> None:
    plain = analysis([], [source(path="top.dat", sha256="ab")])
    found = contents(priced_unmaps(), calibration=plain)
    said = json.loads("".join(analysis_json(found)))
    assert said["calibration"] == [{"path": "top.dat", "sha256": "ab", "diagnostics": []}]
    assert said["tracing_costs"][0]["call_ns"] == 20
    assert said["ledger"][0]["counted"] == 6
    (verdict,) = said["verdict"]
    assert set(verdict["hypotheses"]) == {"tlbi_count", "cmo", "dsb_wait"}
    assert verdict["method"] == "calibrated"
    (group,) = said["groups"]
    assert group["corrected_ns"] == 6 * (1000 - 212)
    assert group["rest_corrected_ns"] < group["rest_ns"]


def test_a_number_without_end_is_null_in_the_document() -> None:
    none = dict.fromkeys(("cmo_ns", "table_put_ns", "invalidate_table_ns", "rest_ns"), 0)
    found = contents(priced_unmaps("bounded", invalidate_leaf_ns=1000, **none))
    assert found.verdicts[0].free["leaf_flushes"].factor.high == float("inf")
    json.loads("".join(analysis_json(found)), parse_constant=pytest.fail)

"""What a report says of the functions that were traced, of dates and of runs."""

from __future__ import annotations

from typing import Any

from tests.writers.analyses import analysis, source, unmap
from traceview.report.host_facts import events_of_sides, events_text, host_facts
from traceview.report.traced_functions import mode_text, traced_text


def hit(symbol: str | None, phase: str = "complete", **more: Any) -> dict[str, Any]:
    found = {"source_id": 0, "name": "e", "symbol": symbol, "phase": phase, "count": 3}
    return {**found, "evidence": "kprobe", **more}


def values(name: str, of: list[dict[str, Any]], **tables: Any) -> list[str]:
    found = host_facts([("", analysis([], of, **tables))])
    return [text for key, text in found if key == name]


def test_functions_are_listed_by_role_and_those_of_entries_alone_are_marked() -> None:
    of = analysis(
        [],
        event_counts=[
            hit("kvm_s2_put_page", "entry"), hit("__kvm_tlb_flush_vmid_ipa", "entry"),
            hit("__kvm_tlb_flush_vmid_ipa", "exit"), hit("kvm_pgtable_stage2_unmap"),
            hit("a_helper"), hit("dropped", evidence="sample"), hit(None, evidence="marker"),
        ],
    )  # fmt: skip
    assert traced_text(of) == (
        "kvm_pgtable_stage2_unmap, __kvm_tlb_flush_vmid_ipa, kvm_s2_put_page (entry only), a_helper"
    )


def test_the_function_tracer_has_entries_alone() -> None:
    of = analysis([], event_counts=[hit("kvm_pgtable_stage2_unmap", "entry", evidence="function")])
    assert traced_text(of) == "entries alone: kvm_pgtable_stage2_unmap"


def test_functions_of_some_traces_say_of_how_many() -> None:
    of = analysis(
        [],
        [source(source_id=at) for at in range(3)],
        event_counts=[
            *(hit("kvm_pgtable_stage2_unmap", source_id=at) for at in range(3)),
            hit("kvm_s2_put_page", source_id=1), hit("clean_dcache_guest_page", source_id=1),
        ],
    )  # fmt: skip
    assert traced_text(of) == (
        "kvm_pgtable_stage2_unmap; in 1 of 3 traces: clean_dcache_guest_page, kvm_s2_put_page"
    )


def test_of_very_many_functions_the_first_are_told_and_how_many_more() -> None:
    of = analysis([], event_counts=[
        *(hit(f"f{at:03}") for at in range(40)), hit("kvm_pgtable_stage2_unmap"),
    ])  # fmt: skip
    said = traced_text(of)
    assert said.startswith("kvm_pgtable_stage2_unmap, f000, ")
    assert said.endswith(", f013; and 26 more")


def test_probes_without_names_are_said() -> None:
    of = analysis([], event_counts=[hit(None)])
    assert traced_text(of) == "3 events of probes whose functions are not known"
    assert traced_text(analysis([])) == "no function"


def test_vhe_is_said_where_its_functions_were_hit_and_nothing_else_is() -> None:
    ipa = "__kvm_tlb_flush_vmid_ipa.isra.0"
    assert mode_text(analysis([], event_counts=[hit(ipa)])).startswith("VHE (")
    nothing = analysis([], event_counts=[hit("kvm_tlb_flush_vmid_range"), hit(None)])
    assert mode_text(nothing) == "unknown (VHE or nVHE)"
    some = analysis([], [source(), source(source_id=1)], event_counts=[hit(ipa, source_id=1)])
    assert mode_text(some).startswith("VHE in 1 of 2 traces (")


def test_runs_are_told_in_their_order() -> None:
    rows = [source(source_id=at, run=f"r{at}", order=9 - at) for at in range(2)]
    assert values("runs (order)", rows) == ["r1 (8), r0 (9)"]
    rows = [source(source_id=at, run=f"r{at}") for at in range(2)]
    assert values("runs (order)", rows) == ["r0, r1 (order unknown)"]
    rows = [source(run="r0", order=1), source(source_id=1)]
    assert values("runs (order)", rows) == ["r0 (1); of some traces unknown"]
    rows = [source(source_id=at, run=f"r{at:02}", order=at) for at in range(14)]
    assert values("runs (order)", rows)[0].endswith("r11 (11), and 2 more")


def test_dates_of_recording_are_told_from_the_first_to_the_last() -> None:
    dates = ["2026-02-01T00:30:00+01:00", "2026-02-01T00:00:00Z", None, "2026-02-01"]
    rows = [source(source_id=at, recorded_at=date) for at, date in enumerate(dates)]
    assert values("recorded", rows[:1]) == [dates[0]]
    said = f"{dates[0]} to {dates[1]}"
    assert values("recorded", rows[:2]) == [said]
    assert values("recorded", rows[:3]) == [f"{said}; of 1 of 3 traces unknown"]
    assert values("recorded", [source(recorded_at="yesterday")]) == ["yesterday"]


def test_time_stamps_and_durations_have_steps_of_their_own() -> None:
    coarse = source(ts_resolution_ns=1000, clock="mono", cntfrq_hz=10**9)
    graph = [hit("kvm_pgtable_stage2_unmap", evidence="fgraph")]
    assert values("trace clock", [coarse], event_counts=graph) == [
        "mono, time stamps: steps of 1 us; durations of function_graph: steps of 1 ns"
    ]
    unknown = {**coarse, "cntfrq_hz": None}
    assert values("trace clock", [unknown], event_counts=graph)[0].endswith(
        "durations of function_graph: stated in ns, their steps unknown"
    )
    slow = {**coarse, "cntfrq_hz": 24 * 10**6}
    assert values("trace clock", [slow], event_counts=graph)[0].endswith("steps of 41.67 ns")
    assert values("trace clock", [coarse]) == ["mono, time stamps: steps of 1 us"]


def test_events_of_two_sides_are_told_of_each_and_of_both() -> None:
    base, with_ = (analysis([], event_counts=[hit("f", count=n)]) for n in (1000, 20))
    assert events_of_sides(base, with_) == "base 1,000, with 20; 1,020 in all"
    assert events_of_sides(base, base) == "1,000 in the traces of both sides"
    executed = analysis([unmap(evidence="insn")], event_counts=[hit("f", evidence="insn")])
    assert events_text(executed) == "3 in 2,000,000,000 instructions"


def test_a_midr_names_a_cpu_that_is_there_only_on_hardware() -> None:
    arm = {"midr": "0x414fd0c1", "cpus": None}
    name = "Arm Neoverse-N1 r4p1"
    end = ", MIDR 0x414fd0c1, number of CPUs unknown"
    assert values("CPU", [source(**arm)]) == [f"{name}{end}"]
    for origin in ("unknown", "synthetic"):
        assert values("CPU", [source(**arm, origin=origin)]) == [
            f"MIDR reads as {name} (an emulator can show it){end}"
        ]
    assert values("CPU", [source(**arm, origin="emulated")]) == [
        f"{name}, modelled by an emulator{end}"
    ]

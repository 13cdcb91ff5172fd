"""What the hypervisor of nVHE and pKVM recorded is put among the events of the host."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import traceview
from tests.writers.events import Recorder
from traceview.errors import ParseError, SettingError
from traceview.parsers import open_trace
from traceview.parsers.hypervisor import Hypervisor
from traceview.parsers.hypervisor_text import HypervisorText, parse
from traceview.parsers.hypervisor_times import DELTA_BITS, stays_of
from traceview.report.caveats import caveats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.trace import Batch, Trace, Want

UNMAP = "kvm_pgtable_stage2_unmap"
PUT = "kvm_s2_put_page"


def line(ns: int, name: str, cpu: int = 0, reason: str = "hvc") -> str:
    us = ns // 1000
    return f"[{cpu:03d}]\t{us // 1_000_000:5d}.{us % 1_000_000:06d}: {name} reason={reason} vcpu=0"


def stay(enter_ns: int, exit_ns: int, cpu: int = 0, reason: str = "hvc") -> list[str]:
    enter = line(enter_ns, "hyp_enter", cpu, reason)
    return [enter, line(exit_ns, "hyp_exit", cpu, "eret_host")]


def text(*lines: str) -> HypervisorText:
    return parse(["".join(f"{one}\n" for one in lines).encode()])


def around(*lines: str, until_ns: int = 1_000_000) -> HypervisorText:
    """*lines*, recorded by a hypervisor that was watched for all the time of the test."""
    return text(*stay(0, 0, cpu=7), *lines, *stay(until_ns, until_ns, cpu=7))


def recorder() -> Recorder:
    return Recorder(evidence="fgraph", tick_ns=0, facts={"clock": "boot"})


def at(made: Recorder, ns: int) -> Recorder:
    made.now_ns = ns
    return made


def merged(trace: Trace, said: HypervisorText) -> Trace:
    def read(want: Want, progress: Callable[[float], None]) -> Iterator[Batch]:
        return Hypervisor(said, want, trace.path).merge(trace.read(want, progress))

    return replace(trace, read=read)


def one_unmap(first_ns: int = 10_000, last_ns: int = 100_000) -> Recorder:
    made = recorder()
    at(made, first_ns).enter(UNMAP)
    at(made, last_ns).leave(UNMAP, duration_ns=last_ns - first_ns)
    return made


def unmap(trace: Trace) -> dict[str, Any]:
    return traceview.analyze(trace).unmaps.row(0, named=True)


def codes(trace: Trace) -> set[str]:
    return {one.code for _, one in traceview.analyze(trace).diagnostics}


def test_hypercalls_inside_an_unmap_are_counted_and_their_time_leaves_the_rest() -> None:
    said = around(*stay(20_000, 23_000), *stay(40_000, 42_000), *stay(150_000, 160_000))
    found = unmap(merged(one_unmap().trace(), said))
    assert (found["hypercall"], found["hypercall_ns"], found["rest_ns"]) == (2, 5_000, 85_000)
    assert found["status"] == "complete"


def test_an_unmap_that_made_no_hypercall_has_none_not_null() -> None:
    found = unmap(merged(one_unmap().trace(), around(*stay(150_000, 160_000))))
    assert (found["hypercall"], found["hypercall_ns"]) == (0, 0)


def test_without_the_hypervisors_text_hypercalls_are_unknown() -> None:
    found = unmap(one_unmap().trace())
    assert (found["hypercall"], found["hypercall_ns"]) == (None, None)


def test_a_hypercall_belongs_to_the_task_that_ran_on_its_cpu() -> None:
    made = recorder()
    at(made.on(tid=1, cpu=0), 10_000).enter(UNMAP)
    at(made.on(tid=2, cpu=1), 10_001).enter(UNMAP)
    at(made.on(tid=1, cpu=0), 90_000).leave(UNMAP, duration_ns=80_000)
    at(made.on(tid=2, cpu=1), 90_001).leave(UNMAP, duration_ns=80_000)
    said = around(*stay(20_000, 21_000, cpu=1), *stay(30_000, 31_000, cpu=1))
    unmaps = traceview.analyze(merged(made.trace(), said)).unmaps
    assert dict(unmaps.select("tid", "hypercall").rows()) == {1: 0, 2: 2}


@pytest.mark.parametrize("batch_events", [1, 2, 100])
def test_a_stay_on_a_cpu_that_the_task_has_left_is_not_its(batch_events: int) -> None:
    made = recorder()
    at(made.on(tid=1, cpu=0), 10_000).marker("here")
    at(made.on(tid=1, cpu=1), 20_000).enter(UNMAP)
    at(made.on(tid=1, cpu=1), 90_000).leave(UNMAP, duration_ns=70_000)
    said = around(*stay(15_000, 16_000), *stay(30_000, 31_000), *stay(40_000, 41_000, cpu=1))
    found = unmap(merged(made.trace(batch_events), said))
    assert (found["hypercall"], found["status"]) == (1, "complete")


def test_a_stay_is_put_into_the_gap_that_overlaps_it_most() -> None:
    # The put takes 100 ns inside the microsecond in which the hypercall begins.
    made = recorder()
    at(made, 10_000).enter(UNMAP)
    at(made, 20_050).enter(PUT)
    at(made, 20_150).leave(PUT, duration_ns=100)
    at(made, 50_000).leave(UNMAP, duration_ns=40_000)
    found = unmap(merged(made.trace(), around(*stay(20_000, 25_000))))
    assert found["table_put_ns"] == 100
    assert 4_000 < found["hypercall_ns"] < 6_000


def test_a_stay_that_begins_in_the_microsecond_of_the_unmaps_entry_lies_inside_it() -> None:
    found = unmap(merged(one_unmap(20_700).trace(), around(*stay(20_900, 23_000))))
    assert (found["hypercall"], found["status"]) == (1, "complete")


def test_lost_events_of_the_hypervisor_contaminate_the_unmap_that_they_lie_in() -> None:
    lost = (*stay(20_000, 21_000), "CPU:0 [LOST 12 EVENTS]", *stay(40_000, 41_000))
    trace = merged(one_unmap().trace(), around(*lost))
    assert unmap(trace)["status"] == "contaminated"
    holes = traceview.analyze(trace).losses.filter(kind="lost_events")
    assert holes.select("cpu", "count", "buffer").rows() == [(0, 12, "hypervisor")]


def test_an_unmap_before_the_hypervisors_recording_is_no_unmap_without_hypercalls() -> None:
    said = text(*stay(50_000, 51_000), *stay(200_000, 200_000))
    assert unmap(merged(one_unmap().trace(), said))["status"] == "contaminated"


def test_an_empty_text_says_nothing_of_any_unmap() -> None:
    assert unmap(merged(one_unmap().trace(), text()))["status"] == "contaminated"


def test_times_of_a_guest_are_not_used() -> None:
    # While a vCPU is loaded the hypervisor's clock is behind by the guest's offset.
    guest = [*stay(1_000, 2_000, reason="guest_exit"), *stay(3_000, 4_000, reason="guest_exit")]
    load, put = line(210_000, "hyp_enter"), line(260_000, "hyp_exit")
    said = around(
        *stay(20_000, 21_000), load, line(900, "hyp_exit"), *guest, line(5_000, "hyp_enter"), put
    )
    trace = merged(one_unmap().trace(), said)
    assert (unmap(trace)["hypercall"], unmap(trace)["status"]) == (1, "complete")
    assert "hypervisor-clock-of-guest" in codes(trace)
    holes = traceview.analyze(trace).losses
    assert "hypervisor_clock" not in holes["kind"].to_list()  # it lies behind the last event


def test_an_unmap_while_a_vcpu_is_loaded_is_contaminated() -> None:
    said = around(
        *stay(2_000, 3_000), line(9_000, "hyp_enter"), line(900, "hyp_exit"),
        line(950, "hyp_enter"), line(150_000, "hyp_exit"),
    )  # fmt: skip
    assert unmap(merged(one_unmap().trace(), said))["status"] == "contaminated"


def test_what_59_bits_of_a_difference_add_is_taken_off() -> None:
    wrapped = 3 << DELTA_BITS
    said = stays_of(text(*stay(wrapped + 5_000_000, wrapped + 5_004_000)))
    (enter,), (leave,) = said.enter_ns.tolist(), said.exit_ns.tolist()
    assert 5_000_000 - 999 <= enter <= 5_000_000
    assert leave - enter in (3_000, 4_000)


def test_another_clock_of_the_host_is_refused_in_words() -> None:
    made = one_unmap()
    made.facts["clock"] = "mono"
    trace = merged(made.trace(), around(*stay(20_000, 23_000)))
    assert unmap(trace)["hypercall"] is None
    assert codes(trace) == {"hypervisor-clock"}


def test_lines_that_are_no_events_are_counted() -> None:
    said = text("[000]    1.000001: selftest id=7", "nonsense", "[000]  1.0001: hyp_enter", "")
    assert (said.others, said.unparsed, len(said.events)) == (1, 2, 0)


def test_a_text_in_pieces_is_the_same_text() -> None:
    whole = "".join(f"{one}\n" for one in (*stay(1_000, 2_000), *stay(3_000, 4_000))).encode()
    parts = parse([whole[at : at + 7] for at in range(0, len(whole), 7)])
    assert parts.events.equals(parse([whole]).events)


@pytest.mark.parametrize("batch_events", [1, 2, 3, 7])
def test_batches_of_any_size_give_the_same_unmaps(batch_events: int) -> None:
    made = recorder()
    stays = []
    for number in range(6):
        start = 10_000 + number * 20_000
        at(made.on(tid=number % 2 + 1, cpu=number % 2), start).enter(UNMAP)
        made.marker("between")
        at(made, start + 15_000).leave(UNMAP, duration_ns=15_000)
        stays += stay(start + 3_000, start + 5_000, cpu=number % 2)
    said = around(*stays)
    columns = ["tid", "hypercall", "hypercall_ns", "rest_ns", "status"]
    whole = traceview.analyze(merged(made.trace(), said)).unmaps.select(columns)
    parts = merged(made.trace(batch_events), said)
    assert traceview.analyze(parts).unmaps.select(columns).equals(whole)
    assert whole["hypercall"].to_list() == [1] * 6


@settings(max_examples=30)
@given(
    durations=st.lists(st.integers(1, 30_000), min_size=1, max_size=12),
    gaps=st.lists(st.integers(1, 3_000), min_size=13, max_size=13),
    phase=st.integers(0, 999),
)
def test_any_hypercalls_are_all_found_and_their_time_is_true_to_a_microsecond_each(
    durations: list[int], gaps: list[int], phase: int
) -> None:
    first = 50_000 + phase
    now = first + 1_000  # what begins in the microsecond of the unmap may lie before it
    stays = []
    for duration, gap in zip(durations, gaps, strict=False):
        now += gap
        stays += stay(now, now + duration)
        now += duration
    last = now + 1_000
    found = unmap(merged(one_unmap(first, last).trace(), around(*stays)))
    assert found["hypercall"] == len(durations)
    assert abs(found["hypercall_ns"] - sum(durations)) <= 1_000 * len(durations)
    assert found["hypercall_ns"] + found["rest_ns"] == last - first
    assert found["rest_ns"] >= 0


def test_events_stay_in_order_and_arguments_with_their_events() -> None:
    made = recorder()
    at(made, 10_000).enter(UNMAP, addr=7)
    at(made, 30_000).tracepoint("irq_handler_entry", irq=5)
    at(made, 40_000).tracepoint("irq_handler_exit", irq=5)
    at(made, 90_000).leave(UNMAP, duration_ns=80_000, ret=0)
    trace = merged(made.trace(2), around(*stay(20_000, 21_000), *stay(50_000, 51_000)))
    tables = trace.tables()
    events = tables.events
    assert events["seq"].to_list() == list(range(len(events)))
    assert events["ts_ns"].is_sorted()
    named = tables.args.join(events.select("seq", event="name"), on="seq")
    pairs = named.select("event", "name", pl.coalesce(pl.col("value").cast(pl.String), "text"))
    assert set(pairs.rows()) >= {
        (UNMAP, "addr", "7"), (f"{UNMAP}_ret", "ret", "0"), ("hyp_enter", "reason", "hvc"),
        ("irq_handler_entry", "irq", "5"), ("irq_handler_exit", "irq", "5"),
    }  # fmt: skip


def test_a_hole_between_two_batches_is_in_both_or_in_the_later() -> None:
    lost = (*stay(20_000, 21_000), "CPU:0 [LOST 12 EVENTS]", *stay(40_000, 41_000))
    made = recorder()
    at(made, 10_000).enter(UNMAP)
    at(made, 19_000).marker("here the first batch ends")
    at(made, 50_000).marker("and here the next one begins")
    at(made, 100_000).leave(UNMAP, duration_ns=90_000)
    for batch_events in (1, 2, 3, 4):
        found = traceview.analyze(merged(made.trace(batch_events), around(*lost)))
        assert found.unmaps["status"].to_list() == ["contaminated"]
        assert found.losses["count"].sum() == 12


def test_a_recording_that_begins_with_a_vcpu_loaded_has_a_hole_until_it_is_put() -> None:
    guest = [*stay(1_000, 2_000), line(3_000, "hyp_enter"), line(5_000_200_000, "hyp_exit")]
    made = recorder()
    for start in (5_000_100_000, 5_000_300_000):
        at(made, start).enter(UNMAP)
        at(made, start + 50_000).leave(UNMAP, duration_ns=50_000)
    stays = [*stay(5_000_310_000, 5_000_311_000), *stay(5_000_400_000, 5_000_401_000)]
    said = around(*guest, *stays, until_ns=6_000_000_000)
    unmaps = traceview.analyze(merged(made.trace(), said)).unmaps
    assert unmaps.select("hypercall", "status").rows() == [(0, "contaminated"), (1, "complete")]


def test_a_recording_that_ends_with_a_vcpu_loaded_has_a_hole_from_there() -> None:
    load = [line(5_000, "hyp_enter"), line(900, "hyp_exit"), *stay(1_000, 2_000)]
    found = unmap(merged(one_unmap().trace(), around(*stay(1_000, 2_000), *load)))
    assert found["status"] == "contaminated"


def test_a_vcpu_that_was_loaded_all_the_time_leaves_a_cpu_unknown() -> None:
    made = one_unmap(5_000_010_000, 5_000_100_000)
    guest = [*stay(1_000, 2_000), *stay(20_000, 21_000)]
    said = text(*guest, *stay(5_000_000_000, 5_000_000_000, cpu=7),
                *stay(5_001_000_000, 5_001_000_000, cpu=7))  # fmt: skip
    assert unmap(merged(made.trace(), said))["status"] == "contaminated"


def test_a_cpu_of_which_the_text_says_nothing_is_unknown() -> None:
    trace = merged(one_unmap().trace(), text(*stay(0, 0, cpu=7), *stay(10**9, 10**9, cpu=7)))
    assert unmap(trace)["status"] == "contaminated"
    assert "hypervisor-not-recorded" in codes(trace)


def test_where_times_fell_back_a_cpu_is_known_until_its_own_last_event() -> None:
    # The text is cut off: of CPU 0 nothing was read behind the first of its two unmaps.
    made = one_unmap()
    at(made, 200_000).enter(UNMAP)
    at(made, 300_000).leave(UNMAP, duration_ns=100_000)
    loaded = [line(2_000, "hyp_enter"), line(900, "hyp_exit"), line(950, "hyp_enter"),
              line(5_000, "hyp_exit")]  # fmt: skip
    said = around(*loaded, *stay(20_000, 21_000), *stay(150_000, 151_000))
    unmaps = traceview.analyze(merged(made.trace(), said)).unmaps
    assert unmaps["status"].to_list() == ["complete", "contaminated"]


def test_two_entries_without_an_exit_between_them_are_a_hole() -> None:
    said = around(line(20_000, "hyp_enter"), *stay(40_000, 41_000))
    assert unmap(merged(one_unmap().trace(), said))["status"] == "contaminated"
    woken = around(line(1_000, "hyp_enter"), *stay(40_000, 41_000, reason="psci"))
    assert unmap(merged(one_unmap().trace(), woken))["status"] == "complete"


def test_a_stay_shown_in_the_microsecond_of_the_unmaps_end_is_of_the_unmap() -> None:
    # It ends 300 ns into the microsecond: most of that lies behind it, and nothing else calls EL2.
    for first, last, shown in ((10_000, 100_300, 100_000), (10_700, 100_000, 10_000)):
        found = unmap(merged(one_unmap(first, last).trace(), around(*stay(shown, shown))))
        assert (found["hypercall"], found["status"]) == (1, "complete")


def test_behind_a_switch_a_stay_belongs_to_the_next_task() -> None:
    made = recorder()
    at(made, 10_000).enter(UNMAP)
    at(made, 30_000).tracepoint("sched_switch", prev_pid=100, next_pid=7)
    at(made.on(tid=7), 60_000).tracepoint("sched_switch", prev_pid=7, next_pid=100)
    at(made.on(tid=100), 100_000).leave(UNMAP, duration_ns=90_000)
    found = unmap(merged(made.trace(), around(*stay(40_000, 41_000), *stay(70_000, 72_000))))
    assert (found["hypercall"], found["hypercall_ns"]) == (1, 2_000)


@pytest.mark.parametrize("batch_events", [1, 2, 3])
def test_a_leaf_line_of_an_unmap_contains_its_stays(batch_events: int) -> None:
    made = recorder()
    at(made, 10_000).leaf(UNMAP, duration_ns=50_500)
    at(made, 60_000).leaf(UNMAP, duration_ns=30_000)
    said = around(*stay(20_000, 21_000), *stay(60_000, 60_000), *stay(70_000, 73_000))
    unmaps = traceview.analyze(merged(made.trace(batch_events), said)).unmaps
    assert unmaps["duration_ns"].to_list() == [50_500, 30_000]
    assert unmaps["hypercall"].sum() == 3
    assert unmaps["hypercall_ns"].to_list()[1] >= 3_000


def test_events_of_the_host_inside_a_stay_mean_that_the_clocks_differ() -> None:
    made = one_unmap()
    at(made, 200_000).enter(UNMAP)
    at(made, 210_000).enter(PUT)
    at(made, 211_000).leave(PUT, duration_ns=1_000)
    at(made, 300_000).leave(UNMAP, duration_ns=100_000)
    trace = merged(made.trace(), around(*stay(20_000, 21_000), *stay(205_000, 220_000)))
    unmaps = traceview.analyze(trace).unmaps
    assert unmaps["status"].to_list() == ["complete", "contaminated"]
    assert "hypervisor-contradicts" in codes(trace)


def test_a_trace_that_holds_the_hypervisors_events_takes_no_text_beside_it() -> None:
    once = merged(one_unmap().trace(), around(*stay(20_000, 21_000)))
    with pytest.raises(ParseError, match="already"):
        unmap(merged(once, around(*stay(20_000, 21_000))))


@pytest.mark.parametrize(
    "said",
    [
        b"\x00" * 5_000_000,
        b"[000]\t99999999999.999999: hyp_enter reason=hvc vcpu=0\n[000]\t    1.000000: hyp_exit\n",
        b"CPU:0 [LOST 999999999999999999 EVENTS]\nCPU:77777 [LOST 3 EVENTS]\n",
        b"[099]\t    1.000000: hyp_enter\n\xff\xfe\n[000]\t18446744073.709551: hyp_exit\n",
    ],
)
def test_what_is_no_recording_of_the_hypervisor_vouches_for_nothing(said: bytes) -> None:
    parts = [said[at : at + 1_000_000] for at in range(0, len(said), 1_000_000)]
    assert unmap(merged(one_unmap().trace(), parse(parts)))["status"] == "contaminated"


def test_the_report_says_what_hypercalls_are() -> None:
    said = around(*stay(20_000, 23_000), *stay(40_000, 42_000))
    found = {
        one.code: one.text for one in caveats(traceview.analyze(merged(one_unmap().trace(), said)))
    }
    assert "2 to 2 in each of 1 unmap (median 2)" in found["hypercalls"]
    assert "on nVHE they are its TLB invalidations" in found["hypercalls"]
    assert "pKVM" not in found["hypercalls"]
    assert "invalidation-not-separated" not in found


SAMPLES = Path(__file__).parent.parent / "sample_traces/nvhe-7.1"


@pytest.mark.parametrize(
    ("name", "per_step"),
    [
        # 16, 128 and 512 pages; one call per leaf and freed table.
        ("nvhe-7.1-neoverse-n1", {"4k-64K": 18, "4k-512K": 130, "4k-2048K": 514, None: 0}),
        # One range and two tables; the range alone where nothing was mapped.
        ("nvhe-7.1-max", {"4k-64K": 3, "4k-512K": 3, "4k-2048K": 3, None: 1}),
        # One per page, all of it at EL2; in two unmaps the host also faulted (host_abort).
        ("pkvm-7.1-max", {"4k-64K": 16, "4k-512K": 128, "4k-2048K": 512, None: 0}),
    ],
)
def test_a_real_hypervisor_was_entered_as_often_as_it_had_to_invalidate(
    name: str, per_step: dict[str | None, int]
) -> None:
    found = traceview.analyze(open_trace(SAMPLES / f"{name}.tar.xz")).unmaps
    assert (found["status"] == "complete").all()
    assert len(found) == 15
    faults = found["hypercall"] - found["step"].replace_strict(per_step)
    assert faults.to_list().count(0) == len(found) - 2 * name.startswith("pkvm")
    assert set(faults) <= {0, 1}
    assert (found["hypercall_ns"] + found["rest_ns"] == found["duration_ns"]).all()
    assert (found["rest_ns"] > 0).all()


def test_a_sidecar_names_the_text_of_the_hypervisor(tmp_path: Path) -> None:
    trace = tmp_path / "top.txt"
    trace.write_text(
        "# tracer: function_graph\n#\n"
        "# TIME        CPU  TASK/PID         DURATION                  FUNCTION CALLS\n"
        "    1.000010 |   0)  unmap-200    |               |  kvm_pgtable_stage2_unmap() {\n"
        "    1.000110 |   0)  unmap-200    | ! 100.000 us  |  } /* kvm_pgtable_stage2_unmap */\n"
    )
    (tmp_path / "el2.txt").write_text(
        "".join(f"{one}\n" for one in (*stay(0, 0), *stay(1_000_030_000, 1_000_033_000),
                                      *stay(2_000_000_000, 2_000_000_000)))
    )  # fmt: skip
    sidecar = {"clock": "boot", "hypervisor": "el2.txt"}
    Path(f"{trace}.host.json").write_text(json.dumps(sidecar))
    found = unmap(open_trace(trace))
    assert (found["hypercall"], found["hypercall_ns"]) == (1, 3_000)


def test_a_text_of_the_hypervisor_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    trace = tmp_path / "top.txt"
    trace.write_text("# tracer: function_graph\n")
    Path(f"{trace}.host.json").write_text(json.dumps({"hypervisor": "el2.txt"}))
    with pytest.raises(SettingError, match=r"hypervisor's text .* is not there"):
        open_trace(trace)

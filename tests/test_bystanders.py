"""What an unmap costs vCPUs of other tasks is what the events say, and null where they cannot."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from tests import bystander_reference as reference
from tests.truth import TRACES
from tests.writers.events import Recorder
from traceview.parsers import open_trace
from traceview.parsers.source import open_source
from traceview.queries.analysis import Analysis, analyze
from traceview.queries.bystander_groups import bystander_groups, unmeasured
from traceview.queries.filters import Filters, apply
from traceview.schema import BYSTANDERS

if TYPE_CHECKING:
    from traceview.trace import Trace

UNMAP = "kvm_pgtable_stage2_unmap"
HOST, VCPU, OTHER = 100, 201, 202
COLUMNS = [name for name in BYSTANDERS if name not in ("unmap_id", "vm")]
RANGE = {"addr": 0x8000_0000, "size": 0x4000}
FAULT = {"ipa": 0x8000_1000, "hsr": 0x9380_0007}
Line = tuple[Any, ...]


def record(*lines: Line, losses: tuple[dict[str, Any], ...] = (), **facts: Any) -> Recorder:
    """Events as (microsecond, task, name, arguments), in any order."""
    recorder = Recorder()
    recorder.facts.update(facts)
    for us, tid, name, *args in sorted(lines, key=lambda line: line[0]):
        given_args = args[0] if args else {}
        recorder.on(tid=tid, cpu=tid % 2).now_ns = us * 1000 - recorder.tick_ns
        if name == "unmap":
            recorder.enter(UNMAP, **given_args)
        elif name == "return":
            recorder.leave(UNMAP, **given_args)
        elif name == "flush":
            recorder.call("__kvm_tlb_flush_vmid_ipa", **given_args)
        else:
            recorder.tracepoint(name, **given_args)
    recorder.losses.extend(losses)
    return recorder


def unmap(begin: int, end: int, tid: int = HOST, **args: int) -> list[Line]:
    return [(begin, tid, "unmap", {**RANGE, **args}), (end, tid, "return", _tgid(args))]


def fault(begin: int, end: int, tid: int = VCPU, **args: int) -> list[Line]:
    """A vCPU leaves its guest for a stage-2 fault, and enters it again."""
    return [(begin, tid, "kvm_exit", _tgid(args)),
            (begin + 1, tid, "kvm_guest_fault", {**FAULT, **args}),
            (end, tid, "kvm_entry", _tgid(args))]  # fmt: skip


def _tgid(args: dict[str, int]) -> dict[str, int]:
    return {"tgid": args["tgid"]} if "tgid" in args else {}


def life(tid: int = VCPU, until: int = 5000, **args: int) -> list[Line]:
    return [(1, tid, "kvm_entry", args), (until, tid, "kvm_exit", args)]


def rows(recorder: Recorder | Trace) -> list[dict[str, Any]]:
    trace = recorder.trace() if isinstance(recorder, Recorder) else recorder
    return analyze(trace).bystanders.to_dicts()


def row(*lines: Line, **options: Any) -> dict[str, Any]:
    (only,) = rows(record(*lines, **options))
    return only


# ---- what is a stall


def test_a_stall_is_what_lies_in_the_unmap_of_an_exit_for_a_fault() -> None:
    found = row(*life(), *unmap(100, 200), *fault(150, 260), *fault(90, 110), *fault(300, 320))
    assert (found["stalls"], found["stall_ns"], found["longest_stall_ns"]) == (2, 60_000, 50_000)
    assert (found["vcpus"], found["vcpu_ns"], found["stalled_ns"]) == (1, 100_000, 60_000)
    assert (found["guest_faults"], found["guest_faults_after"]) == (1, 1)


def test_exits_without_a_fault_are_no_stalls() -> None:
    waiting = [(110, VCPU, "kvm_exit"), (190, VCPU, "kvm_entry")]
    found = row(*life(), *unmap(100, 200), *waiting, *fault(1000, 1010))
    assert (found["stalls"], found["stall_ns"], found["guest_faults"]) == (0, 0, 0)


def test_an_access_to_a_device_is_neither_a_fault_nor_a_stall() -> None:
    device = [*fault(110, 150), (112, VCPU, "kvm_mmio")]
    found = row(*life(), *unmap(100, 200), *device, *fault(1000, 1010))
    assert (found["stalls"], found["guest_faults"], found["guest_faults_after"]) == (0, 0, 1)


def test_a_stall_ends_where_the_vcpu_goes_to_user_space() -> None:
    found = row(*life(), *unmap(100, 200), *fault(110, 190), (130, VCPU, "kvm_userspace_exit"))
    assert (found["stalls"], found["stall_ns"]) == (1, 20_000)


def test_time_off_the_cpu_is_told_apart_where_switches_were_recorded() -> None:
    switches = [
        (120, VCPU, "sched_switch", {"next_pid": 7}),
        (150, 7, "sched_switch", {"next_pid": VCPU}),
        (400, VCPU, "sched_switch", {"next_pid": 7}),
    ]
    found = row(*life(), *unmap(100, 200), *fault(110, 190), *switches)
    assert (found["stalls"], found["stall_ns"], found["off_cpu_ns"]) == (1, 50_000, 30_000)
    assert found["longest_stall_ns"] == 40_000
    blind = row(*life(), *unmap(100, 200), *fault(110, 190))
    assert (blind["stall_ns"], blind["off_cpu_ns"]) == (80_000, None)


def test_time_in_which_two_are_stalled_counts_once_as_such() -> None:
    found = row(*life(), *life(OTHER), *unmap(100, 200), *fault(110, 150), *fault(140, 180, OTHER))
    assert (found["vcpus"], found["stall_ns"], found["stalled_ns"]) == (2, 80_000, 70_000)


def test_an_exit_of_which_the_entry_is_missing_is_no_stall_but_its_fault_counts() -> None:
    found = row((1, VCPU, "kvm_entry"), *unmap(100, 200), *fault(110, 190)[:2])
    assert (found["stalls"], found["guest_faults"]) == (0, 1)


# ---- who is a bystander


def test_the_task_that_unmaps_is_no_bystander() -> None:
    found = row(*life(HOST), *unmap(100, 200), *fault(50, 90, HOST), *fault(210, 220, HOST))
    assert (found["vcpus"], found["stalls"], found["guest_faults_after"]) == (0, 0, 0)


def test_where_processes_are_known_only_vcpus_of_the_same_one_count() -> None:
    lines = [*life(VCPU, tgid=50), *life(OTHER, tgid=60),
             *fault(110, 150, VCPU, tgid=50), *fault(110, 190, OTHER, tgid=60)]  # fmt: skip
    found = row(*lines, *unmap(100, 200, tgid=50))
    assert (found["vm"], found["vcpus"], found["stall_ns"]) == ("process", 1, 40_000)
    unknown = row(*lines, *unmap(100, 200))
    assert (unknown["vm"], unknown["vcpus"], unknown["stall_ns"]) == ("any", 2, 120_000)
    kswapd = row(*lines, *unmap(100, 200, tgid=2))
    assert (kswapd["vm"], kswapd["vcpus"]) == ("any", 2)


def test_a_vcpu_that_unmaps_from_another_mmu_is_of_another_vm() -> None:
    def mine(begin: int, end: int, tid: int, mmu: int) -> list[Line]:
        return [*unmap(begin, end, tid), (begin + 1, tid, "flush", {"mmu": mmu})]

    lines = [*life(VCPU), *life(OTHER), *fault(110, 150, VCPU), *fault(110, 190, OTHER),
             *fault(210, 220, OTHER), *mine(100, 200, HOST, 0xA)]  # fmt: skip
    first = row(*lines)
    assert (first["vcpus"], first["stall_ns"], first["guest_faults_after"]) == (2, 120_000, 1)
    for mmu, vcpus, stall_ns, after in ((0xB, 1, 40_000, 0), (0xA, 2, 120_000, 1)):
        for batch_events in (None, 3):
            recorder = record(*lines, *mine(3000, 3100, OTHER, mmu))
            found, _ = rows(recorder.trace(batch_events))
            assert (found["vcpus"], found["stall_ns"]) == (vcpus, stall_ns)
            assert found["guest_faults_after"] == after


def test_a_vcpu_counts_as_there_between_its_first_and_its_last_event() -> None:
    lines = [*life(until=150), *unmap(100, 200), *unmap(300, 310), *fault(120, 130)]
    first, second = rows(record(*lines))
    assert (first["vcpus"], first["vcpu_ns"], second["vcpus"]) == (1, 50_000, 0)


# ---- after the unmap


def test_refaults_are_translation_faults_on_what_was_unmapped_in_the_window() -> None:
    faults = [
        *fault(210, 215),
        *fault(220, 225, ipa=0x8000_4000),  # beyond the range
        *fault(230, 235, hsr=0x9380_000F),  # permission
        *fault(240, 245, hsr=0x9380_002B),  # translation, level -1
        *fault(1190, 1195, ipa=0x8000_0000),
        *fault(1200, 1205),  # the fault itself is one later: beyond the window
    ]
    found = row(*life(), *unmap(100, 200), *faults)
    assert (found["window_ns"], found["window_vcpu_ns"]) == (1_000_000, 1_000_000)
    assert (found["guest_faults_after"], found["refaults"]) == (5, 3)


def test_the_window_ends_with_the_trace_and_refaults_need_addresses() -> None:
    found = row(*life(until=700), *unmap(100, 200), *fault(210, 215))
    assert (found["window_ns"], found["refaults"]) == (500_000, 1)
    lines = [*life(), (100, HOST, "unmap"), (200, HOST, "return"), *fault(210, 215)]
    assert row(*lines)["refaults"] is None


def test_an_unmap_of_nothing_is_refaulted_by_nobody() -> None:
    leaf = (2050, HOST, "flush", {"ipa": 0x8000_0000, "level": 3})
    lines = [*life(), *unmap(100, 200), *fault(210, 215), *unmap(2000, 2100), leaf,
             *fault(2210, 2215)]  # fmt: skip
    found = analyze(record(*lines).trace())
    assert found.unmaps["leaves"].to_list() == [0, 1]
    assert found.bystanders["guest_faults_after"].to_list() == [1, 1]
    assert found.bystanders["refaults"].to_list() == [0, 1]


# ---- outside


def test_what_vcpus_do_outside_unmaps_and_windows_is_added_up() -> None:
    lines = [*life(), *unmap(100, 200), *fault(20, 60), *fault(90, 110), *fault(500, 510),
             *fault(3000, 3100)]  # fmt: skip
    vcpu = analyze(record(*lines).trace()).vcpus.row(0, named=True)
    assert (vcpu["exits"], vcpu["guest_faults"], vcpu["stall_ns"]) == (4, 4, 170_000)
    assert (vcpu["outside_ns"], vcpu["outside_guest_faults"]) == (4_999_000 - 1_100_000, 3)
    assert (vcpu["outside_stall_ns"], vcpu["unmaps"]) == (150_000, 1)


# ---- what cannot be said


def test_a_hole_on_any_cpu_leaves_unknown_what_it_may_have_hidden() -> None:
    hole = {"cpu": 5, "kind": "lost_events", "from_ns": 150_000, "to_ns": 160_000,
            "from_seq": 4, "to_seq": 5}  # fmt: skip
    lines = [*life(), *unmap(100, 200), *unmap(3000, 3100), *fault(110, 112), *fault(3010, 3020)]
    first, second = rows(record(*lines, losses=(hole,)))
    for column in ("stalls", "stall_ns", "stalled_ns", "guest_faults"):
        assert (first[column] is None, second[column] is None) == (True, False), column
    assert first["guest_faults_after"] == 0
    later = {**hole, "from_ns": 250_000, "to_ns": 260_000, "from_seq": 5, "to_seq": 6}
    first, _ = rows(record(*lines, losses=(later,)))
    assert (first["stalls"], first["guest_faults_after"], first["refaults"]) == (1, None, None)
    found = analyze(record(*lines, losses=(hole,)).trace())
    assert found.vcpus["outside_ns"].to_list() == [None]


def test_an_exit_that_a_hole_lies_in_makes_the_unmaps_beside_it_unknown() -> None:
    lines = [*life(), *unmap(100, 200), *fault(110, 500)]
    seqs = {"from_seq": 5, "to_seq": 6, "from_ns": 200_000, "to_ns": 500_000}
    found = row(*lines, losses=({"cpu": 5, "kind": "lost_events", **seqs},))
    assert (found["vcpus"], found["stalls"]) == (1, None)


def test_a_loss_that_cannot_be_placed_may_be_anywhere_unless_it_is_of_kprobes() -> None:
    lines = [*life(), *unmap(100, 200), *fault(110, 150)]
    assert row(*lines, losses=({"kind": "overrun", "count": 3},))["stalls"] is None
    assert row(*lines, losses=({"kind": "kprobe_missed", "count": 3},))["stalls"] == 1


def why(recorder: Recorder) -> str:
    (reason,) = unmeasured(analyze(recorder.trace())).values()
    return reason


def test_it_is_said_why_the_cost_to_others_is_not_known() -> None:
    lines = [*unmap(100, 200)]
    assert why(record(*lines)) == (
        "kvm_exit, kvm_entry and kvm_guest_fault, which show it, were not recorded"
    )
    assert why(record(*lines, *life())) == "kvm_guest_fault, which shows it, was not recorded"
    stalled = [*life(), *fault(110, 150)]
    assert "`local`" in why(record(*lines, *stalled, clock="local"))
    assert rows(record(*lines, *stalled, clock="local")) == []
    assert "no vCPU of another task" in why(record(*lines, *life(HOST), *fault(10, 20, HOST)))
    lost = {"kind": "overrun", "count": 3}
    assert "may be missing" in why(record(*lines, *stalled, losses=(lost,)))
    assert unmeasured(analyze(record(*lines, *stalled).trace())) == {}


def test_faults_alone_are_counted_and_stalls_are_not_known() -> None:
    lines = [(us, VCPU, "kvm_guest_fault", FAULT) for us in (10, 150, 300, 400)]
    found = row(*lines, *unmap(100, 200))
    assert (found["stalls"], found["stall_ns"], found["stalled_ns"]) == (None, None, None)
    assert (found["vcpus"], found["guest_faults"], found["refaults"]) == (1, 1, 2)


def test_unmaps_that_are_not_complete_have_no_row() -> None:
    found = rows(record(*life(), *unmap(100, 200), *fault(110, 150), (300, HOST, "unmap", RANGE)))
    assert len(found) == 1


# ---- held to the reference


def storm(seed: int) -> tuple[list[Line], list[reference.Event]]:
    """Random events of three vCPUs and two tasks that unmap, all at different times."""
    draw = random.Random(seed)
    known = draw.random() < 0.5
    tgid = {VCPU: 50, OTHER: 60, 203: 50, HOST: 50, 101: draw.choice([60, 70])}
    lines: list[Line] = []
    weights = {"kvm_exit": 6, "kvm_guest_fault": 6, "kvm_mmio": 1, "kvm_entry": 7,
               "kvm_userspace_exit": 1, "sched_switch": 2}  # fmt: skip
    for tid in (VCPU, OTHER, 203):
        off = False
        for us in sorted(draw.sample(range(1, 9000), 60)):
            name = draw.choices([*weights], [*weights.values()])[0]
            args: dict[str, int] = {"tgid": tgid[tid]} if known else {}
            who = tid
            if off:  # nothing comes before it is back on its CPU
                name, who, args, off = "sched_switch", 7, {"next_pid": tid}, False
            elif name == "kvm_guest_fault":
                ipa = RANGE["addr"] + 0x1000 * draw.randrange(6)
                args |= {"ipa": ipa, "hsr": draw.randrange(16)}
            elif name == "sched_switch":
                args, off = args | {"next_pid": 7}, True
            lines.append((3 * us + tid % 3, who, name, args))
    for shift, tid in enumerate((HOST, 101)):
        times = sorted(draw.sample(range(10, 9000), 24))
        for begin, end in zip(times[::2], times[1::2], strict=True):
            args = {"tgid": tgid[tid]} if known else {}
            lines += unmap(30_000 * shift + 3 * begin, 30_000 * shift + 3 * end, tid, **args)
    lines.sort(key=lambda line: line[0])
    events = []
    for us, tid, name, args in lines:
        others = {key: value for key, value in args.items() if key != "tgid"}
        events.append(reference.Event(us * 1000, tid, name, args.get("tgid"), others))
    return lines, events


@pytest.mark.parametrize("seed", range(8))
def test_random_events_give_what_plain_loops_give_whatever_the_batches(seed: int) -> None:
    lines, events = storm(seed)
    recorder = record(*lines)
    wanted = reference.rows(events)
    for batch_events in (None, 11, 60):
        found = analyze(recorder.trace(batch_events))
        mine = found.bystanders.join(
            found.unmaps.select("unmap_id", "start_ns"), on="unmap_id", maintain_order="left"
        ).sort("start_ns")
        assert mine.select("start_ns", *COLUMNS).to_dicts() == [
            {name: one[name] for name in ("start_ns", *COLUMNS)} for one in wanted
        ]
        whole = analyze(recorder.trace())
        assert found.vcpus.equals(whole.vcpus)


@pytest.mark.captures
@pytest.mark.skipif(not TRACES.is_dir(), reason="no captures: ../shared/traces is not there")
@pytest.mark.parametrize("folder", ["6.1-max", "6.12-max"])
@pytest.mark.parametrize(
    ("text", "trace", "stalls"),
    [
        ("storm-kprobes.txt.zst", "storm-kprobes.txt.zst", True),
        ("storm-tc.report.txt.zst", "storm-tc.dat.zst", True),
        ("kprobes.txt.zst", "kprobes.txt.zst", False),  # each VM's only vCPU unmaps by itself
    ],
)
def test_captures_give_what_plain_loops_over_their_text_give(
    folder: str, text: str, trace: str, *, stalls: bool
) -> None:
    lines = b"".join(open_source(TRACES / folder / text).chunks()).decode()
    wanted = reference.rows(reference.read_text(lines))
    found = analyze(open_trace(TRACES / folder / trace))
    mine = found.bystanders.join(
        found.unmaps.select("unmap_id", "start_ns", "leaves"), on="unmap_id", maintain_order="left"
    ).sort("start_ns")
    assert (mine["stalls"].sum() > 40) == stalls
    for one, row_ in zip(wanted, mine.to_dicts(), strict=True):
        one["refaults"] *= row_["leaves"] != 0
        for name in COLUMNS:  # the text is in microseconds; both ends of a difference are rounded
            slack = 2_000 * max(1, one["stalls"]) if name.endswith("_ns") else 0
            assert abs(one[name] - row_[name]) <= slack, (name, one, row_)


# ---- sums


def groups(*lines: Line, **options: Any) -> list[dict[str, Any]]:
    return bystander_groups(analyze(record(*lines, **options).trace())).to_dicts()


def test_groups_are_of_the_unmaps_that_had_a_vcpu_beside_them() -> None:
    lines = [*life(until=4000), *unmap(100, 200), *unmap(2000, 2100), *unmap(7000, 7100),
             *fault(110, 150), *fault(2010, 2030), *fault(1500, 1600)]  # fmt: skip
    (found,) = groups(*lines)
    assert (found["count"], found["alone"], found["unknown"], found["after"]) == (3, 1, 0, 2)
    assert (found["stalls"], found["stall_ns"], found["longest_stall_ns"]) == (2, 60_000, 40_000)
    assert (found["median_stall_ns"], found["p95_stall_ns"]) == (30_000, None)
    assert (found["vcpu_ns"], found["duration_ns"], found["vcpus"]) == (200_000, 200_000, 1)
    assert (found["outside_stall_ns"], found["outside_guest_faults"]) == (100_000, 1)


def test_filters_keep_the_bystanders_of_the_unmaps_that_they_keep() -> None:
    lines = [*life(), *unmap(100, 200), *unmap(2000, 2100), *fault(110, 150)]
    found = analyze(record(*lines).trace())
    kept = apply(Filters(from_ns=1_000_000), found)
    assert kept.bystanders["unmap_id"].to_list() == kept.unmaps["unmap_id"].to_list()
    assert (len(kept.bystanders), kept.vcpus.equals(found.vcpus)) == (1, True)


def test_no_unmaps_give_no_groups() -> None:
    found: Analysis = analyze(record(*life(), *fault(110, 150)).trace())
    assert bystander_groups(found).is_empty()
    assert unmeasured(found) == {}
    assert found.vcpus["guest_faults"].to_list() == [1]

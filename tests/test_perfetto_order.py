"""The Perfetto parser: order in time, holes, tasks and scheduling."""

from __future__ import annotations

from typing import Any

import pytest

from tests.perfetto_reading import read
from tests.writers import perfetto as w
from traceview.parsers import perfetto_reader

HOLE = ("cpu", "kind", "from_ns", "to_ns", "from_seq", "to_seq")


def marks(cpu: int, *times: int, **fields: Any) -> Any:
    found = w.bundle(cpu, [w.event(ts, 10 + cpu, print={"buf": str(ts)}) for ts in times], **fields)
    return w.packet(ftrace_events=found)


def failed(ts_ns: int) -> Any:
    """What Perfetto leaves where it cannot parse an event."""
    found = w.event(ts_ns, 0)
    found.ClearField("pid")
    return found


def test_events_of_all_cpus_are_in_time_order() -> None:
    content = w.trace(marks(0, 1, 4, 7), marks(1, 2, 3, 9), marks(0, 8, 10), marks(2, 5, 6))
    found = read(content)
    assert found.column("ts_ns") == list(range(1, 11))
    assert found.column("cpu") == [0, 1, 1, 0, 2, 2, 0, 0, 1, 0]


@pytest.mark.parametrize("group_bytes", [1, 1000])
@pytest.mark.parametrize("batch_events", [1, 3, 10, 1000])
def test_the_size_of_batches_and_of_groups_changes_nothing(
    batch_events: int, group_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = [
        marks(cpu, *range(cpu + n * 100, n * 100 + 90, 7)) for n in range(20) for cpu in (2, 0, 1)
    ]
    whole = read(w.trace(*packets))
    monkeypatch.setattr(perfetto_reader, "GROUP_BYTES", group_bytes)
    found = read(w.trace(*packets), batch_events=batch_events)
    assert found.events.equals(whole.events)
    assert found.args.sort("seq").equals(whole.args.sort("seq"))
    assert found.column("ts_ns") == sorted(found.column("ts_ns"))
    for batch in found.batches:
        assert set(batch.args["seq"]) <= set(batch.events["seq"])


def test_a_cpu_that_was_read_once_at_the_end_is_merged_all_the_same() -> None:
    early = [marks(0, *range(n * 10, n * 10 + 10)) for n in range(1, 200)]
    late = marks(1, *range(15, 1990, 10))
    found = read(w.trace(*early, late), batch_events=50)
    assert found.column("ts_ns") == sorted(found.column("ts_ns"))
    assert "late-events" not in found.diagnostics


def test_events_at_the_same_time_keep_the_order_of_the_file() -> None:
    same = [w.event(5, 7, print={"buf": str(n)}) for n in range(10)]
    assert read(w.trace(w.events(0, *same))).arg("buf") == [str(n) for n in range(10)]


def test_bundles_of_a_cpu_that_are_out_of_order_are_put_in_order() -> None:
    found = read(w.trace(marks(0, 50, 60), marks(0, 10, 20), marks(0, 70)), batch_events=1)
    assert found.column("ts_ns") == [10, 20, 50, 60, 70]


def test_events_that_come_too_late_are_counted_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perfetto_reader, "GROUP_BYTES", 1)
    content = w.trace(marks(0, 10, 20), marks(0, 30), marks(0, 90), marks(1, 100, 5), marks(0, 110))
    found = read(content, batch_events=1)
    assert sorted(found.column("ts_ns")) == [5, 10, 20, 30, 90, 100, 110]
    assert found.column("seq") == list(range(7))
    assert found.diagnostics["late-events"].count == 1


def test_lost_events_are_a_hole_on_their_cpu() -> None:
    content = w.trace(
        marks(0, 10, 20),
        marks(1, 15, 55),
        marks(0, 50, 60, lost_events=True, previous_bundle_end_timestamp=20),
    )
    found = read(content)
    assert found.losses.select(HOLE).rows() == [(0, "lost_events", 20, 50, 2, 3)]


def test_events_lost_before_the_first_are_a_hole_from_where_the_cpu_was_read_last() -> None:
    content = w.trace(marks(0, 50, lost_events=True, previous_bundle_end_timestamp=20))
    assert read(content).losses.select(HOLE).rows() == [(0, "lost_events", 20, 50, None, 0)]
    content = w.trace(marks(0, 50, lost_events=True))
    assert read(content).losses.select(HOLE).rows() == [(0, "lost_events", None, 50, None, 0)]


def test_a_bundle_that_is_missing_is_a_hole() -> None:
    content = w.trace(marks(0, 10, 20), marks(0, 50, 60, previous_bundle_end_timestamp=40))
    assert read(content).losses.select(HOLE).rows() == [(0, "missing_packets", 20, 50, 1, 2)]


def test_bundles_that_follow_each_other_leave_no_hole() -> None:
    content = w.trace(marks(0, 10, 20), marks(0, 50, previous_bundle_end_timestamp=20))
    assert read(content).losses.is_empty()


def test_where_perfetto_failed_there_is_a_hole_until_its_next_event() -> None:
    events = [w.event(10, 7, print={"buf": "a"}), failed(20), w.event(90, 7, print={"buf": "b"})]
    found = read(w.trace(w.events(0, *events)))
    assert found.losses.select(HOLE).rows() == [(0, "parse_error", 20, 90, 0, 1)]
    assert found.skipped == {}


def test_a_failure_at_the_end_of_a_bundle_is_a_hole_until_the_next_bundle() -> None:
    content = w.trace(w.events(0, w.event(10, 7, print={"buf": "a"}), failed(20)), marks(0, 70))
    assert read(content).losses.select(HOLE).rows() == [(0, "parse_error", 20, 70, 0, 1)]
    content = w.trace(w.events(0, w.event(10, 7, print={"buf": "a"}), failed(20)))
    assert read(content).losses.select(HOLE).rows() == [(0, "parse_error", 20, None, 0, None)]


def test_a_failure_without_a_trace_in_the_events_spoils_what_follows_its_page() -> None:
    bundle = w.bundle(0, [w.event(ts, 7, print={"buf": "x"}) for ts in (10, 20, 30)])
    bundle.error.add(timestamp=15, status=17)
    found = read(w.trace(w.packet(ftrace_events=bundle)))
    assert found.losses.select(HOLE).rows() == [(0, "parse_error", 15, 30, 0, 2)]


def test_a_hole_longer_than_a_batch_comes_with_each_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(perfetto_reader, "GROUP_BYTES", 1)
    content = w.trace(
        marks(0, 10),
        *(marks(1, *range(n * 10, n * 10 + 10)) for n in range(2, 30)),
        marks(0, 290, lost_events=True, previous_bundle_end_timestamp=10),
    )
    found = read(content, batch_events=40)
    holes = found.losses.sort("from_ns")
    assert holes["from_ns"][0] == 10
    assert holes["to_ns"][-1] == 290
    assert holes["to_ns"].to_list()[:-1] == holes["from_ns"].to_list()[1:]
    first_seen = 0
    for batch in found.batches:
        first_seen += batch.losses.height
        inside = batch.events.filter((batch.events["ts_ns"] > 10) & (batch.events["ts_ns"] < 290))
        assert inside.is_empty() or first_seen


def test_compact_and_plain_switches_say_the_same() -> None:
    plain = w.events(
        0,
        w.event(
            20, 7,
            sched_switch={
                "prev_comm": "vcpu", "prev_pid": 7, "prev_prio": 120, "prev_state": 1,
                "next_comm": "idle", "next_pid": 0, "next_prio": 120,
            },
        ),
    )  # fmt: skip
    compact = w.packet(
        ftrace_events=w.bundle(
            0, [], compact_sched=w.compact([(10, 7, 0, "vcpu"), (20, 0, 1, "idle")])
        )
    )
    one, two = read(w.trace(plain), all_events=True), read(w.trace(compact), all_events=True)
    assert two.column("tid") == [None, 7]
    assert one.column("tid") == [7]
    for name in ("prev_pid", "next_pid", "next_prio", "prev_state", "next_comm"):
        assert one.arg(name)[-1] == two.arg(name)[-1], name
    assert one.arg("prev_state") == ["S"]


def test_only_the_tasks_of_a_switch_are_arguments_where_not_all_is_wanted() -> None:
    compact = w.compact([(10, 7, 0, "a"), (20, 8, 256, "b")], [(15, 7, 0, "a")])
    found = read(w.trace(w.packet(ftrace_events=w.bundle(0, [], compact_sched=compact))))
    assert sorted(set(found.args["name"])) == ["next_pid", "prev_pid"]
    assert found.skipped == {"sched_waking": 1}


def test_the_running_task_is_known_from_the_bundle_before_but_not_behind_a_hole() -> None:
    def switch(ts: int, tid: int, **fields: Any) -> Any:
        table = w.compact([(ts, tid, 0, "t")])
        return w.packet(ftrace_events=w.bundle(0, [], compact_sched=table, **fields))

    lost = switch(30, 9, lost_events=True, previous_bundle_end_timestamp=20)
    found = read(w.trace(switch(10, 7), switch(20, 8), lost, switch(40, 6)))
    assert found.column("tid") == [None, 7, None, 9]


def test_wakings_are_events_where_all_are_wanted() -> None:
    compact = w.compact([], [(15, 7, 3, "vcpu")])
    content = w.trace(w.packet(ftrace_events=w.bundle(0, [], compact_sched=compact)))
    found = read(content, all_events=True)
    assert found.events.select("name", "tid", "ts_ns").rows() == [("sched_waking", None, 15)]
    assert (found.arg("pid"), found.arg("target_cpu"), found.arg("comm")) == ([7], [3], ["vcpu"])


@pytest.mark.parametrize(
    ("state", "text"), [(0, "R"), (1, "S"), (2, "D"), (256, "R+"), (0x81, "S|I"), (258, "D+")]
)
def test_task_states_are_spelt_as_the_kernel_does(state: int, text: str) -> None:
    compact = w.compact([(10, 7, state, "a")])
    content = w.trace(w.packet(ftrace_events=w.bundle(0, [], compact_sched=compact)))
    assert read(content, all_events=True).arg("prev_state") == [text]


def test_tasks_have_names_and_groups_from_the_process_tree() -> None:
    tree = w.packet(process_tree=w.process_tree([(5, 5, "qemu"), (7, 5, "CPU 0/KVM")]))
    found = read(w.trace(marks(0, 1), w.events(0, w.event(2, 7, print={"buf": "x"})), tree))
    assert found.events.select("tid", "tgid", "comm").rows() == [
        (10, None, None),
        (7, 5, "CPU 0/KVM"),
    ]


def test_a_task_is_called_what_the_last_switch_to_it_said() -> None:
    compact = w.compact([(10, 7, 0, "sh"), (20, 0, 0, "swapper/0"), (30, 7, 0, "workload")])
    events = [w.event(ts, 7, print={"buf": "x"}) for ts in (5, 12, 35)]
    idle = w.event(25, 0, print={"buf": "x"})
    bundle = w.bundle(0, [*events[:2], idle, events[2]], compact_sched=compact)
    for size in (1, 1000):
        found = read(w.trace(w.packet(ftrace_events=bundle)), batch_events=size)
        prints = found.events.filter(found.events["name"] == "print")
        assert prints["comm"].to_list() == ["sh", "sh", "swapper/0", "workload"]


def test_each_idle_task_has_its_own_name() -> None:
    packets = [
        w.packet(
            ftrace_events=w.bundle(
                cpu,
                [w.event(20 + cpu, 0, print={"buf": "x"})],
                compact_sched=w.compact([(10 + cpu, 0, 0, f"swapper/{cpu}")]),
            )
        )
        for cpu in (0, 1)
    ]
    found = read(w.trace(*packets))
    prints = found.events.filter(found.events["name"] == "print")
    assert prints["comm"].to_list() == ["swapper/0", "swapper/1"]

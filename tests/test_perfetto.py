"""The Perfetto parser: what becomes of each kind of event."""

from __future__ import annotations

import pytest

from tests.perfetto_reading import read
from tests.writers import perfetto as w

FIRST = 65536


def test_every_event_has_its_time_cpu_task_and_number() -> None:
    found = read(w.trace(w.events(3, w.event(100, 7, print={"buf": "a\n"}))))
    assert found.events.select("seq", "ts_ns", "cpu", "tid", "name").rows() == [
        (0, 100, 3, 7, "print")
    ]


def test_a_marker_is_a_print_event_without_the_end_of_its_line() -> None:
    found = read(w.trace(w.events(0, w.event(1, 7, print={"buf": "begin s01\n", "ip": 5}))))
    assert found.column("evidence") == ["marker"]
    assert found.column("phase") == ["instant"]
    assert found.args.select("seq", "name", "text").rows() == [(0, "buf", "begin s01")]


def test_the_duration_of_a_graph_exit_is_of_the_local_clock() -> None:
    found = read(
        w.trace(
            w.events(
                0,
                w.graph_entry(1_000_000, 7, 1, depth=2),
                w.graph_exit(1_000_900, 7, 1, called=50, returned=350, depth=2),
                interned_data=w.symbols({1: "kvm_pgtable_stage2_unmap"}),
            )
        )
    )
    assert found.column("name") == ["funcgraph_entry", "funcgraph_exit"]
    assert found.column("symbol") == ["kvm_pgtable_stage2_unmap"] * 2
    assert found.column("phase") == ["entry", "exit"]
    assert found.column("evidence") == ["fgraph"] * 2
    assert found.column("depth") == [2, 2]
    assert found.column("duration_ns") == [None, 300]


def test_a_graph_without_depth_says_null() -> None:
    found = read(w.trace(w.events(0, w.graph_entry(1, 7, 1, depth=None))))
    assert found.column("depth") == [None]


def test_symbol_ids_mean_something_else_once_the_sequence_clears_its_state() -> None:
    def at(ts: int, name: str, flags: int) -> object:
        names = w.symbols({1: name})
        return w.events(0, w.graph_entry(ts, 7, 1), interned_data=names, sequence_flags=flags)

    again = w.events(0, w.graph_entry(30, 7, 1))
    found = read(w.trace(at(10, "old", 1), at(20, "new", 1), again))
    assert found.column("symbol") == ["old", "new", "new"]


def test_symbol_ids_belong_to_a_sequence() -> None:
    def of(sequence: int, ts: int, name: str) -> object:
        names = w.symbols({1: name})
        return w.events(0, w.graph_entry(ts, 7, 1), sequence=sequence, interned_data=names)

    found = read(w.trace(of(2, 10, "here"), of(3, 20, "there")))
    assert found.column("symbol") == ["here", "there"]
    assert found.column("buffer") == ["sequence 2", "sequence 3"]
    assert "several-sequences" in found.diagnostics


def test_after_a_lost_packet_symbol_ids_mean_nothing() -> None:
    names = w.symbols({1: "known"})
    first = w.events(0, w.graph_entry(10, 7, 1), interned_data=names, sequence_flags=1)
    second = w.events(0, w.graph_entry(20, 7, 1), previous_packet_dropped=True)
    found = read(w.trace(first, second))
    assert found.column("symbol") == ["known", None]
    assert found.diagnostics["nameless-functions"].count == 1


def test_symbols_may_stand_in_the_packet_behind_the_events() -> None:
    first = w.events(0, w.graph_entry(10, 7, 1), sequence_flags=1)
    second = w.events(1, w.graph_entry(20, 7, 1), interned_data=w.symbols({1: "late"}))
    assert read(w.trace(first, second)).column("symbol") == ["late", "late"]


@pytest.mark.parametrize(("kind", "phase"), [(1, "entry"), (2, "exit"), (3, "instant")])
def test_a_kprobe_event_names_its_function_and_its_half(kind: int, phase: str) -> None:
    probe = w.event(1, 7, kprobe_event={"name": "kvm_unmap_gfn_range", "type": kind})
    found = read(w.trace(w.events(0, probe)))
    columns = found.events.select("name", "symbol", "phase", "evidence").rows()
    assert columns == [("kvm_unmap_gfn_range", "kvm_unmap_gfn_range", phase, "kprobe")]


@pytest.mark.parametrize(("kind", "phase"), [(1, "entry"), (2, "exit")])
def test_the_config_says_which_half_an_instant_kprobe_event_is(kind: int, phase: str) -> None:
    config = w.ftrace_config(kprobe_events=[{"probe": "f", "type": kind}])
    probe = w.event(1, 7, kprobe_event={"name": "f", "type": 3})
    assert read(w.trace(config, w.events(0, probe))).column("phase") == [phase]


def test_a_kprobe_with_arguments_describes_itself() -> None:
    entry = w.described(FIRST, "tlbi", {"__probe_ip": "u64", "ipa": "u64", "level": "s64"})
    exit_ = w.described(FIRST + 1, "ret", {"__probe_func": "u64", "__probe_ret_ip": "u64"})
    address = 0xFFFF_8000_1234_5678
    found = read(
        w.trace(
            w.events(
                0,
                w.generic(1, 7, FIRST, {1: address, 2: 1 << 63, 3: -2}),
                w.generic(2, 7, FIRST + 1, {1: address, 2: 99}),
            ),
            w.packet(ftrace_events=w.bundle(1, [], generic_event_descriptors=[entry, exit_])),
        )
    )
    assert found.events.select("name", "symbol", "probe_ip", "phase", "evidence").rows() == [
        ("tlbi", None, address, "entry", "kprobe"),
        ("ret", None, address, "exit", "kprobe"),
    ]
    assert found.args.select("seq", "name", "value").sort("name").rows() == [
        (0, "ipa", -(1 << 63)),
        (0, "level", -2),
    ]


def test_fields_of_an_event_that_is_gone_do_not_count() -> None:
    entry = w.described(FIRST, "cmo", {"__probe_ip": "u64", "va": "u64", "size": "u64"})
    ghost = b"".join(w.field(n, v) for n, v in ((1, 11), (2, 22), (1, 33), (2, 44), (3, 55)))
    event = w.event(1, 7).SerializeToString() + w.field(FIRST, ghost)
    descriptors = w.bundle(0, [], generic_event_descriptors=[entry]).SerializeToString()
    content = w.trace(w.field(1, descriptors + w.field(2, event)) + w.field(10, 2))
    found = read(content)
    assert found.column("probe_ip") == [33]
    assert found.args.select("name", "value").sort("name").rows() == [("size", 55), ("va", 44)]


@pytest.mark.parametrize(
    ("ghosts", "own", "phase"),
    [
        ([], ["__probe_ip", "va"], "entry"),
        (["__probe_func", "__probe_ret_ip"], ["__probe_ip", "va"], "entry"),
        (["__probe_ip"], ["__probe_func", "__probe_ret_ip"], "exit"),
        (["__probe_func", "__probe_ret_ip"], ["__probe_func", "__probe_ret_ip"], "exit"),
    ],
)
def test_the_last_start_of_a_probe_says_what_an_old_generic_event_is(
    ghosts: list[str], own: list[str], phase: str
) -> None:
    fields = [(name, 10 + i) for i, name in enumerate([*ghosts, *own])]
    found = read(w.trace(w.events(0, w.legacy(1, 7, "e", fields))))
    assert found.column("phase") == [phase]
    assert found.column("probe_ip") == [10 + len(ghosts)]
    assert found.column("evidence") == ["kprobe"]
    expected = [("va", 11 + len(ghosts))] if "va" in own else []
    assert found.args.select("name", "value").rows() == expected


def test_an_old_generic_event_that_is_no_probe_is_counted_or_decoded() -> None:
    content = w.trace(w.events(0, w.legacy(1, 7, "my_event", [("a", 1), ("b", "text")])))
    assert read(content).skipped == {"my_event": 1}
    every = read(content, all_events=True)
    assert every.column("evidence") == ["tracepoint"]
    assert every.args.select("name", "value", "text").sort("name").rows() == [
        ("a", 1, None),
        ("b", None, "text"),
    ]


def test_events_that_nobody_asked_for_are_counted_by_name() -> None:
    found = read(
        w.trace(
            w.events(
                0,
                w.event(1, 7, kvm_ack_irq={"pin": 1}),
                w.event(2, 7, kvm_ack_irq={"pin": 2}),
                w.generic(3, 7, FIRST + 9, {1: 1}),
                w.event(4, 7),
            )
        )
    )
    assert found.events.is_empty()
    unknown = f"field {FIRST + 9} of FtraceEvent"
    assert found.skipped == {"kvm_ack_irq": 2, unknown: 1, "(no payload)": 1}


def test_a_tracepoint_that_queries_look_at_is_an_instant() -> None:
    found = read(w.trace(w.events(0, w.event(1, 0, irq_handler_entry={"irq": 5, "name": "x"}))))
    assert found.events.select("name", "phase", "evidence", "tid").rows() == [
        ("irq_handler_entry", "instant", "tracepoint", 0)
    ]
    assert found.args.is_empty()


@pytest.mark.parametrize("name", ["hyp_enter", "hyp_exit", "ipi_entry", "softirq_exit"])
def test_interrupts_and_hypercalls_are_wanted(name: str) -> None:
    found = read(w.trace(w.events(0, w.event(1, 7, **{name: {}}))))
    assert found.events.select("name", "phase").rows() == [(name, "instant")]


def test_where_all_is_wanted_every_field_is_an_argument() -> None:
    enter = w.event(1, 7, sys_enter={"id": 3, "args": [1, 2]})
    irq = w.event(2, 7, irq_handler_entry={"irq": -5, "name": "x", "handler": 1})
    found = read(w.trace(w.events(0, enter, irq)), all_events=True)
    assert found.args.select("seq", "name", "value", "text").sort("seq", "name").rows() == [
        (0, "args", 1, None),
        (0, "args", 2, None),
        (0, "id", 3, None),
        (1, "handler", 1, None),
        (1, "irq", -5, None),
        (1, "name", None, "x"),
    ]


def test_text_that_is_no_utf8_is_kept_as_far_as_it_goes() -> None:
    broken = w.event(1, 7).SerializeToString() + w.field(3, w.field(2, b"a\xffb"))
    found = read(w.trace(w.field(1, w.field(1, 0) + w.field(2, broken)) + w.field(10, 2)))
    assert found.arg("buf") == ["a\ufffdb"]


def test_a_self_describing_event_may_be_given_the_number_of_another_in_another_sequence() -> None:
    def of(sequence: int, ts: int, name: str) -> object:
        one = w.described(FIRST, name, {"__probe_ip": "u64", name: "u64"})
        found = w.bundle(0, [w.generic(ts, 7, FIRST, {1: 1, 2: ts})])
        found.generic_event_descriptors.append(one)
        return w.packet(sequence, ftrace_events=found)

    found = read(w.trace(of(2, 10, "one"), of(3, 20, "two"), of(2, 30, "one")))
    assert found.column("name") == ["one", "two", "one"]
    names = found.args.sort("seq").select("name", "value").rows()
    assert names == [("one", 10), ("two", 20), ("one", 30)]


def test_events_of_other_machines_are_left_out_and_counted() -> None:
    here = w.events(0, w.event(1, 7, print={"buf": "here"}))
    there = w.events(0, w.event(2, 7, print={"buf": "there"}), machine_id=5)
    found = read(w.trace(here, there))
    assert found.arg("buf") == ["here"]
    assert found.diagnostics["other-machine"].count == 1


@pytest.mark.parametrize("zstd", [False, True])
def test_compressed_packets_are_unpacked(*, zstd: bool) -> None:
    inner = [w.events(0, w.event(ts, 7, print={"buf": str(ts)})) for ts in (10, 30)]
    plain = w.events(0, w.event(20, 7, print={"buf": "20"}))
    found = read(w.trace(w.compressed(*inner, zstd=zstd), plain))
    assert found.arg("buf") == ["10", "20", "30"]
    assert not found.losses.height


def test_lengths_may_be_padded_as_older_versions_wrote_them() -> None:
    events = [w.event(ts, 7, print={"buf": "x"}).SerializeToString() for ts in (1, 2, 3)]
    bundle = w.field(1, 0) + b"".join(w.field(2, one, width=4) for one in events)
    content = w.field(1, w.field(1, bundle, width=4) + w.field(10, 2), width=4)
    assert read(content).column("ts_ns") == [1, 2, 3]


def test_fields_of_an_event_may_come_in_any_order() -> None:
    event = w.field(3, w.field(2, "x")) + w.field(2, 7) + w.field(1, 5)
    found = read(w.trace(w.field(1, w.field(2, event) + w.field(1, 4)) + w.field(10, 2)))
    assert found.events.select("ts_ns", "cpu", "tid").rows() == [(5, 4, 7)]


def test_events_of_an_export_say_what_they_are_by_their_group() -> None:
    groups = {
        "traceview/function/entry/f.isra.0": ("f.isra.0", "entry", "function"),
        "traceview/insn/instant/": (None, "instant", "insn"),
        "traceview/kprobe/exit/a/b": ("a/b", "exit", "kprobe"),
        "traceview/sample/entry/f": (None, "entry", "kprobe"),  # no such evidence: as it looks
    }
    described = [
        w.described(65536 + i, f"e{i}", {"__probe_ip": "u64", "x": "u64"}, group=group)
        for i, group in enumerate(groups)
    ]
    events = [w.generic(10 + i, 3, 65536 + i, {1: 7, 2: 5}) for i in range(len(groups))]
    content = w.trace(
        w.packet(ftrace_events=w.bundle(0, events, generic_event_descriptors=described))
    )
    found = read(content)
    assert found.events.select("symbol", "phase", "evidence").rows() == list(groups.values())
    assert found.column("probe_ip") == [7] * 4
    assert found.arg("x") == [5] * 4

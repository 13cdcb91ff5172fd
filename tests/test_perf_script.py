"""`perf script` text: every set of fields, probes, samples with call chains, losses, facts."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.perf_script_reading import Table, differences, read
from tests.writers.perf_script import DEFAULT, TRACEPOINT, Frame, Script, Thread
from traceview.errors import UnsupportedError
from traceview.vocabulary import Vocabulary

EXAMPLES = int(os.environ.get("TRACEVIEW_EXAMPLES", "40"))
SECOND = 10**9
UNMAP = 0xFFFF80008009EE10
KPROBE = f"({UNMAP:x}) pgt=0xfff00000c644b380 addr=0x80000000 size=0x1000"
RETURN = f"({UNMAP:x} <- ffff800080060d88) ret=0"
CHAIN = (
    Frame(0xFFFF8000800F7AFC, "tlb_flush", 0x41C),
    Frame(0xFFFF80008038B968, "el0_svc_common.constprop.0", 0x128),
    Frame(0xFFFF933A3C8C, "execve", 0xC, "/usr/lib/libc.so.6"),
    Frame(0x404E2C, None, 0, "/usr/bin/busybox (deleted)"),
)
# Names that look like something else. What comes before them is only clear with a thread ID.
COMMS = ("kvmunmap", "CPU 0/KVM", "kworker/0:1-eve", "a b", "x [000] y", "1.000001: b:", "12345",
         "n 1234567", "é", "migration/0", "vhost-1234", "K", "<...>", "a: b", "", "qemu-system-aar",
         "0/0", "[001]", "2026-11-22")  # fmt: skip
PAYLOADS = (
    ("kvmlab:s2_unmap", KPROBE), ("kvmlab:s2_unmap_ret", RETURN), ("probe:up", KPROBE),
    ("kvmlab:tlbi_ipa", "(ffff800080096bd8) mmu=0xffff800083fdd9c8 ipa=0x80000000 level=-1"),
    ("probe:f__return", "(ffff800080096bd8 <- ffff80008009de98)"), ("kvmlab:none", ""),
    ("kvmlab:odd", '(ffff800080096bd8) s="a b=c: 1.000001: x" c=\'=\' e= f=(fault)'),
    ("probe_libc:malloc", "(7f1234567890) size=16"), ("kvm:kvm_arm_set_dreg32", "ffff80: 0x84e66"),
    ("irq:irq_handler_entry", "irq=13 name=arch_timer"), ("irq:softirq_entry", "vec=1 [action=T]"),
    ("kvm:kvm_unmap_hva_range", "mmu notifier unmap range: 0x00ffff80000000 -- 0x00ffff80001000"),
    ("sched:sched_switch", "a b:0 [120] R+ ==> k:1:9 [0]"), ("syscalls:sys_enter_openat2", "x: 1"),
    ("sched:sched_switch", "prev_comm=a prev_pid=3 prev_state=S ==> next_comm=b c next_pid=4 x"),
)  # fmt: skip
SAMPLED = ("cpu-clock", "cycles:ppp", "armv8_pmuv3_0/cycles/", "cpu/event=0x3c,name=a:b/u",
           "dummy:u", "L1-dcache-load-misses", "instructions:uk", "[unknown]")  # fmt: skip
# Sets of fields as given to -F; the first two are the defaults.
FIELDS = (TRACEPOINT, DEFAULT, DEFAULT | {"pid"}, DEFAULT | {"pid", "misc"}, DEFAULT - {"cpu"},
          DEFAULT | {"tod", "misc"}, TRACEPOINT | {"flags"}, DEFAULT - {"sym", "symoff", "dso"},
          DEFAULT - {"symoff", "period"}, DEFAULT - {"comm"},
          DEFAULT - {"sym", "symoff"})  # fmt: skip


def threads() -> st.SearchStrategy[Thread]:
    ids = st.integers(0, 4_194_304)
    return st.builds(Thread, st.sampled_from(COMMS), ids, ids)


@st.composite
def scripts(draw: st.DrawFn) -> tuple[Script, list[dict[str, Any]]]:
    """A text, and what each of its events must say."""
    fields = draw(st.sampled_from(FIELDS))
    script = Script(
        fields,
        ns=draw(st.booleans()),
        columns=draw(st.sampled_from([5, 7])),
        chains=draw(st.booleans()),
    )
    expected = []
    now = draw(st.integers(1, 10**14))
    for _ in range(draw(st.integers(1, 20))):
        thread, cpu = draw(threads()), draw(st.integers(0, 300))
        frames = CHAIN[draw(st.integers(0, 3)) :] if "ip" in fields else ()
        if draw(st.booleans()):
            name, payload = draw(st.sampled_from(PAYLOADS))
            chain = frames if script.chains else ()
            script.tracepoint(name, payload, now, thread, cpu, chain)
            name = name.rpartition(":")[2]
        else:
            name = draw(st.sampled_from(SAMPLED))
            script.sample(name, now, thread, cpu, frames)
        expected.append(
            {
                "ts_ns": now if script.ns else now // 1000 * 1000,
                "name": name,
                "comm": (thread.comm or None) if "comm" in fields else None,
                "tid": thread.tid,
                "tgid": thread.pid if "pid" in fields else None,
                "cpu": cpu if "cpu" in fields else None,
            }
        )
        now += draw(st.integers(0, 10**10))
        if draw(st.integers(0, 9)) == 0:
            record = st.sampled_from(["PERF_RECORD_LOST lost 3", "PERF_RECORD_COMM: a b: 1/1"])
            script.record(draw(record), now, thread, cpu)
    return script, expected


@settings(max_examples=EXAMPLES, deadline=None)
@given(scripts(), st.sampled_from([(True, 600), (False, 5000), (False, 1 << 22)]))
def test_what_was_written_is_read(
    written: tuple[Script, list[dict[str, Any]]], reading: tuple[bool, int]
) -> None:
    script, expected = written
    data = script.text().encode()
    assert differences(data, all_events=reading[0], chunk_bytes=reading[1]) == []
    table = read(data, all_events=True)
    assert table.unparsed == 0
    assert table.events.select(*expected[0]).rows(named=True) == expected


def one(name: str, payload: str, **options: Any) -> Table:
    script = Script(**options)
    script.tracepoint(name, payload, 26 * SECOND + 147_223_332)
    return read(script.text())


def test_a_kprobe_has_its_address_and_arguments() -> None:
    table = one("kvmlab:s2_unmap", KPROBE)
    assert table.events.select("name", "symbol", "probe_ip", "phase", "evidence").rows() == [
        ("s2_unmap", None, UNMAP, "entry", "kprobe")
    ]
    assert table.arg("addr") == [0x80000000]
    assert table.arg("pgt") == [0xFFF00000C644B380 - (1 << 64)]


def test_a_kretprobe_has_the_address_of_the_function_that_returns() -> None:
    table = one("probe:s2_unmap__return", RETURN)
    assert table.events.select("name", "probe_ip", "phase").rows() == [
        ("s2_unmap__return", UNMAP, "exit")
    ]
    assert table.arg("ret") == [0]


def test_times_are_as_fine_as_they_are_printed() -> None:
    coarse, fine = one("kvm:x", ""), one("kvm:x", "", ns=True)
    assert coarse.facts["ts_resolution_ns"] == 1000
    assert fine.facts["ts_resolution_ns"] == 1
    both = read(Script(ns=True).text() + _lines(kvm=2), all_events=True)
    assert both.column("ts_ns") == [2 * SECOND]


def _lines(**seconds: int) -> str:
    script = Script()
    for name, second in seconds.items():
        script.tracepoint(f"kvm:{name}", "", second * SECOND)
    return script.text()


def test_a_probe_with_a_call_chain_is_named_by_it_and_is_no_sample() -> None:
    script = Script(chains=True)
    frames = (Frame(UNMAP, "kvm_pgtable_stage2_unmap"), *CHAIN)
    script.tracepoint("kvmlab:s2_unmap", KPROBE, SECOND, frames=frames)
    script.tracepoint("kvmlab:s2_unmap_ret", RETURN, 2 * SECOND, frames=frames)
    table = read(script.text())
    assert table.column("symbol") == ["kvm_pgtable_stage2_unmap", None]
    assert table.column("probe_ip") == [UNMAP, UNMAP]
    assert len(table.samples) == 0
    assert table.arg("size") == [0x1000]


def test_a_probe_with_its_address_on_the_line_is_named_by_it() -> None:
    script = Script(TRACEPOINT | {"ip", "sym", "symoff", "dso"})
    for frame in (Frame(UNMAP, "kvm_pgtable_stage2_unmap"), Frame(UNMAP, "other", 0x9D389)):
        script.tracepoint("kvmlab:s2_unmap", KPROBE, SECOND, frames=(frame,))
    assert read(script.text()).column("symbol") == ["kvm_pgtable_stage2_unmap", None]


def test_a_name_that_does_not_begin_at_the_probe_names_nothing() -> None:
    # perf on another machine than the recorded one prints such offsets.
    script = Script(chains=True)
    wrong = Frame(UNMAP, "__entry_text_end", 0x9D389)
    script.tracepoint("kvmlab:s2_unmap", KPROBE, SECOND, frames=(wrong,))
    assert read(script.text()).column("symbol") == [None]


def test_the_address_behind_the_payload_is_no_argument() -> None:
    for fields in ({"ip"}, {"ip", "sym"}, {"ip", "sym", "symoff", "dso"}):
        script = Script(TRACEPOINT | fields)
        for payload in (KPROBE, RETURN, "irq=13 name=arch_timer", ""):
            frames = (Frame(UNMAP, "kvm_pgtable_stage2_unmap"),)
            script.tracepoint("kvmlab:s2_unmap", payload, SECOND, frames=frames)
        table = read(script.text(), all_events=True)
        assert table.arg("size") == [0x1000]
        assert table.arg("ret") == [0]
        assert table.arg("name") == ["arch_timer"]


def sampled(fields: frozenset[str] = DEFAULT, *, chains: bool, **more: Any) -> Table:
    script = Script(fields, chains=chains)
    script.sample("cpu-clock", 180 * SECOND, Thread("sh", 7, 7), 1, CHAIN, **more)
    return read(script.text())


def test_a_sample_has_its_call_chain() -> None:
    table = sampled(chains=True)
    assert table.events.select("name", "evidence", "phase", "probe_ip").rows() == [
        ("cpu-clock", "sample", "instant", CHAIN[0].ip)
    ]
    assert table.samples.drop("unmap_id", "operation").rows(named=True) == [
        {
            "seq": 0, "ts_ns": 180 * SECOND, "cpu": 1, "tid": 7, "comm": "sh", "event": "cpu-clock",
            "cpumode": "unknown", "period": 1_001_001, "ip": CHAIN[0].ip, "symbol": "tlb_flush",
            "callchain": [frame.ip for frame in CHAIN],
            "frames": ["tlb_flush", "el0_svc_common.constprop.0", "execve", None],
        }
    ]  # fmt: skip


def test_a_sample_without_call_chain_has_address_and_function() -> None:
    row = sampled(chains=False).samples.row(0, named=True)
    assert (row["ip"], row["symbol"]) == (CHAIN[0].ip, "tlb_flush")
    assert (row["callchain"], row["frames"]) == (None, None)


def test_functions_that_were_not_printed_are_left_to_a_symbol_table() -> None:
    row = sampled(frozenset({"time", "event", "ip"}), chains=True).samples.row(0, named=True)
    assert row["callchain"] == [frame.ip for frame in CHAIN]
    assert (row["symbol"], row["frames"], row["tid"], row["period"]) == (None, None, None, None)


def test_a_sample_without_address_is_an_event_all_the_same() -> None:
    row = sampled(frozenset({"comm", "tid", "time", "event"}), chains=True).samples.row(
        0, named=True
    )
    assert (row["ip"], row["event"], row["tid"]) == (None, "cpu-clock", 7)


@pytest.mark.parametrize(
    ("misc", "mode"),
    [
        ("K", "kernel"), ("U", "user"), ("KUH", "hypervisor"), ("G", "guest_kernel"),
        ("KGg", "guest_user"), ("", "unknown"),
    ],
)  # fmt: skip
def test_the_field_misc_tells_the_cpumode(misc: str, mode: str) -> None:
    table = sampled(DEFAULT | {"misc"}, chains=True, misc=misc)
    assert table.samples["cpumode"].to_list() == [mode]
    assert table.events.select("comm", "tid", "cpu").rows() == [("sh", 7, 1)]


def test_flags_do_not_hide_the_address() -> None:
    assert sampled(DEFAULT | {"flags"}, chains=False).samples["ip"].to_list() == [CHAIN[0].ip]


def test_the_header_decides_what_is_a_tracepoint() -> None:
    head = "# ========\n# captured on    : Sun Nov 22 16:35:32 2026\n"
    for number, evidence in ((2, "tracepoint"), (8, "sample")):
        kind = f"# event : name = probe:up, , id = {{ 1, 2 }}, type = {number} (X), size = 144\n"
        table = read(head + kind + one_line("probe:up", "x"), all_events=True)
        assert table.column("evidence") == [evidence]


def one_line(name: str, payload: str) -> str:
    script = Script()
    script.tracepoint(name, payload, SECOND)
    return script.text()


def test_the_header_gives_facts() -> None:
    text = """# ========
# captured on    : Sun Nov 22 16:33:38 2026
# hostname : (none)
# os release : 6.12.95+deb12-arm64
# arch : aarch64
# nrcpus online : 2
# nrcpus avail : 4
# cpuid : 0x00000000414fd0c1
# cmdline : /usr/bin/perf record -a
# event : name = kvm:x, , id = { 1 }, type = 2 (X), size = 144, use_clockid = 1, clockid = 1
# clockid frequency: 1000 MHz
# clockid: monotonic (1)
# reference time: 2026-11-22 16:09:58.102393 = 1795363798.102393 (TOD) = 30.892897600 (monotonic)
# ========
#
"""
    facts = read(text + one_line("kvm:x", "")).facts
    assert facts == {
        "kernel": "6.12.95+deb12-arm64", "machine": "aarch64", "cpus": 2, "clock": "mono",
        "midr": "0x00000000414fd0c1", "recorded_at": "2026-11-22T16:09:58+00:00", "tracer": "perf",
        "tracer_options": "/usr/bin/perf record -a", "loss_known": False, "ts_resolution_ns": 1000,
            "hostnames": ("(none)",),
    }  # fmt: skip


def test_the_name_of_the_program_alone_is_no_option() -> None:
    text = "# ========\n# cmdline : /usr/bin/perf \n# ========\n#\n"
    assert "tracer_options" not in read(text + one_line("kvm:x", "")).facts


def test_the_clock_is_that_of_perf_unless_the_header_says_another() -> None:
    event = "# event : name = cycles, , id = { 1 }, type = 0 (X), size = 144, sample_id_all = 1\n"
    assert read(event + one_line("kvm:x", "")).facts["clock"] == "perf"
    assert "clock" not in one("kvm:x", "").facts


def test_samples_with_guest_cpumode_may_be_missing() -> None:
    shown = DEFAULT | {"misc"}
    assert "guest-cpumode" in one("kvmlab:s2_unmap", KPROBE, fields=shown).diagnostics
    assert "guest-cpumode" in one("kvm:kvm_entry", "PC: 0x1").diagnostics
    assert "guest-cpumode" not in sampled(shown, chains=True).diagnostics
    script = Script(shown)
    script.tracepoint("kvmlab:s2_unmap", KPROBE, SECOND, misc="G")
    assert "guest-cpumode" not in read(script.text()).diagnostics


def test_a_loss_lies_between_two_events_of_its_cpu() -> None:
    script = Script(ns=True)
    for second, cpu in ((1, 0), (2, 1), (4, 1), (5, 0)):
        if second == 4:
            script.record("PERF_RECORD_LOST lost 28", 3 * SECOND, cpu=0)
        script.tracepoint("irq:irq_handler_entry", "", second * SECOND, cpu=cpu)
    table = read(script.text())
    assert table.facts["loss_known"] is True
    assert table.losses.drop("buffer").rows(named=True) == [
        {"cpu": 0, "kind": "lost_events", "from_ns": SECOND, "to_ns": 5 * SECOND, "from_seq": 0,
         "to_seq": 3, "count": 28}
    ]  # fmt: skip


def test_a_loss_without_cpu_concerns_all() -> None:
    script = Script(frozenset({"time", "event", "trace"}))
    script.tracepoint("irq:irq_handler_entry", "", SECOND)
    script.record("PERF_RECORD_LOST lost 2", 2 * SECOND)
    script.tracepoint("irq:irq_handler_entry", "", 3 * SECOND)
    losses = read(script.text()).losses
    assert losses.select("cpu", "from_seq", "to_seq", "count").rows() == [(None, 0, 1, 2)]


def test_text_that_shows_no_loss_says_nothing_about_loss() -> None:
    table = one("irq:irq_handler_entry", "")
    assert table.facts["loss_known"] is False
    assert "--show-lost-events" in table.diagnostics["losses-not-shown"].message


def test_what_perf_said_on_standard_error_is_no_event() -> None:
    notes = [
        "'trace' not valid for hardware events. Ignoring.",
        "Warning:",
        "Processed 12007 events and lost 94 chunks!",
        "",
        "Check IO/CPU overload!",
        "Processed 27557 samples and lost 60.90%!",
        "28753 unprocessable samples recorded.",
        "Do you have a KVM guest running and not using 'perf kvm'?",
    ]
    table = read("\n".join(notes) + "\n" + one_line("kvm:x", ""))
    assert table.unparsed == 0
    assert table.facts["loss_known"] is True
    assert table.losses.select("kind", "cpu", "count", "from_seq").rows() == [
        ("lost_events", None, None, None)
    ]
    assert table.diagnostics["guest-samples-hidden"].count == 28753


def test_records_of_other_types_are_counted() -> None:
    script = Script()
    for text in (
        "PERF_RECORD_COMM exec: sh:1/1",
        "PERF_RECORD_COMM: a: b:1/1",
        "PERF_RECORD_FORK(1:1):(0:0)",
        "PERF_RECORD_MMAP2 -1/0: [0xffff800080000000(0x2a1ca00) @ 0 00:00 0 0]: ---p x",
        "PERF_RECORD_SWITCH OUT preempt",
        "PERF_RECORD_SWITCH_CPU_WIDE IN           prev pid/tid:    10/10   ",
        "PERF_RECORD_NAMESPACES 1/1 - nr_namespaces: 7\n\t\t[0/net: 4/0xf0000075, 1/uts: 4/0xf]",
    ):
        script.record(text, 0)
    script.lines.append("PERF_RECORD_FINISHED_ROUND\n")
    script.tracepoint("irq:irq_handler_entry", "", SECOND)
    table = read(script.text(), all_events=True)
    assert table.unparsed == 0
    assert table.skipped == {}
    assert table.diagnostics["records-not-used"].count == 8
    assert table.diagnostics["records-not-used"].message.endswith(
        "COMM 2, FINISHED_ROUND 1, FORK 1, MMAP2 1, NAMESPACES 1, SWITCH 1, SWITCH_CPU_WIDE 1"
    )
    assert "time-goes-back" not in table.diagnostics
    assert table.column("name") == ["irq_handler_entry"]


def test_tracepoints_that_nobody_asked_for_are_counted() -> None:
    text = one_line("kvm:kvm_get_timer_map", "VCPU: 0") + one_line(
        "sched:sched_switch", "a:1 [1] R"
    )
    assert Vocabulary.builtin().wants_event("sched_switch")
    table = read(text)
    assert table.skipped == {"kvm_get_timer_map": 1}
    assert table.column("name") == ["sched_switch"]
    assert len(read(text, all_events=True).events) == 2


def test_latency_format_has_the_cpu_without_brackets() -> None:
    table = one("irq:irq_handler_entry", "", latency=True, fields=DEFAULT | {"pid"})
    assert table.events.select("comm", "tid", "cpu").rows() == [("kvmunmap", 280, 0)]


def test_a_process_is_the_thread_group() -> None:
    table = one("irq:irq_handler_entry", "", fields=DEFAULT | {"pid"})
    assert table.events.select("tgid", "tid").rows() == [(280, 280)]


def test_what_perf_does_not_know_is_null() -> None:
    script = Script()
    script.tracepoint("irq:irq_handler_entry", "", 18446744073709551615, Thread(":-1", -1, -1))
    script.tracepoint("irq:irq_handler_entry", "", SECOND, Thread(":77", 77, 77))
    assert read(script.text()).events.select("ts_ns", "tid", "comm").rows() == [
        (None, None, None), (SECOND, 77, None),
    ]  # fmt: skip


def test_fields_below_a_call_chain_are_left_out() -> None:
    below = (
        "  fs/exec.c:123", "\t\t[1/uts: 2/3]", " ilen: 4 insn: 1f 20 03 d5", " ABI:2 SP:0xffff00 ",
        " 0xffff8000/0xffff8010/P/-/-/0 ", "      BPF output: 0000: 01 02  ..",
        "\tffff8000800f7afc\tinsn: 00",
    )  # fmt: skip
    for line in below:
        script = Script(chains=True)
        script.sample("cycles", SECOND, frames=CHAIN)
        script.lines[-1] = script.lines[-1].removesuffix("\n") + f"{line}\n"
        script.sample("cycles", 2 * SECOND, frames=CHAIN)
        table = read(script.text())
        assert table.unparsed == 0, line
        assert table.samples["callchain"].list.len().to_list() == [4, 4]


@pytest.mark.parametrize("missing", ["time", "event"])
@pytest.mark.parametrize("style", ["chains", "no chains"])
def test_a_set_of_fields_without_time_or_event_is_refused(missing: str, style: str) -> None:
    script = Script(DEFAULT - {missing}, chains=style == "chains")
    for second in range(5):
        script.tracepoint("kvmlab:s2_unmap", KPROBE, second * SECOND)
        script.sample("cpu-clock", second * SECOND, frames=CHAIN)
    with pytest.raises(UnsupportedError, match=r"perf script -F \+time,\+event"):
        read(script.text())


def test_differences_of_times_are_refused() -> None:
    script = Script()
    for delta in (0, 267, 244, 137, 140, 150, 6387, 303):
        script.tracepoint("irq:irq_handler_entry", "", delta * 1000)
    with pytest.raises(UnsupportedError, match="--deltatime"):
        read(script.text())


def test_times_from_the_first_event_are_said_to_be_so() -> None:
    table = read(_lines(a=0, b=1, c=2))
    assert "relative-times" in table.diagnostics
    assert "time-goes-back" not in table.diagnostics


def test_times_that_go_back_are_counted() -> None:
    table = read(_lines(a=1, b=3, c=2, d=4, e=5, f=6), all_events=True)
    assert table.diagnostics["time-goes-back"].count == 1
    assert table.column("ts_ns")[2] == 2 * SECOND


def test_text_without_payloads_says_that_probes_are_not_recognised() -> None:
    script = Script(frozenset({"comm", "tid", "time", "event"}))
    script.tracepoint("kvmlab:s2_unmap", KPROBE, SECOND)
    table = read(script.text())
    assert table.diagnostics["no-payloads"].count == 1
    assert table.skipped == {"s2_unmap": 1}


def test_a_header_alone_holds_no_events() -> None:
    table = read("# ========\n# captured on    : Sun Nov 22 16:35:32 2026\n# ========\n#\n")
    assert "no-events" in table.diagnostics
    assert table.unparsed == 0


def test_batches_are_as_large_as_was_asked() -> None:
    script = Script(chains=True)
    for number in range(3000):
        script.sample("cycles", number * 1000, frames=CHAIN)
        script.tracepoint("kvmlab:s2_unmap", KPROBE, number * 1000 + 1)
    data = script.text()
    small = read(data, batch_events=1000)
    assert len(small.batches) > 3
    whole = read(data)
    assert len(whole.batches) == 1
    for name in ("events", "args", "samples"):
        assert getattr(small, name).equals(getattr(whole, name))

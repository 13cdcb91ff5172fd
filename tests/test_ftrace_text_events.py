"""Event lines: every form of the head, probes, tracepoints, markers, functions, stacks, loss."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ftrace_text_reading import differences, read
from tests.writers.ftrace_text import STYLES, Events, Task, insn_header

EXAMPLES = int(os.environ.get("TRACEVIEW_EXAMPLES", "40"))
COMMS = ("kvmunmap", "kworker/0:2-ev", "a b", "x [000] y", "a: b", "-", "1 2-3", "<...>", "é", "")
SYMBOLS = ("kvm_pgtable_stage2_unmap", "__kvm_tlb_flush_vmid_ipa", "my_func.isra.0")
BODIES = (
    "s2_unmap: (kvm_pgtable_stage2_unmap+0x0/0xc8) pgt=0xfff00000c0ab1140 addr=0x80000000 size=1",
    "walker: (stage2_unmap_walker+0x40/0x2a0) addr=2147483648 level=-1 level=3",
    "tlbi_ipa_ret: (stage2_unmap_walker+0x290/0x2a0 <- __kvm_tlb_flush_vmid_ipa) ret=0 arg1=a=b",
    "other: (my_func+0x0/0x10 [kvm]) name=\"a b=c\" c='x' sym=foo+0x1/0x2 e= f=(fault)",
    "tlbi_ipa: (ffff800080096bd8) mmu=0xffff800084205000 ipa=0x80000000 level=2147483647",
    "tlbi_ipa_ret: (ffff800080096bd8 <- ffff80008009de80)",
    "raw: __probe_ip=ffff80008009ee10 pgt=0xffff0000c0c63a00 addr=0x80000000",
    "raw_ret: __probe_func=ffff80008009ee10 __probe_ret_ip=ffff800080060d88 ret=0",
    "irq_handler_entry: irq=1 name=IPI", "kvm_exit: TRAP: HSR_EC: 0x0020 (IABT_LOW), PC: 0x10",
    ("sched_switch: prev_comm=a b prev_pid=0 prev_prio=120 prev_state=R+ ==> next_comm=k:1"
    " next_pid=9 next_prio=120"),
    "sched_switch:         kworker/0:0:9 [120] I ==> trace-cmd:919 [120]",
    "odd: ()", "odd: (a.b) x=1", "empty:", "empty: ", "u64: (f+0x0/0x1) a=18446744073709551615",
    "tracing_mark_write: KVMLAB begin s01.1 a: b, 1.123456: c", "function: f", "words and more",
    "kvm_set_memslot <-__kvm_set_memory_region.part.0", "f(ip=0x1, x=2) <-g [mod]", "0xffff <-f",
    "f <-g (repeats: 3, last_ts: 1.123456)", "s:t: x", "a b: c",
)  # fmt: skip


@st.composite
def event_files(draw: st.DrawFn) -> bytes:
    events = Events(draw(st.sampled_from(STYLES)))
    for _ in range(draw(st.integers(1, 25))):
        comm = draw(st.sampled_from(COMMS if events.style != "verbose" else COMMS[:1]))
        task = Task(comm, draw(st.integers(0, 10**6)), draw(st.sampled_from([None, 12])))
        flags = draw(st.sampled_from([".....", "dNh1.", "d..11", "DnZff"]))
        events.event(draw(st.sampled_from(BODIES)), draw(st.integers(0, 300)), task, flags)
        if draw(st.integers(0, 9)) == 0:
            events.lines.append(
                draw(
                    st.sampled_from(
                        [
                            "CPU:0 [LOST 136 EVENTS]\n",
                            "CPU:1 [EVENTS DROPPED]\n",
                            "nonsense\n",
                            "\n",
                        ]
                    )
                )
            )
        if draw(st.integers(0, 9)) == 0:
            events.event("<stack trace>")
            events.lines += [" => f\n", " => g_h\n"]
    return events.text().encode()


@given(data=event_files(), all_events=st.booleans(), chunk=st.sampled_from([400, 1 << 22]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_form_reads_as_line_by_line(*, data: bytes, all_events: bool, chunk: int) -> None:
    assert differences(data, all_events=all_events, chunk_bytes=chunk) == []


# The option verbose separates name and PID by spaces only: odd names cannot be told there.
@pytest.mark.parametrize(
    ("style", "comm"),
    [(s, comm) for s in STYLES for comm in (COMMS[:1] if s == "verbose" else COMMS[:8])],
)
def test_every_form_of_head_is_read(style: str, comm: str) -> None:
    events = Events(style)
    time = events.event("s2_unmap: (kvm_pgtable_stage2_unmap+0x0/0xc8)", 7, Task(comm, 614, 9))
    table = read(events.text())
    shown = comm[:8] if style in ("latency", "tc-latency") else comm
    row = table.events.row(0, named=True)
    assert (row["ts_ns"], row["cpu"], row["tid"], row["comm"]) == (time, 7, 614, shown)
    assert row["tgid"] == (9 if style == "tgid" else None)
    assert table.facts["ts_resolution_ns"] == (1 if style in ("ns", "boot") else 1000)


def test_a_thread_group_that_was_not_recorded_is_null() -> None:
    events = Events("tgid")
    events.event("irq_handler_entry: irq=1 name=IPI", task=Task("<idle>", 0))
    events.event("irq_handler_exit: irq=1 ret=handled", task=Task("sh", 157, 157))
    table = read(events.text())
    assert table.column("tgid") == [None, 157]
    assert table.column("tid") == [0, 157]


def test_flags_that_are_digits_do_not_run_into_a_time() -> None:
    line = "       kvmunmap-1079  [000] d..11{}: irq_handler_entry: irq=13 name=arch_timer\n"
    table = read("cpus=2\n" + line.format(474401750928))
    assert table.column("ts_ns") == [474401750928]
    assert "plain-number-times" in table.diagnostics


def test_counts_of_a_clock_that_is_no_time_stay_null() -> None:
    line = "        kvmunmap-614     [000] .....          1234: irq_handler_entry: irq=1 name=IPI\n"
    table = read("# tracer: nop\n" + line)
    assert table.column("ts_ns") == [None]
    assert table.diagnostics["plain-number-times"].severity == "warning"
    assert "ts_resolution_ns" not in table.facts


def test_relative_times_say_so() -> None:
    events = Events("latency")
    events.event("irq_handler_entry: irq=1 name=IPI")
    table = read(events.text())
    assert "relative-times" in table.diagnostics


def test_probes_tell_entry_return_and_the_inside_of_a_function() -> None:
    events = Events()
    for body in (
        "a: (kvm_pgtable_stage2_unmap+0x0/0xc8)",
        "b: (stage2_apply_range+0xd8/0x100 <- kvm_pgtable_stage2_unmap) ret=0",
        "c: (kvm_pgtable_stage2_unmap+0x40/0xc8)",
        "d: (kvm_pgtable_stage2_unmap+0x4/0xc8)",  # an fprobe, behind the landing pad
        "e: (0xffff80008009dd04 <- kvm_s2_put_page)",
        "f: (ffff800080096bd8)",
        "g: (ffff800080096bd8 <- ffff80008009de80)",
        "h: (0x4245c0)",  # a uprobe
    ):
        events.event(body)
    table = read(events.text(), all_events=True)
    unmap = "kvm_pgtable_stage2_unmap"
    symbols = [unmap, unmap, unmap, unmap, "kvm_s2_put_page", None, None, None]
    assert table.column("symbol") == symbols
    phases = ["entry", "exit", "instant", "entry", "exit", "entry", "exit", "instant"]
    assert table.column("phase") == phases
    # Of a return, trace-cmd prints the function first.
    assert table.column("probe_ip")[5:] == [0xFFFF800080096BD8, 0xFFFF800080096BD8, None]
    assert table.column("evidence") == ["kprobe"] * 7 + ["tracepoint"]


def test_arguments_keep_their_type() -> None:
    events = Events()
    events.event(
        "p: (f+0x0/0x8) a=0xffffffffffffffff b=-5 c=\"x = y\" d='=' e=sym+0x0/0x8 [kvm] g={0x1,0x2}"
    )
    events.event("p: (f+0x0/0x8) a=0x10 e=sym+0x0/0x8 [kvm] g=18446744073709551615")
    table = read(events.text(), all_events=True)
    assert table.arg_by_seq("a") == {0: -1, 1: 16}
    assert table.arg_by_seq("b") == {0: -5}
    assert table.arg_by_seq("c") == {0: "x = y"}
    assert table.arg_by_seq("d") == {0: "="}
    assert table.arg_by_seq("g") == {0: "{0x1,0x2}", 1: -1}
    assert table.arg_by_seq("e")[1] == "sym+0x0/0x8 [kvm]"


def test_only_known_arguments_are_read_unless_everything_is_wanted() -> None:
    events = Events()
    events.event("a: (__kvm_tlb_flush_vmid_ipa+0x0/0xd0) mmu=0x1 ipa=0x2 level=3 other=4")
    events.event("b: (ffff800080096bd8) whatever=5")
    events.event("c: (g+0x1/0x2 <- __kvm_tlb_flush_vmid_ipa) ret=6")
    table = read(events.text())
    assert table.args["name"].to_list() == ["mmu", "ipa", "level", "whatever", "ret"]
    assert read(events.text(), all_events=True).arg_by_seq("other") == {0: 4}


def test_fields_that_the_vocabulary_asks_for_are_read_from_the_text_of_a_tracepoint() -> None:
    events = Events()
    events.event("kvm_guest_fault: ipa 0x8008a000, hsr 0x93c08047, hxfar 0x8008a010, pc 0x0010")
    events.event("kvm_guest_fault: ipa 0xfffffffffffff000, hsr: 7")
    events.event("kvm_guest_fault: hxfar_ipa 0x1, ipa none")
    for every in (False, True):
        table = read(events.text(), all_events=every)
        assert table.arg_by_seq("ipa") == {0: 0x8008A000, 1: -4096}
        assert table.arg_by_seq("hsr") == {0: 0x93C08047, 1: 7}


def test_unwanted_tracepoints_are_counted_by_name() -> None:
    events = Events()
    for name in ("kvm_ack_irq", "softirq_raise", "kvm_ack_irq", "irq_handler_entry"):
        events.event(f"{name}: x=1")
    table = read(events.text())
    assert table.skipped == {"kvm_ack_irq": 2, "softirq_raise": 1}
    assert table.column("name") == ["irq_handler_entry"]
    everything = read(events.text(), all_events=True)
    assert everything.skipped == {}
    assert everything.arg_by_seq("x") == {0: 1, 1: 1, 2: 1, 3: 1}


@pytest.mark.parametrize(
    ("style", "body"),
    [
        ("trace", "tracing_mark_write: KVMLAB begin s01.1 a: b"),
        ("trace-cmd", "print:                tracing_mark_write: KVMLAB begin s01.1 a: b"),
        ("trace-cmd", "print:                KVMLAB begin s01.1 a: b"),
        ("raw", "print:  ip=tracing_mark_write (0xffff80008021bc50) buf=KVMLAB begin s01.1 a: b"),
        ("latency", "tracing_mark_write.isra.0: KVMLAB begin s01.1 a: b"),
    ],
)  # fmt: skip
def test_markers_keep_the_words_that_were_written(style: str, body: str) -> None:
    events = Events(style)
    events.event(body)
    table = read(events.text())
    assert table.arg_by_seq("buf") == {0: "KVMLAB begin s01.1 a: b"}
    assert table.column("name") == ["print"]
    assert table.column("evidence") == ["marker"]


def test_function_lines_name_the_function_and_its_caller() -> None:
    text = "# tracer: function\n#\n"
    events = Events()
    for body in ("f <-g", "f(ip=0x1, x=2) <-g [kvm]", "f [kvm] <-g (repeats: 2, last_ts: 1.123456)",
                 "f+0x4/0x8 <-g+0x8/0x10", "f"):  # fmt: skip
        events.event(body)
    table = read(text + "".join(events.lines), all_events=True)
    assert table.column("symbol") == ["f"] * 5
    assert table.column("evidence") == ["function"] * 5
    assert table.column("phase") == ["entry"] * 5
    assert table.arg_by_seq("parent_ip") == {0: "g", 1: "g [kvm]", 2: "g", 3: "g+0x8/0x10"}
    assert read(text + "".join(events.lines)).arg_by_seq("parent_ip") == {}


@pytest.mark.parametrize(("announce", "arrow"), [
    ("<stack trace>", " => "), ("kernel_stack:         <stack trace >", "=> "),
    ("<user stack trace>", " => "),
])  # fmt: skip
def test_stack_traces_never_break_the_lines_around_them(announce: str, arrow: str) -> None:
    events = Events("trace-cmd")
    events.event("irq_handler_entry: irq=1 name=IPI")
    events.event(announce)
    events.lines += [f"{arrow}f\n", f"{arrow}g (ffff800080060d88)\n", "\n"]
    events.event("irq_handler_exit: irq=1 ret=handled")
    table = read(events.text())
    assert table.column("name") == ["irq_handler_entry", "irq_handler_exit"]
    assert table.skipped == {"kernel_stack": 1}
    assert "unparsed-lines" not in table.diagnostics
    for chunk in (50, 1 << 20):
        everything = read(events.text(), all_events=True, chunk_bytes=chunk)
        assert everything.arg_by_seq("stack") == {1: "f\ng (ffff800080060d88)"}
        assert everything.column("name")[1] == "kernel_stack"


def test_lost_events_are_a_hole_between_two_events_of_that_cpu() -> None:
    events = Events()
    first = events.event("a: (f+0x0/0x8)", cpu=0)
    events.event("a: (f+0x0/0x8)", cpu=1)
    events.lines.append("CPU:0 [LOST 136 EVENTS]\n")
    events.event("a: (f+0x0/0x8)", cpu=1)
    last = events.event("a: (f+0x0/0x8)", cpu=0)
    events.lines.append("CPU:1 [LOST EVENTS]\n")
    for chunk in (64, 1 << 20):
        losses = read(events.text(), chunk_bytes=chunk).losses.drop("buffer").rows()
        assert losses == [
            (0, "lost_events", first, last, 0, 3, 136),
            (1, "lost_events", losses[1][2], None, 2, None, None),
        ]


@pytest.mark.parametrize(("line", "count"), [
    ("CPU:1 [EVENTS DROPPED]", None), ("CPU:1 [137 EVENTS DROPPED]", 137),
])  # fmt: skip
def test_trace_cmd_says_dropped(line: str, count: int | None) -> None:
    events = Events("trace-cmd")
    events.lines.append(line + "\n")
    events.event("a: (f+0x0/0x8)", cpu=1)
    table = read(events.text())
    assert table.losses.select("cpu", "to_seq", "count").rows() == [(1, 0, count)]
    assert table.facts["loss_known"] is True


def test_a_trace_without_a_header_knows_of_loss_once_it_says_so() -> None:
    events = Events()
    events.event("a: (f+0x0/0x8)")
    text = "".join(events.lines)
    assert read(text).facts["loss_known"] is False
    assert read(text + "CPU:0 [LOST 1 EVENTS]\n").facts["loss_known"] is True


def test_what_the_buffers_overwrote_was_before_the_first_event() -> None:
    events = Events()
    time = events.event("a: (f+0x0/0x8)")
    text = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 100/150   #P:2\n#\n"
    text += "##### CPU 1 buffer started ####\n" + "".join(events.lines)
    table = read(text)
    assert table.losses.drop("buffer").rows() == [(None, "overwritten", None, time, None, 0, 50)]
    assert table.facts["loss_known"] is True
    assert table.facts["cpus"] == 2
    assert "unparsed-lines" not in table.diagnostics


def test_a_latency_header_names_the_kernel() -> None:
    text = (
        "# tracer: nop\n#\n# nop latency trace v1.1.5 on 6.12.95+deb12-arm64\n"
        "# latency: 0 us, #511/511, CPU#0 | (M:desktop VP:0, KP:0, SP:0 HP:0 #P:2)\n"
    )
    events = Events("latency")
    events.event("a: (f+0x0/0x8)")
    facts = read(text + "".join(events.lines)).facts
    assert facts["kernel"] == "6.12.95+deb12-arm64"
    assert facts["cpus"] == 2
    assert facts["tracer_options"] == "latency-format"
    assert facts["loss_known"] is True


def test_executed_instructions_have_their_operands() -> None:
    line = "            vcpu0-0       [000] .....      2.88255{:04d}: {}\n"
    bodies = (
        "kvm_tlb_flush_vmid_range: (kvm_tlb_flush_vmid_range+0x0/0x108) x0=0x1 x1=0x80000000",
        "tlbi: op=ripas2e1is xt=0x438000008000 pc=0xffff800080096c28",
        "tlbi: op=ipas2e1is xt=0x700000080000 pc=0xffff800080096c28",
        "tlbi: op=vmalle1is xt=0x0 pc=0xffff800080096c30",
        "dsb: option=ish pc=0xffff800080096c34",
        "dc: op=civac xt=0xffff0000bf8b3440 pc=0xffff800080037660",
        "kvm_s2_put_page_ret: (0xffff80008009dd04 <- kvm_s2_put_page) ret=0x1",
    )
    text = insn_header() + "".join(line.format(at, body) for at, body in enumerate(bodies))
    for chunk in (64, 1 << 20):
        table = read(text, chunk_bytes=chunk)
        assert set(table.column("evidence")) == {"insn"}
        assert table.column("phase") == ["entry", *["instant"] * 5, "exit"]
        assert table.arg_by_seq("op") == {
            1: "ripas2e1is",
            2: "ipas2e1is",
            3: "vmalle1is",
            5: "civac",
        }
        assert table.arg_by_seq("option") == {4: "ish"}
        assert table.arg_by_seq("ipa") == {1: 0x80000000, 2: 0x80000000}
        assert table.arg_by_seq("pages") == {1: 16, 2: 1}
        assert table.arg_by_seq("level") == {2: 3}
        assert table.arg_by_seq("operand")[5] == 0xFFFF0000BF8B3440 - (1 << 64)
    assert table.facts["clock"] == "instructions executed per vCPU"
    assert table.facts["origin"] == "emulated"
    assert table.facts["lpa2"] is True
    assert read(text, all_events=True).arg_by_seq("pc")[4] == 0xFFFF800080096C34 - (1 << 64)


def test_a_tracepoint_called_like_an_instruction_is_none_outside_such_a_file() -> None:
    events = Events()
    events.event("dc: op=civac xt=0x1")
    assert read(events.text()).skipped == {"dc": 1}

"""function_graph text: every option, tasks from switches, names of braces, interrupts."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ftrace_text_reading import differences, read
from tests.writers.ftrace_text import Graph, GraphOptions, Task, printed_ns

WORKER, SHELL, IDLE = Task("kworker/0:2", 438), Task("sh", 157), Task("<idle>", 0)

OPTIONS = st.builds(
    GraphOptions,
    abstime=st.booleans(),
    proc=st.booleans(),
    overhead=st.booleans(),
    duration=st.sampled_from([True, True, True, False]),
    tail=st.booleans(),
    overrun=st.booleans(),
    latency=st.booleans(),
    retval=st.sampled_from(["", "old", "new"]),
    retaddr=st.booleans(),
)
TASKS = (
    Task("kvmunmap", 253), IDLE, WORKER, Task("a-b", 12), Task("x [1]", 7), Task("a: b", 9),
    Task("odd) |", 31), Task("", 44),
)  # fmt: skip
EXAMPLES = int(os.environ.get("TRACEVIEW_EXAMPLES", "40"))
FUNCS = ("kvm_pgtable_walk", "stage2_free_walker", "f.isra.0", "_x", "kvm_foo [kvm]")
DURATIONS = st.one_of(st.integers(0, 10**5), st.integers(0, 10**11))
WORDS = (
    "KVMLAB begin s01.1 dontneed", "begin: x | y", "a 1.123456: b", "",
    ("sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> next_comm=a b"
    " next_pid=17 next_prio=120"),
    "kvm_exit: TRAP: HSR_EC: 0x0020", "irq_handler_entry: irq=1 name=IPI",
    "s2_unmap: (kvm_pgtable_stage2_unmap+0x0/0xc8) pgt=0xffff0000c0ab1140 addr=0x80000000",
)  # fmt: skip


@st.composite
def graphs(draw: st.DrawFn) -> str:
    graph = Graph(draw(OPTIONS))
    for _ in range(draw(st.integers(1, 40))):
        cpu, task = draw(st.integers(0, 1)), draw(st.sampled_from([None, *TASKS]))
        func, duration = draw(st.sampled_from(FUNCS)), draw(DURATIONS)
        args = draw(st.sampled_from(["", "", "pgt=0xffff0000c0ab1140, addr=-5, x=(s)[0x1:0x2]"]))
        ret = draw(st.sampled_from([0, 5, -22, 0xFFFF0000C0AB1140]))
        match draw(st.integers(0, 6)):
            case 0 | 1:
                graph.enter(func, args=args, cpu=cpu, task=task)
            case 2 | 3:
                graph.leave(duration, ret=ret, named=draw(st.booleans()), cpu=cpu, task=task)
            case 4:
                graph.leaf(func, duration, args=args, ret=ret, cpu=cpu, task=task)
            case 5:
                graph.comment(draw(st.sampled_from(WORDS)), cpu=cpu, task=task)
            case 6:
                graph.interrupt(
                    draw(st.sampled_from(["==========>", "<=========="])), cpu=cpu, task=task
                )
    return graph.text()


@given(text=graphs(), all_events=st.booleans(), chunk=st.sampled_from([400, 1 << 22]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_option_reads_as_line_by_line(*, text: str, all_events: bool, chunk: int) -> None:
    assert differences(text.encode(), all_events=all_events, chunk_bytes=chunk) == []


def test_default_text_has_neither_times_nor_tasks() -> None:
    graph = Graph()
    graph.enter("kvm_pgtable_walk", task=WORKER)
    graph.enter("__kvm_pgtable_walk")
    graph.leaf("stage2_free_walker", 3_955)
    graph.leave(78_928)
    graph.leave(1_189_504)
    table = read(graph.text())
    assert table.calls == [
        ("kvm_pgtable_walk", "entry", 0),
        ("__kvm_pgtable_walk", "entry", 1),
        ("stage2_free_walker", "complete", 2),
        ("__kvm_pgtable_walk", "exit", 1),
        ("kvm_pgtable_walk", "exit", 0),
    ]
    assert table.column("duration_ns") == [None, None, 3_955, 78_928, 1_189_504]
    assert table.column("ts_ns") == [None] * 5
    assert table.column("tid") == [None] * 5  # no switch tells
    assert table.facts["loss_known"] is False
    assert table.facts["tracer"] == "function_graph"
    assert "ts_resolution_ns" not in table.facts


def test_tasks_come_from_switches_and_the_first_one_tells_who_was_before() -> None:
    graph = Graph()
    graph.leaf("a", cpu=0, task=WORKER)
    graph.leaf("b", cpu=1, task=IDLE)
    graph.leaf("c", cpu=0, task=SHELL)
    graph.leaf("d", cpu=1)
    table = read(graph.text(), chunk_bytes=64)
    assert table.column("tid") == [438, None, 157, None]
    assert table.column("comm") == ["kworker", None, "sh", None]


def test_a_brace_closes_the_entry_of_its_task_across_a_switch() -> None:
    graph = Graph()
    graph.enter("outer", task=WORKER)
    graph.enter("inner", task=SHELL)
    graph.leave(task=WORKER)
    graph.leave(task=SHELL)
    assert [symbol for symbol, phase, _ in read(graph.text()).calls if phase == "exit"] == [
        "outer",
        "inner",
    ]


def test_a_brace_is_named_when_its_entry_was_in_an_earlier_chunk() -> None:
    graph = Graph()
    graph.enter("outer", task=WORKER)
    for _ in range(300):
        graph.leaf("f")
    graph.leave()
    whole, pieces = read(graph.text()), read(graph.text(), chunk_bytes=100, batch_events=7)
    assert whole.calls[-1] == pieces.calls[-1] == ("outer", "exit", 0)
    assert len(pieces.batches) > 10


def test_a_brace_whose_entry_was_lost_has_no_name() -> None:
    lines = (
        " 0)               |  outer() {\n"
        " 0)               |    inner() {\n"
        " 0)   1.000 us    |  }\n"  # inner's brace was lost: outer's closes it too
        " 0)   2.000 us    |    }\n"
        " 0)   4.280 us    |                } /* stage2_free_walker */\n"
    )
    assert read("# tracer: function_graph\n" + lines).calls == [
        ("outer", "entry", 0),
        ("inner", "entry", 1),
        ("outer", "exit", 0),
        (None, "exit", 1),
        ("stage2_free_walker", "exit", 7),
    ]


@pytest.mark.parametrize("duration_ns", [0, 999, 10_719_396, 152_984_312, 58_547_650, 10**10 + 7])
def test_durations_are_what_was_printed(duration_ns: int) -> None:
    graph = Graph()
    graph.leaf("f", duration_ns)
    assert read(graph.text()).column("duration_ns") == [printed_ns(duration_ns)]


def test_every_mark_of_a_long_duration_is_understood() -> None:
    graph = Graph()
    durations = [9_000, 20_000, 200_000, 2_000_000, 20_000_000, 200_000_000, 2_000_000_000]
    for duration in durations:
        graph.leaf("f", duration)
    assert all(mark in graph.text() for mark in "+!#*@$")
    assert read(graph.text()).column("duration_ns") == durations


def test_absolute_times_and_tasks_are_columns_with_their_options() -> None:
    graph = Graph(GraphOptions(abstime=True, proc=True, tail=True))
    graph.enter("f", cpu=1, task=IDLE)
    graph.leave(cpu=1)
    table = read(graph.text())
    assert table.column("ts_ns") == [36_649_864_000, 36_649_871_000]
    assert table.column("tid") == [0, 0]
    assert table.facts["ts_resolution_ns"] == 1000
    assert table.facts["tracer_options"] == "funcgraph-abstime funcgraph-proc"


def test_interrupt_marks_are_an_entry_and_an_exit() -> None:
    graph = Graph()
    graph.interrupt("==========>")
    graph.leaf("gic_handle_irq")
    graph.interrupt("<==========")
    table = read(graph.text())
    assert table.column("name") == ["irq", "funcgraph_entry", "irq"]
    assert table.column("phase") == ["entry", "complete", "exit"]
    assert table.column("evidence") == ["fgraph"] * 3
    assert table.column("duration_ns") == [None, 1000, None]


def test_arguments_have_their_names() -> None:
    graph = Graph()
    graph.leaf(
        "kvm_pgtable_stage2_unmap", args="pgt=0xffff0000c0ab1140, addr=0x80000000, size=4096"
    )
    graph.enter("kvm_unmap_gfn_range", args="kvm=0xffff80008008d000, range=(s)[0x1:0x2], ok=1")
    table = read(graph.text())
    assert table.arg_by_seq("addr") == {0: 0x80000000}
    assert table.arg_by_seq("size") == {0: 4096}
    assert table.arg_by_seq("range") == {}  # the vocabulary does not know it
    assert table.column("symbol") == ["kvm_pgtable_stage2_unmap", "kvm_unmap_gfn_range"]
    everything = read(graph.text(), all_events=True)
    assert everything.arg_by_seq("range") == {1: "(s)[0x1:0x2]"}
    assert everything.arg_by_seq("ok") == {1: 1}


@pytest.mark.parametrize("form", ["old", "new"])
def test_returned_values_are_the_argument_ret(form: str) -> None:
    graph = Graph(GraphOptions(retval=form, retaddr=form == "new"))
    graph.enter("outer")
    graph.leaf("inner", ret=-22)
    graph.leave(ret=0x10)
    table = read(graph.text(), all_events=True)
    assert table.arg_by_seq("ret") == {1: -22, 2: 16}
    assert table.column("symbol") == ["outer", "inner", "outer"]
    callers = {0: "caller+0x10/0x20", 1: "caller+0x10/0x20"} if form == "new" else {}
    assert table.arg_by_seq("parent_ip") == callers


def test_markers_inside_the_graph_are_bare_words_and_events_have_names() -> None:
    graph = Graph()
    graph.comment("KVMLAB begin s01.1 note: x=1")
    graph.comment("begin: s01.1")
    graph.comment("tlbi: (__kvm_tlb_flush_vmid_ipa+0x0/0xd0) mmu=0xffff800084205000 ipa=0x80000000")
    graph.comment("sched_switch: prev_comm=a b prev_pid=3 prev_prio=120 prev_state=R+ ==> "
                  "next_comm=c next_pid=4 next_prio=120")  # fmt: skip
    graph.comment("kvm_ack_irq: TRAP")
    graph.comment("task_1: begin s01.2")  # no tracepoint that is known
    graph.comment("bprint: begin s01.3")
    table = read(graph.text())
    assert table.column("name") == ["print", "print", "tlbi", "sched_switch", "print", "print"]
    assert table.arg_by_seq("buf") == {
        0: "KVMLAB begin s01.1 note: x=1",
        1: "begin: s01.1",
        4: "task_1: begin s01.2",
        5: "bprint: begin s01.3",
    }
    assert table.arg_by_seq("ipa") == {2: 0x80000000}
    assert table.arg_by_seq("next_pid") == {3: 4}
    assert table.column("evidence") == ["marker"] * 2 + ["kprobe", "tracepoint"] + ["marker"] * 2
    assert table.skipped == {"kvm_ack_irq": 1}


def test_a_graph_without_cpu_and_duration_is_read_from_its_functions() -> None:
    graph = Graph(GraphOptions(cpu=False, duration=False))
    graph.enter("outer")
    graph.leaf("inner")
    graph.leave()
    table = read(graph.text())
    assert table.calls == [("outer", "entry", 0), ("inner", "complete", 1), ("outer", "exit", 0)]
    assert table.column("duration_ns") == [None] * 3
    assert table.column("cpu") == [None] * 3


def test_names_of_idle_tasks_are_one_task_per_cpu() -> None:
    graph = Graph(GraphOptions(proc=True))
    graph.enter("first", cpu=0, task=IDLE)
    graph.enter("second", cpu=1, task=IDLE)
    graph.leave(cpu=0)
    graph.leave(cpu=1)
    assert [symbol for symbol, *_ in read(graph.text()).calls[2:]] == ["first", "second"]


def test_trace_cmd_prints_the_graph_as_events() -> None:
    head = "        kvmunmap-701   [001] d....   150.0456{}: "
    text = "cpus=2\n" + "".join(
        head.format(10 + at) + line + "\n"
        for at, line in enumerate(
            [
                "funcgraph_entry:                   |  kvm_unmap_gfn_range() {",
                "funcgraph_entry:      + 53.144 us  |    kvm_s2_put_page(); (1)",
                "funcgraph_entry:        9.651 us   |    ffff800080096bd8();",
                "funcgraph_exit:       ! 417 us |  } /* kvm_unmap_gfn_range */ (0)",
                "funcgraph_entry:       func=kvm_foo (0xffff800080096bd8) depth=3",
                (
                    "funcgraph_exit:        func=kvm_foo (0xffff800080096bd8) depth=3 overrun=0"
                    " calltime=100 rettime=250"
                ),
            ]
        )
    )
    table = read(text)
    assert table.calls == [
        ("kvm_unmap_gfn_range", "entry", 0),
        ("kvm_s2_put_page", "complete", 1),
        (None, "complete", 1),
        ("kvm_unmap_gfn_range", "exit", 0),
        ("kvm_foo", "entry", 3),
        ("kvm_foo", "exit", 3),
    ]
    assert table.column("duration_ns") == [None, 53_144, 9_651, 417_000, None, 150]
    assert table.column("probe_ip")[2] == 0xFFFF800080096BD8
    assert table.facts["cpus"] == 2


def test_wide_cpu_numbers_and_deep_calls_are_read() -> None:
    graph = Graph(GraphOptions(tail=True))
    for depth in range(50):
        graph.enter(f"f{depth}", cpu=117)
    graph.leave(cpu=117)
    table = read(graph.text())
    assert table.column("depth")[-1] == 49
    assert set(table.column("cpu")) == {117}
    too_deep = "# tracer: function_graph\n 0)               |  " + "  " * 300 + "f() {\n"
    assert read(too_deep).diagnostics["unparsed-lines"].count == 1


def test_options_are_only_claimed_when_the_header_shows_them() -> None:
    shown = Graph(GraphOptions(abstime=True))
    shown.leaf("f")
    hidden = Graph(replace(shown.options, header=False))
    hidden.leaf("f")
    assert read(shown.text()).facts["tracer_options"] == "funcgraph-abstime"
    assert "tracer_options" not in read(hidden.text()).facts

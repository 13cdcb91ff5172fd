"""Damaged and odd input gives diagnostics, never a traceback, and never a wrong neighbour."""

from __future__ import annotations

import random

import pytest

from tests.ftrace_text_reading import read
from tests.writers.ftrace_text import STYLES, Events, Graph, GraphOptions, Task, insn_header
from traceview.errors import TraceviewError
from traceview.parsers.ftrace_text_chunks import KEPT_BYTES, LINE_BYTES, in_stack, whole_lines

PROBE = "s2_unmap: (kvm_pgtable_stage2_unmap+0x0/0xc8) pgt=0xffff0000c0ab1140 addr=0x80000000"


def samples() -> dict[str, bytes]:
    found = {}
    for style in STYLES:
        events = Events(style)
        for body in (
            PROBE,
            "<stack trace>",
            'a: (f+0x0/0x8) s="x"',
            "f <-g",
            "kvm_exit: x",
            "sched_switch: a:1 [120] R ==> b:2 [120]",
            "funcgraph_exit: + 53.144 us  |  }",
        ):
            events.event(body)
        events.lines.append("CPU:0 [LOST 1 EVENTS]\n")
        found[style] = events.text().encode()
    for name, options in (
        ("default", GraphOptions()),
        ("full", GraphOptions(abstime=True, proc=True, tail=True, retval="new", retaddr=True)),
        ("bare", GraphOptions(duration=False, latency=True)),
    ):
        graph = Graph(options)
        for task in (Task("sh", 1), Task("<idle>", 0)):
            graph.enter("f", task=task, args="a=0x1, b=2")
            graph.leaf("g", 12_345_678)
            graph.comment("note: x")
            graph.interrupt("==========>")
            graph.leave(ret=-1)
        found[name] = graph.text().encode()
    found["insn"] = (
        insn_header()
        + "   vcpu0-0       [000] .....      2.882556460: tlbi: op=ripas2e1is xt=0x438000008000\n"
        * 3
    ).encode()
    return found


SAMPLES = samples()


def survives(data: bytes, *, all_events: bool) -> None:
    try:
        read(data, all_events=all_events)
    except TraceviewError:
        return


@pytest.mark.parametrize("name", SAMPLES)
def test_truncation_anywhere_gives_what_came_before(name: str) -> None:
    data, rng = SAMPLES[name], random.Random(name)
    whole = read(data, all_events=True).events
    for at in sorted(rng.sample(range(len(data)), 8)):
        lines = data[:at].rfind(b"\n") + 1
        table = read(data[:at], all_events=True)
        complete = read(data[:lines], all_events=True).events
        assert len(complete) <= len(table.events) <= len(complete) + 1
        assert len(table.events) <= len(whole)


@pytest.mark.parametrize("name", SAMPLES)
def test_flipped_bytes_break_nothing(name: str) -> None:
    rng = random.Random(name)
    for number in range(14):
        data = bytearray(SAMPLES[name])
        for _ in range(rng.choice([1, 5, 50])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        survives(bytes(data), all_events=number % 2 == 0)


@pytest.mark.parametrize(
    "line",
    [
        "=" * 500, "|" * 500, ":" * 500 + " ", "(" * 500, " " * 5000, "0" * 5000, "/*" * 200,
        "a-1 [000] 1.000000:", "a-1 [000] 1.000000: ", "a-1 [000] 1.000000: x:",
        "-1 [0] 1.000000: :",
        " 0)  |", " 0)               |  ", " 0)               |  }", " 0)               |  } /* ",
        " 0)               |  /* */", " 0)               |  f(", " 0)               |  ();",
        " 0)   us    |  f();", " 0)   1. us    |  f();", " 0)   .1 us    |  f();",
        " 0)   99999999999999999999 us |  f();",
        "99999999999999999999.000000 |   0)   1 us |  f();",
        "a-99999999999999999999 [000] 1.000000: x: y", "a-1 [99999999999] 1.000000: x: y",
        "a-1 [000] 99999999999999999999.000000: x: y", "a-1 [000] 1.000000: x: (f+0x0/0x1) =",
        'a-1 [000] 1.000000: x: (f+0x0/0x1) ==a="', "a-1 [000] 1.000000: x: (f+0x0/0x1) a='",
        "a-1 [000] 1.000000: x: (f+0xffffffffffffffffffff/0x1) a=0xfffffffffffffffffff",
        "a-1 [000] 1.000000: x: (ffffffffffffffff <- ffffffffffffffff)",
        "a-1 [000] 1.000000: funcgraph_entry: |",
        "a-1 [000] 1.000000: funcgraph_exit: func=x depth=9",
        "a-1 [000] 1.000000: x: __probe_ip= y", "CPU:0 [LOST 99999999999999999999999 EVENTS]",
        " 0)  a-1  =>  b-99999999999", "cpus=99999999999999999999", "=> f", "<stack trace>",
    ],
)  # fmt: skip
def test_odd_lines_do_not_disturb_their_neighbours(line: str) -> None:
    good = "        kvmunmap-614     [000] .....   186.304818: irq_handler_entry: irq=1 name=IPI\n"
    for text in (f"{good}{line}\n{good}", f"{good}{line}"):
        for all_events in (False, True):
            table = read(text, all_events=all_events)
            assert table.column("name")[0] == "irq_handler_entry"
            assert table.column("ts_ns")[0] == 186_304_818_000
            if text.endswith(good):
                assert table.column("name")[-1] == "irq_handler_entry"


def test_unparsed_lines_are_counted_and_the_first_is_shown() -> None:
    events = Events()
    events.event(PROBE)
    events.lines += ["what is this\n", "\n", "and this\n"]
    for chunk in (50, 1 << 20):
        found = read(events.text(), chunk_bytes=chunk).diagnostics["unparsed-lines"]
        assert found.count == 2
        assert found.severity == "warning"
        assert "line 6: 'what is this'" in found.message


def test_a_trace_without_events_says_so() -> None:
    table = read("# tracer: nop\n#\n# entries-in-buffer/entries-written: 0/0   #P:2\n#\n")
    assert len(table.events) == 0
    assert table.facts["tracer"] == "nop"
    assert "no-events" in table.diagnostics


def test_windows_line_ends_and_zero_bytes_and_other_encodings_are_read() -> None:
    events = Events()
    events.event(PROBE, task=Task("comm", 1))
    events.event("tracing_mark_write: note", task=Task("x", 2))
    data = events.text().encode()
    odd = data.replace(b"\n", b"\r\n").replace(b"comm", b"c\xffm\x00").replace(b"note", b"n\xe9te")
    table = read(odd)
    assert table.column("comm") == ["c\ufffdm\0", "x"]
    assert table.arg_by_seq("buf") == {1: "n\ufffdte"}
    assert table.arg_by_seq("addr") == {0: 0x80000000}
    assert "unparsed-lines" not in table.diagnostics


def test_a_line_of_ten_megabytes_is_one_line() -> None:
    good = "        kvmunmap-614     [000] .....   186.304818: irq_handler_entry: irq=1 name=IPI\n"
    for text in ("x" * 10_000_000, "x: " * 3_000_000, " 0)               |  " + "f(" * 5_000_000):
        table = read(f"{good}{text}\n{good}nonsense\n")
        assert len(table.events) == 2
        assert table.diagnostics["unparsed-lines"].count == 2


def test_a_line_without_end_is_cut_and_memory_with_it() -> None:
    pieces = [b"a\n", *[b"x" * (1 << 20)] * (LINE_BYTES // (1 << 20) + 5), b"y\nb\nc"]
    lines = b"".join(whole_lines(iter(pieces))).split(b"\n")
    assert lines == [b"a", b"x" * KEPT_BYTES, b"b", b"c"]


def test_stacks_stay_with_their_event_however_the_file_is_cut() -> None:
    data = b"e1\n => f\n => g\ne2\n => h\n"
    for size in range(1, len(data)):
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        chunks = list(whole_lines(iter(pieces), in_stack))
        assert b"".join(chunks) == data
        assert not [chunk for chunk in chunks if chunk.startswith(b" =>")]

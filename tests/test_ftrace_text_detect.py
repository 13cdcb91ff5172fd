"""Ftrace text is recognised by what it says, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.writers.ftrace_text import STYLES, Events, Graph, GraphOptions, Task, insn_header
from traceview.parsers.ftrace_text import detect

PROBE = "s2_unmap: (kvm_pgtable_stage2_unmap+0x0/0xc8) addr=0x80000000"


def body(style: str) -> bytes:
    events = Events(style)
    for _ in range(3):
        events.event(PROBE)
    return "".join(events.lines).encode()


@pytest.mark.parametrize("style", [style for style in STYLES if style != "boot"])
def test_event_lines_are_recognised_without_a_header(style: str) -> None:
    assert detect(body(style))


@pytest.mark.parametrize("style", STYLES)
def test_event_lines_are_recognised_below_a_header(style: str) -> None:
    events = Events(style)
    events.event(PROBE)
    assert detect(events.text().encode())


@pytest.mark.parametrize(
    "options",
    [
        GraphOptions(header=False),
        GraphOptions(header=False, abstime=True, proc=True),
        GraphOptions(header=False, latency=True),
        GraphOptions(header=False, duration=False),
    ],
)
def test_graph_lines_are_recognised_without_a_header(options: GraphOptions) -> None:
    graph = Graph(options)
    graph.enter("f", task=Task("sh", 3))
    graph.leaf("g", task=Task("cat", 4))
    graph.leave(task=Task("sh", 3))
    assert detect(graph.text().encode())


@pytest.mark.parametrize(
    "head",
    [
        b"# tracer: nop\n",
        b"\n# tracer: function_graph\n#\n",
        insn_header().encode(),
        b"cpus=2\n",
        b"version = 6\ncpus=8\nCPU:7 [204600 EVENTS DROPPED]\n",
        b"CPU:0 [LOST 136 EVENTS]\n" + body("trace"),
        body("trace").replace(b"\n", b"\r\n"),
        body("trace")[:-30],  # cut in a line
        b"\xff\xfe\x00\n" + body("trace"),
    ],
)
def test_other_beginnings_are_recognised(head: bytes) -> None:
    assert detect(head)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n\n",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256)) * 20,
        bytes(range(256)) * 64,
        b"\x00" * 4096,
        b"# this is a shell script\necho 1.5: x\n",
        b"def f() -> None:\n    return g() | {\n}\n",
        b"int f(void) {\n\tg();\n}\n",
        b"Nov 22 18:03:02 host kernel: [   12.345678] kvm [1]: VHE mode initialized\n" * 9,
        b"[   12.345678] kvm [1]: VHE mode initialized\n" * 9,
        b"2024-01-01 00:00:00.123456: event-12: something\n" * 9,
        b"kvmunmap   614 [000]   186.304818: kvmlab:s2_unmap: (ffff80008009ee10) addr=0x1\n" * 9,
        b"kvm-unmap  614/615 [000]   186.304818: kvmlab:s2_unmap: (ffff80008009ee10)\n" * 9,
        b"trace-cmd: No such file or directory\n  opening 'tc.dat'\n",
        b'{"a": 1, "b": "x-1 [000] 1.000000: y"}\n' * 3,
        b"    60.08%  swapper          [kernel.kallsyms]  [k] default_idle_call\n" * 9,
        b"| a | b |\n|---|---|\n| 1 us | 2 |\n" * 5,
    ],
)
def test_other_files_are_not_claimed(head: bytes) -> None:
    assert not detect(head)


def test_no_source_of_this_project_is_claimed() -> None:
    root = Path(__file__).parent.parent
    files = [*root.glob("parsers/*.py"), *root.glob("tests/*.py"), *root.glob("*.toml")]
    assert not [path.name for path in files if detect(path.read_bytes()[: 1 << 16])]

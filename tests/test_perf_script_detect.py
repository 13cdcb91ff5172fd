"""`perf script` text is recognised by its lines, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_ftrace_text_detect import body
from tests.writers.ftrace_text import STYLES, Events, Graph, GraphOptions, Task
from tests.writers.perf_script import DEFAULT, TRACEPOINT, Frame, Script, Thread
from traceview.parsers import formats, ftrace_text
from traceview.parsers.perf_script import detect

PROBE = "(ffff80008009ee10) pgt=0xfff00000c644b380 addr=0x80000000 size=0x1000"
CHAIN = tuple(Frame(0xFFFF800080000000 + n, f"f{n}", 4) for n in range(30))
SETS = {
    "default": DEFAULT,
    "tracepoint": TRACEPOINT,
    "process": DEFAULT | {"pid"},
    "no cpu": DEFAULT - {"cpu"},
    "no thread": DEFAULT - {"tid"},
    "no name": DEFAULT - {"comm"},
    "time of day": DEFAULT | {"tod", "misc", "flags"},
    "time and event": frozenset({"time", "event"}),
    # These are refused later, with the reason.
    "no time": DEFAULT - {"time"},
    "no event": DEFAULT - {"event"},
}


def script(
    fields: frozenset[str] = DEFAULT,
    *,
    ns: bool = False,
    latency: bool = False,
    chains: bool = False,
) -> Script:
    text = Script(fields, ns, latency, chains=chains)
    for second in range(1, 5):
        thread = Thread("CPU 0/KVM", 1234, 1200)
        text.tracepoint("kvmlab:s2_unmap", PROBE, second * 10**9, thread)
        text.sample("cpu-clock", second * 10**9, thread, frames=CHAIN)
    return text


@pytest.mark.parametrize("chains", ["chains", "no chains"])
@pytest.mark.parametrize("fields", SETS)
def test_any_set_of_fields_is_recognised(fields: str, chains: str) -> None:
    for ns in (False, True):
        head = script(SETS[fields], ns=ns, chains=chains == "chains").text().encode()
        assert detect(head)
        assert detect(head[:-20])
        assert not ftrace_text.detect(head)
        assert formats.detect(head, "x").name == "perf script"


def test_latency_format_is_recognised() -> None:
    assert detect(script(latency=True).text().encode())


@pytest.mark.parametrize(
    "before",
    [
        "# ========\n# captured on    : Sun Nov 22 16:35:32 2026\n# ========\n#\n",
        "'trace' not valid for hardware events. Ignoring.\n" * 7,
        "Warning:\nProcessed 12007 events and lost 94 chunks!\n\nCheck IO/CPU overload!\n\n",
        "         swapper       0 [000]     0.000000: PERF_RECORD_FORK(1:1):(0:0)\n" * 300,
        "\n",
    ],
)
def test_other_beginnings_are_recognised(before: str) -> None:
    assert detect(before.encode() + script().text().encode())


def test_a_header_alone_is_recognised() -> None:
    assert detect(b"# ========\n# captured on    : Sun Nov 22 16:35:32 2026\n# arch : aarch64\n")


def test_records_alone_are_recognised() -> None:
    assert detect(b"         swapper       0 [000]     0.000000: PERF_RECORD_FORK(1:1):(0:0)\n" * 9)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n\n",
        b"# ========\n# captured on: Sun Nov 22\n#\n# Samples: 4K\n    60.08%  swapper  [k] f\n",
        b"# this is a shell script\necho 1.5: x\n",
        b"\x00" * 4096,
        bytes(range(256)) * 64,
        b"def f() -> None:\n    return g() | {\n}\n",
        b"Nov 22 18:03:02 host kernel: [   12.345678] kvm [1]: VHE mode initialized\n" * 9,
        b"[   12.345678] kvm [1]: VHE mode initialized\n" * 9,
        b"2024-01-01 00:00:00.123456: event-12: something\n" * 9,
        b"12.345678: foo: bar\n" * 9,
        b"a.c:12: warning: x\na.c:13:7: error: y\n" * 9,
        b"12345 pts/0    00:00:00 bash: x\n" * 9,
        b"\tffff8000800f7afc f+0x10 ([kernel.kallsyms])\n" * 9,
        b'{"a": 1, "b": "x-1 [000] 1.000000: y"}\n' * 3,
        b"    60.08%  swapper          [kernel.kallsyms]  [k] default_idle_call\n" * 9,
        b"0.000 ( 0.015 ms): ls/1234 openat(dfd: CWD, filename: x) = 3\n" * 9,
        b"time: 1.000000\n" * 5,
    ],
)
def test_other_files_are_not_claimed(head: bytes) -> None:
    assert not detect(head)


@pytest.mark.parametrize("style", STYLES)
def test_ftrace_text_is_not_claimed(style: str) -> None:
    events = Events(style)
    for _ in range(5):
        events.event("s2_unmap: (kvm_pgtable_stage2_unmap+0x0/0xc8) addr=0x80000000")
    assert not detect(body(style)) or style == "boot"
    assert not detect(events.text().encode())


@pytest.mark.parametrize("style", ["default", "full", "latency", "bare"])
def test_function_graph_text_is_not_claimed(style: str) -> None:
    graph = Graph(
        {
            "default": GraphOptions(),
            "full": GraphOptions(abstime=True, proc=True, tail=True, header=False),
            "latency": GraphOptions(latency=True, header=False),
            "bare": GraphOptions(duration=False, header=False),
        }[style]
    )
    for _ in range(5):
        graph.enter("f", task=Task("sh", 3))
        graph.leaf("g", task=Task("cat", 4))
        graph.leave(task=Task("sh", 3))
    assert not detect(graph.text().encode())


def test_no_source_of_this_project_is_claimed() -> None:
    root = Path(__file__).parent.parent
    files = [*root.glob("parsers/*.py"), *root.glob("tests/*.py"), *root.glob("docs/*.md")]
    assert not [path.name for path in files if detect(path.read_bytes()[: 1 << 16])]

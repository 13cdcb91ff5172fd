"""Simulated recordings as ftrace text: written as the kernel prints it, it reads back."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import given, settings

from tests.simulated_reading import args_of, events_of, expected_args, losses_of, tables
from tests.writers.ftrace_text import Graph, GraphOptions, Task, printed_ns
from tests.writers.recorded import SYMBOLS, Recording, as_recorded, recordings
from traceview.simulate.ftrace_text import write_ftrace_text

if TYPE_CHECKING:
    from traceview.simulate.recording import Recorded

CAPTURES = Path(__file__).parent.parent.parent / "shared" / "traces"


EXAMPLES = 25


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulated")


def written(recorded: Recorded) -> str:
    out = io.BytesIO()
    write_ftrace_text(recorded, out)
    return out.getvalue().decode()


def shown_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records as lines show them: an entry and its exit, next to each other, are one."""
    following: dict[int, dict[str, Any]] = {}
    ends: dict[int, dict[str, Any]] = {}
    for n in reversed(range(len(rows))):
        row, after = rows[n], following.get(rows[n]["cpu"])
        if (
            after is not None
            and (row["kind"], after["kind"]) == ("funcgraph_entry", "funcgraph_exit")
            and (row["tid"], row["symbol"]) == (after["tid"], after["symbol"])
            and not after["lost_before"]
        ):
            ends[id(row)] = after
        following[row["cpu"]] = row
    swallowed = {id(row) for row in ends.values()}
    return [{**row, "leaf": ends.get(id(row))} for row in rows if id(row) not in swallowed]


def expected_text(recorded: Recorded, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events that a reader of the text should find."""
    comms = {one.tid: one.comm for one in recorded.tasks} | {0: "<idle>"}
    found = []
    for row in shown_rows(rows) if recorded.graph else rows:
        last = row.get("leaf") or row
        took = None
        if last["kind"] == "funcgraph_exit":
            took = printed_ns(last["rettime_ns"] - last["calltime_ns"])
        cut = row["ts_ns"] if recorded.graph else row["ts_ns"] + 500
        found.append(
            {
                "ts_ns": cut // 1000 * 1000, "cpu": row["cpu"], "tid": row["tid"],
                "comm": comms[row["tid"]][: 7 if recorded.graph else None],
                "symbol": row["symbol"], "depth": row["depth"], "duration_ns": took,
                "phase": "complete" if row.get("leaf") else None,
                "kind": row["kind"], "lost_before": row["lost_before"],
            }
        )  # fmt: skip
    return found


def assert_text_says(recorded: Recorded, path: Path) -> None:
    batches = list(recorded.batches)
    rows = [row for batch in batches for row in batch.iter_rows(named=True)]
    text = written(replace(recorded, batches=iter(batches)))
    path.write_text(text, encoding="utf-8")
    if not rows:
        return
    found = tables(path)
    expected = expected_text(recorded, rows)
    assert events_of(found) == events_of(expected)
    assert losses_of(found) == losses_of(expected, recorded.lost_at_end)
    assert args_of(found) == expected_args(expected_rows(recorded, rows))
    assert [one.code for one in found.diagnostics if one.severity != "info"] == []


def expected_rows(recorded: Recorded, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return shown_rows(rows) if recorded.graph else rows


@settings(max_examples=EXAMPLES)
@given(recordings(probes=False))
def test_function_graph_text_reads_back(folder: Path, recorded: Recorded) -> None:
    assert_text_says(recorded, folder / "trace.txt")


@settings(max_examples=EXAMPLES)
@given(recordings(graph=False))
def test_text_of_kprobes_reads_back(folder: Path, recorded: Recorded) -> None:
    assert_text_says(recorded, folder / "trace.txt")


@settings(max_examples=EXAMPLES)
@given(recordings())
def test_function_graph_text_with_probes_as_comments_reads_back(
    folder: Path, recorded: Recorded
) -> None:
    assert_text_says(recorded, folder / "trace.txt")


def test_a_task_switch_and_the_marks_look_as_the_kernel_prints_them() -> None:
    """Against a writer of single lines (tests/writers/ftrace_text.py)."""
    one, other = Task("vcpu 0", 301), Task("kworker", 302)
    graph = Graph(GraphOptions(abstime=True, proc=True, tail=True))
    recording = Recording(1)
    for task, took_ns in ((one, 999), (other, 10_001), (one, 4_952_179), (other, 20 * 10**9)):
        recording.now_ns, recording.running[0] = (graph.now_us + 7) * 1000, task.tid
        graph.enter("kvm_pgtable_stage2_unmap", task=task)
        recording.enter(0, "kvm_pgtable_stage2_unmap")
        recording.now_ns = (graph.now_us + 7) * 1000
        graph.leaf("kvm_s2_put_page", 500)
        recording.enter(0, "kvm_s2_put_page")
        recording.now_ns += 500
        recording.leave(0)
        graph.now_us += 10_000_000
        recording.now_ns = (graph.now_us + 7) * 1000
        entry = recording.stacks[task.tid][-1]
        recording.stacks[task.tid][-1] = (entry[0], recording.now_ns - took_ns)
        graph.leave(took_ns)
        recording.leave(0)
    written_lines = written(as_recorded(recording, [3], probes=False)).splitlines()
    assert written_lines[4:] == graph.text().splitlines()[3:]


def test_arrows_mark_interrupts_as_the_kernel_prints_them() -> None:
    task = Task("vcpu 0", 301)
    graph = Graph(GraphOptions(abstime=True, proc=True, tail=True))
    recording = Recording(1, running={0: 301})

    def at_the_next_line() -> None:
        recording.now_ns = (graph.now_us + 7) * 1000

    at_the_next_line()
    recording.enter(0, "kvm_s2_put_page")
    graph.enter("kvm_s2_put_page", task=task)
    graph.interrupt("==========>")
    at_the_next_line()
    recording.enter(0, "gic_handle_irq")
    graph.enter("gic_handle_irq")
    recording.now_ns += 1000
    recording.leave(0)
    # Nothing is called inside: that is one line between two arrows, all of the same time.
    function = graph.lines.pop().replace("              |  ", "  1.000 us    |  ")
    graph.lines.append(function.replace(" {", ";"))
    graph.open[301, -1].pop()
    graph.interrupt("<==========")
    at_the_next_line()
    recording.leave(0)
    graph.leave(recording.now_ns - recording.rows[0]["ts_ns"])
    written_lines = without_times(written(as_recorded(recording, [3], probes=False)))
    assert written_lines[4:] == without_times(graph.text())[3:]


def without_times(text: str) -> list[str]:
    return [re.sub(r"^ *\d+\.\d{6}", "", line) for line in text.splitlines()]


@pytest.mark.captures
@pytest.mark.parametrize(("name", "graph"), [("fgraph-full", True), ("kprobes", False)])
def test_the_header_is_that_of_the_kernel(name: str, graph: bool) -> None:  # noqa: FBT001
    path = CAPTURES / "6.12-max" / f"{name}.txt.zst"
    if not path.exists():
        pytest.skip(f"there are no captures at {CAPTURES}")
    with zstandard.open(path, "rt", encoding="utf-8") as file:
        captured = [line for line in file.read(4096).splitlines() if line.startswith("#")]
    shown = written(as_recorded(Recording(2), [1], graph=graph)).splitlines()
    same = [re.sub(r"\d+/\d+", "N/N", line) for line in captured]
    assert [re.sub(r"\d+/\d+", "N/N", line) for line in shown] == same


def test_what_was_lost_behind_the_last_event_is_said_at_the_end() -> None:
    recording = Recording(2, running={0: 301}, losing={1: 7})
    recording.add(0, "print", None, text="words")
    for graph in (False, True):
        text = written(as_recorded(recording, [1], graph=graph))
        assert text.endswith("CPU:1 [LOST 7 EVENTS]\n")
        assert "entries-in-buffer" not in text


def test_a_leaf_is_one_line_wherever_a_batch_ends() -> None:
    recording = Recording(2, running={0: 301, 1: 302})
    for n in range(10):
        for cpu in (0, 1):
            recording.now_ns += 1000
            (recording.leave if n % 2 else recording.enter)(cpu, *SYMBOLS[: 1 - n % 2])
    texts = {written(as_recorded(recording, [size], probes=False)) for size in (1, 2, 3, 7, 100)}
    assert len(texts) == 1
    assert texts.pop().count("();") == 10

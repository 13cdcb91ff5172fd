"""Captures made with a ring that was too small: nothing vanishes, and nothing partial is whole."""

from __future__ import annotations

import re
from collections import Counter

import polars as pl
import pytest

import traceview
from tests.truth import TRACES, steps
from traceview.parsers.source import open_source

pytestmark = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.is_dir(), reason="no captures: ../shared/traces is not there"),
]

FOLDERS = ("6.1-max", "6.12-max", "6.12-neoverse-n1")
LOSSY = [f"{folder}/kprobes-lost-pipe.txt.zst" for folder in FOLDERS]
EVENT = re.compile(r"-(\d+)\s+\[(\d+)\] \S+\s+(\d+)\.(\d{6}): (s2_unmap|s2_unmap_ret): ")
LOST = re.compile(r"^CPU:(\d+) \[LOST (\d+) EVENTS\]$")


def lines(path: str) -> list[str]:
    return b"".join(open_source(TRACES / path).chunks()).decode().splitlines()


@pytest.mark.parametrize("path", LOSSY)
def test_every_unmap_that_began_is_complete_censored_or_contaminated(path: str) -> None:
    began = Counter(match[5] for line in lines(path) if (match := EVENT.search(line)))["s2_unmap"]
    unmaps = traceview.analyze(traceview.open_trace(TRACES / path)).unmaps
    assert unmaps.filter(pl.col("start_ns").is_not_null()).height == began
    assert set(unmaps["status"]) <= {"complete", "censored", "contaminated"}
    assert "complete" in set(unmaps["status"])
    assert set(unmaps["status"]) != {"complete"}


@pytest.mark.parametrize("path", LOSSY)
def test_complete_unmaps_last_from_line_to_line_without_a_hole_between(
    path: str,
) -> None:
    """Walks the file line by line, the obvious way."""
    begun: dict[str, tuple[int, int]] = {}
    true: dict[int, tuple[int, bool]] = {}
    holes = Counter[str]()
    for line in lines(path):
        if match := LOST.match(line):
            holes[match[1]] += 1
        if match := EVENT.search(line):
            tid, cpu, at = match[1], str(int(match[2])), int(match[3] + match[4]) * 1000
            if match[5] == "s2_unmap":
                begun[tid] = (at, holes[cpu])
            elif tid in begun:
                start, before = begun.pop(tid)
                true[start] = (at - start, holes[cpu] == before)
    unmaps = traceview.analyze(traceview.open_trace(TRACES / path)).unmaps
    whole = unmaps.filter(pl.col("status") == "complete")
    for start, duration in whole.select("start_ns", "duration_ns").rows():
        assert true[start] == (duration, True)
    assert sum(intact for _, intact in true.values()) == whole.height


@pytest.mark.parametrize("path", LOSSY)
def test_complete_unmaps_of_lossy_captures_show_no_more_than_the_workload_did(path: str) -> None:
    truth = steps(path.partition("/")[0], TRACES / path.replace(".txt.zst", ".truth.jsonl"))
    unmaps = traceview.analyze(traceview.open_trace(TRACES / path)).unmaps
    for name, step in truth.items():
        mine = unmaps.filter(pl.col("step") == name)
        whole = mine.filter(pl.col("status") == "complete")
        if whole.height == step.unmaps:
            assert whole["leaves"].sum() == step.leaves
        assert whole["leaves"].sum() <= step.leaves
        assert mine.filter(pl.col("status") != "complete")["leaves"].null_count() == (
            mine.height - whole.height
        )


@pytest.mark.parametrize("path", LOSSY)
def test_the_number_of_lost_events_is_what_the_kernel_said(path: str) -> None:
    said = [int(match[2]) for line in lines(path) if (match := LOST.match(line))]
    losses = traceview.analyze(traceview.open_trace(TRACES / path)).losses
    assert losses["count"].to_list() == said


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_overwritten_graph_is_censored_at_its_start_and_its_loss_unknown(folder: str) -> None:
    trace = traceview.open_trace(TRACES / folder / "fgraph-lost-overwrite.txt")
    analysis = traceview.analyze(trace)
    assert analysis.sources["loss_known"].to_list() == [False]
    assert "exits-without-entry" in {found.code for _, found in analysis.diagnostics}
    cut = traceview.calls(trace).filter(pl.col("status") == "censored")
    assert cut["duration_ns"].null_count() == cut.height > 0


REPORT = re.compile(r"^\s*\S.*-\d+\s+\[(\d+)\] \S+\s+(\d+)\.(\d{6}): ")
DROPPED = re.compile(r"^CPU:(\d+) \[(?:(\d+) )?EVENTS DROPPED\]$")


def reported_drops(path: str) -> list[tuple[int, int | None, int, int]]:
    """(CPU, count, microsecond before, microsecond behind) of each loss in a trace-cmd report."""
    last: dict[int, int] = {}
    waiting: dict[int, int | None] = {}
    found = []
    for line in lines(path):
        if match := DROPPED.match(line):
            waiting[int(match[1])] = int(match[2]) if match[2] else None
        elif match := REPORT.match(line):
            cpu, now = int(match[1]), int(match[2] + match[3])
            if cpu in waiting:
                found.append((cpu, waiting.pop(cpu), last[cpu], now))
            last[cpu] = now
    return found


def test_the_losses_of_a_trace_dat_are_those_of_trace_cmds_report() -> None:
    """Times to the microsecond, as trace-cmd rounds them (half up)."""
    trace = traceview.open_trace(TRACES / "6.12-max/tc-lost2.dat.zst")
    losses = traceview.analyze(trace).losses
    placed = losses.filter(pl.col("from_ns").is_not_null())
    ours = [
        (cpu, count, (start + 500) // 1000, (end + 500) // 1000)
        for cpu, count, start, end in placed.select("cpu", "count", "from_ns", "to_ns").rows()
    ]
    assert ours == reported_drops("6.12-max/tc-lost2.report.txt.zst")
    assert len(ours) == 10
    log = (TRACES / "6.12-max/tc-lost2.record.log").read_text()
    assert f"CPU 1: {losses['count'].sum()} events lost" in log


def test_the_lost_samples_of_a_perf_data_are_counted_once() -> None:
    """perf script says: 27557 samples and 60.90% of them lost, in 94 records of lost events."""
    trace = traceview.open_trace(TRACES / "6.12-neoverse-n1/perf-kprobes-lost.perf.data.zst")
    losses = traceview.analyze(trace).losses
    warning = (TRACES / "6.12-neoverse-n1/perf-kprobes-lost.script.err").read_text()
    assert "lost 94 chunks" in warning
    placed = losses.filter(pl.col("from_ns").is_not_null() | pl.col("to_ns").is_not_null())
    assert len(placed) == 94
    total = losses["count"].sum()
    assert f"Processed 27557 samples and lost {100 * total / 27557:.2f}%" in warning
    kept = sum(len(b.events) for b in trace.batches(all_events=True))
    assert kept + total == 27557

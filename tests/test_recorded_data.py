"""Pipes of perf and raw ring buffers, recorded in real kernels, against the texts beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

import traceview
from tests.unpacking import unpack
from traceview.symbols import SymbolSources, parse_kprobe_events
from traceview.trace import Settings

if TYPE_CHECKING:
    from traceview.trace import Tables, Trace

DATA = Path(__file__).parent / "data"


def opened(path: Path) -> Trace:
    probes = parse_kprobe_events((DATA / "perf-pipe.kprobe_events").read_text())
    settings = Settings(facts={"origin": "emulated"}, symbols=SymbolSources(probes))
    return traceview.open_trace(path, settings=settings)


def unpacked(name: str, folder: Path) -> Path:
    unpack(DATA / f"{name}.tar.xz", folder)
    return folder / name


def per_cpu(tables: Tables, quantum_ns: int) -> list[tuple[object, ...]]:
    """CPU, time rounded half up, task and name of every event, CPU by CPU."""
    time = (pl.col("ts_ns") + quantum_ns // 2) // quantum_ns
    return (
        tables.events.with_columns(time)
        .sort("cpu", "seq")
        .select("cpu", "ts_ns", "tid", pl.col("name").cast(pl.String))
        .rows()
    )


@pytest.mark.parametrize("name", ["perf-pipe", "perf-pipe-z"])
def test_a_pipe_of_perf_holds_the_events_that_perf_script_prints(name: str) -> None:
    binary = opened(DATA / f"{name}.perf.data.xz").tables()
    text = opened(DATA / f"{name}.script.txt.xz").tables()
    hidden = {d.code: d.count for d in binary.diagnostics}.get("guest-cpumode")
    assert len(binary.events) == 337
    if hidden is None:
        assert per_cpu(binary, 1) == per_cpu(text, 1)
    else:
        assert set(per_cpu(text, 1)) <= set(per_cpu(binary, 1))
        assert len(binary.events) - len(text.events) == hidden


@pytest.mark.parametrize("name", ["perf-pipe", "perf-pipe-z"])
def test_a_pipe_of_perf_shows_what_the_workload_did(name: str) -> None:
    unmaps = traceview.analyze(opened(DATA / f"{name}.perf.data.xz")).unmaps
    assert unmaps["status"].to_list() == ["complete"] * 4
    assert unmaps["leaves"].to_list() == [1, 16, 2, 16]
    assert set(unmaps["strategy"]) == {"per_pte"}


@pytest.mark.parametrize(("name", "events"), [("raw-kprobes", 1166), ("raw-lost", 245)])
def test_raw_ring_buffers_hold_the_events_of_their_text(
    name: str, events: int, tmp_path: Path
) -> None:
    raw = opened(unpacked(name, tmp_path)).tables()
    text = opened(DATA / f"{name}.trace.txt.xz").tables()
    assert len(raw.events) == events
    assert per_cpu(raw, 1000) == per_cpu(text, 1000)


def test_raw_ring_buffers_show_what_the_workload_did(tmp_path: Path) -> None:
    unmaps = traceview.analyze(opened(unpacked("raw-kprobes", tmp_path))).unmaps
    assert unmaps["status"].to_list() == ["complete"] * 4
    assert unmaps["leaves"].to_list() == [1, 16, 2, 16]
    assert unmaps["step"].to_list() == ["t1.1", "t2.1", "t3.1", "t4.1"]


def test_the_loss_of_a_raw_ring_buffer_is_a_hole_with_its_count(tmp_path: Path) -> None:
    losses = opened(unpacked("raw-lost", tmp_path)).tables().losses
    assert losses["count"].to_list() == [115]

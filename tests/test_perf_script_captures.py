"""What perf printed of real recordings: as line by line, and with the counts of its recordings."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import polars as pl
import pytest

import traceview
from tests.perf_script_reading import Table, differences, read
from tests.truth import TRACES, step_counts
from traceview.parsers import formats, ftrace_text, perf_script
from traceview.parsers.source import open_source

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.is_dir(), reason="no captures in ../shared/traces"),
]
PREFIX_BYTES = 40_000
MACHINES = ("6.1-max", "6.12-max", "6.12-neoverse-n1")
# What these recordings have beyond the steps of step-counts.txt, which are of other runs; perf.data
# itself holds no more of these (its samples with guest cpumode are of other probes).
BEYOND_STEPS = {"s2_unmap": 1, "s2_unmap_ret": 1, "unmap_gfn": 1, "walker": 1, "tlbi_range": 1,
                "s2_destroy": 1, "flush_memslot": 0, "tlbi_ipa": -1}  # fmt: skip


def scripts() -> list[str]:
    found = TRACES.glob("*/perf-*.script*.txt*")
    return sorted(str(path.relative_to(TRACES)) for path in found)


def content(path: str) -> bytes:
    return b"".join(open_source(TRACES / path).chunks())


def whole(path: str) -> Table:
    return read(content(path), all_events=True)


@pytest.mark.parametrize("path", scripts())
def test_a_capture_reads_as_line_by_line(path: str) -> None:
    data = content(path)
    assert perf_script.detect(data[: 1 << 16])
    assert not ftrace_text.detect(data[: 1 << 16])
    assert read(data).unparsed == 0
    middle = data.find(b"\n", len(data) // 2) + 1
    for start in (0, middle):
        part = data[start : start + PREFIX_BYTES]
        part = part[: part.rfind(b"\n") + 1]
        assert differences(part, all_events=start == 0, chunk_bytes=9000) == []


@pytest.mark.parametrize("machine", MACHINES)
def test_probes_hit_as_often_as_the_workload_made_them(machine: str) -> None:
    events = whole(f"{machine}/perf-kprobes-mono.script.txt.zst").events
    found = dict(events.filter(evidence="kprobe")["name"].value_counts().iter_rows())
    steps = step_counts(machine).values()
    for probe, beyond in BEYOND_STEPS.items():
        if probe in found:
            assert found[probe] == sum(step.get(probe) or 0 for step in steps) + beyond, probe


@pytest.mark.parametrize("machine", MACHINES)
def test_nanoseconds_and_microseconds_tell_the_same(machine: str) -> None:
    name = f"{machine}/perf-kprobes-mono.script"
    coarse, fine = whole(f"{name}.txt.zst"), whole(f"{name}-F.txt.zst")
    columns = ("cpu", "tid", "name", "probe_ip", "phase", "evidence")
    assert coarse.events.select(columns).equals(fine.events.select(columns))
    cut = fine.events["ts_ns"] // 1000 * 1000
    assert coarse.events["ts_ns"].equals(cut)
    assert coarse.args.drop("seq").equals(fine.args.drop("seq"))


@pytest.mark.parametrize("machine", MACHINES)
def test_events_are_in_time_order(machine: str) -> None:
    for name in ("kprobes-mono.script.txt.zst", "cpuclock.script.txt.zst"):
        table = whole(f"{machine}/perf-{name}")
        assert "time-goes-back" not in table.diagnostics
        assert table.events["ts_ns"].is_sorted()


@pytest.mark.parametrize("machine", MACHINES)
def test_samples_have_chains_that_end_where_tasks_begin(machine: str) -> None:
    table = whole(f"{machine}/perf-cpuclock.script.txt.zst")
    samples = table.samples
    assert len(samples) == len(table.events) > 4000
    assert samples["event"].unique().to_list() == ["cpu-clock"]
    assert samples["period"].unique().to_list() == [1_001_001]
    assert samples["ip"].equals(table.events["probe_ip"])
    idle = samples.filter((pl.col("tid") == 0) & (pl.col("cpu") == 0))
    outermost = idle["frames"].list.last().cast(pl.String)
    assert outermost.value_counts(sort=True).row(0)[0] == "__primary_switched"
    inside = samples["frames"].list.eval(pl.element().cast(pl.String)).list
    assert inside.contains("kvm_pgtable_stage2_unmap").any() or machine == "6.12-max"


def test_losses_are_those_of_the_records() -> None:
    table = whole("6.12-neoverse-n1/perf-kprobes-lost.script-full.txt.zst")
    text = content("6.12-neoverse-n1/perf-kprobes-lost.script-full.txt.zst").decode()
    lost = [int(count) for count in re.findall(r"PERF_RECORD_LOST lost (\d+)", text)]
    assert table.losses["count"].to_list() == lost
    assert table.losses["cpu"].null_count() == 0
    both = table.losses.drop_nulls(["from_seq", "to_seq"])
    assert len(both) >= len(lost) - 2
    assert (both["to_ns"] >= both["from_ns"]).all()
    assert table.facts["loss_known"] is True


@pytest.mark.parametrize("machine", MACHINES)
def test_a_sidecar_names_the_probes_and_unmaps_are_found(machine: str, tmp_path: Path) -> None:
    folder = TRACES / machine
    name = "perf-kprobes.script.txt"
    file = tmp_path / "k.script.txt"
    packed = folder / f"{name}.zst"
    file.write_bytes(content(f"{machine}/{packed.name if packed.is_file() else name}"))
    probes = (folder / "perf.kprobe_events").read_text(encoding="utf-8")
    sidecar = {"kprobe_events": probes, "origin": "emulated"}
    (tmp_path / "k.script.txt.host.json").write_text(json.dumps(sidecar), encoding="utf-8")
    trace = traceview.open_trace(file)
    assert trace.format == "perf script"
    found = traceview.analyze(trace)
    entries = file.read_text(encoding="utf-8").count(" kvmlab:s2_unmap: ")
    assert len(found.unmaps) == entries > 0
    assert set(found.unmaps["status"]) == {"complete"}
    assert found.unmaps["ipa"].null_count() == 0
    strategy = "deferred_range" if machine == "6.12-max" else "per_pte"
    assert set(found.unmaps["strategy"]) - {"none"} == {strategy}


def test_what_perf_ftrace_prints_is_ftrace_text() -> None:
    for path in sorted(TRACES.glob("*/perf-ftrace.txt")):
        head = open_source(path).head()
        assert formats.detect(head, path.name).name == "ftrace text"
        assert not perf_script.detect(head)

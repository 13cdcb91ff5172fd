"""A trace with its analysis as a Perfetto trace: what was exported is read back and shown."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tests.exporting import (
    ESTIMATES,
    FLUSH,
    SAMPLES,
    UNMAP,
    exported,
    opened,
    read_back,
    same,
    unmap,
)
from tests.perfetto_tracks import late, timeline
from tests.writers.events import Recorder
from traceview.cli.app import run
from traceview.host import read_settings
from traceview.parsers import open_trace
from traceview.queries import analyze
from traceview.queries.audit import audit
from traceview.report.perfetto.components import MOST_SLICES, component_slices
from traceview.report.perfetto.intervals import lanes
from traceview.report.perfetto.kinds import task_state

CAPTURES = Path(__file__).parent.parent.parent / "shared" / "traces"
# One of each format and kind of evidence.
TRACES = (
    "fgraph-6.12-neoverse-n1.perfetto", "kprobes-6.1-max.dat.xz", "kprobes-6.12-max.perf.data",
    "cpuclock-6.12-neoverse-n1.script.txt.zst", "kprobes-6.12-neoverse-n1.txt.zst",
    "function-6.12-max.txt.zst", "insn-6.12-max.txt.xz", "switch-6.12/deferred-run-02-split.txt.xz",
)  # fmt: skip


@pytest.mark.parametrize("name", TRACES)
def test_every_bundled_trace_reads_back_with_the_same_unmaps(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out.pftrace"
    assert run(["export", "--quiet", "--perfetto", str(out), str(SAMPLES / name)]) == 0
    trace = opened(name)
    one, other = analyze(trace, all_events=True), read_back(out.read_bytes(), trace, tmp_path)
    same(one.unmaps, other.unmaps)
    for table in ("triggers", "flushes", "destroys"):
        same(getattr(one, table), getattr(other, table), "call_id")
    assert one.instructions.height == other.instructions.height
    assert timeline(out.read_bytes()).by_name("traceview: stage-2 unmaps (emulated")
    assert late(out.read_bytes()) == []


def test_the_slices_are_the_unmaps_with_their_components_and_requests() -> None:
    made = Recorder(tick_ns=100)
    made.marker("begin s1")
    unmap(made)
    unmap(made, pages=3)
    made.marker("end s1")
    shown = timeline(exported(made.trace()))
    task = "task100 (tid 100)"
    [unmaps] = shown.named(task, "unmaps (origin unknown)")
    assert [one.name for one in unmaps.slices] == [
        "unmap 2 leaves per_pte",
        "unmap 3 leaves per_pte",
    ]
    first = unmaps.slices[0]
    assert first.args["duration_ns"] == (first.end or 0) - first.start == 900
    assert first.args["invalidate_leaf_ns"] == 200
    assert first.args["ns per leaf"] == 450
    assert first.args["step"] == "s1"
    [components] = shown.named(task, "components (origin unknown)")
    inside = [one for one in components.slices if one.start < (first.end or 0)]
    assert [one.name for one in inside] == ["invalidate_leaf", "table_put"] * 2
    assert all(one.start >= first.start and (one.end or 0) <= (first.end or 0) for one in inside)
    [triggers] = shown.named(task, "triggers (origin unknown)")
    assert [one.flows for one in triggers.slices] == [one.ending for one in unmaps.slices]
    assert all(len(one.flows) == 1 for one in triggers.slices)
    [steps] = shown.named(task, "steps (origin unknown)")
    assert [one.name for one in steps.slices] == ["step s1"]


def test_counters_follow_the_unmaps() -> None:
    made = Recorder(tick_ns=100)
    unmap(made)
    unmap(made, pages=3)
    shown = timeline(exported(made.trace()))
    [per_leaf] = shown.by_name("ns per leaf")
    assert [value for _, value in per_leaf.values] == [450, pytest.approx(1300 / 3)]
    [progress] = shown.by_name("unmaps in progress")
    assert [value for _, value in progress.values] == [1, 0, 1, 0]
    [time] = shown.by_name("invalidation, added up")
    assert [value for _, value in time.values] == [200, 500]


def test_unmaps_on_two_cpus_at_once_lie_on_tracks_of_their_own(tmp_path: Path) -> None:
    made = Recorder(tick_ns=10)
    for cpu, tid in ((0, 100), (1, 200)):
        made.on(cpu=cpu, tid=tid).enter(UNMAP)
    for cpu, tid in ((0, 100), (1, 200), (0, 100), (1, 200)):
        made.on(cpu=cpu, tid=tid).call(FLUSH)
    made.on(cpu=0, tid=100).leave(UNMAP)
    made.on(cpu=1, tid=200).leave(UNMAP)
    trace = made.trace()
    content = exported(trace)
    shown = timeline(content)
    spans = [
        [(one.start, one.end) for one in track.slices] for track in shown.by_name("unmaps (origin")
    ]
    assert spans == [[(1010, 1110)], [(1020, 1120)]]
    [progress] = shown.by_name("unmaps in progress")
    assert [value for _, value in progress.values] == [1, 2, 1, 0]
    same(analyze(trace).unmaps, read_back(content, trace, tmp_path).unmaps)


def test_what_has_no_duration_is_an_instant() -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.on(tid=7).enter(UNMAP)
    made.leave(UNMAP)
    [unmaps] = [one for one in timeline(exported(made.trace())).by_name("unmaps (") if one.instants]
    assert [one.name for one in unmaps.instants] == [
        "unmap of unknown leaves unknown (its end is not in the trace)"
    ]


def test_steps_that_cross_lie_on_two_tracks() -> None:
    assert lanes([(0, 10), (2, 5), (5, 8), (7, 12), (10, 20), (12, 13)]) == [0, 0, 0, 1, 0, 0]
    made = Recorder()
    for text in ("begin a", "begin b", "end a", "end b"):
        made.marker(text)
    shown = timeline(exported(made.trace()))
    assert [[one.name for one in track.slices] for track in shown.by_name("steps")] == [
        ["step a"],
        ["step b"],
    ]


HOSTILE = [
    '<script>alert("x")</script>',
    "\x00\x1b[31m",
    "\u202eabc",
    "a" * 3000,
    "\U0001f600",
    "%s%n",
    "",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_what_they_are(name: str, tmp_path: Path) -> None:
    made = Recorder()
    made.enter(UNMAP)
    made.events[-1]["comm"] = name
    made.write(name or "x", "entry", symbol=name or "x", **{name or "x": name, "value2": -5})
    made.tracepoint(name or "x", **{name or "x": name, "number": 2**63 - 1})
    made.marker(name)
    made.leave(UNMAP)
    trace = made.trace()
    content = exported(trace)
    shown = timeline(content)
    if name:
        assert shown.by_name(f"{name} (tid 100)")
    back = tmp_path / "x.pftrace"
    back.write_bytes(content)
    tables, original = open_trace(back).tables(), trace.tables()
    columns = ["ts_ns", "cpu", "tid", "symbol", "phase", "evidence"]
    assert tables.events.select(columns).rows() == original.events.select(columns).rows()
    texts = [text for text in original.args["text"] if text is not None]
    assert sorted(text for text in tables.args["text"] if text is not None) == sorted(texts)


@pytest.mark.parametrize("event", ["generic", "kprobe_event", "funcgraph_entry", "print", "pid"])
def test_tracepoints_named_as_fields_of_the_format_are_tracepoints(
    event: str, tmp_path: Path
) -> None:
    made = Recorder()
    made.tracepoint(event, x=1)
    back = tmp_path / "x.pftrace"
    back.write_bytes(exported(made.trace()))
    tables = open_trace(back).tables()
    assert tables.events.select("name", "phase", "evidence").rows() == [
        (event, "instant", "tracepoint")
    ]
    assert tables.losses.is_empty()


def test_an_empty_trace_gives_a_trace_without_unmaps(tmp_path: Path) -> None:
    path, out = tmp_path / "empty.txt", tmp_path / "out.pftrace"
    path.write_text("# tracer: nop\n#\n# entries-in-buffer/entries-written: 0/0   #P:2\n#\n")
    assert run(["export", "--quiet", "--perfetto", str(out), str(path)]) == 0
    shown = timeline(out.read_bytes())
    assert not shown.by_name("unmaps")
    assert shown.by_name("diagnostics")


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    source = SAMPLES / "kprobes-6.1-max.dat.xz"
    written = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        copy = tmp_path / folder / "trace.dat.xz"
        shutil.copy(source, copy)
        out = tmp_path / folder / "out.pftrace"
        assert run(["export", "--quiet", "--perfetto", str(out), str(copy)]) == 0
        written.append(out.read_bytes())
    assert written[0] == written[1]


def test_batches_make_no_difference_to_what_is_read(tmp_path: Path) -> None:
    made = Recorder()
    for _ in range(6):
        unmap(made)
    whole = read_back(exported(made.trace()), made.trace(), tmp_path)
    pieces_ = read_back(exported(made.trace(batch_events=7)), made.trace(), tmp_path)
    same(whole.unmaps, pieces_.unmaps)
    shown = [timeline(exported(made.trace(batch_events=size))) for size in (7, 10_000)]
    names = [
        sorted(
            (one.start, one.name) for track in one_.by_name("components") for one in track.slices
        )
        for one_ in shown
    ]
    assert names[0] == names[1]


kinds = st.sampled_from(["enter", "leave", "call", "leaf", "marker", "switch", "loss"])
symbols = st.sampled_from([UNMAP, FLUSH, "kvm_s2_put_page", "kvm_unmap_gfn_range", "other.isra.0"])
steps = st.lists(
    st.tuples(kinds, symbols, st.integers(0, 1), st.integers(0, 3), st.integers(0, 40)), max_size=40
)


@settings(max_examples=8, deadline=None)
@given(steps, st.sampled_from([3, 1000]), st.fixed_dictionaries({"loss_known": st.booleans()}))
def test_any_events_read_back_as_the_same_calls(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[Any], batch: int, facts: dict[str, Any]
) -> None:
    made, known = Recorder(facts=facts), facts["loss_known"]
    for kind, symbol, cpu, tid, gap in drawn:
        # No task on two CPUs: it might be there at one time, and order would be lost.
        made.on(cpu=cpu, tid=100 + cpu * 10 + tid).tick_ns = gap
        record(made, kind, symbol, gap)
    trace = made.trace(batch_events=batch)
    content = exported(trace)
    back = read_back(content, trace, tmp_path_factory.mktemp("back"))
    one = analyze(made.trace(), all_events=True)
    for table in ("unmaps", "triggers"):
        # Events of one time on two CPUs have no order in the format.
        by_task = [getattr(of, table).sort("tid", maintain_order=True) for of in (one, back)]
        same(*by_task, "cpu", *ESTIMATES)
    assert back.losses.is_empty() == (one.losses.is_empty() and (known or not made.events))
    timeline(content)


def record(made: Recorder, kind: str, symbol: str, number: int) -> None:
    if kind == "enter":
        made.enter(symbol, ipa=number, level=3)
    elif kind == "leave":
        made.leave(symbol)
    elif kind == "call":
        made.call(symbol, ipa=number << 12, level=number % 4)
    elif kind == "leaf":
        made.leaf(symbol, number * 3)
    elif kind == "marker":
        made.marker(f"{('begin', 'end')[number % 2]} s{number // 2 % 3}")
    elif kind == "switch":
        made.tracepoint("sched_switch", next_pid=number, prev_state="S", prev_pid=made.tid)
    elif made.events:
        seq = len(made.events)
        made.marker("behind a hole")
        before = [e["seq"] for e in made.events[:seq] if e["cpu"] == made.cpu]
        made.losses.append({"kind": "lost_events", "cpu": made.cpu, "to_seq": seq,
                            "from_seq": before[-1] if before else None})  # fmt: skip


@pytest.mark.parametrize(
    ("clock", "stated"), [("local", 3), ("global", 2), ("mono", 0), ("boot", 0)]
)
def test_the_clock_of_other_formats_is_stated_where_it_can_be(clock: str, stated: int) -> None:
    made = Recorder(facts={"clock": clock})
    unmap(made)
    bundles = [
        one.ftrace_events
        for one in pb.Trace.FromString(exported(made.trace())).packet
        if one.HasField("ftrace_events")
    ]
    assert {one.ftrace_clock for one in bundles} == {stated}
    assert all(one.ftrace_timestamp == one.boot_timestamp for one in bundles)


def test_unmaps_with_too_many_calls_are_drawn_in_runs_or_sums() -> None:
    def calls(unmap_id: int, kinds_: list[str], count: int) -> pl.DataFrame:
        rows = count * len(kinds_)
        start = pl.int_range(rows, eager=True) * 10
        return pl.DataFrame({
            "unmap_id": pl.repeat(unmap_id, rows, eager=True, dtype=pl.Int64),
            "component": kinds_ * count, "start_ns": start,
            "duration_ns": pl.repeat(4, rows, eager=True, dtype=pl.Int64),
            "task": [f"tid {unmap_id}"] * rows, "low": [0] * rows, "high": [rows * 10] * rows,
        })  # fmt: skip

    few, many = calls(1, ["cmo"], 3), calls(2, ["cmo"], MOST_SLICES + 1)
    mixed = calls(3, ["cmo", "table_put"], MOST_SLICES)
    slices, merged = component_slices(pl.concat([few, many, mixed]))
    assert merged == 2
    by_unmap = {number: slices.filter(pl.col("unmap_id") == number) for number in (1, 2, 3)}
    assert by_unmap[1]["name"].to_list() == ["cmo"] * 3
    assert by_unmap[2].select("name", "calls", "start_ns", "end_ns", "duration_ns").rows() == [
        ("cmo, 20001 calls", 20001, 0, 200004, 80004)
    ]
    assert by_unmap[3].select("name", "start_ns", "end_ns").rows() == [
        ("cmo: sum of 20000 calls, not in place", 0, 80000),
        ("table_put: sum of 20000 calls, not in place", 80000, 160000),
    ]


def test_the_state_of_a_task_is_a_number() -> None:
    assert [task_state(one) for one in ("R", "S", "D", "R+", "D|K", "Z", "I", "")] == [
        0, 1, 2, 256, 2, 32, 128, 0,
    ]  # fmt: skip


def test_findings_and_origin_are_on_the_timeline() -> None:
    made = Recorder(facts={"kernel": "6.12.0", "page_size_bytes": 4096})
    made.enter(UNMAP, addr=0x8000_0000, size=0x2000)
    for page in range(2):
        made.call("stage2_unmap_walker")
        if page == 0:
            made.enter(FLUSH, mmu=7, ipa=0x8000_0000, level=3)
            made.leave(FLUSH)
        made.call("kvm_s2_put_page")
    made.leave(UNMAP)
    trace = replace(
        made.trace(), settings=replace(made.trace().settings, facts={"origin": "synthetic"})
    )
    found = audit([trace])
    content = exported(trace)
    shown = timeline(content)
    assert shown.by_name("traceview: stage-2 unmaps (synthetic)")
    instants = [one for track in shown.by_name("audit findings") for one in track.instants]
    assert len(instants) == found.findings.height
    [said] = shown.by_name("caveats")
    assert any(one.args["code"] == "origin-synthetic" for one in said.instants)


@pytest.mark.captures
@pytest.mark.parametrize(
    "name",
    [
        "6.12-max/kprobes-lost-pipe.txt.zst", "6.12-max/tc-lost2.dat.zst",
        "6.12-max/tc-kprobes-local.dat.zst",
    ],
)  # fmt: skip
def test_captures_read_back_with_the_same_unmaps(name: str, tmp_path: Path) -> None:
    path = CAPTURES / name
    if not path.is_file():
        pytest.skip(f"no capture {path}")
    out = tmp_path / "out.pftrace"
    assert run(["export", "--quiet", "--perfetto", str(out), str(path)]) == 0
    trace = open_trace(path, settings=read_settings(path))
    one, other = analyze(trace, all_events=True), read_back(out.read_bytes(), trace, tmp_path)
    same(one.unmaps, other.unmaps)
    assert one.losses.is_empty() or not other.losses.is_empty()
    timeline(out.read_bytes())
    assert late(out.read_bytes()) == []

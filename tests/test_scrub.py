"""A scrubbed trace gives the analysis of the original, without its names, PIDs and addresses."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.scrubbing import addresses_of, assert_same, both, everything, leaks, texts
from tests.unpacking import unpack
from tests.writers.events import Recorder
from traceview.errors import SettingError
from traceview.parsers import open_trace
from traceview.queries.steps import STEP_PATTERN
from traceview.schema import to_arrow
from traceview.scrub import Scrubber, scrubbed
from traceview.scrub_addresses import Regions, operand_addresses
from traceview.symbols import SymbolSources, parse_kprobe_events
from traceview.trace import Batch, Diagnostic, Settings, Want

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

UNMAP, FLUSH = "kvm_pgtable_stage2_unmap", "__kvm_tlb_flush_vmid_ipa"
KERNEL = 0xFFFF800080001000 - (1 << 64)
SAMPLES = (
    "sample_traces/fgraph-6.12-neoverse-n1.perfetto",
    "sample_traces/function-6.12-max.txt.zst",
    "sample_traces/insn-6.12-max.txt.xz",
    "sample_traces/kprobes-6.1-max.dat.xz",
    "sample_traces/kprobes-6.12-max.perf.data",
    "sample_traces/cpuclock-6.12-neoverse-n1.script.txt.zst",
    "sample_traces/switch-6.12/deferred-run-02-split.txt.xz",
)


@pytest.mark.parametrize("path", SAMPLES)
def test_of_every_format_the_analysis_stays_and_the_names_go(path: str) -> None:
    original, new, scrubber = both([open_trace(path)])
    assert_same(original, new, scrubber)
    assert leaks(new, original) == []
    assert not addresses_of(new) & addresses_of(original)
    assert len(texts(new)) == len(texts(original))  # one to one


def test_of_a_raw_dump_the_analysis_stays_and_the_names_go(tmp_path: Path) -> None:
    unpack("tests/data/raw-kprobes.tar.xz", tmp_path)
    original, new, scrubber = both([open_trace(tmp_path / "raw-kprobes")])
    assert_same(original, new, scrubber)
    assert leaks(new, original) == []
    assert new.analysis.unmaps["comm"].unique().to_list() == [scrubber.comm("kvmunmap")]


def made(comms: dict[int, str], text: str = "x") -> Recorder:
    """A recorder of unmaps by tasks of these names, which it also tells of in every other way."""
    recorder = Recorder()
    recorder.marker(f"KVMLAB begin s01.1 {text}")
    for tid, comm in comms.items():
        recorder.on(tid=tid)
        recorder.tracepoint(
            "sched_switch", prev_comm=comm, prev_pid=tid, prev_state="R", next_comm=comm,
            next_pid=tid, comm=comm,
        )  # fmt: skip
        recorder.enter(UNMAP, comm=comm, tgid=tid, addr=0x80000000, size=4096, pgt=KERNEL)
        recorder.call(FLUSH, comm=comm, mmu=KERNEL + tid, ipa=0x80000000, level=3)
        recorder.leave(UNMAP, comm=comm, ret=-22)
        recorder.marker(f"{comm}-{tid}: {text} at {KERNEL & (1 << 64) - 1:#x}")
    recorder.on(tid=100).marker("KVMLAB end s01.1")
    return recorder


NAMES = st.one_of(
    st.sampled_from(["sh", "1", "kvm", "", "begin", "KVMLAB", "s01.1", UNMAP, "task-2", "R",
                     "CPU 0/KVM", "(sd-pam)", "a.b", "x-1", "höst", "日本", "host-1", "\\d+"]),
    st.text(min_size=0, max_size=15),
)  # fmt: skip


@given(st.dictionaries(st.integers(1, 4_000_000), NAMES, min_size=1, max_size=6), NAMES)
@settings(max_examples=8, deadline=None)
def test_whatever_tasks_are_called_the_analysis_stays(comms: dict[int, str], text: str) -> None:
    original, new, scrubber = both([made(comms, text).trace(batch_events=7)])
    assert_same(original, new, scrubber)
    shown = new.tables["streamed events"]["comm"].cast(pl.String).drop_nulls().unique().to_list()
    ours = {f"task{tid}" for tid in (*comms, 100)} | set(comms.values())
    assert all(name.startswith("task-") or not name for name in shown)
    assert len(shown) == len(ours)


def test_numbers_are_one_to_one_and_in_order_whatever_the_batches() -> None:
    comms = {7: "zebra", 300: "ant", 4000: "bee"}
    one, two = (
        Scrubber([made(comms).trace(batch_events=size)], step_pattern=STEP_PATTERN)
        for size in (3, 1000)
    )
    for scrubber in (one, two):
        assert [scrubber.comm(name) for name in ("ant", "bee", "task100")] == [
            "task-1", "task-2", "task-3",
        ]  # fmt: skip
        assert [scrubber.tid(tid) for tid in (0, 7, 100, 300, 4000)] == [0, 1, 2, 3, 4]


def test_what_is_asked_for_changes_no_replacement() -> None:
    trace = open_trace("sample_traces/fgraph-6.12-neoverse-n1.perfetto")
    scrubber = Scrubber([trace], step_pattern=STEP_PATTERN)
    few = list(scrubbed(trace, scrubber).batches(batch_events=100))
    tids = pl.concat([batch.events["tid"] for batch in few]).unique().drop_nulls()
    whole = everything([scrubbed(trace, Scrubber([trace], step_pattern=STEP_PATTERN))])
    assert set(tids) <= set(whole.streamed["events"]["tid"].drop_nulls())


def test_one_name_is_one_name_in_all_traces_of_a_command() -> None:
    base, other = made({5: "vmm", 9: "sh"}), made({5: "vmm", 77: "cat"})
    original, new, scrubber = both([base.trace(), other.trace()])
    assert_same(original, new, scrubber)
    tasks = new.analysis.unmaps.select("source_id", "comm", "tid").rows()
    assert tasks[0][1:] == tasks[2][1:]
    assert len({comm for _, comm, _ in tasks}) == 3


def test_idle_tasks_stay_and_so_does_what_is_no_name() -> None:
    kept = {"swapper/3", "<idle>", "<...>", ""}
    recorder = Recorder()
    for comm in sorted(kept):
        recorder.tracepoint("sched_switch", comm=comm, prev_comm=comm, prev_pid=0)
    _, new, _ = both([recorder.on(tid=0).trace()])
    assert set(new.tables["streamed events"]["comm"].cast(pl.String)) == kept
    assert new.tables["streamed args"]["value"].drop_nulls().to_list() == [0] * 4


def test_a_symbol_keeps_its_name_where_a_task_has_it_too() -> None:
    _, new, _ = both([made({5: UNMAP}).trace()])
    assert UNMAP in new.tables["streamed events"]["symbol"].cast(pl.String).to_list()
    assert new.analysis.unmaps["comm"].to_list() == ["task-1"]


def test_guest_addresses_levels_lengths_and_errors_stay() -> None:
    _, new, _ = both([made({5: "sh"}).trace()])
    args = new.tables["streamed args"].filter(pl.col("value").is_not_null())
    said = dict(args.select(pl.col("name").cast(pl.String), "value").unique("name").iter_rows())
    assert (said["addr"], said["ipa"], said["level"], said["size"]) == (1 << 31, 1 << 31, 3, 4096)
    assert said["ret"] == -22
    assert said["pgt"] == 0xC000000040000000 - (1 << 64)
    assert new.analysis.unmaps["mmu"].to_list() == [0xC000000040000005]


def test_the_length_of_a_range_between_two_addresses_stays() -> None:
    recorder = Recorder()
    recorder.enter(UNMAP)
    recorder.call("dcache_clean_inval_poc", start=KERNEL, end=KERNEL + (1 << 30))
    recorder.leave(UNMAP)
    original, new, scrubber = both([recorder.trace()])
    assert_same(original, new, scrubber)
    lengths = new.streamed["calls"].filter(pl.col("operation") == "cmo")["length_bytes"]
    assert lengths.to_list() == [1 << 30]


def test_an_address_that_a_tlbi_names_is_replaced_and_a_guest_s_is_not() -> None:
    virtual = (0xFFFF800080001000 >> 12 & (1 << 44) - 1) | 7 << 48
    guest = 0x80000 | 3 << 44
    recorder = Recorder(evidence="insn")
    for op, operand in (("vae1is", virtual), ("ipas2e1is", guest), ("vmalle1is", 0)):
        recorder.write("tlbi", "instant", op=op, operand=operand)
    _, new, _ = both([recorder.trace()])
    args = new.tables["streamed args"].filter(pl.col("name") == "operand")["value"].to_list()
    assert args[1:] == [guest, 0]
    assert args[0] >> 48 == 7
    assert args[0] != virtual


def test_operands_of_tlbi_by_address_name_it() -> None:
    op = pl.Series(["vaale1is", "rvae1is", "ripas2e1is", "alle1", None])
    page = 0xFFFF800080001000 >> 12
    operand = np.array([page & (1 << 44) - 1, page & (1 << 37) - 1, page, 1, 1], dtype=np.uint64)
    address, mask = operand_addresses(op, operand)
    assert [hex(value) for value in address[:2].tolist()] == ["0xffff800080001000"] * 2
    assert mask.tolist() == [(1 << 44) - 1, (1 << 37) - 1, 0, 0, 0]


def test_markers_keep_what_the_step_pattern_finds_and_lose_the_rest() -> None:
    recorder = made({5: "vmm"}, "vmm[5] on lab7.corp, pid 5, 0xffff800080001000, /home/eve/run")
    recorder.facts["hostnames"] = ("lab7.corp",)
    _, new, _ = both([recorder.trace()])
    markers = new.tables["streamed args"].filter(pl.col("name") == "buf")["text"].to_list()
    assert markers[0] == (
        "KVMLAB begin s01.1 task-3[1] on host-2, pid 1, 0xc000000040000000, file-1"
    )
    assert markers[-1] == "KVMLAB end s01.1"
    assert new.analysis.unmaps["step"].to_list() == [None]  # as in the original: another task's


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("begin vmm.2", "begin task-1.2"),
        ("begin begin", "begin task-1"),
        ("vmm begin s1", "task-1 begin s1"),
        ("begin 5", "begin 5"),
        ("begin lab7-s1", "begin host-1-s1"),
    ],
)
def test_the_name_of_a_step_loses_names_where_it_can(marker: str, expected: str) -> None:
    recorder = Recorder()
    recorder.tracepoint("x", comm="vmm", prev_comm="begin")
    recorder.events[0]["comm"] = "vmm"
    recorder.events[0]["tid"] = 5
    trace = recorder.trace()
    scrubber = Scrubber([trace], step_pattern=STEP_PATTERN, hosts=["lab7"])
    assert scrubber.marker(marker).replace("task-2", "task-1") == expected


def test_facts_keep_what_they_say_and_lose_who_says_it() -> None:
    recorder = made({5: "vmm"})
    recorder.facts |= {
        "hostnames": ("lab7.corp", "guest-a"), "kernel": "6.12.0-lab7", "clock": "mono",
        "tracer_options": "/home/eve/perf record -a -e kvm:* -p 5 -o /tmp/secret -- ./vmm --key k",
    }  # fmt: skip
    stated = Settings(facts={"label": "lab7 deferred", "run": "run-3 of guest-a"})
    _, new, _ = both([recorder.trace(settings=stated)])
    source = new.analysis.sources.row(0, named=True)
    assert source["kernel"] == "6.12.0-host-2"
    assert (source["label"], source["run"]) == ("host-2 deferred", "run-3 of host-1")
    assert source["tracer_options"] == "perf record -a -e kvm:* -p 1 -o (left out) (left out)"
    assert source["clock"] == "mono"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("perf record -ag -F 999 sleep 5", "perf record -ag -F 999 (left out)"),
        ("perf record -p5,6 --pid=5 -t 9", "perf record -p1,(left out) --pid=1 -t (left out)"),
        ("perf record --filter=x -osecret", "perf record --filter=(left out) -o(left out)"),
        ("print-parent nosym-offset vmm", "print-parent nosym-offset task-3"),
    ],
)
def test_command_lines_of_recorders_say_what_was_recorded(said: str, expected: str) -> None:
    scrubber = Scrubber([made({5: "vmm"}).trace()], step_pattern=STEP_PATTERN)
    assert scrubber.text.command(said) == expected


def test_messages_lose_paths_hosts_addresses_and_quoted_lines() -> None:
    trace = made({5: "events"}).trace()
    scrubber = Scrubber([trace], step_pattern=STEP_PATTERN, hosts=["lab7"])
    say = scrubber.text.message
    assert say("3 events at 0xffff800080001000 of made.trace on lab7") == (
        "3 events at 0xc000000040000000 of trace-1.trace on host-1"
    )
    assert say("the first is line 7: 'sh-5 secret'") == "the first is line 7: (left out)"
    assert (
        say("copy /proc/kallsyms; damaged: /data/eve/x") == "copy /proc/kallsyms; damaged: file-1"
    )


def test_the_command_is_repeated_without_names() -> None:
    trace = open_trace("sample_traces/switch-6.12/deferred-run-02-top.txt.xz")
    scrubber = Scrubber([trace], step_pattern=STEP_PATTERN, hosts=["lab7"])
    tid = next(tid for tid in range(1, 1000) if scrubber._tid_if_known(tid))
    words = ["analyze", trace.path, "--tid", str(tid), "--label=lab7/x", "--host", "eve.host.json",
             "--parquet=/data/eve", "-o", "-", "--step", "4k*"]  # fmt: skip
    assert scrubber.words(words) == (
        "analyze", "trace-1.txt.xz", "--tid", str(scrubber.tid(tid)), "--label=host-1/x",
        "--host", "file-1.json", "--parquet=file-2", "-o", "-", "--step", "4k*",
    )  # fmt: skip


def test_the_name_of_the_machine_at_hand_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    uname = os.uname()
    monkeypatch.setattr(
        os, "uname",
        lambda: os.uname_result((uname.sysname, "box3.example", *uname[2:])),
    )  # fmt: skip
    scrubber = Scrubber([Recorder().trace()], step_pattern=STEP_PATTERN)
    assert scrubber.text.hosts("BOX3 and box3.example, not box31") == "host-1 and host-2, not box31"


def test_names_that_every_host_may_have_are_no_names() -> None:
    hosts = ["localhost", "(none)", "12"]
    scrubber = Scrubber([Recorder().trace()], step_pattern=STEP_PATTERN, hosts=hosts)
    assert scrubber.text.hosts("localhost (none) 12") == "localhost (none) 12"


def test_probes_that_the_sidecar_defines_keep_their_meaning() -> None:
    defined = parse_kprobe_events(f"p:g/in {UNMAP}\nr:g/out {UNMAP}")
    recorder = Recorder()
    recorder.write("in", "entry")
    recorder.write("out", "exit")
    recorder.write("in", "entry")
    stated = Settings(symbols=SymbolSources(defined))
    original, new, scrubber = both([recorder.trace(settings=stated)])
    assert_same(original, new, scrubber)
    assert new.analysis.unmaps["status"].to_list() == ["complete", "censored"]


def test_samples_lose_addresses_of_the_kernel_and_of_programs() -> None:
    recorder = Recorder()
    chain = [KERNEL + (1 << 64), 0x7F0012345678]
    recorder.sample("walk", UNMAP, ip=chain[0], callchain=chain, comm="vmm")
    recorder.sample("walk", chain=False, ip=0, callchain=None, comm=None)
    original, new, scrubber = both([recorder.trace()])
    assert_same(original, new, scrubber)
    rows = new.streamed["samples"]
    assert rows["callchain"].to_list() == [[0xC000000040000000, 0x4000000040000678], None]
    assert rows["ip"].to_list() == [0xC000000040000000, 0]
    assert rows["frames"].to_list()[0] == ["walk", UNMAP]


def test_no_original_name_is_in_the_bytes_of_tables() -> None:
    # Categories are shared by all traces of a process: those of others must not be written.
    _, new, _ = both([made({5: "secretvmm", 77: "othersecret"}).trace()])
    for name in ("events", "args", "calls"):
        file = io.BytesIO()
        pq.write_table(to_arrow(name, new.streamed[name], 0), file, compression="none")
        assert b"secret" not in file.getvalue()
    file = io.BytesIO()
    pq.write_table(to_arrow("unmaps", new.analysis.unmaps), file, compression="none")
    assert b"secret" not in file.getvalue()


def test_a_step_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(SettingError, match="no regular expression"):
        Scrubber([], step_pattern="(")
    with pytest.raises(SettingError, match="needs the groups"):
        Scrubber([], step_pattern="x")


def test_a_name_that_was_not_learned_gets_one_of_its_own() -> None:
    scrubber = Scrubber([made({5: "vmm"}).trace()], step_pattern=STEP_PATTERN)
    assert scrubber.comm("late") == "task-4"
    assert scrubber.comm("late") == "task-4"
    assert scrubber.tid(99) == 3
    late = np.array([KERNEL + (1 << 64) + (1 << 40)], dtype=np.uint64)
    assert scrubber.addresses(late) == scrubber.addresses(late)
    assert scrubber.addresses(late)[0] >> np.uint64(60) == 0xC


@given(st.lists(st.integers(1, (1 << 64) - 1), min_size=1, max_size=40))
@settings(deadline=None)
def test_addresses_are_moved_one_to_one_in_order_and_on_their_side(values: list[int]) -> None:
    regions = Regions()
    addresses = np.array(sorted(set(values)), dtype=np.uint64)
    for part in np.array_split(addresses[::-1], 3):
        regions.add(part)
    regions.settle()
    moved = regions.moved(addresses)
    assert (np.diff(moved.astype(object)) > 0).all()
    assert ((moved >= np.uint64(1 << 63)) == (addresses >= np.uint64(1 << 63))).all()
    near = np.diff(addresses.astype(object)) <= 1 << 30
    same_side = (addresses[1:] >= np.uint64(1 << 63)) == (addresses[:-1] >= np.uint64(1 << 63))
    kept = near & same_side
    assert (np.diff(moved.astype(object))[kept] == np.diff(addresses.astype(object))[kept]).all()


def test_diagnostics_keep_their_codes_and_counts() -> None:
    trace = made({5: "vmm"}).trace()

    def read(want: Want, progress: Callable[[float], None]) -> Iterator[Batch]:
        told = Diagnostic("damaged", "warning", "made.trace at /home/eve/x", 3)
        return (replace(batch, diagnostics=(told,)) for batch in trace.read(want, progress))

    _, new, _ = both([replace(trace, read=read)])
    assert new.analysis.diagnostics[0][1] == Diagnostic(
        "damaged", "warning", "trace-1.trace at file-1", 3
    )

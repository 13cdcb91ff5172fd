"""What perf.data says, record by record: small recordings made for one question each."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zstandard

from tests.perf_data_reading import EVERYTHING, NEEDED, read
from tests.writers import perf_data as w
from tests.writers import records
from traceview.errors import ParseError, TruncatedError, UnsupportedError
from traceview.parsers import open_trace
from traceview.trace import Want

if TYPE_CHECKING:
    from pathlib import Path

CLOCK = w.Event("cpu-clock", ids=(1, 2))
KPROBE = records.Event(1543, "s2_unmap", ("unsigned long __probe_ip", "u64 addr"), "kvmlab")
RETURN = records.Event(1544, "s2_unmap_ret", ("unsigned long __probe_func", "s64 ret"), "kvmlab")
SWITCH = records.Event(
    250, "sched_switch",
    ("char prev_comm[16]", "pid_t prev_pid", "char next_comm[16]", "pid_t next_pid"), "sched",
)  # fmt: skip
HRTIMER = records.Event(260, "hrtimer_start", ("u64 expires",), "timer")


def tracepoint(form: records.Event, *ids: int, **fields: int) -> w.Event:
    """An event of a recording whose raw records have that format."""
    return w.Event(
        f"{form.system}:{form.name}", ids or (form.id,), w.TRACEPOINT, form.id, w.USUAL, **fields
    )  # fmt: skip


def file(
    *events: w.Event, body: bytes = w.record(82), formats: tuple[records.Event, ...] = ()
) -> bytes:
    features = {12: w.event_desc(events)}
    if formats:
        features[1] = w.tracing_data(formats)
    return w.Recording(events, body, features).file()


def test_the_header_says_what_the_host_is() -> None:
    clock = replace(CLOCK, flags=w.SAMPLE_ID_ALL | w.USE_CLOCKID, clockid=4)
    features = {
        1: w.tracing_data([KPROBE]), 4: w.string("6.12.95"), 6: w.string("aarch64"),
        7: struct.pack("<II", 128, 96), 9: w.string("0x00000000414fd0c1"),
        11: struct.pack("<I", 2) + w.string("perf") + w.string("record"), 23: w.u64(1),
        29: struct.pack("<II", 1, 4) + w.u64(1_700_000_000_000_000_000, 5),
    }  # fmt: skip
    recording = w.Recording([clock], w.record(82), features)
    for content in (recording.file(), recording.pipe()):
        assert read(content).facts == {
            "tracer": "perf", "loss_known": True, "kernel": "6.12.95", "machine": "aarch64",
            "cpus": 96, "midr": "0x00000000414fd0c1", "tracer_options": "perf record",
            "ts_resolution_ns": 1, "clock": "mono_raw", "page_size_bytes": 4096,
            "recorded_at": "2023-11-14T22:13:20+00:00",
        }  # fmt: skip


def test_the_name_of_the_program_alone_is_no_option() -> None:
    features = {11: struct.pack("<I", 1) + w.string("/usr/bin/perf")}
    recording = w.Recording([CLOCK], w.record(82), features)
    assert "tracer_options" not in read(recording.file()).facts


@pytest.mark.parametrize(
    ("flags", "clockid", "clock"),
    [(0, 1, "perf"), (w.USE_CLOCKID, 1, "mono"), (w.USE_CLOCKID, 7, "boot"),
     (w.USE_CLOCKID, -6, "clockid -6")],
)  # fmt: skip
def test_the_clock_is_the_one_that_perf_was_told(flags: int, clockid: int, clock: str) -> None:
    event = replace(CLOCK, flags=w.SAMPLE_ID_ALL | flags, clockid=clockid)
    assert read(file(event)).facts["clock"] == clock


@pytest.mark.parametrize("size", [64, 72, 96, 112, 120, 128, 136, 144, 160, 400])
def test_an_attr_may_have_the_size_of_any_kernel(size: int) -> None:
    events = [CLOCK, replace(CLOCK, name="cycles", ids=(9,), sample_type=w.USUAL | w.ADDR)]
    body = w.Sample(events[1], 5, ip=77).record() + w.Sample(CLOCK, 6).record()
    recording = w.Recording(events, body, {}, size)
    for content in (recording.file(), recording.pipe()):
        found = read(content)
        assert found.column("ts_ns") == [5, 6]
        assert found.column("probe_ip")[0] == 77


def test_events_are_named_by_whatever_names_them() -> None:
    update = w.record(78, w.u64(2, 9) + b"l2_cache_refill\0")
    events = [
        w.Event("", (1,), type=w.SOFTWARE, config=1),
        w.Event("", (9,), type=8, config=23),
        w.Event("", (10,), type=8, config=24),
        tracepoint(KPROBE),
    ]
    body = b"".join(
        w.Sample(event, n, raw=KPROBE.record()).record() for n, event in enumerate(events)
    )
    recording = w.Recording(events, update + body, {1: w.tracing_data([KPROBE])})
    for content in (recording.file(), recording.pipe()):
        assert read(content).column("name") == [
            "task-clock",
            "l2_cache_refill",
            "type 8 0x18",
            "s2_unmap",
        ]


def test_samples_of_cpus_that_were_written_one_after_the_other_come_in_time_order() -> None:
    body = b""
    for cpu in range(4):
        body += b"".join(w.Sample(CLOCK, 10 * n + cpu, cpu).record() for n in range(500))
    want = Want(EVERYTHING.vocabulary, all_events=True, batch_events=100)
    found = read(file(CLOCK, body=body), want)
    assert found.column("ts_ns") == [10 * n + cpu for n in range(500) for cpu in range(4)]
    assert found.column("seq") == list(range(2000))
    assert len(found.batches) > 10


def test_progress_only_grows_and_ends_at_one(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    body = b"".join(w.Sample(CLOCK, n).record() for n in range(5000))
    path.write_bytes(file(CLOCK, body=w.compressed(body[:90000], body[90000:])))
    heard: list[float] = []
    list(open_trace(path).batches(progress=heard.append))
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_a_callchain_comes_without_its_markers() -> None:
    event = replace(CLOCK, sample_type=w.USUAL & ~w.RAW | w.CALLCHAIN)
    chain = ((1 << 64) - 128, 0xFFFF800080001000, 0xFFFF800080002000, (1 << 64) - 512, 0x400000)
    found = read(file(event, body=w.Sample(event, 5, ip=0xFFFF800080001000, chain=chain).record()))
    row = found.samples.row(0, named=True)
    assert row["callchain"] == [0xFFFF800080001000, 0xFFFF800080002000, 0x400000]
    assert (row["ip"], row["cpumode"], row["event"]) == (0xFFFF800080001000, "kernel", "cpu-clock")


def test_a_probe_with_a_callchain_is_no_statistical_sample() -> None:
    event = replace(tracepoint(KPROBE), sample_type=w.USUAL | w.CALLCHAIN)
    sample = w.Sample(event, 5, chain=(1, 2, 3), raw=KPROBE.record(__probe_ip=1 << 63, addr=4096))
    found = read(file(event, body=sample.record(), formats=(KPROBE,)))
    assert found.column("evidence") == ["kprobe"]
    assert found.samples.is_empty()


def test_task_cpu_and_time_are_those_of_the_sample() -> None:
    sample = w.Sample(tracepoint(KPROBE), 5, 3, pid=70, tid=71, raw=KPROBE.record(tid=9))
    found = read(file(sample.event, body=sample.record(), formats=(KPROBE,)))
    assert found.events.select("ts_ns", "cpu", "tid", "tgid").row(0) == (5, 3, 71, 70)


def test_without_a_task_in_the_sample_that_of_the_raw_record_counts() -> None:
    event = replace(tracepoint(KPROBE), sample_type=w.USUAL & ~w.TID)
    found = read(
        file(event, body=w.Sample(event, 5, raw=KPROBE.record(tid=9)).record(), formats=(KPROBE,))
    )
    assert found.column("tid") == [9]


def test_what_the_sample_does_not_say_is_null() -> None:
    event = replace(CLOCK, sample_type=w.IDENTIFIER | w.TIME)
    found = read(file(event, body=w.Sample(event, 5).record()))
    assert found.events.select("cpu", "tid", "comm", "probe_ip").row(0) == (None,) * 4


def test_samples_with_a_loaded_vcpu_are_kept_and_counted() -> None:
    body = b"".join(
        w.Sample(CLOCK, n, misc=misc).record() for n, misc in enumerate((1, 4, 5, 2, 4))
    )
    found = read(file(CLOCK, body=body))
    assert found.samples["cpumode"].to_list() == [
        "kernel", "guest_kernel", "guest_user", "user", "guest_kernel",
    ]  # fmt: skip
    guest = found.diagnostics["guest-cpumode"]
    assert guest.count == 3
    assert guest.message.startswith("3 of 5 records ")  # hits of probes are among them


def test_losses_lie_between_the_last_record_of_the_cpu_and_their_own_time() -> None:
    body = w.Sample(CLOCK, 100, 0).record() + w.Sample(CLOCK, 105, 1).record()
    body += w.Stamp(CLOCK, 200, 0).lost(7) + w.Sample(CLOCK, 210, 0).record()
    found = read(file(CLOCK, body=body))
    (row,) = found.losses.rows(named=True)
    assert row == {
        "buffer": None, "cpu": 0, "kind": "lost_events", "from_ns": 100, "to_ns": 200,
        "from_seq": 0, "to_seq": 2, "count": 7,
    }  # fmt: skip
    assert found.diagnostics["lost-events"].count == 7


def test_losses_that_are_counted_twice_count_once_and_the_rest_has_no_place() -> None:
    stamp = w.Stamp(CLOCK, 200, 0)
    body = w.Sample(CLOCK, 100, 0).record() + stamp.lost(7)
    body += w.Stamp(CLOCK).lost_samples(6) + w.Stamp(CLOCK).lost_samples(4)
    body += w.Stamp(CLOCK).lost_samples(50, by_bpf=True)
    found = read(file(CLOCK, body=body))
    assert found.losses.select("cpu", "to_ns", "count").sort("count").rows() == [
        (None, None, 3), (0, 200, 7),
    ]  # fmt: skip
    assert found.diagnostics["lost-events"].count == 10
    assert found.diagnostics["filtered-samples"].count == 50


def test_buffers_that_were_overwritten_leave_the_loss_unknown() -> None:
    event = replace(CLOCK, flags=w.SAMPLE_ID_ALL | 1 << 27)
    body = b"".join(w.Sample(event, at).record() for at in (30, 20, 10))  # the last one first
    found = read(file(event, body=body))
    assert found.column("ts_ns") == [10, 20, 30]
    assert found.facts["loss_known"] is False
    assert "overwritten" in found.diagnostics


def test_a_task_has_the_name_that_it_had_at_the_time() -> None:
    body = w.Stamp(CLOCK).comm(5, "sh") + w.Stamp(CLOCK, 20, tid=5).fork(6, 5)
    body += w.Stamp(CLOCK, 40).comm(6, "kvmunmap", pid=5)
    body += b"".join(w.Sample(CLOCK, at, tid=6, pid=5).record() for at in (30, 50))
    body += w.Sample(CLOCK, 35, tid=5, pid=5).record()
    found = read(file(CLOCK, body=body))
    assert found.column("comm") == ["sh", "sh", "kvmunmap"]
    assert found.column("tgid") == [5, 5, 5]


def test_names_of_tasks_that_only_tracefs_knows_are_used() -> None:
    features = {1: w.tracing_data([KPROBE], cmdlines="71 qemu system\n72 x\n")}
    sample = w.Sample(tracepoint(KPROBE), 5, tid=71, raw=KPROBE.record())
    found = read(w.Recording([sample.event], sample.record(), features).file())
    assert found.column("comm") == ["qemu system"]


def test_switches_are_sched_switch_events() -> None:
    out, back = w.Stamp(CLOCK, 10, 1, 7, 7), w.Stamp(CLOCK, 30, 1, 7, 7)
    body = out.switch(out=True, other=8) + w.Stamp(CLOCK, 11, 1, 8, 8).switch(out=False, other=7)
    body += w.Stamp(CLOCK, 20, 1, 7, 7).switch(out=True) + back.switch(out=False)
    found = read(file(CLOCK, body=body), NEEDED)
    assert found.events.select("ts_ns", "cpu", "tid", "name").rows() == [
        (10, 1, 7, "sched_switch"), (20, 1, 7, "sched_switch"), (30, 1, None, "sched_switch"),
    ]  # fmt: skip
    assert sorted(found.args.select("seq", "name", "value").rows()) == [
        (0, "next_pid", 8), (0, "prev_pid", 7), (1, "prev_pid", 7), (2, "next_pid", 7),
    ]  # fmt: skip


def test_switches_beside_the_tracepoint_are_not_counted_twice() -> None:
    event = tracepoint(SWITCH)
    raw = SWITCH.record(prev_pid=7, next_pid=8, prev_comm="a", next_comm="b")
    body = w.Sample(event, 10, tid=7, raw=raw).record()
    body += w.Stamp(event, 11, 0, 7, 7).switch(out=True, other=8)
    found = read(file(event, body=body, formats=(SWITCH,)))
    assert found.column("ts_ns") == [10]


def test_events_that_nobody_asked_for_are_counted_by_name() -> None:
    events = (tracepoint(KPROBE), tracepoint(HRTIMER))
    body = b"".join(
        w.Sample(event, n, raw=form.record()).record()
        for n, (event, form) in enumerate(zip(events, (KPROBE, HRTIMER), strict=True))
    )
    found = read(file(*events, body=body, formats=(KPROBE, HRTIMER)), NEEDED)
    assert found.column("name") == ["s2_unmap"]
    assert found.skipped == {"hrtimer_start": 1}


def test_without_tracing_data_tracepoints_are_known_by_name_and_time() -> None:
    events = (tracepoint(KPROBE), tracepoint(HRTIMER))
    body = b"".join(w.Sample(event, n, raw=b"?").record() for n, event in enumerate(events))
    found = read(file(*events, body=body))
    assert found.events.select("name", "phase", "evidence").rows() == [
        ("s2_unmap", "instant", "tracepoint"), ("hrtimer_start", "instant", "tracepoint"),
    ]  # fmt: skip
    assert found.diagnostics["no-tracing-data"].severity == "warning"
    needed = read(file(*events, body=body), NEEDED)
    assert needed.events.is_empty()
    assert needed.skipped == {"s2_unmap": 1, "hrtimer_start": 1}


def test_probes_without_raw_data_have_the_phase_that_their_formats_say() -> None:
    events = [replace(tracepoint(form), sample_type=w.USUAL & ~w.RAW) for form in (KPROBE, RETURN)]
    body = b"".join(w.Sample(event, n, ip=77).record() for n, event in enumerate(events))
    found = read(file(*events, body=body, formats=(KPROBE, RETURN)))
    assert found.events.select("name", "phase", "evidence", "probe_ip").rows() == [
        ("s2_unmap", "entry", "kprobe", 77), ("s2_unmap_ret", "exit", "kprobe", None),
    ]  # fmt: skip


def test_without_times_events_come_in_the_order_of_the_file() -> None:
    event = replace(CLOCK, sample_type=w.IDENTIFIER | w.IP | w.CPU)
    body = b"".join(w.Sample(event, ip=ip, cpu=ip % 2).record() for ip in (5, 3, 9, 7))
    body += w.Stamp(event).lost(4)
    found = read(file(event, body=body))
    assert found.column("probe_ip") == [5, 3, 9, 7]
    assert found.column("ts_ns") == [None] * 4
    assert found.samples["ts_ns"].to_list() == [None] * 4
    assert found.losses.select("cpu", "to_ns", "count").rows() == [(None, None, 4)]
    assert "no-times" in found.diagnostics


def test_samples_of_events_that_are_not_described_are_counted() -> None:
    other = replace(CLOCK, name="cycles", ids=(3,))
    body = w.Sample(CLOCK, 5, id=99).record() + w.Sample(CLOCK, 6, id=1 << 50).record()
    body += w.Sample(other, 7).record() + w.Sample(CLOCK, 8, id=0).record()
    found = read(file(CLOCK, other, body=body))
    assert found.column("name") == ["cycles", "cpu-clock"]
    assert found.diagnostics["unknown-event-ids"].count == 2


def test_events_that_no_id_tells_apart_count_as_the_first() -> None:
    event = replace(CLOCK, ids=(), sample_type=w.IP | w.TIME)
    body = w.Sample(event, 5, id=0).record()
    found = read(file(event, replace(event, name="cycles"), body=body))
    assert found.column("name") == ["cpu-clock"]
    assert "events-not-told-apart" in found.diagnostics


def test_events_that_write_their_ids_in_different_places_are_refused() -> None:
    other = replace(CLOCK, ids=(9,), sample_type=w.ID | w.IP | w.TIME)
    with pytest.raises(UnsupportedError, match="in different places"):
        read(file(CLOCK, other))


def test_what_is_not_read_is_counted_by_type() -> None:
    stamp = w.Stamp(CLOCK, 5)
    body = stamp.other(10, bytes(72)) * 3 + stamp.other(17, bytes(24)) + w.record(99, bytes(8)) * 2
    body += stamp.other(11, w.u64(0, 64, 0)) + w.record(71, w.u64(64) + bytes(32)) + bytes(64)
    body += stamp.other(5, w.u64(5, 1, 1)) + w.Sample(CLOCK, 9).record()
    found = read(file(CLOCK, body=body))
    assert found.column("ts_ns") == [9]
    messages = {code: one.message for code, one in found.diagnostics.items()}
    assert messages["records-not-used"].endswith("MMAP2 3, KSYMBOL 1")
    assert messages["unknown-records"].endswith("99 2")
    assert "64 bytes" in messages["aux-not-read"]
    assert "throttled sampling 1 times" in messages["throttled"]


def test_a_recording_that_was_killed_is_read_to_the_end_of_the_file() -> None:
    content = bytearray(w.Recording([CLOCK], w.Sample(CLOCK, 5).record()).file())
    content[48:56] = bytes(8)  # the size of the data
    found = read(bytes(content))
    assert found.column("ts_ns") == [5]
    assert "recording-not-ended" in found.diagnostics


@pytest.mark.parametrize("magic", [b"2ELIFREP", b"PERFFILE", b"ELIFFREP"])
def test_other_byte_orders_and_versions_are_refused(magic: bytes, tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    path.write_bytes(magic + file(CLOCK)[8:])
    trace = open_trace(path)
    assert trace.format == "perf.data"
    with pytest.raises(UnsupportedError):
        trace.tables()


def test_a_32_bit_kernel_is_refused() -> None:
    features = {1: w.tracing_data([KPROBE], long_size=4)}
    with pytest.raises(UnsupportedError, match="32-bit"):
        read(w.Recording([CLOCK], w.record(82), features).file())


def test_a_part_of_a_directory_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="--threads"):
        read(w.Recording([CLOCK], w.record(82), {24: w.u64(1)}).file())


@pytest.mark.parametrize("size", [0, 7, 8, 15, 16, 50, 103])
def test_a_file_that_ends_in_its_header_is_truncated(size: int) -> None:
    with pytest.raises((TruncatedError, ParseError)):
        read(file(CLOCK)[:size] if size > 8 else b"PERFILE2"[:size])


def overflown(body: bytes) -> bytes:
    """*body* packed by perf 6.16, whose size of a COMPRESSED2 overflows."""
    packer = zstandard.ZstdCompressor().compressobj()
    packed = packer.compress(body) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    first, rest = packed[:65519], packed[65519:]
    found = first
    while rest:
        found += w.record(83, bytes(8), size=16 + len(rest[:65519])) + rest[:65519]
        rest = rest[65519:]
    size = 16 + len(found)
    return w.record(83, w.u64(len(found)) + found, size=(size + -size % 8) % 65536)


@pytest.mark.parametrize("count", [640, 1400, 2600])
def test_packed_records_whose_size_overflowed_are_read(count: int) -> None:
    noise = np.random.default_rng(1).bytes(count * 104)
    event = replace(CLOCK, sample_type=w.USUAL)
    samples = b"".join(
        w.Sample(event, n, raw=noise[104 * n : 104 * n + 100]).record() for n in range(count)
    )
    body = overflown(samples) + w.Sample(event, count).record()
    found = read(file(event, body=body))
    assert found.column("ts_ns") == list(range(count + 1))
    assert not {"damaged-records", "damaged-compression"} & found.diagnostics.keys()

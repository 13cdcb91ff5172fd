"""trace.dat files of both versions give exactly the events that were written into them."""

from __future__ import annotations

import io
import random
import struct
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trace_dat_reading import nulls_first, read, records
from tests.trace_dat_reference import read_cpus, read_page
from tests.writers.points import POINT, points
from tests.writers.records import GRAPH_ENTRY, GRAPH_EXIT, PRINT, SCHED_SWITCH, TLBI_IPA
from tests.writers.ring_buffer import Writer, data, extend, page
from tests.writers.trace_dat import Buffer, Trace
from traceview.parsers import open_trace
from traceview.parsers.formats import detect

T = 7_000_000_000
FORMATS = {"test": [POINT.format()], "sched": [SCHED_SWITCH.format()]}
FORMATS["kvmlab"] = [TLBI_IPA.format()]
FTRACE = [PRINT.format(), GRAPH_ENTRY.format(), GRAPH_EXIT.format()]
KALLSYMS = "ffff800080000000 T _text\nffff800080001000 T one_function\nffff800080002000 T end\n"
FUNC = 0xFFFF800080001000
COMPRESSIONS = ("none", "zlib", "zstd")
FILES = [(6, "none"), *((7, one) for one in COMPRESSIONS)]


def trace(*buffers: Buffer, **settings: Any) -> Trace:
    settings = {"formats": FORMATS, "ftrace_formats": FTRACE, "kallsyms": KALLSYMS, **settings}
    return Trace(list(buffers) or [Buffer({})], **settings)


@pytest.mark.parametrize(("version", "compression"), FILES)
def test_events_of_all_cpus_come_in_time_order(version: int, compression: str) -> None:
    buffer = Buffer({0: points(T, T + 20, T + 30), 1: points(T + 10, T + 25, first=3, tid=0)})
    found = read(trace(buffer, version=version, compression=compression).write())
    assert found.rows("seq", "ts_ns", "cpu", "tid", "comm", "name") == [
        (0, T, 0, 100, "worker", "point"),
        (1, T + 10, 1, 0, None, "point"),
        (2, T + 20, 0, 100, "worker", "point"),
        (3, T + 25, 1, 0, None, "point"),
        (4, T + 30, 0, 100, "worker", "point"),
    ]
    args = found.args.sort("seq")
    assert args.filter(pl.col("name") == "value")["value"].to_list() == [0, 3, 1, 4, 2]
    words = args.filter(pl.col("name") == "word")["text"].to_list()
    assert words == ["w0", "w3", "w1", "w4", "w2"]
    assert found.diagnostics == {}
    assert found.holes() == []


@pytest.mark.parametrize(("version", "compression"), FILES)
def test_the_file_says_what_it_knows_of_the_host(version: int, compression: str) -> None:
    found = read(trace(Buffer({0: points(T)}), version=version, compression=compression).write())
    assert found.facts == {
        "kernel": "6.12.0-arm64", "machine": "aarch64", "cpus": 2, "clock": "mono",
        "loss_known": True, "ts_resolution_ns": 1, "hostnames": ("host",),
    }  # fmt: skip


def test_the_tracer_is_known_by_its_events() -> None:
    writer = Writer()
    writer.event(T, GRAPH_ENTRY.record(func=FUNC, depth=1))
    writer.event(T + 5, GRAPH_EXIT.record(func=FUNC, depth=1, calltime=10, rettime=14))
    writer.flush()
    found = read(trace(Buffer({0: writer.pages})).write())
    assert found.facts["tracer"] == "function_graph"
    assert found.rows("name", "symbol", "phase", "duration_ns", "depth") == [
        ("funcgraph_entry", "one_function", "entry", None, 1),
        ("funcgraph_exit", "one_function", "exit", 4, 1),
    ]


@pytest.mark.parametrize("version", [6, 7])
def test_each_instance_has_its_name_and_in_version_7_its_page_size(version: int) -> None:
    size = 4096 if version == 6 else 16384
    text = [PRINT.record(ip=FUNC, buf="KVMLAB begin\n\0")]
    main = Buffer({0: [page(T, data(text[0], 1))]})
    one = Buffer({1: points(T + 2, T + 4, size=size)}, name="one", page_bytes=size)
    two = Buffer({0: points(T + 3), 1: points(T + 9)}, name="two")
    found = read(trace(main, one, two, version=version).write())
    assert found.rows("buffer", "ts_ns", "cpu", "name") == [
        (None, T + 1, 0, "print"),
        ("one", T + 2, 1, "point"),
        ("two", T + 3, 0, "point"),
        ("one", T + 4, 1, "point"),
        ("two", T + 9, 1, "point"),
    ]
    assert found.diagnostics == {}


def test_an_instance_of_version_6_may_have_another_number_of_cpus() -> None:
    one = Buffer({5: points(T)}, name="one", cpus=6)
    found = read(trace(Buffer({}), one, version=6).write())
    assert found.rows("buffer", "cpu") == [("one", 5)]
    assert found.facts["cpus"] == 2


def test_an_instance_with_another_clock_is_read_and_named() -> None:
    one = Buffer({0: points(T)}, name="one", clock="boot")
    found = read(trace(Buffer({0: points(T)}), one).write())
    assert len(found.events) == 2
    assert len(found.diagnostics) == 1
    assert "'one' has the clock boot, the main buffer mono" in (
        found.diagnostics["clocks-differ"].message
    )


def test_a_clock_that_all_instances_share_is_not_doubted() -> None:
    buffers = [Buffer({}, clock="local"), Buffer({0: points(T)}, name="one", clock="local")]
    found = read(trace(*buffers, clock="mono").write())
    assert found.facts["clock"] == "mono"
    assert found.diagnostics == {}


def test_the_local_clock_cannot_be_compared_between_cpus() -> None:
    found = read(trace(Buffer({0: points(T)}, clock="local"), clock="local").write())
    assert found.facts["clock"] == "local"
    assert "clock-not-comparable" in found.diagnostics


@pytest.mark.parametrize("clock", ["counter", "x86-tsc"])
def test_a_clock_that_counts_no_time_gives_order_but_no_times(clock: str) -> None:
    writer = Writer()
    writer.event(1, POINT.record(value=1))
    writer.lose(3)
    writer.event(5, POINT.record(value=2))
    writer.flush()
    found = read(trace(Buffer({0: writer.pages}, clock=clock), clock=clock).write())
    assert found.rows("seq", "ts_ns") == [(0, None), (1, None)]
    assert found.holes() == [(None, 0, "lost_events", None, None, 3)]
    assert "ts_resolution_ns" not in found.facts
    assert "clock-without-time" in found.diagnostics


def test_cycles_are_converted_as_the_file_says() -> None:
    times = [1 << 20, (1 << 45) + 12345]
    tsc = (14, struct.pack("<IIQ", 0xC000_0001, 30, 99))  # the offset is not used
    given = trace(Buffer({0: points(*times)}, clock="x86-tsc"), clock="x86-tsc", options=[tsc])
    found = read(given.write())
    assert found.rows("ts_ns") == [ts * 0xC000_0001 >> 30 for ts in times]
    assert found.facts["ts_resolution_ns"] == 1
    assert "times-converted" in found.diagnostics


@pytest.mark.parametrize("version", [6, 7])
def test_times_are_moved_as_the_file_says(version: int) -> None:
    options = [(1, b"0x10\0"), (7, b"-500\0")]  # DATE in microseconds, OFFSET in nanoseconds
    found = read(trace(Buffer({0: points(T)}), options=options, version=version).write())
    assert found.rows("ts_ns") == [T + 16_000 - 500]
    assert found.diagnostics["times-moved"].message.startswith("times are moved by 15500 ns")


def test_guests_and_times_of_a_guest_are_named() -> None:
    guest = b"vm1\0" + struct.pack("<QIII", 77, 1, 0, 4242)
    shift = struct.pack("<QIII", 77, 0, 1, 0)
    found = read(trace(Buffer({0: points(T)}), options=[(13, guest), (12, shift)]).write())
    assert "vm1 (1 CPUs)" in found.diagnostics["guests"].message
    assert "guest-times" in found.diagnostics
    assert found.rows("ts_ns") == [T]


def test_what_is_not_known_is_counted_by_kind() -> None:
    options = [(99, b"x"), (99, b""), (500, b"?"), (8, b"")]
    given = trace(Buffer({0: points(T)}), options=options, sections=[(77, b"?"), (77, b"??")])
    found = read(given.write())
    assert found.diagnostics["unknown-option"].message.endswith("99 (2 times), 500 (1 times)")
    assert found.diagnostics["unknown-option"].count == 3
    assert found.diagnostics["damaged-option"].count == 1
    assert "2 sections of kind 77 (a section)" in found.diagnostics["unknown-section"].message
    assert len(found.events) == 1


def test_options_that_change_no_event_are_not_complained_about() -> None:
    options = [(n, b"whatever\0") for n in (6, 9, 10, 11, 23, 25)]
    assert read(trace(Buffer({0: points(T)}), options=options).write()).diagnostics == {}


def test_a_buffer_of_an_earlier_boot_is_named() -> None:
    found = read(trace(Buffer({0: points(T)}), options=[(24, b"boot_map:12 [kernel]\0")]).write())
    assert "boot_map" in found.diagnostics["earlier-boot"].message


def test_lost_events_are_holes_between_two_times() -> None:
    writer = Writer()
    writer.lose(40)  # before the first event: the ring was overwritten
    writer.event(T, POINT.record(value=0))
    writer.event(T + 1, POINT.record(value=1))
    writer.lose(7)
    writer.event(T + 100, POINT.record(value=2))
    writer.lose(1, stored=False)
    writer.event(T + 200, POINT.record(value=3))
    writer.flush()
    other = Buffer({0: points(T + 50)}, name="other")
    found = read(trace(Buffer({0: writer.pages, 1: points(T + 60)}), other).write())
    assert found.holes() == [
        (None, 0, "lost_events", None, T, 40),
        (None, 0, "lost_events", T + 1, T + 100, 7),
        (None, 0, "lost_events", T + 100, T + 200, None),
    ]


def stats(cpu: int, overrun: int, dropped: int = 0, commit: int = 0) -> tuple[int, bytes]:
    text = f"CPU: {cpu}\nentries: 5\noverrun: {overrun}\ncommit overrun: {commit}\nbytes: 9\n"
    return 2, f"{text}oldest event ts:  1.2\nnow ts:  1.3\ndropped events: {dropped}\n\0".encode()


def test_counted_losses_beyond_the_holes_have_no_place() -> None:
    writer = Writer()
    writer.event(T, POINT.record(value=0))
    writer.lose(7)
    writer.event(T + 100, POINT.record(value=2))
    writer.flush()
    options = [stats(0, 7), stats(1, 12, dropped=3), (2, b"\nBuffer: one\n\n\0"), stats(1, 0, 0, 2)]
    one = Buffer({1: points(T)}, name="one")
    found = read(trace(Buffer({0: writer.pages}), one, options=options).write())
    assert found.holes() == [
        (None, 0, "lost_events", T, T + 100, 7),
        (None, 1, "dropped_events", None, None, 3),
        (None, 1, "overrun", None, None, 12),
        ("one", 1, "commit_overrun", None, None, 2),
    ]


def test_a_hole_before_a_page_without_events_lasts_to_the_next_event() -> None:
    pages = [*points(T), page(T + 5, extend(100), lost=2), page(T + 200, b"", lost=3)]
    pages += points(T + 300)
    found = read(trace(Buffer({0: pages})).write())
    assert found.holes() == [(None, 0, "lost_events", T, T + 300, 5)]


@pytest.mark.parametrize(("version", "compression"), FILES)
def test_text_of_a_latency_tracer_is_read_as_text(version: int, compression: str) -> None:
    text = (
        "# tracer: wakeup\n#\n"
        "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
        "          worker-100     [001] d..2.     7.000001: tlbi_ipa: (f+0x0/0x10) ipa=0x1000\n"
    )
    given = trace(text=text, version=version, compression=compression, clock="global")
    found = read(given.write())
    assert found.rows("ts_ns", "cpu", "tid", "name", "symbol") == [
        (7_000_001_000, 1, 100, "tlbi_ipa", "f")
    ]
    assert found.facts["tracer"] == "wakeup"
    assert found.facts["clock"] == "global"
    assert found.facts["kernel"] == "6.12.0-arm64"


def test_a_text_without_events_still_says_its_clock() -> None:
    found = read(trace(text="# tracer: nop\n", clock="global", compression="none").write())
    assert len(found.events) == 0
    assert found.facts["clock"] == "global"


@pytest.mark.parametrize("version", [6, 7])
def test_a_file_without_events_says_so(version: int) -> None:
    found = read(trace(Buffer({}), version=version).write())
    assert len(found.events) == 0
    assert found.diagnostics["no-events"].severity == "error"


def test_a_task_is_called_what_sched_switch_says_from_then_on() -> None:
    writer = Writer()
    writer.event(T, POINT.record(7, value=0))
    switch = SCHED_SWITCH.record(100, prev_comm="worker", next_comm="newname", next_pid=7)
    writer.event(T + 1, switch)
    writer.event(T + 2, POINT.record(7, value=1))
    writer.flush()
    found = read(trace(Buffer({0: writer.pages}), cmdlines="7 oldname\n100 worker\n").write())
    assert found.rows("comm") == ["oldname", "worker", "newname"]


def test_the_format_is_known_by_its_first_bytes(tmp_path: Any) -> None:
    file = tmp_path / "any.name"
    file.write_bytes(trace(Buffer({0: points(T)})).write())
    assert open_trace(file).format == "trace.dat"
    assert detect(b"\x17\x08\x44tracing6\0", "x").name == "trace.dat"


def test_batches_are_of_the_size_that_was_asked_for() -> None:
    times = range(T, T + 40_000, 2)
    buffers = [Buffer({0: points(*times), 1: points(*times)})]
    content = trace(*buffers).write()
    found = read(content, batch_events=1000)
    assert max(len(batch.events) for batch in found.batches) <= 1500
    assert found.rows("ts_ns") == sorted([*times, *times])
    assert found.events.equals(read(content).events)


def generate(seed: int) -> tuple[Trace, list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """A file with anything in it, its events in time order per CPU, and its losses."""
    rng = random.Random(seed)
    version = rng.choice([6, 7, 7, 7])
    buffers: list[Buffer] = []
    events: list[tuple[Any, ...]] = []
    losses: list[tuple[Any, ...]] = []
    for name in ["", "one", "two"][: rng.randint(1, 3)]:
        size = rng.choice([4096, 8192]) if version == 7 and name else 4096
        buffer = Buffer({}, name=name, page_bytes=size)
        for cpu in rng.sample(range(4), rng.randint(0, 3)):
            writer, now, last = Writer(size), rng.randrange(1 << 50), None
            for n in range(rng.choice([0, 1, 30, 400])):
                if rng.random() < 0.02:
                    count, stored = rng.randint(1, 1 << 33), rng.random() < 0.7
                    writer.lose(count, stored=stored)
                    now += 1
                    losses.append(
                        (name or None, cpu, "lost_events", last, now, count if stored else None)
                    )
                elif rng.random() < 0.05:
                    writer.take_back(4 * rng.randint(2, 40), 1)
                    now += 1
                word = "x" * rng.choice([0, 1, 5, 90, 300])
                payload = POINT.record(rng.choice([0, 100, 101]), value=seed * n, word=word)
                large, absolute = rng.random() < 0.1, rng.random() < 0.1
                writer.event(now, payload, large=large, absolute=absolute)
                tid = struct.unpack_from("<i", payload, 4)[0]
                events.append((name or None, cpu, now, tid, seed * n, word))
                last = now
                now += rng.choice([0, 1, 1000, 1 << 26, 1 << 33])
            writer.flush(ending=rng.random() < 0.5)
            buffer.pages[cpu] = writer.pages
        buffers.append(buffer)
    given = trace(
        *buffers, version=version, cpus=4, compression=rng.choice(COMPRESSIONS),
        chunk_pages=rng.choice([1, 3, 10]), pack_parts=rng.random() < 0.8,
    )  # fmt: skip
    return given, events, losses


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_what_was_written_is_read(seed: int) -> None:
    given_trace, events, losses = generate(seed)
    content = given_trace.write()
    found = read(content, batch_events=random.Random(seed).choice([50, 250_000]))
    rows = found.events.select("seq", "buffer", "cpu", "ts_ns", "tid")
    args = found.args.pivot("name", index="seq", values=["value", "text"])
    names = {"value_value": "value", "text_word": "word"}
    if not events:
        assert rows.is_empty()
        return
    rows = rows.join(args, on="seq", maintain_order="left").rename(names)
    got = rows.select("buffer", "cpu", "ts_ns", "tid", "value", "word").rows()
    by_lane = lambda row: (row[0] or "", row[1])  # noqa: E731
    assert sorted(got, key=by_lane) == sorted(events, key=by_lane)
    assert rows["ts_ns"].is_sorted()
    assert rows["seq"].to_list() == list(range(len(events)))
    # A hole that is longer than a batch comes in pieces.
    if len([batch for batch in found.batches if len(batch.events)]) == 1:
        assert found.holes() == sorted(losses, key=nulls_first)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32))
def test_the_reference_agrees_on_generated_files(seed: int) -> None:
    content = generate(seed)[0].write()
    expected = {
        (one.buffer or None, one.cpu): [
            record
            for at in range(0, len(one.pages), one.page_bytes)
            for record in read_page(one.pages[at : at + one.page_bytes]).records
        ]
        for one in read_cpus(content)
    }
    assert {lane: mine for lane, mine in records(content).items() if mine} == {
        lane: mine for lane, mine in expected.items() if mine
    }


def test_a_file_from_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    content = trace(Buffer({0: points(T)})).write()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert len(open_trace("-").tables().events) == 1

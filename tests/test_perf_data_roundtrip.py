"""Generated recordings: what was written is what is read, by the parser and by the slow decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from tests.perf_data_reading import EVERYTHING, assert_same, read
from tests.perf_data_reference import MODES, decode
from tests.perf_data_reference import Sample as Read
from tests.writers import perf_data as w
from tests.writers import records

if TYPE_CHECKING:
    from collections.abc import Sequence

KPROBE = records.Event(
    1543, "s2_unmap", ("unsigned long __probe_ip", "u64 addr", "s32 level"), "kvmlab"
)
RETURN = records.Event(
    1544, "s2_unmap_ret",
    ("unsigned long __probe_func", "unsigned long __probe_ret_ip", "s64 ret"), "kvmlab",
)  # fmt: skip
TEXT = records.Event(90, "irq_handler_entry", ("int irq", "__data_loc char[] name"), "irq")
FORMATS = (KPROBE, RETURN, TEXT)

# Everything that may stand before RAW, or behind it.
OPTIONAL = (
    w.ADDR, w.STREAM_ID, w.PERIOD, w.READ, w.CALLCHAIN, w.BRANCH_STACK, w.REGS_USER, w.STACK_USER,
    w.WEIGHT, w.DATA_SRC, w.TRANSACTION, w.REGS_INTR, w.PHYS_ADDR, w.AUX, w.CGROUP,
    w.DATA_PAGE_SIZE, w.CODE_PAGE_SIZE, w.IP, w.TID, w.CPU,
)  # fmt: skip
ADDRESSES = st.sampled_from([0xFFFF800080001000, 0xFFFF80008009EE10, 0x400670])
MARKERS = st.sampled_from([(1 << 64) - 128, (1 << 64) - 512, (1 << 64) - 2048])
QUICK = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # fmt: skip


@dataclass
class Written:
    """A recording, and the events in it."""

    recording: w.Recording
    expected: list[Read]


@st.composite
def events(draw: st.DrawFn) -> list[w.Event]:
    """Some events whose records can be told apart."""
    count = draw(st.integers(1, 4))
    where = draw(st.sampled_from([w.IDENTIFIER, w.ID, w.IDENTIFIER | w.ID]))
    if count == 1:
        where = draw(st.sampled_from([where, 0]))
    shared = w.IP | w.TID | w.ADDR if where == w.ID else 0  # what stands before an ID
    before = sum(draw(st.sets(st.sampled_from([w.IP, w.TID, w.ADDR]))))
    behind = sum(draw(st.sets(st.sampled_from([w.CPU, w.STREAM_ID]))))
    found = []
    for number in range(count):
        free = sum(draw(st.sets(st.sampled_from(OPTIONAL)))) & ~shared
        if not where & w.IDENTIFIER:
            free = free & ~(w.CPU | w.STREAM_ID) | behind
        sample_type = where | w.TIME | free | (before if shared else 0)
        is_tracepoint = draw(st.booleans())
        form = draw(st.sampled_from(FORMATS))
        first = 1 + 10 * number + draw(st.sampled_from([0, 1 << 20, 1 << 40]))
        found.append(
            w.Event(
                name=f"{form.system}:{form.name}" if is_tracepoint else f"cycles{number}",
                ids=(first, first + 1),
                type=w.TRACEPOINT if is_tracepoint else w.SOFTWARE,
                config=form.id if is_tracepoint else 0,
                sample_type=sample_type | (w.RAW if is_tracepoint or draw(st.booleans()) else 0),
                read_format=draw(st.integers(0, 31)),
                branch_type=draw(st.sampled_from([0, w.HW_INDEX, w.COUNTERS])),
                flags=w.SAMPLE_ID_ALL | draw(st.sampled_from([0, w.FREQ])),
                period=draw(st.integers(1, 1000)),
            )
        )
    return found


@st.composite
def samples(draw: st.DrawFn, event: w.Event, ts_ns: int, cpu: int) -> w.Sample:
    """A sample of *event*."""
    chain = tuple(draw(st.lists(st.one_of(ADDRESSES, MARKERS), max_size=6)))
    if draw(st.booleans()):
        chain = (*chain, (1 << 64) - 640, 12345)  # PERF_CONTEXT_USER_DEFERRED and its cookie
    return w.Sample(
        event, ts_ns, cpu, pid=draw(st.integers(1, 9)), tid=draw(st.integers(-1, 1 << 22)),
        ip=draw(ADDRESSES), period=draw(st.integers(1, 1 << 40)),
        id=draw(st.sampled_from(event.ids)), misc=draw(st.integers(0, 5)),
        members=draw(st.integers(0, 3)), chain=chain, raw=draw(raws(event)),
        branches=draw(st.integers(0, 2)), has_regs=draw(st.booleans()),
        stack=draw(st.binary(max_size=9)), aux=draw(st.binary(max_size=9)),
    )  # fmt: skip


def raws(event: w.Event) -> st.SearchStrategy[bytes]:
    """RAW data of a sample of *event*."""
    numbers = st.integers(-(1 << 31), (1 << 31) - 1)
    if event.type != w.TRACEPOINT:
        return st.binary(max_size=20)
    if event.config == KPROBE.id:
        return st.builds(
            lambda addr, level: KPROBE.record(__probe_ip=1 << 63, addr=addr, level=level),
            numbers, numbers,
        )  # fmt: skip
    if event.config == RETURN.id:
        return st.builds(lambda ret: RETURN.record(__probe_func=1 << 63, ret=ret), numbers)
    return st.builds(lambda irq: TEXT.record(irq=irq, name="arch_timer"), numbers)


def meant(sample: w.Sample) -> Read:
    """What must be read of *sample*."""
    event = sample.event
    found = Read(
        ts_ns=sample.ts_ns,
        cpu=sample.cpu if event.has(w.CPU) else None,
        tid=sample.tid if event.has(w.TID) and sample.tid >= 0 else None,
        name=event.name,
    )
    if event.type == w.TRACEPOINT:
        return of_tracepoint(found, sample)
    found.probe_ip = sample.ip if event.has(w.IP) else None
    found.cpumode = MODES[sample.misc]
    found.period = sample.period if event.has(w.PERIOD) else event.period
    if event.flags & w.FREQ and not event.has(w.PERIOD):
        found.period = None
    chain = list(sample.chain[:-1] if 12345 in sample.chain else sample.chain)
    found.callchain = (
        [ip for ip in chain if ip < (1 << 64) - 4095] if event.has(w.CALLCHAIN) else []
    )
    return found


def of_tracepoint(found: Read, sample: w.Sample) -> Read:
    form = next(one for one in FORMATS if one.id == sample.event.config)
    found.tid = 100 if found.tid is None else found.tid  # that of the raw record
    found.name, found.evidence = form.name, "tracepoint" if form is TEXT else "kprobe"
    for place in form.places[4:]:
        if place.location:
            found.args[place.name] = "arch_timer"
        elif place.name in ("__probe_ip", "__probe_func"):
            found.probe_ip = 1 << 63
            found.phase = "entry" if place.name == "__probe_ip" else "exit"
        else:
            content = sample.raw[place.offset : place.offset + place.size]
            number = int.from_bytes(content, "little", signed=True)
            found.args[place.name] = number
    return found


@st.composite
def recordings(draw: st.DrawFn) -> Written:
    """A recording of some CPUs, whose buffers are written one after the other, in rounds."""
    of = draw(events())
    clocks, body, expected = [1000, 1000, 1000], b"", []
    for _ in range(draw(st.integers(1, 3))):
        for cpu in draw(st.permutations(range(3))):
            for _ in range(draw(st.integers(0, 6))):
                clocks[cpu] += draw(st.integers(1, 900)) * 3
                ts_ns = clocks[cpu] + cpu  # no two events have the same time
                mine = draw(samples(draw(st.sampled_from(of)), ts_ns, cpu))
                expected.append(mine)
                body += mine.record()
                body += draw(others(w.Stamp(of[0], ts_ns, cpu, 5, 5)))
        body += w.record(68)
    features = {1: w.tracing_data(FORMATS), 12: w.event_desc(of)}
    expected.sort(key=lambda one: one.ts_ns)
    return Written(w.Recording(of, body, features), [meant(one) for one in expected])


def others(stamp: w.Stamp) -> st.SearchStrategy[bytes]:
    """Nothing, or a record of another type."""
    return st.sampled_from(
        [
            b"", b"", b"", stamp.lost(7), stamp.comm(5, "kvmunmap"), stamp.fork(6, 5),
            stamp.other(4, bytes(24)), stamp.other(10, bytes(72)), w.record(90, bytes(16)),
            w.record(71, w.u64(16) + bytes(32)) + bytes(16),
        ]
    )  # fmt: skip


@QUICK
@given(recordings())
def test_a_file_gives_back_what_was_written(written: Written) -> None:
    check(written.recording.file(), written.expected)


@QUICK
@given(recordings())
def test_a_pipe_gives_back_what_was_written(written: Written) -> None:
    check(written.recording.pipe(), written.expected)


@QUICK
@given(recordings(), st.booleans(), st.integers(8, 200), st.booleans())
def test_packed_records_give_back_what_was_written(
    written: Written,
    aligned: bool,  # noqa: FBT001 - hypothesis gives it
    push: int,
    piped: bool,  # noqa: FBT001
) -> None:
    whole = written.recording.records
    pushes = [whole[at : at + push] for at in range(0, len(whole), push)]
    recording = w.Recording(
        written.recording.events, w.compressed(*pushes, aligned=aligned),
        written.recording.features,
    )  # fmt: skip
    check(recording.pipe() if piped else recording.file(), written.expected)


def check(content: bytes, expected: Sequence[Read]) -> None:
    found: Any = read(content)
    assert [one for one in found.plain() if one.name != "sched_switch"] == list(expected)
    assert_same(found, decode(content, EVERYTHING))
    assert {one.severity for one in found.diagnostics.values()} <= {"info", "warning"}
    damage = {"damaged-samples", "unknown-event-ids", "damaged-records", "truncated"}
    assert not damage & found.diagnostics.keys()

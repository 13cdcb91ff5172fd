"""The Perfetto parser on input that is cut, damaged, or no Perfetto trace at all."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tests.perfetto_reading import read
from tests.writers import perfetto as w
from traceview.parsers import open_trace, perfetto, perfetto_packets
from traceview.parsers.perfetto_wire import Blob, field_at

if TYPE_CHECKING:
    from pathlib import Path

    from tests.perfetto_reading import Read

FIRST = 65536


def marks(cpu: int, *times: int, **fields: Any) -> Any:
    events = [w.event(ts, 10 + cpu, print={"buf": str(ts)}) for ts in times]
    return w.packet(ftrace_events=w.bundle(cpu, events, **fields))


@cache
def sample() -> bytes:
    """A trace with something of everything."""
    probe = w.described(FIRST, "tlbi", {"__probe_ip": "u64", "ipa": "u64", "name": "string"})
    packets: list[Any] = [w.ftrace_config(function_filters=["f"]), w.stats(end=False)]
    for n in range(12):
        base = 1000 * (n + 1)
        events = [
            w.event(base + 1, 7, print={"buf": f"begin {n}\n"}),
            w.graph_entry(base + 2, 7, 1),
            w.generic(base + 3, 7, FIRST, {1: 1 << 63, 2: base, 3: "text"}),
            w.legacy(base + 4, 7, "old", [("__probe_func", 1), ("__probe_ip", 2), ("va", 3)]),
            w.event(base + 5, 7, kprobe_event={"name": "probed", "type": 1}),
            w.graph_exit(base + 6, 7, 1, called=10, returned=20),
            w.event(base + 7, 7, kvm_entry={"vcpu_pc": 1}),
        ]
        switches = w.compact(
            [(base, 7, 1, "vcpu"), (base + 9, 0, 0, "swapper")], [(base, 7, 0, "x")]
        )
        bundle = w.bundle(
            n % 3, events, compact_sched=switches, generic_event_descriptors=[probe],
            previous_bundle_end_timestamp=max(0, base - 3000 + 9 if n >= 3 else 0),
        )  # fmt: skip
        packets.append(
            w.packet(ftrace_events=bundle, interned_data=w.symbols({1: "f"}), sequence_flags=1)
        )
    packets[5] = w.compressed(packets[5])
    return w.trace(*packets, w.packet(process_tree=w.process_tree([(7, 7, "vcpu")])))


def check(found: Read) -> None:
    """What holds for any input."""
    at = 0
    for batch in found.batches:
        seq = batch.events["seq"].to_list()
        assert seq == list(range(at, at + len(seq)))
        assert set(batch.args["seq"]) <= set(seq)
        at += len(seq)


def test_the_sample_is_sound() -> None:
    found = read(sample(), all_events=True)
    check(found)
    assert len(found.events) == 12 * 10
    assert found.diagnostics == {}
    assert found.losses.is_empty()


@pytest.mark.parametrize("all_events", [False, True])
def test_a_cut_trace_gives_what_comes_before_the_cut(*, all_events: bool) -> None:
    whole = Counter(read(sample(), all_events=all_events).events["ts_ns"])
    for cut in range(1, len(sample()), 61):
        found = read(sample()[:cut], all_events=all_events)
        check(found)
        assert Counter(found.events["ts_ns"]) <= whole
        packets = {0, *boundaries(sample())}
        assert ("truncated" in found.diagnostics) == (cut not in packets), cut


def boundaries(content: bytes) -> list[int]:
    blob = Blob([content])
    at, found = 0, []
    while one := field_at(blob, at, len(content)):
        at = one[1]
        found.append(at)
    return found


def test_flipped_bytes_are_never_a_crash() -> None:
    chance = random.Random(1)
    for at in range(0, len(sample()), 73):
        content = bytearray(sample())
        content[at] ^= 1 << chance.randrange(8)
        check(read(bytes(content), all_events=bool(at & 1), batch_events=chance.choice([3, 1000])))


def test_rubbish_between_packets_costs_nothing_else() -> None:
    rubbish = bytes(range(11, 250)) * 3
    first, second = w.trace(marks(0, 10, 20), marks(1, 15)), w.trace(marks(0, 30), marks(1, 35))
    found = read(first + rubbish + second)
    assert found.column("ts_ns") == [10, 15, 20, 30, 35]
    told = found.diagnostics["damaged-packets"]
    assert told.count == 1
    assert f"{len(first):#x}" in told.message


def test_a_packet_with_a_wrong_length_does_not_hide_those_behind_it() -> None:
    packets = [w.trace(marks(0, n * 10, n * 10 + 5)) for n in range(1, 9)]
    for wrong in (0, 3, 5, 60, 127):
        broken = bytearray(packets[2])
        broken[1] = wrong
        found = read(b"".join([*packets[:2], bytes(broken), *packets[3:]]))
        assert set(found.column("ts_ns")) >= {10, 15, 20, 25, *range(40, 90, 5)}
        assert "damaged-packets" in found.diagnostics


def test_a_damaged_bundle_keeps_its_first_events_and_leaves_a_hole() -> None:
    events = b"".join(
        w.field(2, w.event(ts, 7, print={"buf": "x"}).SerializeToString()) for ts in (10, 20)
    )
    damaged = w.field(1, w.field(1, 0) + events + b"\x12\x7f\x08") + w.field(10, 2)
    after = marks(0, 90, previous_bundle_end_timestamp=40)
    found = read(w.trace(damaged, after))
    assert found.column("ts_ns") == [10, 20, 90]
    holes = found.losses.select("kind", "from_ns", "to_ns", "from_seq", "to_seq").rows()
    assert holes == [("damaged", 20, 90, 1, 2)]
    assert "damaged-packets" in found.diagnostics


def test_a_damaged_event_costs_only_itself() -> None:
    good = [w.event(ts, 7, print={"buf": "x"}).SerializeToString() for ts in (10, 30)]
    for bad in (b"\x08\x14\x10\x07\x1a\x05\x12\x01a", b"\x08\x14\x10\x07\x1b", b"\x10\x07\x1a\x00"):
        bundle = w.field(1, 0) + b"".join(w.field(2, one) for one in (good[0], bad, good[1]))
        found = read(w.trace(w.field(1, bundle) + w.field(10, 2)))
        assert found.column("ts_ns") == [10, 30]
        assert found.diagnostics["damaged-events"].count == 1
        holes = found.losses.select("kind", "from_ns", "to_ns", "from_seq", "to_seq").rows()
        assert holes == [("damaged", 10, 30, 0, 1)]


def test_damaged_events_at_the_ends_of_a_bundle_are_holes_to_its_neighbours() -> None:
    bad = w.field(2, b"\x08")
    good = w.field(2, w.event(30, 7, print={"buf": "x"}).SerializeToString())
    middle = w.field(1, w.field(1, 0) + bad + good + bad + bad) + w.field(10, 2)
    found = read(w.trace(marks(0, 10), middle, marks(0, 50)))
    assert found.diagnostics["damaged-events"].count == 3
    holes = found.losses.select("kind", "from_ns", "to_ns", "from_seq", "to_seq").rows()
    assert sorted(holes) == [("damaged", 10, 30, 0, 1), ("damaged", 30, 50, 1, 2)]


@pytest.mark.parametrize(
    "generic",
    [
        w.field(1, "e") + w.field(2, w.field(1, "__probe_ip") + b"\x2d"),
        w.field(1, "e") + w.field(2, w.field(5, 1)),
        w.field(2, w.field(1, "a") + w.field(5, 1)),
    ],
)
def test_an_old_generic_event_with_a_damaged_field_is_damaged(generic: bytes) -> None:
    bundle = w.field(1, 0) + w.field(2, w.event(20, 7).SerializeToString() + w.field(327, generic))
    found = read(w.trace(w.field(1, bundle) + w.field(10, 2)))
    assert found.events.is_empty()
    assert found.diagnostics["damaged-events"].count == 1


def test_a_compressed_file_that_is_cut_says_so(tmp_path: Path) -> None:
    path = tmp_path / "trace.zst"
    chance = random.Random(1)
    events = [
        w.events(0, w.event(ts, 7, print={"buf": chance.randbytes(300_000).hex()}))
        for ts in range(1, 21)
    ]
    content = zstandard.ZstdCompressor().compress(w.trace(*events))
    path.write_bytes(content[:-1000])
    batches = list(open_trace(path).batches())
    assert 0 < sum(len(batch.events) for batch in batches) < len(events)
    found = {one.code for batch in batches for one in batch.diagnostics}
    assert found >= {"damaged-compression", "truncated"}


def test_a_field_of_another_type_is_damage_not_a_value() -> None:
    wrong = w.event(20, 7).SerializeToString() + w.field(437, w.field(2, "text"))
    bundle = w.field(1, 0) + w.field(2, wrong)
    found = read(w.trace(w.field(1, bundle) + w.field(10, 2)))
    assert found.events.is_empty()
    assert found.diagnostics["damaged-events"].count == 1


def test_a_bundle_swallowed_by_another_is_damage() -> None:
    inner = w.trace(marks(0, 30))
    outer = marks(0, 10).SerializeToString() + inner
    found = read(w.trace(outer, marks(0, 50)))
    assert found.column("ts_ns") == [50]
    assert "damaged-packets" in found.diagnostics


def test_damaged_compressed_packets_cost_only_themselves() -> None:
    packed = w.compressed(marks(0, 10)).SerializeToString()
    for broken in (packed.replace(b"\x78\x9c", b"\x78\x9d"), packed[:-6] + b"\x00" * 6):
        found = read(w.trace(broken, marks(0, 20)))
        assert found.column("ts_ns") == [20]
        assert found.diagnostics["damaged-packets"].count == 1


def test_packets_that_unpack_to_too_much_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perfetto_packets, "MAX_INFLATED_BYTES", 10)
    for zstd in (False, True):
        found = read(w.trace(w.compressed(marks(0, 10), zstd=zstd), marks(0, 20)))
        assert found.column("ts_ns") == [20]
        assert "MiB" in found.diagnostics["damaged-packets"].message


def test_compressed_packets_within_compressed_packets_have_an_end() -> None:
    packet = marks(0, 10)
    for _ in range(5):
        packet = w.compressed(packet)
    found = read(w.trace(packet, marks(0, 20)))
    assert found.column("ts_ns") == [20]
    assert "nested" in found.diagnostics["damaged-packets"].message


def test_a_file_that_is_broken_everywhere_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perfetto_packets, "MAX_DAMAGES", 3)
    pieces = [w.trace(marks(0, n), marks(0, n), marks(0, n), marks(0, n)) for n in range(1, 9)]
    found = read(b"\xff\xff".join(pieces))
    assert found.diagnostics["too-much-damage"].severity == "error"
    assert found.column("ts_ns") == [n for n in (1, 2, 3) for _ in range(4)]


def test_a_symbol_is_not_carried_over_damage() -> None:
    names = w.symbols({1: "known"})
    first = w.trace(w.events(0, w.graph_entry(10, 7, 1), interned_data=names, sequence_flags=1))
    second = [w.events(0, w.graph_entry(ts, 7, 1)) for ts in (20, 30, 40)]
    found = read(first + b"\xff" * 9 + w.trace(*second))
    assert found.column("symbol") == ["known", None, None, None]


HOSTILE = """
import resource, sys, tempfile
sys.path[:0] = ["."]
from tests.writers import perfetto as w
from tests.perfetto_reading import read
bundles = {
    "empty events": w.field(1, 0) + b"\\x12\\x00" * 1_000_000,
    "events without time": w.field(1, 0) + b"\\x12\\x02\\x10\\x05" * 100_000,
    "one long event": w.field(1, 0) + w.field(2, b"\\x08\\x01" * 1_000_000),
    "a long compact list": w.field(1, 0) + w.field(4, w.field(1, b"\\x01" * 1_000_000)),
}
name = sys.argv[1]
read(b"")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = read(w.trace(w.field(1, bundles[name]) + w.field(10, 2)))
assert found.events.is_empty(), found.events
assert found.diagnostics, name
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    "name", ["empty events", "events without time", "one long event", "a long compact list"]
)
def test_hostile_bundles_take_neither_much_memory_nor_time(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOSTILE, name], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 500


MUTATIONS = """
import random, resource, sys
sys.path[:0] = ["."]
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from tests.test_perfetto_damage import check, mutated, sample
from tests.perfetto_reading import read
chance = random.Random(int(sys.argv[1]))
for n in range(120):
    check(read(mutated(sample(), chance), all_events=n % 5 == 0, batch_events=[30, 9999][n & 1]))
"""


def mutated(content: bytes, chance: random.Random) -> bytes:
    """*content* with bytes flipped, replaced, cut out or put in."""
    found = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5, 40])):
        at, length = chance.randrange(len(found)), chance.choice([1, 1, 2, 9, 100])
        kind = chance.randrange(5)
        if kind == 0:
            found[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            found[at] = chance.choice([0, 1, 0x08, 0x0A, 0x12, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            found[at : at + length] = b""
        elif kind == 3:
            found[at:at] = chance.randbytes(length)
        else:
            found[at : at + length] = b"\xff" * length
        found = found or bytearray(b"\x0a")
    return bytes(found)


def test_hundreds_of_mutations_never_crash_nor_hang_nor_take_the_memory() -> None:
    """In a process of its own, with its memory limited: a crash would take the tests with it.

    A decoder tried before (ptars 0.0.25) panicked on lengths that wrap around, and made 720 MB of
    4 MB of empty events.
    """
    done = subprocess.run(
        [sys.executable, "-c", MUTATIONS, "7"], capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_trace_is_recognised_by_its_packets() -> None:
    assert perfetto.detect(sample())
    assert perfetto.detect(sample()[:300])
    assert perfetto.detect(w.trace(marks(0, *range(1, 20_000)))[:65536])
    assert perfetto.detect(w.trace(w.packet(1, trace_uuid=pb.TraceUuid(msb=1))))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        b"# tracer: function_graph\n#\n",
        b"\n# tracer: nop\n",
        b"\n\n\n\n",
        b"\n\x00\n\x00",
        b"\x17\x08\x44tracing0.6",
        b"PERFILE2" + bytes(100),
        b"\x7fELF" + bytes(60),
        b"\x0a\x04\x08\x01\x10\x02" * 3,  # a pprof profile
        b"\x0a" + b"\xff" * 20,
        bytes(range(256)),
    ],
)
def test_other_files_are_not_taken_for_traces(head: bytes) -> None:
    assert not perfetto.detect(head)

"""perf.data that is cut, damaged or lies: an error or a diagnostic, and what is sound is read."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from tests.perf_data_reading import read
from tests.perf_data_recordings import CYCLES, data_of, file, packed, pipe, recording
from tests.writers import perf_data as w
from traceview.errors import ParseError
from traceview.parsers import perf_index, perf_records, perf_unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.perf_data_reading import Read

KINDS: dict[str, Callable[[], bytes]] = {"file": file, "pipe": pipe, "packed": packed}


def attempt(content: bytes) -> Read | None:
    """Read *content*: an error that is meant, or batches that make sense."""
    try:
        found = read(content)
    except ParseError as err:
        return None if str(err) else pytest.fail("an error without words")
    at = 0
    for batch in found.batches:
        seq = batch.events["seq"].to_list()
        assert seq == list(range(at, at + len(seq)))
        assert set(batch.args["seq"]) <= set(seq)
        assert set(batch.samples["seq"]) <= set(seq)
        at += len(seq)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_samples_are_sound(kind: str) -> None:
    found = read(KINDS[kind]())
    assert len(found.events) == 6 * 3
    assert found.losses["count"].sum() == sum(range(6))
    assert {one.severity for one in found.diagnostics.values()} <= {"info", "warning"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_may_be_cut_off_anywhere(kind: str) -> None:
    whole = KINDS[kind]()
    places = set(random.Random(1).sample(range(len(whole)), 30)) | set(borders(whole))
    for size in sorted(places - {0}):
        found = attempt(whole[:size])
        if found is not None and kind == "file" and size >= data_of(whole)[0]:
            assert said_to_be_cut(found) or size >= data_of(whole)[1]


def said_to_be_cut(found: Read) -> bool:
    return bool({"truncated", "recording-not-ended"} & found.diagnostics.keys())


def borders(content: bytes) -> Iterator[int]:
    """Where header, attrs, records and features begin and end, and a byte around."""
    marks = {8, 16, 24, 40, 56, 72, 104}
    if struct.unpack_from("<Q", content, 8)[0] == 104:
        marks |= {struct.unpack_from("<Q", content, 24)[0], *data_of(content)}
        marks |= {data_of(content)[1] + 16 * n for n in range(8)}
    for pattern in (b"\x17\x08\x44tracing", b"header_event", b"kvmlab\0", b"cycles\0"):
        marks.add(content.find(pattern))
    marks |= {at for at, _ in places_of_records(content)}
    for mark in marks:
        yield from (at for at in (mark, mark + 1) if 0 < at < len(content))


def places_of_records(content: bytes) -> Iterator[tuple[int, int]]:
    """Offset and type of each record."""
    is_pipe = struct.unpack_from("<Q", content, 8)[0] == 16
    at, end = (16, len(content)) if is_pipe else data_of(content)
    while at < end:
        kind, _, size = struct.unpack_from("<IHH", content, at)
        yield at, kind
        at += size + (struct.unpack_from("<I", content, at + 8)[0] if kind == 66 else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_may_be_flipped_anywhere(kind: str) -> None:
    chance = random.Random(2)
    for _ in range(120):
        content = bytearray(KINDS[kind]())
        for _ in range(chance.choice((1, 1, 3, 20))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        if content[:8] == b"PERFILE2":
            attempt(bytes(content))


@pytest.mark.parametrize("kind", ["file", "packed"])
def test_words_may_be_anything(kind: str) -> None:
    chance = random.Random(3)
    values = (0, 1, 7, 16, 255, 1 << 16, 1 << 31, (1 << 32) - 1, 1 << 60, (1 << 64) - 1)
    whole = KINDS[kind]()
    for at in [*range(8, 104, 8), *(chance.randrange(0, len(whole) // 8) * 8 for _ in range(30))]:
        content = bytearray(whole)
        content[at : at + 8] = w.u64(chance.choice(values))
        attempt(bytes(content))


def with_body(*parts: bytes) -> bytes:
    return recording(b"".join(parts)).file()


def sound(n: int, event: w.Event = CYCLES) -> bytes:
    return w.Sample(event, n, members=1, raw=b"1234").record()


def test_a_callchain_that_claims_to_be_endless_costs_its_sample_only() -> None:
    lying = bytearray(sound(2))
    at = 8 + 8 * 6 + 8 * 4  # header, fixed fields, READ: nr, time_enabled, value, id
    assert lying[at : at + 8] == bytes(8)
    lying[at : at + 8] = w.u64(1 << 60)
    found = read(with_body(sound(1), bytes(lying), sound(3)))
    assert found.column("ts_ns") == [1, 3]
    assert found.diagnostics["damaged-samples"].count == 1


@pytest.mark.parametrize("members", [1 << 20, 1 << 61, (1 << 63) + 1, (1 << 64) - 1])
def test_a_group_that_claims_any_number_of_members_costs_its_sample_only(members: int) -> None:
    lying = bytearray(sound(2))
    at = 8 + 8 * 6
    assert struct.unpack_from("<Q", lying, at) == (1,)
    lying[at : at + 8] = w.u64(members)
    found = read(with_body(sound(1), bytes(lying), sound(3)))
    assert found.column("ts_ns") == [1, 3]
    assert found.diagnostics["damaged-samples"].count == 1


@pytest.mark.parametrize("size", [13, 1 << 16, (1 << 32) - 1])
def test_raw_data_that_claim_more_than_the_record_has_cost_their_sample_only(size: int) -> None:
    lying = bytearray(sound(2))
    lying[-8:-4] = struct.pack("<I", size)
    found = read(with_body(sound(1), bytes(lying), sound(3)))
    assert found.column("ts_ns") == [1, 3]


def test_a_sample_without_room_for_its_fields_is_counted() -> None:
    short = [w.record(9, w.u64(3, 1)[: 8 * n], misc=1) for n in (0, 1, 2)]
    found = read(with_body(sound(1), *short, sound(3)))
    assert found.column("ts_ns") == [1, 3]
    counts = [found.diagnostics[code].count for code in ("damaged-samples", "unknown-event-ids")]
    assert counts == [2, 1]


@pytest.mark.parametrize("field", [w.u64(1 << 63), w.u64((1 << 62) + 5)])
def test_a_time_that_cannot_be_is_damage(field: bytes) -> None:
    lying = bytearray(sound(2))
    lying[8 + 24 : 8 + 32] = field
    assert read(with_body(sound(1), bytes(lying), sound(3))).column("ts_ns") == [1, 3]


def test_a_cpu_that_cannot_be_is_damage() -> None:
    lying = bytearray(sound(2))
    lying[8 + 32 : 8 + 36] = struct.pack("<I", 1 << 20)
    assert read(with_body(sound(1), bytes(lying), sound(3))).column("ts_ns") == [1, 3]


@pytest.mark.parametrize("size", [0, 1, 7, 12, 97, 65535])
def test_behind_a_record_with_an_impossible_size_reading_goes_on(size: int) -> None:
    lying = bytearray(sound(2))
    lying[6:8] = struct.pack("<H", size)
    behind = b"".join(sound(n) for n in range(3, 20))
    found = read(with_body(sound(1), bytes(lying), behind))
    assert found.column("ts_ns") == [1, *range(3, 20)]
    assert found.diagnostics["damaged-records"].count == 1


@pytest.mark.parametrize("length", [1, 3, 8, 100, 5001])
def test_behind_garbage_of_any_length_reading_goes_on(length: int) -> None:
    garbage = random.Random(4).randbytes(length)
    behind = b"".join(sound(n) for n in range(2, 20))
    found = read(with_body(sound(1), garbage, behind))
    assert found.column("ts_ns") == [1, *range(2, 20)]
    assert found.diagnostics["damaged-records"].count


def test_garbage_beyond_the_search_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_records, "MAX_RECORD_BYTES", 1 << 10)
    monkeypatch.setattr(perf_records, "SEARCH_BYTES", 1 << 13)
    behind = b"".join(sound(n) for n in range(2, 200))
    found = read(with_body(sound(1), bytes(100_000), behind))
    assert found.column("ts_ns") == [1, *range(2, 200)]


def test_a_file_of_garbage_is_given_up() -> None:
    pieces = []
    for n in range(1, 300):
        pieces += [w.record(0, size=0), *[sound(10 * n + i) for i in range(8)]]
    found = read(with_body(*pieces))
    assert found.diagnostics["too-much-damage"].severity == "error"
    assert len(found.events) == 8 * (perf_records.MAX_DAMAGES - 1)


def test_auxtrace_of_an_impossible_size_is_damage() -> None:
    lying = w.record(71, w.u64(1 << 60) + bytes(32))
    behind = b"".join(sound(n) for n in range(2, 20))
    assert read(with_body(sound(1), lying, behind)).column("ts_ns") == [1, *range(2, 20)]


def test_a_damaged_packed_record_costs_what_is_behind_it() -> None:
    body = [b"".join(sound(10 * n + i) for i in range(10)) for n in range(3)]
    content = bytearray(w.compressed(*body))
    second = struct.unpack_from("<H", content, 6)[0]
    content[second + 20 : second + 40] = b"\xff" * 20
    found = read(with_body(bytes(content), sound(99)))
    assert found.column("ts_ns") == [*range(10), 99]
    assert "damaged-compression" in found.diagnostics


def test_a_packed_record_that_is_no_zstd_is_damage() -> None:
    found = read(with_body(w.record(83, w.u64(8) + b"nonsense"), sound(5)))
    assert found.column("ts_ns") == [5]
    assert "damaged-compression" in found.diagnostics


def test_a_compression_bomb_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perf_unpack, "ALWAYS_FINE_BYTES", 1 << 20)
    monkeypatch.setattr(perf_unpack, "PIECE_BYTES", 1 << 16)
    bomb = zstandard.ZstdCompressor().compress(bytes(1 << 26))
    found = read(with_body(w.record(83, w.u64(len(bomb)) + w.padded(bomb)), sound(5)))
    assert found.column("ts_ns") == [5]
    assert "give" in found.diagnostics["damaged-compression"].message


def test_packed_records_inside_packed_records_are_not_unpacked_again() -> None:
    inner = w.compressed(sound(7))
    found = read(with_body(w.compressed(inner + sound(6)), sound(5)))
    assert found.column("ts_ns") == [5, 6]
    assert found.diagnostics["packed-twice"].count == 1


def test_an_event_that_is_earlier_than_all_before_it_comes_first() -> None:
    early = replace(CYCLES, sample_type=w.IDENTIFIER | w.TIME)
    body = [w.Sample(early, 1000 + n).record() for n in range(90_000)]
    body[-1] = w.Sample(early, 3).record()
    found = read(w.Recording([early], b"".join(body)).file())
    assert len(found.events) == 90_000
    assert found.column("ts_ns") == sorted(found.column("ts_ns"))


MEMORY = """
import resource, sys
from traceview.parsers import open_trace
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
events = sum(len(batch.events) for batch in open_trace(sys.argv[1]).batches(batch_events=20_000))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(events, (after - before) // 1024)
"""


def test_memory_does_not_depend_on_the_file_even_if_each_cpu_was_written_once(
    tmp_path: Path,
) -> None:
    event = replace(CYCLES, sample_type=w.USUAL & ~w.RAW, read_format=0)
    template = bytearray(w.Sample(event, 0).record())
    path = tmp_path / "perf.data"
    body = bytearray()
    for cpu in range(4):
        for n in range(150_000):
            struct.pack_into("<Q", template, 8 + 24, 1000 + 40 * n + cpu)
            struct.pack_into("<I", template, 8 + 32, cpu)
            body += template
    path.write_bytes(w.Recording([event], bytes(body)).file())
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True
    )
    events, grown_mb = (int(word) for word in done.stdout.split())
    assert events == 600_000
    assert grown_mb < 120  # the file has 34 MB, its events in memory 90 MB


def test_sizes_of_records_that_are_not_kept_are_walked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: Any = read(file())
    monkeypatch.setattr(perf_index, "MAX_KEPT", 0)
    assert read(file()).plain() == kept.plain()

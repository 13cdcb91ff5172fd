"""Damaged trace.dat files give what can be told apart, or a clear error; never anything else."""

from __future__ import annotations

import random
import resource
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_trace_dat import T, trace
from tests.trace_dat_reading import Read, read
from tests.writers.points import POINT, points
from tests.writers.ring_buffer import Writer, data, page
from tests.writers.trace_dat import BUFFER, Buffer, Trace
from traceview.errors import ParseError, TruncatedError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = [(6, "none"), (7, "none"), (7, "zlib"), (7, "zstd")]
EVENTS = 600


def full(version: int, compression: str) -> Trace:
    """A file of two buffers and several pages."""
    main = Buffer({0: points(*range(T, T + EVENTS)), 1: points(*range(T, T + EVENTS))})
    one = Buffer({1: points(*range(T, T + EVENTS))}, name="one")
    return trace(main, one, version=version, compression=compression, chunk_pages=2)


def tolerated(content: bytes) -> Read | None:
    """What a file gives: its batches, or None where it is refused in words."""
    try:
        return read(content)
    except ParseError as err:
        refusal = err
    assert refusal.path
    return None


def refused(content: bytes, kind: type[ParseError], words: str) -> None:
    with pytest.raises(kind, match=words) as caught:
        read(content)
    assert type(caught.value) is kind


@pytest.mark.parametrize(("version", "compression"), FILES)
def test_a_file_cut_off_anywhere_is_refused_or_says_what_is_missing(
    version: int, compression: str
) -> None:
    given_trace = full(version, compression)
    content = given_trace.write()
    places = sorted(given_trace.places.values())
    near = {at + d for at in places for d in (-9, -1, 0, 1, 2, 5, 8, 15, 16, 17, 100)}
    sampled = random.Random(1).sample(range(len(content)), 30)
    data_begin = min(at for name, at in given_trace.places.items() if name.startswith("pages"))
    for at in sorted({*range(48), *near, *sampled} & set(range(len(content)))):
        found = tolerated(content[:at])
        if found is None:
            # Version 7 says at its end where the events are.
            assert at < data_begin or version == 7, at
            continue
        said = found.diagnostics.keys()
        if len(found.events) < 3 * EVENTS and not said & {"missing-options", "unreadable-buffer"}:
            assert {"truncated", "damaged-pages"} <= said, at
            assert any(kind == "damaged" for _, _, kind, *_ in found.holes())


def test_a_file_without_its_end_says_so() -> None:
    given_trace = full(7, "zstd")
    content = given_trace.write()
    at = given_trace.places["last options"]
    refused(content[:at], TruncatedError, "no option says where the events are")
    there = given_trace.places["options"] - 1
    words = rf"^the file is cut off: options would be at byte \d+, the file has {there} bytes\n"
    refused(content[:there], TruncatedError, words)


def test_what_is_missing_of_a_file_that_was_cut_off_is_said() -> None:
    content = trace(
        Buffer({0: points(T)}), version=6, kallsyms="ffff800080000000 T f\n" * 99
    ).write()
    at = content.index(b"ffff800080000000") + 10
    words = r"^the file is cut off: kallsyms wants 2079 bytes, 10 are left\nwhile reading"
    refused(content[:at], TruncatedError, words)


def test_a_part_that_is_too_short_for_its_content_does_not_make_the_file_cut_off() -> None:
    given_trace = full(7, "none")
    content = bytearray(given_trace.write())
    struct.pack_into("<Q", content, given_trace.places["options"] + 8, 3)
    refused(bytes(content), TruncatedError, "^the size of option .* wants 4 bytes, 1 are left")


def test_a_file_without_its_last_pages_is_said_to_be_cut_off() -> None:
    found = read(full(6, "none").write()[:-100])
    said = found.diagnostics["truncated"].message
    assert said.startswith("the file is cut off or damaged: the pages of ")


@pytest.mark.parametrize(("version", "compression"), FILES)
def test_flipped_bytes_cost_no_more_than_what_they_are_part_of(
    version: int, compression: str
) -> None:
    content = full(version, compression).write()
    rng = random.Random(2)
    for _ in range(70):
        changed = bytearray(content)
        for _ in range(rng.choice([1, 1, 4])):
            changed[rng.randrange(len(changed))] = rng.choice([0, 255, 1 << rng.randrange(8)])
        tolerated(bytes(changed))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_change_of_the_first_bytes_and_the_options_is_survived(
    given_data: st.DataObject,
) -> None:
    version, compression = given_data.draw(st.sampled_from(FILES))
    given_trace = trace(Buffer({0: points(T, T + 1)}), version=version, compression=compression)
    content = bytearray(given_trace.write())
    begins = [0, *(at for name, at in given_trace.places.items() if "pages" not in name)]
    for _ in range(given_data.draw(st.integers(1, 3))):
        at = given_data.draw(st.sampled_from(begins)) + given_data.draw(st.integers(0, 120))
        if at < len(content):
            content[at] = given_data.draw(st.integers(0, 255))
    tolerated(bytes(content))


@pytest.mark.parametrize("version", ["5", "8", "70", "", "x" * 300])
def test_other_versions_are_refused(version: str) -> None:
    content = trace(Buffer({})).write()
    refused(
        content.replace(b"tracing7", b"tracing" + version.encode()), UnsupportedError, "version"
    )


def test_other_machines_are_refused() -> None:
    refused(trace(byte_order=1).write(), UnsupportedError, "big-endian")
    refused(trace(long_bytes=4).write(), UnsupportedError, "longs of 4 bytes")
    word = trace(Buffer({0: points(T)}))
    word.header_page = "field: u64 timestamp; offset:0; size:8; signed:0;\n"
    refused(word.write(), ParseError, "the page header lacks commit")


def test_an_unknown_compression_is_refused_by_its_name() -> None:
    content = trace(Buffer({0: points(T)})).write().replace(b"zstd\x001\0", b"lzma\x001\0")
    refused(content, UnsupportedError, "compression 'lzma'")


def test_options_that_point_at_themselves_are_read_once() -> None:
    given_trace = trace(Buffer({0: points(T)}))
    content = bytearray(given_trace.write())
    first, last = given_trace.places["options"], given_trace.places["last options"]
    for target in (first, last):
        size = struct.unpack_from("<Q", content, last + 8)[0]
        struct.pack_into("<Q", content, last + 16 + size - 8, target)
        found = read(bytes(content))
        assert len(found.events) == 1
        assert "option-loop" in found.diagnostics


def test_more_options_than_is_plausible_are_refused() -> None:
    given_trace = trace(Buffer({0: points(T)}), options=[(99, b"")] * 70_000)
    for version in (6, 7):
        given_trace.version = version
        refused(given_trace.write(), ParseError, "plausible|unknown kind")


def lying(version: int = 7, compression: str = "none") -> tuple[bytearray, int]:
    """A file of two CPUs, and where its page table begins: CPU, place, size, each."""
    pages = {0: points(*range(T, T + 300)), 1: points(*range(T, T + 300))}
    given_trace = trace(Buffer(pages), version=version, compression=compression)
    content = bytearray(given_trace.write())
    if version == 6:
        return content, given_trace.places["data "] + 10
    at = content.index(struct.pack("<H", BUFFER), given_trace.places["last options"] + 16)
    return content, content.index(b"mono\0", at) + 5 + 8 + 4


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 4095, 4097, 1 << 40, (1 << 64) - 1])
def test_a_size_that_is_not_true_costs_no_more_than_that_cpu(version: int, size: int) -> None:
    content, table = lying(version)
    struct.pack_into("<Q", content, table + 8, size)
    found = tolerated(bytes(content))
    assert found is not None
    counts = [found.rows("cpu").count(cpu) for cpu in (0, 1)]
    assert counts[1] == 300 or "overlapping-pages" in found.diagnostics
    if 0 < size < 4096:
        assert counts[0] < 300
        assert "damaged-pages" in found.diagnostics


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize("place", [0, 1, 4096, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_place_that_is_not_true_costs_no_more_than_that_cpu(version: int, place: int) -> None:
    content, table = lying(version)
    struct.pack_into("<Q", content, table, place)
    found = tolerated(bytes(content))
    assert found is not None
    assert found.rows("cpu").count(1) == 300


def test_two_cpus_with_the_same_pages_are_read_once() -> None:
    content, table = lying()
    content[table + 20 : table + 36] = content[table : table + 16]
    found = read(bytes(content))
    assert found.rows("cpu") == [0] * 300
    assert found.diagnostics["overlapping-pages"].severity == "error"


def packed_cpu(body: bytes, events: int = 300) -> bytes:
    """A file whose only CPU has *body* for its packed pages."""
    given_trace = trace(Buffer({0: points(*range(T, T + events))}))
    given_trace.packed_pages = body
    return given_trace.write()


def chunk(content: bytes, size: int | None = None) -> bytes:
    small = Trace().pack(content)
    return struct.pack("<II", len(small), len(content) if size is None else size) + small


def test_a_chunk_that_cannot_be_unpacked_is_a_hole_between_its_neighbours() -> None:
    pages = points(*range(T, T + 300))
    begin, end = b"".join(pages[:1]), b"".join(pages[2:])
    bad = struct.pack("<II", 50, 4096) + bytes(50)
    body = struct.pack("<I", 3) + chunk(begin) + bad + chunk(end)
    found = read(packed_cpu(body))
    assert 0 < len(found.events) < 300
    (hole,) = found.holes()
    assert hole[:3] == (None, 0, "damaged")
    assert T < hole[3] < hole[4] < T + 300
    assert found.diagnostics["damaged-compression"].count == 1


@pytest.mark.parametrize("count", [0, 1, 3, 1 << 31, (1 << 32) - 1])
def test_a_number_of_chunks_that_is_not_true_is_told(count: int) -> None:
    content = b"".join(points(*range(T, T + 100)))
    found = read(packed_cpu(struct.pack("<I", count) + chunk(content) * 2))
    assert len(found.events) == 100 * min(count, 2)
    assert ("truncated" if count > 2 else "unread-data") in found.diagnostics


@pytest.mark.parametrize("size", [0, 1, 4095, 1 << 27, (1 << 32) - 1])
def test_a_chunk_of_another_size_than_stated_is_damage(size: int) -> None:
    content = b"".join(points(*range(T, T + 100)))
    found = read(packed_cpu(struct.pack("<I", 1) + chunk(content, size)))
    assert len(found.events) == 0
    assert "damaged-compression" in found.diagnostics


@pytest.fixture
def _little_memory() -> Iterator[None]:
    """No more than 1.5 GB beyond what is there."""
    with open("/proc/self/statm") as file:  # noqa: PTH123
        used = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 29), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("pack", ["zlib", "zstd"])
def test_a_part_that_unpacks_to_more_than_is_plausible_is_refused(pack: str) -> None:
    bomb = trace(Buffer({0: points(T)}), compression=pack)
    zeros = bytes(1 << 27)
    content = bomb.write()
    at = bomb.places["section 19"]  # kallsyms
    small = bomb.pack(zeros)
    for size in (1 << 27, 1 << 20, (1 << 32) - 1):
        section = struct.pack("<HHIQ", 19, 1, 0, len(small) + 8)
        section += struct.pack("<II", len(small), size) + small
        changed = content + section
        old, new = struct.pack("<HIQ", 19, 8, at), struct.pack("<HIQ", 19, 8, len(content))
        found = read(changed.replace(old, new))
        assert "damaged-metadata" in found.diagnostics
        assert len(found.events) == 1


@pytest.mark.usefixtures("_little_memory")
def test_pages_that_unpack_to_more_than_is_plausible_end_there() -> None:
    zeros = bytes(64 * 4096)
    one = chunk(zeros)
    count = 5000  # 1.3 GB out of 200 kB
    found = read(packed_cpu(struct.pack("<I", count) + one * count))
    assert "truncated" in found.diagnostics


@pytest.mark.usefixtures("_little_memory")
def test_a_packed_frame_that_states_a_huge_size_is_damage() -> None:
    # The header of a zstd frame with a content size of 8 bytes.
    frame = b"\x28\xb5\x2f\xfd" + b"\xe0" + struct.pack("<Q", 1 << 60) + b"\x01\0\0"
    body = struct.pack("<I", 1) + struct.pack("<II", len(frame), 4096) + frame
    assert "damaged-compression" in read(packed_cpu(body)).diagnostics


@pytest.mark.usefixtures("_little_memory")
@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize("part", range(17, 22))
def test_counts_and_sizes_of_parts_that_are_not_true_are_told(version: int, part: int) -> None:
    for number in (1, 0x7FFFFFFF, 0xFFFFFFFF):
        given_trace = trace(Buffer({0: points(T)}), version=version, compression="none")
        content = bytearray(given_trace.write())
        if version == 6:
            at = given_trace.places[f"part {part}"]
        else:
            at = given_trace.places[f"section {part}"] + 16
        struct.pack_into("<I", content, at, number)
        tolerated(bytes(content))


def test_damage_within_a_page_keeps_what_precedes_and_leaves_a_hole() -> None:
    writer = Writer()
    for n in range(500):
        writer.event(T + n, POINT.record(value=n))
    writer.flush()
    second = bytearray(writer.pages[1])
    second[200:300] = bytes(100)  # impossible lengths
    pages = [writer.pages[0], bytes(second), *writer.pages[2:]]
    found = read(trace(Buffer({0: pages})).write())
    assert 0 < len(found.events) < 500
    (hole,) = found.holes()
    times = found.rows("ts_ns")
    assert hole[:3] == (None, 0, "damaged")
    assert hole[3] in times
    assert times.index(hole[4]) == times.index(hole[3]) + 1
    assert found.diagnostics["damaged-pages"].count == 1


def test_pages_of_ones_and_of_noise_are_holes() -> None:
    rng = random.Random(3)
    good, later = points(T, T + 1), points(T + 100)
    for bad in (b"\xff" * 4096, rng.randbytes(4096), struct.pack("<QQ", T, 1 << 29) + bytes(4080)):
        found = read(trace(Buffer({0: [*good, bad, *later]})).write())
        assert found.rows("ts_ns")[:2] == [T, T + 1]
        assert (None, 0, "damaged") in [hole[:3] for hole in found.holes()]


def test_a_time_that_jumps_back_is_told() -> None:
    pages = [*points(*range(T, T + 300)), *points(T - 1000), *points(T + 400)]
    found = read(trace(Buffer({0: pages})).write(), batch_events=100)
    assert len(found.events) == 302
    assert len(set(found.rows("seq"))) == 302


def test_events_of_unknown_ids_are_counted() -> None:
    payloads = [struct.pack("<HBBi", number, 0, 0, 1) + bytes(8) for number in (3999, 3999, 4001)]
    content = b"".join(data(one, 1) for one in payloads)
    found = read(trace(Buffer({0: [page(T, content)]})).write())
    assert len(found.events) == 0
    said = " ".join(one.message for one in found.diagnostics.values())
    assert "3999" in said or found.batches[-2].skipped


def test_formats_that_cannot_be_read_are_counted() -> None:
    given_trace = trace(Buffer({0: points(T)}))
    given_trace.formats = {**given_trace.formats, "bad": ["", "name: x\n", "\xff\0"]}
    found = read(given_trace.write())
    assert found.diagnostics["unreadable-formats"].count == 3
    assert len(found.events) == 1


def test_metadata_that_cannot_be_read_leaves_the_events() -> None:
    given_trace = trace(Buffer({0: points(T)}), compression="zlib")
    content = bytearray(given_trace.write())
    for part in (19, 20, 21):
        content[given_trace.places[f"section {part}"] + 26] ^= 0xFF
    found = read(bytes(content))
    assert found.rows("ts_ns", "comm") == [(T, None)]
    assert "damaged-metadata" in found.diagnostics


def test_a_page_size_that_is_not_the_kernels_gives_way_to_it() -> None:
    pages = points(*range(T, T + 900), size=16384)
    buffer = Buffer({0: pages})
    given_trace = trace(buffer, compression="none", page_bytes=16384)
    found = read(given_trace.write())  # option BUFFER says 4096, header_page 16384
    assert len(found.events) == 900
    assert "page-size-unclear" in found.diagnostics


@pytest.mark.parametrize("size", [0, 8, 17, 4100, 1 << 25, (1 << 32) - 1])
def test_an_instance_with_pages_that_cannot_be_is_left_out(size: int) -> None:
    one = Buffer({0: points(T)}, name="one")
    given_trace = trace(Buffer({0: points(T)}), one)
    content = given_trace.write()
    old = b"one\0mono\0" + struct.pack("<I", 4096)
    found = read(content.replace(old, b"one\0mono\0" + struct.pack("<I", size)))
    if size:  # 0: not stated, that of the host counts
        assert "'one' is left out" in found.diagnostics["unreadable-buffer"].message
    assert found.rows("buffer")[0] is None

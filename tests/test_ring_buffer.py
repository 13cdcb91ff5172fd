"""Pages of the ring buffer are decoded in lockstep as one after the other, whatever they hold."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trace_dat_reference import Page, read_page
from tests.writers import ring_buffer as writer
from traceview.errors import ParseError, UnsupportedError
from traceview.parsers.ring_buffer import MARGIN_BYTES, Pages, read_pages
from traceview.parsers.ring_buffer_pages import CpuPages, groups, page_header

T = 5_000_000_000
HEADER = page_header(writer.header_page(4096), "test")


@dataclass
class Decoded:
    """Pages, and what they were read from."""

    pages: Pages
    data: bytes

    def records(self, page: int) -> list[tuple[int, bytes]]:
        first, last = self.pages.first[page : page + 2].tolist()
        start, size = self.pages.start, self.pages.size
        return [
            (int(self.pages.ts_ns[i]), self.data[start[i] : start[i] + size[i]])
            for i in range(first, last)
        ]


def decode(pages: list[bytes], full: int = 4096) -> Decoded:
    sizes = [len(one) for one in pages]
    places = np.cumsum([0, *(-(-size // 8) * 8 for size in sizes)])
    data = np.zeros((int(places[-1]) + MARGIN_BYTES) // 8, dtype=np.uint64).view(np.uint8)
    for place, one in zip(places.tolist(), pages, strict=False):
        data[place : place + len(one)] = np.frombuffer(one, dtype=np.uint8)
    size, fulls = np.array(sizes, dtype=np.int64), np.full(len(pages), full)
    return Decoded(read_pages(data, places[:-1], size, fulls, HEADER), bytes(data))


def one(content: bytes, ts: int = T, size: int = 4096) -> Page:
    """A page as both decoders see it."""
    page = writer.page(ts, content, size=size)
    found = decode([page], size)
    assert found.records(0) == read_page(page).records
    assert found.pages.damaged_at.tolist() == [-1]
    return read_page(page)


def test_an_empty_page_has_no_records() -> None:
    assert one(b"").records == []


def test_every_type_len_of_data_is_read() -> None:
    content = b"".join(writer.data(bytes([n]) * 4 * n, n) for n in range(1, 29))
    assert [len(payload) for _, payload in one(content).records] == [4 * n for n in range(1, 29)]


def test_long_data_have_their_length_in_a_word() -> None:
    content = writer.data(b"x" * 116, 1) + writer.data(b"y" * 4, 2, large=True)
    content += writer.data(b"z" * 1000, 3)
    assert [(ts - T, len(p)) for ts, p in one(content).records] == [(1, 116), (3, 4), (6, 1000)]


def test_data_of_no_bytes_are_a_record() -> None:
    assert one(writer.data(b"", 3)).records == [(T + 3, b"")]


def test_times_beyond_27_bits_are_extended() -> None:
    content = writer.data(b"a" * 4, 1) + writer.extend(1 << 40) + writer.data(b"b" * 4, 7)
    assert [ts - T for ts, _ in one(content).records] == [1, 1 + (1 << 40) + 7]


def test_an_absolute_time_replaces_what_was_counted() -> None:
    content = writer.data(b"a" * 4, 9) + writer.stamp(T + 100) + writer.data(b"b" * 4)
    content += writer.data(b"c" * 4, 5) + writer.stamp(T + 200) + writer.data(b"d" * 4, 1)
    assert [ts - T for ts, _ in one(content).records] == [9, 100, 105, 201]


def test_an_absolute_time_takes_its_upper_bits_from_the_page() -> None:
    begin = (1 << 59) * 3 + 500
    content = writer.stamp(700) + writer.data(b"a" * 4) + writer.stamp(3) + writer.data(b"b" * 4)
    expected = [(1 << 59) * 3 + 700, (1 << 59) * 4 + 3]
    assert [ts for ts, _ in one(content, begin).records] == expected


def test_a_page_may_begin_with_an_absolute_time() -> None:
    pages = [
        writer.page(T, writer.data(b"a" * 4, 1)),
        writer.page(T + 50, writer.stamp(T + 60) + writer.data(b"b" * 4, 1)),
        writer.page(T + 90, writer.data(b"c" * 4, 1)),
    ]
    found = decode(pages)
    times = [ts - T for n in range(3) for ts, _ in found.records(n)]
    assert times == [1, 61, 91]


def test_a_discarded_event_is_no_record_but_its_time_counts() -> None:
    content = writer.data(b"a" * 4, 1) + writer.discarded(24, 10) + writer.data(b"b" * 4, 2)
    assert one(content).records == [(T + 1, b"a" * 4), (T + 13, b"b" * 4)]


def test_padding_ends_a_page() -> None:
    full = writer.data(b"a" * 4, 1) * 509  # 4072 bytes
    for rest in (writer.discarded(8), writer.end()):
        assert len(one(full + rest).records) == 509
    # Behind the end may stand what was there before.
    assert len(one(writer.data(b"a" * 4, 1) + writer.end() + b"\xff" * 100).records) == 1


@pytest.mark.parametrize("size", [4096, 8192, 16384, 65536, 1 << 20])
def test_pages_of_any_size_are_read(size: int) -> None:
    content = b"".join(writer.data(struct.pack("<Q", n), 1) for n in range((size - 16) // 12))
    assert [ts - T for ts, _ in one(content, size=size).records[:3]] == [1, 2, 3]


@pytest.mark.parametrize("size", [4096, 65536, 1 << 24])
def test_the_page_header_says_how_large_pages_are(size: int) -> None:
    header = page_header(writer.header_page(size), "x.dat")
    assert header.data_offset + header.data_size == size


def test_pages_that_are_larger_than_the_kernel_allows_are_refused() -> None:
    with pytest.raises(ParseError):
        page_header(writer.header_page(1 << 25), "x.dat")


def test_lost_events_are_marked_and_counted() -> None:
    content = writer.data(b"a" * 4, 1)
    found = decode(
        [
            writer.page(T, content),
            writer.page(T, content, lost=137),
            writer.page(T, content, lost=137, stored=False),
            writer.page(T, content * 510, lost=5),  # no room for the number
            writer.page(T, content + writer.data(b"b" * 4), lost=1 << 40),
        ]
    ).pages
    assert found.missed.tolist() == [False, True, True, True, True]
    assert found.missed_count.tolist() == [-1, 137, -1, -1, 1 << 40]


def test_a_page_with_a_record_beyond_its_end_gives_the_records_before() -> None:
    good = writer.data(b"a" * 4, 1) * 3
    for bad in (
        writer.head(28, 1) + b"x" * 12,  # longer than the page says
        writer.head(0, 1) + struct.pack("<I", 5000),
        writer.head(0, 1) + struct.pack("<I", 0),  # shorter than its own length
        writer.head(0, 1) + struct.pack("<I", 0xFFFFFFFF),
        writer.head(29, 1) + struct.pack("<I", 5000),
        writer.head(0, 1),  # no room for the length
        writer.head(30, 1),
    ):
        found = decode([writer.page(T, good + bad), writer.page(T, good)])
        assert [len(found.records(n)) for n in range(2)] == [3, 3]
        assert found.pages.damaged_at.tolist() == [16 + len(good), -1]


def test_a_page_that_says_nonsense_gives_nothing() -> None:
    content = writer.data(b"a" * 4, 1)
    too_long = struct.pack("<Qq", T, 4081) + bytes(4080)
    odd = struct.pack("<Qq", T, 7) + bytes(4080)
    late = writer.page(1 << 63, content)
    found = decode([too_long, odd, late, b"\xff" * 4096, writer.page(T, content)])
    assert [len(found.records(n)) for n in range(5)] == [0, 0, 0, 0, 1]
    assert (found.pages.damaged_at >= 0).tolist() == [True, True, True, True, False]
    assert not found.pages.missed.any()


def test_a_page_that_is_cut_off_gives_the_records_that_are_there() -> None:
    page = writer.page(T, writer.data(b"a" * 4, 1) * 10)
    for size in range(96):
        found = decode([page[:size], writer.page(T, writer.data(b"b" * 4, 1))])
        assert len(found.records(0)) == max(0, size - 16) // 8, size
        assert found.pages.damaged_at[0] >= 0
        assert len(found.records(1)) == 1


def test_times_of_centuries_are_damage() -> None:
    content = writer.data(b"a" * 4, 1) + writer.extend((1 << 59) - 1) * 16 + writer.data(b"b" * 4)
    found = decode([writer.page((1 << 62), content), writer.page(T, writer.data(b"c" * 4))])
    assert [len(found.records(n)) for n in range(2)] == [1, 1]
    assert (found.pages.damaged_at >= 0).tolist() == [True, False]


PAYLOAD = st.integers(1, 40).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))
DELTA = st.one_of(st.integers(0, 1000), st.integers(0, writer.MAX_DELTA))
PIECE = st.one_of(
    st.builds(writer.data, PAYLOAD, DELTA, large=st.booleans()),
    st.builds(writer.discarded, st.integers(2, 30).map(lambda n: 4 * n), st.integers(1, 99)),
    st.builds(writer.extend, st.integers(0, 1 << 50)),
    st.builds(writer.stamp, st.integers(0, 1 << 60)),
)
PAGE = st.builds(
    lambda ts, pieces, lost, stored: writer.page(ts, b"".join(pieces), lost=lost, stored=stored),
    st.integers(0, 1 << 61),
    st.lists(PIECE, max_size=22),  # 22 of the largest fit
    st.none() | st.integers(1, 1 << 40),
    st.booleans(),
)


@settings(max_examples=70, deadline=None)
@given(st.lists(PAGE, max_size=8))
def test_generated_pages_agree_with_the_reference(pages: list[bytes]) -> None:
    found = decode(pages)
    for n, page in enumerate(pages):
        expected = read_page(page)
        assert found.records(n) == expected.records
        lost = int(found.pages.missed_count[n]) if found.pages.missed[n] else None
        assert lost == expected.lost


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=0, max_size=300), max_size=6), st.integers(0, 300))
def test_any_bytes_give_records_within_their_page(pages: list[bytes], commit: int) -> None:
    pages = [struct.pack("<QQ", T, commit)[: len(one)] + one[16:] for one in pages]
    found = decode(pages, 320)
    end = np.cumsum([-(-len(one) // 8) * 8 for one in pages])
    owner = np.repeat(np.arange(len(pages)), np.diff(found.pages.first))
    assert not pages or (found.pages.start + found.pages.size <= end[owner]).all()


def test_pages_come_in_the_order_in_which_they_begin() -> None:
    def cpu(number: int, times: list[int], size: int) -> CpuPages:
        pages = [writer.page(ts, writer.data(b"a" * 4), size=size) for ts in times]
        pieces = [
            memoryview(b"".join(pages)[i : i + 5000]) for i in range(0, size * len(pages), 5000)
        ]
        return CpuPages(pieces, buffer=None, cpu=number, page_bytes=size, header=HEADER)

    cpus = [cpu(0, [*range(0, 4000, 4)], 4096), cpu(1, [*range(1, 4000, 40)], 65536)]
    seen, before = [], 0
    for group in groups(cpus):
        pages = read_pages(group.data, group.start, group.size, group.full, HEADER)
        assert (pages.ts_ns >= before).all()
        before = group.before if group.before is not None else 4000
        seen += pages.ts_ns.tolist()
        for number in (0, 1):
            mine = pages.page_ns[group.owner == number]
            assert (np.diff(mine) > 0).all()
    assert sorted(seen) == sorted([*range(0, 4000, 4), *range(1, 4000, 40)])


@pytest.mark.parametrize("text", ["", "field: u64 timestamp; offset:0; size:8; signed:0;", "\0"])
def test_a_page_header_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ParseError, match="page header"):
        page_header(text, "x.dat")


def test_pages_of_a_32_bit_kernel_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="longs of 4 bytes"):
        page_header(writer.header_page(4096, long_bytes=4), "x.dat")

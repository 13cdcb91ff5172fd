"""The wire format, many messages at a time: what protobuf would read, and no more."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.writers.perfetto import field, varint
from traceview.parsers.perfetto_wire import (
    LENGTH,
    Blob,
    elements,
    field_at,
    follow,
    joined,
    packed,
    varints,
    walk,
)

numbers = st.integers(0, (1 << 64) - 1)
small = st.integers(1, 1 << 18)
fields = st.lists(st.tuples(small, st.one_of(numbers, st.binary(max_size=200))), max_size=12)
messages = st.lists(fields, max_size=8)


Read = list[tuple[int, int | bytes]]


def written(one: Read) -> bytes:
    return b"".join(field(number, value) for number, value in one)


def spans(parts: list[bytes]) -> tuple[Blob, np.ndarray, np.ndarray]:
    stop = np.cumsum([0, *(len(part) for part in parts)])
    return Blob(parts), stop[:-1], stop[1:]


def found(blob: Blob, start: np.ndarray, stop: np.ndarray) -> tuple[list[Read], list[bool]]:
    steps, bad = walk(blob, start, stop)
    rows: list[Read] = [[] for _ in start]
    for row, number, wire, value, payload in zip(*(c.tolist() for c in joined(steps)), strict=True):
        text = blob.raw[payload : payload + value]
        rows[row].append((number, text if wire == LENGTH else value))
    return rows, bad.tolist()


@given(st.lists(numbers, max_size=20))
def test_varints_of_all_lengths_are_read(values: list[int]) -> None:
    blob, start, _ = spans([varint(value) for value in values])
    got, length = varints(blob, start)
    assert got.tolist() == values
    assert length.tolist() == [len(varint(value)) for value in values]


@given(messages)
def test_every_field_of_every_message_is_read(written_messages: list[Read]) -> None:
    rows, bad = found(*spans([written(one) for one in written_messages]))
    assert rows == written_messages
    assert not any(bad)


@given(messages, st.data())
def test_a_cut_message_is_bad_or_shorter_and_the_others_stay(
    written_messages: list[Read], data: st.DataObject
) -> None:
    parts = [written(one) for one in written_messages]
    if not any(parts):
        return
    cut = data.draw(st.sampled_from([i for i, part in enumerate(parts) if part]))
    parts[cut] = parts[cut][: data.draw(st.integers(0, len(parts[cut]) - 1))]
    rows, bad = found(*spans(parts))
    for i, one in enumerate(written_messages):
        if i == cut:
            assert rows[i] == one[: len(rows[i])]
            assert bad[i] or written(rows[i]) == parts[i]
        else:
            assert rows[i] == one
            assert not bad[i]


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_any_bytes_are_read_within_their_bounds(parts: list[bytes]) -> None:
    blob, start, stop = spans(parts)
    steps, bad = walk(blob, start, stop)
    for step in steps:
        end = np.where(step.wire == LENGTH, step.payload + step.value.astype(np.int64), 0)
        assert (end <= stop[step.row]).all()
    for i, part in enumerate(parts):
        if not bad[i] and part:
            at = int(start[i])
            while at < stop[i]:
                one = field_at(blob, at, int(stop[i]))
                assert one is not None
                at = one[1]


def test_fixed_size_fields_are_read_and_groups_are_damage() -> None:
    fixed = varint(1 << 3 | 1) + (7).to_bytes(8, "little")
    fixed += varint(2 << 3 | 5) + (9).to_bytes(4, "little") + field(3, 4)
    rows, bad = found(*spans([fixed, varint(1 << 3 | 3) + varint(1 << 3 | 4), field(1, 5)]))
    assert rows == [[(1, 7), (2, 9), (3, 4)], [], [(1, 5)]]
    assert bad == [False, True, False]


def test_a_length_that_wraps_around_is_damage() -> None:
    for length in ((1 << 64) - 1, (1 << 64) - 10, 1 << 63, (1 << 63) - 1):
        rows, bad = found(*spans([varint(1 << 3 | 2) + varint(length), field(1, 5)]))
        assert rows == [[], [(1, 5)]]
        assert bad == [True, False]


def test_a_varint_of_more_than_ten_bytes_is_damage() -> None:
    _, bad = found(*spans([b"\x08" + b"\xff" * 10 + b"\x01", b"\x08" + b"\xff" * 9 + b"\x7f"]))
    assert bad == [True, False]


events = st.lists(
    st.one_of(
        st.binary(max_size=200).map(lambda rest: (2, b"\x08\x05" + rest)),
        st.binary(max_size=300).map(lambda text: (2, text)),
        st.tuples(st.integers(3, 30), st.one_of(numbers, st.binary(max_size=50))),
    ),
    max_size=30,
)


@given(events, st.sampled_from([1, 2, 4]))
def test_a_repeated_field_is_split_whatever_its_elements_look_like(
    written_fields: Read, width: int
) -> None:
    content = b"".join(field(n, value, width=width) for n, value in written_fields)
    blob = Blob([b"\x12\x03", content, b"\x12\x00\x12"])
    chain = follow(blob, elements(blob, 0x12, first=8), 2, 2 + len(content))
    got = [blob.raw[a:b] for a, b in zip(chain.start.tolist(), chain.stop.tolist(), strict=True)]
    assert got == [value for n, value in written_fields if n == 2]
    rest = [
        (n, value if isinstance(value, int) else len(value))
        for n, value in written_fields
        if n != 2
    ]
    assert [(one.number, one.value) for one in chain.others] == rest
    assert chain.broken_at is None


@given(st.binary(max_size=300))
def test_any_bytes_break_a_chain_where_no_field_fits(content: bytes) -> None:
    blob = Blob([content])
    chain = follow(blob, elements(blob, 0x12, first=8), 0, len(content))
    at = 0
    while at < len(content) and (one := field_at(blob, at, len(content))) is not None:
        at = one[1]
    assert chain.broken_at == (at if at < len(content) else None)


@given(st.lists(st.lists(numbers, max_size=20), max_size=6))
def test_packed_numbers_are_counted_per_field(lists: list[list[int]]) -> None:
    blob, start, stop = spans([b"".join(varint(v) for v in one) for one in lists])
    values, counts, bad = packed(blob, start, stop)
    assert counts.tolist() == [len(one) for one in lists]
    assert values.tolist() == [value for one in lists for value in one]
    assert not bad.any()


def test_a_packed_field_that_ends_within_a_number_is_bad() -> None:
    blob, start, stop = spans([b"\x01\x02", b"\x01\x82", b"\x03"])
    values, counts, bad = packed(blob, start, stop)
    assert (values.tolist(), counts.tolist(), bad.tolist()) == (
        [1, 2, 3],
        [2, 0, 1],
        [False, True, False],
    )

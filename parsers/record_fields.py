"""Fields of many records of one event: numbers, text and arrays, gathered without a loop.

A record may begin at any byte. Numbers that lie close together are copied record by record (one
copy each) and then taken as columns. Text and arrays of `__data_loc` and `__rel_loc` fields lie
behind the fixed fields: the low 16 bits of such a field say where, the high ones how many bytes.
What does not lie inside of its record is left out and reported; so is a record whose dynamic
fields take more bytes than it has, so that lying places cannot multiply the text.

Source of truth: include/trace/stages/stage{1,5,6}*.h of Linux 6.12 (`__data_loc`, `__rel_loc`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import polars as pl

from traceview.parsers.columns import positions, texts
from traceview.parsers.event_format import LOCATION_BYTES, Field
from traceview.schema import list_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from traceview.parsers.columns import Bytes, Flags, Ints

# Fields further apart are copied each on its own.
WINDOW_BYTES: Final = 192


@dataclass(slots=True)
class Part:
    """Records of one event, each long enough for its fixed fields; `row`: that of the chunk.

    `used` counts the bytes of dynamic fields that were read of each record.
    """

    data: Bytes
    row: Ints
    start: Ints
    size: Ints
    used: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.used = np.zeros(len(self.row), dtype=np.int64)

    def __len__(self) -> int:
        """How many records there are."""
        return len(self.row)

    def take(self, rows: Ints) -> Part:
        """Some of the records."""
        some = Part(self.data, self.row[rows], self.start[rows], self.size[rows])
        some.used = self.used[rows]
        return some


class Spans(NamedTuple):
    """Bytes of records: `at` says of which record of the part."""

    at: Ints
    start: Ints
    length: Ints


def gather(data: Bytes, start: Ints, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """The values of *dtype* at *start*, wherever that is; all of them must lie inside of *data*."""
    if len(start) == 0:
        return np.empty(0, dtype=dtype)
    everywhere: NDArray[np.generic] = np.ndarray(
        (len(data) - dtype.itemsize + 1,), dtype=dtype, buffer=data, strides=(1,)
    )
    return everywhere[start]


def number_type(one: Field) -> np.dtype[np.generic]:
    """The type of a number."""
    return np.dtype(f"<{'i' if one.signed else 'u'}{one.element_size}")


def as_ints(values: NDArray[np.generic]) -> Ints:
    """Numbers as 64 bits, two's complement."""
    if values.dtype.itemsize == np.dtype(np.int64).itemsize:
        return np.ascontiguousarray(values).view(np.int64)
    return values.astype(np.int64)


class Layout:
    """Numbers that are read of each record."""

    def __init__(self, fields: Sequence[Field]) -> None:
        """Group *fields* (of kind number, or locations) by where they lie."""
        order = sorted(range(len(fields)), key=lambda i: fields[i].offset)
        self._count = len(fields)
        self._windows: list[tuple[int, list[int], np.dtype[np.void]]] = []
        while order:
            low = fields[order[0]].offset
            near = [i for i in order if fields[i].end - low <= WINDOW_BYTES] or order[:1]
            order = [i for i in order if i not in near]
            dtype = np.dtype(
                {
                    "names": [str(i) for i in near],
                    "formats": [number_type(fields[i]) for i in near],
                    "offsets": [fields[i].offset - low for i in near],
                    "itemsize": max(fields[i].end for i in near) - low,
                }
            )
            self._windows.append((low, near, dtype))

    def read(self, part: Part) -> list[Ints]:
        """The values of the fields, one column each."""
        columns: dict[int, Ints] = {}
        for low, near, dtype in self._windows:
            raw = gather(part.data, part.start + low, np.dtype(f"V{dtype.itemsize}"))
            rows = raw.view(dtype)
            columns |= {i: as_ints(rows[str(i)]) for i in near}
        return [columns[i] for i in range(self._count)]


def dynamic_spans(part: Part, one: Field, location: Ints) -> tuple[Spans, Flags]:
    """The bytes that a location names, and which records lie about them."""
    at, length = location & 0xFFFF, location >> 16 & 0xFFFF
    if one.kind == "rel_loc":
        at = at + one.offset + LOCATION_BYTES
    return _inside(part, at, length)


def field_spans(part: Part, one: Field) -> tuple[Spans, Flags]:
    """The bytes of a field that lies in place; without a size it goes to the end of its record."""
    if one.size:
        rows = np.arange(len(part))
        length = np.full(len(part), one.size)
        return Spans(rows, part.start + one.offset, length), np.zeros(len(part), dtype=np.bool_)
    return _inside(part, np.full(len(part), one.offset), part.size - one.offset)


def _inside(part: Part, at: Ints, length: Ints) -> tuple[Spans, Flags]:
    bad = (at + length > part.size) | (part.used + length > part.size)
    rows = np.flatnonzero(~bad)
    part.used[rows] += length[rows]
    return Spans(rows, part.start[rows] + at[rows], length[rows]), bad


def until_nul(data: Bytes, spans: Spans) -> Ints:
    """How many bytes of each span come before its first NUL."""
    offset = np.cumsum(spans.length) - spans.length
    nul = np.flatnonzero(data[positions(spans.start, spans.length)] == 0)
    first = np.append(nul, np.iinfo(np.int64).max)[np.searchsorted(nul, offset)]
    found: Ints = np.minimum(first - offset, spans.length)
    return found


def text_column(data: Bytes, spans: Spans) -> pl.Series:
    """The text of each span, up to its first NUL."""
    return texts(data, spans.start, until_nul(data, spans))


def array_column(data: Bytes, spans: Spans, one: Field, *, decimal: bool) -> pl.Series:
    """The arrays in *spans* as the kernel prints them: `{0x1,0x2}` or `{1,2}`."""
    count = spans.length // one.element_size
    start = positions(spans.start, count * one.element_size)[:: one.element_size]
    values = gather(data, start, number_type(one))
    words = pl.Series(values).cast(pl.String) if decimal else _hexadecimal(values)
    offsets = np.concatenate([[0], np.cumsum(count)])
    joined = list_column(words, offsets).list.join(",")
    return pl.select(pl.concat_str(pl.lit("{"), joined, pl.lit("}"))).to_series()


def _hexadecimal(values: NDArray[np.generic]) -> pl.Series:
    if not len(values):
        return pl.Series(dtype=pl.String)
    width = values.dtype.itemsize
    raw = values.astype(values.dtype.newbyteorder(">")).view(np.uint8).reshape(-1, width)
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    both = np.stack([digits[raw >> 4], digits[raw & 15]], axis=2).reshape(-1, 2 * width)
    size = np.full(len(values), 2 * width)
    whole = texts(both.reshape(-1), np.arange(len(values)) * 2 * width, size)
    short = whole.str.replace("^0+(.)", "${1}")
    return pl.select(pl.concat_str(pl.lit("0x"), short)).to_series()

"""How much a Parquet file inflates to, by the headers of its pages.

The footer states sizes too, and readers allocate by the pages. A page header is Thrift's compact
protocol (parquet-format: parquet.thrift, PageHeader; thrift-compact-protocol.md): field 2 is
`uncompressed_page_size`, field 3 `compressed_page_size`, 5 and 8 are the headers of data pages,
whose field 1 is `num_values`: in lists there are more values than rows, and equal ones take no
room in a page (Encodings.md, RLE). Texts that are stated by the beginnings of others
(DELTA_BYTE_ARRAY) would grow beyond both, and are refused. Nothing is decompressed here.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow.parquet as pq

STOP: Final = 0
BOOLEANS: Final = (1, 2)
BYTE: Final = 3
INTEGERS: Final = (4, 5, 6)
DOUBLE: Final = 7
BINARY: Final = 8
LISTS: Final = (9, 10)
STRUCT: Final = 12
LONG_LIST: Final = 15
UNCOMPRESSED, COMPRESSED = 2, 3
# data_page_header and data_page_header_v2, and which field of each is its encoding
ENCODING_OF: Final = {5: 2, 8: 4}
NUM_VALUES: Final = 1
DELTA_BYTE_ARRAY: Final = 7
MOST_NESTED: Final = 8
LONGEST_VARINT: Final = 70


@dataclass(frozen=True, slots=True)
class Inflated:
    """A row group: the bytes of its pages, and of each of its columns the values in them."""

    bytes: int
    values: tuple[int, ...]


def inflated(path: Path, metadata: pq.FileMetaData) -> list[Inflated]:
    """What each row group holds; raises ValueError where the pages are none."""
    size = path.stat().st_size
    chunks = [
        [metadata.row_group(group).column(at) for at in range(metadata.num_columns)]
        for group in range(metadata.num_row_groups)
    ]
    stated = [one.total_compressed_size for several in chunks for one in several]
    if min(stated, default=0) < 0 or sum(stated) > size:
        raise ValueError("columns lie over one another")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return [_of_group([_of_chunk(data, one) for one in several]) for several in chunks]


def _of_group(chunks: list[tuple[int, int]]) -> Inflated:
    return Inflated(sum(size for size, _ in chunks), tuple(values for _, values in chunks))


def _of_chunk(data: mmap.mmap, chunk: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """The bytes of the pages of a column, and the values in them."""
    starts = [chunk.data_page_offset, chunk.dictionary_page_offset]
    at = min(start for start in starts if start is not None and start > 0)
    end, found, values = at + chunk.total_compressed_size, 0, 0
    while at < end:
        header = _Header(data, at)
        sizes = header.sizes()
        unpacked, packed = sizes.get(UNCOMPRESSED, -1), sizes.get(COMPRESSED, -1)
        if unpacked < 0 or packed < 0 or header.values < 0:
            raise ValueError("a page of no size")
        values += header.values
        found, at = found + unpacked, header.at + packed
    return found, values


class _Header:
    """Reads one header; afterwards `at` is behind it, and `values` those of a data page."""

    def __init__(self, data: mmap.mmap, at: int) -> None:
        self._data = data
        self.at = at
        self.values = 0

    def sizes(self) -> dict[int, int]:
        """The whole numbers among the fields of the header itself."""
        return self._struct(0)

    def _struct(self, depth: int) -> dict[int, int]:
        if depth > MOST_NESTED:
            raise ValueError("a page header of too many levels")
        found: dict[int, int] = {}
        field = 0
        while (head := self._byte()) != STOP:
            kind, delta = head & 15, head >> 4
            field = field + delta if delta else self._integer()
            if kind in INTEGERS:
                found[field] = self._integer()
            elif kind == STRUCT and depth == 0 and field in ENCODING_OF:
                self._data_page(ENCODING_OF[field])
            elif kind not in BOOLEANS:
                self._skip(kind, depth)
        return found

    def _data_page(self, encoding: int) -> None:
        found = self._struct(1)
        if found.get(encoding) == DELTA_BYTE_ARRAY:
            raise ValueError("texts in an encoding that traceview does not write")
        self.values = found.get(NUM_VALUES, -1)

    def _skip(self, kind: int, depth: int) -> None:
        if kind == STRUCT:
            self._struct(depth + 1)
        elif kind == BINARY:
            length = self._varint()  # which moves `at` itself
            self.at += length
        elif kind in (BYTE, *BOOLEANS):  # a boolean in a list is a byte
            self.at += 1
        elif kind == DOUBLE:
            self.at += 8
        elif kind in INTEGERS:
            self._varint()
        elif kind in LISTS:
            self._list(depth)
        else:
            raise ValueError(f"a page header with a field of the kind {kind}")

    def _list(self, depth: int) -> None:
        head = self._byte()
        count = head >> 4
        count = self._varint() if count == LONG_LIST else count
        if count > len(self._data) - self.at:  # of which each takes a byte at least
            raise ValueError("a page header with a list that goes on behind the end")
        for _ in range(count):
            self._skip(head & 15, depth + 1)

    def _byte(self) -> int:
        if self.at >= len(self._data):
            raise ValueError("a page header behind the end")
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        found = shift = 0
        while shift < LONGEST_VARINT:
            byte = self._byte()
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7
        raise ValueError("a page header with a number without end")

    def _integer(self) -> int:
        """A signed number, as zigzag."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

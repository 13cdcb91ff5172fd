"""How much a Parquet file inflates to, by the headers of its pages.

The footer states sizes too, and readers allocate by the pages. A page header is Thrift's compact
protocol (parquet-format: parquet.thrift, PageHeader; thrift-compact-protocol.md): field 2 is
`uncompressed_page_size`, field 3 `compressed_page_size`. Nothing is decompressed here.
"""

from __future__ import annotations

import mmap
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
MOST_NESTED: Final = 8
LONGEST_VARINT: Final = 70


def inflated_bytes(path: Path, metadata: pq.FileMetaData) -> list[int]:
    """Of each row group the bytes of its pages; raises ValueError where the pages are none."""
    size = path.stat().st_size
    chunks = [
        [metadata.row_group(group).column(at) for at in range(metadata.num_columns)]
        for group in range(metadata.num_row_groups)
    ]
    stated = [one.total_compressed_size for several in chunks for one in several]
    if min(stated, default=0) < 0 or sum(stated) > size:
        raise ValueError("columns lie over one another")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return [sum(_of_chunk(data, one) for one in several) for several in chunks]


def _of_chunk(data: mmap.mmap, chunk: pq.ColumnChunkMetaData) -> int:
    starts = [chunk.data_page_offset, chunk.dictionary_page_offset]
    at = min(start for start in starts if start is not None and start > 0)
    end, found = at + chunk.total_compressed_size, 0
    while at < end:
        header = _Header(data, at)
        sizes = header.sizes()
        inflated, packed = sizes.get(UNCOMPRESSED, -1), sizes.get(COMPRESSED, -1)
        if inflated < 0 or packed < 0:
            raise ValueError("a page of no size")
        found, at = found + inflated, header.at + packed
    return found


class _Header:
    """Reads one header; afterwards `at` is behind it."""

    def __init__(self, data: mmap.mmap, at: int) -> None:
        self._data = data
        self.at = at

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
            elif kind not in BOOLEANS:
                self._skip(kind, depth)
        return found

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
        for _ in range(self._varint() if count == LONG_LIST else count):
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

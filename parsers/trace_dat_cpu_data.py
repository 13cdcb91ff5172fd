"""The pages of each CPU in a trace.dat file, unpacked piece by piece.

Where a file is packed (version 7), the pages of a CPU are a number of chunks: packed size, unpacked
size, data. trace-cmd packs ten pages at a time. A chunk that cannot be unpacked, and what is
missing at the end, are handed on as a page of ones: no kernel writes those, so a hole will be
there. Sources of truth: trace-cmd.dat.v7(5), lib/trace-cmd/trace-compress.c of trace-cmd 3.4.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import zstandard

from traceview.parsers.ring_buffer_pages import sliced
from traceview.parsers.trace_dat_bytes import UNPACK_ERRORS, Cursor
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.parsers.trace_dat_options import CpuData

COUNT_BYTES: Final = 4
MAX_CHUNK_PAGES: Final = 64
# What all chunks may unpack to: a page that is nearly empty packs to a thousandth.
PLAUSIBLE_BYTES: Final = 1 << 30
PLAUSIBLE_RATIO: Final = 1000


@dataclass(slots=True)
class CpuDataReader:
    """Hands out the pages in the file; `done_bytes` counts what has been handed out of it."""

    view: memoryview
    path: str
    compression: str = "none"
    done_bytes: int = 0
    damaged_chunks: int = 0
    ended_early: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    _unpacked_bytes: int = 0
    _zstd: zstandard.ZstdDecompressor = field(default_factory=zstandard.ZstdDecompressor)

    def plain(self, data: CpuData, page_bytes: int, what: str) -> Iterator[memoryview]:
        """The pages of a CPU that lie in the file as they are; *what* names it."""
        end = min(data.offset + data.size, len(self.view))
        for piece in sliced(self.view[data.offset : end], page_bytes):
            self.done_bytes += len(piece)
            yield piece
        if end < data.offset + data.size:
            self.ended_early.append(what)
            missing = -max(end - data.offset, 0) % page_bytes
            yield memoryview(b"\0" * missing + b"\xff" * page_bytes)

    def packed(self, data: CpuData, page_bytes: int, what: str) -> Iterator[memoryview]:
        """The pages of a CPU that are packed; *what* names it."""
        # The size that trace-cmd 3.1 states does not count the number of chunks.
        content = self.view[data.offset : data.offset + data.size + COUNT_BYTES]
        cursor = Cursor(content, self.path, what, data.offset)
        count = (
            cursor.number(COUNT_BYTES, "the number of chunks") if cursor.left >= COUNT_BYTES else 1
        )
        for _ in range(count):
            chunk, size = self._chunk(cursor, MAX_CHUNK_PAGES * page_bytes)
            if chunk is None:
                self.ended_early.append(what)
                yield memoryview(b"\xff" * page_bytes)
                return
            self.done_bytes += len(chunk) + 8
            yield self._unpack(chunk, size, page_bytes)
        if cursor.left > COUNT_BYTES:
            self.left_over.append(what)

    def diagnostics(self) -> list[Diagnostic]:
        """What was found wrong."""
        found = []
        for places, code, lead, what in (
            (
                self.ended_early, "truncated", "the file is cut off or damaged: ",
                "end before they should",
            ),
            (self.left_over, "unread-data", "", "hold more than the chunks that they announce"),
        ):  # fmt: skip
            if places:
                more = f" and {len(places) - 3} more" if len(places) > 3 else ""
                message = f"{lead}the pages of {', '.join(places[:3])}{more} {what}"
                found.append(Diagnostic(code, "warning", message, len(places)))
        if self.damaged_chunks:
            message = f"{self.damaged_chunks} chunks of pages cannot be unpacked"
            found.append(Diagnostic("damaged-compression", "warning", message, self.damaged_chunks))
        return found

    def _chunk(self, cursor: Cursor, most: int) -> tuple[memoryview | None, int]:
        """The next chunk, packed, and its unpacked size; None where it cannot be.

        One of more than *most* bytes is not unpacked.
        """
        if cursor.left < 8:
            return None, 0
        packed, size = cursor.number(4, "packed size"), cursor.number(4, "unpacked size")
        self._unpacked_bytes += size if size <= most else 0
        plausible = PLAUSIBLE_BYTES + PLAUSIBLE_RATIO * len(self.view)
        if packed > cursor.left or self._unpacked_bytes > plausible:
            return None, 0
        return cursor.take(packed, "a chunk"), size

    def _unpack(self, chunk: memoryview, size: int, page_bytes: int) -> memoryview:
        """The pages of a chunk; a page of ones where it is damaged."""
        found = None
        if size <= MAX_CHUNK_PAGES * page_bytes:
            try:
                found = self._unpacked(chunk, size)
            except UNPACK_ERRORS:
                found = None
        if found is not None and len(found) == size:
            return memoryview(found)
        self.damaged_chunks += 1
        return memoryview(b"\xff" * page_bytes)

    def _unpacked(self, chunk: memoryview, size: int) -> bytes | None:
        if self.compression == "zlib":
            return zlib.decompressobj().decompress(chunk, max(size, 1))
        # A frame that states its size is unpacked into as much memory.
        if zstandard.frame_content_size(chunk) > size:
            return None
        return self._zstd.decompress(chunk, max_output_size=max(size, 1))

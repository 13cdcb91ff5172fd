"""PERF_RECORD_COMPRESSED and COMPRESSED2: records packed with zstd, one stream through all of them.

perf flushes the stream at the end of each record, but a record inside may go on in the next packed
one. COMPRESSED2 (Linux 6.16) says in `data_size` how many bytes are meant, the rest aligns it.
Where a push of perf gave several, its first one claims the bytes of all, their headers included,
and `data_size` of the others is not written; see perf_records.py for its own size.

What is unpacked goes to an unnamed temporary file; how much that may be is bounded by how much was
packed. Sources of truth: tools/perf/util/zstd.c, builtin-record.c (record__pushfn, zstd_compress),
session.c and tool.c (perf_session__process_compressed_event) of Linux 6.1 to 7.2.
"""

from __future__ import annotations

import mmap
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, cast

import zstandard

from traceview.errors import ParseError
from traceview.parsers.perf_records import COMPRESSED2_BYTES, HEADER_BYTES, MAX_RECORD_BYTES
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PIECE_BYTES: Final = 1 << 20
MAX_WINDOW_BYTES: Final = 1 << 27  # as zstd(1) without --long
# A packed byte of samples gives 5 to 30, of user stacks that repeat some hundred; zstd could make
# 30,000 of one.
MAX_RATIO: Final = 1000
ALWAYS_FINE_BYTES: Final = 1 << 28
NEXT_HEADER: Final = bytes([83, 0, 0, 0, 0, 0])  # of a COMPRESSED2, up to its size


@dataclass(slots=True)
class Unpacked:
    """What came of the packed records; `damage` says what stopped it, behind byte `damaged_at`."""

    view: memoryview
    damage: str | None = None
    damaged_at: int = 0

    def diagnostics(self) -> list[Diagnostic]:
        """What was not unpacked."""
        if self.damage is None:
            return []
        message = (
            f"packed records cannot be unpacked from byte {self.damaged_at:#x} on ({self.damage});"
            " what comes before is read"
        )
        return [Diagnostic("damaged-compression", "warning", message)]


class _Packed:
    """The payloads of packed records as one stream, for zstandard to read."""

    def __init__(self, view: memoryview, spans: Sequence[tuple[int, int]]) -> None:
        self._view, self._spans = view, spans
        self._next = 0
        self.place = 0  # where the payload begins that was read last
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        """The next payload: at most 64 KiB, whatever *size* says."""
        del size
        if self._next == len(self._spans):
            return b""
        begin, stop = self._spans[self._next]
        self._next += 1
        self.place = begin
        self.taken += stop - begin
        return bytes(self._view[begin:stop])


@contextmanager
def unpacked(view: memoryview, spans: Sequence[tuple[int, int]], path: str) -> Iterator[Unpacked]:
    """The records packed in *spans* of *view*; an empty span would end the stream.

    Raises ParseError when they do not fit into temporary space.
    """
    with tempfile.TemporaryFile(prefix="traceview-") as spool:
        found = Unpacked(memoryview(b""))
        packed = _Packed(view, [span for span in spans if span[0] < span[1]])
        size = 0
        try:
            for piece in _pieces(packed):
                spool.write(piece)
                size += len(piece)
                if size > ALWAYS_FINE_BYTES and size > MAX_RATIO * packed.taken:
                    found.damage = f"{packed.taken} bytes give {size} and more"
                    break
        except zstandard.ZstdError as err:
            found.damage = str(err)
        except OSError as err:
            raise ParseError(
                f"the packed records do not fit into temporary space: {err.strerror}",
                path=path, reading="PERF_RECORD_COMPRESSED", offset=packed.place,
            ) from err  # fmt: skip
        found.damaged_at = packed.place
        spool.flush()
        if size:
            found.view = memoryview(mmap.mmap(spool.fileno(), size, access=mmap.ACCESS_READ))
        yield found


def _pieces(packed: _Packed) -> Iterator[bytes]:
    unpacker = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
    source = cast("IO[bytes]", packed)
    with unpacker.stream_reader(source, read_across_frames=True, closefd=False) as stream:
        while piece := stream.read1(PIECE_BYTES):
            yield piece


def packed_spans(view: memoryview, at: int, stop: int, *, counted: bool) -> list[tuple[int, int]]:
    """Where the packed bytes of the record in view[at:stop] lie; *counted*: it is a COMPRESSED2."""
    if not counted:
        return [(at + HEADER_BYTES, stop)]
    begin = at + COMPRESSED2_BYTES
    data_size = int.from_bytes(view[at + 8 : begin], "little")
    if begin + data_size > stop:  # not written
        return [(begin, stop)]
    stop = begin + data_size
    if data_size < MAX_RECORD_BYTES - COMPRESSED2_BYTES:
        return [(begin, stop)]
    return _several(view, begin, stop)


def _several(view: memoryview, begin: int, stop: int) -> list[tuple[int, int]]:
    """The payloads in view[begin:stop]: before each but the first stands a header."""
    content = bytes(view[begin : begin + MAX_RECORD_BYTES])
    at = content.rfind(NEXT_HEADER)
    while at >= 0:
        chain = _chained(view, begin + at, stop)
        if chain:
            return [(begin, begin + at), *chain]
        at = content.rfind(NEXT_HEADER, 0, at)
    return [(begin, stop)]


def _chained(view: memoryview, at: int, stop: int) -> list[tuple[int, int]]:
    """The payloads of records from *at* on that end exactly at *stop*; none if they do not."""
    found = []
    while at < stop:
        head = bytes(view[at : at + HEADER_BYTES])
        size = int.from_bytes(head[6:], "little")
        if not head.startswith(NEXT_HEADER) or size <= COMPRESSED2_BYTES or at + size > stop:
            return []
        found.append((at + COMPRESSED2_BYTES, at + size))
        at += size
    return found

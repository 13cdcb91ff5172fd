"""Reading numbers and strings of trace.dat one after the other, and unpacking its blocks.

Every size is checked before it is believed: against the bytes that are there, and, for what is
packed, against what a trace may plausibly hold. Sources of truth: trace-cmd.dat.v6(5),
trace-cmd.dat.v7(5) and lib/trace-cmd/trace-compress.c of trace-cmd 3.4.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import zstandard

from traceview.errors import ParseError, TruncatedError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

# The symbols of a kernel have 7 MB, the formats of all its events less.
MAX_PART_BYTES: Final = 1 << 26
COMPRESSIONS: Final = ("none", "zlib", "zstd")
UNPACK_ERRORS: Final = (zlib.error, zstandard.ZstdError, MemoryError)


class Cursor:
    """A place in *data*, which moves on with each read.

    `base` is where the data begin in the file, None if they were packed there. Data that end where
    the file does want more only if it was cut off.
    """

    def __init__(
        self, data: memoryview | bytes, path: str, reading: str, base: int | None = 0,
        *, ends_file: bool = True,
    ) -> None:  # fmt: skip
        """Begin at the start."""
        self.data, self.at, self.base = memoryview(data), 0, base
        self.reading, self._path = reading, path
        self._ends_file = ends_file and base is not None

    @property
    def left(self) -> int:
        """How many bytes there are from here on."""
        return len(self.data) - self.at

    def take(self, size: int, what: str) -> memoryview:
        """The next *size* bytes."""
        if size > self.left:
            raise self._cut(f"{what} wants {size} bytes, {self.left} are left")
        self.at += size
        return self.data[self.at - size : self.at]

    def go_to(self, place: int, what: str) -> None:
        """Move on to *place*."""
        if place > len(self.data):
            there = "the file has" if self.base == 0 else "there are"
            raise self._cut(f"{what} would be at byte {place}, {there} {len(self.data)} bytes")
        self.at = place

    def part(self, size: int, what: str) -> bytes:
        """The next *size* bytes, which are to be kept: no more than is plausible."""
        if size > MAX_PART_BYTES:
            raise self.error(f"{what} of {size} bytes is more than is plausible")
        return bytes(self.take(size, what))

    def number(self, size: int, what: str) -> int:
        """The next number of *size* bytes."""
        return int.from_bytes(self.take(size, what), "little")

    def string(self, what: str) -> str:
        """The string up to the next NUL."""
        window = 64
        while True:
            content = bytes(self.data[self.at : self.at + window])
            end = content.find(b"\0")
            if end >= 0:
                self.at += end + 1
                return content[:end].decode("utf-8", "replace")
            if window > self.left:
                raise self._cut(f"{what} has no end")
            window *= 16

    def expect(self, content: bytes, what: str) -> None:
        """Step over *content*."""
        found = bytes(self.take(len(content), what))
        if found != content:
            self.at -= len(content)
            raise self.error(f"{what} should be {content!r}, not {found!r}")

    def error(self, reason: str) -> ParseError:
        """*reason*, with the place."""
        return ParseError(reason, path=self._path, reading=self.reading, offset=self._offset())

    def _cut(self, reason: str) -> TruncatedError:
        said = f"the file is cut off: {reason}" if self._ends_file else reason
        return TruncatedError(
            said, path=self._path, reading=self.reading, offset=self._offset()
        )  # fmt: skip

    def _offset(self) -> int | None:
        return None if self.base is None else self.base + self.at


def block_unpacker(compression: str, path: str) -> Callable[[memoryview, int], bytes]:
    """What unpacks a block that was packed with *compression* to at most so many bytes.

    What it returns may be shorter. Raises UnsupportedError for a compression that is unknown.
    """
    if compression == "zstd":
        return _unzstd
    if compression == "zlib":
        return _unzlib
    if compression == "none":
        raise ParseError("a packed section in a file that says it is not packed", path=path)
    known = ", ".join(COMPRESSIONS)
    raise UnsupportedError(f"compression {compression!r} (known: {known})", path=path)


def unpacked_section(
    cursor: Cursor, unpack: Callable[[memoryview, int], bytes], what: str,
    most: int = MAX_PART_BYTES,
) -> bytes:  # fmt: skip
    """A packed section: the packed size, the unpacked size, and the data, *most* bytes at most."""
    packed, size = cursor.number(4, f"the packed size of {what}"), cursor.number(4, what)
    if size > most:
        raise cursor.error(f"{what} unpacked to {size} bytes is more than is plausible")
    content = cursor.take(packed, what)
    try:
        found = unpack(content, size)
    except UNPACK_ERRORS as err:
        raise cursor.error(f"{what} cannot be unpacked ({err})") from err
    if len(found) != size:
        raise cursor.error(f"{what} unpacks to {len(found)} bytes, not {size}")
    return found


def _unzstd(content: memoryview, size: int) -> bytes:
    # One more byte than stated: a block that holds more is a lie, too.
    with zstandard.ZstdDecompressor().stream_reader(content) as stream:
        return stream.read(size + 1)


def _unzlib(content: memoryview, size: int) -> bytes:
    return zlib.decompressobj().decompress(content, size + 1)

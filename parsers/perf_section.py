"""The content of one section of perf.data, read from front to back.

A section is a feature of the header, or what a record holds. Sizes and counts in it may lie: what
does not fit raises ValueError, and whoever reads the section decides what that costs.
Source of truth: tools/perf/util/header.c (do_write_string, do_read_string) of Linux 6.1 to 7.2.
"""

from __future__ import annotations


class Section:
    """Bytes, and how far they have been read."""

    __slots__ = ("_content", "at")

    def __init__(self, content: bytes | memoryview) -> None:
        """Begin at the start."""
        self._content = bytes(content)
        self.at = 0

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self._content) - self.at

    def take(self, length: int) -> bytes:
        """The next *length* bytes."""
        if length > self.left:
            raise ValueError(f"wanted {length} bytes, {self.left} left")
        self.at += length
        return self._content[self.at - length : self.at]

    def u8(self) -> int:
        """A byte."""
        return self.take(1)[0]

    def u32(self) -> int:
        """A number of 4 bytes."""
        return int.from_bytes(self.take(4), "little")

    def u64(self) -> int:
        """A number of 8 bytes."""
        return int.from_bytes(self.take(8), "little")

    def string(self) -> str:
        """A perf_header_string: its length, then text with zeros behind it."""
        return text(self.take(self.u32()))

    def line(self) -> str:
        """Text up to a zero, which is read too."""
        end = self._content.find(b"\0", self.at)
        if end < 0:
            raise ValueError("text without an end")
        found = self._content[self.at : end]
        self.at = end + 1
        return found.decode("utf-8", "replace")

    def u64s(self, count: int) -> list[int]:
        """*count* numbers of 8 bytes."""
        return [int(one) for one in memoryview(self.take(8 * count)).cast("Q")]


def text(content: bytes) -> str:
    """What *content* says up to its first zero."""
    return content.partition(b"\0")[0].decode("utf-8", "replace")

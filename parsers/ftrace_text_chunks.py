"""Text in chunks that end where a line ends, and not between an event and the lines below it.

A line that never ends must not fill the memory: of one longer than LINE_BYTES only the beginning
is kept. (The kernel prints no line longer than a page.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LINE_BYTES: Final = 16 * 1024 * 1024
KEPT_BYTES: Final = 4096
STACK_LINES: Final = 1000


def whole_lines(
    chunks: Iterable[bytes], belongs: Callable[[bytes], bool] | None = None
) -> Iterator[bytes]:
    """*chunks* cut between lines, and before the last of them that *belongs* to none above it.

    Of a line that is longer than LINE_BYTES only the first KEPT_BYTES are kept.
    """
    carry, inside_long = b"", False
    for chunk in chunks:
        data = carry + chunk
        if inside_long:
            end = data.find(b"\n")
            inside_long = end < 0
            data = b"" if inside_long else data[end + 1 :]
        newline = data.rfind(b"\n") + 1
        cut = _before_last_event(data, newline, belongs) if belongs else newline
        if cut == 0 and len(data) > LINE_BYTES:
            cut, inside_long = newline, newline == 0
        if cut:
            yield data[:cut]
        if inside_long and data:
            yield data[:KEPT_BYTES] + b"\n"
        carry = b"" if inside_long else data[cut:]
    if carry:
        yield carry


def in_stack(line: bytes) -> bool:
    """Whether *line* is part of a stack trace as ftrace prints them."""
    return line[:3].lstrip().startswith(b"=>")


def _before_last_event(data: bytes, cut: int, belongs: Callable[[bytes], bool]) -> int:
    """Where the last line before *cut* begins that is no part of the event above it."""
    at = cut
    for _ in range(STACK_LINES):
        stop = at
        at = data.rfind(b"\n", 0, at - 1) + 1 if at > 1 else 0
        if at == 0 or not belongs(data[at:stop]):
            return at
    return cut

"""A stretch of text as NumPy sees it: one byte buffer, and where its lines begin and end.

Every question ("the number that ends here", "the next colon", "this slice as a string") is asked
of all lines at once. Runs of digits and spaces are measured eight bytes at a time, in 64-bit
words read at any offset. Slices become polars strings without a copy: Arrow string views into
the same buffer (Arrow columnar format, "Variable-size Binary View Layout").

Limits: a buffer of 2 GiB; numbers of 18 digits; bytes that are no UTF-8 become U+FFFD.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]
    Mask = npt.NDArray[np.bool_]
    Words = npt.NDArray[np.uint64]

# Looking back from the first line or ahead from the last one ends in newlines, not outside.
PADDING: Final = b"\n" * 64
WORD: Final = 8
INLINE_BYTES: Final = 12  # Arrow: a view holds strings up to this length itself

CONTINUATION_MASK, CONTINUATION = np.uint8(0xC0), np.uint8(0x80)  # UTF-8, behind the first byte
NEWLINE = ord("\n")
LOW7: Final = np.uint64(0x7F7F7F7F7F7F7F7F)
HIGH: Final = np.uint64(0x8080808080808080)
ZEROS: Final = np.uint64(0x3030303030303030)
ABOVE9: Final = np.uint64(0x7676767676767676)  # 0x80 - 10 in every byte
SPACES: Final = np.uint64(0x2020202020202020)
NEWLINES: Final = np.uint64(0x0A0A0A0A0A0A0A0A)


class Lines:
    """Whole lines. `starts` and `ends` (without the newline) index `buffer`, in bytes."""

    def __init__(self, chunk: bytes) -> None:
        """Index the lines of *chunk*."""
        self._data = PADDING + clean(chunk) + PADDING
        self.buffer = np.frombuffer(self._data, np.uint8)
        size = len(self._data)
        # One word per byte offset: they overlap.
        self._words: Words = np.ndarray((size - WORD + 1,), "<u8", self._data, 0, (1,))
        first, stop = len(PADDING), size - len(PADDING)
        newlines = np.flatnonzero(self.buffer[first:stop] == NEWLINE) + first
        if stop > first and (newlines.size == 0 or newlines[-1] != stop - 1):
            newlines = np.append(newlines, stop)  # the last line of a file may lack its newline
        self.ends: Positions = newlines
        self.starts: Positions = np.concatenate(([first], newlines[:-1] + 1))[: newlines.size]
        self._positions: dict[int, Positions] = {}
        self._is_ascii = self._data.isascii()

    def __len__(self) -> int:
        return self.ends.size

    def positions(self, byte: str) -> Positions:
        """Where *byte* occurs, ascending."""
        found = self._positions.get(ord(byte))
        if found is None:
            found = self._positions[ord(byte)] = np.flatnonzero(self.buffer == ord(byte))
        return found

    def line_of(self, at: Positions) -> Positions:
        """The index of the line that holds each position."""
        return np.searchsorted(self.starts, at, side="right") - 1

    def has(self, at: Positions, text: str) -> Mask:
        """Where *text* (ASCII) begins at each position."""
        found = np.ones(at.size, np.bool_)
        for step, char in enumerate(text):
            found &= self.buffer[at + step] == ord(char)
        return found

    def ends_with(self, stop: Positions, text: str) -> Mask:
        """Where *text* (ASCII) ends at each position."""
        return self.has(stop - len(text), text)

    def is_digit(self, at: Positions) -> Mask:
        """Whether there is a decimal digit at each position."""
        return (self.buffer[at] - np.uint8(ord("0"))) < 10

    def spaces_after(self, start: Positions, limit: int = 64) -> Positions:
        """How many spaces follow, counted up to about *limit*."""
        return self._run(start, WORD, _not_space, _low_run, limit)

    def spaces_before(self, stop: Positions, limit: int = 64) -> Positions:
        """How many spaces precede, counted up to about *limit*."""
        return self._run(stop - WORD, -WORD, _not_space, _top_run, limit)

    def word_before(self, stop: Positions, limit: int = 64) -> Positions:
        """How many bytes precede that are no space (nor newline), counted up to about *limit*."""
        return self._run(stop - WORD, -WORD, _space, _top_run, limit)

    def _run(
        self,
        at: Positions,
        step: int,
        flag: Callable[[Words], Words],
        measure: Callable[[Words], Positions],
        limit: int,
    ) -> Positions:
        total = measure(flag(self._words[at]))
        whole = np.flatnonzero(total == WORD)
        for _ in range(limit // WORD):
            if whole.size == 0:
                break
            at_whole = at[whole] + step * (total[whole] // WORD)
            # A run never passes a newline, and the padding is made of them.
            more = measure(flag(self._words[np.clip(at_whole, 0, self._words.size - 1)]))
            total[whole] += more
            whole = whole[more == WORD]
        return total

    def decimal_before(self, stop: Positions) -> tuple[Positions, Positions]:
        """The decimal number that ends at each position, and how many digits it has (0: none).

        Of more than 18 digits only the count is right (up to 24).
        """
        value, count = self._eight_before(stop)
        for known in (WORD, 2 * WORD):
            long = np.flatnonzero(count == known)
            if long.size == 0:
                break
            upper, more = self._eight_before(stop[long] - known)
            value[long] += upper * 10**known
            count[long] += more
        return value, count

    def _eight_before(self, stop: Positions) -> tuple[Positions, Positions]:
        digits = self._words[stop - WORD] ^ ZEROS
        count = _top_run(((digits & LOW7) + ABOVE9 | digits) & HIGH)
        return _eight_digits(_drop_bytes(digits, count)), count

    def text(self, start: Positions, stop: Positions) -> pl.Series:
        """The slices as strings. They share the buffer: copy what outlives this object.

        A slice that cuts a character of several bytes is the smaller for it.
        """
        if not self._is_ascii:
            start, stop = self._whole_characters(start, stop)
        length = np.maximum(stop - start, 0)
        views = np.zeros((start.size, 4), np.uint32)
        views[:, 0] = length
        low = self._words[start]
        is_long = length > INLINE_BYTES
        # A long string: its first four bytes, which buffer, where in it.
        views[:, 1] = np.where(is_long, low & np.uint64(0xFFFFFFFF), 0)
        views[:, 3] = np.where(is_long, start, 0)
        short = np.flatnonzero(~is_long)
        if short.size:
            size = length[short].astype(np.uint64)
            first = _keep_bytes(low[short], np.minimum(size, np.uint64(WORD)))
            rest = np.where(size > WORD, size - np.uint64(WORD), np.uint64(0))
            last = _keep_bytes(self._words[start[short] + WORD], rest)
            views[short, 1] = first & np.uint64(0xFFFFFFFF)
            views[short, 2] = first >> np.uint64(32)
            views[short, 3] = last
        buffers = [None, pa.py_buffer(views), pa.py_buffer(self._data)]
        array = pa.Array.from_buffers(pa.string_view(), start.size, buffers)
        return pl.Series(array, dtype=pl.String)

    def _whole_characters(self, start: Positions, stop: Positions) -> tuple[Positions, Positions]:
        start, stop = start.copy(), stop.copy()
        for _ in range(3):
            start += (self.buffer[start] & CONTINUATION_MASK) == CONTINUATION
            stop -= (self.buffer[stop] & CONTINUATION_MASK) == CONTINUATION
        return start, stop


def clean(chunk: bytes) -> bytes:
    r"""*chunk* as valid UTF-8 with lines that end in \n."""
    if b"\r\n" in chunk:
        chunk = chunk.replace(b"\r\n", b"\n")
    if not chunk.isascii():
        chunk = chunk.decode("utf-8", "replace").encode()
    return chunk


def distinct(texts: pl.Series) -> tuple[npt.NDArray[np.int64], list[str]]:
    """The distinct strings of *texts*, in order of appearance, and each row's index in them."""
    values = texts.unique(maintain_order=True)
    codes = texts.cast(pl.Enum(values)).to_physical().to_numpy()
    return codes.astype(np.int64), values.to_list()


def copied(texts: pl.Series) -> pl.Series:
    """*texts* in a buffer of their own, so that a batch does not keep whole chunks alive."""
    return pl.Series(pa.array(texts.to_arrow().cast(pa.large_string())), dtype=pl.String)


def first_of_each(groups: Positions) -> Mask:
    """Where a value of *groups* (ascending) appears for the first time."""
    first: Mask = np.diff(groups, prepend=-1) != 0
    return first


def next_of(positions: Positions, at: Positions, otherwise: Positions) -> Positions:
    """The first of *positions* at or behind each of *at*; *otherwise* where it lies behind that."""
    if positions.size == 0:
        return otherwise
    index = np.searchsorted(positions, at)
    found = positions[np.minimum(index, positions.size - 1)]
    return np.where((index < positions.size) & (found < otherwise), found, otherwise)


def nullable(
    values: npt.NDArray[np.generic], valid: Mask, dtype: pl.DataType | None = None
) -> pl.Series:
    """*values* as a column that is null where not *valid*."""
    return pl.Series(pa.array(values, mask=~valid), dtype=dtype)


def _space(words: Words) -> Words:
    """The high bit of every byte that is a space or a newline."""
    return _equal(words, SPACES) | _equal(words, NEWLINES)


def _not_space(words: Words) -> Words:
    """The high bit of every byte that is no space."""
    other = words ^ SPACES
    return ((other & LOW7) + LOW7 | other) & HIGH


def _equal(words: Words, pattern: np.uint64) -> Words:
    other = words ^ pattern
    return ~((other & LOW7) + LOW7 | other) & HIGH


def _top_run(flags: Words) -> Positions:
    """How many of the last bytes of each word precede the first flag, counted from the end."""
    count = np.zeros(flags.size, np.int64)
    for byte in range(1, WORD + 1):
        count += flags < np.uint64(1 << (64 - 8 * byte + 7))
    return count


def _low_run(flags: Words) -> Positions:
    """How many of the first bytes of each word precede the first flag."""
    count = np.zeros(flags.size, np.int64)
    for byte in range(1, WORD + 1):
        count += (flags << np.uint64(64 - 8 * byte)) == 0
    return count


def _eight_digits(digits: Words) -> Positions:
    """Eight digit values, the first in the lowest byte, as one number (multiply and add pairs)."""
    pairs = digits * np.uint64(10) + (digits >> np.uint64(8))
    mask = np.uint64(0x000000FF000000FF)
    upper = (pairs & mask) * np.uint64(0x000F424000000064)
    lower = ((pairs >> np.uint64(16)) & mask) * np.uint64(0x0000271000000001)
    return ((upper + lower) >> np.uint64(32)).astype(np.int64)


def _keep_bytes(words: Words, count: Words) -> Words:
    """The first *count* bytes of each word (0 to 8), the others zero."""
    shift = np.uint64(8) * (np.uint64(WORD) - count)
    return np.where(count == 0, np.uint64(0), (words << shift) >> shift)


def _drop_bytes(words: Words, count: Positions) -> Words:
    """The last *count* bytes of each word (0 to 8), the others zero."""
    shift = (8 * (WORD - count)).astype(np.uint64)
    return np.where(count == 0, np.uint64(0), (words >> shift) << shift)

"""Strings of bytes, many at once: those that are referred to by number, and copies of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Bytes = NDArray[np.uint8]
    Mask = NDArray[np.bool_]


class Pool:
    """Strings that fields refer to by number, as one array of bytes."""

    def __init__(self, data: Bytes, start: Ints, length: Ints) -> None:
        """String i is data[start[i] : start[i] + length[i]]."""
        self.data, self.start, self.length = data, start, length

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Pool:
        """The given strings."""
        length = np.array([len(one) for one in strings], dtype=np.int64)
        return cls(np.frombuffer(b"".join(strings), np.uint8), np.cumsum(length) - length, length)

    @classmethod
    def of_column(cls, column: pl.Series) -> tuple[Pool, Ints]:
        """The distinct strings of a column (null is empty), and which of them each row is."""
        arrow = column.fill_null("").to_arrow(compat_level=pl.CompatLevel.oldest())
        found = arrow.dictionary_encode()
        strings = [text.encode() for text in found.dictionary.to_pylist()] or [b""]
        return cls.of(strings), found.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def copy(out: Bytes, at: Ints, data: Bytes, start: Ints, length: Ints) -> None:
    """Copy data[start : start + length] to every position *at*."""
    total = int(length.sum())
    if not total:
        return
    step = np.arange(total) - np.repeat(np.cumsum(length) - length, length)
    out[np.repeat(at, length) + step] = data[np.repeat(start, length) + step]

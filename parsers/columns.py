"""From bytes to columns: the array types of the binary parsers, and strings out of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Words = NDArray[np.uint64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]


def positions(start: Ints, length: Ints) -> Ints:
    """start[0], start[0] + 1, ... for length[0] bytes, then the same for the next."""
    before = np.cumsum(length) - length
    found: Ints = np.arange(int(length.sum())) + np.repeat(start - before, length)
    return found


def texts(data: Bytes, start: Ints, length: Ints) -> pl.Series:
    """The strings of *data* at *start*; bytes that are no UTF-8 are replaced."""
    if not len(start):
        return pl.Series(dtype=pl.String)
    offsets = np.zeros(len(start) + 1, dtype=np.int64)
    np.cumsum(length, out=offsets[1:])
    content = data[positions(start, length)]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    binary = pl.Series(pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(start), buffers))
    try:
        return binary.cast(pl.String)
    except pl.exceptions.ComputeError:
        words = [text.decode("utf-8", "replace") for text in binary]
        return pl.Series(words, dtype=pl.String)

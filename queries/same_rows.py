"""Whether a table came out the same a second time, and where it first did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Collection

# Another processor, or another version of a library, may round the last digits otherwise.
ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is stated otherwise than it was found: `where` in words, both values."""

    where: str
    stated: object
    found: object


def first_differences(
    table: str, stated: pl.DataFrame, found: pl.DataFrame, *, besides: Collection[str] = ()
) -> list[Difference]:
    """The first row of each column that differs; of tables of other lengths, the lengths.

    Rows stand beside each other as they come. Floating point may differ by rounding; what is
    infinite, or no number, rounds to nothing else.
    """
    if len(stated) != len(found):
        return [Difference(f"rows of {table}", len(stated), len(found))]
    differences = []
    for name in stated.columns:
        if name in besides:
            continue
        one, other = comparable(stated[name]), comparable(found[name])
        differs = one.ne_missing(other)
        if one.dtype.is_float():
            finite = one.is_finite() & other.is_finite()  # polars: NaN <= NaN, and so inf
            near = finite & ((one - other).abs() <= ROUNDING * one.abs())
            differs &= ~near.fill_null(value=False)
        at = differs.arg_max() if differs.any() else None
        if at is not None:
            differences.append(Difference(f"{name} in row {at} of {table}", one[at], other[at]))
    return differences


def comparable(values: pl.Series) -> pl.Series:
    """Names as texts, whatever they are numbered by."""
    return values.cast(pl.String) if values.dtype in (pl.Categorical, pl.Enum) else values

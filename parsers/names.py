"""Names as small numbers.

Names of functions, events, tasks and arguments repeat endlessly. They are kept once, in `Names`,
and travel as codes until a batch is built; code 0 is no name (null).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.schema import NAME

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Names:
    """Strings and their codes, in order of appearance; code 0 is null."""

    __slots__ = ("_codes", "_names")

    def __init__(self) -> None:
        """Know nothing but null."""
        self._names: list[str | None] = [None]
        self._codes: dict[str | None, int] = {None: 0}

    def __len__(self) -> int:
        """How many codes there are, null included."""
        return len(self._names)

    def __getitem__(self, code: int) -> str | None:
        """The name with that *code*."""
        return self._names[code]

    def code(self, name: str | None) -> int:
        """The code of *name*, which is learned if it is new."""
        found = self._codes.get(name)
        if found is None:
            found = self._codes[name] = len(self._names)
            self._names.append(name)
        return found

    def codes(self, strings: pl.Series) -> NDArray[np.uint32]:
        """The codes of *strings*."""
        local = strings.cast(NAME).to_physical().to_numpy()
        _, first, at = np.unique(local, return_index=True, return_inverse=True)
        codes = [self.code(name) for name in strings.gather(first)]
        return np.array(codes, dtype=np.uint32)[at]

    def column(self, codes: NDArray[np.uint32]) -> pl.Series:
        """The names with these *codes*, as a categorical column."""
        if not codes.any():
            return pl.Series([None], dtype=NAME).new_from_index(0, len(codes))
        return pl.Series(self._names, dtype=NAME).gather(pl.Series(codes))

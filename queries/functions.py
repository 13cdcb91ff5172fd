"""Distinct functions of a trace: a small integer each, with what the vocabulary knows of it.

Queries work on millions of rows; what a name means is looked up once per distinct name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.schema import NAME, OPERATIONS
from traceview.vocabulary import Meaning, Vocabulary, strip_suffix

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

ROLES: Final = ("ipa", "length_bytes", "level", "mmu", "object_addr", "pages", "end_addr", "ret")
NO_ROLE: Final = -1
UNSEEN: Final = -2
OP: Final = {name: code for code, name in enumerate(OPERATIONS)}

# Never on a task's stack twice: if one is entered again, the exit of the first was missed.
# (The walk recurses; so do interrupts, through their helpers.)
NOT_RECURSIVE: Final = (
    "unmap", "invalidate_ipa", "invalidate_range", "invalidate_vmid", "cmo", "table_put", "trigger",
    "destroy",
)  # fmt: skip


class Functions:
    """Numbers the functions (and tracepoint pairs) of one source, in order of appearance.

    A function is known by its name without compiler suffix, so that `f` and `f.isra.0` are one.
    `symbols[i]` is the name as first seen.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Start empty."""
        self.vocabulary = vocabulary
        self.symbols: list[str] = []
        self.meanings: list[Meaning] = []
        self._by_name: dict[str, int] = {}
        self._by_symbol = _Codes()
        self._by_event = _Codes()
        self._event_kind: list[int] = []
        self._pairs: list[int] = []
        self._argument_ids = _Codes()
        self._arguments: list[str] = []
        self._roles: NDArray[np.int8] = np.full((0, 0), UNSEEN, dtype=np.int8)

    def __len__(self) -> int:
        return len(self.symbols)

    def of_symbols(self, symbols: pl.Series) -> NDArray[np.int32]:
        """The number of each symbol (Categorical); -1 where it is null."""
        return self._by_symbol.map(symbols, self._function)

    def of_events(self, names: pl.Series) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Of each tracepoint name: its function number, and +1 entry, -1 exit, 2 neither."""
        rows = self._by_event.map(names, self._event)
        pairs = np.array([*self._pairs, -1], dtype=np.int32)
        kinds = np.array([*self._event_kind, 2], dtype=np.int64)
        return pairs[rows], kinds[rows]

    def operations(self) -> NDArray[np.int8]:
        """The operation of each function, an index into schema.OPERATIONS; at -1 `other`."""
        return np.array([*(OP[m.operation] for m in self.meanings), OP["other"]], dtype=np.int8)

    def visits(self) -> NDArray[np.bool_]:
        """Which functions are visits of a page-table entry."""
        return np.array([*(m.visit for m in self.meanings), False], dtype=bool)

    def wrappers(self) -> NDArray[np.bool_]:
        """Which functions do nothing but call another one of the vocabulary."""
        return np.array([*(m.wraps is not None for m in self.meanings), False], dtype=bool)

    def not_recursive(self) -> NDArray[np.bool_]:
        """Which functions cannot be on one task's stack twice."""
        known = (m.operation in NOT_RECURSIVE for m in self.meanings)
        return np.array([*known, False], dtype=bool)

    def roles(self, functions: NDArray[np.int32], arguments: pl.Series) -> NDArray[np.int8]:
        """The role (index into ROLES, or NO_ROLE) of each argument of the function beside it."""
        ids = self._argument_ids.map(arguments, self._argument)
        if self._roles.shape != (len(self), len(self._arguments)):
            grown = np.full((len(self), len(self._arguments)), UNSEEN, dtype=np.int8)
            rows, columns = self._roles.shape
            grown[:rows, :columns] = self._roles
            self._roles = grown
        found = self._roles[functions, ids]
        for at in np.unique(functions[found == UNSEEN]):
            for column in range(len(self._arguments)):
                self._roles[at, column] = self._role(at, self._arguments[column])
        return self._roles[functions, ids]

    def _role(self, function: int, argument: str) -> int:
        if argument in {"ret", "retval", "$retval"}:
            return ROLES.index("ret")
        role = self.meanings[function].role(argument)
        return NO_ROLE if role is None else ROLES.index(role)

    def _argument(self, name: str) -> int:
        self._arguments.append(name)
        return len(self._arguments) - 1

    def _function(self, symbol: str) -> int:
        name = strip_suffix(symbol)
        return self._number(name, symbol, self.vocabulary.meaning(name))

    def _event(self, name: str) -> int:
        meaning = self.vocabulary.event(name)
        paired = meaning is not None and meaning.phase in {"entry", "exit"}
        self._event_kind.append(
            2 if not paired or meaning is None else 1 - 2 * (meaning.phase == "exit")
        )
        pair = -1
        if paired and meaning is not None:
            pair = self._number(f"event {meaning.pair}", meaning.pair, Meaning(meaning.operation))
        self._pairs.append(pair)
        return len(self._pairs) - 1

    def _number(self, key: str, symbol: str, meaning: Meaning) -> int:
        if key not in self._by_name:
            self._by_name[key] = len(self.symbols)
            self.symbols.append(symbol)
            self.meanings.append(meaning)
        return self._by_name[key]


class _Codes:
    """Category codes of a Categorical column -> numbers, each distinct one asked for once."""

    def __init__(self) -> None:
        self._numbers: NDArray[np.int32] = np.full(0, UNSEEN, dtype=np.int32)

    def map(self, names: pl.Series, number: Callable[[str], int]) -> NDArray[np.int32]:
        """The number of each name; -1 where it is null."""
        codes = names.to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
        top = int(codes.max(initial=0))
        if top >= self._numbers.size:
            grown = np.full(top * 2 + 16, UNSEEN, dtype=np.int32)
            grown[: self._numbers.size] = self._numbers
            self._numbers = grown
        seen = np.flatnonzero(np.bincount(codes + 1)[1:])
        new = seen[self._numbers[seen] == UNSEEN]
        for code, name in zip(new.tolist(), names_of(new), strict=True):
            self._numbers[code] = number(name)
        return np.where(codes >= 0, self._numbers[codes], np.int32(-1))


def names_of(codes: NDArray[np.int64]) -> list[str]:
    """The strings of category codes."""
    return categorical(codes).cast(pl.String).to_list()


def categorical(codes: NDArray[np.int64]) -> pl.Series:
    """Category codes as a Categorical column; negative codes are null."""
    known = pl.Series(np.maximum(codes, 0).astype(np.uint32)).cat.to(NAME)
    return known.to_frame("name").select(pl.when(pl.Series(codes >= 0)).then("name"))["name"]

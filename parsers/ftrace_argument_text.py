"""Arguments in text: `name=value` pairs of probes, tracepoints, and functions in a graph.

Numbers are decimal or hexadecimal with `0x`; everything else is text. Most values hold neither
spaces nor quotes, and are found by their equals signs; strings and characters are in quotes, and
rows that have some are matched by a regular expression. Source of truth: kernel/trace/trace_probe.c
(print_type_*), trace_output.c (print_function_args), 5.10 to 7.x. The kernel does not escape
quotes inside a string.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_text_lines import copied, distinct, first_of_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from traceview.parsers.ftrace_text_lines import Lines, Mask, Positions
    from traceview.trace import Want

QUOTED: Final = r"""[^\s=]+=(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\S*)"""
ANY_FIELD: Final = r"[A-Za-z_]\w*=\S*"


@dataclass(slots=True)
class Arguments:
    """Arguments found in rows of text: the row, the name's index in `names`, the value's text."""

    row: Positions
    names: list[str]
    name: Positions
    raw: pl.Series

    def filter(self, mask: Mask) -> Arguments:
        """Those where *mask* is true."""
        return Arguments(
            self.row[mask], self.names, self.name[mask], self.raw.filter(pl.Series(mask))
        )

    def values(self) -> tuple[pl.Series, pl.Series]:
        """The numbers (null where it is none) and the texts (null where it is one)."""
        value = numbers(self.raw)
        is_text = value.is_null()
        text = pl.Series([None], dtype=pl.String).new_from_index(0, len(value))
        if is_text.any():
            text = copied(self.raw.zip_with(is_text, text))
        return value, text


@dataclass(slots=True)
class WantedArguments:
    """Which arguments of which functions the vocabulary knows; remembers its answers."""

    want: Want
    known: dict[tuple[str | None, str], bool] = field(default_factory=dict)

    def mask(
        self,
        symbol: Positions,
        symbols: Sequence[str | None],
        pairs: Arguments,
        always: frozenset[str] = frozenset(),
    ) -> Mask:
        """Which of *pairs*, of the functions at index *symbol*, are wanted.

        Those named in *always*, and all of a function that has no name.
        """
        if self.want.all_events:
            return np.ones(symbol.size, np.bool_)
        width = max(1, len(pairs.names))
        kinds, kind = np.unique(symbol * width + pairs.name, return_inverse=True)
        answers = [
            pairs.names[code % width] in always
            or self._is_known(symbols[code // width], pairs.names[code % width])
            for code in kinds.tolist()
        ]
        return np.array(answers, np.bool_)[kind]

    def _is_known(self, symbol: str | None, name: str) -> bool:
        key = (symbol, name)
        if key not in self.known:
            meaning = self.want.vocabulary.meaning(symbol)
            self.known[key] = symbol is None or meaning.role(name) is not None
        return self.known[key]


def arguments(lines: Lines, start: Positions, stop: Positions) -> Arguments:
    """The `name=value` pairs between *start* and *stop* of each row (rows in order of position).

    A value ends before the next ` name=`, so it may contain spaces, but no quotes that hide an
    equals sign; a comma before the next name is not part of it.
    """
    equal = lines.positions("=")
    row = np.searchsorted(start, equal, side="right") - 1
    inside = row >= 0
    inside[inside] = equal[inside] < stop[row[inside]]
    equal, row = equal[inside], row[inside]
    key = np.maximum(equal - lines.word_before(equal), start[row])
    # A second equals sign in a word belongs to the value.
    fresh = (key < equal) & first_of_each(key)
    equal, row, key = equal[fresh], row[fresh], key[fresh]
    is_last = np.append(row[1:] != row[:-1], [True])[: row.size]
    end = np.where(is_last, stop[row], np.append(key[1:], [0])[: row.size])
    end -= np.minimum(lines.spaces_before(end), end - equal - 1)
    end -= (~is_last) & (lines.buffer[end - 1] == ord(",")) & (end > equal + 1)
    name, names = distinct(lines.text(key, equal))
    return Arguments(row, names, name, lines.text(equal + 1, end))


def matched_arguments(texts: pl.Series, pattern: str) -> Arguments:
    """The pairs in *texts* that match *pattern*; quotes around a value are taken off."""
    found = pl.DataFrame({"row": np.arange(len(texts)), "pair": texts.str.extract_all(pattern)})
    pairs = found.explode("pair").drop_nulls("pair")
    split = pairs["pair"].str.splitn("=", 2).struct.unnest()
    name, names = distinct(split["field_0"])
    raw = split["field_1"]
    if raw.str.contains("""^["']""").any():
        inner = raw.str.extract('^"(.*)"$').fill_null(raw.str.extract("^'(.*)'$"))
        raw = inner.fill_null(raw)
    return Arguments(pairs["row"].to_numpy(), names, name, raw)


def numbers(texts: pl.Series) -> pl.Series:
    """Decimal and 0x-hexadecimal numbers of 64 bits as their two's complement; null: no number."""
    is_hex = texts.str.starts_with("0x")
    numbers = texts.cast(pl.Int64, strict=False)
    beyond = numbers.is_null() & ~is_hex & texts.str.contains(r"^\d{19,20}$")
    if is_hex.any():
        digits = texts.filter(is_hex).str.strip_prefix("0x")
        numbers = numbers.scatter(_where(is_hex), _hexadecimal(digits))
    if beyond.any():
        unsigned = texts.filter(beyond).cast(pl.UInt64, strict=False)
        numbers = numbers.scatter(_where(beyond), unsigned.reinterpret(signed=True))
    return numbers


def _hexadecimal(digits: pl.Series) -> pl.Series:
    return digits.str.to_integer(base=16, dtype=pl.UInt64, strict=False).reinterpret(signed=True)


def _where(mask: pl.Series) -> npt.NDArray[np.int64]:
    return np.flatnonzero(mask.to_numpy())

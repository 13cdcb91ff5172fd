"""Fields of records that become arguments of their events.

Which ones are wanted depends on the function: the vocabulary knows the arguments of some, and of a
function without a name, all are kept. What a function returned is always kept.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.event_format import LOCATION_BYTES
from traceview.parsers.record_fields import (
    array_column,
    as_ints,
    dynamic_spans,
    field_spans,
    gather,
    text_column,
)
from traceview.parsers.record_names import AddressCodes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.parsers.columns import Flags, Ints, Words
    from traceview.parsers.event_format import EventFormat, Field
    from traceview.parsers.record_fields import Part
    from traceview.parsers.record_names import Codes
    from traceview.parsers.record_output import Context, Output

RETURNED: Final = "ret"
PARENT: Final = "parent_ip"
FAULT: Final = "(fault)"  # what the kernel prints for a string that it could not read
REGISTER_BYTES: Final = 8
MAX_REGISTERS: Final = 8  # FTRACE_REGS_MAX_ARGS of arm64; other architectures have fewer


class Wanted:
    """Which arguments of which classes of events are wanted; remembers its answers."""

    def __init__(self, context: Context) -> None:
        """Ask the vocabulary of *context*."""
        self._want, self._classes = context.want, context.classes
        self._known: dict[tuple[int, str], bool] = {}

    def mask(self, name: str, what: Codes) -> Flags | bool:
        """Which events of the classes *what* want the argument *name*: all, none, or some."""
        if self._want.all_events or name == RETURNED:
            return True
        present = np.flatnonzero(np.bincount(what)).tolist()
        wanting = [code for code in present if self._wants(code, name)]
        if len(wanting) in (0, len(present)):
            return bool(wanting)
        table = np.zeros(present[-1] + 1, dtype=np.bool_)
        table[wanting] = True
        return table[what]

    def _wants(self, code: int, name: str) -> bool:
        key = (code, name)
        if key not in self._known:
            symbol = self._classes.known[code].symbol
            meaning = self._want.vocabulary.meaning(symbol)
            self._known[key] = symbol is None or meaning.role(name) is not None
        return self._known[key]


class FieldArguments:
    """The fields of one event as arguments."""

    def __init__(
        self,
        context: Context,
        event: EventFormat,
        fields: Sequence[Field],
        *,
        is_probe: bool = False,
        keep_all: bool = False,
    ) -> None:
        """Make arguments of *fields*.

        *is_probe*: a `char` is a character, and an empty string one that could not be read.
        *keep_all*: whether the vocabulary knows them or not.
        """
        self._context, self._event, self._is_probe = context, event, is_probe
        self._keep_all = keep_all or not is_probe
        self._wanted = Wanted(context)
        self._fields = tuple(fields)
        self._codes = [context.names.code(one.name) for one in fields]

    @property
    def numbers(self) -> list[Field]:
        """The fields whose numbers `add` must be given, in order: numbers and locations."""
        return [part for one in self._fields for part in _numbers(one)]

    def add(self, part: Part, columns: Sequence[Ints], what: Codes, out: Output) -> None:
        """The arguments of *part*, whose events are of the classes *what*."""
        at = 0
        for one, code in zip(self._fields, self._codes, strict=True):
            count = len(_numbers(one))
            mine = columns[at : at + count]
            at += count
            mask = self._keep_all or self._wanted.mask(one.name, what)
            if mask is True:
                self._add(part, one, code, mine, out)
            elif mask is not False:
                rows = np.flatnonzero(mask)
                some = part.take(rows)
                self._add(some, one, code, [column[rows] for column in mine], out)
                part.used[rows] = some.used

    def _add(self, part: Part, one: Field, code: int, columns: Sequence[Ints], out: Output) -> None:
        """One argument of all events of *part*; *columns* are its numbers."""
        if one.kind == "number" and not (self._is_probe and one.declaration.startswith("char ")):
            out.add_numbers(part.row, code, columns[0])
            return
        if one.kind == "number":
            rows, text = np.arange(len(part)), CHARACTERS.gather(columns[0] & 0xFF)
        elif len(columns) > 1:
            rows, text = self._strings(part, one, columns)
        else:
            rows, text = self._text(part, one, columns)
        out.add_texts(part.row[rows], code, text)

    def _text(self, part: Part, one: Field, columns: Sequence[Ints]) -> tuple[Ints, pl.Series]:
        """The text of a field, and the rows that have it."""
        spans, bad = dynamic_spans(part, one, columns[0]) if columns else field_spans(part, one)
        if bad.any():
            self._context.trouble.fields[f"{self._event.name}.{one.name}"] += int(bad.sum())
        if not one.is_text:
            decimal = (
                re.search(rf"\b{re.escape(one.name)}=\{{%l*[du]", self._event.print_format)
                is not None
            )
            return spans.at, array_column(part.data, spans, one, decimal=decimal)
        text = text_column(part.data, spans)
        if self._is_probe and columns and (spans.length == 0).any():
            text = text.set(pl.Series(spans.length == 0), FAULT)
        return spans.at, text

    def _strings(self, part: Part, one: Field, columns: Sequence[Ints]) -> tuple[Ints, pl.Series]:
        """An array of strings, as the kernel prints it: `{"a","b"}`."""
        whole = np.ones(len(part), dtype=np.bool_)
        items = []
        for i, location in enumerate(columns):
            place = replace(one, offset=one.offset + LOCATION_BYTES * i)
            rows, text = self._text(part, place, [location])
            item = pl.Series([None], dtype=pl.String).new_from_index(0, len(part))
            items.append(item.scatter(rows, text))
            whole[np.setdiff1d(np.arange(len(part)), rows)] = False
        quoted = [pl.concat_str(pl.lit('"'), item, pl.lit('"')) for item in items]
        joined = pl.select(
            pl.concat_str(pl.lit("{"), pl.concat_str(quoted, separator=","), pl.lit("}"))
        )
        rows = np.flatnonzero(whole)
        return rows, joined.to_series().gather(rows)


# The text of a character.
CHARACTERS: Final = pl.Series([bytes([n]).decode("utf-8", "replace") for n in range(256)])


def _numbers(one: Field) -> list[Field]:
    """The numbers that must be read for a field: its own, or its locations."""
    if one.kind == "number":
        return [one]
    if one.kind not in ("data_loc", "rel_loc"):
        return []
    place = replace(one, kind="number", size=LOCATION_BYTES, element_size=4, signed=False)
    count = one.size // LOCATION_BYTES
    return [replace(place, offset=one.offset + LOCATION_BYTES * i) for i in range(count)]


class RegisterArguments:
    """The registers that follow the entry of a function: x0 is `arg1`."""

    def __init__(self, context: Context, args: Field) -> None:
        """*args*: the field without a size that stands at the end."""
        self._offset = args.offset
        self._wanted = Wanted(context)
        names = [f"arg{n + 1}" for n in range(MAX_REGISTERS)]
        self._arguments = [(name, context.names.code(name)) for name in names]

    def add(self, part: Part, what: Codes, out: Output) -> None:
        """The arguments of *part*."""
        count = (part.size - self._offset) // REGISTER_BYTES
        for n, (name, code) in enumerate(self._arguments):
            has = count > n
            if not has.any():
                return
            mask = self._wanted.mask(name, what)
            if mask is False:
                continue
            rows = np.flatnonzero(has if mask is True else has & mask)
            at = part.start[rows] + (self._offset + n * REGISTER_BYTES)
            out.add_numbers(part.row[rows], code, as_ints(gather(part.data, at, np.dtype("<u8"))))


class Callers:
    """Addresses of callers as arguments: the function's name, or the address where it has none."""

    def __init__(self, context: Context) -> None:
        """Names come from the symbol table of *context*."""
        self._names = context.names
        self._code = context.names.code(PARENT)

        def make(addresses: Words) -> Codes:
            found = context.functions.names(addresses)
            return np.array([context.names.code(name) for name in found], dtype=np.uint32)

        self._callers = AddressCodes(make)

    def add(self, part: Part, addresses: Ints, out: Output) -> None:
        """One argument for each event of *part*."""
        codes = self._callers.look_up(addresses.view(np.uint64))
        named = codes > 0
        rows = part.row[named]
        out.add_texts(rows, self._code, self._names.column(codes[named]).cast(pl.String))
        out.add_numbers(part.row[~named], self._code, addresses[~named])

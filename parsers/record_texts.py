"""trace_printk: the texts whose formats lie in the kernel, by address, and numbers in the record.

`printk_formats` of tracefs lists the formats. A `bprint` record holds the numbers as the kernel's
vbin_printf packed them: each is aligned to its own size, but to 4 bytes at most; a string is there
with its NUL; of pointers, `%p`, `%px`, `%pK`, `%pe`, `%ps` and `%pS` are addresses, all others were
turned into text when they were recorded. Records are rendered one by one: trace_printk is for
debugging a kernel, and no two are alike.

Source of truth: lib/vsprintf.c (vbin_printf, bstr_printf), kernel/trace/trace_printk.c of
Linux 5.10 to 7.2.
"""

from __future__ import annotations

import re
from itertools import repeat
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from traceview.parsers.columns import Bytes, Ints
    from traceview.parsers.event_format import Field
    from traceview.parsers.record_fields import Part
    from traceview.parsers.record_output import Context

LISTED: Final = re.compile(r'^\s*(?:0x)?([0-9a-fA-F]{1,16})\s*:\s*"(.*)"\s*$')
ESCAPE: Final = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))")
ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
                  "e": "\x1b"}  # fmt: skip
SPEC: Final = re.compile(
    r"%(?:%|(?P<flags>[-+ #0]*)(?P<width>\*|\d*)(?:\.(?P<precision>\*|-?\d*))?"
    r"(?P<size>hh|h|ll|l|L|z|Z|t|j|q)?(?:(?P<type>[diuxXocs])|(?P<type_p>p)(?P<pointer>[A-Za-z0-9]*)))"
)
SIZES: Final = {None: 4, "hh": 1, "h": 2}  # all others: 8
ADDRESSES: Final = "sSxKe"  # what may follow %p for an address to be recorded
ADDRESS_MASK: Final = (1 << 64) - 1
MAX_WIDTH: Final = 256
MAX_TEXT: Final = 1024  # TRACE_BUF_SIZE


def parse_printk_formats(text: str) -> dict[int, str]:
    """The formats that tracefs `printk_formats` lists, by address: `0xffff... : "text"`."""
    matches = (LISTED.match(line) for line in text.splitlines())
    return {
        int(found[1], 16): ESCAPE.sub(_unescaped, found[2][:MAX_TEXT]) for found in matches if found
    }


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 8) & 0xFF)
    if match[2]:
        return chr(int(match[2], 16))
    return ESCAPES.get(match[3], match[3])


class Symbol(Protocol):
    """Names an address, with or without how far into the function it lies."""

    def __call__(self, address: int, *, offset: bool) -> str:
        """The name, or the address where it has none."""
        ...


class BinaryFormats:
    """Renders records that name their format by its address."""

    def __init__(self, context: Context, words: Field | None) -> None:
        """*words*: the field with the packed numbers; None where the format is the whole text."""
        self._printk, self._trouble = context.printk, context.trouble
        self._functions = context.functions
        self._words = words

    def render(self, part: Part, address: Ints) -> pl.Series:
        """The text of each record."""
        starts, ends = part.start.tolist(), (part.start + part.size).tolist()
        texts = map(self._text, repeat(part.data), address.tolist(), starts, ends)
        return pl.Series(list(texts), dtype=pl.String)

    def _text(self, data: Bytes, address: int, start: int, end: int) -> str:
        address &= ADDRESS_MASK
        form = self._printk.get(address)
        if form is None:
            self._trouble.nameless_formats += 1
            return f"(no format at {address:#x})"
        if self._words is None:
            return form[:MAX_TEXT]
        packed = Packed(bytes(data[start + self._words.offset : end]), self._symbol)
        text = packed.render(form[:MAX_TEXT])
        if packed.is_short:
            self._trouble.fields["bprint.buf"] += 1
        return text

    def _symbol(self, address: int, *, offset: bool) -> str:
        where = np.array([address], dtype=np.uint64)
        found = self._functions.names(where)[0]
        if found is None:
            return f"{address:#x}"
        return f"{found}+{int(self._functions.offsets(where)[0]):#x}" if offset else found


class Packed:
    """The arguments of one record, taken off one after the other."""

    def __init__(self, packed: bytes, symbol: Symbol) -> None:
        """*symbol* names an address."""
        self._packed, self._at, self._symbol = packed, 0, symbol
        self.is_short = False  # the format asked for more than there is

    def render(self, form: str) -> str:
        """*form* with the arguments filled in, as far as they go."""
        pieces, last, length = [], 0, 0
        for spec in SPEC.finditer(form):
            pieces += [form[last : spec.start()], self._filled(spec)]
            last = spec.end()
            length += len(pieces[-1]) + len(pieces[-2])
            if self.is_short or length > MAX_TEXT:
                pieces.pop()
                last = spec.start()
                break
        return "".join([*pieces, form[last:]])[:MAX_TEXT]

    def _filled(self, spec: re.Match[str]) -> str:
        kind = spec["type"] or spec["type_p"]
        if kind is None:
            return "%"
        flags, width = spec["flags"], self._count(spec["width"])
        if width < 0:
            flags, width = flags + "-", -width
        precision = None if spec["precision"] is None else self._count(spec["precision"])
        if kind == "s":
            text = self._string()
            text = text if precision is None or precision < 0 else text[:precision]
        elif kind == "p":
            text = self._pointer(spec["pointer"])
        elif kind == "c":
            text = chr(self._number(1))
        else:
            text = self._integer(kind, SIZES.get(spec["size"], 8), flags, precision)
            if "0" in flags and "-" not in flags and precision is None:
                return text.zfill(width) if text[:2] != "0x" else f"0x{text[2:].zfill(width - 2)}"
        return text.ljust(width) if "-" in flags else text.rjust(width)

    def _count(self, text: str) -> int:
        """A width or precision; a star is an argument."""
        if text == "*":
            value = self._number(4)
            value -= (value >> 31) << 32
        else:
            value = int(text[:9] or "0") if text[:9] != "-" else 0
        return max(-MAX_WIDTH, min(value, MAX_WIDTH))

    def _integer(self, kind: str, size: int, flags: str, precision: int | None) -> str:
        value = self._number(size)
        if kind in "di":
            value -= (value >> (8 * size - 1)) << (8 * size)
        digits = format(abs(value), {"x": "x", "X": "X", "o": "o"}.get(kind, "d"))
        digits = digits.zfill(max(precision or 0, 0))
        prefix = {"x": "0x", "X": "0X", "o": "0"}.get(kind, "") if "#" in flags else ""
        sign = "-" if value < 0 else "+" if "+" in flags else " " if " " in flags else ""
        return (sign if kind in "di" else "") + prefix + digits

    def _pointer(self, extension: str) -> str:
        if extension[:1].isalnum() and extension[0] not in ADDRESSES:
            return self._string()
        value = self._number(8)
        if extension[:1] in ("s", "S"):
            return self._symbol(value, offset=extension[0] == "S")
        if extension[:1] == "e" and value >> 12 == ADDRESS_MASK >> 12:
            return str(value - (1 << 64))  # an error number
        return f"{value:016x}"

    def _number(self, size: int) -> int:
        align = min(size, 4)
        at = -(-self._at // align) * align
        self._at = at + size
        self.is_short |= self._at > len(self._packed)
        return int.from_bytes(self._packed[at : at + size], "little")

    def _string(self) -> str:
        end = self._packed.find(b"\0", self._at)
        self.is_short |= end < 0
        text = self._packed[self._at : end if end >= 0 else None]
        self._at = end + 1 if end >= 0 else len(self._packed)
        return text.decode("utf-8", "replace")

"""Functions as the kernel prints them: `name`, `name [module]`, `name+0x0/0x10`, `name <address>`.

What surrounds the name depends on the options sym-offset and sym-addr; an address that has no
name is printed as a number, by trace-cmd without `0x`. Source of truth:
kernel/trace/trace_output.c (trace_seq_print_sym, seq_print_ip_sym), 5.10 to 7.x.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.ftrace_text_lines import distinct, nullable
from traceview.parsers.ftrace_text_rows import looked_up

if TYPE_CHECKING:
    from traceview.parsers.ftrace_text_lines import Mask, Positions

NAME_TEXT: Final = r"[A-Za-z_.$][\w.$@]*"
# What may follow a name: offset and size, module, address.
TRAILER: Final = r"(?:\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?)?(?: \[[\w-]+\])?(?: <[0-9a-f]+>)?"
ADDRESS: Final = re.compile(r"0x([0-9a-f]{1,16})|([0-9a-f]{16})|(0)")
SYMBOL_CHARS: Final = 700  # 512 (KSYM_NAME_LEN), and what may follow
SYMBOL: Final = re.compile(rf"({NAME_TEXT}){TRAILER}")


@dataclass(frozen=True, slots=True)
class Symbols:
    """Functions by row: `symbol`, or `probe_ip` where only an address was printed.

    `valid` is false where the text is neither. `index` into `names` is the symbol as a number.
    """

    symbol: pl.Series
    probe_ip: pl.Series
    valid: Mask
    index: Positions
    names: list[str | None]

    def take(self, rows: Mask) -> Symbols:
        """The functions of *rows*."""
        mask = pl.Series(rows)
        return Symbols(
            self.symbol.filter(mask),
            self.probe_ip.filter(mask),
            self.valid[rows],
            self.index[rows],
            self.names,
        )


def read_symbols(texts: pl.Series) -> Symbols:
    """The functions that *texts* name."""
    index, values = distinct(texts)
    read = [_symbol(value) for value in values]
    names = [symbol for symbol, _ in read]
    ips = np.array([ip or 0 for _, ip in read], np.uint64)
    has_ip = np.array([ip is not None for _, ip in read], np.bool_)
    valid = np.array([symbol is not None or ip is not None for symbol, ip in read], np.bool_)
    return Symbols(
        looked_up(names, index),
        nullable(ips[index], has_ip[index], pl.UInt64()),
        valid[index],
        index,
        names,
    )


def _symbol(text: str) -> tuple[str | None, int | None]:
    # What is longer than any symbol is none, and not worth remembering.
    return (None, None) if len(text) > SYMBOL_CHARS else _cached_symbol(text)


@lru_cache(maxsize=20_000)
def _cached_symbol(text: str) -> tuple[str | None, int | None]:
    if match := ADDRESS.fullmatch(text):
        return None, int(match[1] or match[2] or match[3], 16)
    if match := SYMBOL.fullmatch(text):
        return match[1], None
    return None, None

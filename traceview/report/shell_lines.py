"""A command in lines of printable ASCII that bash joins to the same words, byte for byte.

A backslash at the end of a line joins the next one to it (bash(1), QUOTING). A word that is longer
than a line goes on at the very beginning of the next one, in quotes of its own, as blanks there
would end it. What is not printable ASCII is written in $'...'.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INDENT: Final = 4
# Kept as they are within $'...': all that is printable but what ends it or begins an escape.
PLAIN: Final = frozenset(range(0x20, 0x7F)) - frozenset(b"'\\")
LEAST_WIDTH: Final = 20


def shell_lines(words: Iterable[str], width: int) -> list[str]:
    """*words* as one command in lines of at most *width*."""
    lines: list[str] = []
    line = ""
    for word in words:
        for at, piece in enumerate(_pieces(word, max(width, LEAST_WIDTH) - INDENT - 2)):
            between = " " if line and not at else ""
            if line and not at and len(line) + 1 + len(piece) + 2 <= width:
                line += between + piece
                continue
            lines += [f"{line}{between}\\"] if line else []
            line = ("" if at else " " * INDENT) + piece if lines else piece
    return [*lines, line] if line else lines


def shell_word(text: str) -> str:
    """*text* as bash reads it, in printable ASCII."""
    raw = os.fsencode(text)
    if raw.isascii() and text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(_units(raw))}'"


def _pieces(word: str, width: int) -> Iterator[str]:
    """*word*, quoted, in pieces of at most *width* that make it when they are joined."""
    whole = shell_word(word)
    if len(whole) <= width:
        yield whole
        return
    raw = os.fsencode(word)
    plain = raw.isascii() and word.isprintable() and not set(word) & set("'\\")
    begin, piece = "'" if plain else "$'", ""
    for unit in _units(raw):
        if len(begin) + len(piece) + len(unit) + 1 > width:
            yield f"{begin}{piece}'"
            piece = ""
        piece += unit
    yield f"{begin}{piece}'"


def _units(raw: bytes) -> Iterator[str]:
    """Each byte as $'...' has it; three octal digits end by themselves."""
    for byte in raw:
        yield chr(byte) if byte in PLAIN else f"\\{byte:03o}"

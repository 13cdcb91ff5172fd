"""Tables of measurements as posted in a cover letter: size, base, series; plain text or CSV.

One row per line: a size, then the time without and with the series. Cells stand apart by blanks,
commas, tabs or `|`; rulers, titles and quoting (`> `) are passed over. A size without unit is in
GB, a time in seconds. Lines that begin with `#` may say more:

    # table: 2M pages          a new table begins (a file without such a line is one table)
    # claim: at least 3x       what the text says of this table
    # Message-ID: ...          and other facts, kept as they are

A row whose first cell is a hexadecimal number is the recorded operand of a range TLBI, followed by
the size that the text says it covers. How a number was rounded is kept: `.50` is 0.495 to 0.505.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from traceview.errors import ParseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUOTING: Final = re.compile(r"^[>\s]*")
FACT: Final = re.compile(r"#\s*(?P<key>[\w-]+)\s*:\s*(?P<value>.*\S)\s*$")
SIZE: Final = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[KMGT]?(?:i?B)?)")
TIME: Final = re.compile(r"(?P<number>\d*\.?\d+)(?P<unit>s|ms|us|ns)?")
OPERAND: Final = re.compile(r"0x(?P<digits>[0-9a-fA-F]{1,16})")
UNITS: Final = {"": 1 << 30, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
SECONDS: Final = {"": Decimal(1), "s": Decimal(1), "ms": Decimal("1e-3"), "us": Decimal("1e-6"),
                  "ns": Decimal("1e-9")}  # fmt: skip
MOST_BYTES: Final = 1 << 20
EXPECTED: Final = "a row is: size, base, series, as in `1 GB, .50, .007`"


@dataclass(frozen=True, slots=True)
class Posted:
    """A number as it was printed: seconds, and half a unit of its last digit."""

    value: Decimal
    half_digit: Decimal


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; `size_bytes` of memory took so long on each side."""

    size_bytes: int
    base: Posted
    series: Posted


@dataclass(frozen=True, slots=True)
class Operand:
    """A recorded operand and how many bytes the text says that it covers (None: not said)."""

    operand: int
    said_bytes: int | None


@dataclass(slots=True)
class PostedTable:
    """One table: its title, what is claimed of it, and its rows in the order of the file."""

    title: str
    claims: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    operands: list[Operand] = field(default_factory=list)


@dataclass(slots=True)
class Posting:
    """A file: facts such as its Message-ID, and its tables."""

    path: str
    facts: dict[str, str]
    tables: list[PostedTable]


def read_posting(path: Path) -> Posting:
    """Read *path* (`-`: standard input).

    Raises ParseError where it cannot be read, holds no row, or holds a line that begins with a
    number and is no row.
    """
    name = "<stdin>" if str(path) == "-" else str(path)
    try:
        content = _content(path)
    except OSError as err:
        raise ParseError(f"cannot be opened: {err.strerror}", path=name) from err
    if len(content) > MOST_BYTES:
        raise ParseError("too large for a posted table (1 MiB at most)", path=name)
    posting = Posting(name, {}, [PostedTable("")])
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        _take(posting, QUOTING.sub("", line).strip(), number)
    posting.tables = [one for one in posting.tables if one.rows or one.operands]
    if not posting.tables:
        raise ParseError(f"no row of measurements in it\n{EXPECTED}", path=name)
    return posting


def _content(path: Path) -> bytes:
    """The bytes of a file, and one more where there are too many."""
    if str(path) == "-":
        if sys.stdin is None:  # closed before the program began
            raise ParseError("standard input is closed", path="<stdin>")
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _take(posting: Posting, line: str, number: int) -> None:
    """One line of the file, without its quoting."""
    table = posting.tables[-1]
    if line.startswith("#"):
        fact = FACT.match(line)
        if fact is None:
            return
        if fact["key"] == "table":
            posting.tables.append(PostedTable(fact["value"]))
        elif fact["key"] == "claim":
            table.claims.append(fact["value"])
        else:
            posting.facts[fact["key"]] = fact["value"]
        return
    cells = list(_cells(line))
    if not cells or not re.match(r"\.?\d", cells[0]):
        return
    operand = OPERAND.fullmatch(cells[0])
    try:
        if operand is not None:
            said = _size(cells[1]) if len(cells) > 1 else None
            table.operands.append(Operand(int(operand["digits"], 16), said))
            return
        table.rows.append(_row(cells))
    except ValueError as err:
        raise ParseError(
            f"line {number} is no row of a table: {err}\n{EXPECTED}",
            path=posting.path, reading=line[:80],
        ) from err  # fmt: skip


def _row(cells: list[str]) -> Row:
    if len(cells) != 3:
        raise ValueError(f"it has {len(cells)} cells")
    return Row(_size(cells[0]), _time(cells[1]), _time(cells[2]))


def _cells(line: str) -> Iterator[str]:
    """The cells; a unit that stands apart belongs to the number before it."""
    waiting = ""
    for cell in re.split(r"[\s,;|]+", line.strip("|,; \t")):
        if waiting and re.fullmatch(r"[KMGT]i?B?|s|ms|us|ns", cell):
            yield waiting + cell
            waiting = ""
            continue
        if waiting:
            yield waiting
        waiting = cell
    if waiting:
        yield waiting


def _size(text: str) -> int:
    match = SIZE.fullmatch(text)
    size = Decimal(match["number"]) * UNITS[match["unit"].rstrip("iB")] if match else Decimal(0)
    if not size or size != int(size) or size >= 1 << 63:
        raise ValueError(f"{text!r} is no size")
    return int(size)


def _time(text: str) -> Posted:
    match = TIME.fullmatch(text)
    if match is None or len(text) > 30 or not (value := Decimal(match["number"])):
        raise ValueError(f"{text!r} is no time")
    scale = SECONDS[match["unit"] or ""]
    decimals = len(match["number"].partition(".")[2])
    return Posted(value * scale, Decimal(1).scaleb(-decimals) / 2 * scale)

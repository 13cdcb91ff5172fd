"""Lines of text that never exceed a width: headings, wrapped paragraphs, tables, facts.

A table that does not fit drops the columns that may be dropped and names them below, and where
that is not enough becomes one short paragraph per row. No boxes and no trailing blanks: the same
lines go to terminals, pipes, mails and documents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

GAP = 2
# Text.wrap asks a console for nothing but its defaults.
WRAPPER = Console(file=None, width=80, color_system=None)


@dataclass(frozen=True, slots=True)
class Column:
    """A column: numbers stand to the right; `drop` > 0 may be left out, the highest first.

    `note` says below the table what the column holds, if the table shows it.
    """

    title: str
    right: bool = False
    drop: int = 0
    note: str = ""


def heading(text: str, width: int) -> list[Text]:
    """An empty line and a heading."""
    return [Text(), *wrapped(Text(text, style="bold"), width)]


def wrapped(text: Text | str, width: int, *, indent: int = 0, hang: int = 0) -> list[Text]:
    """*text* in lines of at most *width*; the first is indented by *indent*, the others more."""
    if indent + hang + 8 > width:
        indent, hang = 0, 0
    lines = _wrap(text, width - indent - hang)
    return [
        Text(" " * (indent + (hang if at else 0))).append_text(line)
        for at, line in enumerate(lines)
    ]


def led(lead: Text, text: Text | str, width: int, *, indent: int = 0) -> list[Text]:
    """*text* to the right of *lead*, all of its lines."""
    if indent + lead.cell_len + 8 > width:
        return wrapped(lead.append(text), width)
    lines = []
    for at, line in enumerate(_wrap(text, width - indent - lead.cell_len)):
        before = Text(" " * lead.cell_len) if at else lead
        lines.append(Text(" " * indent).append_text(before).append_text(line))
    return lines


def bullets(texts: Iterable[Text | str], width: int) -> list[Text]:
    """Each of *texts* as a paragraph that begins with a dash."""
    return [line for text in texts for line in led(Text("- "), text, width, indent=2)]


def facts(pairs: Iterable[tuple[str, str]], width: int) -> list[Text]:
    """Names and values, the values below one another."""
    pairs = list(pairs)
    name_width = max((cell_len(name) for name, _ in pairs), default=0) + GAP
    return [
        line
        for name, value in pairs
        for line in led(Text(name.ljust(name_width), style="dim"), value, width, indent=2)
    ]


def _wrap(text: Text | str, width: int) -> list[Text]:
    text = Text(text) if isinstance(text, str) else text
    lines = list(text.wrap(WRAPPER, width, overflow="fold"))
    for line in lines:
        line.rstrip()
    return lines


def flow(items: Sequence[Text], width: int, *, indent: int = 0, gap: int = 3) -> list[Text]:
    """*items* beside one another as far as they go, each kept whole where it fits a line."""
    lines: list[Text] = []
    line = Text(" " * indent)
    for item in items:
        if line.cell_len > indent and line.cell_len + gap + item.cell_len > width:
            lines += wrapped(line, width)
            line = Text(" " * indent)
        if line.cell_len > indent:
            line.append(" " * gap)
        line.append_text(item)
    return lines + (wrapped(line, width) if line.cell_len > indent else [])


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, *, keys: int = 1
) -> list[Text]:
    """*rows* below the titles of *columns*; the first *keys* columns name the row.

    A droppable column that says `-` or nothing in every row is left out.
    """
    return tables(columns, [(None, rows)], width, keys=keys)


def tables(
    columns: Sequence[Column],
    parts: Sequence[tuple[str | None, Sequence[Sequence[str]]]],
    width: int,
    *,
    keys: int = 1,
) -> list[Text]:
    """A table in *parts*, each below its own title: all of them show the same columns."""
    rows = [row for _, of in parts for row in of]
    said = _saying(columns, rows)
    fits = _fitting(columns, rows, said, width)
    lines: list[Text] = []
    for title, of in parts:
        lines += [] if title is None else wrapped(Text(title, style="bold"), width, indent=2)
        if fits is None:
            lines += _records(columns, of, width, keys)
            continue
        widths = [_column_width(columns[at], rows, at) for at in fits]
        lines += _grid(
            [columns[at] for at in fits], [[row[at] for at in fits] for row in of], widths
        )
    shown = said if fits is None else fits
    notes = [f"{columns[at].title}: {columns[at].note}" for at in shown if columns[at].note]
    lines += wrapped("; ".join(notes), width, indent=GAP, hang=GAP) if notes else []
    left_out = [columns[at].title for at in said if at not in shown]
    if left_out:
        needed = _table_width(columns, rows, said)
        text = (
            f"columns left out at this width: {', '.join(left_out)}"
            f" (COLUMNS={needed} or a wider terminal shows them)"
        )
        lines += wrapped(Text(text, style="dim"), width, indent=GAP, hang=GAP)
    return lines


def _saying(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns that say something, or must stay."""
    return [
        at
        for at, column in enumerate(columns)
        if not column.drop or any(row[at] not in {"", "-"} for row in rows)
    ]


def _fitting(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], said: Sequence[int], width: int
) -> list[int] | None:
    """Those of *said* that *width* has room for; None where what must stay is too wide."""
    left = list(said)
    while _table_width(columns, rows, left) > width:
        least = max(left, key=lambda at: columns[at].drop)
        if not columns[least].drop:
            return None
        left.remove(least)
    return left


def _table_width(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], shown: Sequence[int]
) -> int:
    return sum(_column_width(columns[at], rows, at) + GAP for at in shown)


def _column_width(column: Column, rows: Sequence[Sequence[str]], at: int) -> int:
    return max(cell_len(text) for text in (column.title, *(row[at] for row in rows)))


def _grid(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int]
) -> list[Text]:
    lines = [_row([column.title for column in columns], columns, widths, style="dim")]
    return lines + [_row(row, columns, widths) for row in rows]


def _row(
    values: Sequence[str], columns: Sequence[Column], widths: Sequence[int], style: str = ""
) -> Text:
    line = " " * GAP
    for value, column, width in zip(values, columns, widths, strict=True):
        blanks = " " * (width - cell_len(value))
        line += (blanks + value if column.right else value + blanks) + " " * GAP
    return Text(line.rstrip(), style=style)


def _records(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, keys: int
) -> list[Text]:
    lines = []
    for row in rows:
        name = ", ".join(value for value in row[:keys] if value not in {"", "-"})
        said = ", ".join(
            f"{column.title} {value}"
            for column, value in zip(columns[keys:], row[keys:], strict=True)
            if value not in {"", "-"} or not column.drop
        )
        lines += wrapped(name, width, indent=2, hang=2) if name else []
        lines += wrapped(said, width, indent=4, hang=2)
    return lines

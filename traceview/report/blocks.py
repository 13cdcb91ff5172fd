"""A report as sections of plain blocks, which mail text, Markdown and HTML each write their way.

Texts in blocks are as long as they are: whoever writes them wraps. They hold words of ours and
values that went through `wording.clean`, and no markup: whoever writes them escapes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; `strong` ones must not be overlooked."""

    text: str
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and values, one pair per line."""

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Bullets:
    """Paragraphs that each begin with a dash."""

    items: tuple[Paragraph, ...]


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table: numbers stand to the right; `note` says what it holds."""

    title: str
    right: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of as many cells as there are columns, below an optional title.

    The first `keys` columns name the row: a writer that has no room for all columns repeats them
    beside those that it moves below. Columns are in order of importance. `note` is said below it.
    """

    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    keys: int = 1
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Lines that are kept as they are: a command, digests of files."""

    lines: tuple[str, ...]


Block = Paragraph | Facts | Bullets | Table | Verbatim


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report: `code` is a stable kebab-case name."""

    code: str
    title: str
    blocks: tuple[Block, ...]

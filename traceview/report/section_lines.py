"""Sections of blocks in lines for a terminal, as mail text and Markdown write them their way.

A table that does not fit drops its last columns first, which are the least important.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from traceview.report.blocks import Block, Bullets, Facts, Paragraph, Table, Verbatim
from traceview.report.layout import Column, bullets, facts, heading, table, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from traceview.report.blocks import Section

# Columns beside the key that stay whatever the width.
KEPT = 2


def section_lines(sections: Iterable[Section], width: int) -> list[Text]:
    """The lines of all *sections*; the first one is without its heading."""
    lines: list[Text] = []
    for at, section in enumerate(sections):
        lines += heading(section.title, width) if at else []
        for number, block in enumerate(section.blocks):
            lines += [Text()] if number and isinstance(block, Table) else []
            lines += _lines(block, width)
    return lines


def _lines(block: Block, width: int) -> Iterator[Text]:
    match block:
        case Paragraph():
            yield from wrapped(_styled(block), width)
        case Bullets():
            yield from bullets((_styled(item) for item in block.items), width)
        case Facts():
            yield from facts(block.pairs, width)
        case Table():
            yield from _table(block, width)
        case Verbatim():
            yield from (Text(f"  {line}") for line in block.lines)


def _styled(block: Paragraph) -> Text:
    return Text(block.text, style="bold" if block.strong else "")


def _table(block: Table, width: int) -> Iterator[Text]:
    if block.title:
        yield from wrapped(Text(block.title, style="bold"), width, indent=2)
    columns = [
        Column(one.title, right=one.right, drop=max(0, at + 1 - block.keys - KEPT), note=one.note)
        for at, one in enumerate(block.columns)
    ]
    yield from table(columns, block.rows, width, keys=block.keys)
    if block.note:
        yield from wrapped(block.note, width, indent=2)

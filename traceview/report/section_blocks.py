"""Blocks of sections from what the summaries are made of: columns, sentences, marked sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.report.blocks import Bullets, Facts, Paragraph, Table, TableColumn
from traceview.report.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from traceview.report.blocks import Block
    from traceview.report.layout import Column

DASH: Final = "-: not known, or not applicable"


def table_blocks(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str = "", keys: int = 1
) -> list[Block]:
    """A table, and what a dash in it says; columns that may be dropped and say nothing are."""
    shown = [
        at
        for at, column in enumerate(columns)
        if not column.drop or any(row[at] not in {"", UNKNOWN} for row in rows)
    ]
    kept = tuple(tuple(row[at] for at in shown) for row in rows)
    heads = tuple(
        TableColumn(columns[at].title, columns[at].right, columns[at].note) for at in shown
    )
    note = DASH if any(UNKNOWN in row for row in kept) else ""
    return [Table(heads, kept, title, min(keys, len(heads)), note)] if rows else []


def bullet_blocks(texts: Iterable[str | tuple[str, bool]]) -> list[Block]:
    """Sentences, each with whether it must not be overlooked."""
    items = tuple(
        Paragraph(one) if isinstance(one, str) else Paragraph(one[0], one[1]) for one in texts
    )
    return [Bullets(items)] if items else []


def facts_blocks(pairs: Iterable[tuple[str, str]]) -> list[Block]:
    """Names and values, as they are."""
    found = tuple(pairs)
    return [Facts(found)] if found else []

"""Blocks of a report as HTML; the one place where a string becomes markup.

Whatever a trace names (commands, paths, steps, labels) passes `text()`: characters that a reader
does not see become escapes as on a terminal, and what HTML would read as markup is escaped.
"""

from __future__ import annotations

import html
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from traceview.report.blocks import Bullets, Facts, Paragraph, Table, Verbatim
from traceview.report.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from traceview.report.blocks import Block, Section, TableColumn


# Characters, those between columns among them: a wider table wants the whole width of the page.
HALF_PAGE: Final = 90
GAP: Final = 2
# A longer cell is broken into lines.
LONG_CELL: Final = 36


def text(value: object) -> str:
    """*value* as HTML text or as the value of a quoted attribute."""
    return html.escape(clean(value), quote=True)


def section(
    of: Section, *, groups: Sequence[Sequence[str]] = (), copied: bool = False
) -> Iterator[str]:
    """A part of the report below its heading.

    *groups*: what the rows of its first tables are about, for `page.js`; *copied*: what is verbatim
    has a button that copies it.
    """
    name = text(of.code)
    most = max((_characters(one) for one in of.blocks if isinstance(one, Table)), default=0)
    wide = ' class="wide"' if most > HALF_PAGE else ""
    yield f'<section id="{name}"{wide} aria-labelledby="{name}-title">\n'
    yield f'<h2 id="{name}-title">{text(of.title)}</h2>\n'
    of_tables = iter(groups)
    for at, block in enumerate(of.blocks):
        about = next(of_tables, ()) if isinstance(block, Table) else ()
        yield from written(block, f"{name}-{at}", about)
        if copied and isinstance(block, Verbatim):
            yield f'<button type="button" data-copy="{name}-{at}" hidden>copy</button>\n'
    yield "</section>\n"


def written(block: Block, name: str, groups: Sequence[str] = ()) -> Iterator[str]:
    """One block; *name* is an id that nothing else on the page has."""
    if isinstance(block, Paragraph):
        strong = ' class="strong"' if block.strong else ""
        yield f"<p{strong}>{_emphasised(block)}</p>\n"
    elif isinstance(block, Facts):
        yield '<dl class="facts">\n'
        for key, value in block.pairs:
            yield f"<dt>{text(key)}</dt><dd>{text(value)}</dd>\n"
        yield "</dl>\n"
    elif isinstance(block, Bullets):
        yield "<ul>\n"
        for item in block.items:
            yield f"<li>{_emphasised(item)}</li>\n"
        yield "</ul>\n"
    elif isinstance(block, Verbatim):
        lines = "\n".join(text(line) for line in block.lines)
        yield f'<pre id="{name}" tabindex="0">{lines}</pre>\n'
    else:
        yield from table(block, name, groups)


def _emphasised(of: Paragraph) -> str:
    return f"<strong>{text(of.text)}</strong>" if of.strong else text(of.text)


def table(of: Table, name: str, groups: Sequence[str] = (), *, title: str = "") -> Iterator[str]:
    """A table that scrolls within its box; rows are named by the cells of their keys.

    *groups*: what each row is about, as charts call it, "" for none of theirs. *title* names the
    table for those who do not see what stands above it, where it has no title.
    """
    label = text(of.title or title or of.columns[0].title)
    yield f'<div class="box"><div class="scroll" role="region" tabindex="0" aria-label="{label}">'
    yield f'<table id="{name}">\n'
    if of.title:
        yield f"<caption>{text(of.title)}</caption>\n"
    yield "<thead><tr>"
    yield from (_head(column) for column in of.columns)
    yield "</tr></thead>\n<tbody>\n"
    for row, group in zip_longest(of.rows, groups[: len(of.rows)], fillvalue=""):
        about = f' data-group="{text(group)}"' if group else ""
        yield f"<tr{about}>{''.join(_cells(of, row))}</tr>\n"
    yield "</tbody></table></div>\n"
    notes = [f"{column.title}: {column.note}" for column in of.columns if column.note]
    notes += [of.note] if of.note else []
    if notes:
        yield f'<p class="note">{text("; ".join(notes))}</p>'
    yield "</div>\n"


def _characters(of: Table) -> int:
    """About how wide it is."""
    titles = tuple(column.title for column in of.columns)
    longest = [max(map(len, column)) for column in zip(titles, *of.rows, strict=True)]
    return sum(min(width, LONG_CELL) + GAP for width in longest)


def _head(column: TableColumn) -> str:
    return f'<th scope="col"{_class(column)}>{text(column.title)}</th>'


def _cells(of: Table, row: Iterable[str]) -> Iterator[str]:
    for at, (column, value) in enumerate(zip(of.columns, row, strict=True)):
        tag, scope = ("th", ' scope="row"') if at < of.keys else ("td", "")
        yield f"<{tag}{scope}{_class(column, value)}>{text(value)}</{tag}>"


def _class(column: TableColumn, value: str = "") -> str:
    names = [*(["n"] if column.right else []), *(["long"] if len(value) > LONG_CELL else [])]
    return f' class="{" ".join(names)}"' if names else ""

"""A report as GitHub-flavoured Markdown, with the same contents as the mail text.

Every character that Markdown, its table extension or HTML could act upon is escaped by a backslash
(CommonMark 0.31, "Backslash escapes": any ASCII punctuation may be): names that come out of traces
make no markup, no link and no HTML.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from traceview.report.blocks import Block, Bullets, Facts, Paragraph, Table, Verbatim
from traceview.report.mail import MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from traceview.report.blocks import Section

# Emphasis, code, links, HTML, tables, entities, strike-through, mathematics, mentions, headings.
MARKUP: Final = re.compile(r"[\\`*_\[\]<>|~&#@$]|(?<=[A-Za-z]):(?=//)|(?<=\bwww)\.", re.IGNORECASE)
# At the beginning of a line: items of lists, rules, underlines of headings.
LEADING: Final = re.compile(r"(?P<mark>[-+=])|(?P<digits>[0-9]+)(?P<end>[.)])")
FENCE: Final = re.compile("`{3,}")


def markdown(sections: Iterable[Section]) -> Iterator[str]:
    """The text, line by line."""
    for at, section in enumerate(sections):
        yield from ["\n"] if at else []
        yield f"## {_inline(section.title)}\n"
        for block in section.blocks:
            yield "\n"
            for line in _lines(block):
                yield f"{line}\n"


def _lines(block: Block) -> Iterator[str]:
    match block:
        case Paragraph():
            yield _marked(block)
        case Bullets():
            for item in block.items:
                yield f"- {_marked(item)}"
        case Facts():
            yield from _table(("fact", "value"), (False, False), block.pairs)
        case Table():
            yield from _titled(block)
        case Verbatim():
            yield from _fenced(block)


def _marked(block: Paragraph) -> str:
    """A paragraph on one line; one that must not be overlooked is strong."""
    text = _inline(block.text)
    return f"**{MARK}{text}**" if block.strong and text else _leading(text)


def _titled(block: Table) -> Iterator[str]:
    if block.title:
        yield _leading(_inline(f"{block.title}:"))
        yield ""
    columns = block.columns
    yield from _table(
        [column.title for column in columns], [column.right for column in columns], block.rows
    )
    notes = [f"{column.title}: {column.note}" for column in columns if column.note]
    notes += [block.note] if block.note else []
    if notes:
        yield ""
        yield _leading(_inline("; ".join(notes)))


def _table(
    titles: Sequence[str], right: Sequence[bool], rows: Iterable[Sequence[str]]
) -> Iterator[str]:
    yield _row(titles)
    yield f"|{'|'.join('--:' if one else ':--' for one in right)}|"
    for row in rows:
        yield _row(row)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_inline(cell) for cell in cells)} |"


def _fenced(block: Verbatim) -> Iterator[str]:
    """A block of code: its fence is longer than any row of backticks in it."""
    rows = [run for line in block.lines for run in FENCE.findall(line)]
    fence = "`" * max(3, *(len(run) + 1 for run in rows), 3)
    yield f"{fence}text"
    yield from (_one_line(line) for line in block.lines)
    yield fence


def _one_line(text: str) -> str:
    """*text* with what could end a line, or hide what stands there, as escapes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def _inline(text: str) -> str:
    return MARKUP.sub(r"\\\g<0>", _one_line(" ".join(text.split())))


def _leading(text: str) -> str:
    """*text* as the beginning of a paragraph."""
    found = LEADING.match(text)
    if found is None:
        return text
    at = found.start("mark") if found["mark"] else found.start("end")
    return f"{text[:at]}\\{text[at:]}"

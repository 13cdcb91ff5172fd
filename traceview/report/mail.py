"""A report as plain text for a mail: lines of at most 72 columns of printable ASCII.

It is meant to be pasted into a reply on a kernel list and to stay readable when that is quoted
(`> > `). No line begins with what a mail client, git-am(1) (git 2.51, mailinfo.c) or mbox
readers would take for a signature, a patch, a header or a quotation; none ends in a blank. Lines
marked `!` must not be overlooked. A table that is too wide goes on below itself, its first columns
repeated; one whose columns are too wide for even that becomes a list: no number is dropped.
"""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Final

from traceview.report.blocks import Block, Bullets, Facts, Paragraph, Table, Verbatim

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from traceview.report.blocks import Section, TableColumn

WIDTH: Final = 72
GAP: Final = 2
INDENT: Final = 2
LONGEST_NAME: Final = 20  # of a fact that stands beside its value
MARK: Final = "! "
# At the very beginning of a line. What a report has there is either one of its own headings, a
# paragraph of the summary or a command.
MISREAD: Final = re.compile(
    r"--|From |diff |Index: |>|[A-Za-z][A-Za-z0-9-]*: ?$|"
    r"(From|Date|Subject|To|Cc|Message-I[dD]|Content-[A-Za-z-]+|[A-Z][a-z]+(-[a-z]+)*-by):"
)


def mail(sections: Iterable[Section]) -> Iterator[str]:
    """The text, line by line."""
    for at, section in enumerate(sections):
        if at:
            yield from ("\n", *(f"{line}\n" for line in _wrapped(f"== {section.title} ==")), "\n")
        for number, block in enumerate(section.blocks):
            if number and _is_apart(section.blocks[number - 1], block):
                yield "\n"
            for line in _lines(block, 0 if section.code == "summary" else INDENT):
                yield _harmless(line) + "\n"


def _is_apart(before: Block, block: Block) -> bool:
    """Whether an empty line stands between two blocks: not between an introduction and a list."""
    introduces = isinstance(before, Paragraph) and before.text.endswith(":")
    goes_on = isinstance(before, Bullets) and isinstance(block, Bullets)
    return not introduces and not goes_on


def ascii_text(text: str) -> str:
    """*text* with everything but printable ASCII as backslash escapes."""
    return "".join(
        char if " " <= char <= "~" else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def _harmless(line: str) -> str:
    """*line* without blanks at its end, and such that nothing takes it for what it is not."""
    line = line.rstrip()
    return f" {line}" if MISREAD.match(line) else line


def _wrapped(text: str, first: str = "", then: str | None = None) -> list[str]:
    """*text* in lines, the first one beginning with *first*, the others with *then*."""
    then = first if then is None else then
    # One column is left for _harmless().
    width = WIDTH - (0 if first.startswith(" ") else 1)
    lines, line = [], first
    is_empty = True  # but for its indentation
    for word in ascii_text(text).split(" "):
        rest = word
        if not is_empty and len(line) + 1 + len(rest) > width:
            lines.append(line)
            line, is_empty = then, True
        while len(line) + (not is_empty) + len(rest) > width:
            at = _break(rest, width - len(line))
            lines.append(line + rest[:at])
            line, rest, is_empty = then, rest[at:], True
        line += rest if is_empty else f" {rest}"
        is_empty = is_empty and not rest
    return [*lines, line]


def _break(word: str, width: int) -> int:
    """Where a word that is longer than *width* goes on in the next line: behind a slash."""
    return (word.rfind("/", 1, width) + 1) or max(width, 1)


def _lines(block: Block, indent: int) -> Iterator[str]:
    match block:
        case Paragraph():
            yield from _paragraph(block, indent)
        case Bullets():
            yield from _bullets(block)
        case Facts():
            yield from _facts(block)
        case Table():
            yield from _table(block)
        case Verbatim():
            yield from _verbatim(block)


def _paragraph(block: Paragraph, indent: int) -> Iterator[str]:
    mark = MARK if block.strong else ""
    blanks = " " * indent
    for line in block.text.splitlines():
        yield from _wrapped(line, blanks + mark, blanks + " " * len(mark))


def _bullets(block: Bullets) -> Iterator[str]:
    for item in block.items:
        mark = MARK if item.strong else "- "
        yield from _wrapped(item.text, " " * INDENT + mark, " " * (INDENT + 2))


def _facts(block: Facts) -> Iterator[str]:
    pairs = [(ascii_text(name), value) for name, value in block.pairs]
    width = max((len(name) for name, _ in pairs if len(name) <= LONGEST_NAME), default=0) + GAP
    for name, value in pairs:
        is_long = len(name) > LONGEST_NAME
        if is_long:
            yield from _wrapped(name, " " * INDENT)
        lead = " " * INDENT + ("" if is_long else name).ljust(width)
        if " " not in value and len(lead) + len(value) > WIDTH:  # a path
            yield lead
            lead = " " * 2 * INDENT
        yield from _wrapped(value, lead, " " * len(lead))


def _verbatim(block: Verbatim) -> Iterator[str]:
    for line in block.lines:
        text = ascii_text(line)
        yield from textwrap.wrap(text, WIDTH - 1, drop_whitespace=False) if (
            len(text) > WIDTH
        ) else [text]  # fmt: skip


# ---- tables


def _table(block: Table) -> Iterator[str]:
    if block.title:
        yield from _wrapped(f"{block.title}:", " " * INDENT)
    rows = [[ascii_text(cell) for cell in row] for row in block.rows]
    titles = [ascii_text(column.title) for column in block.columns]
    widths = [
        max(len(title), *(len(row[at]) for row in rows), 0) for at, title in enumerate(titles)
    ]
    bands = _bands(widths, block.keys)
    if bands is None:
        yield from _records(titles, rows, block.keys)
    else:
        indent = INDENT if all(_width(widths, band) + INDENT <= WIDTH for band in bands) else 0
        for at, band in enumerate(bands):
            yield from [""] if at else []
            for row in [titles, *rows]:
                yield " " * indent + _row(row, band, widths, block.columns)
    notes = [f"{column.title}: {column.note}" for column in block.columns if column.note]
    notes += [block.note] if block.note else []
    if notes:
        yield from _wrapped("; ".join(notes), " " * INDENT, " " * 2 * INDENT)


def _width(widths: Sequence[int], band: Sequence[int]) -> int:
    return sum(widths[at] + GAP for at in band) - GAP


def _bands(widths: Sequence[int], keys: int) -> list[list[int]] | None:
    """The columns that stand beside one another, the keys in every band; None: too wide."""
    names, values = list(range(keys)), range(keys, len(widths))
    bands: list[list[int]] = []
    band = list(names)
    for at in values:
        if _width(widths, [*band, at]) > WIDTH and len(band) > keys:
            bands.append(band)
            band = list(names)
        band.append(at)
        if _width(widths, band) > WIDTH:
            return None
    return [*bands, band] if _width(widths, band) <= WIDTH else None


def _row(
    row: Sequence[str], band: Sequence[int], widths: Sequence[int], columns: Sequence[TableColumn]
) -> str:
    cells = (
        row[at].rjust(widths[at]) if columns[at].right else row[at].ljust(widths[at]) for at in band
    )
    return (" " * GAP).join(cells).rstrip()


def _records(titles: Sequence[str], rows: Sequence[Sequence[str]], keys: int) -> Iterator[str]:
    """A paragraph for each row: what names it, then every value behind the title of its column."""
    for row in rows:
        yield from _wrapped(", ".join(row[:keys]) or "-", " " * INDENT, " " * 2 * INDENT)
        said = (f"{title} {value}" for title, value in zip(titles[keys:], row[keys:], strict=True))
        yield from _wrapped(", ".join(said), " " * 2 * INDENT, " " * 3 * INDENT)

"""How a report is made again: the command, the version, the digests of what was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.report.blocks import Block, Paragraph, Section, Verbatim
from traceview.report.provenance import PROGRAM, Provenance
from traceview.report.shell_lines import shell_lines
from traceview.report.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traceview.queries.analysis import Analysis

WIDTH: Final = 72
STDIN: Final = "<stdin>"  # parsers/source.py
END: Final = "END"
FOLDER: Final = "raw dump"  # the format of folders
EVIDENCE: Final = "--evidence"


def reproduce(
    provenance: Provenance, read: Analysis, calibrations: Sequence[Analysis] = ()
) -> Section:
    """The section; *calibrations*: what says what tracing cost, where such was given."""
    blocks: list[Block] = [
        Paragraph(f"traceview {provenance.version}, in bash:"),
        Verbatim(tuple(shell_lines((PROGRAM, *provenance.arguments), WIDTH))),
        *_evidence(provenance.arguments),
        *_digests("the traces", [read]),
    ]
    if calibrations:
        blocks += _digests("the calibrations", calibrations)
    return Section("reproduce", "How to reproduce", tuple(blocks))


def _evidence(arguments: Sequence[str]) -> Iterator[Block]:
    """Where the text is: with evidence the command may print something else, or nothing."""
    for at, word in enumerate(arguments):
        name, is_one, value = word.partition("=")
        if name == EVIDENCE and (is_one or at + 1 < len(arguments)):
            folder = value if is_one else arguments[at + 1]
            yield Paragraph(f"it writes this report, as mail text, as {clean(folder)}/report.txt")
            return


def _digests(what: str, analyses: Sequence[Analysis]) -> Iterator[Block]:
    """The digest of each file, so that sha256sum(1) can read them where paths are plain."""
    columns = ("path", "sha256", "format")
    rows = [row for of in analyses for row in of.sources.select(columns).unique(
        maintain_order=True).iter_rows(named=True)]  # fmt: skip
    known = [(row["path"], row["sha256"]) for row in rows if row["sha256"]]
    if known:
        yield Paragraph(f"sha256 of {what} (not of sidecars beside them):")
        has_folder = any(row["format"] == FOLDER for row in rows)
        yield Verbatim(tuple(_lines(known, checks=not has_folder)))
    if any(row["format"] == FOLDER for row in rows):
        yield Paragraph(
            "of a folder it is the sha256 of the list of its files as sha256sum writes it"
        )
    if any(row["path"] == STDIN for row in rows):
        yield Paragraph(f"of {what}, standard input has no digest: it can be read once only")
    missing = [row for row in rows if not row["sha256"] and row["path"] != STDIN]
    if missing:
        yield Paragraph(f"sha256 unknown of {len(missing)} of {len(rows)} files")


def _lines(known: Sequence[tuple[str, str]], *, checks: bool) -> list[str]:
    """A command that *checks* the digests; where none can, or a path is not plain, both alone."""
    plain = checks and all(_is_plain(path) for path, _ in known)
    if plain and all(len(digest) + 2 + len(path) <= WIDTH for path, digest in known):
        listed = [f"{digest}  {path}" for path, digest in known]
        return [f"sha256sum -c <<'{END}'", *listed, END]
    lines = []
    for path, digest in known:
        lines.append(digest)
        lines += [f"  {path}"] if _is_plain(path) else shell_lines([path], WIDTH)
    if not plain:
        return lines
    # Digest and path are too long for one line: sed puts them on one again.
    return [f"sed 'N;s/\\n */  /' <<'{END}' | sha256sum -c", *lines, END]


def _is_plain(path: str) -> bool:
    """Whether a path stands on a line of its own as it is."""
    fits = len(path) + 2 <= WIDTH and path == path.strip() and "\\" not in path
    return fits and path.isascii() and path.isprintable()

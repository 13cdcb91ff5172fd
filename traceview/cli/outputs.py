"""What a command was asked to write, and where: checked before the work, delivered after it.

One *document* goes to standard output, or with `-o` to a file: the summary, JSON, mail text or
Markdown. Pages, pictures and tables are files in any case.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from traceview.cli.screen import blocks, note, page_width, plain, show, show_text, width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.text import Text

    from traceview.report.drawings import SlowCallsOf
    from traceview.report.pictures import Kind
    from traceview.report.recipe import Found, Recipe

STDOUT: Final = Path("-")


@dataclass(frozen=True, slots=True)
class Outputs:
    """The options that say what is written.

    `document`: summary, json, mail or markdown; `to`: its file, None for standard output.
    """

    document: str
    to: Path | None
    html: Path | None
    pictures: tuple[tuple[Kind, Path], ...]
    parquet: Path | None
    evidence: Path | None
    force: bool
    quiet: bool

    @property
    def shows_summary(self) -> bool:
        """Whether the summary is printed: not where nothing but a file was asked for quietly."""
        on_screen = self.to is None
        return self.document == "summary" and not (
            on_screen and (self.quiet or self.html == STDOUT)
        )

    @property
    def draws(self) -> bool:
        """Whether charts are drawn."""
        return self.html is not None or bool(self.pictures)

    @property
    def lasting(self) -> bool:
        """Whether something is written that outlives the traces, and must name them by digest."""
        return self.document != "summary" or any((self.html, self.parquet, self.evidence))

    def show(self, pieces: Callable[[], Iterable[str]], lines: Callable[[int], list[Text]]) -> None:
        """Write a document of which there are two: JSON in *pieces*, or *lines* of a width."""
        if self.document == "json":
            self.deliver(pieces())
        elif self.to is not None:
            self.deliver(plain(lines(page_width())))
        elif self.shows_summary:
            show(lines(width()))

    def spare(self, *inputs: Iterable[str | Path] | None) -> None:
        """Raise SettingError where a file to write is one that is read, --force or not."""
        spare((self.to, self.html), *inputs)

    def report(self, found: Found, recipe: Recipe, calls: SlowCallsOf, *, top: int = 0) -> None:
        """Write all that was asked for of a report but its tables.

        *calls*: the calls of the slowest of some unmaps, as pages and pictures want them.
        """
        from traceview.report import documents  # noqa: PLC0415 - not needed by --help

        if self.document == "mail":
            self.deliver(documents.mail_of(found, recipe.provenance))
        elif self.document == "markdown":
            self.deliver(documents.markdown_of(found, recipe.provenance))
        else:
            self.show(
                lambda: documents.json_of(found),
                lambda width: documents.summary_of(found, width, top=top, blocks=self._blocks()),
            )
        if self.draws:
            self._draw(found, recipe, calls)

    def _blocks(self) -> bool:
        return self.to is None and blocks()

    def _draw(self, found: Found, recipe: Recipe, calls: SlowCallsOf) -> None:
        from traceview.report.drawings import charts_of, page_of  # noqa: PLC0415 - for this alone

        if self.html is not None:
            self.write(self.html, page_of(found, calls, recipe.provenance))
        if self.pictures:
            from traceview.report.pictures import pictures  # noqa: PLC0415 - for this alone

            charts = charts_of(found, calls)
            for kind, folder in self.pictures:
                written = pictures(charts, folder, kind, force=self.force)
                self.say(f"wrote {len(written)} pictures to {folder}/ (docs/pictures.md)")

    def deliver(self, pieces: Iterable[str]) -> None:
        """Write the document."""
        if self.to is None:
            show_text(pieces)
            return
        self.write(self.to, pieces)

    def write(self, path: Path, pieces: Iterable[str]) -> None:
        """Write a file, or standard output where it is `-`, and say so."""
        if path == STDOUT:
            show_text(pieces)
            return
        from traceview.report.new_file import write_file  # noqa: PLC0415 - not for --help

        write_file(path, pieces, force=self.force)
        self.say(f"wrote {path}")

    def say(self, text: str) -> None:
        """Say on standard error what was written, unless it shall be quiet."""
        if not self.quiet:
            note(text)


def spare(written: Iterable[Path | None], *inputs: Iterable[str | Path] | None) -> None:
    """Raise SettingError where one of *written* is one of *inputs*, or a sidecar beside one."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help

    paths = [path for path in written if path not in {None, STDOUT}]
    for read in (Path(name) for names in inputs for name in names or ()):
        for path in paths:
            if path is not None and _same_file(path, read):
                raise SettingError(f"{path} is read, and would be overwritten\nvalid: another name")


def _same_file(one: Path, other: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):
        beside = other.with_name(f"{other.name}.host.json")
        return any(of.exists() and one.samefile(of) for of in (other, beside)) and one.is_file()
    return False


def outputs_of(  # noqa: PLR0913 - one per option
    *,
    json: bool,
    mail: bool = False,
    markdown: bool = False,
    output: Path | None,
    html: Path | None = None,
    png: Path | None = None,
    svg: Path | None = None,
    evidence: Path | None = None,
    parquet: Path | None = None,
    force: bool,
    quiet: bool,
) -> Outputs:
    """What the options ask for; raises SettingError where they contradict, or a file is there."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.report.new_file import is_special, refuse_existing  # noqa: PLC0415

    kinds = {"json": json, "mail": mail, "markdown": markdown}
    asked = [name for name, is_asked in kinds.items() if is_asked]
    if len(asked) > 1:
        raise SettingError(f"--{' and --'.join(asked)} exclude each other: one document is written")
    if parquet is not None and evidence is not None:
        raise SettingError(
            "--parquet and --evidence exclude each other: evidence holds the tables of the report"
        )
    document = asked[0] if asked else "summary"
    to = None if output == STDOUT else output
    if html == STDOUT and to is None and (asked or output is not None):
        raise SettingError(
            f"--html - and the {document} both go to standard output\nvalid: -o FILE for one"
        )
    asked_for: tuple[tuple[Kind, Path | None], ...] = (("png", png), ("svg", svg))
    pictures = tuple((kind, path) for kind, path in asked_for if path is not None)
    for name, folder in (*pictures, ("parquet", parquet), ("evidence", evidence)):
        if folder == STDOUT:
            raise SettingError(
                f"--{name} - is refused: it takes a folder, which cannot go to standard output"
            )
    for path in (to, html):
        if path is not None and path != STDOUT:
            refuse_existing(path, force=force)
    for kind, folder in pictures:
        from traceview.report.pictures import refuse_pictures  # noqa: PLC0415 - for this alone

        refuse_pictures(folder, kind, force=force)
    if to is not None and html is not None and to.resolve() == html.resolve() and (
        not is_special(to)
    ):  # fmt: skip
        raise SettingError(f"--html and -o name the same file: {to}")
    return Outputs(document, to, html, pictures, parquet, evidence, force, quiet)

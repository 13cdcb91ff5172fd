"""What the commands print on: standard output, and a progress bar on standard error.

Plain text when standard output is no terminal or NO_COLOR is set. Lines are as wide as the
terminal; in a pipe as wide as COLUMNS says, else as the terminal on standard error (where a pager
shows them), else 100.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from typing import TYPE_CHECKING, Final, TextIO

from traceview.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.text import Text

PIPE_WIDTH: Final = 100
LEAST_WIDTH: Final = 20
PATIENCE_S: Final = 0.5


def width() -> int:
    """How many columns a line of standard output may have."""
    stated = os.environ.get("COLUMNS", "")
    if sys.stdout.isatty():
        found = _terminal_width(sys.stdout) or 80
    elif stated.isdecimal():
        found = int(stated)
    else:
        found = _terminal_width(sys.stderr) or PIPE_WIDTH
    return max(LEAST_WIDTH, found)


def page_width() -> int:
    """How many columns a line of a file may have: what COLUMNS says, else 100."""
    stated = os.environ.get("COLUMNS", "")
    return max(LEAST_WIDTH, int(stated) if stated.isdecimal() else PIPE_WIDTH)


def plain(lines: Iterable[Text]) -> Iterator[str]:
    """*lines* without colours."""
    return (f"{line.plain}\n" for line in lines)


def _terminal_width(stream: TextIO) -> int | None:
    """The columns of the terminal behind *stream*, None where there is none or it does not say."""
    with contextlib.suppress(OSError, ValueError):
        if stream.isatty():
            return os.get_terminal_size(stream.fileno()).columns or None
    return None


def coloured() -> bool:
    """Whether standard output is a terminal that may show colours."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def blocks() -> bool:
    """Whether bars can be drawn on coloured ground."""
    return coloured() and (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def show(lines: Iterable[Text]) -> None:
    """Print *lines*, which the report has made to fit."""
    from rich.console import Console  # noqa: PLC0415 - not needed by --help

    # Rich only renders: it would end the program by itself when a pipe is closed.
    rendered = io.StringIO()
    console = Console(
        file=rendered, width=width(), color_system="auto" if coloured() else None,
        force_terminal=coloured(), highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    for line in lines:
        console.print(line, soft_wrap=True)
    show_text([rendered.getvalue()])


def show_text(pieces: Iterable[str]) -> None:
    """Print *pieces* as they are."""
    with writing():
        for piece in pieces:
            sys.stdout.write(piece)


def note(text: str) -> None:
    """Say on standard error what was done."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Writing to standard output: a full disk is no defect of ours, a closed pipe no error."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as err:
        raise SettingError(f"standard output cannot be written: {err.strerror}") from err


@contextlib.contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Callable[[float], None]]:
    """Hear the fraction done; show it on a terminal once the work has taken half a second."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - not needed by --help
    from rich.progress import Progress  # noqa: PLC0415

    shown = Progress(console=Console(file=sys.stderr), transient=True)
    task = shown.add_task(what, total=1.0)
    begun = time.monotonic()

    def hear(fraction: float) -> None:
        if not shown.live.is_started and time.monotonic() - begun > PATIENCE_S:
            shown.start()
        shown.update(task, completed=fraction)

    try:
        yield hear
    finally:
        shown.stop()

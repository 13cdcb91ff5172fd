"""Exit codes, and the only place where an exception becomes a message (docs/exit-codes.md)."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import TYPE_CHECKING, Final

from traceview.cli import INTERRUPTED
from traceview.errors import TraceviewError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FINE: Final = 0
FINDING: Final = 1
USER: Final = 2
DEFECT: Final = 3
BROKEN_PIPE: Final = 141


class Stop(SystemExit):
    """An exit code that typer hands through as it is."""


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """The body of a command: what goes wrong in it becomes a message and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except TraceviewError as err:
        complain(str(err))
        raise Stop(USER) from err
    except KeyboardInterrupt as err:
        raise Stop(INTERRUPTED) from err
    except BrokenPipeError as err:
        raise Stop(BROKEN_PIPE) from err
    except Exception as err:
        defect(err)
        raise Stop(DEFECT) from err


def exit_code(program: Callable[[], object]) -> int:
    """Run *program*; every way in which it ends is an exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A name from a trace must not end the program where the locale cannot write it.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        program()
    except SystemExit as ended:
        code = ended.code
        code = code if isinstance(code, int) else FINE if code is None else USER
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as err:  # --help and --version write outside answered()
        code = unwritable(err)
    else:
        code = FINE
    return _flushed(code)


def complain(message: str) -> None:
    """Print *message*, the user's to mend, on standard error."""
    from traceview.report.wording import paragraph  # noqa: PLC0415 - not needed by --help

    with contextlib.suppress(OSError):
        sys.stderr.write(f"traceview: {paragraph(message)}\n")


def unwritable(err: OSError) -> int:
    """The exit code when standard output takes no more; a closed pipe is no news to anybody."""
    if isinstance(err, BrokenPipeError):
        return BROKEN_PIPE
    complain(f"standard output cannot be written: {err.strerror}")
    return USER


def defect(err: Exception) -> None:
    """Say in one line that this is a defect of traceview, and how to report it."""
    if os.environ.get("TRACEVIEW_DEBUG") == "1":
        traceback.print_exception(err)
    said = " ".join(f"{type(err).__name__}: {err}".split())
    complain(
        f"a defect of traceview, not of the trace: {said}; please report it with the command and,"
        " if you can, the trace (TRACEVIEW_DEBUG=1 shows where it happened)"
    )


def _flushed(code: int) -> int:
    """*code*, unless the last of the output cannot be written."""
    try:
        sys.stdout.flush()
    except OSError as err:
        code = code or unwritable(err)
    else:
        return code
    # What is still buffered would fail again, noisily, when the interpreter exits.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code

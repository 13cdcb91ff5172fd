"""The command line. Heavy packages are imported by the command that needs them."""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 130
TERMINATED = 143


def main() -> None:
    """Run the command line and exit (docs/exit-codes.md)."""
    _open_closed_streams()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from traceview.cli.app import run  # noqa: PLC0415 - `import traceview.cli` costs nothing

        code = run()
    except KeyboardInterrupt:  # while importing: everything later has its own answer
        code = INTERRUPTED
    raise SystemExit(code)


def _open_closed_streams() -> None:
    """What writes to a closed standard stream (`>&-`) writes to nowhere.

    Its number is taken too: a file opened later would get it, and what is printed with it.
    Standard input stays None: reading it is an error, and not the same as reading nothing.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _terminate(*_: object) -> None:
    # An exception, so that temporary files are removed on the way out.
    raise SystemExit(TERMINATED)

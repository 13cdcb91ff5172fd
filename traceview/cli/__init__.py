"""The command line. Heavy packages are imported by the command that needs them."""

from __future__ import annotations

import signal

INTERRUPTED = 130
TERMINATED = 143


def main() -> None:
    """Run the command line and exit (docs/exit-codes.md)."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        from traceview.cli.app import run  # noqa: PLC0415 - `import traceview.cli` costs nothing

        code = run()
    except KeyboardInterrupt:  # while importing: everything later has its own answer
        code = INTERRUPTED
    raise SystemExit(code)


def _terminate(*_: object) -> None:
    # An exception, so that temporary files are removed on the way out.
    raise SystemExit(TERMINATED)

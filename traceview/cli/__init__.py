"""The command line. Heavy packages are imported by the command that needs them."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit (docs/exit-codes.md)."""
    import signal  # noqa: PLC0415 - `import traceview.cli` costs nothing

    from traceview.cli.app import run  # noqa: PLC0415
    from traceview.cli.exits import TERMINATED  # noqa: PLC0415

    def terminate(*_: object) -> None:
        # An exception, so that temporary files are removed on the way out.
        raise SystemExit(TERMINATED)

    signal.signal(signal.SIGTERM, terminate)
    raise SystemExit(run())

"""The command line. Heavy packages are imported by the command that needs them."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit (docs/exit-codes.md)."""
    from traceview.cli.app import run  # noqa: PLC0415 - `import traceview.cli` costs nothing

    raise SystemExit(run())

"""The command line. Heavy packages are imported by the command that needs them."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    raise NotImplementedError

"""How a report was made, for the reader who wants to make it again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

import traceview

PROGRAM: Final = "traceview"


@dataclass(frozen=True, slots=True)
class Provenance:
    """`arguments`: what stood behind `traceview` on the command line."""

    arguments: tuple[str, ...]
    version: str = traceview.__version__

    @property
    def command(self) -> str:
        """The command as a shell reads it."""
        return shlex.join((PROGRAM, *self.arguments))

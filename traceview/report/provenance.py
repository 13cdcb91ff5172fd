"""How a report was made, for the reader who wants to make it again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

import traceview

PROGRAM: Final = "traceview"


@dataclass(frozen=True, slots=True)
class Provenance:
    """`arguments`: what stood behind `traceview` on the command line.

    `vocabularies`: the names of the files that said what functions are, besides the built-in words.
    """

    arguments: tuple[str, ...]
    version: str = traceview.__version__
    vocabularies: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """The command as a shell reads it."""
        return shlex.join((PROGRAM, *self.arguments))

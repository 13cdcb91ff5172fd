"""What times are counted in: nanoseconds, or the instructions that an emulator executed.

The clock of `insn` evidence advances by 1 ns with each instruction (docs/schema.md): written as
times they would be quoted as times.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from traceview.report.ratio_words import time_text
from traceview.report.wording import UNKNOWN, count, duration, number

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis

PER: Final = re.compile(r"\bns per\b")


@dataclass(frozen=True, slots=True)
class Unit:
    """`name`: of a number; `short`: in the title of a column; `whole`: what shares are of."""

    name: str
    short: str
    whole: str

    @property
    def per_leaf(self) -> str:
        """The title of a column."""
        return f"{self.short}/leaf"

    def amount(self, ns: int | None) -> str:
        """A time with its unit; instructions as their number."""
        return duration(ns) if self is NANOSECONDS else count(ns)

    def named(self, ns: int | None) -> str:
        """The same for a sentence."""
        if self is NANOSECONDS or ns is None:
            return self.amount(ns)
        return f"{count(ns)} {self.name}"

    def mean(self, ns: float | None) -> str:
        """A mean over runs."""
        if self is NANOSECONDS or ns is None:
            return time_text(ns)
        return number(ns)

    def sentence(self, text: str) -> str:
        """*text*, which was made of times per leaf, in this unit."""
        return text if self is NANOSECONDS else PER.sub(f"{self.name} per", text)

    def mean_named(self, ns: float | None) -> str:
        """The same for a sentence."""
        said = self.mean(ns)
        return said if self is NANOSECONDS or said == UNKNOWN else f"{said} {self.name}"


NANOSECONDS: Final = Unit("ns", "ns", "time")
INSTRUCTIONS: Final = Unit("instructions", "insn", "instructions")


def unit_of(*sides: Analysis) -> Unit:
    """INSTRUCTIONS where all unmaps are of them: what is of both kinds keeps its nanoseconds."""
    kinds = {
        kind for side in sides for kind in side.unmaps["evidence"].drop_nulls().unique().to_list()
    }
    return INSTRUCTIONS if kinds == {"insn"} else NANOSECONDS

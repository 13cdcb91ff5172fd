"""What a source recorded of each operation: which functions and events were hit, and how.

A function that was hit by its entry alone is counted and never timed; one that was not hit may
have been traced all the same. Reports must not mix these up, so they all ask here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.queries.analysis import Analysis

# Softirqs and IPIs alone say nothing of hard interrupts (tracepoints: include/trace/events/irq.h).
PARTIAL_IRQ: Final = frozenset({"softirq_entry", "softirq_exit", "ipi_entry", "ipi_exit"})
ENDS: Final = ("exit", "complete")
NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Hit:
    """A function or a tracepoint that was hit; `ends`: its returns were recorded too."""

    name: str
    ends: bool


class Recorded:
    """The hits of every source of an analysis, by operation."""

    def __init__(self, analysis: Analysis, vocabulary: Vocabulary | None = None) -> None:
        """Look up what was hit in *vocabulary* (the built-in one)."""
        words = vocabulary or Vocabulary.builtin()
        self._hits: dict[tuple[int, str], dict[str, bool]] = {}
        rows = analysis.event_counts.with_columns(pl.col("name", "symbol").cast(pl.String))
        for row in rows.filter(pl.col("count").fill_null(1) > 0).iter_rows(named=True):
            event = None if row["symbol"] is not None else words.event(row["name"] or "")
            if row["symbol"] is None and event is None:
                continue
            operation = words.meaning(row["symbol"]).operation if event is None else event.operation
            ends = row["phase"] in ENDS or (event is not None and event.phase == "exit")
            found = self._hits.setdefault((row["source_id"], operation), {})
            # The two tracepoints of a pair are one thing.
            name = row["symbol"] if event is None else event.pair
            found[name] = found.get(name, False) or ends

    def hits(self, sources: Iterable[int], *operations: str) -> tuple[Hit, ...]:
        """What *sources* hit of *operations*; it ends if it does so in one of them."""
        found: dict[str, bool] = {}
        for source in sources:
            for operation in operations:
                for name, ends in self._hits.get((source, operation), {}).items():
                    found[name] = found.get(name, False) or ends
        return tuple(Hit(name, ends) for name, ends in sorted(found.items()))

    def entries_only(self, source: int, operation: str) -> bool:
        """Whether calls of *operation* were hit, and no return of any."""
        found = self.hits([source], operation)
        return bool(found) and not any(hit.ends for hit in found)

    def why_untimed(self, source: int, operation: str, absent: str) -> str:
        """Why calls of *operation* have no time; *absent* is the reason if nothing was hit."""
        found = self.hits([source], operation)
        if not found:
            return absent
        if all(hit.name in PARTIAL_IRQ for hit in found):
            return f"of interrupts only {names(found)} was traced"
        if any(hit.ends for hit in found):
            return f"{names(found)}: no call is in the trace from entry to return"
        return f"{names(found)} by entry only"


def names(hits: Iterable[Hit]) -> str:
    """The functions and events of *hits*, the first few."""
    said = [hit.name for hit in hits]
    more = f" and {len(said) - NAMED} more" if len(said) > NAMED else ""
    return ", ".join(said[:NAMED]) + more

"""Which components of the unmaps' time are hidden in the rest of the walk, and why.

A component is hidden where its time is null although its calls happened, or may have happened:
nothing was traced, or entries only. A zero by construction of another component hides nothing of
this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.reasons import (
    CMO_ABSENT,
    FLUSH_ABSENT,
    IRQ_ABSENT,
    PUT_ABSENT,
    RANGE_ABSENT,
)
from traceview.report.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.recorded import Recorded

LEAVES_AND_TABLES: Final = "invalidations of leaves and tables"
RANGES: Final = "invalidations of ranges"
CMO: Final = "cache maintenance"
TABLES: Final = "table release"


def _null(*columns: str) -> pl.Expr:
    return pl.any_horizontal(pl.col(name).is_null() for name in columns)


# Each invalidation is counted as a leaf's and a table's, or as either.
_FLUSHES: Final = pl.coalesce(
    "invalidate_ipa", pl.col("invalidate_leaf") + pl.col("invalidate_table")
)


@dataclass(frozen=True, slots=True)
class Component:
    """`untimed` holds where an unmap has no time of it; `calls` counts it, null if unknown."""

    what: str
    operation: str
    untimed: pl.Expr
    calls: pl.Expr
    absent: str


COMPONENTS: Final = (
    Component(
        LEAVES_AND_TABLES,
        "invalidate_ipa",
        pl.col("invalidate_ipa_ns").is_null() & _null("invalidate_leaf_ns", "invalidate_table_ns"),
        _FLUSHES,
        FLUSH_ABSENT,
    ),
    Component(
        RANGES,
        "invalidate_range",
        _null("invalidate_range_ns"),
        pl.col("invalidate_range"),
        RANGE_ABSENT,
    ),
    Component(
        CMO,
        "cmo",
        _null("cmo_ns"),
        pl.col("cmo"),
        CMO_ABSENT,
    ),
    Component(
        TABLES,
        "table_put",
        _null("table_put_ns"),
        pl.col("table_put"),
        PUT_ABSENT,
    ),
    Component(
        "interrupts",
        "irq",
        _null("irq_ns"),
        pl.col("irq"),
        IRQ_ABSENT,
    ),
)


@dataclass(frozen=True, slots=True)
class Hidden:
    """`what` is in the rest of the walk of `unmaps` unmaps, of `of`."""

    what: str
    unmaps: int
    of: int
    reasons: tuple[tuple[str, int], ...]

    @property
    def counts(self) -> bool:
        """Whether it is said how many unmaps: not where it is all of them, for one reason."""
        return len(self.reasons) > 1 or self.unmaps != self.of

    def __str__(self) -> str:
        """The component with its reasons; with numbers of unmaps where it is not all of them."""
        if not self.counts:
            return f"{self.what} ({self.reasons[0][0]})"
        said = (f"{why}: {plural(unmaps, 'unmap')}" for why, unmaps in self.reasons)
        return f"{self.what} ({'; '.join(said)} of {self.of:,})"


def hidden(complete: pl.DataFrame, recorded: Recorded) -> Iterator[Hidden]:
    """The components of the *complete* unmaps that are in `rest_ns` of some."""
    for component in COMPONENTS:
        happened = component.calls.is_null() | (component.calls > 0)
        # What is stated to be traced has a time, 0, even where only its entries were recorded.
        entries = [
            source_id
            for source_id in complete["source_id"].unique(maintain_order=True)
            if recorded.entries_only(source_id, component.operation)
        ]
        zero = pl.col("source_id").is_in(entries) & (component.calls > 0)
        # Lazy, as a filter of the whole table copies every column of it.
        lacking = complete.lazy().filter((component.untimed & happened) | zero)
        reasons: dict[str, int] = {}
        by_source = lacking.group_by("source_id", maintain_order=True).len().collect()
        for source_id, number in by_source.iter_rows():
            why = recorded.why_untimed(source_id, component.operation, component.absent)
            reasons[why] = reasons.get(why, 0) + number
        if reasons:
            number = int(by_source["len"].sum())
            yield Hidden(component.what, number, len(complete), tuple(reasons.items()))

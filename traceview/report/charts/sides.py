"""The two sides of a comparison as charts name them, and which times they draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from traceview.report.charts.groups import distinct, short
from traceview.report.charts.time_sentences import time_sentences
from traceview.report.compare_headline import side_names

if TYPE_CHECKING:
    import polars as pl

    from traceview.queries.run_estimates import Variant
    from traceview.report.compared import Compared


@dataclass(frozen=True, slots=True)
class Sides:
    """`names`: base and with, as the values of `group`; `variant`: the times that are drawn.

    `base`, `with_`: the unmaps that are compared (matched_unmaps.Matched).
    """

    found: Compared
    names: tuple[str, str]
    variant: Variant
    base: pl.DataFrame
    with_: pl.DataFrame

    @property
    def words(self) -> list[str]:
        """What the times are: of hardware or not, with what tracing cost or without."""
        comparison = self.found.comparison
        said = time_sentences(comparison.base, comparison.with_)
        if self.found.untraced:
            return said
        return [*said, tracing_of(self.variant)]


def tracing_of(variant: Variant) -> str:
    """Whether what tracing cost is in the times."""
    times = "without" if variant == "corrected" else "as recorded, with"
    return f"times are {times} what tracing cost"


def sides_of(found: Compared) -> Sides:
    """The sides of *found*, corrected where every unmap of both is."""
    matched = found.comparison.matched
    base, with_ = distinct(short(name) for name in side_names(found))
    known = all(
        (rows["corrected_ns"].fill_null(0) > 0).all() for rows in (matched.base, matched.with_)
    )
    return Sides(found, (base, with_), "corrected" if known else "raw", matched.base, matched.with_)

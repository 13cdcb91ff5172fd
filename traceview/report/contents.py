"""What every report of an analysis is made of, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from traceview.queries.bystander_groups import bystander_groups
from traceview.queries.filters import Filters, apply, undecided, undecided_unmaps
from traceview.queries.groups import groups, trigger_groups
from traceview.queries.ledger import ledger
from traceview.queries.sample_groups import sample_groups
from traceview.queries.verdict import verdicts
from traceview.report.caveats import caveats, left_out

if TYPE_CHECKING:
    import polars as pl

    from traceview.queries.analysis import Analysis
    from traceview.queries.verdict import Verdict
    from traceview.report.caveat import Caveat
    from traceview.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Contents:
    """`whole` is what was read, `analysis` what the filters kept of it; statistics are of that.

    `calibration` is what was read to know the cost of tracing, none if nothing was given.
    """

    whole: Analysis
    analysis: Analysis
    filters: Filters
    groups: pl.DataFrame
    trigger_groups: pl.DataFrame
    sample_groups: pl.DataFrame
    bystander_groups: pl.DataFrame
    caveats: tuple[Caveat, ...]
    ledger: pl.DataFrame
    verdicts: tuple[Verdict, ...]
    calibration: Analysis | None = None


def contents(
    whole: Analysis,
    filters: Filters | None = None,
    vocabulary: Vocabulary | None = None,
    calibration: Analysis | None = None,
) -> Contents:
    """What *filters* keep of *whole*, summed up; names mean what *vocabulary* says.

    *calibration*: what *whole* was priced with, for reports to name.
    """
    filters = filters or Filters()
    kept = apply(filters, whole)
    maybe = undecided_unmaps(filters, whole)
    said = (
        *left_out(undecided(filters, whole)),
        *caveats(kept, vocabulary, calibration),
    )
    return Contents(
        whole, kept, filters, groups(kept, maybe), trigger_groups(kept), sample_groups(kept),
        bystander_groups(kept), said, ledger(whole, kept, filters), verdicts(kept), calibration,
    )  # fmt: skip

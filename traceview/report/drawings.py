"""What draws: the dashboard and the pictures, whatever the form of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from traceview.errors import SettingError
from traceview.report.contents import Contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.report.charts.chart import Chart
    from traceview.report.compared import Compared
    from traceview.report.provenance import Provenance
    from traceview.report.recipe import Found

    # The calls of the slowest of some unmaps, which are of a part of the report.
    SlowCallsOf = Callable[[str, pl.DataFrame], pl.DataFrame]


def page_of(found: Found, calls: SlowCallsOf, provenance: Provenance) -> Iterator[str]:
    """The dashboard (docs/dashboard.md), in pieces; raises SettingError where there is none."""
    from traceview.report.compared import Compared  # noqa: PLC0415 - slow
    from traceview.report.dashboard.page import analysis_page, comparison_page  # noqa: PLC0415

    if isinstance(found, Contents):
        return analysis_page(found, calls("traces", found.analysis.unmaps), provenance)
    if isinstance(found, Compared):
        return comparison_page(found, _of_both(found, calls), provenance)
    raise of_one_side()


def charts_of(found: Found, calls: SlowCallsOf) -> list[Chart]:
    """The charts by themselves; raises SettingError where there are none."""
    from traceview.report.charts.analysis import analysis_charts  # noqa: PLC0415 - slow
    from traceview.report.charts.comparison import comparison_charts  # noqa: PLC0415
    from traceview.report.compared import Compared  # noqa: PLC0415

    if isinstance(found, Contents):
        return analysis_charts(found, calls("traces", found.analysis.unmaps))
    if isinstance(found, Compared):
        return comparison_charts(found, _of_both(found, calls))
    raise of_one_side()


def _of_both(found: Compared, calls: SlowCallsOf) -> pl.DataFrame:
    """The calls of the slowest unmaps of both sides, sources numbered as in joined()."""
    from traceview.report.compared import joined, renumbered  # noqa: PLC0415 - slow

    if found.one_set:
        return calls("all", joined(found).unmaps)
    with_ = calls("with", found.comparison.with_.unmaps)
    return pl.concat(
        [
            calls("base", found.comparison.base.unmaps),
            renumbered(with_, len(found.wholes[0].sources)),
        ]
    )


def of_one_side() -> SettingError:
    """Why there is no chart of the runs of one side."""
    return SettingError(
        "--html, --png and --svg show two sides, and --aa has one\n"
        "valid: --mail, --markdown, --json"
    )

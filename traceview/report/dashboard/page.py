"""The dashboard of an analysis and of a comparison: one HTML file, complete in itself.

Its words are the sections that mail text and Markdown have, its charts those of the pictures; both
are functions of what was found, as the page is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from traceview.report.charts.groups import KEYS, named_groups
from traceview.report.charts.time_sentences import time_sentences
from traceview.report.compared import joined, label_of
from traceview.report.dashboard.document import Page, document
from traceview.report.dashboard.slowest import slow_unmaps
from traceview.report.terminal import by_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.analysis import Analysis
    from traceview.report.compared import Compared
    from traceview.report.contents import Contents
    from traceview.report.provenance import Provenance


def analysis_page(
    found: Contents, slow_calls: pl.DataFrame, provenance: Provenance
) -> Iterator[str]:
    """The page of `traceview analyze`; *slow_calls* are SLOW_CALLS of queries/slow_calls.py."""
    from traceview.report.analysis_sections import analysis_sections  # noqa: PLC0415
    from traceview.report.charts.analysis import analysis_charts  # noqa: PLC0415 - slow

    page = Page(
        title=f"traceview: {_name(found.whole)}",
        sections=analysis_sections(found, provenance),
        charts=analysis_charts(found, slow_calls),
        unmaps=slow_unmaps(found.analysis, slow_calls),
        rows={"table": _groups_of_rows(found)},
        warnings=time_sentences(found.whole),
    )
    yield from document(page)


def _name(whole: Analysis) -> str:
    """What the traces are called, or their files."""
    files = [Path(path).name for path in whole.sources["path"]]
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return label_of(whole) or f"{files[0]}{more}"


def _groups_of_rows(found: Contents) -> list[list[str]]:
    """What charts call the group of each row of the tables of unmaps, "" where they draw none."""
    keys = [name for name in KEYS if name != "no_leaves"]
    names = {
        (*(row[name] for name in keys), row["leaves"] is None): row["group"]
        for row in named_groups(found).rows.iter_rows(named=True)
    }
    shown = found.groups.filter(pl.col("leaf_level") != "none")
    return [
        [
            names.get((*(row[name] for name in keys), row["leaves"] is None), "")
            for row in of.iter_rows(named=True)
        ]
        for _, of in by_label(shown, found)
    ]


def comparison_page(
    found: Compared, slow_calls: pl.DataFrame, provenance: Provenance
) -> Iterator[str]:
    """The page of `traceview compare`; *slow_calls*: sources as joined() has them."""
    from traceview.report.charts.comparison import comparison_charts  # noqa: PLC0415 - slow
    from traceview.report.comparison_sections import comparison_sections  # noqa: PLC0415

    sides = (found.comparison.base, found.comparison.with_)
    page = Page(
        title=f"traceview: {' against '.join(label_of(side) for side in sides)}",
        sections=comparison_sections(found, provenance),
        charts=comparison_charts(found, slow_calls),
        unmaps=slow_unmaps(joined(found), slow_calls),
        warnings=time_sentences(*sides),
    )
    yield from document(page)

"""The documents that say what was found, by name, whatever the form of the report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.report.compare import compare_report
from traceview.report.compare_json import compare_json
from traceview.report.compared import Compared
from traceview.report.compared_runs import ComparedRuns, runs_json, runs_report
from traceview.report.json_document import analysis_json
from traceview.report.terminal import summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from traceview.report.recipe import Found


def json_of(found: Found) -> Iterator[str]:
    """The JSON document (docs/json.md), in pieces."""
    if isinstance(found, Compared):
        return compare_json(found)
    if isinstance(found, ComparedRuns):
        return runs_json(found)
    return analysis_json(found)


def summary_of(found: Found, width: int, *, top: int, blocks: bool = False) -> list[Text]:
    """The summary in lines of at most *width*; of an analysis with the *top* slowest unmaps."""
    if isinstance(found, Compared):
        return compare_report(found, width)
    if isinstance(found, ComparedRuns):
        return runs_report(found, width)
    return summary(found, width, top=top, blocks=blocks)

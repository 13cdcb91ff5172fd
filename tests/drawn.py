"""Charts made for tests: of an analysis by code, their data, and names that want to be code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

from tests.writers.analyses import analysis, source, unmap
from traceview.queries.slow_calls import SLOW_CALLS
from traceview.report.charts.ecdf import ecdf_chart
from traceview.report.charts.groups import named_groups
from traceview.report.charts.leaves import leaves_chart
from traceview.report.charts.split import split_chart
from traceview.report.charts.timeline import timeline_chart
from traceview.report.contents import contents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.analysis import Analysis
    from traceview.report.charts.chart import Chart
    from traceview.report.contents import Contents

HOSTILE = "</script><img src=x onerror=alert(1)>' + alert(1) + '\"\\\n\u202e" + "long " * 40
# What Vega reads as code, wherever it stands in a specification.
EXPRESSIONS = frozenset({"expr", "filter", "calculate", "test", "labelExpr", "format", "update"})
OF_GROUPS = {
    "split": split_chart, "leaves": leaves_chart, "ecdf": ecdf_chart, "timeline": timeline_chart,
}  # fmt: skip


def chart_of(code: str, of: Analysis) -> Chart:
    """The chart alone: to draw all of them takes a while."""
    found = contents(of)
    return OF_GROUPS[code](found, named_groups(found))


def spec(chart: Chart) -> Any:
    assert chart.chart is not None, chart.absent
    return chart.chart.to_dict()


def data(chart: Chart) -> list[dict[str, Any]]:
    return [row for rows in spec(chart)["datasets"].values() for row in rows]


def leaves_of(found: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value in a specification with the names that lead to it; not those of the data."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name not in {"datasets", "values"}:
                yield from leaves_of(value, (*path, name))
    elif isinstance(found, list):
        for value in found:
            yield from leaves_of(value, path)
    else:
        yield path, found


def sizes(*pairs: tuple[int, int], **columns: Any) -> list[dict[str, Any]]:
    return [unmap(ns, leaves, **columns) for leaves, ns in pairs]


def calls(of: Analysis, symbol: str = "stage2_unmap_walker", number: int = 3) -> pl.DataFrame:
    """Each unmap with *number* calls inside."""
    found = []
    for row in of.unmaps.iter_rows(named=True):
        ids = {"source_id": row["source_id"], "unmap_id": row["unmap_id"], "status": "complete",
               "cpu": 1, "calls": 1}  # fmt: skip
        found.append(ids | {
            "call_id": row["unmap_id"], "symbol": "kvm_pgtable_stage2_unmap", "depth": 0,
            "operation": "unmap", "component": "rest", "offset_ns": 0, "self_ns": 10,
            "duration_ns": row["duration_ns"],
        })  # fmt: skip
        found += [
            ids | {
                "call_id": 1000 + at, "parent_id": row["unmap_id"], "symbol": symbol, "depth": 1,
                "operation": "cmo", "component": "cmo", "offset_ns": 10 * at, "self_ns": 9,
                "duration_ns": 9,
            }
            for at in range(number)
        ]  # fmt: skip
    return pl.DataFrame(found, schema=SLOW_CALLS)


def hostile() -> tuple[Contents, pl.DataFrame]:
    of = analysis(
        [unmap(1000 + at, 1 << at % 9, source_id=at % 3, step=HOSTILE, comm=HOSTILE)
         for at in range(30)],
        [source(source_id=at, label=HOSTILE + "!" * at, path=HOSTILE, run=HOSTILE)
         for at in range(3)],
    )  # fmt: skip
    return contents(of), calls(of, HOSTILE)


def check(chart: Chart) -> None:
    for drawing in (chart.chart, chart.picture):
        if drawing is None:
            continue
        found = drawing.to_dict()
        text = json.dumps(found)
        assert "\\n" not in text.replace("\\\\n", "")
        for path, value in leaves_of(found):
            is_code = path and path[-1] in EXPRESSIONS
            assert not (is_code and "script" in str(value)), path
            assert not {"href", "url"} & set(path)
            assert not (path[-1] == "type" and value == "image")
    assert "\n" not in chart.title + chart.subtitle
    assert len(chart.title) < 400

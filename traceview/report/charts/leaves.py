"""ns per leaf against leaves, with the line through the sizes of each group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import altair as alt
import numpy as np
import polars as pl

from traceview.queries.comparison import FITS
from traceview.queries.leaf_costs import leaf_costs, leaf_line
from traceview.report.charts.axes import log_leaves, log_times
from traceview.report.charts.chart import Chart
from traceview.report.charts.groups import no_unmaps
from traceview.report.charts.marks import (
    dimming,
    exact,
    group_color,
    group_dash,
    group_shape,
    picked_group,
    plain,
    values,
)
from traceview.report.charts.time_sentences import sentences, time_sentences, tracing_sentences
from traceview.report.ratio_words import time_text
from traceview.report.wording import count, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traceview.queries.relative_line import RelativeLine
    from traceview.report.charts.chart import Drawing
    from traceview.report.charts.groups import Groups
    from traceview.report.contents import Contents

CODE: Final = "leaves"
POINTS: Final = 40  # of a line that is drawn
HEIGHT: Final = 320


@dataclass(frozen=True, slots=True)
class Fitted:
    """The line of a group, or why it has none."""

    group: str
    line: RelativeLine | None
    refused: str = ""
    unmaps: int = 0


def leaves_chart(found: Contents, groups: Groups) -> Chart:
    """The chart, or why there is none."""
    unmaps = groups.of_drawn().filter(pl.col("leaves") > 0)
    if unmaps.is_empty():
        return Chart(CODE, "Time per leaf", "", None, _absent(found, groups))
    names = [name for name in groups.drawn if name in unmaps["group"].unique()]
    fits = [_fitted(name, unmaps.filter(pl.col("group") == name)) for name in names]
    rows = leaf_costs(unmaps)
    lines = pl.concat([_drawn(one, rows) for one in fits])
    return Chart(
        CODE,
        _title(fits, rows),
        "Points: median time per leaf of the unmaps of one size, larger for more unmaps; whiskers:"
        " 5th to 95th percentile. Lines: a fixed cost and a cost per leaf, fitted to the unmaps of"
        " a group, every size weighing alike. Both axes are logarithmic.",
        _chart(rows, lines, names),
        subtitle=sentences([
            *time_sentences(found.analysis), *tracing_sentences(groups.rows), *_refusals(fits),
            groups.not_drawn,
        ]),
    )  # fmt: skip


def _absent(found: Contents, groups: Groups) -> str:
    if groups.unmaps.is_empty():
        return no_unmaps(found)
    known = groups.unmaps["leaves"].drop_nulls()
    if known.is_empty():
        return "the number of leaves of no complete unmap is known"
    return "no complete unmap of known size has a leaf"


def _fitted(name: str, unmaps: pl.DataFrame) -> Fitted:
    level = unmaps["leaf_level"][0]
    if level in {"unknown", "mixed"}:
        return Fitted(name, None, "its leaves may be of several sizes")
    line = leaf_line(unmaps)
    if line is None:
        return Fitted(name, None, f"{plural(unmaps['leaves'].n_unique(), 'size')}, a line wants 3")
    if abs(line.worst.relative) > FITS:
        return Fitted(name, None, f"a size is more than {FITS:.0%} off it")
    if line.slope <= 0:
        return Fitted(name, None, "more leaves do not take longer")
    return Fitted(name, line, unmaps=len(unmaps))


def _drawn(of: Fitted, rows: pl.DataFrame) -> pl.DataFrame:
    """The line of a group, per leaf, between its smallest and its largest size."""
    sizes = rows.filter(pl.col("group") == of.group)["leaves"].to_numpy()
    empty = pl.DataFrame(schema={"group": pl.String, "leaves": pl.Float64, "line_ns": pl.Float64})
    if of.line is None:
        return empty
    at = np.geomspace(sizes.min(), sizes.max(), POINTS)
    per_leaf = of.line.intercept / at + of.line.slope
    drawn = pl.DataFrame({"group": [of.group] * POINTS, "leaves": at, "line_ns": per_leaf})
    return drawn.filter(pl.col("line_ns") > 0)


def _title(fits: Sequence[Fitted], rows: pl.DataFrame) -> str:
    """What a further leaf costs in at most two groups; else what is drawn."""
    having = [one for one in fits if one.line is not None]
    if not having:
        fewest, most = rows["fewest"].min(), rows["most"].max()
        leaves = f"{count(fewest)} to {count(most)}" if fewest != most else count(fewest)  # type: ignore[arg-type]
        return (
            f"Time per leaf of {plural(int(rows['unmaps'].sum()), 'unmap')} with {leaves}"
            f" {'leaf' if most == 1 else 'leaves'}"
        )
    said = [_slope(one, one.line, several=len(fits) > 1) for one in having[:2] if one.line]
    more = f", and {plural(len(having) - 2, 'more group')}" if len(having) > 2 else ""
    lines = "line" if len(having) == 1 else "lines"
    return f"By the fitted {lines} a further leaf takes {' and '.join(said)}{more}"


def _slope(of: Fitted, line: RelativeLine, *, several: bool) -> str:
    """The cost of a further leaf, with what the line stands on."""
    on = f"{count(of.unmaps)} unmaps of {line.sizes} sizes"
    name = f"{of.group}; " if several else ""
    return f"{time_text(line.slope)} ({name}{on})"


def _refusals(fits: Sequence[Fitted]) -> Iterator[str]:
    """How many groups have no line, and why."""
    reasons = list(dict.fromkeys(one.refused for one in fits if one.line is None))
    if not reasons:
        return
    number = sum(one.line is None for one in fits)
    of = "" if number == len(fits) else f" for {number} of {plural(len(fits), 'group')}"
    more = f"; and {len(reasons) - 3} more reasons" if len(reasons) > 3 else ""
    yield f"no line is drawn{of}: {'; '.join(reasons[:3])}{more}"


def _chart(rows: pl.DataFrame, lines: pl.DataFrame, names: Sequence[str]) -> Drawing:
    title = "leaves of the unmap (log scale)"
    x = alt.X(**log_leaves("leaves", title, rows["leaves"]))
    ends = [*rows["p5_ns"], *rows["p95_ns"], *lines["line_ns"]]

    def y(field: str) -> alt.Y:
        return alt.Y(**log_times(field, "time per leaf (log scale)", ends))

    base = alt.Chart(values(rows)).encode(x=x, opacity=dimming())
    color = group_color(names)
    whiskers = base.mark_rule(strokeWidth=1.5).encode(
        y=y("p5_ns"), y2="p95_ns:Q", color=color.legend(None)
    )
    area = alt.Scale(type="sqrt", domain=[1, _top(rows)], range=[50, 260])
    points = base.mark_point(filled=True).encode(
        y=y("median_ns"),
        color=color,
        shape=group_shape(names),
        size=alt.Size("unmaps:Q", scale=area, legend=None),
        tooltip=[
            plain("group", "group"), exact("leaves", "leaves"), exact("fewest", "fewest leaves"),
            exact("most", "most leaves"), exact("unmaps", "unmaps"),
            exact("median_ns", "median (ns per leaf)"),
            exact("p5_ns", "5th percentile (ns per leaf)"),
            exact("p95_ns", "95th percentile (ns per leaf)"),
            exact("duration_ns", "median of an unmap (ns)"),
        ],
    )  # fmt: skip
    layers = [whiskers, points]
    if len(lines):
        drawn = alt.Chart(values(lines)).mark_line(strokeWidth=2)
        layers.insert(0, drawn.encode(
            x=x, y=y("line_ns"), color=group_color(names).legend(None),
            strokeDash=group_dash(names),
            detail="group:N", opacity=dimming(),
        ))  # fmt: skip
    # Each layer its own: the legend is that of the points, whose symbols need no dashes.
    chart: Drawing = alt.layer(*layers, width="container", height=HEIGHT).resolve_scale(
        color="independent", shape="independent"
    )
    return chart.add_params(picked_group())


def _top(rows: pl.DataFrame) -> int:
    most = rows["unmaps"].max()
    return max(2, most) if isinstance(most, int) else 2

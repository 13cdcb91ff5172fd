"""What charts share: their data, the group that is picked, scales of groups, tooltips."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Final

import altair as alt

from traceview.report.charts.theme import DASHES, DIMMED, SHAPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

PICKED_GROUP: Final = "picked_group"
PICKED_UNMAP: Final = "picked_unmap"
IS_PICKED: Final = f"{PICKED_GROUP} == '' || datum.group == {PICKED_GROUP}"
DIGITS: Final = 6


def values(rows: pl.DataFrame) -> alt.InlineData:
    """*rows* as data of a specification; what is null is left out."""
    return alt.InlineData(values=[_row(row) for row in rows.iter_rows(named=True)])


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in row.items() if value is not None}


def _value(value: Any) -> Any:
    """Floats to six significant digits: the file is smaller, and nobody measures more."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{DIGITS}g}") if isfinite(value) else None


def picked_group() -> alt.Parameter:
    """The parameter by which a page dims all groups but one."""
    return alt.param(name=PICKED_GROUP, value="")


def dimming(shown: float = 1.0) -> Any:
    """Opacity *shown* of the group that is picked, of all where none is."""
    return alt.condition(IS_PICKED, alt.value(shown), alt.value(DIMMED * shown))


def legend(*, lines: bool = False) -> alt.Legend:
    """Below the drawing, where names have room on a narrow page too."""
    symbol: dict[str, Any] = (
        {"symbolType": "stroke", "symbolSize": 320} if lines else {"symbolDash": [1, 0]}
    )
    return alt.Legend(title=None, orient="bottom", direction="vertical", columns=1, **symbol)


def group_color(groups: Sequence[str], *, lines: bool = False) -> alt.Color:
    """The colour of each group, the same in every chart of a page."""
    scale = alt.Scale(domain=list(groups), range="category")
    return alt.Color("group:N", scale=scale, legend=legend(lines=lines))


def group_fill(groups: Sequence[str]) -> alt.Fill:
    """The colour of each group as a filling."""
    scale = alt.Scale(domain=list(groups), range="category")
    return alt.Fill("group:N", scale=scale, legend=None)


def group_shape(groups: Sequence[str]) -> alt.Shape:
    """The shape of each group."""
    scale = alt.Scale(domain=list(groups), range=[SHAPES[at] for at in _places(groups)])
    return alt.Shape("group:N", scale=scale, legend=legend())


def group_dash(groups: Sequence[str], *, lines: bool = False) -> alt.StrokeDash:
    """The dash of each group, in the legend where that is one of *lines*."""
    scale = alt.Scale(domain=list(groups), range=[DASHES[at] for at in _places(groups)])
    return alt.StrokeDash("group:N", scale=scale, legend=legend(lines=True) if lines else None)


def _places(groups: Sequence[str]) -> list[int]:
    return [at % len(SHAPES) for at in range(len(groups))]


def exact(field: str, title: str) -> alt.Tooltip:
    """A number in full, thousands separated."""
    return alt.Tooltip(f"{field}:Q", title=title, format=",")


def plain(field: str, title: str) -> alt.Tooltip:
    """A text."""
    return alt.Tooltip(f"{field}:N", title=title)

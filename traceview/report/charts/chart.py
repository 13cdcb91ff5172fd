"""One chart: what it says, its Vega-Lite specification, and the words where there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True, slots=True)
class Chart:
    """`code` is a stable kebab-case name (of its file, its place in the page).

    `title` says what the chart says, `description` what is drawn, in words for those who do not
    see it. `chart` is None where the data has nothing to draw: then `absent` says why.
    """

    code: str
    title: str
    description: str
    chart: alt.LayerChart | alt.Chart | alt.FacetChart | alt.VConcatChart | alt.HConcatChart | None
    absent: str = ""

"""One chart: what it says, its Vega-Lite specification, and the words where there is none.

The specification has no title: pages write `title` and `subtitle` as text of theirs, pictures
(report/pictures.py) put them above the drawing. It has no colours either: those are of the theme
(theme.py), which is passed beside it as Vega-Lite's `config`.

Parameters by which a page links charts, all of them strings with "" for nothing picked:
`picked_group` dims everything but one group (field `group` of every datum that has one; in a
comparison the side), `picked_unmap` names an unmap as `source_id:unmap_id` (field `unmap`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import altair as alt

    Drawing = alt.LayerChart | alt.Chart | alt.FacetChart | alt.VConcatChart | alt.HConcatChart

# Of all charts that there are, of an analysis and of a comparison.
CODES: Final = (
    "ratios", "split", "split-recorded", "leaves", "ecdf", "shift", "timeline", "samples",
    "waterfall",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chart:
    """`code`, one of CODES, is a stable name (of its file, its place in the page).

    `title` says what the chart says, `subtitle` what its reader must know at once (what the times
    are, what is not drawn), `description` what is drawn, in words for those who do not see it.
    `chart` is None where the data has nothing to draw: then `absent` says why. It is as wide as
    what holds it; `picture`, where it differs, is what a file of fixed width shows instead.
    """

    code: str
    title: str
    description: str
    chart: Drawing | None
    absent: str = ""
    subtitle: str = ""
    picture: Drawing | None = None

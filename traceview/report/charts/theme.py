"""How charts look: colours, fonts and strokes, as Vega-Lite's `config`, for light and for dark.

Specifications name roles (the ranges `category` and `ordinal`, the styles below), so that one
specification serves a light page, a dark one and print. Nothing is told by colour alone: groups
differ in shape and dash too, components in their order and by the letters in them.

The colours are those of Okabe and Ito ("Color Universal Design", 2008), made darker or lighter
until each has a contrast of 3 to 1 with its ground (WCAG 2.2, 1.4.11); those of the components are
light enough for the dark letters that stand on them (4.5 to 1).
"""

from __future__ import annotations

from typing import Any, Final

FONT: Final = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"
GROUPS: Final = {
    False: ["#0072b2", "#c65500", "#00805c", "#a8478a", "#7d6608", "#5a5f66", "#2f8fd0", "#9c4a2f"],
    True: ["#56b4e9", "#ff8f45", "#2fc79a", "#e79fca", "#f0e442", "#c3c8cf", "#7aa5ff", "#d9a27a"],
}
# Groups differ in these as well, in the same order.
SHAPES: Final = (
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right",
    "triangle-left",
)  # fmt: skip
DASHES: Final = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [5, 5], [1, 4], [12, 3], [4, 2, 1, 2])
MOST_GROUPS: Final = len(SHAPES)
# In the order of report.bar.PARTS.
COMPONENTS: Final = (
    "#ec7a3c", "#d68bb5", "#f0a63c", "#5aa9dd", "#f0e442", "#2fb48c", "#a99be0", "#8ccdf0",
    "#c7b08a", "#b4b9c0",
)  # fmt: skip
LETTERS: Final = "#111418"  # on components
GROUND: Final = {False: "#ffffff", True: "#14171c"}
TEXT: Final = {False: "#1b1f24", True: "#e8eaed"}
MUTED: Final = {False: "#555b63", True: "#aab0b8"}
GRID: Final = {False: "#e3e6ea", True: "#2c3138"}
DIMMED: Final = 0.12


def theme(dark: bool) -> dict[str, Any]:  # noqa: FBT001 - the one question there is
    """The configuration for a dark ground or a light one; the ground itself is transparent."""
    text, muted, grid = TEXT[dark], MUTED[dark], GRID[dark]
    axis = {
        "labelColor": muted, "titleColor": text, "gridColor": grid, "domainColor": muted,
        "tickColor": muted, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500,
        "titlePadding": 8, "labelOverlap": "greedy", "labelPadding": 4,
    }  # fmt: skip
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": None},
        "axis": axis,
        "legend": {
            "labelColor": text, "titleColor": text, "labelFontSize": 12, "titleFontSize": 12,
            "labelLimit": 420, "titleFontWeight": 500, "symbolStrokeWidth": 2, "rowPadding": 4,
        },
        "title": {
            "color": text, "subtitleColor": muted, "fontSize": 16, "fontWeight": 600,
            "subtitleFontSize": 12, "anchor": "start", "frame": "bounds", "offset": 14,
            "lineHeight": 21, "subtitleLineHeight": 17, "subtitlePadding": 6,
        },
        "header": {"labelColor": text, "titleColor": text, "labelFontSize": 12, "labelLimit": 600},
        "range": {"category": GROUPS[dark], "ordinal": list(COMPONENTS)},
        "text": {"fontSize": 12, "fill": text},
        "style": _styles(dark=dark),
    }  # fmt: skip


def _styles(*, dark: bool) -> dict[str, Any]:
    """The roles of marks that are no group and no component."""
    text, muted = TEXT[dark], MUTED[dark]
    return {
        "heading": {"color": text, "fontSize": 12, "fontWeight": 600},
        "label": {"color": text, "fontSize": 12},
        "note": {"color": muted, "fontSize": 12},
        "letter": {"color": LETTERS, "fontSize": 12, "fontWeight": 600},
        "segment": {"stroke": GROUND[dark], "strokeWidth": 1},
        "unknown": {"color": GRID[dark], "stroke": muted, "strokeDash": [3, 2], "strokeWidth": 1},
        "share": {"color": GROUPS[dark][0], "fillOpacity": 0.75},
        "excluded": {"color": text, "size": 12, "thickness": 1.5},
        "loss": {"color": GROUPS[dark][1], "fillOpacity": 0.25},
        "noise": {"color": muted, "fillOpacity": 0.16},
        "reference": {"color": muted, "strokeDash": [4, 3], "strokeWidth": 1.5},
        "estimate": {"color": text},
    }

"""Charts as files of their own: PNG and SVG for slides, mails and commit logs.

vl-convert draws them without a browser and without the network: it has no base URL to load from.
The title and what the reader must know at once stand in the picture, so that it can be passed on.
Text is drawn in fonts of the machine; the SVG names them and holds the text as text.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, Literal

from traceview.errors import SettingError
from traceview.report.new_file import refuse_existing, write_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from traceview.report.charts.chart import Chart

Kind = Literal["png", "svg"]

WIDTH: Final = 760
SCALE: Final = 2
PADDING: Final = 18
# Characters of a line that are no wider than the drawing.
TITLE_CHARACTERS: Final = 92
SUBTITLE_CHARACTERS: Final = 128


def pictures(
    charts: Sequence[Chart], directory: Path, kind: Kind, *, force: bool = False
) -> list[Path]:
    """Write DIRECTORY/CODE.KIND of each chart that has something to draw; the files written.

    The directory is made where it is missing. Raises SettingError, before anything is written,
    where a file exists and *force* is not given.
    """
    drawn = [(one, directory / f"{one.code}.{kind}") for one in charts if one.chart is not None]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise SettingError(f"no folder can be made of {directory}: {err.strerror or err}") from err
    for _, path in drawn:
        refuse_existing(path, force=force)
    for one, path in drawn:
        write_file(path, [rendered(one, kind)], force=force)
    return [path for _, path in drawn]


def rendered(chart: Chart, kind: Kind, *, dark: bool = False) -> str | bytes:
    """One chart that has something to draw, as it stands in a file."""
    import vl_convert  # noqa: PLC0415 - heavy, and wanted for pictures only

    from traceview.report.charts.theme import GROUND, theme  # noqa: PLC0415

    config = theme(dark) | {"background": GROUND[dark]}
    options: dict[str, Any] = {"config": config, "allowed_base_urls": []}
    if kind == "svg":
        return str(vl_convert.vegalite_to_svg(specification(chart), **options))
    return bytes(vl_convert.vegalite_to_png(specification(chart), scale=SCALE, **options))


def specification(chart: Chart) -> dict[str, Any]:
    """The chart with its title and a width of its own."""
    drawing = chart.picture or chart.chart
    assert drawing is not None, chart.code
    found: dict[str, Any] = drawing.to_dict()
    found.pop("config", None)
    if found.get("width") == "container":
        found["width"] = WIDTH
    found["title"] = {
        "text": wrap(chart.title, TITLE_CHARACTERS) or [""],
        "subtitle": wrap(chart.subtitle, SUBTITLE_CHARACTERS),
    }
    found["padding"] = PADDING
    found["autosize"] = {"type": "pad", "contains": "padding"}
    return found

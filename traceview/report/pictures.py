"""Charts as files of their own: PNG and SVG for slides, mails and commit logs.

vl-convert draws them without a browser and without the network: it has no base URL to load from.
The title and what the reader must know at once stand in the picture, so that it can be passed on.
Text is drawn in fonts of the machine; the SVG names them and holds the text as text.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final, Literal

from traceview.errors import SettingError
from traceview.report.charts.chart import CODES
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


def refuse_pictures(directory: Path, kind: Kind, *, force: bool) -> None:
    """Raise SettingError where no folder can be made of *directory*, or it has a picture already.

    Asked before the work begins, of every chart that there is: which of them the data has
    something for is not known by then. With *force* pictures may be there.
    """
    try:
        there = next(one for one in (directory, *directory.absolute().parents) if one.exists())
        if not there.is_dir():
            raise SettingError(f"no folder can be made of {directory}: {there} is none")
        for path in [directory / f"{code}.{kind}" for code in CODES if there == directory]:
            refuse_existing(path, force=force)
    except OSError as err:
        raise _no_folder(directory, err) from err


def pictures(
    charts: Sequence[Chart], directory: Path, kind: Kind, *, force: bool = False
) -> list[Path]:
    """Write DIRECTORY/CODE.KIND of each chart that has something to draw; the files written.

    The directory is made where it is missing. Raises SettingError, before anything is written, as
    refuse_pictures() does.
    """
    refuse_pictures(directory, kind, force=force)
    drawn = [(one, directory / f"{one.code}.{kind}") for one in charts if one.chart is not None]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise _no_folder(directory, err) from err
    for one, path in drawn:
        write_file(path, [rendered(one, kind)], force=force)
    return [path for _, path in drawn]


def _no_folder(directory: Path, err: OSError) -> SettingError:
    return SettingError(f"no folder can be made of {directory}: {err.strerror or err}")


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

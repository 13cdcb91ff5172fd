"""Pictures of charts: files that appear whole, stand alone, and hold names as text."""

from __future__ import annotations

import json
import struct
import xml.etree.ElementTree as ET
from importlib import import_module, resources
from typing import TYPE_CHECKING

import altair as alt
import pytest

from tests.drawn import HOSTILE, calls, hostile
from tests.writers.analyses import analysis, source, unmap
from traceview.errors import SettingError
from traceview.report.charts.analysis import analysis_charts
from traceview.report.charts.chart import CODES, Chart
from traceview.report.contents import contents
from traceview.report.pictures import (
    PADDING,
    SCALE,
    WIDTH,
    pictures,
    refuse_pictures,
    rendered,
    specification,
)

if TYPE_CHECKING:
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def charts() -> list[Chart]:
    of = analysis([unmap(1000 + at, 1 << at) for at in range(8)], [source(origin="emulated")])
    return analysis_charts(contents(of), calls(of))


def texts(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


def test_each_chart_that_has_something_becomes_a_file_of_its_code(
    charts: list[Chart], tmp_path: Path
) -> None:
    absent = Chart("shift", "Ratio by decile", "", None, "too few runs")
    written = pictures([*charts, absent], tmp_path / "made" / "here", "svg")
    assert [path.name for path in written] == [
        "split.svg", "leaves.svg", "ecdf.svg", "timeline.svg", "waterfall.svg",
    ]  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "made" / "here").iterdir()) == sorted(
        path.name for path in written
    )


@pytest.fixture(scope="module")
def light(charts: list[Chart]) -> dict[str, str]:
    return {chart.code: str(rendered(chart, "svg")) for chart in charts}


def test_the_title_and_what_the_times_are_stand_in_the_picture(
    charts: list[Chart], light: dict[str, str]
) -> None:
    for chart in charts:
        said = " ".join(texts(light[chart.code]))
        assert all(word in said for word in chart.title.split())
        assert "Emulated time: no evidence about hardware." in said


def test_a_png_is_one_of_twice_the_size(charts: list[Chart]) -> None:
    found = rendered(charts[0], "png")
    assert isinstance(found, bytes)
    assert found.startswith(PNG)
    width, _ = struct.unpack(">II", found[16:24])
    assert width >= SCALE * (WIDTH + 2 * PADDING)


def test_every_chart_is_drawn_for_light_and_for_dark(
    charts: list[Chart], light: dict[str, str]
) -> None:
    for chart in charts:
        assert "#ffffff" in light[chart.code]
        assert "#14171c" in str(rendered(chart, "svg", dark=True))


def test_an_existing_file_is_not_overwritten_and_nothing_else_is_written(
    charts: list[Chart], tmp_path: Path
) -> None:
    there = tmp_path / "timeline.svg"
    there.write_text("mine")
    with pytest.raises(SettingError, match="exists already"):
        pictures(charts, tmp_path, "svg")
    assert [path.name for path in tmp_path.iterdir()] == ["timeline.svg"]
    pictures([one for one in charts if one.code == "timeline"], tmp_path, "svg", force=True)
    assert there.read_text().startswith("<svg")


@pytest.mark.parametrize("code", CODES)
def test_a_picture_of_any_chart_is_refused_before_the_work(code: str, tmp_path: Path) -> None:
    (tmp_path / f"{code}.png").write_text("mine")
    with pytest.raises(SettingError, match=f"{code}.png exists already"):
        refuse_pictures(tmp_path, "png", force=False)
    refuse_pictures(tmp_path, "png", force=True)
    refuse_pictures(tmp_path, "svg", force=False)


def test_asking_makes_no_folder(tmp_path: Path) -> None:
    refuse_pictures(tmp_path / "made" / "later", "png", force=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_folder_that_cannot_be_made_is_refused(
    charts: list[Chart], below: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for write in (
        lambda path: pictures(charts, path, "png"),
        lambda path: refuse_pictures(path, "png", force=True),
    ):
        with pytest.raises(SettingError, match="no folder can be made of"):
            write(tmp_path / "file" / below)


def test_every_code_of_a_chart_is_known() -> None:
    folder = resources.files("traceview.report") / "charts"
    modules = [
        import_module(f"traceview.report.charts.{file.name.removesuffix('.py')}")
        for file in folder.iterdir() if file.name.endswith(".py")
    ]  # fmt: skip
    said = [getattr(one, name, "") for one in modules for name in ("CODE", "RECORDED")]
    assert sorted(CODES) == sorted({str(code) for code in said if code})


def test_hostile_names_are_text_in_a_picture() -> None:
    found, table = hostile()
    shown = []
    for chart in analysis_charts(found, table):
        if chart.chart is None:
            continue
        svg = str(rendered(chart, "svg"))
        names = {node.tag.removeprefix(SVG) for node in ET.fromstring(svg).iter()}
        assert not names & {"script", "image", "img", "a", "foreignObject"}
        shown += texts(svg)
    assert any(HOSTILE[:8] in text for text in shown)


def test_a_picture_loads_nothing_from_anywhere() -> None:
    drawing = alt.Chart(alt.UrlData(url="https://example.invalid/a.csv")).mark_point()
    far = Chart("far", "Far", "", drawing.encode(x="a:Q"))
    with pytest.raises(ValueError, match="not allowed"):
        rendered(far, "svg")


def test_one_chart_gives_the_same_picture_each_time(
    charts: list[Chart], light: dict[str, str]
) -> None:
    assert rendered(charts[1], "svg") == light[charts[1].code]


def test_a_long_title_is_wrapped_and_not_cut() -> None:
    drawing = alt.Chart(alt.InlineData(values=[{"a": 1}])).mark_point().encode(x="a:Q")
    title = " ".join(["word"] * 60)
    found = specification(Chart("long", title, "", drawing.properties(width="container")))
    assert " ".join(found["title"]["text"]) == title
    assert len(found["title"]["text"]) > 2
    assert found["width"] == WIDTH
    assert json.dumps(found)

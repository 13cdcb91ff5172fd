"""The dashboard driven in a browser: it draws, answers, asks nobody, and shows names as text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import polars as pl
import pytest

from tests.chromium import Visit, browser, needs_chromium, visit
from tests.hostile_names import NAMES, hostile, of_file, with_hostile_names
from traceview.parsers import open_trace
from traceview.queries import analyze
from traceview.queries.comparison import compare
from traceview.queries.slow_calls import SlowCalls
from traceview.report.compared import compared, renumbered
from traceview.report.contents import contents
from traceview.report.dashboard.page import analysis_page, comparison_page
from traceview.report.new_file import write_file
from traceview.report.provenance import Provenance
from traceview.report.wording import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from traceview.queries import Analysis

pytestmark = needs_chromium

ROOT = Path(__file__).parent.parent
TRACE = ROOT / "sample_traces" / "fgraph-6.12-neoverse-n1.perfetto"
MANY = ROOT / "sample_traces" / "kprobes-6.1-max.perfetto.xz"
CHARTS = ["split", "leaves", "ecdf", "timeline", "waterfall"]
FIRST, SECOND = (f"per_pte, leaves of unknown size, {kind}" for kind in ("notifier", "memslot"))
# The marks of a chart that are of a group, and how opaque each is.
OPACITIES = """(code) =>
  [...document.querySelectorAll(`#chart-${code} .role-mark:not(.mark-text) > *`)]
  .filter((mark) => mark.__data__?.datum?.group)
  .map((mark) => [mark.__data__.datum.group, mark.__data__.opacity])"""
PRESSED = """[...document.querySelectorAll('#pick [aria-pressed="true"]')]
  .map((button) => button.dataset.group)"""
CHOSEN = "document.querySelector('#slowest :checked').value"
DRAWN_UNMAPS = """[...new Set([...document.querySelectorAll('#chart-waterfall .role-mark > *')]
  .map((mark) => mark.__data__?.datum?.unmap).filter(Boolean))]"""
NAMES_SHOWN = "[...document.querySelectorAll('#slowest td')].map((cell) => cell.textContent)"
MARK = """([code, name, value]) => {
  const mark = [...document.querySelectorAll(`#chart-${code} .role-mark > *`)]
    .find((one) => one.__data__?.datum?.[name] === value);
  mark.scrollIntoView({ block: "center" });
  const { x, y, width, height } = mark.getBoundingClientRect();
  return [x + width / 2, y + height / 2];
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def read() -> tuple[Analysis, pl.DataFrame]:
    slow = SlowCalls()
    return analyze(open_trace(TRACE), hear=slow.hear), slow.table()


@pytest.fixture(scope="module")
def dashboard(
    read: tuple[Analysis, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path = tmp_path_factory.mktemp("dashboard") / "page.html"
    command = Provenance(("analyze", str(TRACE.relative_to(ROOT)), "--html", "page.html"))
    write_file(path, analysis_page(contents(read[0]), read[1], command))
    return path


@pytest.fixture(scope="module")
def drawn(chromium: Browser, dashboard: Path) -> Iterator[Visit]:
    """The page for tests that leave nothing behind."""
    with visit(chromium, dashboard) as found:
        yield found
        assert found.wrong == []


@pytest.fixture
def opened(chromium: Browser, dashboard: Path) -> Iterator[Visit]:
    with visit(chromium, dashboard) as found:
        yield found
        assert found.wrong == []


def opacities(found: Visit, code: str) -> dict[str, set[float]]:
    said: dict[str, set[float]] = {}
    for group, opacity in found.page.evaluate(OPACITIES, code):
        said.setdefault(group, set()).add(1.0 if opacity is None else opacity)
    return said


def highlighted(found: Visit, code: str) -> set[str]:
    """The groups of a chart that are not dimmed."""
    return {group for group, seen in opacities(found, code).items() if max(seen) > 0.5}


def click_mark(found: Visit, code: str, name: str, value: str) -> None:
    x, y = found.page.evaluate(MARK, [code, name, value])
    found.page.mouse.click(x, y)


def settled(found: Visit, expected: set[str]) -> None:
    """Every chart with groups comes to show *expected* and nothing else."""
    for code in CHARTS[:-1]:
        for _ in range(100):
            if highlighted(found, code) == expected:
                break
            found.page.wait_for_timeout(20)
        assert highlighted(found, code) == expected, code


def test_every_chart_is_drawn_and_the_page_asks_nobody(drawn: Visit, dashboard: Path) -> None:
    page = drawn.page
    assert dashboard.stat().st_size < 1_500_000
    assert [it.get_attribute("data-chart") for it in page.locator("figure").all()] == CHARTS
    assert page.locator("html").get_attribute("data-drawn") == str(len(CHARTS))
    assert page.locator("figure svg").count() == len(CHARTS)
    assert drawn.overflow() == 0
    # Nothing may run that the page did not bring, not even from its own console.
    assert drawn.says("document.querySelectorAll('link, iframe, object, embed').length") == 0


def test_a_group_is_picked_by_button_by_mark_and_by_row_in_all_charts(drawn: Visit) -> None:
    page = drawn.page
    settled(drawn, {FIRST, SECOND})
    page.get_by_role("button", name=SECOND, exact=True).click()
    settled(drawn, {SECOND})
    assert drawn.says(PRESSED) == [SECOND]
    assert page.locator("#said").inner_text() == f"highlighted: {SECOND}"
    click_mark(drawn, "split", "group", FIRST)
    settled(drawn, {FIRST})
    assert drawn.says(PRESSED) == [FIRST]
    assert page.locator("tr.picked").get_attribute("data-group") == FIRST
    click_mark(drawn, "split", "group", FIRST)  # again: nothing is picked
    settled(drawn, {FIRST, SECOND})
    page.locator("tr[data-group]").last.click()
    settled(drawn, {SECOND})
    page.get_by_role("button", name="none (Esc)").click()
    settled(drawn, {FIRST, SECOND})
    assert drawn.says(PRESSED) == []


def test_the_keyboard_does_what_the_mouse_does(opened: Visit) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    assert opened.says("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert opened.says("document.activeElement.id") == "main"
    page.get_by_role("button", name=FIRST, exact=True).focus()
    page.keyboard.press("Space")
    settled(opened, {FIRST})
    page.keyboard.press("Escape")
    settled(opened, {FIRST, SECOND})
    page.locator("#slowest :checked").focus()
    page.keyboard.press("ArrowDown")
    second = page.locator("#slowest input").nth(1).get_attribute("value")
    assert opened.says(CHOSEN) == second
    page.wait_for_timeout(200)
    assert opened.says(DRAWN_UNMAPS) == [second]


def test_tab_reaches_every_control_and_is_caught_by_none(opened: Visit) -> None:
    page, seen = opened.page, []
    for _ in range(200):
        page.keyboard.press("Tab")
        name = opened.says(
            "document.activeElement === document.body ? '' : [document.activeElement.tagName,"
            " document.activeElement.textContent.slice(0, 40)].join(' ')"
        )
        if not name:
            break
        seen.append(name)
    assert 20 < len(seen) < 200
    assert {f"BUTTON {FIRST}"[:47], "BUTTON copy", "SUMMARY in words and numbers"} <= set(seen)
    assert len([name for name in seen if name.startswith("INPUT")]) == 1


def test_the_waterfall_is_of_the_unmap_that_is_chosen(opened: Visit) -> None:
    page = opened.page
    keys = [it.get_attribute("value") for it in page.locator("#slowest input").all()]
    assert opened.says(DRAWN_UNMAPS) == keys[:1]
    page.locator("#slowest label").nth(2).click()
    page.wait_for_timeout(200)
    assert opened.says(DRAWN_UNMAPS) == keys[2:3]
    click_mark(opened, "timeline", "unmap", str(keys[1]))
    page.wait_for_timeout(200)
    assert opened.says(CHOSEN) == keys[1]
    assert opened.says(DRAWN_UNMAPS) == keys[1:2]


def colours(found: Visit) -> tuple[Any, Any]:
    """Of the page, and of the label of an axis."""
    style = "getComputedStyle(document.querySelector('{}')).{}"
    return (
        found.says(style.format("body", "backgroundColor")),
        found.says(style.format(".role-axis-label text", "fill")),
    )


def test_the_theme_is_the_readers_and_print_is_light(opened: Visit, tmp_path: Path) -> None:
    page, button = opened.page, opened.page.locator("#theme")
    light = colours(opened)
    page.emulate_media(color_scheme="dark")
    dark = colours(opened)
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    button.click()
    assert (button.inner_text(), colours(opened)) == ("theme: light", light)
    button.click()
    assert (button.inner_text(), colours(opened)) == ("theme: dark", dark)
    page.emulate_media(media="print", color_scheme="dark")
    assert colours(opened) == light
    for control in ("#pick", "#theme", "nav", ".save >> nth=0", "details >> nth=0"):
        assert not page.locator(control).is_visible(), control
    assert page.locator("#summary .strong").first.is_visible()
    assert page.locator("figure svg").first.is_visible()
    page.pdf(path=tmp_path / "page.pdf", format="A4")
    assert (tmp_path / "page.pdf").stat().st_size > 20_000


def test_a_narrow_page_is_as_wide_as_its_window(opened: Visit) -> None:
    page = opened.page
    before = opened.says("document.querySelector('.plot svg').viewBox.baseVal.width")
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(600)
    assert opened.overflow() == 0
    after = opened.says("document.querySelector('.plot svg').viewBox.baseVal.width")
    assert after < 390 < before  # drawn anew, not shrunk
    for width in opened.says("[...document.querySelectorAll('svg')].map((one) => one.clientWidth)"):
        assert width <= 390
    assert highlighted(opened, "leaves") == {FIRST, SECOND}


def test_a_command_can_be_copied_without_permission(drawn: Visit) -> None:
    drawn.page.locator("[data-copy]").first.click()
    selected = drawn.says("getSelection().toString()").replace("\\\n", "")
    assert (
        selected.split() == f"traceview analyze {TRACE.relative_to(ROOT)} --html page.html".split()
    )


def test_a_chart_is_saved_as_it_is_seen(drawn: Visit) -> None:
    saved = []
    for kind in ("SVG", "PNG"):
        with drawn.page.expect_download() as download:
            drawn.page.locator("#chart-split").get_by_text(kind, exact=True).click()
        assert download.value.suggested_filename == f"split.{kind.lower()}"
        saved.append(Path(download.value.path()).read_bytes())
    assert saved[0].startswith(b"<svg")
    assert b"var(" not in saved[0]
    # It is passed on without the page: its title and what limits it are in it.
    written = " ".join(ET.fromstring(saved[0]).itertext())
    said = drawn.page.locator("#chart-split figcaption").inner_text()
    assert "no evidence about hardware" in said
    assert set(said.split()) <= set(written.split())
    assert saved[1].startswith(b"\x89PNG")


def test_without_scripts_the_words_are_there(chromium: Browser, dashboard: Path) -> None:
    with visit(chromium, dashboard, scripts=False) as found:
        assert found.page.get_by_text("drawn by scripts, which do not run here").is_visible()
        for title in ("Before quoting this", "What was measured, and how", "How to reproduce"):
            assert found.page.get_by_role("heading", name=title).is_visible()
        assert not found.page.locator("#pick").is_visible()
        assert found.wrong == []


COUNTS = """() => Object.fromEntries(['img', 'script', 'style', 'iframe', 'a', 'b', 'i', 'svg',
  'button', 'link', 'base', 'form', 'input', 'h2', 'h3', 'p', 'dl', 'dt', 'ul', 'figure', 'pre']
  .map((tag) => [tag, document.querySelectorAll(tag).length]))"""
ATTRIBUTES = """[...document.querySelectorAll('*')].flatMap((one) => [...one.attributes])
  .filter(({ name, value }) => /^on|^src$/.test(name) || /^\\s*javascript:/.test(value))
  .filter(({ name }) => !['aria-label', 'data-group'].includes(name))
  .map(({ name, ownerElement }) => [name, ownerElement.tagName])"""


@pytest.fixture(scope="module")
def sides() -> tuple[dict[str, Analysis], pl.DataFrame]:
    """One run a side, and the calls of the slowest unmaps of both."""
    folder = ROOT / "sample_traces" / "switch-6.12"
    names = {"base": "per-leaf-run-01", "with": "deferred-run-02"}
    slow = {side: SlowCalls() for side in names}
    read = {
        side: analyze(
            [open_trace(folder / f"{name}-{kind}.txt.xz") for kind in ("top", "split")],
            hear=slow[side].hear,
        )
        for side, name in names.items()
    }
    return read, pl.concat([slow["base"].table(), renumbered(slow["with"].table(), 2)])


def write_comparison(path: Path, read: dict[str, Analysis], calls: pl.DataFrame) -> None:
    found = compared(compare(read["base"], read["with"]), read)
    write_file(path, comparison_page(found, calls, Provenance(("compare",))))


@pytest.fixture(scope="module")
def comparison(
    chromium: Browser,
    sides: tuple[dict[str, Analysis], pl.DataFrame],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Visit, dict[str, Any]]]:
    """A page of both sides, and of how many elements it was when it was drawn."""
    path = tmp_path_factory.mktemp("comparison") / "comparison.html"
    write_comparison(path, *sides)
    with visit(chromium, path, scheme="dark") as found:
        yield found, found.says(COUNTS)


def test_both_sides_of_a_comparison_are_drawn_and_picked(
    comparison: tuple[Visit, dict[str, Any]],
) -> None:
    opened, page = comparison[0], comparison[0].page
    assert int(page.locator("html").get_attribute("data-drawn") or 0) >= 5
    page.locator("#pick button").nth(1).click()
    page.wait_for_timeout(200)
    side = opened.says(PRESSED)
    assert highlighted(opened, "leaves") == set(side)
    page.locator("#slowest label").last.click()
    page.wait_for_timeout(200)
    assert opened.says(DRAWN_UNMAPS) == [opened.says(CHOSEN)]
    page.set_viewport_size({"width": 390, "height": 800})
    page.wait_for_timeout(600)
    assert opened.overflow() == 0
    assert opened.wrong == []


def test_hostile_names_of_both_sides_stay_text(
    chromium: Browser,
    sides: tuple[dict[str, Analysis], pl.DataFrame],
    comparison: tuple[Visit, dict[str, Any]],
    tmp_path: Path,
) -> None:
    attacked = tmp_path / "hostile.html"
    expected = comparison[1]
    every = {side: with_hostile_names(read) for side, read in sides[0].items()}
    # Labels tell the sides apart.
    every["with"] = replace(
        every["with"],
        sources=every["with"].sources.with_columns(
            label=pl.lit(NAMES[1], every["with"].sources.schema["label"])
        ),
    )
    write_comparison(attacked, every, hostile(sides[1]))
    with visit(chromium, attacked) as opened:
        opened.page.locator("#pick button").first.click()
        opened.page.locator("#slowest label").last.click()
        counted = opened.says(COUNTS)
        for tag in ("img", "script", "style", "iframe", "a", "b", "link", "base", "form", "svg"):
            assert counted[tag] == expected[tag], tag
        assert opened.says(ATTRIBUTES) == []
        assert NAMES[1] in opened.page.locator("body").inner_text()
        assert opened.overflow() == 0
        assert opened.wrong == []


@pytest.mark.parametrize(
    ("name", "charts"),
    [("cpuclock-6.12-neoverse-n1.script.txt.zst", 1), ("function-6.12-max.txt.zst", 0)],
    ids=["samples only", "no durations"],
)
def test_a_page_of_little_that_is_known_says_so(
    chromium: Browser, tmp_path: Path, name: str, charts: int
) -> None:
    path, slow = tmp_path / "page.html", SlowCalls()
    found = contents(analyze(open_trace(ROOT / "sample_traces" / name), hear=slow.hear))
    write_file(path, analysis_page(found, slow.table(), Provenance(("analyze", name))))
    with visit(chromium, path, width=390) as opened:
        assert opened.page.locator("html").get_attribute("data-drawn") == str(charts)
        assert opened.page.locator("li:has-text('not drawn,')").count() >= 4
        assert opened.overflow() == 0
        assert opened.wrong == []


def test_hostile_names_stay_text(chromium: Browser, tmp_path: Path) -> None:
    benign, attacked = tmp_path / "benign.html", tmp_path / "hostile.html"
    slow = SlowCalls()
    found = analyze(open_trace(MANY), hear=slow.hear)
    chosen = slow.table().select("source_id", "unmap_id").unique(maintain_order=True)
    names = chosen.with_columns(
        pl.Series("comm", [of_file(name) for name in (*NAMES, *NAMES)][: len(chosen)])
    )
    every = with_hostile_names(found)
    unmaps = every.unmaps.drop("comm").join(names, on=["source_id", "unmap_id"], how="left")
    every = replace(every, unmaps=unmaps)
    nothing = Provenance(("analyze",))
    write_file(benign, analysis_page(contents(found), slow.table(), nothing))
    write_file(
        attacked,
        analysis_page(contents(every), hostile(slow.table()), Provenance(("analyze", *NAMES))),
    )
    with visit(chromium, benign) as plain:
        expected: dict[str, Any] = plain.says(COUNTS)
    with visit(chromium, attacked) as opened:
        page = opened.page
        page.locator("#slowest label").nth(1).click()
        for button in page.locator("#pick button").all()[:1]:
            button.click()
        page.mouse.move(*page.evaluate(MARK, ["waterfall", "depth", 0]))
        page.wait_for_selector("#vg-tooltip-element.visible")
        assert opened.says(COUNTS) == expected
        assert opened.says(ATTRIBUTES) == []
        assert {clean(name) for name in names["comm"]} <= set(opened.says(NAMES_SHOWN))
        page.set_viewport_size({"width": 390, "height": 800})
        page.wait_for_timeout(400)
        assert opened.overflow() == 0
        assert opened.wrong == []

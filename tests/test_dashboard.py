"""The dashboard as a file: complete in itself, permitted nothing, and words stay words."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import altair as alt
import polars as pl
import pytest

from tests.hostile_names import NAMES
from tests.writers.analyses import analysis, source, unmap
from traceview.report.blocks import (
    Bullets,
    Facts,
    Paragraph,
    Section,
    Table,
    TableColumn,
    Verbatim,
)
from traceview.report.charts.chart import Chart
from traceview.report.charts.theme import theme
from traceview.report.dashboard.document import Page, document
from traceview.report.dashboard.script import Inline, data, page_script, page_style, script, vega
from traceview.report.dashboard.slowest import slow_unmaps
from traceview.report.dashboard.words import text
from traceview.report.wording import clean

VOID = {"meta", "input", "br", "img", "link"}
PROPERTY = re.compile(r"--([a-z0-9-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)")
# What is written on what.
ON = [
    ("ink", "paper"), ("ink", "soft"), ("ink", "picked"), ("muted", "paper"), ("muted", "soft"),
    ("link", "paper"), ("warn-ink", "warn"),
]  # fmt: skip


class Parsed(HTMLParser):
    """A page as a browser without scripts takes it."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.raw:
            self.raw[self.open[-1]].append(data)
        else:
            self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def attributes(self, name: str) -> list[str]:
        return [of[name] or "" for _, of in self.tags if name in of]

    def json(self, name: str) -> Any:
        """The data that a script finds by this id."""
        places = [of.get("id") for of in self.of("script")]
        return json.loads(self.raw["script"][places.index(name)])

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.words).split())


def sections(name: str = "x") -> list[Section]:
    columns = (TableColumn(name), TableColumn("count", right=True, note=name))
    return [
        Section("summary", "Summary", (Paragraph(f"per leaf 436 ns {name}"),)),
        Section("measured", "What was measured", (Facts(((name, name),)),)),
        Section("table", "Unmaps", (Table(columns, ((name, "1"), ("b", "2")), title=name),)),
        Section("caveats", "Before quoting this", (Bullets((Paragraph(name),)),)),
        Section("reproduce", "Reproduce", (Verbatim((f"traceview analyze {name}", name)),)),
    ]


def chart(code: str = "leaves", name: str = "x", **more: Any) -> Chart:
    rows = [{"group": name, "leaves": 1, "unmap": "0:1"}, {"group": "b", "leaves": 2.5}]
    drawing = alt.Chart(alt.InlineData(values=rows)).mark_point().encode(x="leaves:Q")
    return Chart(code, f"title {name}", f"description {name}", drawing, subtitle=name, **more)


def page(*, name: str = "x", charts: list[Chart] | None = None, **more: Any) -> str:
    more = {"warnings": ["Emulated time: no evidence about hardware"], **more}
    drawn = [chart(name=name)] if charts is None else charts
    return "".join(document(Page(name, sections(name), drawn, **more)))


def test_the_page_needs_nothing_but_itself() -> None:
    parsed = Parsed(page())
    assert parsed.attributes("src") == parsed.attributes("style") == []
    assert not any(name.startswith("on") for _, of in parsed.tags for name in of)
    ids = parsed.attributes("id")
    assert len(set(ids)) == len(ids)
    linked = parsed.attributes("href")
    assert linked
    assert {one.removeprefix("#") for one in linked} <= set(ids)
    assert {of for one in parsed.attributes("aria-labelledby") for of in one.split()} <= set(ids)


def test_the_policy_names_each_script_by_its_hash_and_permits_nothing_else() -> None:
    parsed = Parsed(page())
    policy = next(
        of["content"] or "" for of in parsed.of("meta")
        if of.get("http-equiv") == "Content-Security-Policy"
    )  # fmt: skip
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    def digests(texts: list[str]) -> str:
        hashed = [hashlib.sha256(one.encode()).digest() for one in texts]
        return " ".join(f"'sha256-{base64.b64encode(one).decode()}'" for one in hashed)

    run = [
        text for text, of in zip(parsed.raw["script"], parsed.of("script"), strict=True)
        if "type" not in of
    ]  # fmt: skip
    assert len(run) == 3
    assert allowed == {
        "default-src": "'none'", "base-uri": "'none'", "form-action": "'none'", "img-src": "data:",
        "style-src": digests(parsed.raw["style"]), "script-src": digests(run),
    }  # fmt: skip


def test_the_same_report_is_the_same_file() -> None:
    assert page() == page()


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_text_wherever_it_stands(name: str) -> None:
    plain, hostile = Parsed(page()), Parsed(page(name=name))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert [set(of) - {"class"} for _, of in hostile.tags] == [
        set(of) - {"class"} for _, of in plain.tags
    ]
    shown = clean(name)
    places = "".join(plain.words).count("x") - "".join(page_words()).count("x")
    assert "".join(hostile.words).count(shown) >= min(places, 8)
    assert shown in hostile.attributes("data-group")
    specification = hostile.json("spec-leaves")
    assert shown in {row["group"] for rows in specification["datasets"].values() for row in rows}


def page_words() -> list[str]:
    return Parsed(page(name="")).words


def test_what_nobody_sees_is_written_as_an_escape() -> None:
    assert text("a\u202eb\0\x1b[31m\u2028") == "a\\u202eb\\x00\\x1b[31m\\u2028"
    assert text("\udcff").encode() == b"\\udcff"


def test_data_of_charts_ends_no_script() -> None:
    written = data("d", ["</script><!--", "&amp;", "\u2028"])
    assert json.loads(Parsed(written).raw["script"][0]) == ["</script><!--", "&amp;", "\u2028"]
    assert written.count("<") == 2
    assert "\u2028" not in written


def test_scripts_end_where_their_tags_are() -> None:
    assert script("'</script>' + '<!--' + a</b/").text == "'<\\/script>' + '<\\!--' + a</b/"
    for one in (vega(), page_script()):
        assert not re.search(r"</script|<!--", one.text, re.IGNORECASE)
        assert "\r" not in one.text
    assert Inline("").digest == "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"


def test_what_must_be_known_before_quoting_stands_before_the_charts() -> None:
    said = Parsed(page()).said
    order = [
        said.index(what)
        for what in ("436 ns", "no evidence about hardware", "title x", "traceview analyze")
    ]
    assert order == sorted(order)
    caveats = page().index('id="caveats"')
    assert page().index('id="summary"') < caveats < page().index('id="table"')


def test_a_warning_is_not_repeated_where_the_summary_says_it() -> None:
    strong = Section(
        "summary", "Summary", (Paragraph("436 ns"), Paragraph("emulated", strong=True))
    )
    parsed = Parsed("".join(document(Page("t", [strong], [], ["Emulated time"]))))
    assert "Emulated time" not in parsed.said
    assert "strong" in parsed.attributes("class")


def test_nothing_that_a_section_says_is_missing_without_scripts() -> None:
    more = Section("never-heard-of", "Another", (Paragraph("kept as well"),))
    written = "".join(document(Page("t", [*sections("word"), more], [], [])))
    parsed = Parsed(written)
    assert parsed.said.count("word") >= 8
    assert "kept as well" in parsed.said
    assert {of.get("scope") for of in parsed.of("th")} == {"col", "row"}


def test_a_chart_without_data_is_a_sentence() -> None:
    absent = Chart("timeline", "Unmaps over time", "", None, "the trace has no times")
    parsed = Parsed(page(charts=[absent]))
    assert "Unmaps over time: not drawn, the trace has no times" in parsed.said
    assert parsed.of("figure") == []
    assert "pick" not in parsed.attributes("id")


def test_a_chart_is_described_and_its_few_numbers_are_a_table() -> None:
    parsed = Parsed(page())
    plot = next(of for of in parsed.of("div") if of.get("role") == "img")
    assert plot["aria-label"] == "description x"
    assert "group leaves unmap x 1 0:1 b 2.5 -" in parsed.said


def test_many_numbers_are_only_counted() -> None:
    rows = [{"at": at} for at in range(5_000)]
    drawing = alt.Chart(alt.InlineData(values=rows)).mark_point().encode(x="at:Q")
    parsed = Parsed(page(charts=[Chart("a", "t", "d", drawing)]))
    assert "5,000 rows of at are drawn." in parsed.said


def test_rows_of_a_table_name_the_group_that_they_are_about() -> None:
    parsed = Parsed(page(rows={"table": [["x", ""]]}))
    assert [of.get("data-group") for of in parsed.of("tr")][:3] == [None, "x", None]


def test_unmaps_whose_calls_are_drawn_can_be_chosen() -> None:
    found = analysis(
        [unmap(5_000, comm="<b>"), unmap(9_000, leaves=0), unmap(None)], [source(label="L")]
    )
    calls = pl.DataFrame({"source_id": [0, 0, 0], "unmap_id": [1, 1, 0]}).cast(
        {"source_id": pl.Int32}
    )
    unmaps = slow_unmaps(found, calls)
    assert [one.key for one in unmaps] == ["0:1", "0:0"]
    parsed = Parsed(page(charts=[chart("waterfall")], unmaps=unmaps))
    assert [of["value"] for of in parsed.of("input")] == ["0:1"]  # the only one that is drawn
    assert "9.00 us 0 per_pte notifier s01 2.000000000 1 vmm L" in parsed.said


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_has_contrast_on_its_ground(*, dark: bool) -> None:
    pairs = {name: (light, other) for name, light, other in PROPERTY.findall(page_style().text)}
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    for ink, ground in ON:
        assert contrast(pairs[ink][dark], pairs[ground][dark]) >= 4.5, (ink, ground)
    assert contrast(pairs["link"][dark], pairs["paper"][dark]) >= 3  # the outline of the focus
    config = theme(dark)
    for colour in (config["axis"]["labelColor"], config["axis"]["titleColor"]):
        assert contrast(colour, pairs["paper"][dark]) >= 4.5


def test_charts_take_their_colours_from_the_style_sheet() -> None:
    written = page()
    config = Parsed(written).json("chart-config")
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", json.dumps(config)))
    pairs = {name: (light, dark) for name, light, dark in PROPERTY.findall(written)}
    name = config["axis"]["labelColor"].removeprefix("var(--").removesuffix(")")
    assert pairs[name] == tuple(theme(dark)["axis"]["labelColor"] for dark in (False, True))
    assert used <= set(pairs)

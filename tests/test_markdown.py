"""Markdown: a renderer shows the words of the report, whatever names a trace brings."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tests.hostile_names import NAMES, with_hostile_names
from tests.test_mail import SECTION
from tests.writers.analyses import analysis, source, unmap
from traceview.report.analysis_sections import analysis_sections
from traceview.report.blocks import Bullets, Facts, Paragraph, Section, Table, TableColumn, Verbatim
from traceview.report.contents import contents
from traceview.report.markdown import markdown
from traceview.report.provenance import Provenance

GITHUB = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
# What a report makes of its own; nothing in a name may make any of it, nor anything else.
OWN = {"h2", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code", "pre"}


def rendered(sections: list[Section]) -> tuple[str, list[Any]]:
    text = "".join(markdown(sections))
    return text, GITHUB.parse(text)


def tags(tokens: list[Any]) -> set[str]:
    found = {token.tag for token in tokens if token.tag}
    found |= {token.type for token in tokens if token.type.startswith("html")}
    for token in tokens:
        found |= tags(token.children or [])
    return found


def texts(tokens: list[Any]) -> list[str]:
    """The words that a reader sees, one entry for each cell, item or paragraph."""
    return [
        "".join(child.content for child in token.children if child.type in {"text", "text_special"})
        for token in tokens
        if token.type == "inline"
    ]


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in NAMES if len(name) < 1000), "a|b", "`code`", "*strong*", "__init__",
        "[link](http://x)", "![image](x)", "<b>", "&lt;", "\\", "\\|", "# heading", "- item",
        "1. item", "12) item", "+ item", "===", "---", "~~gone~~", "http://example.org",
        "WWW.example.org", "@somebody", "#12", "$x$", "| a |", ":-:", "    code", "> quoted",
    ],
)  # fmt: skip
def test_a_name_stays_text_wherever_it_stands(name: str) -> None:
    blocks = (
        Paragraph(name),
        Paragraph(name, strong=True),
        Bullets((Paragraph(name), Paragraph(name, strong=True))),
        Facts(((name, name),)),
        Table((TableColumn(name), TableColumn(name, right=True)), ((name, name),)),
    )
    text, tokens = rendered([Section("table", name, blocks)])
    assert tags(tokens) <= {*OWN, ""}, text
    seen = ["".join(one.split()) for one in texts(tokens)]
    wanted = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in name if not char.isspace()
    )  # fmt: skip
    wanted = "".join(wanted.split())
    # 3 paragraphs and items, then the heading, 2 of facts, 4 of the table; 2 have a mark.
    assert seen.count(wanted) + seen.count(f"!{wanted}") == 1 + 4 + 2 + 4, text
    assert not re.search(r"(?<!\\)<", text)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(SECTION, min_size=1, max_size=3))
def test_whatever_the_sections_hold_there_is_no_other_markup(sections: list[Section]) -> None:
    text, tokens = rendered(sections)
    assert tags(tokens) <= {*OWN, ""}, text


def test_a_fence_is_longer_than_what_it_holds() -> None:
    lines = ("```", "````text", "<b>")
    _, tokens = rendered([Section("reproduce", "How", (Verbatim(lines),))])
    (fence,) = [token for token in tokens if token.type == "fence"]
    assert fence.content.splitlines() == list(lines)


def test_names_of_traces_make_no_markup_in_a_report() -> None:
    of = analysis(
        [unmap(), unmap(None, status="censored"), unmap(300, 0, source_id=1)],
        [source(label="a"), source(source_id=1, label="b", kernel="k")],
    )
    found = contents(with_hostile_names(of))
    text, tokens = rendered(analysis_sections(found, Provenance(("analyze", "x"))))
    assert tags(tokens) <= {*OWN, ""}
    assert "\x1b" not in text


def test_tables_have_as_many_cells_as_columns() -> None:
    of = contents(analysis([unmap(), unmap(500, 4, trigger="memslot")]))
    text, tokens = rendered(analysis_sections(of, Provenance(("analyze", "x"))))
    assert sum(token.type == "table_open" for token in tokens) >= 4
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(counts) == 1, block

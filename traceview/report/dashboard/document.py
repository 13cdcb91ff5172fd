"""The page as one document: what stands where, and what a browser may do with it.

Its policy permits nothing but the scripts in it, each by its hash, its own style sheet and
pictures made by itself: no request can leave it. Vega evaluates its expressions with its
interpreter (`ast`), so that not even the page itself turns text into code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from traceview.report.blocks import Paragraph
from traceview.report.charts.theme import theme
from traceview.report.dashboard.figures import Spec, absent, figure, names_in, specification
from traceview.report.dashboard.script import (
    Inline,
    data,
    page_script,
    page_style,
    script,
    vega,
)
from traceview.report.dashboard.slowest import chooser
from traceview.report.dashboard.words import section, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from traceview.report.blocks import Section
    from traceview.report.charts.chart import Chart
    from traceview.report.dashboard.slowest import SlowUnmap

# Sections before the charts; the others follow them in the order of the report, the command last.
SUMMARY: Final = "summary"
FIRST: Final = (SUMMARY, "caveats", "table")
WATERFALL: Final = "waterfall"
# Runs before anything is shown: what is said to those without scripts must not flash.
MARK_SCRIPTED: Final = script('document.documentElement.classList.add("scripted");')
NO_SCRIPT: Final = (
    "The charts are drawn by scripts, which do not run here. What the report says is complete"
    " below, and so are the numbers of the charts that have few."
)


@dataclass(frozen=True, slots=True)
class Page:
    """What is on the page. `warnings`: what the times are, where they are no evidence.

    `rows`: of a section (by code), per table the group that each of its rows is about.
    """

    title: str
    sections: Sequence[Section]
    charts: Sequence[Chart]
    warnings: Sequence[str]
    unmaps: Sequence[SlowUnmap] = ()
    rows: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)


def document(page: Page) -> Iterator[str]:
    """The file, in pieces."""
    colours, config = _colours()
    style = Inline(page_style().text + colours)
    scripts = (vega(), page_script())
    yield from _head(page.title, style, (MARK_SCRIPTED, *scripts))
    yield '<body>\n<a class="skip" href="#main">skip to the report</a>\n'
    yield from _header(page)
    yield '<main id="main" tabindex="-1">\n'
    yield f'<p class="banner unscripted">{text(NO_SCRIPT)}</p>\n'
    yield from _first(page)
    yield from _charts(page)
    yield '<div class="rest">\n'
    for of in page.sections:
        if of.code not in FIRST:
            yield from section(of, groups=page.rows.get(of.code, ()), copied=of.code == "reproduce")
    yield "</div>\n"
    yield '<p id="said" class="unseen" role="status"></p>\n</main>\n'
    yield data("chart-config", config)
    yield from (f"<script>{one.text}</script>\n" for one in scripts)
    yield "</body>\n</html>\n"


def _first(page: Page) -> Iterator[str]:
    """The headline and what limits it, the numbers."""
    by_code = {of.code: of for of in page.sections}
    for code in FIRST:
        if code in by_code:
            yield from section(by_code[code], groups=page.rows.get(code, ()))
        if code == SUMMARY and not _warned(by_code.get(code)):
            yield from (f'<p class="banner">{text(warning)}</p>\n' for warning in page.warnings)


def _warned(summary: Section | None) -> bool:
    """Whether the summary says itself what must not be overlooked."""
    blocks = summary.blocks if summary else ()
    return any(isinstance(block, Paragraph) and block.strong for block in blocks)


def _head(title: str, style: Inline, scripts: Sequence[Inline]) -> Iterator[str]:
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:;"
        f" style-src {style.digest}; script-src {' '.join(one.digest for one in scripts)}"
    )
    yield '<!DOCTYPE html>\n<html lang="en" data-theme="auto">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield '<meta name="referrer" content="no-referrer">\n'
    yield f"<title>{text(title)}</title>\n<style>{style.text}</style>\n"
    yield f"<script>{MARK_SCRIPTED.text}</script>\n</head>\n"


def _header(page: Page) -> Iterator[str]:
    yield f"<header><h1>{text(page.title)}</h1>\n"
    yield '<button type="button" id="theme" hidden>theme: auto</button>\n<nav aria-label="parts">'
    places = [(of.code, of.title) for of in page.sections if of.code in FIRST[1:]]
    places += [("charts", "Charts")] if page.charts else []
    places += [(of.code, of.title) for of in page.sections if of.code not in FIRST]
    yield from (f'<a href="#{text(code)}">{text(name)}</a>' for code, name in places)
    yield "</nav></header>\n"


def _charts(page: Page) -> Iterator[str]:
    if not page.charts:
        return
    specs = {chart.code: spec for chart in page.charts if (spec := specification(chart))}
    yield '<section id="charts" aria-label="charts">\n'
    yield from _picker(names_in(specs.values(), "group"))
    yield '<div class="charts">\n'
    for chart in page.charts:
        if chart.code in specs:
            yield from figure(chart, specs[chart.code], more=_chooser(page, chart, specs))
    yield "</div>\n"
    missing = [chart for chart in page.charts if chart.code not in specs]
    yield from absent(missing) if missing else ()
    yield "</section>\n"


def _chooser(page: Page, chart: Chart, specs: Mapping[str, Spec]) -> str:
    """The unmaps whose calls the waterfall has, to choose one of them."""
    if chart.code != WATERFALL:
        return ""
    drawn = names_in([specs[chart.code]], "unmap")
    return "".join(chooser([one for one in page.unmaps if one.key in drawn]))


def _picker(groups: Sequence[str]) -> Iterator[str]:
    """A button for each group, where there are several to tell apart."""
    if len(groups) < 2:
        return
    yield '<div id="pick" role="group" aria-label="highlight in every chart" hidden>highlight\n'
    for name in groups:
        yield f'<button type="button" aria-pressed="false" data-group="{text(name)}">'
        yield f"{text(name)}</button>\n"
    yield '<button type="button" id="pick-none" hidden>none (Esc)</button></div>\n'


def _colours() -> tuple[str, dict[str, Any]]:
    """The charts' colours as custom properties, and the theme that names them.

    So a change of theme, and print, need no chart to be drawn anew.
    """
    names: dict[tuple[str, str], str] = {}

    def joined(light: Any, dark: Any) -> Any:
        if isinstance(light, dict):
            return {key: joined(light[key], dark[key]) for key in light}
        if isinstance(light, list):
            return [joined(one, other) for one, other in zip(light, dark, strict=True)]
        if light == dark:
            return light
        return f"var({names.setdefault((light, dark), f'--chart-{len(names) + 1}')})"

    config = joined(theme(dark=False), theme(dark=True))
    lines = [f"  {name}: light-dark({', '.join(pair)});\n" for pair, name in names.items()]
    return f":root {{\n{''.join(lines)}}}\n", config

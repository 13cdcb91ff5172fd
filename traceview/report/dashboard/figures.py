"""Charts as figures: what each says, the place it is drawn in, its data in words and as JSON.

`page.js` draws the specification into the place. What only a page needs (the width of its window,
its colours) is set there; titles are the page's own text.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from traceview.report.blocks import Table, TableColumn
from traceview.report.dashboard.script import data
from traceview.report.dashboard.words import table, text
from traceview.report.wording import clean, count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from traceview.report.charts.chart import Chart

# Drawn over the whole width of the page.
WIDE: Final = frozenset({"waterfall"})
# A table that a person still reads.
TABLE_ROWS, TABLE_COLUMNS = 60, 14
# What a specification says that the page says itself, or that only one version of Vega-Lite knows.
OF_PAGE: Final = ("$schema", "title", "background", "usermeta")

Spec = dict[str, Any]


def specification(of: Chart) -> Spec | None:
    """What is drawn, with every string of its data written as the words around it are."""
    if of.chart is None:
        return None
    spec: Spec = of.chart.to_dict()
    for name in OF_PAGE:
        spec.pop(name, None)
    spec["datasets"] = {
        name: [{key: _shown(value) for key, value in row.items()} for row in rows]
        for name, rows in spec.get("datasets", {}).items()
    }
    return spec


def _shown(value: object) -> object:
    return clean(value) if isinstance(value, str) else value


def names_in(specs: Iterable[Spec], field: str) -> list[str]:
    """What *field* of the data of these charts says, in their order."""
    found: dict[str, None] = {}
    for spec in specs:
        for rows in spec["datasets"].values():
            found.update(dict.fromkeys(row[field] for row in rows if row.get(field)))
    return list(found)


def absent(charts: Iterable[Chart]) -> Iterator[str]:
    """Why these are not drawn."""
    yield '<ul class="absent">\n'
    for of in charts:
        yield f'<li id="chart-{text(of.code)}">'
        yield f"{text(of.title)}: not drawn, {text(of.absent)}</li>\n"
    yield "</ul>\n"


def figure(of: Chart, spec: Spec, *, more: str = "") -> Iterator[str]:
    """The chart *of*; *more* is markup between what it says and where it is drawn."""
    code = text(of.code)
    yield f'<figure id="chart-{code}" data-chart="{code}"{_class(of)}>\n'
    below = f"<p>{text(of.subtitle)}</p>" if of.subtitle else ""
    yield f"<figcaption><h3>{text(of.title)}</h3>{below}</figcaption>\n{more}"
    yield '<div class="binds"></div>\n'
    yield f'<div class="plot" role="img" aria-label="{text(of.description)}"></div>\n'
    yield f'<div class="under">{"".join(_described(of, spec))}'
    yield '<span class="save" hidden>save as '
    for kind in ("svg", "png"):
        yield f'<button type="button" data-save="{kind}" aria-label="save {code} as {kind.upper()}"'
        yield f">{kind.upper()}</button> "
    yield "</span></div>\n"
    yield data(f"spec-{code}", spec)
    yield "</figure>\n"


def _class(of: Chart) -> str:
    return ' class="wide"' if of.code in WIDE else ""


def _described(of: Chart, spec: Spec) -> Iterator[str]:
    """What is drawn in words and, where it is little, as tables."""
    yield f"<details><summary>in words and numbers</summary><p>{text(of.description)}</p>"
    for at, rows in enumerate(spec["datasets"].values()):
        columns = list(dict.fromkeys(key for row in rows for key in row))
        if not rows or len(columns) > TABLE_COLUMNS:
            continue
        if len(rows) > TABLE_ROWS:
            yield f"<p>{count(len(rows))} rows of {text(', '.join(columns))} are drawn.</p>"
            continue
        of_data = Table(
            tuple(TableColumn(name, right=_numeric(rows, name)) for name in columns),
            tuple(tuple(_cell(row.get(name)) for name in columns) for row in rows),
        )
        yield from table(of_data, f"data-{text(of.code)}-{at}", title=f"data of: {of.title}")
    yield "</details>"


def _numeric(rows: list[dict[str, Any]], name: str) -> bool:
    return all(isinstance(row.get(name), (int, float, type(None))) for row in rows)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return count(value)
    return clean(value if value is None or isinstance(value, str) else json.dumps(value))

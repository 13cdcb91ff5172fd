"""Charts: true titles, small data, no text of a trace in an expression, words where nothing is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl
import pytest

from tests.drawn import calls, check, hostile, sizes, spec
from tests.writers.analyses import analysis, source, unmap
from traceview.queries.filters import Filters
from traceview.queries.slow_calls import SLOW_CALLS
from traceview.report.bar import PARTS
from traceview.report.charts.analysis import analysis_charts
from traceview.report.charts.axes import MOST_TICKS, log_ends, log_ticks, power_ticks
from traceview.report.charts.bars import ORDER
from traceview.report.charts.groups import distinct, group_names, named_groups, short
from traceview.report.charts.leaves import leaves_chart
from traceview.report.charts.theme import (
    COMPONENTS,
    DASHES,
    GROUND,
    GROUPS,
    LETTERS,
    MUTED,
    SHAPES,
    TEXT,
    theme,
)
from traceview.report.contents import contents
from traceview.report.terminal import leaf_sizes

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.report.charts.chart import Chart

CODES = ("split", "leaves", "ecdf", "timeline", "waterfall")


def charts_of(of: Analysis, calls: pl.DataFrame | None = None) -> dict[str, Chart]:
    table = pl.DataFrame(schema=SLOW_CALLS) if calls is None else calls
    return {chart.code: chart for chart in analysis_charts(contents(of), table)}


# ---- an analysis


def test_every_chart_is_there_with_words_and_without_a_title_of_its_own() -> None:
    of = analysis(sizes((1, 1050), (8, 1400), (64, 4200)))
    found = charts_of(of, calls(of))
    assert tuple(found) == CODES
    for chart in found.values():
        assert chart.title
        assert chart.description
        assert not chart.absent
        assert "title" not in spec(chart)
        assert spec(chart)["width"] == "container"


def test_nothing_to_draw_is_said_in_one_sentence() -> None:
    found = charts_of(analysis([]))
    assert all(chart.chart is None for chart in found.values())
    assert found["split"].absent == "no unmap: there is no event at all"
    censored = charts_of(analysis([unmap(None, status="censored")]))
    assert censored["ecdf"].absent == "none of 1 unmap is complete and has a time above 0"


def test_one_unmap_is_called_one() -> None:
    found = charts_of(analysis([unmap(79_300, 8)]))
    assert found["timeline"].title == "One unmap, of 79.3 us"
    assert found["ecdf"].title == "One unmap took 79.3 us"
    assert found["leaves"].title == "Time per leaf of 1 unmap with 8 leaves"


def test_filters_that_keep_nothing_are_said() -> None:
    of = contents(analysis([unmap()]), Filters(cpus=(9,)))
    assert {chart.absent for chart in analysis_charts(of)} == {"no unmap passes the filters"}


@pytest.mark.parametrize(
    ("origin", "said"),
    [
        ("emulated", "Emulated time: no evidence about hardware."),
        ("synthetic", "Simulated time: no evidence about hardware."),
        ("unknown", "Origin unknown: not to be quoted as hardware latencies."),
        ("hardware", ""),
    ],
)
def test_times_that_are_not_of_hardware_are_called_so_in_every_chart(
    origin: str, said: str
) -> None:
    of = analysis(sizes((1, 1050), (8, 1400), (64, 4200)), [source(origin=origin)])
    for chart in charts_of(of, calls(of)).values():
        assert chart.subtitle.startswith(said)
        assert ("no evidence" in chart.subtitle) == (origin in {"emulated", "synthetic"})


# ---- size


def test_the_data_of_a_chart_does_not_grow_with_the_number_of_unmaps() -> None:
    rows = [
        unmap(900 + 7 * at % 4099, 1 + at % 700, start_ns=10**9 + at * 1000,
              trigger="memslot" if at % 3 else "notifier")
        for at in range(12_000)
    ]  # fmt: skip
    for chart in charts_of(analysis(rows)).values():
        if chart.chart is not None:
            assert len(json.dumps(spec(chart))) < 200_000, chart.code


# ---- names


def test_names_of_traces_are_data_and_never_part_of_an_expression() -> None:
    found, table = hostile()
    for chart in analysis_charts(found, table):
        check(chart)


def test_names_are_no_longer_than_a_legend_can_show_and_stay_apart() -> None:
    found, _ = hostile()
    names = named_groups(found).rows["group"].to_list()
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 90


def test_a_long_name_keeps_its_ends() -> None:
    assert short("a" * 50 + "-run-07", 20) == "aaaaa...aaaaa-run-07"
    assert short("a\nb") == "a\\nb"
    assert distinct(["a", "a", "a (2)"]) == ["a", "a (2)", "a (2) (2)"]


def test_groups_are_called_what_the_report_calls_them() -> None:
    found = contents(analysis([
        unmap(9000, 8), unmap(8000, None), unmap(7000, 0, strategy="deferred_range"),
        unmap(6000, 0, strategy="none"), unmap(5000, 8, strategy="unknown", trigger="unknown"),
    ]))  # fmt: skip
    assert group_names(found.groups, leaf_sizes(found.analysis.sources)) == [
        "per_pte, 4K, notifier", "per_pte, leaves of unknown size, notifier",
        "deferred_range, nothing mapped, notifier", "nothing mapped, notifier",
        "strategy unknown, 4K, trigger unknown",
    ]  # fmt: skip


def test_more_groups_than_have_a_colour_are_counted() -> None:
    sources = [source(source_id=at, label=f"run {at}") for at in range(12)]
    found = charts_of(analysis([unmap(1000 + at, 8, source_id=at) for at in range(12)], sources))
    for code in ("split", "leaves", "ecdf", "timeline"):
        assert "4 smaller groups not drawn" in found[code].subtitle


# ---- looks


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, "contrast ratio"."""
    first, second = sorted((luminance(one), luminance(other)), reverse=True)
    return (first + 0.05) / (second + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_told_from_the_ground_and_letters_read(*, dark: bool) -> None:
    assert all(contrast(color, GROUND[dark]) >= 3 for color in GROUPS[dark])
    assert contrast(TEXT[dark], GROUND[dark]) >= 7
    assert contrast(MUTED[dark], GROUND[dark]) >= 4.5
    assert all(contrast(color, LETTERS) >= 4.5 for color in COMPONENTS)


def test_groups_differ_in_shape_and_dash_too() -> None:
    assert len(SHAPES) == len(DASHES) == len(GROUPS[False]) == len(GROUPS[True])
    assert len(set(SHAPES)) == len(SHAPES)
    assert len({tuple(dash) for dash in DASHES}) == len(DASHES)
    assert len(ORDER) == len(COMPONENTS) == len(PARTS)


@pytest.mark.parametrize("dark", [False, True])
def test_a_theme_is_plain_json(*, dark: bool) -> None:
    assert json.loads(json.dumps(theme(dark))) == theme(dark)


@pytest.mark.parametrize(
    ("low", "high"), [(1, 1), (9, 11), (1, 1e9), (0.02, 3), (41, 43), (7, 900)]
)
def test_an_axis_has_ticks_that_are_few_and_inside(low: float, high: float) -> None:
    ends = log_ends([low, high])
    ticks = log_ticks(*ends)
    assert ends[0] < low <= high < ends[1]
    assert 1 <= len(ticks) <= MOST_TICKS
    assert all(ends[0] <= tick <= ends[1] for tick in ticks)


def test_leaves_have_ticks_at_powers_of_two() -> None:
    assert power_ticks(0.8, 600) == [1, 4, 16, 64, 256]
    assert power_ticks(7, 40) == [8, 16, 32]


def test_a_group_alone_can_be_drawn() -> None:
    found = contents(analysis(sizes((1, 1050), (8, 1400), (64, 4200))))
    assert leaves_chart(found, named_groups(found)).chart is not None

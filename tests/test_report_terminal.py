"""The terminal summary: what it says, and that it always fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.writers.analyses import analysis, source, unmap
from traceview.queries.filters import Filters
from traceview.report.bar import PARTS, bar, cells
from traceview.report.contents import contents
from traceview.report.layout import Column, table, tables, wrapped
from traceview.report.terminal import summary
from traceview.report.wording import bytes_size, clean, duration, number, share
from traceview.schema import COMPONENTS
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis


def everything() -> Analysis:
    """An analysis in which every section has something to say."""
    unmaps = [unmap(1000 * (i + 1), tid=1000 + i) for i in range(20)]
    unmaps += [
        unmap(5_000_000, 512, trigger="memslot", step="s02.1", comm="a vmm\x1b[31m"),
        unmap(300, 0, strategy="none"),
        unmap(None, status="censored"),
        unmap(2000, 2, leaves_l2=2, leaves_l3=0, tlbi_insns=4, dsb_insns=6, cmo_lines=65536),
    ]
    request = {
        "source_id": 0, "kind": "notifier", "symbol": "kvm_mmu_notifier_invalidate_range_start",
        "duration_ns": 3000, "unmaps": 1, "between_ns": 2000, "status": "complete",
    }  # fmt: skip
    call = {"source_id": 0, "duration_ns": 3000, "status": "complete"}
    return analysis(
        unmaps,
        [source(origin="emulated", path="a/" * 60 + "long.perfetto")],
        ((0, Diagnostic("kprobe-missed", "warning", "3 hits of kprobes were missed", 3)),),
        triggers=[{**request, "trigger_id": i} for i in range(3)],
        destroys=[{**call, "symbol": "kvm_pgtable_stage2_destroy"}],
        flushes=[{**call, "symbol": "__kvm_tlb_flush_vmid_ipa", "operation": "invalidate_ipa"}],
        losses=[{"source_id": 0, "cpu": 1, "kind": "lost_events", "count": 7}],
        event_counts=[{"source_id": 0, "name": "funcgraph_exit", "count": 12345}],
    )


def text(found: Analysis, width: int = 100, **options: Any) -> str:
    lines = summary(contents(found, options.pop("filters", None)), width, **options)
    return "\n".join(line.plain for line in lines)


@pytest.mark.parametrize("blocks", [False, True])
def test_no_line_is_wider_than_the_terminal(*, blocks: bool) -> None:
    found = contents(everything())
    for width in range(40, 201):
        for line in summary(found, width, top=30, blocks=blocks):
            assert line.cell_len <= width, line.plain


def test_no_line_ends_in_a_blank() -> None:
    for width in (40, 80, 100):
        for line in summary(contents(everything()), width):
            assert line.plain == line.plain.rstrip()


def test_every_word_survives_a_narrow_terminal() -> None:
    said = {"9,766", "512", "memslot", "kvm_pgtable_stage2_destroy", "5.00"}
    words = set(text(everything(), 44).replace(",\n", " ").replace(", ", " ").split())
    assert said <= words


def test_the_summary_is_ascii() -> None:
    assert text(everything()).isascii()
    assert text(everything(), blocks=True).isascii()


def test_the_parts_of_all_unmaps_add_up() -> None:
    unmaps = [
        unmap(status=s) for s in ("complete", "complete", "censored", "contaminated", "point")
    ]
    assert "5 began = 2 complete + 1 censored + 1 contaminated + 1 entry only" in text(
        analysis(unmaps)
    )


def test_what_cannot_be_known_is_a_dash_and_never_a_zero() -> None:
    lines = text(analysis([unmap(500, None)])).splitlines()
    at = next(i for i, line in enumerate(lines) if "ns/leaf" in line and "strategy" in line)
    assert lines[at + 1].split() == [
        "per_pte", "-", "notifier", "1", "-", "500", "ns", "-",
    ]  # fmt: skip


def test_empty_unmaps_stand_apart() -> None:
    said = text(analysis([unmap(), unmap(300, 0, strategy="none")]))
    assert "Empty unmaps" in said
    table_of_unmaps = said.partition("Unmaps, by")[2].partition("Empty")[0]
    assert "none" not in table_of_unmaps


def test_a_trace_without_unmaps_says_so() -> None:
    said = text(analysis())
    assert "no unmap: there is no event at all" in said
    assert "Where the time went" not in said


def test_a_trace_without_unmaps_says_what_is_in_it_and_what_to_trace() -> None:
    event = {"source_id": 0, "phase": "instant", "evidence": "tracepoint"}
    found = [{**event, "name": f"e{n}", "count": 1000 - n} for n in range(4)]
    found.append({**event, "name": "kvm_unmap_hva_range", "count": 8})
    said = " ".join(text(analysis(event_counts=found)).split())
    assert "none of the 4,002 events is of kvm_pgtable_stage2_unmap" in said
    assert "1,000 e0, 999 e1, 998 e2, and 2 other kinds" in said
    assert "no function was recorded" in said
    assert "kvm_unmap_hva_range was hit 8 times: unmaps were asked for" in said
    assert "to trace: kvm_pgtable_stage2_unmap, __kvm_tlb_flush_vmid_ipa" in said
    probe = {**event, "name": "p", "evidence": "kprobe", "count": 5}
    said = " ".join(text(analysis(event_counts=[*found, probe])).split())
    assert "5 of them are of probes without the name of their function: give --kallsyms" in said
    assert "no function was recorded" not in said


def test_a_filter_that_keeps_nothing_says_so() -> None:
    said = text(analysis([unmap()]), filters=Filters(cpus=(9,)))
    assert "Only cpu 9" in said
    assert "0 of 1 unmap" in said
    assert "no unmap with leaves passes the filters; the unmaps have: CPUs 1" in said


def test_requests_show_how_many_are_complete_and_what_their_times_leave_out() -> None:
    request = {"source_id": 0, "kind": "notifier", "symbol": "kvm_unmap_gfn_range"}
    whole = {"status": "complete", "duration_ns": 500, "unmaps": 2, "between_ns": 40}
    requests = [
        {**request, "trigger_id": 0, **whole},
        {**request, "trigger_id": 1, **whole, "duration_ns": 10, "unmaps": 0},
        {**request, "trigger_id": 2, "status": "censored"},
    ]
    said = text(analysis([unmap()], triggers=requests))
    (row,) = [line.split() for line in said.splitlines() if "kvm_unmap_gfn_range" in line]
    assert row[2:8] == ["3", "2", "1", "2", "500", "ns"]
    flat = " ".join(said.split())
    assert "median: of complete ones that were not idle" in flat
    assert "between: median of what was no unmap" in flat


def test_what_a_filter_left_out_for_want_of_a_time_is_said() -> None:
    found = analysis([unmap(), unmap(None, status="censored", start_ns=None)])
    said = " ".join(text(found, filters=Filters(from_ns=1)).split())
    assert "1 unmap without a known start was left out by the filter" in said
    assert "left out by the filter" not in text(found)


def test_labels_separate_the_tables_of_several_traces() -> None:
    sources = [source(label="old kernel"), source(source_id=1, label="new kernel")]
    said = text(analysis([unmap(), unmap(source_id=1)], sources))
    assert "  old kernel\n" in said
    assert "  new kernel\n" in said


def test_rows_of_several_traces_carry_their_label() -> None:
    sources = [source(label="old"), source(source_id=1, label="new")]
    empty = [unmap(300, 0, strategy="none"), unmap(400, 0, strategy="none", source_id=1)]
    said = text(analysis([unmap(), *empty], sources))
    assert ["new", "none", "notifier", "1"] in [line.split()[:4] for line in said.splitlines()]
    slowest = said.partition("slowest")[2]
    assert "  old  " in slowest
    assert "  new  " in slowest


def test_small_ratios_keep_two_digits() -> None:
    assert [number(v) for v in (0.0, 0.0179, 0.7, 1.26, 99.94, 1234.5, None)] == [
        "0", "0.018", "0.7", "1.3", "99.9", "1,234", "-",
    ]  # fmt: skip


def test_many_traces_are_one_table() -> None:
    sources = [source(source_id=i, path=f"run{i}", label="base", run=str(i)) for i in range(6)]
    lines = text(analysis([unmap(source_id=i) for i in range(6)], sources), 80).splitlines()
    assert lines[0].split()[0] == "trace"
    assert [line.split()[0] for line in lines[1:7]] == [f"run{i}" for i in range(6)]


def test_more_than_any_number_of_slowest_unmaps_is_all_of_them() -> None:
    said = text(analysis([unmap()] * 3), top=10**20)
    assert "The 3 slowest unmaps" in said


def test_the_slowest_unmaps_are_as_many_as_asked_for() -> None:
    found = analysis([unmap(ns) for ns in (5, 9, 7)])
    assert "The 2 slowest unmaps" in text(found, top=2)
    assert "slowest" not in text(found, top=0)


def test_a_bar_copied_from_a_terminal_is_that_of_a_pipe() -> None:
    found = analysis([unmap()])
    assert "L" * 36 in text(found)
    assert text(found, blocks=True) == text(found)
    lines = summary(contents(found), 100, blocks=True)
    (drawn,) = (line for line in lines if "L" * 36 in line.plain)
    assert "black on red" in {str(span.style) for span in drawn.spans}


@pytest.mark.parametrize("width", [60, 70, 80, 100])
def test_a_slow_unmap_can_be_found_again_where_columns_are_dropped(width: int) -> None:
    found = everything()
    titles = text(found, width).partition("slowest unmaps\n")[2].splitlines()[0]
    assert "at (s)" in titles
    assert titles.endswith("unmap")


def test_of_a_whole_list_of_tracer_options_those_that_matter_are_shown() -> None:
    options = (
        "print-parent nosym-offset noverbose nolatency-format overwrite nofuncgraph-overrun"
        " funcgraph-cpu funcgraph-abstime nosleep-time"
    )
    said = text(analysis([unmap()], [source(tracer="nop", tracer_options=options)]), 200)
    assert "nop, overwrite funcgraph-cpu funcgraph-abstime nosleep-time ...\n" in said
    stated = "/usr/bin/perf record -a -k mono -m 4096 -e s2:* -o x -- y"
    assert stated in text(analysis([unmap()], [source(tracer_options=stated)]), 200)


def test_a_host_without_errata_says_of_what_it_has_none() -> None:
    assert "no errata workarounds\n" in text(analysis([unmap()], [source(errata="none")]), 200)
    assert "1542419\n" in text(analysis([unmap()], [source(errata="1542419")]), 200)


def test_what_a_terminal_would_act_upon_is_escaped() -> None:
    said = text(everything(), 200)
    assert "\x1b" not in said
    assert r"a vmm\x1b[31m" in said
    assert clean("a\nb\udc80\u202e") == r"a\nb\udc80\u202e"


def test_a_diagnostic_carries_its_code() -> None:
    assert "- warning: 3 hits of kprobes were missed [kprobe-missed]" in text(everything())


@pytest.mark.parametrize(
    ("ns", "said"),
    [
        (None, "-"), (0, "0 ns"), (999, "999 ns"), (1000, "1.00 us"), (12_345, "12.3 us"),
        (999_999, "1,000.0 us"), (1_050_000, "1.05 ms"), (2_000_000_000, "2.00 s"),
        (3_600_000_000_000, "3,600.0 s"),
    ],
)  # fmt: skip
def test_durations_have_a_unit_and_three_digits(ns: int | None, said: str) -> None:
    assert duration(ns) == said


def test_a_share_of_something_is_never_0() -> None:
    assert share(1, 10**6) == "<0.1%"
    assert share(0, 10**6) == "0.0%"
    assert share(1, 3) == "33.3%"


def test_page_sizes_are_written_as_the_kernel_does() -> None:
    assert [bytes_size(1 << n) for n in (12, 14, 21, 25, 29, 30)] == [
        "4K", "16K", "2M", "32M", "512M", "1G",
    ]  # fmt: skip


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=10), st.integers(1, 200))
def test_the_cells_of_a_bar_always_fill_it(values: list[int], width: int) -> None:
    given_cells = cells(values, width)
    assert sum(given_cells) == (width if sum(values) else 0)
    for value, cell in zip(values, given_cells, strict=True):
        assert abs(cell - value * width / max(1, sum(values))) < 1


def test_every_component_can_be_drawn() -> None:
    assert {part.column for part in PARTS} == set(COMPONENTS)
    assert len({part.letter for part in PARTS}) == len(PARTS)
    drawn = bar(dict.fromkeys(COMPONENTS, 1), 60, blocks=False)
    assert len(set(drawn.plain)) == len(PARTS)


def test_a_table_drops_columns_before_it_becomes_records() -> None:
    columns = (Column("name"), Column("value", right=True), Column("remark", drop=1))
    rows = [["first", "1", "x" * 30], ["second", "22", ""]]
    assert [line.plain for line in table(columns, rows, 60)] == [
        "  name    value  remark",
        "  first       1  xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "  second     22",
    ]
    said = [line.plain for line in table(columns, rows, 20)]
    assert said[:3] == [
        "  name    value",
        "  first       1",
        "  second     22",
    ]
    assert " ".join(" ".join(said[3:]).split()) == (
        "columns left out at this width: remark (COLUMNS=47 or a wider terminal shows them)"
    )
    assert "remark" in table(columns, rows, 47)[0].plain
    assert "remark" not in table(columns, rows, 46)[0].plain
    assert [line.plain for line in table(columns, rows[1:], 14)] == ["  second", "    value 22"]


def test_only_columns_that_are_shown_are_explained() -> None:
    columns = (Column("name", note="of it"), Column("more", drop=1, note="than that"))
    rows = [["first", "x" * 30]]
    assert table(columns, rows, 60)[2].plain == "  name: of it; more: than that"
    assert "than that" not in "".join(line.plain for line in table(columns, rows, 30))
    silent = [line.plain for line in table(columns, [["first", "-"]], 60)]
    assert silent == ["  name", "  first", "  name: of it"]


def test_the_parts_of_a_table_show_the_same_columns_explained_once() -> None:
    columns = (Column("name"), Column("more", drop=1, note="than that"))
    said = [line.plain for line in tables(columns, [("a", [["x", "-"]]), ("b", [["yy", "1"]])], 40)]
    assert said == [
        "  a", "  name  more", "  x     -", "  b", "  name  more", "  yy    1",
        "  more: than that",
    ]  # fmt: skip


def test_wide_characters_are_counted_by_cells() -> None:
    assert all(line.cell_len <= 20 for line in wrapped("\N{CJK UNIFIED IDEOGRAPH-4E00}" * 50, 20))

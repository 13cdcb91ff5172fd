"""Ready queries: each runs on every kind of trace, and its numbers are those of the analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.writers.analyses import analysis, unmap
from tests.writers.events import Recorder
from traceview.parsers import open_trace
from traceview.queries.analysis import Analysis, analyze
from traceview.queries.ready_queries import ready_queries, ready_query
from traceview.queries.sql import computed, plan, schema, tables_of
from traceview.queries.sql_text import statement
from traceview.report.contents import contents
from traceview.report.queried_tables import Streamed, analysis_tables, no_rows
from traceview.trace import Diagnostic, Trace

ROOT = Path(__file__).parent.parent
UNMAP, FLUSH, TRIGGER = (
    "kvm_pgtable_stage2_unmap", "__kvm_tlb_flush_vmid_ipa", "kvm_unmap_gfn_range",
)  # fmt: skip
TRACES = (
    "fgraph-6.12-neoverse-n1.perfetto", "kprobes-6.1-max.perfetto.xz", "fgraph-6.12-max.txt.zst",
    "insn-6.12-max.txt.xz", "cpuclock-6.12-neoverse-n1.script.txt.zst",
    "kprobes-6.12-max.perf.data",
)  # fmt: skip
Row = dict[str, Any]


class Asked:
    """A trace that was read once, with everything that ready queries stream."""

    def __init__(self, trace: Trace) -> None:
        with Streamed(frozenset({"calls", "samples", "instructions"})) as streamed:
            self.analysis = analyze(trace, sink=streamed.sink)
            kept = {name: rows.collect() for name, rows in streamed.tables().items()}
        self.calls = kept["calls"]
        self.samples = kept["samples"]
        self._tables = analysis_tables(self.analysis, frozenset()) | {
            name: rows.lazy() for name, rows in kept.items()
        }

    def rows(self, name: str) -> list[Row]:
        return answers(name, self._tables)


def answers(name: str, tables: dict[str, pl.LazyFrame]) -> list[Row]:
    answer = plan(statement(ready_query(name).sql), tables)
    return [row for piece in computed(answer) for row in piece.iter_rows(named=True)]


def of_analysis(made: Analysis, name: str) -> list[Row]:
    return answers(name, no_rows(frozenset()) | analysis_tables(made, frozenset()))


@pytest.fixture(scope="module")
def traces() -> dict[str, Asked]:
    return {name: Asked(open_trace(ROOT / "sample_traces" / name)) for name in TRACES}


def complete(asked: Asked) -> pl.DataFrame:
    return asked.analysis.unmaps.filter(
        pl.col("status").cast(pl.String) == "complete", pl.col("duration_ns").is_not_null()
    )


@pytest.mark.parametrize("name", ready_queries())
def test_each_says_what_it_answers_and_runs_on_every_trace(
    name: str, traces: dict[str, Asked]
) -> None:
    one = ready_query(name)
    assert one.answers.endswith((".", "..."))
    assert len(one.answers) < 100
    assert tables_of(statement(one.sql), no_rows(frozenset()))
    for asked in traces.values():
        asked.rows(name)


@pytest.mark.parametrize("name", ready_queries())
def test_each_is_documented(name: str) -> None:
    text = (ROOT / "docs" / "query.md").read_text(encoding="utf-8")
    one = ready_query(name)
    read = tables_of(statement(one.sql), no_rows(frozenset()))
    tables = ", ".join(f"`{table}`" for table in sorted(read))
    assert f"| `{name}` | {one.answers} | {tables} |" in text


@pytest.mark.parametrize("name", ready_queries())
def test_the_comment_names_columns_that_there_are(name: str) -> None:
    sql = ready_query(name).sql
    columns = set(schema(plan(statement(sql), no_rows(frozenset()))))
    for line in sql.splitlines():
        if line.startswith("-- ") and "  " in line[3:].rstrip() and not line.startswith("--  "):
            names = line[3:].split("  ")[0].split(", ")
            assert set(names) <= columns, line


def test_the_slowest_unmaps_come_with_parts_that_sum_to_the_whole(
    traces: dict[str, Asked],
) -> None:
    for asked in traces.values():
        unmaps = complete(asked)
        slowest = unmaps.sort("duration_ns", descending=True, maintain_order=True).head(20)
        rows = asked.rows("slowest-unmaps")
        assert [row["duration_ns"] for row in rows] == slowest["duration_ns"].to_list()
        for row in rows:
            parts = ("leaf", "table", "ipa", "range", "cmo", "irq", "off_cpu", "rest")
            whole = sum(row[part] or 0 for part in parts)
            assert whole == pytest.approx(100, abs=0.5)
            (of,) = unmaps.filter(pl.col("unmap_id") == row["unmap_id"]).iter_rows(named=True)
            if of["cmo_ns"] is not None:
                assert row["cmo"] == pytest.approx(100 * of["cmo_ns"] / of["duration_ns"], abs=0.06)


def test_the_cost_of_leaves_is_that_of_the_groups(traces: dict[str, Asked]) -> None:
    for asked in traces.values():
        rows = asked.rows("cost-per-leaf")
        unmaps = complete(asked).filter(pl.col("leaves") > 0)
        assert sum(row["unmaps"] for row in rows) == len(unmaps)
        for row in rows:
            mine = unmaps.filter(
                pl.col("leaves") == row["leaves"],
                pl.col("strategy").cast(pl.String) == row["strategy"],
            )["duration_ns"].sort()
            assert row["median_ns"] == mine.median()
            assert row["per_leaf_ns"] == pytest.approx(
                int(mine.sum()) / len(mine) / row["leaves"], abs=0.06
            )
            assert row["least_ns"] == pytest.approx(int(mine[0]) / row["leaves"], abs=0.06)


def test_components_are_summed_where_they_are_known(traces: dict[str, Asked]) -> None:
    for asked in traces.values():
        unmaps = complete(asked)
        for row in asked.rows("time-by-component"):
            mine = unmaps.filter(pl.col("strategy").cast(pl.String) == row["strategy"])
            known = mine.drop_nulls(f"{row['component']}_ns")
            assert (row["unmaps"], row["of"]) == (len(known), len(mine))
            assert row["component_ns"] == known[f"{row['component']}_ns"].sum()
            share = 100 * row["component_ns"] / int(known["duration_ns"].sum())
            assert row["percent"] == pytest.approx(share, abs=0.06)


def test_triggers_are_those_of_the_trigger_groups(traces: dict[str, Asked]) -> None:
    for asked in traces.values():
        groups = contents(asked.analysis).trigger_groups
        rows = {(row["kind"], row["symbol"]): row for row in asked.rows("unmaps-per-trigger")}
        known = groups.filter(pl.col("complete") > 0, pl.col("idle").is_not_null())
        assert len(rows) == len(known)
        for of in known.iter_rows(named=True):
            row = rows[of["kind"], of["symbol"]]
            assert (row["requests"], row["idle"]) == (of["complete"], of["idle"])
            assert row["unmaps"] == of["unmaps"]


def test_gaps_lie_between_unmaps_of_one_trigger() -> None:
    made = Recorder()
    made.enter(TRIGGER)
    for pause in (0, 500, 70):
        made.now_ns += pause
        made.call(UNMAP)
    made.leave(TRIGGER)
    made.now_ns += 9_000
    made.enter(TRIGGER)
    made.call(UNMAP)
    made.leave(TRIGGER)
    rows = Asked(made.trace()).rows("gaps-in-triggers")
    assert [(row["before"], row["unmap_id"], row["gap_ns"]) for row in rows] == [
        (1, 3, 510), (3, 5, 80),
    ]  # fmt: skip


def test_own_times_of_functions_sum_to_the_time_of_unmaps(traces: dict[str, Asked]) -> None:
    for name in ("fgraph-6.12-neoverse-n1.perfetto", "kprobes-6.1-max.perfetto.xz"):
        rows = traces[name].rows("functions-in-unmaps")
        whole = int(complete(traces[name])["duration_ns"].sum())
        assert sum(row["own_ns"] for row in rows) == pytest.approx(whole, rel=0.01)
        assert sum(row["percent"] for row in rows) == pytest.approx(100, abs=1)
        calls = traces[name].calls.filter(
            pl.col("unmap_id").is_not_null(), pl.col("status").cast(pl.String) == "complete"
        )
        assert sum(row["calls"] for row in rows) == len(calls)


def test_invalidations_per_leaf_are_counted_by_something_else(traces: dict[str, Asked]) -> None:
    (row,) = (
        row for row in traces["kprobes-6.1-max.perfetto.xz"].rows("invalidations-per-leaf")
        if row["strategy"] == "per_pte"
    )  # fmt: skip
    unmaps = complete(traces["kprobes-6.1-max.perfetto.xz"]).filter(pl.col("leaves") > 0)
    kinds = ("invalidate_leaf", "invalidate_table", "invalidate_ipa", "invalidate_range")
    calls = sum(int(unmaps[name].sum()) for name in kinds)
    assert row["per_leaf"] == pytest.approx(calls / int(unmaps["leaves"].sum()), abs=1e-4)
    by_calls = analysis([unmap(leaves_evidence="invalidate", invalidate_range=0, invalidate_ipa=8)])
    assert of_analysis(by_calls, "invalidations-per-leaf") == []


def test_losses_are_added_up_and_what_was_not_said_is_counted() -> None:
    holes = [
        {"source_id": 0, "kind": "lost_events", "cpu": 1, "count": 5, "from_ns": 10, "to_ns": 30},
        {"source_id": 0, "kind": "lost_events", "cpu": 1, "from_ns": 50, "to_ns": 99},
        {"source_id": 0, "kind": "overrun", "cpu": 0},
    ]
    rows = of_analysis(analysis([], losses=holes), "losses")
    shown = [tuple(row.values())[2:] for row in rows]
    assert shown == [("lost_events", 1, 2, 5, 1, 49), ("overrun", 0, 1, None, 1, None)]


def test_unmaps_that_are_excluded_are_those_of_the_ledger() -> None:
    made = analysis(
        [
            unmap(),
            unmap(None, status="censored"),
            unmap(None, status="censored", start_ns=None),
            unmap(status="contaminated"),
            unmap(None, status="point"),
            unmap(None),
        ]
    )
    rows = of_analysis(made, "excluded-unmaps")
    assert {row["why"] for row in rows} == {
        "entry missing", "exit missing", "events lost in it, or a call in it cut off",
        "only entries were recorded", "no duration",
    }  # fmt: skip
    ledger = contents(made).ledger.row(0, named=True)
    assert sum(row["unmaps"] for row in rows) == ledger["began"] - ledger["counted"]


def test_interrupts_inside_unmaps_come_with_their_share() -> None:
    made = analysis([unmap(irq=0, irq_ns=0), unmap(irq=2, irq_ns=250), unmap(irq=1, irq_ns=None)])
    rows = of_analysis(made, "irqs-in-unmaps")
    assert [(row["unmap_id"], row["irqs"], row["percent"]) for row in rows] == [
        (1, 2, 25.0), (2, 1, None),
    ]  # fmt: skip


def test_events_are_counted_as_in_the_analysis(traces: dict[str, Asked]) -> None:
    for asked in traces.values():
        rows = asked.rows("events-by-name")
        assert sum(row["events"] for row in rows) == asked.analysis.event_counts["count"].sum()
        assert sum(row["percent"] for row in rows) == pytest.approx(100, abs=1.5)


def test_stalls_are_those_of_unmaps_with_bystanders() -> None:
    stalls = [
        {"source_id": 0, "unmap_id": 0, "vm": "process", "vcpus": 2, "stalls": 1, "stall_ns": 40},
        {"source_id": 0, "unmap_id": 1, "vm": "process", "vcpus": 2, "stalls": 3, "stall_ns": 900},
        {"source_id": 0, "unmap_id": 2, "vm": "process", "vcpus": 0},
    ]
    rows = of_analysis(analysis([unmap()] * 3, bystanders=stalls), "vcpu-stalls")
    assert [(row["unmap_id"], row["stall_ns"], row["duration_ns"]) for row in rows] == [
        (1, 900, 1000), (0, 40, 1000),
    ]  # fmt: skip


def test_samples_are_those_of_the_sample_groups(traces: dict[str, Asked]) -> None:
    asked = traces["cpuclock-6.12-neoverse-n1.script.txt.zst"]
    groups = contents(asked.analysis).sample_groups
    rows = asked.rows("samples-by-operation")
    for of in groups.iter_rows(named=True):
        mine = [row["samples"] for row in rows if row["operation"] == of["operation"]]
        assert sum(mine) == of["samples"]
    assert sum(row["percent"] for row in rows) == pytest.approx(100, abs=0.5)


def test_steps_have_the_unmaps_that_the_analysis_puts_in_them(traces: dict[str, Asked]) -> None:
    for asked in traces.values():
        rows = asked.rows("unmaps-by-step")
        assert sum(row["unmaps"] for row in rows) == len(asked.analysis.unmaps)
        for row in rows:
            mine = complete(asked).filter(pl.col("step").eq_missing(row["step"]))
            assert row["complete"] == len(mine)
            assert (row["total_ns"] or 0) == mine["duration_ns"].sum()


def test_the_slowest_calls_lie_in_unmaps(traces: dict[str, Asked]) -> None:
    asked = traces["kprobes-6.1-max.perfetto.xz"]
    rows = asked.rows("slowest-calls")
    inside = asked.calls.filter(
        pl.col("unmap_id").is_not_null(), pl.col("operation").cast(pl.String) == "invalidate_ipa"
    )
    expected = inside["duration_ns"].sort(descending=True).head(20).to_list()
    assert [row["duration_ns"] for row in rows] == expected


def test_flushes_are_those_outside_unmaps(traces: dict[str, Asked]) -> None:
    for asked in traces.values():
        rows = asked.rows("flushes-outside-unmaps")
        assert sum(row["calls"] for row in rows) == len(asked.analysis.flushes)


def test_instructions_are_those_that_unmaps_count(traces: dict[str, Asked]) -> None:
    asked = traces["insn-6.12-max.txt.xz"]
    rows = asked.rows("instructions-in-unmaps")
    for insn, column in (("tlbi", "tlbi_insns"), ("dsb", "dsb_insns"), ("dc", "cmo_lines")):
        executed = sum(row["executed"] for row in rows if row["insn"] == insn)
        assert executed == asked.analysis.unmaps[column].sum()


def test_the_cost_of_tracing_is_that_of_the_unmaps(traces: dict[str, Asked]) -> None:
    for asked in traces.values():
        for row in asked.rows("tracing-cost"):
            mine = complete(asked).filter(pl.col("evidence").cast(pl.String) == row["evidence"])
            for column, name in (("low_ns", "probe_low_ns"), ("high_ns", "probe_high_ns")):
                known = mine[name].null_count() == 0
                assert row[column] == (mine[name].sum() if known else None)
            assert row["unmaps_ns"] == mine["duration_ns"].sum()


def test_what_is_wrong_comes_by_severity() -> None:
    said = (
        (0, Diagnostic("b", "info", "an info")), (0, Diagnostic("a", "warning", "a warning", 3)),
        (0, Diagnostic("c", "error", "an error")),
    )  # fmt: skip
    rows = of_analysis(analysis([unmap()], diagnostics=said), "what-is-wrong")
    assert [(row["severity"], row["count"]) for row in rows] == [
        ("error", None), ("warning", 3), ("info", None),
    ]  # fmt: skip

"""The JSON document and the Parquet tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.writers.analyses import analysis, source, unmap
from traceview import __version__
from traceview.errors import SettingError
from traceview.queries.questions import answers
from traceview.report.contents import contents
from traceview.report.information import information
from traceview.report.json_document import analysis_json, info_json
from traceview.report.parquet import ParquetTables
from traceview.schema import SCHEMA_VERSION, TABLES, frame
from traceview.trace import Diagnostic
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.queries.analysis import Analysis


def some() -> Analysis:
    return analysis(
        [unmap(mmu=2**63 + 5), unmap(status="censored")],
        [source(origin="emulated")],
        ((0, Diagnostic("kprobe-missed", "warning", "3 hits were missed", 3)),),
        losses=[{"source_id": 0, "cpu": 1, "kind": "lost_events", "count": 7, "from_ns": 10**9}],
        event_counts=[
            {"source_id": 0, "name": "funcgraph_exit", "symbol": "f", "count": 12},
            {"source_id": 0, "name": "print", "count": 3},
        ],
    )


def document(found: Analysis) -> dict[str, Any]:
    read: dict[str, Any] = json.loads("".join(analysis_json(contents(found))))
    return read


def test_the_document_is_one_object_that_names_its_version() -> None:
    read = document(some())
    assert read["document"] == "analysis"
    assert (read["schema_version"], read["traceview_version"]) == (SCHEMA_VERSION, __version__)
    assert {"sources", "unmaps", "groups", "diagnostics", "caveats"} <= read.keys()


def test_rows_have_every_column_and_unknown_ones_are_null() -> None:
    first = document(some())["unmaps"][0]
    assert list(first) == ["source_id", *TABLES["unmaps"]]
    assert first["off_cpu_ns"] is None
    assert first["irq"] is None
    assert first["leaves"] == 8


def test_addresses_are_exact() -> None:
    first = document(some())["unmaps"][0]
    assert first["mmu"] == "0x8000000000000005"
    assert first["ipa"] == "0x80000000"


def test_sources_say_how_their_unmaps_divide() -> None:
    (read,) = document(some())["sources"]
    assert (read["events"], read["unmaps"]) == (15, 2)
    parts = [read[name] for name in ("complete", "censored", "contaminated", "point")]
    assert parts == [1, 1, 0, 0]


def test_caveats_and_diagnostics_reach_the_document() -> None:
    read = document(some())
    assert "origin-emulated" in [caveat["code"] for caveat in read["caveats"]]
    assert read["diagnostics"] == [
        {
            "source_id": 0,
            "code": "kprobe-missed",
            "severity": "warning",
            "message": "3 hits were missed",
            "count": 3,
        }
    ]


def test_an_empty_analysis_is_a_document_too() -> None:
    read = document(analysis())
    assert read["unmaps"] == []
    assert read["groups"] == []


def test_each_row_has_its_own_line() -> None:
    lines = "".join(analysis_json(contents(some()))).splitlines()
    assert sum(line.startswith('  {"source_id": 0, "unmap_id"') for line in lines) == 2


def test_every_table_becomes_a_file_with_the_contracts_metadata(tmp_path: Path) -> None:
    with ParquetTables(tmp_path / "out") as tables:
        tables.sink(0, "events", frame("events", {"seq": [0, 1], "name": ["a", "b"]}))
        tables.sink(0, "events", frame("events", {"seq": [2], "name": ["c"]}))
        written = tables.finish(some())
    assert sorted(path.name for path in written) == sorted(f"{name}.parquet" for name in TABLES)
    assert sorted((tmp_path / "out").iterdir()) == sorted(written)
    for name, schema in TABLES.items():
        read = pq.read_table(tmp_path / "out" / f"{name}.parquet")
        assert read.column_names == ["source_id", *schema]
        assert read.schema.metadata[b"schema_version"] == SCHEMA_VERSION.encode()
        assert read.schema.metadata[b"traceview_version"] == __version__.encode()
        assert read.schema.field("source_id").type == pa.int32()
    events = pl.read_parquet(tmp_path / "out" / "events.parquet")
    assert events["name"].cast(pl.String).to_list() == ["a", "b", "c"]
    assert pq.read_table(tmp_path / "out" / "unmaps.parquet")["mmu"].to_pylist()[0] == 2**63 + 5


def test_tables_are_readable_by_others_as_other_new_files_are(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with ParquetTables(tmp_path / "out") as tables:
        (first, *_) = tables.finish(some())
    assert first.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_tables_that_are_there_are_not_overwritten_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "unmaps.parquet").write_text("precious")
    with pytest.raises(SettingError, match="--force"):
        ParquetTables(tmp_path)
    assert (tmp_path / "unmaps.parquet").read_text() == "precious"
    with ParquetTables(tmp_path, force=True) as tables:
        tables.finish(some())
    assert len(pq.read_table(tmp_path / "unmaps.parquet")) == 2


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with ParquetTables(tmp_path / "new") as tables:
            tables.sink(0, "events", frame("events", {"seq": [0]}))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_failure_with_force_leaves_the_old_tables(tmp_path: Path) -> None:
    (tmp_path / "unmaps.parquet").write_text("old")

    def fail() -> None:
        with ParquetTables(tmp_path, force=True):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["unmaps.parquet"]
    assert (tmp_path / "unmaps.parquet").read_text() == "old"


def test_a_directory_that_cannot_be_made_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="tables cannot be written"):
        ParquetTables(tmp_path / "file" / "out").__enter__()


def answered(found: Analysis, traced: frozenset[str] | None = None) -> dict[str, tuple[str, str]]:
    given = answers(found, Vocabulary.builtin(), traced)
    return {answer.code: (answer.answer, answer.why) for answer in given}


def test_a_question_is_answered_with_the_reason_why_it_cannot_be() -> None:
    bare = dict.fromkeys(("invalidate_leaf_ns", "invalidate_table_ns", "invalidate_range_ns"))
    said = answered(analysis([unmap(1000, None, strategy="unknown", trigger="unknown", **bare)]))
    assert said["duration"] == ("yes", "")
    answer, why = said["invalidation-time"]
    assert answer == "no"
    assert "__kvm_tlb_flush_vmid_ipa" in why
    assert "nVHE" in why
    assert [said[code][0] for code in ("strategy", "leaves", "trigger")] == ["no", "no", "no"]
    assert said["cmo-time"] == ("yes", "")
    assert said["tracing-cost"][0] == "no"


def test_a_question_about_time_tells_entries_from_nothing() -> None:
    counts = [{"source_id": 0, "name": "put_page", "symbol": "kvm_s2_put_page", "count": 5}]
    said = answered(analysis([unmap(cmo_ns=None, table_put_ns=None)], event_counts=counts))
    assert said["cmo-time"][1].startswith("clean_dcache_guest_page was not traced")
    assert said["table-put-time"][1] == "kvm_s2_put_page by entry only"


FLUSH = {"source_id": 0, "name": "flush", "symbol": "__kvm_tlb_flush_vmid_ipa", "count": 5}


def test_tables_have_no_time_for_the_true_reason() -> None:
    one = {"invalidate_leaf_ns": None, "invalidate_table_ns": None, "invalidate_ipa_ns": 620}
    said = answered(analysis([unmap(**one)]))["table-invalidation-time"]
    assert said[1].startswith("a flush could be a leaf's or a table's")
    bare = dict.fromkeys(("invalidate_leaf_ns", "invalidate_table_ns"))
    said = answered(analysis([unmap(**bare)], event_counts=[FLUSH]))["table-invalidation-time"]
    assert said == ("no", "__kvm_tlb_flush_vmid_ipa by entry only")
    said = answered(analysis([unmap(**bare)]))["table-invalidation-time"]
    assert "was not traced or never hit" in said[1]


def test_a_zero_by_construction_does_not_answer_how_long_invalidation_took() -> None:
    deferring = unmap(invalidate_leaf_ns=0, invalidate_table_ns=None, invalidate_range_ns=300)
    said = answered(analysis([deferring], event_counts=[FLUSH]))["invalidation-time"]
    assert said[0] == "partly"
    assert said[1] == "no timing of leaves and tables: __kvm_tlb_flush_vmid_ipa by entry only"


def test_a_trigger_recorded_by_entry_is_not_called_untraced() -> None:
    counts = [{"source_id": 0, "name": "t", "symbol": "kvm_unmap_gfn_range", "count": 5}]
    said = answered(analysis([unmap(trigger="unknown")], event_counts=counts))["trigger"]
    assert said[1].startswith("kvm_unmap_gfn_range was recorded by entry only")


def emulated(**instruction: Any) -> dict[str, tuple[str, str]]:
    """Answers of a trace of an emulator that executed two TLBIs in its only unmap."""
    place = {"source_id": 0, "unmap_id": 0, "insn": "tlbi"}
    plain = {**place, "op": "ipas2e1is", "operand": 8}
    function = {**FLUSH, "evidence": "insn", "phase": "exit"}
    found = analysis(
        [unmap(tid=0, evidence="insn")],
        event_counts=[function],
        instructions=[plain, {**plain, **instruction}],
    )
    return answered(found)


def test_an_emulator_knows_no_task_and_costs_nothing() -> None:
    said = emulated()
    assert said["task"] == ("no", "the emulator recorded vCPUs, not the tasks that ran on them")
    assert said["tracing-cost"][0] == "yes"
    assert "no tracer ran in the guest" in said["tracing-cost"][1]
    assert said["when"][0] == "partly"


def test_what_range_operations_covered_takes_range_operations() -> None:
    assert emulated()["range-operand"] == ("no", "there were none: no range TLBI was executed")
    assert emulated(op="ripas2e1is")["range-operand"] == ("yes", "")
    assert emulated(op="ripas2e1is", operand=None)["range-operand"][0] == "no"
    assert answered(analysis([unmap()]))["range-operand"][1].startswith("operand not recorded")


def test_an_entry_alone_holds_nothing() -> None:
    said = answered(analysis([unmap(None, None, status="point", strategy="unknown", step=None)]))
    assert "by its entry only: nothing can be placed inside it" in said["strategy"][1]
    assert "--step-pattern" in said["step"][1]


def test_probes_without_names_are_a_reason_to_find_no_unmap() -> None:
    counts = [{"source_id": 0, "name": "my_probe", "evidence": "kprobe", "count": 5}]
    assert "--kallsyms" in answered(analysis(event_counts=counts))["duration"][1]


def test_a_question_that_some_unmaps_answer_is_answered_partly() -> None:
    said = answered(analysis([unmap(), unmap(cmo_ns=None), unmap(status="censored")]))
    assert said["cmo-time"][0] == "partly"
    assert said["cmo-time"][1].startswith("for 1 of 2 unmaps")
    assert said["duration"] == ("partly", "1 of 3 is incomplete or overlaps a loss")


@pytest.mark.parametrize(
    ("traced", "why"),
    [(None, "never hit"), (frozenset({"kvm_pgtable_stage2_unmap"}), "nothing was unmapped")],
)
def test_a_trace_without_unmaps_says_whether_they_were_traced(
    traced: frozenset[str] | None, why: str
) -> None:
    assert why in answered(analysis(), traced)["duration"][1]


def test_a_trace_without_any_function_says_so() -> None:
    counts = [{"source_id": 0, "name": "sched_switch", "evidence": "tracepoint", "count": 5}]
    said = answered(analysis(event_counts=counts))["duration"][1]
    assert said.endswith("no event of any function is in the trace")


def test_a_probe_inside_the_unmap_is_not_called_untraced() -> None:
    inside = {"source_id": 0, "symbol": "kvm_pgtable_stage2_unmap", "phase": "instant", "count": 5}
    said = answered(analysis(event_counts=[inside]))["duration"][1]
    assert said == "no call of kvm_pgtable_stage2_unmap was recorded, only points inside it"


def test_information_is_the_same_for_people_and_programs() -> None:
    found = some()
    given = answers(found, Vocabulary.builtin(), None)
    text = "\n".join(line.plain for line in information(found, given, 100))
    read = json.loads("".join(info_json(found, given)))
    assert read["document"] == "info"
    assert [row["count"] for row in read["event_counts"]] == [12, 3]
    for answer in read["questions"]:
        assert answer["question"] in " ".join(text.split())
    assert "lost_events" in text


def test_information_fits_every_terminal() -> None:
    found = some()
    given = answers(found, Vocabulary.builtin(), None)
    for width in range(40, 201):
        assert all(line.cell_len <= width for line in information(found, given, width))

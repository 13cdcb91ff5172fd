"""`traceview query` as a user meets it: traces, folders of tables, files, formats, signals."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.test_cli import PROGRAM, on_terminal
from traceview.cli.app import run
from traceview.parsers import open_trace
from traceview.queries.analysis import Analysis, analyze
from traceview.report.contents import contents

ROOT = Path(__file__).parent.parent
DEMO = str(ROOT / "sample_traces/fgraph-6.12-neoverse-n1.perfetto")
KPROBES = str(ROOT / "sample_traces/kprobes-6.12-max.perf.data")


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run(["query", *arguments]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "defect" not in err
    return err if code else out


@pytest.fixture(scope="module")
def demo() -> Analysis:
    return analyze(open_trace(DEMO))


def test_the_answer_is_that_of_the_analysis(
    capsys: pytest.CaptureFixture[str], demo: Analysis
) -> None:
    sql = "SELECT * FROM unmaps"
    rows = json.loads(said(capsys, DEMO, sql, "--format", "json"))["rows"]
    assert [row["duration_ns"] for row in rows] == demo.unmaps["duration_ns"].to_list()
    groups = json.loads(said(capsys, DEMO, "SELECT * FROM groups", "--format=json"))["rows"]
    assert [row["median_ns"] for row in groups] == contents(demo).groups["median_ns"].to_list()
    codes = json.loads(said(capsys, DEMO, "SELECT code FROM diagnostics", "--format=json"))["rows"]
    assert [row["code"] for row in codes] == [found.code for _, found in demo.diagnostics]


def test_streamed_tables_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    whole = open_trace(DEMO).tables()
    for table, rows in (("events", whole.events), ("args", whole.args)):
        out = said(capsys, DEMO, f"SELECT count(*) AS n FROM {table}", "--format", "csv")
        assert out == f"n\n{len(rows)}\n"
    joined = (
        "SELECT count(*) AS n FROM calls c JOIN unmaps u ON c.source_id = u.source_id"
        " AND c.unmap_id = u.unmap_id WHERE c.call_id <> u.unmap_id"
    )
    nested = analyze(open_trace(DEMO)).unmaps["traced_calls"].sum()
    assert said(capsys, DEMO, joined, "--format", "csv") == f"n\n{nested}\n"


def test_several_traces_are_told_apart_by_source_id(capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT source_id, count(*) AS n FROM unmaps GROUP BY source_id ORDER BY source_id"
    out = said(capsys, DEMO, KPROBES, sql, "--format", "csv", "--label", "a", "--label", "b")
    assert [line.split(",")[0] for line in out.splitlines()] == ["source_id", "0", "1"]
    out = said(capsys, DEMO, KPROBES, "SELECT label FROM sources", "--label=a", "--label=b")
    assert out.split() == ["label", "a", "b"]


@pytest.mark.parametrize("form", ["csv", "json", "arrow", "parquet", "txt"])
def test_a_file_has_the_format_of_its_name(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"answer.{form}"
    sql = "SELECT unmap_id, comm, mmu FROM unmaps ORDER BY unmap_id"
    said(capsys, DEMO, sql, "-o", str(file))
    content = file.read_bytes()
    if form == "parquet":
        table = pq.read_table(file)
        assert table.schema.metadata[b"sql"].decode() == sql
    elif form == "arrow":
        table = pa.ipc.open_file(content).read_all()
    if form in {"parquet", "arrow"}:
        assert table.column_names == ["unmap_id", "comm", "mmu"]
        assert table.schema.field("mmu").type == pa.uint64()
        expected = analyze(open_trace(DEMO)).unmaps["unmap_id"].sort().to_list()
        assert table["unmap_id"].to_pylist() == expected
    else:
        starts = {"csv": b"unmap_id,comm,mmu\n", "json": b'{\n"document": "query"', "txt": b"  unm"}
        assert content.startswith(starts[form])
    assert "exists already" in said(capsys, DEMO, sql, "-o", str(file), code=2)
    said(capsys, DEMO, "SELECT 1 AS x", "-o", str(file), "--force")
    assert file.read_bytes() != content
    assert list(tmp_path.iterdir()) == [file]


def test_an_answer_that_fails_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.csv"
    bad = "SELECT CAST(comm AS INT) AS x FROM unmaps"
    assert "cannot be computed" in said(capsys, DEMO, bad, "-o", str(file), code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_tables_answers_as_the_trace_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tables"
    assert run(["analyze", DEMO, "--parquet", str(folder), "-q"]) == 0
    for sql in (
        "SELECT unmap_id, comm, status, duration_ns FROM unmaps",
        "SELECT name, count(*) AS n FROM events GROUP BY name ORDER BY n, name",
        "SELECT label, strategy, median_ns, corrected_ns FROM groups",
    ):
        of_folder = said(capsys, str(folder), sql, "--format", "csv")
        assert of_folder.count("\n") > 1
        if "unmap_id" not in sql:  # ids are of all events there
            assert of_folder == said(capsys, DEMO, sql, "--format", "csv")
    assert "no table 'diagnostics'" in said(
        capsys, str(folder), "SELECT * FROM diagnostics", code=2
    )
    assert "asked alone" in said(capsys, str(folder), DEMO, "SELECT 1 AS x", code=2)


def test_evidence_is_asked_as_a_whole_or_by_its_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "evidence"
    assert run(["analyze", DEMO, "--evidence", str(folder), "-q"]) == 0
    capsys.readouterr()
    sql = "SELECT duration_ns FROM unmaps"
    assert said(capsys, str(folder), sql) == said(capsys, DEMO, sql)
    found = said(capsys, str(folder), "SELECT code FROM diagnostics")
    assert found == said(capsys, DEMO, "SELECT code FROM diagnostics")
    (folder / "traces").rename(folder / "base")
    (folder / "with").mkdir()
    (folder / "with" / "unmaps.parquet").write_bytes((folder / "base/unmaps.parquet").read_bytes())
    told = said(capsys, str(folder), sql, code=2)
    assert "evidence with 2 parts" in told
    assert f"{folder}/base" in told
    assert said(capsys, str(folder / "base"), sql) == said(capsys, DEMO, sql)


def test_damaged_tables_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "unmaps.parquet").write_bytes(b"PAR1 no table at all PAR1")
    assert "no tables that can be read" in said(
        capsys, str(tmp_path), "SELECT * FROM unmaps", code=2
    )


def test_a_query_comes_from_a_file_or_standard_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.sql"
    file.write_text("-- mine\nSELECT count(*) AS n FROM unmaps\n")
    expected = said(capsys, DEMO, "SELECT count(*) AS n FROM unmaps")
    assert said(capsys, DEMO, f"@{file}") == expected
    monkeypatch.setattr(sys, "stdin", io.StringIO("SELECT count(*) AS n FROM unmaps"))
    assert said(capsys, DEMO, "@-") == expected
    assert "query cannot be read" in said(capsys, DEMO, f"@{file}x", code=2)
    assert "cannot be both" in said(capsys, "-", "@-", code=2)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "neither a trace nor a query"),
        ((DEMO,), "a query is missing"),
        (("SELECT 1 AS x",), "a trace is missing"),
        ((DEMO, KPROBES), "a query is missing"),
        ((DEMO, "slowest-unmap"), "valid: slowest-unmaps"),
        ((DEMO, ""), "an empty query"),
        ((DEMO, "SELECT 1 AS x", "--format", "xml"), "valid: table, csv"),
        ((DEMO, "SELECT 1 AS x", "-o", "x.xml"), "a name that ends in"),
        ((DEMO, "SELECT 1 AS x", "-o", "/no/such/x.csv"), "there is no folder"),
        (("/no/such/trace", "SELECT 1 AS x"), "cannot be opened"),
        (("/no/such/trace", "SELECT nope FROM unmaps"), "no column 'nope'"),
        (("--list", DEMO), "take no trace"),
        (("--show", "nope"), "no ready query"),
        ((DEMO, "SELECT 1 AS x", "--rows", "-1"), "less than 0"),
        ((DEMO, "S" * 5000 + " 1"), "begins with SELECT"),
    ],
)
def test_what_is_wrong_is_said(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in said(capsys, *arguments, code=2)


def test_a_scrubbed_trace_is_asked_without_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    sql = "SELECT DISTINCT comm FROM events WHERE tid > 0 ORDER BY comm"
    names = said(capsys, DEMO, sql, "--format", "csv", "--scrub").split()[1:]
    assert names
    assert all(name.startswith("task-") or "swapper" in name for name in names)
    path = said(capsys, DEMO, "SELECT path FROM sources", "--format", "csv", "--scrub")
    assert path == "path\ntrace-1.perfetto\n"


def test_a_terminal_gets_a_table_and_no_bytes() -> None:
    sql = "SELECT name, evidence, count FROM event_counts LIMIT 1"
    text = on_terminal(60, "query", KPROBES, sql)
    assert max(map(len, text.splitlines())) <= 72  # colours
    assert "kprobe" in text


def test_a_closed_pipe_is_no_error() -> None:
    many = "WITH m AS (SELECT a.count FROM event_counts a, event_counts b)"
    sql = f"{many} SELECT m.count FROM m JOIN m n ON m.count = n.count"
    command = [*PROGRAM, "query", KPROBES, sql, "--format", "csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode in {0, 141}


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_what_would_compute_for_hours(
    sent: signal.Signals, code: int, tmp_path: Path
) -> None:
    temporary, out = tmp_path / "tmp", tmp_path / "out.csv"
    temporary.mkdir()
    sql = (
        "SELECT count(*) AS n FROM events a JOIN args b ON a.source_id = b.source_id"
        " JOIN events c ON a.source_id = c.source_id JOIN args d ON a.source_id = d.source_id"
        " WHERE a.ts_ns + b.seq + c.ts_ns + d.seq = 7"
    )
    command = [*PROGRAM, "query", KPROBES, sql, "-o", str(out)]
    with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(temporary)}) as child:
        # It is computed once the file that becomes the answer is there.
        while child.poll() is None and not list(tmp_path.glob(".traceview-*")):
            time.sleep(0.05)
        time.sleep(0.2)
        child.send_signal(sent)
        assert child.wait(60) == code
    assert list(temporary.iterdir()) == []
    assert list(tmp_path.iterdir()) == [temporary]

"""`traceview query`: what may be asked, how the answer is written, and the command around it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_cli import PROGRAM, on_terminal
from traceview.cli.app import run
from traceview.errors import QueryError, TraceviewError
from traceview.parsers import open_trace
from traceview.queries.analysis import Analysis, analyze
from traceview.queries.sql import LONGEST, computed, plan, statement, tables_of
from traceview.report.contents import contents
from traceview.report.queried_tables import no_rows
from traceview.report.query_result import result_table, write_csv, write_json

ROOT = Path(__file__).parent.parent
DEMO = str(ROOT / "sample_traces/fgraph-6.12-neoverse-n1.perfetto")
KPROBES = str(ROOT / "sample_traces/kprobes-6.12-max.perf.data")
TABLE = pl.DataFrame(
    {
        "source_id": [0, 0, 0],
        "cpu": [0, 1, None],
        "mmu": pl.Series([0xFFFF800082BDD9C8, None, 1], dtype=pl.UInt64),
        "status": pl.Series(["complete", "point", None], dtype=pl.Enum(["complete", "point"])),
        "comm": pl.Series(["b", "a", "c"], dtype=pl.Categorical),
        "parts": pl.Series([["x", "y"], [], None], dtype=pl.List(pl.Categorical)),
    }
)
TABLES = {"unmaps": TABLE.lazy(), "calls": TABLE.lazy()}


def ask(sql: str) -> list[tuple[Any, ...]]:
    pieces = list(computed(plan(statement(sql), TABLES)))
    return pl.concat(pieces).rows() if pieces else []


def refused(sql: str) -> str:
    with pytest.raises(QueryError) as told:
        ask(sql)
    return str(told.value)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run(["query", *arguments]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    assert "defect" not in err
    return err if code else out


@pytest.fixture(scope="module")
def demo() -> Analysis:
    return analyze(open_trace(DEMO))


# ---- what may be asked


def test_names_compare_and_sort_as_strings() -> None:
    assert ask("SELECT cpu FROM unmaps WHERE status = 'complete'") == [(0,)]
    assert ask("SELECT comm FROM unmaps WHERE status <> 'no such' ORDER BY comm") == [
        ("a",), ("b",),
    ]  # fmt: skip
    assert ask("SELECT comm FROM unmaps WHERE comm LIKE '%b%'") == [("b",)]
    assert ask("SELECT status || '!' AS s FROM unmaps WHERE comm = 'a'") == [("point!",)]
    assert ask("SELECT unnest(parts) AS p FROM unmaps WHERE cpu = 0") == [("x",), ("y",)]


def test_null_is_not_zero() -> None:
    assert ask("SELECT count(cpu), count(*), sum(cpu) FROM unmaps") == [(2, 3, 1)]
    assert ask("SELECT sum(cpu) AS s FROM unmaps WHERE cpu > 7") == [(None,)]


def test_a_sort_by_a_column_and_cases_is_computed() -> None:
    rows = ask(
        "SELECT comm, source_id AS s FROM unmaps"
        " ORDER BY CASE comm WHEN 'c' THEN 0 WHEN 'b' THEN 1 ELSE 2 END, s"
    )
    assert [comm for comm, _ in rows] == ["c", "b", "a"]


def test_a_decimal_is_a_number() -> None:
    assert ask("SELECT 1.5 * cpu AS x FROM unmaps WHERE cpu = 1") == [(1.5,)]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE unmaps", "CREATE TABLE x AS SELECT * FROM unmaps", "TRUNCATE TABLE unmaps",
        "DELETE FROM unmaps", "SHOW TABLES", "EXPLAIN SELECT * FROM unmaps", "INSERT INTO x",
        "/* SELECT */ DROP TABLE unmaps", "-- SELECT\nDROP TABLE unmaps", "SELEC 1", "?",
    ],
)  # fmt: skip
def test_only_questions_are_asked(sql: str) -> None:
    assert "a query begins with SELECT or WITH" in refused(sql)


@pytest.mark.parametrize(
    "table",
    [
        "read_csv('{}')", 'READ_CSV ("{}")', "\"read_csv\"('{}')", "`read_csv`('{}')",
        "read_csv/* */('{}')", "read_parquet('{}')", "scan_anything('{}')",
        "$$'$$ x, read_csv('{}')", "E'\\'', read_csv('{}')", "(SELECT * FROM read_json('{}'))",
    ],
)  # fmt: skip
def test_a_query_reads_no_file(table: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    assert "no files" in refused(f"SELECT * FROM {table.format(file)}")


def test_a_file_cannot_be_named_as_a_table(tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    assert "no table" in refused(f"SELECT * FROM '{file}'")


def test_a_string_and_a_comment_are_no_code() -> None:
    assert ask("SELECT 'DROP; it''s' AS x -- DROP\nFROM unmaps LIMIT 1;") == [("DROP; it's",)]
    assert ask("(SELECT cpu FROM unmaps LIMIT 1)") == [(0,)]


def test_what_is_missing_is_named_with_what_is_near() -> None:
    assert refused("SELECT * FROM unmap").splitlines() == [
        "no table 'unmap'", "valid: calls, unmaps",
    ]  # fmt: skip
    assert "did you mean: status" in refused(
        "SELECT state, stats FROM unmaps".replace("state,", "")
    )
    assert "columns of unmaps: source_id, cpu" in refused("SELECT zzz FROM unmaps")
    assert "no column 'nope'" in refused(
        "SELECT u.nope FROM unmaps u JOIN calls c ON u.cpu = c.cpu"
    )
    assert "foo" in refused("SELECT foo(cpu) FROM unmaps")


def test_a_column_of_another_table_is_said_to_be_there(demo: Analysis) -> None:
    with pytest.raises(QueryError, match="it is a column of: calls, destroys, flushes"):
        plan(statement("SELECT call_id FROM unmaps"), no_rows(frozenset()))


@pytest.mark.parametrize(
    "sql",
    [
        "", "  ;", "SELECT", "SELECT * FROM", "SELECT 1; SELECT 2", "SELECT 'x", 'SELECT "x',
        "SELECT CAST(comm AS INT) FROM unmaps", "SELECT cpu FROM unmaps WHERE comm > 1",
        "SELECT cpu, cpu FROM unmaps", "SELECT sum(comm) + 1 FROM unmaps",
        "SELECT " + "(" * 2000 + "1" + ")" * 2000, "SELECT 1 " + " " * LONGEST,
        "SELECT comm FROM unmaps GROUP BY cpu", "SELECT " + "+".join(["1"] * 20_000) + " AS x",
        " UNION ALL ".join(["SELECT cpu FROM unmaps"] * 5000),
    ],
)  # fmt: skip
def test_a_wrong_query_is_refused_in_words(sql: str) -> None:
    told = refused(sql)
    assert told
    assert "FAILED HERE" not in told
    assert len(told) < 600


WORDS = st.sampled_from(
    [
        "SELECT",
        "FROM",
        "WHERE",
        "unmaps",
        "calls",
        "cpu",
        "comm",
        "status",
        "mmu",
        "parts",
        "*",
        ",",
        "(",
        ")",
        "=",
        "<",
        "'a'",
        "1",
        "NULL",
        "AND",
        "OR",
        "NOT",
        "count",
        "sum",
        "(",
        "GROUP",
        "BY",
        "ORDER",
        "LIMIT",
        "WITH",
        "x",
        "AS",
        "(",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "OVER",
        "JOIN",
        "ON",
        "u",
        ".",
        "lag",
        "unnest",
        "CAST",
        "INT",
        "IN",
        "UNION",
        "ALL",
        "-",
        "/",
        "%",
        "||",
        ";",
        '"',
        "'",
        "--",
        "/*",
    ]
)


@given(st.lists(WORDS, max_size=14).map(lambda words: " ".join(["SELECT", *words])))
@settings(max_examples=150, deadline=None)
def test_any_words_are_answered_or_refused(sql: str) -> None:
    try:
        ask(sql)
    except TraceviewError:
        return


def test_long_queries_are_computed() -> None:
    assert ask("SELECT " + "+".join(["1"] * 300) + " AS x FROM unmaps LIMIT 1") == [(300,)]
    cases = " ".join(f"WHEN cpu = {n} THEN {n}" for n in range(140))
    assert ask(f"SELECT CASE {cases} END AS x FROM unmaps WHERE cpu = 1") == [(1,)]
    many = ", ".join(map(str, range(5000)))
    assert ask(f"SELECT count(*) AS n FROM unmaps WHERE cpu IN ({many})") == [(2,)]
    parts = " UNION ALL ".join(["SELECT cpu FROM unmaps"] * 60)
    assert len(ask(parts)) == 180


def test_the_tables_that_a_query_reads_are_known() -> None:
    def read(sql: str) -> set[str]:
        return set(tables_of(statement(sql), TABLES))

    assert read("SELECT count(*) AS calls FROM unmaps") == {"unmaps"}
    assert read("WITH calls AS (SELECT * FROM unmaps) SELECT * FROM calls") == {"unmaps"}
    assert read('SELECT 1 FROM "calls" c, unmaps u WHERE c.cpu = u.cpu') == {"calls", "unmaps"}
    assert read("SELECT 'calls' AS x FROM unmaps -- calls") == {"unmaps"}


# ---- how the answer is written


def written(sql: str, form: str) -> str:
    answer = plan(statement(sql), TABLES)
    file = io.BytesIO()
    if form == "csv":
        write_csv(answer.collect_schema(), computed(answer), file)
    else:
        write_json(answer.collect_schema(), computed(answer), file, sql)
    return file.getvalue().decode()


def lines(sql: str, width: int = 60, most: int = 0) -> list[str]:
    answer = plan(statement(sql), TABLES)
    return [
        line.plain for line in result_table(answer.collect_schema(), computed(answer), width, most)
    ]


def test_a_table_is_aligned_and_says_how_many_rows_there_are_more() -> None:
    assert lines("SELECT comm, cpu, mmu, parts FROM unmaps", most=2) == [
        "  comm  cpu  mmu                 parts",
        "  b       0  0xffff800082bdd9c8  x, y",
        "  a       1  -",
        "  ... 1 more row of 3 (--rows N shows more)",
    ]
    assert lines("SELECT cpu FROM unmaps WHERE cpu > 7") == ["  no rows"]


def test_a_table_is_never_wider_than_asked_and_escapes_what_a_terminal_acts_upon() -> None:
    long = "x" * 500
    found = lines(f"SELECT comm, '{long}' AS long, 'a\x1b[31m' AS escape FROM unmaps", 40)
    assert max(map(len, found)) <= 40
    assert "\x1b" not in "".join(found)
    assert "\\x1b[31m" in "".join(found).replace("\n", "")


def test_csv_has_a_line_per_row() -> None:
    text = written("SELECT comm, cpu, mmu, status, parts, NULL AS n FROM unmaps", "csv")
    assert list(csv.DictReader(io.StringIO(text))) == [
        {"comm": "b", "cpu": "0", "mmu": "0xffff800082bdd9c8", "status": "complete",
         "parts": '["x", "y"]', "n": ""},
        {"comm": "a", "cpu": "1", "mmu": "", "status": "point", "parts": "[]", "n": ""},
        {"comm": "c", "cpu": "", "mmu": "0x1", "status": "", "parts": "", "n": ""},
    ]  # fmt: skip
    assert written("SELECT comm, parts FROM unmaps WHERE cpu > 7", "csv") == "comm,parts\n"


def test_json_is_one_object_with_exact_addresses() -> None:
    sql = "SELECT comm, mmu, parts, cpu / 0 AS inf FROM unmaps LIMIT 1"
    document = json.loads(written(sql, "json"))
    assert (document["document"], document["sql"]) == ("query", sql)
    assert document["columns"] == ["comm", "mmu", "parts", "inf"]
    assert document["rows"] == [
        {"comm": "b", "mmu": "0xffff800082bdd9c8", "parts": ["x", "y"], "inf": None}
    ]
    assert json.loads(written("SELECT cpu FROM unmaps WHERE cpu > 7", "json"))["rows"] == []


# ---- the command


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
    text = on_terminal(60, "query", DEMO, "SELECT cpu, comm FROM unmaps LIMIT 1")
    assert max(map(len, text.splitlines())) <= 72  # colours
    assert "kvmunmap" in text


def test_a_closed_pipe_is_no_error() -> None:
    command = [*PROGRAM, "query", DEMO, "SELECT * FROM args", "--format", "csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(10)
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode in {0, 141}

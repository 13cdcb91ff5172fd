"""SQL over tables: what may be asked, and how the answer is written."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traceview.errors import QueryError
from traceview.queries.sql import computed, plan, tables_of
from traceview.queries.sql_text import LONGEST, statement
from traceview.report.queried_tables import no_rows
from traceview.report.query_result import result_table, write_csv, write_json

if TYPE_CHECKING:
    from pathlib import Path

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
        "(SELECT * FROM read_json('{}'))", 'unmaps JOIN "scan_ipc"', "x -- '\n, read_csv('{}')",
    ],
)  # fmt: skip
def test_a_query_reads_no_file(table: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    assert "no files" in refused(f"SELECT * FROM {table.format(file)}")


@pytest.mark.parametrize(
    "hidden",
    [
        "$$'$$ x, read_csv('{}')", "E'\\'', read_csv('{}')", "U&'\\'', read_csv('{}')",
        "x -- \r '\n, read_csv('{}') '", "$a$'$a$, read_csv('{}')",
    ],
)  # fmt: skip
def test_what_may_be_a_string_or_not_is_refused(hidden: str, tmp_path: Path) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    told = refused(f"SELECT * FROM {hidden.format(file)}")
    assert re.search("string with something before it|dollar outside|carriage return", told)


@pytest.mark.parametrize("name", ["read_csv", "scan_parquet(''x'')", "it''s read_csv(x)", "$1"])
def test_a_name_in_a_string_is_no_function(name: str) -> None:
    assert ask(f"SELECT cpu FROM unmaps WHERE comm = '{name}' -- read_csv") == []
    assert ask(f"SELECT cpu FROM unmaps WHERE comm <> '{name}' AND cpu = 1") == [(1,)]


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


def test_a_column_of_another_table_is_said_to_be_there() -> None:
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
        "SELECT cpu FROM unmaps" + " UNION ALL VALUES (1)" * 400,
        "FROM unmaps" + " UNION ALL FROM unmaps" * 400,
        "FROM unmaps" + " EXCEPT TABLE unmaps" * 101,
        "SELECT cpu FROM unmaps" + " JOIN unmaps ON cpu = cpu" * 101,
    ],
)  # fmt: skip
def test_a_wrong_query_is_refused_in_words(sql: str) -> None:
    told = refused(sql)
    assert told
    assert "FAILED HERE" not in told
    assert len(told) < 600


WORDS = st.sampled_from([
    *("SELECT", "FROM", "WHERE", "GROUP", "BY", "ORDER", "LIMIT", "WITH", "AS", "JOIN", "ON"),
    *("CASE", "WHEN", "THEN", "END", "CAST", "INT", "AND", "OR", "NOT", "IN", "UNION", "ALL"),
    *("NULL", "OVER", "FROM", "SELECT"),
    *("VALUES", "unmaps", "calls", "cpu", "comm", "status", "mmu", "parts", "u", "x", "1", "'a'"),
    *("count", "sum", "lag", "unnest", "(", ")", "(", "(", "*", ",", "=", "<", "-", "/", "%", "||"),
    *(".", ";", '"', "'", "--", "/*"),
])  # fmt: skip


@given(st.lists(WORDS, max_size=14).map(lambda words: " ".join(["SELECT", *words])))
@settings(max_examples=100, deadline=None)
def test_any_words_are_answered_or_refused_in_words(sql: str) -> None:
    try:
        rows = ask(sql)
    except QueryError as err:
        told = str(err)
        assert told
        assert len(told) < 1500
        assert not re.search("panicked|FAILED HERE|Traceback|\\.rs:", told)
    else:
        assert isinstance(rows, list)


@pytest.mark.parametrize(
    ("tables", "joins"),
    [
        ("unmaps a, unmaps b", 1),
        ("unmaps a, unmaps b, unmaps c", 2),
        (", ".join(f"unmaps a{n}" for n in range(41)), 40),
        ("unmaps a CROSS JOIN unmaps b CROSS JOIN unmaps c", 2),
        ("(unmaps a, unmaps b) JOIN calls c ON a.cpu = c.cpu, calls d", 2),
        ("(SELECT a.cpu FROM unmaps a, unmaps b) x, calls", 2),
        ("unmaps a JOIN unmaps b USING (cpu, mmu) JOIN unmaps c USING (cpu, mmu)", 0),
        ("unmaps WHERE cpu IN (1, 2, 3) GROUP BY cpu, comm, status ORDER BY cpu, comm, mmu", 0),
        (
            "(SELECT cpu, mmu, comm FROM unmaps ORDER BY cpu, comm) a, calls WHERE a.cpu IN (1, 2)",
            1,
        ),
    ],
)
def test_joins_without_a_condition_are_of_two_tables(tables: str, joins: int) -> None:
    sql = f"SELECT count(*) AS n, extract(hour FROM ts), 1 IS DISTINCT FROM cpu, 2, 3 FROM {tables}"
    if joins < 2:
        assert "unmaps" in statement(sql).names
        return
    with pytest.raises(QueryError, match=f"a query of {joins} joins without a condition"):
        statement(sql)


def test_every_row_with_every_row_of_two_tables_is_computed() -> None:
    assert ask("SELECT count(*) AS n FROM unmaps a, unmaps b") == [(9,)]


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

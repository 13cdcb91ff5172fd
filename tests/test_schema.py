"""The tables of the contract: making them, and giving them to others."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from traceview.schema import TABLES, conform, frame, to_arrow


@pytest.mark.parametrize("table", TABLES)
def test_nothing_becomes_a_table_without_rows(table: str) -> None:
    assert conform(table, pl.DataFrame()).schema == pl.Schema(TABLES[table])
    for empty in (pl.DataFrame(), pl.DataFrame({"seq": []}), pl.DataFrame({"unrelated": []})):
        assert len(conform(table, empty)) == 0


def test_columns_that_are_missing_are_null_in_every_row() -> None:
    rows = conform("losses", pl.DataFrame({"unrelated": [1, 2, 3]}))
    assert rows.null_count().row(0) == (3,) * len(TABLES["losses"])


def test_a_frame_repeats_single_values() -> None:
    rows = frame("events", {"seq": [1, 2], "name": "print", "phase": "instant"})
    assert rows.select("seq", "name", "phase", "tid").rows() == [
        (1, "print", "instant", None),
        (2, "print", "instant", None),
    ]


@pytest.mark.parametrize("table", TABLES)
def test_every_batch_of_a_table_has_one_arrow_schema(table: str) -> None:
    empty = to_arrow(table, frame(table), 0)
    full = to_arrow(table, conform(table, pl.DataFrame({"unrelated": [1]})), 7)
    assert empty.schema.equals(full.schema, check_metadata=True)
    assert full["source_id"].to_pylist() == [7]
    assert full.schema.field("source_id").type == pa.int32()

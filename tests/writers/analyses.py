"""Analyses made by hand: a few unmaps whose every number is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from traceview.queries.analysis import KEPT, Analysis
from traceview.schema import COMPONENTS, TABLES, conform

if TYPE_CHECKING:
    from traceview.trace import Diagnostic

SPLIT = {
    "invalidate_leaf_ns": 600, "invalidate_table_ns": 20, "invalidate_range_ns": 0, "cmo_ns": 200,
    "table_put_ns": 50,
}  # fmt: skip


def source(**facts: Any) -> dict[str, Any]:
    return {
        "source_id": 0, "path": "trace.perfetto", "format": "perfetto", "origin": "hardware",
        "loss_known": True, "table_invalidation": "eager", "clock": "boot", "kernel": "6.12.95",
        "machine": "aarch64", "cpus": 2, "fwb": False, "tlbirange": False,
        "page_size_bytes": 4096, "first_ns": 10**9, "last_ns": 3 * 10**9, **facts,
    }  # fmt: skip


def unmap(duration_ns: int | None = 1000, leaves: int | None = 8, **columns: Any) -> dict[str, Any]:
    """A complete per-PTE unmap of 4K leaves, its components in the proportions of SPLIT."""
    split: dict[str, int] = {}
    if duration_ns is not None:
        split = {name: duration_ns * part // 1000 for name, part in SPLIT.items()}
        split["rest_ns"] = duration_ns - sum(split.values())
    row = {
        "source_id": 0, "cpu": 1, "tid": 77, "comm": "vmm", "start_ns": 2 * 10**9, "step": "s01",
        "trigger": "notifier", "strategy": "per_pte", "ipa": 0x8000_0000, "length_bytes": 4096,
        "leaves": leaves, "leaves_l1": None if leaves is None else 0,
        "leaves_l2": None if leaves is None else 0, "leaves_l3": leaves, "leaves_evidence": "put",
        "traced_calls": 20, "duration_ns": duration_ns, **split, "status": "complete",
        "evidence": "fgraph", **columns,
    }  # fmt: skip
    row.setdefault("separated", [name for name in COMPONENTS if row.get(name) is not None])
    return row


def rows(table: str, dicts: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {"source_id": pl.Int32(), **TABLES[table]}
    if not dicts:
        return pl.DataFrame(schema=schema)
    given = pl.DataFrame(dicts, infer_schema_length=None)
    ids = given.select(pl.col("source_id").cast(pl.Int32))
    return ids.hstack(conform(table, given))


def analysis(
    unmaps: list[dict[str, Any]] | None = None,
    sources: list[dict[str, Any]] | None = None,
    diagnostics: tuple[tuple[int, Diagnostic], ...] = (),
    **tables: list[dict[str, Any]],
) -> Analysis:
    """An Analysis of these rows; unmap ids are given in order, tables not named are empty."""
    numbered = [{"unmap_id": at, **row} for at, row in enumerate(unmaps or [])]
    frames = {
        name: rows(name, tables.get(name, []))
        for name in (*KEPT, "tracing_costs")
        if name not in {"sources", "unmaps"}
    }
    return Analysis(
        sources=rows("sources", sources or [source()]),
        unmaps=rows("unmaps", numbered),
        diagnostics=diagnostics,
        **frames,
    )

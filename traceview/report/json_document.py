"""An analysis as one JSON object: docs/json.md describes it.

One line per row of a table, so that the document can be read, searched and compared by line.
Addresses are strings in hexadecimal (JSON numbers are exact to 2^53 only); all else is as in the
Parquet tables, null where the source cannot say.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import polars as pl

import traceview
from traceview.report.verdict import verdict_rows
from traceview.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from traceview.queries.analysis import Analysis
    from traceview.queries.questions import Answer
    from traceview.report.contents import Contents

ADDRESSES: Final = ("ipa", "mmu", "object_addr", "operand")


def analysis_json(found: Contents) -> Iterator[str]:
    """The document of `traceview analyze --json`, in pieces."""
    analysis = found.analysis
    yield from document(
        {
            **header("analysis"),
            "filters": str(found.filters),
            "calibration": calibration(found.calibration),
            "caveats": [
                {"code": c.code, "severity": c.severity, "text": c.text} for c in found.caveats
            ],
            "diagnostics": diagnostics(found.whole),
            "sources": rows(source_counts(found.whole)),
            "tracing_costs": rows(found.analysis.tracing_costs),
            "ledger": rows(found.ledger),
            "verdict": verdict_rows(found.verdicts),
            "groups": rows(found.groups),
            "trigger_groups": rows(found.trigger_groups),
            "sample_groups": rows(found.sample_groups),
            "bystander_groups": rows(found.bystander_groups),
            "unmaps": rows(analysis.unmaps),
            "triggers": rows(analysis.triggers),
            "bystanders": rows(analysis.bystanders),
            "vcpus": rows(analysis.vcpus),
            "flushes": rows(analysis.flushes),
            "destroys": rows(analysis.destroys),
            "losses": rows(analysis.losses),
        }
    )


def info_json(analysis: Analysis, answers: Iterable[Answer]) -> Iterator[str]:
    """The document of `traceview info --json`, in pieces."""
    questions = [
        {"code": a.code, "question": a.question, "answer": a.answer, "why": a.why} for a in answers
    ]
    yield from document(
        {
            **header("info"),
            "diagnostics": diagnostics(analysis),
            "sources": rows(source_counts(analysis)),
            "questions": questions,
            "losses": rows(analysis.losses),
            "event_counts": rows(analysis.event_counts),
        }
    )


def calibration(analysis: Analysis | None) -> list[dict[str, Any]]:
    """The files that say what tracing cost, and what was wrong with each."""
    if analysis is None:
        return []
    said = diagnostics(analysis)
    return [
        {
            "path": row["path"],
            "sha256": row["sha256"],
            "diagnostics": [one for one in said if one["source_id"] == row["source_id"]],
        }
        for row in analysis.sources.iter_rows(named=True)
    ]


def diagnostics(analysis: Analysis) -> list[dict[str, Any]]:
    """Every diagnostic with the source_id that it is about."""
    return [
        {
            "source_id": source_id,
            "code": what.code,
            "severity": what.severity,
            "message": what.message,
            "count": what.count,
        }
        for source_id, what in analysis.diagnostics
    ]


def source_counts(analysis: Analysis) -> pl.DataFrame:
    """The sources with how many `events` each holds and how its unmaps divide, by status."""
    keys = analysis.sources.select("source_id")
    events = analysis.event_counts.group_by("source_id").agg(pl.col("count").sum().alias("events"))
    status = analysis.unmaps.group_by("source_id").agg(
        pl.len().cast(pl.Int64).alias("unmaps"),
        *(
            (pl.col("status") == name).sum().cast(pl.Int64).alias(name)
            for name in ("complete", "censored", "contaminated", "point")
        ),
    )
    counts = keys.join(events, on="source_id", how="left", maintain_order="left").join(
        status, on="source_id", how="left", maintain_order="left"
    )
    return analysis.sources.hstack(counts.drop("source_id").fill_null(0))


def rows(table: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """The rows of *table* as JSON values; what is no number is null."""
    table = table.with_columns(pl.selectors.float().fill_nan(None))
    hexadecimal = [name for name in ADDRESSES if name in table.columns]
    for row in table.iter_rows(named=True):
        for name in hexadecimal:
            if row[name] is not None:
                row[name] = f"{row[name]:#x}"
        yield row


def header(name: str) -> dict[str, str]:
    """The members that every document begins with."""
    return {
        "document": name,
        "schema_version": SCHEMA_VERSION,
        "traceview_version": traceview.__version__,
    }


def document(members: dict[str, Any]) -> Iterator[str]:
    """One object: a plain member on one line, the elements of an array on one line each."""
    encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode
    before = "{\n"
    for name, value in members.items():
        yield f"{before}{encode(name)}: "
        before = ",\n"
        if isinstance(value, (str, dict, bool)) or value is None:
            yield encode(value)
            continue
        inner = "["
        for element in value:
            yield f"{inner}\n  {encode(element)}"
            inner = ","
        yield "[]" if inner == "[" else "\n]"
    yield "\n}\n"

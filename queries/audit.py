"""Whether an unmap keeps its promise: once called, TLBs and page tables are synchronised.

One pass over each trace. Every check says what it decided, by what, and what it could not decide;
nothing passes silently. A finding is what the trace shows; `predicted` is what the formula of a
known kernel makes of arguments that the trace shows (range_operations.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from traceview.queries.analysis import analyze
from traceview.queries.audit_entries import entries_invalidated
from traceview.queries.audit_flushes import instructions_in_order, operands_right, ranges_covered
from traceview.queries.audit_results import FINDINGS, WINDOWS, Assumed, Audit, Bystanders
from traceview.queries.audit_source import Heard, executed_outside
from traceview.queries.audit_unmaps import (
    flushed_before_return,
    range_covered,
    tables_before_release,
    unmap_rows,
)
from traceview.queries.filters import Filters, apply
from traceview.queries.groups import source_labels
from traceview.queries.range_operations import possible_formulas

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from traceview.queries.analysis import Analysis
    from traceview.queries.audit_results import Check
    from traceview.queries.calls import Chunk
    from traceview.queries.source_tables import SourceTables
    from traceview.trace import Batch, Trace


def audit(
    traces: Sequence[Trace],
    *,
    filters: Filters | None = None,
    progress: Callable[[float], None] = lambda _: None,
    **steps: Any,
) -> Audit:
    """Read *traces* once and audit every unmap and every flush of a range that *filters* keep.

    *steps*: the arguments of `analyze` that say what a step is. Raises what `analyze` and the
    filters raise.
    """
    heard: dict[int, Heard] = {}

    def hear(source_id: int, batch: Batch, chunk: Chunk, tables: SourceTables) -> None:
        if source_id not in heard:
            heard[source_id] = Heard(tables)
        heard[source_id].hear(batch, chunk)

    whole = analyze(traces, hear=hear, all_events=True, progress=progress, **steps)
    filters = filters or Filters()
    kept = apply(filters, whole)
    checks: list[Check] = []
    findings = [pl.DataFrame(schema=FINDINGS)]
    bystanders = []
    for source_id, one in heard.items():
        for check, found in _checks(source_id, one, whole, kept):
            checks.append(check)
            findings.append(found)
        bystanders.append(_bystanders(source_id, one, kept))
    return Audit(
        whole, kept, filters, tuple(checks), _where(pl.concat(findings), kept),
        _windows(heard, kept),
        tuple(bystanders), tuple(_assumed(one, whole, number) for number, one in heard.items()),
    )  # fmt: skip


def _checks(
    source_id: int, heard: Heard, whole: Analysis, kept: Analysis
) -> list[tuple[Check, pl.DataFrame]]:
    facts = heard.facts(whole, source_id)
    of = pl.col("source_id") == source_id
    rows = unmap_rows(kept.unmaps.filter(of), heard, facts)
    instructions = whole.instructions.filter(of)
    kept_flushes = _kept_flushes(heard, kept, source_id)
    found = [
        flushed_before_return(source_id, rows, facts),
        tables_before_release(source_id, rows, facts),
        range_covered(source_id, rows, heard, facts),
        ranges_covered(source_id, heard, facts, instructions, kept_flushes),
    ]
    if facts.executed:
        inside = heard.calls.join(rows.filter(pl.col("excluded").is_null()), on="unmap_id",
                                  how="semi", maintain_order="left")  # fmt: skip
        calls = pl.concat([inside, executed_outside(kept.flushes.filter(of))])
        found.append(instructions_in_order(source_id, instructions, calls))
        found.append(operands_right(source_id, instructions, calls, heard, facts))
    if heard.entries.seen:
        found.append(entries_invalidated(source_id, rows, heard.entries, facts.doubt))
    return found


def _where(findings: pl.DataFrame, kept: Analysis) -> pl.DataFrame:
    """*findings* with step, CPU, task and time of the unmap or flush they are of."""
    missing = ("step", "cpu", "tid", "start_ns")
    for table, key in ((kept.unmaps, "unmap_id"), (kept.flushes, "call_id")):
        known = table.select("source_id", key, *missing)
        findings = findings.join(
            known, on=["source_id", key], how="left", maintain_order="left", suffix="_of"
        ).with_columns(pl.coalesce(name, f"{name}_of").alias(name) for name in missing)
        findings = findings.select(pl.col(name).cast(dtype) for name, dtype in FINDINGS.items())
    return findings


def _kept_flushes(heard: Heard, kept: Analysis, source_id: int) -> pl.DataFrame:
    """The flushes of ranges inside unmaps that are kept, and those outside that are."""
    of = pl.col("source_id") == source_id
    flushes = heard.ranges.flushes
    inside = flushes.join(kept.unmaps.filter(of).select("unmap_id"), on="unmap_id", how="semi")
    ids = kept.flushes.filter(of).select(pl.col("call_id").alias("flush_id"))
    outside = flushes.filter(pl.col("unmap_id").is_null()).join(ids, on="flush_id", how="semi")
    return pl.concat([inside, outside]).select("flush_id")


def _assumed(heard: Heard, whole: Analysis, source_id: int) -> Assumed:
    facts = heard.facts(whole, source_id)
    formulas = tuple(str(one) for one in possible_formulas(facts.kernel))
    return Assumed(
        source_id, facts.kernel, facts.page_bytes, facts.page_known, facts.lpa2, formulas
    )


def _bystanders(source_id: int, heard: Heard, kept: Analysis) -> Bystanders:
    unmaps = kept.unmaps.filter(pl.col("source_id") == source_id).select("unmap_id")
    hits = heard.order.join(unmaps, on="unmap_id", how="semi")["faults"]
    return Bystanders(source_id, heard.faults.seen, int(hits.sum()), int((hits > 0).sum()))


def _windows(heard: dict[int, Heard], kept: Analysis) -> pl.DataFrame:
    """Statistics of the stale windows of complete unmaps, by label, origin, evidence, strategy."""
    parts = [
        one.windows.with_columns(pl.lit(source_id, pl.Int32).alias("source_id"))
        for source_id, one in heard.items()
    ]
    if not parts:
        return pl.DataFrame(schema=WINDOWS)
    names = source_labels(kept.sources).hstack(
        kept.sources.select(pl.col("origin").cast(pl.String))
    )
    # Without leaves, or without a reference dropped, nothing was cleared that could be stale.
    mapped = (pl.col("leaves").fill_null(1) > 0) & (pl.col("table_put").fill_null(1) > 0)
    words = pl.col("strategy", "evidence").cast(pl.String)
    unmaps = (
        kept.unmaps.filter((pl.col("status") == "complete") & mapped)
        .select("source_id", "unmap_id", words, "leaves", "table_put")
        .join(names, on="source_id", how="left", maintain_order="left")
        .filter(pl.col("strategy").is_in(["per_pte", "deferred_range"]))
    )
    windows = unmaps.join(
        pl.concat(parts), on=["source_id", "unmap_id"], how="left", maintain_order="left"
    )
    keys = ("label", "origin", "evidence", "strategy")
    rows = [
        {**dict(zip(keys, key, strict=True)), **_window(of, str(key[-1]))}
        for key, of in windows.group_by(keys, maintain_order=True)
    ]
    return pl.DataFrame(rows, schema=WINDOWS)


def _window(of: pl.DataFrame, strategy: str) -> dict[str, int | None]:
    known = of.drop_nulls("window_ns").sort("window_ns")
    reach = known["windows"].cum_sum()
    total = int(known["windows"].sum())

    def ranked(percent: int) -> int | None:
        """Nearest rank."""
        if not total:
            return None
        before = int((reach < (total * percent + 99) // 100).sum())
        return int(known["window_ns"][before])

    per_unmap = of.unique("unmap_id", maintain_order=True)
    waiting = per_unmap["leaves"].drop_nulls().sort()
    deferred = strategy == "deferred_range"
    return {
        "unmaps": len(per_unmap),
        "windows": total,
        "unknown": of.filter(pl.col("window_ns").is_null())["unmap_id"].n_unique(),
        # One that dropped a reference cleared something, also where leaves cannot be counted.
        "leaves_unknown": per_unmap.select(
            (pl.col("leaves").is_null() & pl.col("table_put").is_null()).sum()
        ).item(),
        "median_ns": ranked(50), "p95_ns": ranked(95), "max_ns": ranked(100),
        "leaves_median": 1 if not deferred else _middle(waiting),
        "leaves_max": 1 if not deferred else None if waiting.is_empty() else int(waiting[-1]),
    }  # fmt: skip


def _middle(values: pl.Series) -> int | None:
    return None if values.is_empty() else int(values[(len(values) - 1) // 2])

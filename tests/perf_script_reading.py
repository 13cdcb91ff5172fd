"""Reads bytes with the perf script parser, whole, and compares with the line-by-line reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import polars as pl

from tests.ftrace_text_reading import check_batches
from tests.perf_script_reference import ScriptReference
from traceview.parsers import perf_script
from traceview.parsers.source import Source
from traceview.trace import Want
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from traceview.trace import Diagnostic

OF_QUERIES = ("unmap_id", "operation")


@dataclass(frozen=True)
class Table:
    """A whole file."""

    events: pl.DataFrame
    args: pl.DataFrame
    losses: pl.DataFrame
    samples: pl.DataFrame
    skipped: dict[str, int]
    facts: dict[str, Any]
    diagnostics: dict[str, Diagnostic]
    batches: int

    def column(self, name: str) -> list[Any]:
        return self.events[name].to_list()

    def arg(self, name: str) -> list[Any]:
        """The values of one argument, in order of events."""
        rows = self.args.filter(pl.col("name") == name).rows(named=True)
        return [row["text"] if row["value"] is None else row["value"] for row in rows]

    @property
    def unparsed(self) -> int:
        found = self.diagnostics.get("unparsed-lines")
        return (found.count or 0) if found else 0


def read(
    data: bytes | str,
    *,
    all_events: bool = False,
    chunk_bytes: int = 1 << 22,
    batch_events: int = 250_000,
) -> Table:
    """Read *data* as the parser would a file."""
    raw = data.encode() if isinstance(data, str) else data
    source = Source("script.txt", BytesIO(raw), len(raw))
    want = Want(Vocabulary.builtin(), all_events=all_events, batch_events=batch_events)
    batches = list(perf_script.read(source, want, lambda _: None, chunk_bytes=chunk_bytes))
    check_batches(batches)
    for batch in batches:
        assert batch.samples["seq"].is_in(batch.events["seq"].implode()).all()
    return Table(
        events=pl.concat([batch.events for batch in batches]),
        args=pl.concat([batch.args for batch in batches]).sort("seq", maintain_order=True),
        losses=pl.concat([batch.losses for batch in batches]),
        samples=pl.concat([batch.samples for batch in batches]),
        skipped=dict(sum((Counter(batch.skipped) for batch in batches), Counter())),
        facts={k: v for batch in batches for k, v in batch.facts.items()},
        diagnostics={d.code: d for batch in batches for d in batch.diagnostics},
        batches=len(batches),
    )


def differences(data: bytes, *, all_events: bool, **reading: int) -> list[str]:
    """Where the parser and the reference disagree about *data*."""
    table = read(data, all_events=all_events, **reading)
    reference = ScriptReference(Vocabulary.builtin(), all_events).read(data)
    found = _rows("event", table.events.drop("buffer"), reference.events)
    found += _rows("sample", table.samples.drop(OF_QUERIES), reference.samples)
    mine, other = Counter(table.args.iter_rows()), Counter(reference.args)
    if mine != other:
        found.append(f"args: extra {list(mine - other)[:3]}, missing {list(other - mine)[:3]}")
    if table.skipped != reference.skipped:
        found.append(f"skipped {table.skipped}, not {reference.skipped}")
    records = table.diagnostics.get("records-not-used")
    if (records.count if records else 0) != reference.records.total():
        found.append(f"records {records}, not {reference.records}")
    if table.unparsed != reference.unparsed:
        shown = table.diagnostics.get("unparsed-lines")
        found.append(f"unparsed {shown}, not {reference.unparsed}")
    losses = sorted(table.losses.drop("buffer").rows(named=True), key=str)
    if losses != sorted(reference.losses, key=str):
        found.append(f"losses {losses}, not {reference.losses}")
    return found


def _rows(what: str, mine: pl.DataFrame, other: list[dict[str, Any]]) -> list[str]:
    """The first row that differs, and whether there are as many."""
    rows = mine.rows(named=True)
    pairs = zip(rows, other, strict=False)
    first = next(((a, b) for a, b in pairs if a != b), None)
    found = [] if len(rows) == len(other) else [f"{len(rows)} {what}s, not {len(other)}"]
    if first is not None:
        a, b = first
        found.append(f"{what}: { ({k: (a[k], b.get(k)) for k in a if a[k] != b.get(k)}) }")
    return found

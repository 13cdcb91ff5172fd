"""Reads bytes with the ftrace text parser, whole, and compares with the line-by-line reference."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import polars as pl

from tests.ftrace_text_reference import Reference
from traceview.parsers import ftrace_text
from traceview.parsers.source import Source
from traceview.trace import Want
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from traceview.trace import Batch, Diagnostic

# What tlbi_operand.py adds to an instruction's own arguments.
DECODED = ("ipa", "pages", "level")


@dataclass(frozen=True)
class Table:
    """A whole file."""

    events: pl.DataFrame
    args: pl.DataFrame
    losses: pl.DataFrame
    skipped: dict[str, int]
    facts: dict[str, Any]
    diagnostics: dict[str, Diagnostic]
    batches: int

    def column(self, name: str) -> list[Any]:
        return self.events[name].to_list()

    def arg(self, name: str) -> dict[int, Any]:
        """The values of one argument, by seq."""
        rows = self.args.filter(pl.col("name") == name)
        return {row["seq"]: _either(row) for row in rows.rows(named=True)}

    @property
    def calls(self) -> list[tuple[str | None, str, int | None]]:
        """Symbol, phase and depth of what function_graph or a probe recorded."""
        return list(self.events.select("symbol", "phase", "depth").iter_rows())


def _either(row: dict[str, Any]) -> Any:
    return row["text"] if row["value"] is None else row["value"]


def read(
    data: bytes | str,
    *,
    all_events: bool = False,
    chunk_bytes: int = 1 << 22,
    batch_events: int = 250_000,
) -> Table:
    """Read *data* as the parser would a file."""
    raw = data.encode() if isinstance(data, str) else data
    source = Source("trace.txt", BytesIO(raw), len(raw))
    want = Want(Vocabulary.builtin(), all_events=all_events, batch_events=batch_events)
    batches = list(ftrace_text.read(source, want, lambda _: None, chunk_bytes=chunk_bytes))
    check_batches(batches)
    return Table(
        events=pl.concat([batch.events for batch in batches]),
        args=pl.concat([batch.args for batch in batches]).sort("seq", maintain_order=True),
        losses=pl.concat([batch.losses for batch in batches]),
        skipped=dict(sum((Counter(batch.skipped) for batch in batches), Counter())),
        facts={k: v for batch in batches for k, v in batch.facts.items()},
        diagnostics={d.code: d for batch in batches for d in batch.diagnostics},
        batches=len(batches),
    )


def check_batches(batches: list[Batch]) -> None:
    """What every batch must hold: seq increases, arguments speak of events of their batch."""
    last = -1
    for batch in batches:
        seq = batch.events["seq"]
        assert seq.is_sorted()
        assert seq.n_unique() == len(seq)
        if len(seq):
            assert seq[0] > last
            last = seq[-1]
        assert batch.args["seq"].is_in(seq.implode()).all()


def differences(data: bytes, *, all_events: bool, **reading: int) -> list[str]:
    """Where the parser and the reference disagree about *data*."""
    table = read(data, all_events=all_events, **reading)
    reference = Reference(Vocabulary.builtin(), all_events).read(data)
    found = []
    events = table.events.drop("buffer").rows(named=True)
    for mine, other in zip(events, reference.events, strict=False):
        if mine != other:
            found.append(str({k: (mine[k], other[k]) for k in mine if mine[k] != other[k]}))
            break
    if len(events) != len(reference.events):
        found.append(f"{len(events)} events, not {len(reference.events)}")
    insn = {e["seq"] for e in reference.events if e["evidence"] == "insn" and e["name"] == "tlbi"}
    args = Counter(a for a in table.args.iter_rows() if a[0] not in insn or a[1] not in DECODED)
    if args != Counter(reference.args):
        extra, missing = args - Counter(reference.args), Counter(reference.args) - args
        found.append(f"args: extra {list(extra)[:3]}, missing {list(missing)[:3]}")
    if table.skipped != reference.skipped:
        found.append(f"skipped {table.skipped}, not {reference.skipped}")
    unparsed = table.diagnostics.get("unparsed-lines")
    if (unparsed.count if unparsed else 0) != reference.unparsed:
        found.append(f"unparsed {unparsed}, not {reference.unparsed}")
    losses = sorted(table.losses.drop("buffer").rows(named=True), key=str)
    if losses != sorted(reference.losses, key=str):
        found.append(f"losses {losses}, not {reference.losses}")
    return found

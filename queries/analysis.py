"""One pass over each trace: calls -> unmaps, triggers, flushes, destroys, instructions.

Memory depends on a batch and on the number of unmaps, not on the size of the file: calls exist
while the unmap they belong to is open, unless a sink takes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from traceview.queries.call_table import CallTable
from traceview.queries.observer import priced
from traceview.queries.source_tables import SourceTables
from traceview.queries.steps import STEP_PATTERN
from traceview.schema import CALLS, frame
from traceview.trace import Batch, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from traceview.queries.calls import Chunk
    from traceview.queries.steps import StepIntervals
    from traceview.trace import Diagnostic

KEPT = (
    "sources", "unmaps", "traced_calls", "own_times", "triggers", "bystanders", "vcpus", "flushes",
    "destroys", "instructions", "samples", "losses", "event_counts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was found in one or more traces.

    Each frame has the columns of the schema of its name, preceded by `source_id` (Int32), the
    row of `sources`. Rows are in time order within a source. `instructions` is without cache lines
    (`dc`, 64 per page): unmaps count them, and a sink hears them. `samples` are those inside
    unmaps, without their callchains; a sink hears all, with them. `diagnostics`: (source_id, what).
    """

    sources: pl.DataFrame
    unmaps: pl.DataFrame
    traced_calls: pl.DataFrame
    own_times: pl.DataFrame
    tracing_costs: pl.DataFrame
    triggers: pl.DataFrame
    bystanders: pl.DataFrame
    vcpus: pl.DataFrame
    flushes: pl.DataFrame
    destroys: pl.DataFrame
    instructions: pl.DataFrame
    samples: pl.DataFrame
    losses: pl.DataFrame
    event_counts: pl.DataFrame
    diagnostics: tuple[tuple[int, Diagnostic], ...]


def analyze(
    traces: Trace | Sequence[Trace],
    *,
    step_pattern: str = STEP_PATTERN,
    steps: StepIntervals | None = None,
    sink: Callable[[int, str, pl.DataFrame], None] | None = None,
    all_events: bool = False,
    hear: Callable[[int, Batch, Chunk, SourceTables], None] | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Analysis:
    """Read *traces* once and answer everything.

    *sink* hears (source_id, table, rows) for the tables that are too large to keep, as they
    stream by: events, args, calls, instructions, samples; with *all_events* also the events
    and arguments that no question needs. Ids are positions among the events that were decoded: they
    agree within one call of this function, and between calls with the same *all_events*. *steps*
    places unmaps in steps where the trace has no markers. *hear* hears (source_id,
    batch, the calls that closed with it, tables of the source), the last batch of a source being
    empty. *progress* hears the fraction read, 0 to 1.

    Raises ParseError when a file cannot be read, SettingError when *step_pattern* or the clock of
    *steps* does not fit.
    """
    sources = [traces] if isinstance(traces, Trace) else list(traces)
    found = []
    for source_id, trace in enumerate(sources):
        tables = SourceTables(trace, step_pattern=step_pattern, steps=steps)
        call_table = CallTable(tables.functions)

        def advance(fraction: float, done: int = source_id) -> None:
            progress((done + fraction) / len(sources))

        for batch in trace.batches(all_events=all_events, progress=advance):
            chunk = tables.feed(batch)
            if hear is not None:
                hear(source_id, batch, chunk, tables)
            if sink is not None:
                sink(source_id, "events", batch.events)
                sink(source_id, "args", batch.args)
                _deliver(sink, source_id, tables, call_table.rows(chunk))
            del batch, chunk  # while the next batch is read, this one need not be in memory
        chunk = tables.finish()
        if hear is not None:
            hear(source_id, Batch(), chunk, tables)
        if sink is not None:
            _deliver(sink, source_id, tables, call_table.rows(chunk))
        found.append(tables)
    kept = {
        name: pl.concat(
            [_identified(frame(name), 0).clear()]
            + [_identified(t.table(name), number) for number, t in enumerate(found)]
        )
        for name in KEPT
    }
    diagnostics = tuple((n, d) for n, tables in enumerate(found) for d in tables.diagnostics())
    return priced(Analysis(**kept, tracing_costs=frame("tracing_costs"), diagnostics=diagnostics))


def _deliver(
    sink: Callable[[int, str, pl.DataFrame], None],
    source_id: int,
    tables: SourceTables,
    closed: pl.DataFrame,
) -> None:
    """What became final with the latest batch: the calls that *closed*, and what they hold."""
    sink(source_id, "calls", closed)
    sink(source_id, "instructions", tables.instructions)
    sink(source_id, "samples", tables.samples)


def _identified(rows: pl.DataFrame, source_id: int) -> pl.DataFrame:
    return rows.select(pl.lit(source_id, dtype=pl.Int32).alias("source_id"), pl.all())


def calls(trace: Trace) -> pl.DataFrame:
    """Every traced call of *trace*: schema.CALLS, in order of start. About 130 bytes a call."""
    parts: list[pl.DataFrame] = [pl.DataFrame(schema=CALLS)]

    def keep(_: int, table: str, rows: pl.DataFrame) -> None:
        if table == "calls":
            parts.append(rows)

    analyze(trace, sink=keep)
    return pl.concat(parts).sort("call_id")


def unmaps(trace: Trace | Iterable[Trace]) -> pl.DataFrame:
    """One row per `kvm_pgtable_stage2_unmap`: source_id and schema.UNMAPS, in order of start."""
    return analyze(trace if isinstance(trace, Trace) else list(trace)).unmaps

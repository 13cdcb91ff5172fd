"""One pass over each trace: calls -> unmaps, triggers, flushes, destroys, instructions.

Memory depends on a batch and on the number of unmaps, not on the size of the file: calls exist
while the unmap they belong to is open, unless a sink takes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import polars as pl

    from traceview.queries.steps import StepIntervals
    from traceview.trace import Diagnostic, Trace

# A marker that opens or closes a step: "KVMLAB begin s03.1 dontneed ..." and "... end s03.1 ...".
STEP_PATTERN = r"\b(?P<edge>begin|end)\s+(?P<id>\S+)"

Sink = "Callable[[str, pl.DataFrame], None]"


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was found in one or more traces.

    Each frame has the columns of the schema of its name, preceded by `source_id` (Int32), the
    row of `sources`. Rows are in time order within a source. `diagnostics`: (source_id, what).
    """

    sources: pl.DataFrame
    unmaps: pl.DataFrame
    triggers: pl.DataFrame
    flushes: pl.DataFrame
    destroys: pl.DataFrame
    instructions: pl.DataFrame
    losses: pl.DataFrame
    event_counts: pl.DataFrame
    diagnostics: tuple[tuple[int, Diagnostic], ...]


def analyze(
    traces: Trace | Sequence[Trace],
    *,
    step_pattern: str = STEP_PATTERN,
    steps: StepIntervals | None = None,
    sink: Callable[[int, str, pl.DataFrame], None] | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> Analysis:
    """Read *traces* once and answer everything.

    *sink* hears (source_id, table, rows) for the tables that are too large to keep, as they
    stream by: events, args, calls (schema.EVENTS, ARGS, CALLS). *steps* places unmaps in steps
    where the trace has no markers. *progress* hears the fraction read, 0 to 1.
    """
    raise NotImplementedError


def calls(trace: Trace) -> pl.DataFrame:
    """Every traced call of *trace*: schema.CALLS, in order of start."""
    raise NotImplementedError


def unmaps(trace: Trace | Iterable[Trace]) -> pl.DataFrame:
    """One row per `kvm_pgtable_stage2_unmap`: source_id and schema.UNMAPS, in order of start."""
    raise NotImplementedError

"""A simulated recording as ftrace text: tracefs `trace` of the tracer function_graph or nop.

Losses are said as `trace_pipe` says them, `CPU:1 [LOST 136 EVENTS]` before the first event behind
them; also behind the last event of a CPU, which no kernel prints. Where something was lost, the
header states no number of entries, as that would count it a second time.

Text cannot say everything: function_graph cuts names of tasks to 7 bytes, and the digits of
durations as they grow; times are in microseconds; the clock is not named. Source of truth: kernel/
trace/trace.c (print_trace_header, print_trace_line) of Linux 6.12.
"""

from __future__ import annotations

import shutil
import tempfile
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.simulate.ftrace_text_events import EventBodies, EventLines, header
from traceview.simulate.ftrace_text_graph import HEADER, GraphLines
from traceview.simulate.record_columns import EXIT, Symbols, TaskNames, columns
from traceview.simulate.recording import KINDS, RECORDS
from traceview.simulate.text_columns import content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import BinaryIO

    from traceview.simulate.record_columns import Columns
    from traceview.simulate.recording import Recorded

COPY_BYTES: Final = 1 << 20


def write_ftrace_text(
    recorded: Recorded, file: BinaryIO, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Write all of *recorded*; *progress* hears how many records were written so far."""
    batches = iter(recorded.batches)
    ahead = next((batch for batch in batches if batch.height), pl.DataFrame(schema=RECORDS))
    graph = _is_graph(recorded, ahead)
    batches = chain([ahead], batches)
    del ahead
    symbols, names = Symbols(), TaskNames(recorded.tasks)
    bodies = EventBodies(recorded, symbols)
    if graph:
        file.write(HEADER.encode())
        lines = GraphLines(symbols, names, bodies, recorded.cpus)
        _write_graph(batches, lines, symbols, file, progress)
        file.write(_lost_at_end(recorded))
        return
    events = EventLines(names, bodies, recorded.cpus)
    with tempfile.TemporaryFile(prefix="traceview-") as body:
        kept = lost = 0
        for batch in batches:
            rows = columns(batch, symbols)
            body.write(content(events.text(rows, _lost_lines(rows))))
            kept, lost = kept + len(rows), lost + int(rows.lost_before.sum())
            progress(kept)
        lost += sum(recorded.lost_at_end.values())  # complete only now
        body.write(_lost_at_end(recorded))
        file.write(header(None if lost else kept, recorded.cpus).encode())
        body.seek(0)
        shutil.copyfileobj(body, file, COPY_BYTES)


def _is_graph(recorded: Recorded, first: pl.DataFrame) -> bool:
    """Whether the tracer is function_graph."""
    if recorded.graph is not None:
        return recorded.graph
    functions = first["kind"].is_in(list(KINDS[: EXIT + 1])).any()
    return bool(functions) or not (recorded.probes or recorded.returns)


def _write_graph(
    batches: Iterable[pl.DataFrame], lines: GraphLines, symbols: Symbols, file: BinaryIO,
    progress: Callable[[int], None],
) -> None:  # fmt: skip
    """The lines of all batches."""
    waiting: Columns | None = None
    done = 0
    for batch in batches:
        rows = columns(batch if waiting is None else pl.concat([waiting.rows, batch]), symbols)
        text, shown = lines.text(rows, _lost_lines(rows), more=True)
        file.write(content(text))
        waiting = rows.behind(shown)
        done += batch.height
        progress(done)
    if waiting is not None and len(waiting):
        file.write(content(lines.text(waiting, _lost_lines(waiting), more=False)[0]))


def _lost_lines(rows: Columns) -> pl.Series | None:
    """What stands before each row; None: nothing anywhere."""
    at = np.flatnonzero(rows.lost_before)
    if not at.size:
        return None
    said = [
        _lost(cpu, count)
        for cpu, count in zip(rows.cpu[at].tolist(), rows.lost_before[at].tolist(), strict=True)
    ]
    return pl.repeat("", len(rows), eager=True).scatter(at, said)


def _lost_at_end(recorded: Recorded) -> bytes:
    lost = sorted(recorded.lost_at_end.items())
    return "".join(_lost(cpu, count) for cpu, count in lost if count).encode()


def _lost(cpu: int, count: int) -> str:
    return f"CPU:{cpu} [LOST {count} EVENTS]\n"

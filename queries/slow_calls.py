"""The calls of the slowest unmaps, kept while traces are read: what a waterfall draws.

Only the slowest unmaps so far are kept, and of one with very many calls the longest; the others are
merged, so that memory depends on neither the size of the trace nor that of an unmap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from traceview.queries.analysis import analyze
from traceview.queries.call_table import CallTable
from traceview.queries.calls import OPEN, STATUS, Chunk
from traceview.queries.functions import OP
from traceview.queries.rows import NIL, take
from traceview.queries.unmaps import call_components, place
from traceview.schema import NAME, OPERATION, TIMED_COMPONENTS
from traceview.schema import STATUS as STATUS_TYPE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from traceview.queries.rows import Ints
    from traceview.queries.source_tables import SourceTables
    from traceview.trace import Batch, Trace

UNMAPS: Final = 20
# Of an unmap with more calls than this the longest are kept, the others merged.
CALLS: Final = 1_000
COMPONENT: Final = pl.Enum([*TIMED_COMPONENTS, "rest"])

SLOW_CALLS: Final = {
    "source_id": pl.Int32(),
    "unmap_id": pl.Int64(),
    "call_id": pl.Int64(),  # of several merged ones the first
    "parent_id": pl.Int64(),
    "symbol": NAME,  # null: several merged calls, of one component and depth
    "operation": OPERATION,
    "component": COMPONENT,
    "offset_ns": pl.Int64(),  # from the start of the unmap
    "duration_ns": pl.Int64(),  # of several the sum, as if they had come one behind another
    "self_ns": pl.Int64(),  # not in calls inside; of several the sum
    "depth": pl.Int32(),  # 0: the unmap itself
    "status": STATUS_TYPE,
    "cpu": pl.Int32(),
    "calls": pl.Int64(),  # how many calls the row stands for
}
ORDER: Final = ("offset_ns", "depth", "call_id")


@dataclass(frozen=True, slots=True)
class _Kept:
    duration_ns: int
    source_id: int
    unmap_id: int
    calls: pl.DataFrame


class SlowCalls:
    """Hears what `analyze` hears (its argument *hear*) and keeps the calls of the slowest unmaps.

    *wanted*: keep those of exactly these (source_id, unmap_id) instead.
    """

    def __init__(
        self, unmaps: int = UNMAPS, wanted: Collection[tuple[int, int]] | None = None
    ) -> None:
        """Start with none."""
        self._most = unmaps
        self._wanted = None if wanted is None else frozenset(wanted)
        self._kept: list[_Kept] = []

    def hear(self, source_id: int, _: Batch, chunk: Chunk, tables: SourceTables) -> None:
        """Take what closed with a batch."""
        chosen = self._slow(source_id, chunk)
        if not chosen.size:
            return
        calls = chunk.calls
        inside = np.zeros(calls["task"].size, dtype=bool)
        for at in chosen.tolist():
            inside |= (
                (calls["task"] == calls["task"][at])
                & (calls["start_seq"] >= calls["start_seq"][at])
                & (calls["end_seq"] <= calls["end_seq"][at])
            )
        rows = _rows(Chunk(take(calls, inside), {}), tables)
        for at in chosen.tolist():
            unmap_id = int(calls["start_seq"][at])
            of = fewer(_placed(rows.filter(pl.col("unmap_id") == unmap_id), source_id), CALLS)
            self._kept.append(_Kept(int(calls["duration_ns"][at]), source_id, unmap_id, of))
        if self._wanted is None:
            self._kept.sort(key=lambda one: (-one.duration_ns, one.source_id, one.unmap_id))
            del self._kept[self._most :]

    def table(self) -> pl.DataFrame:
        """SLOW_CALLS: the unmaps by duration, the longest first; their calls in order of start."""
        empty = pl.DataFrame(schema=SLOW_CALLS)
        return pl.concat([empty, *(one.calls for one in self._kept)])

    def _slow(self, source_id: int, chunk: Chunk) -> Ints:
        """The rows of unmaps that are among the slowest so far."""
        calls = chunk.calls
        whole = (calls["operation"] == OP["unmap"]) & (calls["status"] == STATUS["complete"])
        at: Ints = np.flatnonzero(whole & (calls["duration_ns"] != NIL))
        if self._wanted is not None:
            ids = calls["start_seq"][at].tolist()
            mine = [(source_id, unmap_id) in self._wanted for unmap_id in ids]
            found: Ints = at[np.array(mine, dtype=bool)]
            return found
        duration = calls["duration_ns"][at]
        if len(self._kept) == self._most:
            at = at[duration > self._kept[-1].duration_ns]
            duration = calls["duration_ns"][at]
        # Of equally long ones the first, as in the tables of the report.
        slowest: Ints = at[np.argsort(-duration, kind="stable")[: self._most]]
        return slowest


def slow_calls(
    unmaps: pl.DataFrame, heard: SlowCalls, traces: Sequence[Trace], **steps: Any
) -> pl.DataFrame:
    """SLOW_CALLS of the slowest of *unmaps*, which *heard* kept or a second reading finds.

    *unmaps*: schema.UNMAPS with source_id, what filters left of those of *traces*, in order;
    *steps*: what `analyze` was given to read them. Only traces of which filters kept others than
    the slowest are read again.
    """
    whole = unmaps.filter(pl.col("status") == "complete").drop_nulls("duration_ns")
    slowest = whole.sort("duration_ns", "source_id", "unmap_id", descending=[True, False, False])
    wanted = slowest.head(UNMAPS).select("source_id", "unmap_id")
    found = [heard.table()]
    missing = wanted.join(found[0], on=["source_id", "unmap_id"], how="anti")
    for (source_id,), of in missing.group_by("source_id", maintain_order=True):
        again = SlowCalls(wanted={(0, unmap_id) for unmap_id in of["unmap_id"]})
        analyze(traces[int(str(source_id))], hear=again.hear, **steps)
        found.append(again.table().with_columns(pl.lit(source_id, pl.Int32).alias("source_id")))
    return wanted.join(
        pl.concat(found), on=["source_id", "unmap_id"], maintain_order="left_right"
    ).select(*SLOW_CALLS)


def _rows(chunk: Chunk, tables: SourceTables) -> pl.DataFrame:
    """schema.CALLS of *chunk*, with the component of each."""
    placed = place(chunk)
    final = chunk.calls["status"] != OPEN
    component = call_components(placed, tables.functions, tables.page_bytes)[final]
    names = np.array([*COMPONENT.categories])
    return (
        CallTable(tables.functions)
        .rows(chunk)
        .with_columns(pl.Series("component", names[component], dtype=pl.String).cast(COMPONENT))
    )


def _placed(rows: pl.DataFrame, source_id: int) -> pl.DataFrame:
    """The calls of one unmap as SLOW_CALLS, seen from it."""
    own = rows.filter(pl.col("call_id") == pl.col("unmap_id"))
    start, depth = own["start_ns"][0], own["depth"][0]
    return rows.select(
        pl.lit(source_id, pl.Int32).alias("source_id"), "unmap_id", "call_id", "parent_id",
        "symbol", "operation", "component", (pl.col("start_ns") - start).alias("offset_ns"),
        "duration_ns", "self_ns", (pl.col("depth") - depth).alias("depth"), "status", "cpu",
        pl.lit(1, pl.Int64).alias("calls"),
    )  # fmt: skip


def fewer(rows: pl.DataFrame, most: int) -> pl.DataFrame:
    """The calls of one unmap in about *most* rows of SLOW_CALLS: the longest, the others merged.

    Between calls that are kept, and within a stretch of time, those of one depth and component
    become one row as long as all of them; the rows of a stretch lie one behind another, in order of
    their first call, so that widths are times though places are not. Calls without a time have no
    place in it: those of a depth and component become one row without a time.
    """
    if len(rows) <= most:
        return rows
    timed = rows.filter(pl.col("duration_ns").is_not_null())
    if len(timed) < len(rows):
        others = _as_one(rows.filter(pl.col("duration_ns").is_null()))
        return pl.concat([fewer(timed, most), others]).sort(*ORDER)
    components = rows.select(pl.struct("depth", "component").n_unique()).item()
    stretches = max(1, most // (2 * components))
    span = max(1, int(rows["duration_ns"].max() or 1))  # type: ignore[arg-type]
    place = ["depth", "behind", "stretch"]
    rows = rows.sort("depth", "offset_ns")
    rank = pl.col("duration_ns").rank("ordinal", descending=True)
    rows = rows.with_columns((rank <= most // 4).alias("long")).with_columns(
        pl.col("long").cum_sum().over("depth").alias("behind"),
        (pl.col("offset_ns") * stretches // span).alias("stretch"),
    )
    merged = (
        rows.filter(~pl.col("long"))
        .group_by(*place, "component", maintain_order=True)
        .agg(
            pl.col("source_id", "unmap_id", "call_id", "parent_id", "symbol").first(),
            pl.col("operation", "status", "cpu").first(),
            pl.col("offset_ns").min(),
            pl.col("duration_ns", "self_ns", "calls").sum(),
        )
        .with_columns(
            (
                pl.col("offset_ns").min() + pl.col("duration_ns").cum_sum() - pl.col("duration_ns")
            ).over(place),
            pl.when(pl.col("calls") == 1).then("parent_id").alias("parent_id"),
            pl.when(pl.col("calls") == 1).then("symbol").alias("symbol"),
        )
    )
    parts = [rows.filter(pl.col("long")).select(*SLOW_CALLS), merged.select(*SLOW_CALLS)]
    return pl.concat(parts).sort(*ORDER)


def _as_one(rows: pl.DataFrame) -> pl.DataFrame:
    """Calls without a time, those of one depth and component as one row."""
    merged = rows.group_by("depth", "component", maintain_order=True).agg(
        pl.col("source_id", "unmap_id", "call_id", "operation", "status", "cpu").first(),
        pl.when(pl.len() == 1).then(pl.col("parent_id").first()).alias("parent_id"),
        pl.when(pl.len() == 1).then(pl.col("symbol").first()).alias("symbol"),
        pl.col("offset_ns").min(),
        pl.lit(None, pl.Int64).alias("duration_ns"),
        pl.col("self_ns", "calls").sum(),
    )
    return merged.select(*SLOW_CALLS)

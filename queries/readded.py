"""Unmaps once more, from the calls inside them: what schema.CALLS lets a reader add up again.

The calls of a recording are too many to keep; of a folder of evidence, those inside unmaps are
kept, as rows. From these come back which call lies in which (`parent_id`), and so, by the code that
made them, every count and component of an unmap, its leaves, strategy and status. What a call does
is asked of the vocabulary again. Not in calls, and so taken as stated: who asked for an unmap
(`trigger`), its step and its task's name; time off the CPU, which is known in sum and not where it
fell: where there was some, a component may be smaller than its calls by no more than that. Which
functions were traced at all (`Traced`) is a fact of the whole recording, and given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.arguments import ARGUMENTS
from traceview.queries.breakdown import Traced, break_down, without_cut_off
from traceview.queries.calls import Chunk
from traceview.queries.functions import OP, Functions
from traceview.queries.instructions import KINDS, count_per_unmap
from traceview.queries.losses import FOREVER, Losses
from traceview.queries.rows import NIL, codes, whole
from traceview.queries.same_rows import Difference
from traceview.queries.source_tables import as_frame
from traceview.queries.unmaps import observe_unmaps, place
from traceview.schema import COMPONENTS, EVIDENCE, TRACED_CALLS, UNMAPS, conform

if TYPE_CHECKING:
    from traceview.queries.rows import Ints, Rows
    from traceview.vocabulary import Vocabulary

# Of schema.UNMAPS: what calls do not say.
STATED: Final = frozenset({
    "comm", "step", "trigger", "trigger_id", "probe_ns", "probe_low_ns", "probe_high_ns",
    *KINDS.values(),
})  # fmt: skip
READDED: Final = tuple(name for name in UNMAPS if name not in STATED)
TRACEPOINT: Final = EVIDENCE.index("tracepoint")
NOWHERE: Final = (np.zeros(0, dtype=np.int64),) * 3  # times off the CPU: none is known


@dataclass(slots=True)
class Readded:
    """What came of the unmaps of one source.

    `calls`, `unmaps`: how many were looked at. `off_cpu`: of how many unmaps the components are
    known within the time that their task was off the CPU.
    """

    calls: int
    unmaps: int
    off_cpu: int
    differences: list[Difference]


class Readding:
    """Adds up the unmaps of one source again: `add` its calls, then `against` its tables."""

    def __init__(self, vocabulary: Vocabulary, traced: Traced, page_bytes: int) -> None:
        """Start with none."""
        self._functions = Functions(vocabulary)
        self._traced, self._page_bytes = traced, page_bytes
        self._raw: list[pl.DataFrame] = []
        self._calls = 0
        self._differences: list[Difference] = []

    def add(self, calls: pl.DataFrame) -> None:
        """Take *calls* (schema.CALLS): of each unmap that occurs in them, all."""
        self._calls += len(calls)
        calls = calls.sort("unmap_id", "call_id")
        rows = self._rows(calls)
        self._check(calls, rows)
        _, row = observe_unmaps(
            place(Chunk(rows, {})), self._functions, self._page_bytes, NOWHERE, Losses()
        )
        self._raw.append(as_frame(row))

    def against(
        self, unmaps: pl.DataFrame, traced_calls: pl.DataFrame, instructions: pl.DataFrame
    ) -> tuple[Readded, str]:
        """What differs from the tables of the source; and its `table_invalidation`."""
        found = Readded(self._calls, len(unmaps), 0, self._differences)
        if not self._raw:
            if len(unmaps):
                found.differences.append(Difference("unmaps that have calls", len(unmaps), 0))
            return found, "unknown"
        raw = pl.concat(self._raw).sort("call_id").with_columns(
            without_cut_off(), pl.col("call_id").alias("unmap_id"),
            pl.lit(None, pl.String).alias("trigger_kind"),
        )  # fmt: skip
        away = unmaps.select("unmap_id", pl.col("off_cpu_ns").fill_null(0).alias("t_off_cpu"))
        raw = raw.drop("t_off_cpu").join(away, on="unmap_id", how="left", maintain_order="left")
        raw = raw.with_columns(pl.col("t_off_cpu").fill_null(0))
        derived, table_invalidation = break_down(raw, self._traced)
        found.off_cpu = int((away["t_off_cpu"] > 0).sum())
        found.differences += _other_ids(unmaps, derived)
        found.differences += _differing(unmaps, conform("unmaps", derived), READDED)
        names = tuple(TRACED_CALLS)
        found.differences += _differing(traced_calls, conform("traced_calls", derived), names)
        if unmaps["tlbi_insns"].null_count() < len(unmaps):
            found.differences += _instructions(unmaps, instructions)
        return found, table_invalidation

    def _rows(self, calls: pl.DataFrame) -> Rows:
        """The columns of Chunk.calls, an unmap taken for a task of its own."""
        start = whole(calls["call_id"])
        rows: Rows = {
            "task": whole(calls["unmap_id"]), "start_seq": start, "end_seq": ends(calls),
            "function": self._functions.of_symbols(calls["symbol"]).astype(np.int64),
            "comm": np.full(start.size, -1, dtype=np.int64),
        }  # fmt: skip
        for name in ("cpu", "tid", "start_ns", "duration_ns", *ARGUMENTS):
            rows[name] = whole(calls[name])
        for name in ("operation", "status", "evidence"):
            rows[name] = codes(calls[name])
        return rows

    def _check(self, calls: pl.DataFrame, rows: Rows) -> None:
        """Whether calls are what the vocabulary says, and their own times what is left of them."""
        known = self._functions.operations()[rows["function"]].astype(np.int64)
        events = rows["evidence"] == TRACEPOINT
        known[events] = self._of_events(calls["symbol"].filter(pl.Series(events)))
        inside = (
            calls.drop_nulls("parent_id").group_by("parent_id").agg(pl.col("duration_ns").sum())
        )
        own = calls.join(
            inside, left_on="call_id", right_on="parent_id", how="left", maintain_order="left",
            suffix="_inside",
        ).select(
            "call_id", "self_ns",
            found=pl.col("duration_ns") - pl.col("duration_ns_inside").fill_null(0),
        )  # fmt: skip
        wrong = own.filter(pl.col("self_ns").ne_missing(pl.col("found")))
        self._differences += [
            Difference(f"self_ns of call {call}", stated, found)
            for call, stated, found in wrong.head(1).iter_rows()
        ]
        at = np.flatnonzero(known != rows["operation"])[:1]
        names = list(OP)
        self._differences += [
            Difference(
                f"operation of call {calls['call_id'][i]}", calls["operation"][i], names[known[i]]
            )
            for i in at.tolist()
        ]

    def _of_events(self, symbols: pl.Series) -> Ints:
        meaning = {
            name: self._functions.vocabulary.event(name)
            for name in symbols.cast(pl.String).unique().drop_nulls().to_list()
        }
        other = OP["other"]
        number = {
            name: other if one is None else OP[one.operation] for name, one in meaning.items()
        }
        values = [number.get(name, other) for name in symbols.cast(pl.String).to_list()]
        return np.array(values, dtype=np.int64)


def ends(calls: pl.DataFrame) -> Ints:
    """Of each call, the last of the calls inside it (itself if none): an end that nests the same.

    Of the calls of whole unmaps; rows in any order, the deepest settled first. An unmap ends
    behind every call that names it: where frames that lost their exits cross, the parent of a call
    may be another one.
    """
    start = whole(calls["call_id"])
    order = np.argsort(start, kind="stable")
    by_id = start[order]
    parent = whole(calls["parent_id"])
    at = np.minimum(np.searchsorted(by_id, parent), max(0, start.size - 1))
    known = (parent != NIL) & (by_id[at] == parent) if start.size else np.zeros(0, dtype=bool)
    up = order[at]
    end = start.copy()
    depth = whole(calls["depth"])
    for level in np.unique(depth[known])[::-1].tolist():
        mine = np.flatnonzero(known & (depth == level))
        np.maximum.at(end, up[mine], end[mine])
    unmap = whole(calls["unmap_id"])
    at = np.minimum(np.searchsorted(by_id, unmap), max(0, start.size - 1))
    named = np.flatnonzero(by_id[at] == unmap) if start.size else at
    np.maximum.at(end, order[at[named]], start[named])
    end[end == FOREVER] -= 1  # no position: a damaged id
    return end


def _other_ids(unmaps: pl.DataFrame, derived: pl.DataFrame) -> list[Difference]:
    """Unmaps that one of both does not have."""
    one, other = (set(rows["unmap_id"].to_list()) for rows in (unmaps, derived))
    return [
        *(Difference(f"unmap {name}", "there", "no calls") for name in sorted(one - other)[:3]),
        *(Difference(f"unmap {name}", "not there", "calls") for name in sorted(other - one)[:3]),
    ]


def _differing(
    stated: pl.DataFrame, derived: pl.DataFrame, names: tuple[str, ...]
) -> list[Difference]:
    """The first row of each column that differs."""
    both = stated.join(derived, on="unmap_id", how="inner", maintain_order="left", suffix="_again")
    found = []
    for name in names:
        if name == "unmap_id":
            continue
        differs = pl.col(name).ne_missing(pl.col(f"{name}_again"))
        if name in COMPONENTS:
            away = pl.col("off_cpu_ns").fill_null(0)
            over = (pl.col(f"{name}_again") - pl.col(name)) * (-1 if name == "rest_ns" else 1)
            differs &= ~((away > 0) & over.is_between(0, away)).fill_null(value=False)
        row = both.filter(differs).select("unmap_id", name, f"{name}_again").head(1)
        found += [
            Difference(f"{name} of unmap {number}", one, again)
            for number, one, again in row.iter_rows()
        ]
    return found


def _instructions(unmaps: pl.DataFrame, instructions: pl.DataFrame) -> list[Difference]:
    """Executed instructions that are kept; cache lines are kept as counts alone."""
    counts = count_per_unmap(instructions)
    names = tuple(name for kind, name in KINDS.items() if kind != "dc")
    again = unmaps.select("unmap_id").join(counts, on="unmap_id", how="left", maintain_order="left")
    return _differing(unmaps, again.with_columns(pl.col(names).fill_null(0)), names)

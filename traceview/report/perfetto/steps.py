"""When steps began and ended: from markers of the trace, or from the user's step file.

Only whole steps, as the analysis counts them: of one whose end was lost nobody knows the extent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from traceview.report.perfetto.unmap_tracks import TASK

if TYPE_CHECKING:
    from traceview.queries.steps import StepIntervals
    from traceview.trace import Batch


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a task."""

    task: str
    name: str
    begin_ns: int
    end_ns: int


class MarkedSteps:
    """The steps that markers make, collected batch by batch; `comms` names their tasks."""

    def __init__(self, pattern: str) -> None:
        """*pattern* has the groups `edge` and `id`; the analysis has checked that."""
        self.steps: list[Step] = []
        self.comms: dict[str, str] = {}
        self._pattern = re.compile(pattern)
        self._begun: dict[tuple[str, str], int] = {}

    def add(self, batch: Batch) -> None:
        """Take the markers of a batch."""
        marker, timed = pl.col("evidence") == "marker", pl.col("ts_ns") >= 0
        comm = pl.col("comm").cast(pl.String)
        markers = batch.events.filter(marker, timed).select("seq", "ts_ns", TASK, comm)
        if markers.is_empty():
            return
        texts = batch.args.filter(pl.col("text").is_not_null()).select("seq", "text")
        found = markers.join(texts, on="seq", how="inner", maintain_order="left")
        for at_ns, task, comm, text in found.select("ts_ns", "task", "comm", "text").iter_rows():
            match = self._pattern.search(text)
            if match is None:
                continue
            if comm is not None:
                self.comms.setdefault(task, comm)
            key = task, match["id"]
            if match["edge"] != "end":
                self._begun[key] = at_ns
            elif key in self._begun:
                begun = self._begun.pop(key)
                self.steps.append(Step(*key, begun, max(begun, at_ns)))


def stated_steps(intervals: StepIntervals) -> list[Step]:
    """The steps of a step file."""
    rows = zip(intervals.ids, intervals.begin_ns, intervals.end_ns, intervals.tids, strict=True)
    return [
        Step("all tasks" if tid is None else f"tid {tid}", name, begin, end)
        for name, begin, end, tid in rows
        if begin >= 0
    ]

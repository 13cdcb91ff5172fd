"""The tracks of a whole trace: counters, lost events, findings, caveats and diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.report.audit import CHECKS
from traceview.report.perfetto.intervals import united
from traceview.report.perfetto.sequence import Annotation
from traceview.report.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from traceview.byte_columns import Ints
    from traceview.queries.audit_results import Audit
    from traceview.report.caveat import Caveat
    from traceview.report.perfetto.sequence import Sequence as PacketSequence

INVALIDATIONS: Final = (
    "invalidate_leaf_ns", "invalidate_table_ns", "invalidate_ipa_ns", "invalidate_range_ns",
)  # fmt: skip
FINDING_NUMBERS: Final = ("unmap_id", "call_id", "cpu", "tid")
RANKS: Final = {"counters": 0, "findings": 10, "caveats": 20, "diagnostics": 21, "lost": 30}


class TraceTracks:
    """Makes the tracks that belong to no task."""

    def __init__(
        self, sequence: PacketSequence, root: int, times: str, span: tuple[int, int]
    ) -> None:
        """*times* says in names what the times are; *span*: the first and last of the trace."""
        self._sequence, self._root, self._times = sequence, root, times
        self._first_ns, self._last_ns = span

    def counters(self, unmaps: pl.DataFrame) -> None:
        """Time per leaf, unmaps in progress, and the time of components, added up."""
        timed = unmaps.filter(pl.col("start_ns") >= 0, pl.col("duration_ns") >= 0)
        whole = timed.filter(pl.col("status") == "complete").sort("start_ns", maintain_order=True)
        mapped = whole.filter(pl.col("leaves") > 0)
        self._counter(
            "ns per leaf", "of the complete unmap that began last", mapped["start_ns"],
            (mapped["duration_ns"] / mapped["leaves"]).to_numpy(), unit_name="ns/leaf",
        )  # fmt: skip
        counted = timed.filter(pl.col("status").is_in(["complete", "contaminated"]))
        times, values = _in_progress(counted)
        self._counter(
            "unmaps in progress", "between their entry and their return", times, values,
            unit=pb.CounterDescriptor.UNIT_COUNT,
        )  # fmt: skip
        for name, columns in (("invalidation", INVALIDATIONS), ("cache maintenance", ("cmo_ns",))):
            times, values = _cumulative(whole, columns)
            self._counter(
                f"{name}, added up", "over complete unmaps, at the end of each", times, values,
                unit=pb.CounterDescriptor.UNIT_TIME_NS,
            )  # fmt: skip

    def _counter(
        self, name: str, description: str, at: pl.Series, values: Any, **unit: Any
    ) -> None:
        if at.is_empty():
            return
        track = self._sequence.track(
            "counter", name, name=f"{name}{self._times}", parent=self._root,
            description=description, counter=pb.CounterDescriptor(**unit),
        )  # fmt: skip
        self._sequence.counter(track, at.to_numpy(), values)

    def losses(self, losses: pl.DataFrame, *, known: bool) -> None:
        """Where events are missing: a track per CPU; what has no place is said at the start.

        Each buffer of a CPU loses by itself, so losses of one CPU may overlap.
        """
        placed = losses.filter(pl.col("from_ns").is_not_null() | pl.col("to_ns").is_not_null())
        cpus = pl.format("CPU {}", pl.col("cpu").cast(pl.String).fill_null("unknown"))
        rows = placed.with_columns(
            task=cpus,
            start_ns=pl.col("from_ns").fill_null(self._first_ns).clip(lower_bound=0),
            name=_loss_names(placed),
        )
        end = pl.col("to_ns").fill_null(self._last_ns)
        rows = rows.with_columns(end_ns=pl.max_horizontal(end, "start_ns"))
        for (task,), mine in rows.group_by("task", maintain_order=True):
            drawn = united(mine.select("start_ns", "end_ns", "name", "count"), "name")
            track = self._sequence.track(
                "lost", task, name=f"lost events, {task}", parent=self._root, rank=RANKS["lost"]
            )
            tracks = np.full(len(drawn), track, dtype=np.uint64)
            start, end_ns = (drawn[name].to_numpy() for name in ("start_ns", "end_ns"))
            said = self._sequence.annotations([Annotation("count", "int", drawn["count"])])
            names = self._sequence.names(drawn["name"])
            self._sequence.slices(tracks, start, end_ns, names, said)
        nowhere = losses.filter(pl.col("from_ns").is_null() & pl.col("to_ns").is_null())
        texts = [f"{name}, where is not known" for name in _loss_names(nowhere)]
        texts += [] if known else ["this format does not say whether events were lost"]
        self._texts("lost", "lost events, not placed", [(one, None) for one in texts])

    def findings(self, found: Audit) -> None:
        """What the audit found, each at its unmap or flush."""
        rows = found.findings
        if rows.is_empty():
            return
        track = self._sequence.track(
            "findings", name="audit findings", parent=self._root, rank=RANKS["findings"]
        )
        labels = [
            f"{CHECKS[check][0] if check in CHECKS else check}: {text}"
            for check, text in rows.select("check", "text").iter_rows()
        ]
        said = self._sequence.annotations([
            *(Annotation(name, "int", rows[name]) for name in FINDING_NUMBERS),
            *(Annotation(name, "text", rows[name]) for name in ("severity", "check", "step")),
        ])  # fmt: skip
        at = rows["start_ns"].fill_null(self._first_ns).clip(lower_bound=0).to_numpy()
        tracks = np.full(len(rows), track, dtype=np.uint64)
        names = self._sequence.names(pl.Series(labels, dtype=pl.String))
        self._sequence.instants(tracks, at, names, said)

    def texts(self, caveats: Iterable[Caveat], found: Audit) -> None:
        """Caveats and diagnostics, which are about all of the trace: at its start."""
        said = [(one.text, one.code) for one in caveats]
        self._texts("caveats", "caveats", said)
        diagnostics = [
            (f"{one.severity}: {one.message}", one.code) for _, one in found.whole.diagnostics
        ]
        self._texts("diagnostics", "diagnostics", diagnostics)

    def _texts(self, kind: str, name: str, texts: Sequence[tuple[str, str | None]]) -> None:
        if not texts:
            return
        track = self._sequence.track(
            "texts", name, name=name, parent=self._root, rank=RANKS[kind]
        )  # fmt: skip
        codes = pl.Series([code for _, code in texts], dtype=pl.String)
        names = self._sequence.names(pl.Series([text for text, _ in texts], dtype=pl.String))
        said = self._sequence.annotations([Annotation("code", "text", codes)])
        at: Ints = np.full(len(texts), self._first_ns)
        tracks = np.full(len(texts), track, dtype=np.uint64)
        self._sequence.instants(tracks, at, names, said)


def _loss_names(losses: pl.DataFrame) -> pl.Series:
    names = [
        f"{kind or 'lost events'}" + ("" if lost is None else f": {count(lost)} events")
        for kind, lost in losses.select(pl.col("kind").cast(pl.String), "count").iter_rows()
    ]
    return pl.Series("name", names, dtype=pl.String)


def _in_progress(unmaps: pl.DataFrame) -> tuple[pl.Series, Ints]:
    """Whenever it changes, how many unmaps are in progress."""
    begin, end = unmaps["start_ns"], unmaps["start_ns"] + unmaps["duration_ns"]
    steps = pl.concat([
        pl.DataFrame({"at": begin, "step": pl.repeat(1, len(begin), dtype=pl.Int64, eager=True)}),
        pl.DataFrame({"at": end, "step": pl.repeat(-1, len(end), dtype=pl.Int64, eager=True)}),
    ])  # fmt: skip
    at = steps.group_by("at").agg(pl.col("step").sum()).sort("at")
    return at["at"], at["step"].cum_sum().to_numpy()


def _cumulative(unmaps: pl.DataFrame, columns: tuple[str, ...]) -> tuple[pl.Series, Ints]:
    """The sum of *columns* up to the end of each unmap; nothing where none of them is known."""
    known = unmaps.filter(pl.any_horizontal(pl.col(*columns).is_not_null())).select(
        at=pl.col("start_ns") + pl.col("duration_ns"), ns=pl.sum_horizontal(*columns)
    )
    at = known.group_by("at").agg(pl.col("ns").sum()).sort("at")
    return at["at"], at["ns"].cum_sum().to_numpy()

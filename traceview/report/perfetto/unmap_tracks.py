"""The tracks of each task: its unmaps, what they consist of, who asked for them, its steps.

An unmap is a slice with everything that is known of it as annotations; one without a duration
(its end is not in the trace, or only entries were traced) is an instant. Below it lie its
components, as the calls were made; triggers point at their unmaps by flows. What has no time is
counted, not drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.byte_columns import Pool
from traceview.protobuf_columns import Double, Raw, number, tag
from traceview.report.perfetto.components import component_slices
from traceview.report.perfetto.intervals import lanes, one_after_another
from traceview.report.perfetto.sequence import Annotation
from traceview.schema import COMPONENTS, COUNTS, INSN_COUNTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from traceview.byte_columns import Ints
    from traceview.protobuf_columns import Part
    from traceview.report.perfetto.sequence import Sequence as PacketSequence
    from traceview.report.perfetto.steps import Step

PART_ROWS: Final = 50_000  # unmaps that are encoded at a time
TEXTS: Final = ("status", "strategy", "trigger", "step", "comm", "evidence", "leaves_evidence")
POINTERS: Final = ("ipa", "mmu")
NUMBERS: Final = (
    "unmap_id", "cpu", "tid", "length_bytes", "leaves", "leaves_l1", "leaves_l2", "leaves_l3",
    "duration_ns", *COMPONENTS, "probe_ns", "probe_low_ns", "probe_high_ns", *COUNTS,
    "traced_calls", *INSN_COUNTS,
)  # fmt: skip
TRIGGER_NUMBERS: Final = (
    "trigger_id", "cpu", "tid", "duration_ns", "unmaps", "unmaps_ns", "between_ns",
)  # fmt: skip
TRIGGER_TEXTS: Final = ("kind", "symbol", "comm", "step", "status", "evidence")
HAS_END: Final = pl.col("status").is_in(["complete", "contaminated"]) & (
    pl.col("duration_ns").is_not_null()
)
RANKS: Final = {"steps": 0, "triggers": 1, "unmaps": 2, "components": 3}
# A task is its tid; tid 0 (or none) is one task per CPU.
TASK: Final = (
    pl.when(pl.col("tid") > 0)
    .then(pl.format("tid {}", "tid"))
    .otherwise(pl.format("CPU {}", pl.col("cpu").fill_null(-1)))
    .alias("task")
)
STATUS_WORDS: Final = {
    "contaminated": " (events lost inside)",
    "censored": " (its end is not in the trace)",
    "point": " (entry only)",
}


class TaskTracks:
    """Makes the tracks of tasks as they are needed, and knows where unmaps are drawn.

    `undrawn`: unmaps without a time. `merged`: unmaps whose components are drawn in sums.
    """

    def __init__(
        self, sequence: PacketSequence, root: int, times: str, unmaps: pl.DataFrame
    ) -> None:
        """*times* says in names what the times are: "" or " (emulated)"."""
        self._sequence, self._root, self._times = sequence, root, times
        self._groups: dict[str, int] = {}
        self._tracks: dict[tuple[str, str, int], int] = {}
        self._comm = _names_of_tasks(unmaps)
        timed = unmaps.with_columns(TASK).filter(pl.col("start_ns") >= 0)
        self.undrawn = len(unmaps) - len(timed)
        self.merged = 0
        self._slices = one_after_another(timed.filter(HAS_END), "task")
        self._instants = timed.filter(~HAS_END)

    def components(self, calls: pl.DataFrame) -> None:
        """The component calls of some unmaps, below them."""
        places = self._slices.select("unmap_id", "task", low="start_ns", high="end_ns")
        found = calls.join(places, on="unmap_id", how="inner", maintain_order="left")
        slices, merged = component_slices(found)
        self.merged += merged
        if slices.is_empty():
            return
        said = self._sequence.annotations([
            Annotation("unmap_id", "int", slices["unmap_id"]),
            Annotation("calls", "int", slices["calls"]),
            Annotation("duration_ns", "int", slices["duration_ns"]),
        ])  # fmt: skip
        self._sequence.slices(
            self._of(slices["task"], "components"), slices["start_ns"].to_numpy(),
            slices["end_ns"].to_numpy(), self._sequence.names(slices["name"]), said,
        )  # fmt: skip

    def unmaps(self, triggers: pl.DataFrame) -> None:
        """All unmaps; those that *triggers* asked for end the flows from there."""
        asking = triggers.filter(pl.col("start_ns") >= 0)["trigger_id"].implode()
        for rows in _parts(self._slices):
            asked = rows.select(pl.col("trigger_id").is_in(asking).fill_null(value=False))
            known = asked["trigger_id"].to_numpy()
            ids = self._sequence.flow(rows["unmap_id"].to_numpy())
            flow = Double(number("TrackEvent", "terminating_flow_ids"), ids, known)
            said = [*self._sequence.annotations(_facts(rows)), flow]
            names = self._sequence.names(_names(rows))
            self._sequence.slices(
                self._of(rows["task"], "unmaps"), rows["start_ns"].to_numpy(),
                rows["end_ns"].to_numpy(), names, said,
            )  # fmt: skip
        for rows in _parts(self._instants):
            said = self._sequence.annotations(_facts(rows))
            names = self._sequence.names(_names(rows))
            tracks = self._of(rows["task"], "unmaps")
            self._sequence.instants(tracks, rows["start_ns"].to_numpy(), names, said)

    def triggers(self, triggers: pl.DataFrame) -> None:
        """Who asked for unmaps; a flow begins here for each of them."""
        timed = triggers.with_columns(TASK).filter(pl.col("start_ns") >= 0)
        self._comm.update(
            (task, comm) for task, comm in _names_of_tasks(timed).items() if task not in self._comm
        )
        whole = one_after_another(timed.filter(pl.col("duration_ns").is_not_null()), "task")
        for rows in (*_parts(whole), *_parts(timed.filter(pl.col("duration_ns").is_null()))):
            said = self._sequence.annotations([
                *(Annotation(name, "int", rows[name]) for name in TRIGGER_NUMBERS),
                *(Annotation(name, "text", rows[name].cast(pl.String)) for name in TRIGGER_TEXTS),
            ])  # fmt: skip
            flows = self._flows(rows["trigger_id"])
            tracks = self._of(rows["task"], "triggers")
            start, names = rows["start_ns"].to_numpy(), self._sequence.names(_trigger_names(rows))
            if "end_ns" in rows.columns:
                end = rows["end_ns"].to_numpy()
                self._sequence.slices(tracks, start, end, names, [*said, flows])
            else:
                self._sequence.instants(tracks, start, names, [*said, flows])

    def _flows(self, trigger_ids: pl.Series) -> Part:
        """A flow for each drawn unmap of each trigger, encoded."""
        drawn = self._slices.select("unmap_id", "trigger_id").drop_nulls("trigger_id")
        rows = pl.DataFrame({"trigger_id": trigger_ids}).with_row_index("row")
        pairs = rows.join(drawn, on="trigger_id", how="inner", maintain_order="left")
        begin = tag(number("TrackEvent", "flow_ids"), 1)
        ids = self._sequence.flow(pairs["unmap_id"].to_numpy())
        data = np.empty((len(ids), len(begin) + 8), dtype=np.uint8)
        data[:, : len(begin)] = np.frombuffer(begin, dtype=np.uint8)
        data[:, len(begin) :] = np.ascontiguousarray(ids).view(np.uint8).reshape(-1, 8)
        count = np.bincount(pairs["row"].to_numpy(), minlength=len(rows)).astype(np.int64)
        length = count * data.shape[1]
        pool = Pool(data.reshape(-1), np.cumsum(length) - length, length)
        return Raw(pool, np.arange(len(rows)))

    def steps(self, steps: Sequence[Step], comms: Mapping[str, str]) -> None:
        """Steps; those of a task that overlap without nesting lie on tracks of their own.

        *comms*: names of tasks that nothing else names.
        """
        self._comm = {**comms, **self._comm}
        by_task: dict[str, list[Step]] = {}
        for one in steps:
            by_task.setdefault(one.task, []).append(one)
        for task, mine in by_task.items():
            mine.sort(key=lambda one: (one.begin_ns, -one.end_ns))
            lane = lanes([(one.begin_ns, one.end_ns) for one in mine])
            for number_of_lane in range(max(lane) + 1):
                chosen = [one for one, at in zip(mine, lane, strict=True) if at == number_of_lane]
                self._nested_steps(task, chosen, number_of_lane)

    def _nested_steps(self, task: str, steps: list[Step], lane: int) -> None:
        """Steps that nest: each begins before those inside it, and ends behind them."""
        at: list[int] = []
        names: list[int] = []
        open_: list[int] = []  # the ends of what is open
        for one in steps:
            while open_ and open_[-1] <= one.begin_ns:
                at.append(open_.pop())
                names.append(0)
            at.append(one.begin_ns)
            names.append(self._sequence.name(f"step {one.name}"))
            open_.append(one.end_ns)
        at += open_[::-1]
        names += [0] * len(open_)
        track = self._track(task, "steps", lane)
        self._sequence.edges(track, np.array(at), np.array(names))

    def _of(self, tasks: pl.Series, kind: str) -> Ints:
        """The track of that kind of each task."""
        distinct = tasks.unique(maintain_order=True).to_list()
        uuids = np.array([self._track(task, kind) for task in distinct], dtype=np.uint64)
        at = tasks.replace_strict(distinct, range(len(distinct)), return_dtype=pl.Int64)
        found: Ints = uuids[at.to_numpy()]
        return found

    def _track(self, task: str, kind: str, lane: int = 0) -> int:
        key = task, kind, lane
        if key not in self._tracks:
            if task not in self._groups:
                comm = self._comm.get(task)
                name = task if comm is None else f"{comm} ({task})"
                self._groups[task] = self._sequence.track(
                    "task", task, name=name, parent=self._root, rank=100 + len(self._groups)
                )
            self._tracks[key] = self._sequence.track(
                "task", *key, name=f"{kind}{self._times}", parent=self._groups[task],
                rank=RANKS[kind] * 100 + lane,
            )  # fmt: skip
        return self._tracks[key]


def _parts(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    for low in range(0, len(rows), PART_ROWS):
        yield rows[low : low + PART_ROWS]


def _names_of_tasks(rows: pl.DataFrame) -> dict[str, str]:
    """Task -> its name, where one is known; of several the first."""
    named = rows.select(TASK, pl.col("comm").cast(pl.String)).drop_nulls()
    return dict(named.unique("task", keep="first", maintain_order=True).iter_rows())


def _names(rows: pl.DataFrame) -> pl.Series:
    """What the slice of an unmap is called: `unmap 2,048 leaves per_pte`."""
    distinct = rows.select("leaves", pl.col("strategy", "status").cast(pl.String))
    known = distinct.unique(maintain_order=True)
    names = [
        f"unmap {_leaves(leaves)} {strategy}{STATUS_WORDS.get(status, '')}"
        for leaves, strategy, status in known.iter_rows()
    ]
    named = known.with_columns(pl.Series("label", names, dtype=pl.String))
    return distinct.join(
        named, on=known.columns, how="left", nulls_equal=True, maintain_order="left"
    )["label"]


def _leaves(leaves: int | None) -> str:
    if leaves is None:
        return "of unknown leaves"
    return f"{leaves:,} {'leaf' if leaves == 1 else 'leaves'}"


def _trigger_names(rows: pl.DataFrame) -> pl.Series:
    words = [pl.col(name).cast(pl.String).fill_null("unknown") for name in ("kind", "symbol")]
    return rows.select(name=pl.concat_str(words, separator=": "))["name"]


def _facts(rows: pl.DataFrame) -> list[Annotation]:
    """Everything that is known of unmaps; what is null is left out."""
    per_leaf = rows.select(
        pl.when((pl.col("status") == "complete") & (pl.col("leaves") > 0))
        .then(pl.col("duration_ns") / pl.col("leaves"))
        .alias("per_leaf")
    )["per_leaf"]
    return [
        *(Annotation(name, "text", rows[name].cast(pl.String)) for name in TEXTS),
        Annotation("ns per leaf", "double", per_leaf),
        *(Annotation(name, "pointer", rows[name]) for name in POINTERS),
        *(Annotation(name, "int", rows[name]) for name in NUMBERS),
    ]

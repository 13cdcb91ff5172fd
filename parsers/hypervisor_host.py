"""The events of the host as the hypervisor's stays see them: bounds, tasks, open unmaps.

A leaf line of function_graph text is entry and return in one event. One of an unmap, or that may
hold stays, is made two, the return no later than the next event of its CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.hypervisor_gaps import Host
from traceview.parsers.hypervisor_times import CUT_NS
from traceview.schema import EVENTS, PHASE
from traceview.symbols import name_probes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from traceview.trace import Batch, Want

    Ints = NDArray[np.int64]

TASK: Final = ("tid", "tgid", "comm")
WHOSE: Final = (*TASK, "moved_ns")
# `order` puts events of one time in order: even numbers are those of the file.
FIRST, LAST = -1, np.iinfo(np.int64).max
LANE: Final[dict[str, pl.DataType]] = {
    "cpu": EVENTS["cpu"], "at_ns": pl.Int64(), "order": pl.Int64(),
    **{name: EVENTS[name] for name in TASK}, "unmapping": pl.Boolean(),
}  # fmt: skip
RETURNS: Final = {**EVENTS, "at_ns": pl.Int64(), "order": pl.Int64()}
MICROSECOND: Final = 1000


@dataclass(frozen=True, slots=True)
class HostBatch:
    """A batch of the host. `events`: with `at_ns`, its time without steps back, and `order`.

    `returns`: those of split leaf lines, likewise, without `seq`. `lane`: frame of LANE, in order.
    """

    batch: Batch
    events: pl.DataFrame
    returns: pl.DataFrame
    lane: pl.DataFrame

    @property
    def last_ns(self) -> int:
        """The time of its last event."""
        return int(self.events["at_ns"][-1])


class HostEvents:
    """Prepares batches, one after the other."""

    def __init__(self, want: Want, enter_ns: Mapping[int, Ints]) -> None:
        """*enter_ns*: of each CPU, when stays begin."""
        self._want, self._enter_ns = want, enter_ns
        self._unmaps: dict[str, bool] = {}
        self._until_ns = 0

    def prepare(self, batch: Batch) -> HostBatch:
        """*batch*, which has events."""
        ts_ns = batch.events["ts_ns"].fill_null(strategy="forward").fill_null(self._until_ns)
        at_ns = np.maximum(np.maximum.accumulate(ts_ns.to_numpy()), self._until_ns)
        self._until_ns = int(at_ns[-1])
        events = batch.events.with_columns(
            pl.Series("at_ns", at_ns), pl.Series("order", 2 * np.arange(len(at_ns)))
        )
        is_unmap = self._is_unmap(batch.events)
        events, returns = self._split(events, is_unmap)
        lane = self._lane(events, is_unmap, batch)
        if len(returns):
            of_leaf = is_unmap.gather(returns["leaf"])
            closes = pl.when(of_leaf).then(statement=False)
            more = returns.with_columns(closes.alias("unmapping"))
            lane = pl.concat([lane, more.select(list(LANE))]).sort(
                "at_ns", "order", maintain_order=True
            )
        return HostBatch(batch, events, returns.drop("leaf"), lane)

    def _is_unmap(self, events: pl.DataFrame) -> pl.Series:
        """Whether each event is of a function that unmaps."""
        if self._want.symbols.probes or self._want.symbols.kallsyms:
            events = name_probes(events, self._want.symbols)
        symbol = events["symbol"].cast(pl.String)
        for name in symbol.drop_nulls().unique().to_list():
            if name not in self._unmaps:
                meaning = self._want.vocabulary.meaning(name)
                self._unmaps[name] = meaning.operation == "unmap"
        unmaps = [name for name, unmap in self._unmaps.items() if unmap]
        return symbol.is_in(unmaps).fill_null(value=False)

    def _split(
        self, events: pl.DataFrame, is_unmap: pl.Series
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """*events*, leaf lines of unmaps or that may hold a stay made entries; and returns."""
        leaf = (events["phase"] == "complete") & (events["duration_ns"] > 0)
        at = np.flatnonzero(leaf.fill_null(value=False).to_numpy())
        if len(at):
            at = at[is_unmap.to_numpy()[at] | self._holds_stay(events[at.tolist()])]
        rows = events[at.tolist()].with_columns(pl.Series("leaf", at))
        if rows.is_empty():
            return events, rows
        following = events.select(pl.col("at_ns").shift(-1).over("cpu"))["at_ns"].gather(at)
        ends = rows["at_ns"] + rows["duration_ns"]
        # Times of text may be cut to microseconds: the next event may come before what they add to.
        step = MICROSECOND if (rows["at_ns"] % MICROSECOND == 0).all() else 1
        ends = pl.select(
            pl.when(following.is_null()).then(ends // step * step)
            .otherwise(pl.min_horizontal(ends, following))
        ).to_series()  # fmt: skip
        order = pl.select(
            pl.when(ends > rows["at_ns"]).then(pl.lit(FIRST, pl.Int64)).otherwise(rows["order"] + 1)
        )
        returns = rows.with_columns(
            order.to_series().alias("order"),
            ends.alias("at_ns"), ends.alias("ts_ns"),
            pl.lit("funcgraph_exit").cast(EVENTS["name"]).alias("name"),
            pl.lit("exit").cast(PHASE).alias("phase"),
            pl.lit(None, pl.Int64).alias("seq"),
        )  # fmt: skip
        is_split = np.zeros(len(events), dtype=np.bool_)
        is_split[at] = True
        mask = pl.Series(is_split)
        entries = events.with_columns(
            pl.when(mask).then(pl.lit("entry").cast(PHASE)).otherwise("phase").alias("phase"),
            pl.when(~mask).then("duration_ns").alias("duration_ns"),
        )
        return entries, returns

    def _holds_stay(self, leaves: pl.DataFrame) -> NDArray[np.bool_]:
        holds = np.zeros(len(leaves), dtype=np.bool_)
        cpu, begin = leaves["cpu"].fill_null(-1).to_numpy(), leaves["at_ns"].to_numpy()
        end = begin + leaves["duration_ns"].to_numpy()
        for one in np.unique(cpu).tolist():
            enter = self._enter_ns.get(one)
            if enter is not None:
                mine = cpu == one
                first = np.searchsorted(enter, begin[mine] - CUT_NS)
                behind = np.append(enter, np.iinfo(np.int64).max)[first]
                holds[mine] = behind <= end[mine]
        return holds

    def _lane(self, events: pl.DataFrame, is_unmap: pl.Series, batch: Batch) -> pl.DataFrame:
        switch = pl.col("name") == "sched_switch"
        lane = events.with_columns(
            pl.when(is_unmap & (pl.col("phase") == "entry")).then(statement=True)
            .when(is_unmap & pl.col("phase").is_in(["exit", "complete"])).then(statement=False)
            .alias("unmapping")
        )  # fmt: skip
        if lane.select(switch.any()).item():
            following = batch.args.filter(pl.col("name") == "next_pid").unique("seq")
            following = following.select("seq", pl.col("value").cast(pl.Int32).alias("next_pid"))
            lane = lane.join(following, on="seq", how="left", maintain_order="left").with_columns(
                pl.when(switch).then("next_pid").otherwise("tid").alias("tid"),
                pl.when(~switch).then("tgid").alias("tgid"),
                pl.when(~switch).then("comm").alias("comm"),
            )
        return lane.select(list(LANE))


class Lanes:
    """What is known of the host by CPU: its latest event that has left, and those that wait."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._edges = pl.DataFrame(schema=LANE)

    def of_cpus(self, waiting: list[HostBatch]) -> dict[int, tuple[Host, pl.DataFrame]]:
        """Of each CPU its events in order, and whose they are."""
        known = pl.concat([self._edges, *(one.lane for one in waiting)])
        known = _with_moves(known.filter(pl.col("cpu").is_not_null())).with_columns(
            pl.col("unmapping").fill_null(strategy="forward").over("cpu")
        )
        found = {}
        for (cpu,), of in known.partition_by("cpu", as_dict=True).items():
            unmapping = of["unmapping"].fill_null(value=False).to_numpy()
            found[int(str(cpu))] = Host(of["at_ns"].to_numpy(), unmapping), of.select(WHOSE)
        return found

    def leave(self, one: HostBatch) -> None:
        """*one* has left; remember its latest events."""
        both = pl.concat([self._edges, one.lane]).filter(pl.col("cpu").is_not_null())
        both = both.with_columns(pl.col("unmapping").fill_null(strategy="forward").over("cpu"))
        past = pl.col("at_ns") <= one.last_ns
        moved = _with_moves(both)
        gone = pl.col("moved_ns") <= one.last_ns
        latest = moved.filter(past).unique("cpu", keep="last", maintain_order=True)
        latest = latest.with_columns(pl.when(~gone.fill_null(value=False)).then(pl.col(*TASK)))
        self._edges = pl.concat([latest.select(list(LANE)), both.filter(~past)])


def _with_moves(lane: pl.DataFrame) -> pl.DataFrame:
    """*lane* with `moved_ns`: when the task of an event was next seen, if on another CPU."""
    ordered = lane.sort("at_ns", maintain_order=True)
    after = [pl.col(name).shift(-1).over("tid") for name in ("cpu", "at_ns")]
    elsewhere = (after[0] != pl.col("cpu")) & (pl.col("tid") > 0)  # tid 0: one on each CPU
    return ordered.with_columns(pl.when(elsewhere).then(after[1]).alias("moved_ns"))

"""The events of a trace of another format as ftrace events, batch by batch.

Columns in, columns out: no loop over events. What is written reads back as what was read: time,
CPU, task, name, function, phase, evidence, arguments, stated duration, depth. A `complete` call
becomes an entry and an exit; its exit lies where its stated duration ends, but never behind the
next event of its CPU, because order must hold where times are coarse. calltime and rettime of
an exit are 0 and the stated duration: what is known is their difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from traceview.byte_columns import Pool
from traceview.protobuf_columns import Message, Number, encoded, number
from traceview.report.perfetto.kinds import Column, Kinds

if TYPE_CHECKING:
    from traceview.byte_columns import Bytes, Ints
    from traceview.protobuf_columns import Part
    from traceview.report.perfetto.kinds import Arguments, Key

KEYS: Final = ("evidence", "phase", "name", "function")
GRAPH: Final = {"entry": "FuncgraphEntryFtraceEvent", "exit": "FuncgraphExitFtraceEvent"}
EVENT: Final = number("FtraceEventBundle", "event")


@dataclass(slots=True)
class LeftOut:
    """What of the events is not written as it was, by what it is; see notes.py for the words."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, count: int) -> None:
        """*count* more of *what*."""
        if count:
            self.counts[what] = self.counts.get(what, 0) + count


@dataclass(frozen=True, slots=True)
class Encoded:
    """The events of a batch as fields of bundles: event i is data[bounds[i] : bounds[i + 1]].

    They are in order of lane (buffer and CPU), then of their position.
    """

    data: Bytes
    bounds: Ints
    lane: Ints
    seq: Ints
    ts_ns: Ints


class Events:
    """Encodes batches. `lanes`: (buffer, CPU) by number; `symbols`: functions by interned id."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.kinds = Kinds()
        self.left_out = LeftOut()
        self.lanes: dict[tuple[str | None, int], int] = {}
        self.symbols: dict[str, int] = {}
        self._last_ns: dict[int, int] = {}

    def encode(self, events: pl.DataFrame, args: pl.DataFrame) -> Encoded:
        """The events of a batch; those that have no place in time are counted and left out."""
        rows = self._rows(events)
        self._look_at_order(rows)
        seq, codes, keys = rows["seq"].to_numpy(), *_kinds_of(rows)
        arguments = _arguments(args, seq, codes)
        parts: list[tuple[Ints | None, Part]] = []
        for code, key in enumerate(keys):
            at = np.flatnonzero(codes == code)
            mine = rows[at]
            payload = self._payload(key, mine, arguments.get(code, {}), at)
            parts.append((at, Message(EVENT, [*_head(mine), payload])))
        data, bounds = encoded(parts, len(rows))
        self.left_out.add("fields", self.kinds.left_out)
        self.kinds.left_out = 0
        lane, ts_ns = rows["lane"].to_numpy(), rows["ts_ns"].to_numpy()
        return Encoded(data, bounds, lane, seq, ts_ns)

    def _rows(self, events: pl.DataFrame) -> pl.DataFrame:
        """What is written, in order of lane and position, `complete` calls in two."""
        sample = pl.col("evidence") == "sample"
        timed = (pl.col("ts_ns") >= 0).fill_null(value=False)
        self.left_out.add("samples", int(events.select(sample.sum()).item()))
        self.left_out.add("untimed", int(events.select((~timed & ~sample).sum()).item()))
        self.left_out.add(
            "cpus", int(events.select((pl.col("cpu").is_null() & ~sample).sum()).item())
        )
        events = events.filter(timed & ~sample).with_columns(pl.col("cpu").fill_null(0))
        lanes = events.select("buffer", "cpu").unique(maintain_order=True)
        known = [self.lane(buffer, cpu) for buffer, cpu in lanes.iter_rows()]
        lanes = lanes.with_columns(pl.Series("lane", known, dtype=pl.Int64))
        rows = events.join(
            lanes, on=["buffer", "cpu"], how="left", nulls_equal=True, maintain_order="left"
        )
        half = pl.when(pl.col("phase") == "complete").then(pl.lit(1)).otherwise(pl.lit(0))
        rows = rows.with_columns(half=half).sort("lane", "seq", maintain_order=True)
        following = pl.col("ts_ns").shift(-1).over("lane")
        ends = pl.min_horizontal(pl.col("ts_ns") + pl.col("duration_ns").fill_null(0), following)
        exits = rows.filter(pl.col("half") == 1)
        if exits.is_empty():
            return rows
        ended = rows.with_columns(
            pl.max_horizontal(
                "ts_ns", pl.when(following.is_null()).then("ts_ns").otherwise(ends)
            ).alias("ts_ns")
        ).filter(pl.col("half") == 1)
        phase = rows.schema["phase"]
        entered = rows.with_columns(
            pl.when(pl.col("half") == 1)
            .then(pl.lit("entry", phase))
            .otherwise("phase")
            .alias("phase"),
            half=pl.lit(0),
        )
        left = ended.with_columns(pl.lit("exit", phase).alias("phase"))
        return pl.concat([entered, left]).sort("lane", "seq", "half", maintain_order=True)

    def lane(self, buffer: str | None, cpu: int) -> int:
        """The number of a CPU of a ring buffer."""
        return self.lanes.setdefault((buffer, cpu), len(self.lanes))

    def _look_at_order(self, rows: pl.DataFrame) -> None:
        """Count what a reader that sorts by time puts in another order."""
        back = (pl.col("ts_ns") < pl.col("ts_ns").shift(1)).over("lane")
        self.left_out.add("backwards", int(rows.select(back.sum()).item() or 0))
        moved = (pl.col("cpu") != pl.col("cpu").shift(1)) & (
            pl.col("ts_ns") == pl.col("ts_ns").shift(1)
        )
        tasks = rows.filter(pl.col("tid") > 0).sort("tid", "seq", "half", maintain_order=True)
        self.left_out.add("moved", int(tasks.select(moved.over("tid").sum()).item() or 0))

    def _payload(self, key: Key, rows: pl.DataFrame, arguments: Arguments, at: Ints) -> Part:
        evidence, phase, name, _ = key
        if evidence == "fgraph" and phase in GRAPH and name != "irq":
            said = [column.present for (arg, _), column in arguments.items() if arg != "overrun"]
            self.left_out.add("graph_arguments", sum(int(one.sum()) for one in said))
            return self._graph(phase, rows)
        ip = rows["probe_ip"]
        known = ip.is_not_null().to_numpy()
        column = None
        if known.any():
            column = Column(known, ip.fill_null(0).reinterpret(signed=True).to_numpy(), None)
        return self.kinds.payload(key, arguments, column, len(at))

    def _graph(self, phase: str, rows: pl.DataFrame) -> Part:
        """A function_graph record. The fields in the order of their numbers."""
        message = GRAPH[phase]
        iids, named = self._iids(rows["symbol"])
        depth = rows["depth"]
        fields: dict[int, Part] = {
            number(message, "func"): Number(number(message, "func"), iids, named),
            number(message, "depth"): _whole(number(message, "depth"), depth),
        }
        if phase == "exit":
            stated = rows["duration_ns"].is_not_null().to_numpy()
            called = number(message, "calltime")
            fields[called] = Number(called, np.zeros(len(rows), dtype=np.int64), stated)
            returned = number(message, "rettime")
            fields[returned] = _whole(returned, rows["duration_ns"])
        parts = [fields[at] for at in sorted(fields)]
        return Message(number("FtraceEvent", f"funcgraph_{phase}"), parts)

    def _iids(self, symbols: pl.Series) -> tuple[Ints, Any]:
        """The interned ids of functions, and which rows have a name."""
        codes = symbols.to_physical()
        named = codes.is_not_null().to_numpy()
        physical = codes.fill_null(0).to_numpy().astype(np.int64)
        found = symbols.unique(maintain_order=True).drop_nulls()
        table = np.zeros(int(physical.max(initial=0)) + 1, dtype=np.int64)
        for code, name in zip(found.to_physical().to_list(), found.to_list(), strict=True):
            table[code] = self.symbols.setdefault(name, len(self.symbols) + 1)
        return table[physical], named


def _whole(field_number: int, column: pl.Series) -> Number:
    """A whole number that may be absent."""
    present = column.is_not_null().to_numpy()
    return Number(field_number, column.fill_null(0).to_numpy().astype(np.int64), present)


def _head(rows: pl.DataFrame) -> list[Part]:
    """When, and by which task."""
    pid = number("FtraceEvent", "pid")
    return [
        Number(number("FtraceEvent", "timestamp"), rows["ts_ns"].to_numpy()),
        _whole(pid, rows["tid"]),
    ]


def _kinds_of(rows: pl.DataFrame) -> tuple[Ints, list[Key]]:
    """The kind of each row, and what the kinds are."""
    graph = (pl.col("evidence") == "fgraph") & (pl.col("name") != "irq")
    asked = rows.select(
        "evidence", "phase",
        pl.when(graph).then(pl.lit(None, rows.schema["name"])).otherwise("name").alias("name"),
        pl.when(graph | (pl.col("evidence") == "tracepoint"))
        .then(pl.lit(None, rows.schema["symbol"])).otherwise("symbol").alias("function"),
    )  # fmt: skip
    kinds = asked.unique(maintain_order=True).with_row_index("kind")
    codes = asked.join(kinds, on=list(KEYS), how="left", nulls_equal=True, maintain_order="left")[
        "kind"
    ]
    keys = [(evidence, phase, name or "", function)
            for _, evidence, phase, name, function in kinds.iter_rows()]  # fmt: skip
    return codes.to_numpy().astype(np.int64), keys


def _arguments(args: pl.DataFrame, seq: Ints, codes: Ints) -> dict[int, Arguments]:
    """The arguments of the events of each kind, by name."""
    if args.is_empty() or not seq.size:
        return {}
    order = np.argsort(seq, kind="stable")
    of = args["seq"].to_numpy()
    at = np.minimum(np.searchsorted(seq[order], of), seq.size - 1)
    known = seq[order[at]] == of
    # Of the two halves of a complete call the first one carries them.
    row = order[at]
    index = np.zeros(len(codes), dtype=np.int64)  # the place of a row among those of its kind
    sizes = np.bincount(codes)
    by_kind = np.argsort(codes, kind="stable")
    index[by_kind] = np.arange(len(codes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    said = args.with_columns(
        kind=pl.Series(codes[row]), place=pl.Series(index[row]), textual=pl.col("value").is_null()
    ).filter(pl.Series(known), pl.col("value").is_not_null() | pl.col("text").is_not_null())
    found: dict[int, Arguments] = {}
    groups = said.group_by("kind", "name", "textual", maintain_order=True)
    for (kind, name, textual), part in groups:
        rows = int(sizes[kind])
        place = part["place"].to_numpy()
        present = np.zeros(rows, dtype=np.bool_)
        present[place] = True
        if textual:
            pool, of_part = Pool.of_column(part["text"])
            which = np.zeros(rows, dtype=np.int64)
            which[place] = of_part
            column = Column(present, None, (pool, which))
        else:
            numbers = np.zeros(rows, dtype=np.int64)
            numbers[place] = part["value"].to_numpy()
            column = Column(present, numbers, None)
        found.setdefault(int(kind), {})[str(name), bool(textual)] = column
    return found

"""Probes that name themselves: `kprobe_event`, and the older GenericFtraceEvent.

A kprobe_event carries the name of the probed function and which half of the probe fired, no
arguments. GenericFtraceEvent carries the name of the event and its fields by name; fields of an
event that is gone may stand before its own (see perfetto_kinds.probe_start), so that having
`__probe_ret_ip` does not make a return probe: the last of `__probe_ip` and `__probe_func` does.
Source of truth: protos/perfetto/trace/ftrace/{generic,ftrace}.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.parsers.chunks import Numbers, Texts
from traceview.parsers.classes import Class
from traceview.parsers.columns import texts
from traceview.parsers.perfetto_events import MISSING, NO_SPANS
from traceview.parsers.perfetto_kinds import (
    LEGACY_FIELD,
    LEGACY_NAME,
    PROBE_NAME,
    PROBE_STARTS,
    PROBE_TYPE,
)
from traceview.parsers.perfetto_wire import LENGTH, VARINT, joined, walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from traceview.parsers.classes import Classes
    from traceview.parsers.columns import Flags, Ints
    from traceview.parsers.names import Names
    from traceview.parsers.perfetto_events import Columns, Spans
    from traceview.parsers.perfetto_host import Host
    from traceview.parsers.perfetto_wire import Blob
    from traceview.trace import Want

# KprobeEvent.KprobeType
TYPE_PHASES: Final = {1: "entry", 2: "exit", 3: "instant"}
# Fields of GenericFtraceEvent.Field
FIELD_NAME: Final = 1
STR_VALUE: Final = 3
NUMBERS: Final = (4, 5)  # int_value, uint_value


def by_code(codes: Ints, make: Callable[[int], int]) -> NDArray[np.uint32]:
    """make(code) for each of *codes* (small and not negative), called once per distinct one."""
    of = np.zeros(int(codes.max(initial=0)) + 1, dtype=np.uint32)
    for code in np.flatnonzero(np.bincount(codes)).tolist():
        of[code] = make(code)
    return of[codes]


def code_kprobe_events(
    blob: Blob, columns: Columns, what: NDArray[np.uint32], names: Names, classes: Classes,
    host: Host,
) -> None:  # fmt: skip
    """Fill in *what* for the kprobe_events among the events of *columns*."""
    found = columns.spans.get(PROBE_NAME)
    if found is None:
        return
    name = names.codes(texts(blob.data, found.start, found.length))
    kind = np.full(len(what), MISSING)
    if PROBE_TYPE in columns.column:
        kind = columns.column[PROBE_TYPE]
    kind = kind[found.row]
    kind = np.where((kind >= 0) & (kind < 4), kind, 0)

    def make(code: int) -> int:
        symbol = names[code >> 2] or ""
        phase = TYPE_PHASES.get(code & 3, "instant")
        phase = host.probe_phase(symbol) if phase == "instant" else phase
        return classes.code(Class(symbol, symbol, phase, "kprobe"))

    what[found.row] = by_code(name.astype(np.int64) << 2 | kind, make)


@dataclass(frozen=True, slots=True)
class Legacy:
    """The GenericFtraceEvents of a group that are wanted; `row` is that among its events."""

    row: Ints
    what: NDArray[np.uint32]
    probe_ip: NDArray[np.uint64]
    numbers: Numbers
    texts: Texts
    skipped: dict[str, int]


def read_legacy(
    blob: Blob, columns: Columns, rows: Ints, names: Names, classes: Classes, want: Want
) -> Legacy:
    """The GenericFtraceEvents in *rows* of *columns*; those with a damaged field become bad."""
    fields = _fields(blob, columns.spans.get(LEGACY_FIELD, NO_SPANS), columns.bad)
    named = columns.spans.get(LEGACY_NAME, NO_SPANS)
    name = np.full(len(columns.bad), -1)
    name[named.row] = np.arange(len(named.row))
    columns.bad[rows[name[rows] < 0]] = True
    rows = rows[~columns.bad[rows]]
    which = name[rows]
    words = texts(blob.data, named.start[which], named.length[which])
    event = pl.DataFrame({"row": rows, "event": words})
    starts = (
        fields.filter(pl.col("name").is_in(list(PROBE_STARTS)))
        .group_by("row")
        .agg(pl.last("at").alias("from"), pl.last("name").alias("start"), pl.last("value"))
    )
    event = event.join(starts, on="row", how="left", maintain_order="left")
    probe = pl.col("start").is_not_null()
    asked = [name for name in event["event"].unique() if want.vocabulary.wants_event(name)]
    wanted = probe | want.all_events | pl.col("event").is_in(asked)
    left_out = event.filter(~wanted).group_by("event").len()
    event = event.filter(wanted)
    hidden = pl.col("name").is_in(list(PROBE_STARTS)) & probe
    if not want.all_events:
        hidden = ~probe | pl.col("name").str.starts_with("__probe_")
    own = (
        fields.join(event.select("row", "from", "start"), on="row")
        .filter(pl.col("from").is_null() | (pl.col("at") >= pl.col("from")), ~hidden)
        .unique(["row", "name"], keep="last", maintain_order=True)
    )
    return Legacy(
        event["row"].to_numpy(),
        _legacy_classes(event, classes),
        event["value"].fill_null(0).to_numpy().view(np.uint64),
        _numbers(own.filter(pl.col("text").is_null()), names),
        _texts(own.filter(pl.col("text").is_not_null()), names),
        dict(left_out.iter_rows()),
    )


def _fields(blob: Blob, spans: Spans, bad: Flags) -> pl.DataFrame:
    """The fields of GenericFtraceEvents: row of the event, position, name, value or text.

    The events of fields that are damaged or have no name become *bad*.
    """
    order = np.argsort(spans.row, kind="stable")
    start, row = spans.start[order], spans.row[order]
    steps, damaged = walk(blob, start, start + spans.length[order])
    parts = joined(steps)
    n = len(order)
    value = np.zeros(n, dtype=np.int64)
    is_number = (parts.wire == VARINT) & np.isin(parts.number, NUMBERS)
    value[parts.row[is_number]] = parts.value[is_number].view(np.int64)
    texts_of = {}
    for column, number in (("name", FIELD_NAME), ("text", STR_VALUE)):
        mine = (parts.wire == LENGTH) & (parts.number == number)
        at, length = np.zeros(n, dtype=np.int64), np.full(n, -1)
        at[parts.row[mine]] = parts.payload[mine]
        length[parts.row[mine]] = parts.value[mine].view(np.int64)
        found = texts(blob.data, at, np.maximum(length, 0))
        texts_of[column] = found.set(pl.Series(length < 0), None)
    bad[row[damaged | texts_of["name"].is_null().to_numpy()]] = True
    return pl.DataFrame({"row": row, "at": np.arange(n), "value": value, **texts_of})


def _legacy_classes(event: pl.DataFrame, classes: Classes) -> NDArray[np.uint32]:
    """The code of the class of each event."""
    kinds = event.select("event", "start").unique()
    codes = [
        classes.code(
            Class(name, None, PROBE_STARTS[start], "kprobe")
            if start
            else Class(name, None, "instant", "tracepoint")
        )
        for name, start in kinds.iter_rows()
    ]
    kinds = kinds.with_columns(pl.Series("code", codes, dtype=pl.UInt32))
    found = event.join(
        kinds, on=["event", "start"], how="left", nulls_equal=True, maintain_order="left"
    )
    return found["code"].to_numpy()


def _numbers(fields: pl.DataFrame, names: Names) -> Numbers:
    return Numbers(
        fields["row"].to_numpy(), names.codes(fields["name"]), fields["value"].to_numpy()
    )


def _texts(fields: pl.DataFrame, names: Names) -> Texts:
    return Texts(fields["row"].to_numpy(), names.codes(fields["name"]), fields["text"])

"""Groups of bundles -> chunks of events.

The events of all bundles of a group are read in lockstep: first their heads, then the payloads of
those that are wanted; what is left out is counted by name. calltime and rettime of function_graph
are of the kernel's local clock and never mixed with the record's time: a duration is their
difference. Source of truth: protos/perfetto/trace/ftrace of Perfetto 56.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from traceview.parsers import perfetto_kinds as kinds
from traceview.parsers.chunks import (
    NO_DEPTH,
    NO_DURATION,
    NO_IP,
    Chunk,
    Comms,
    Texts,
    joined_chunks,
    joined_comms,
    joined_numbers,
    joined_texts,
    kept,
)
from traceview.parsers.classes import Class
from traceview.parsers.columns import texts
from traceview.parsers.perfetto_bundles import Group, event_elements, read_bundle
from traceview.parsers.perfetto_events import MISSING, read_columns, read_events
from traceview.parsers.perfetto_probes import by_code, code_kprobe_events, read_legacy
from traceview.parsers.perfetto_sched import SchedEvents, read_compact
from traceview.parsers.perfetto_streams import Streams
from traceview.parsers.perfetto_wire import Blob
from traceview.parsers.task_states import state_texts
from traceview.parsers.tasks import task_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.parsers.chunks import Hole
    from traceview.parsers.classes import Classes
    from traceview.parsers.columns import Flags, Ints
    from traceview.parsers.perfetto_events import Columns, Events, Spans
    from traceview.parsers.perfetto_index import Index
    from traceview.trace import Want


class Decoder:
    """Decodes the bundles of an index, in any order that keeps that of each CPU."""

    def __init__(self, index: Index, classes: Classes, want: Want) -> None:
        """Take over what the index knows."""
        self._index, self._classes, self._want = index, classes, want
        self._table = index.kinds.table()
        self._sched = SchedEvents(index.names, classes, want)
        sequences = dict.fromkeys(index.bundles.sequence)
        many = len(sequences) > 1
        self._buffers = {s: f"sequence {s}" if many else None for s in sequences}
        self._streams = Streams(self._buffers)
        self.damaged_events = 0
        self.nameless = 0  # function_graph events whose symbol is not in the trace

    def decode(self, ids: list[int]) -> Chunk:
        """The events of the bundles *ids*."""
        group = self._group(ids)
        events = read_events(group.blob, group.bundles)
        kind = self._kinds_of(events, group)
        plain = self._plain(group, events, kind)
        compact = read_compact(group.blob, group.bundles, self._index.names)
        followed = self._streams.follow(group, events, compact)
        sched = self._sched.chunk(compact, followed.prev, group)
        self.damaged_events += int(events.bad.sum() + compact.bad.sum())
        skipped = dict(Counter(plain.skipped) + Counter(self._skipped(events, kind)))
        return joined_chunks([replace(plain, holes=followed.holes, skipped=skipped), sched])

    def _group(self, ids: list[int]) -> Group:
        """The bundles *ids*, taken apart."""
        pieces = [self._index.content(i) for i in ids]
        blob = Blob(pieces)
        ends = np.cumsum([len(piece) for piece in pieces]).tolist()
        found = event_elements(blob)
        spans = [(end - len(piece), end) for piece, end in zip(pieces, ends, strict=True)]
        known, names = self._index.bundles, self._index.names
        sequence = [known.sequence[i] for i in ids]
        return Group(
            blob,
            bundles=[read_bundle(blob, found, start, stop) for start, stop in spans],
            sequence=sequence,
            cpu=np.array([known.cpu[i] for i in ids], dtype=np.int32),
            epoch=np.array([known.epoch[i] for i in ids]),
            buffer=np.array([names.code(self._buffers[one]) for one in sequence], dtype=np.uint32),
        )

    def last_holes(self) -> list[Hole]:
        """The holes that no later bundle closes."""
        return self._streams.last_holes()

    def _kinds_of(self, events: Events, group: Group) -> NDArray[np.uint16]:
        """The kind of each event, as an index of the table."""
        number = np.minimum(events.number, kinds.NUMBERS)
        aliases = self._index.kinds.aliases
        for sequence in aliases.keys() & set(group.sequence):
            mine = (np.array(group.sequence) == sequence)[events.owner]
            for old, alias in aliases[sequence].items():
                number[mine & (events.number == old)] = alias
        return self._table.of_number[number]

    def _skipped(self, events: Events, kind: NDArray[np.uint16]) -> dict[str, int]:
        """How many events of each name are left out.

        An event without task and payload marks where Perfetto failed; that is a hole.
        """
        left = (kind == 0) & ~events.bad & ((events.number > 0) | (events.tid >= 0))
        counts = np.bincount(np.minimum(events.number[left], kinds.NUMBERS))
        names = {0: "(no payload)", kinds.NUMBERS: "(field numbers out of range)"}
        return {
            names.get(number) or self._index.kinds.name(number): int(counts[number])
            for number in np.flatnonzero(counts).tolist()
        }

    def _plain(self, group: Group, events: Events, kind: NDArray[np.uint16]) -> Chunk:
        """The events of the group that are wanted, but for the compact ones.

        Those that turn out to be damaged are marked in *events*.
        """
        rows = np.flatnonzero((kind > 0) & ~events.bad)
        kind, owner, blob = kind[rows], events.owner[rows], group.blob
        columns = read_columns(blob, self._table, kind, events.start[rows], events.stop[rows])
        column, names = columns.column, self._index.names
        chunk = Chunk.blank(
            events.ts_ns[rows], cpu=group.cpu[owner], buffer=group.buffer[owner],
            tid=events.tid[rows].astype(np.int32), what=self._table.what[kind],
            numbers=columns.numbers, texts=self._strings(blob, columns.strings),
        )  # fmt: skip
        if kinds.PROBE_IP in column:
            ip = column[kinds.PROBE_IP]
            chunk = replace(chunk, probe_ip=np.where(ip == MISSING, NO_IP, ip).view(np.uint64))
        if kinds.GRAPH_FUNC in column:
            chunk = self._graph(group, chunk, columns, kind, owner)
        if kinds.NEXT_COMM in columns.spans or kinds.PREV_COMM in columns.spans:
            chunk = self._comms(blob, chunk, columns)
        code_kprobe_events(blob, columns, chunk.what, names, self._classes, self._index.host)
        left_out = columns.bad
        if (kind == self._table.number["generic"]).any():
            chunk, left_out = self._legacy(blob, chunk, columns, kind)
        events.bad[rows[columns.bad]] = True
        return kept(chunk, ~left_out) if left_out.any() else chunk

    def _graph(
        self, group: Group, chunk: Chunk, columns: Columns, kind: NDArray[np.uint16], owner: Ints
    ) -> Chunk:
        """Name the functions of function_graph events, and say how deep and how long."""
        is_exit = kind == self._table.number["funcgraph_exit"]
        rows = np.flatnonzero(is_exit | (kind == self._table.number["funcgraph_entry"]))
        func = columns.column[kinds.GRAPH_FUNC][rows]
        symbol = self._symbols(group, func, owner[rows])
        self.nameless += int((symbol == 0).sum())

        def make(code: int) -> int:
            half = "exit" if code & 1 else "entry"
            name = self._index.names[code >> 1]
            return self._classes.code(Class(f"funcgraph_{half}", name, half, "fgraph"))

        chunk.what[rows] = by_code(symbol << 1 | is_exit[rows], make)
        if kinds.GRAPH_DEPTH in columns.column:
            depth = columns.column[kinds.GRAPH_DEPTH]
            chunk = replace(chunk, depth=np.where(depth < 0, NO_DEPTH, depth).astype(np.int32))
        if {kinds.GRAPH_CALLTIME, kinds.GRAPH_RETTIME} <= columns.column.keys():
            called = columns.column[kinds.GRAPH_CALLTIME]
            returned = columns.column[kinds.GRAPH_RETTIME]
            known = (called != MISSING) & (returned >= called)
            duration = np.where(known, returned - called, NO_DURATION)
            chunk = replace(chunk, duration_ns=duration)
        return chunk

    def _symbols(self, group: Group, func: Ints, owner: Ints) -> Ints:
        """The codes of the names that *func* stands for; 0 where the trace does not say."""
        tables: list[Ints] = []
        first, size, at = {}, {}, 0
        for epoch in np.unique(group.epoch).tolist():
            symbols = self._index.epochs.symbols[epoch]
            table = np.zeros(max(symbols, default=0) + 1, dtype=np.int64)
            table[list(symbols)] = list(symbols.values())
            first[epoch], size[epoch], at = at, len(table), at + len(table)
            tables.append(table)
        base = np.array([first[epoch] for epoch in group.epoch.tolist()])[owner]
        width = np.array([size[epoch] for epoch in group.epoch.tolist()])[owner]
        known = np.flatnonzero((func >= 0) & (func < width))
        found = np.zeros(len(func), dtype=np.int64)
        found[known] = np.concatenate(tables)[base[known] + func[known]]
        return found

    def _comms(self, blob: Blob, chunk: Chunk, columns: Columns) -> Chunk:
        """What plain sched_switch events say about the names of tasks."""
        comms, added = [], [chunk.texts]
        tids = {kinds.PREV_COMM: chunk.tid.astype(np.int64)}
        tids[kinds.NEXT_COMM] = columns.column.get(kinds.NEXT_PID, np.full(len(chunk), MISSING))
        for action, arg in ((kinds.PREV_COMM, "prev_comm"), (kinds.NEXT_COMM, "next_comm")):
            if action not in columns.spans:
                continue
            spans = columns.spans[action]
            codes = self._index.names.codes(texts(blob.data, spans.start, spans.length))
            task = task_of(tids[action][spans.row], chunk.cpu[spans.row])
            known = np.flatnonzero(task >= -1 - (1 << 31))
            comms.append(Comms(chunk.ts_ns[spans.row[known]], task[known], codes[known]))
            added.append(self._text(spans.row, arg, self._index.names.column(codes)))
        if kinds.TASK_STATE in columns.column:
            state = columns.column[kinds.TASK_STATE]
            rows = np.flatnonzero(state != MISSING)
            added.append(self._text(rows, "prev_state", state_texts(state[rows])))
        if self._want.all_events:
            chunk = replace(chunk, texts=joined_texts(added))
        return replace(chunk, comms=joined_comms(comms))

    def _strings(self, blob: Blob, spans: Spans) -> Texts:
        """Arguments that are strings; the line of a marker goes without its end."""
        text = texts(blob.data, spans.start, spans.length)
        line = spans.name == self._index.names.code("buf")
        if line.any():
            text = text.str.strip_chars_end("\n").zip_with(pl.Series(line), text)
        return Texts(spans.row, spans.name, text)

    def _text(self, rows: Ints, name: str, text: pl.Series) -> Texts:
        code = self._index.names.code(name)
        return Texts(rows, np.full(len(rows), code, dtype=np.uint32), text.cast(pl.String))

    def _legacy(
        self, blob: Blob, chunk: Chunk, columns: Columns, kind: NDArray[np.uint16]
    ) -> tuple[Chunk, Flags]:
        """Fill in GenericFtraceEvents; returns also which events of the chunk are to go."""
        is_legacy = kind == self._table.number["generic"]
        rows = np.flatnonzero(is_legacy & ~columns.bad)
        legacy = read_legacy(blob, columns, rows, self._index.names, self._classes, self._want)
        left_out = columns.bad | is_legacy
        left_out[legacy.row] = columns.bad[legacy.row]
        chunk.what[legacy.row] = legacy.what
        chunk.probe_ip[legacy.row] = legacy.probe_ip
        added = replace(
            chunk,
            numbers=joined_numbers([chunk.numbers, legacy.numbers]),
            texts=joined_texts([chunk.texts, legacy.texts]),
            skipped=legacy.skipped,
        )
        return added, left_out

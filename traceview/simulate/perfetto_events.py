"""Records -> fields of Perfetto's ftrace bundles, as traced_probes writes them.

function_graph records and markers are events that Perfetto knows; the probes describe themselves
(`generic_event_descriptors`), with the fields of their format files. Source of truth: protos/
perfetto/trace/ftrace/{ftrace_event,ftrace,ftrace_event_bundle}.proto of Perfetto 56.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from traceview.byte_columns import Pool
from traceview.protobuf_columns import Message, Number, Text, encoded, number
from traceview.simulate.probe_events import GROUP, probe_events
from traceview.simulate.record_columns import ENTRY, EXIT, KRETPROBE, PRINT, columns, following

if TYPE_CHECKING:
    import polars as pl

    from traceview.byte_columns import Bytes, Ints
    from traceview.protobuf_columns import Part
    from traceview.simulate.probe_events import ProbeEvent
    from traceview.simulate.record_columns import Columns, Symbols
    from traceview.simulate.recording import Recorded

FIRST_DESCRIBED: Final = 65536  # below are the events that Perfetto knows
EVENT: Final = number("FtraceEventBundle", "event")


@dataclass(frozen=True, slots=True)
class Encoded:
    """The events of a batch in order of CPU: event i is data[bounds[i] : bounds[i + 1]]."""

    data: Bytes
    bounds: Ints
    cpu: Ints
    ts_ns: Ints
    lost_before: Ints


class Events:
    """Encodes batches. A function's interned id is its number and 1."""

    def __init__(self, recorded: Recorded, symbols: Symbols) -> None:
        """The probes of *recorded*."""
        self.symbols = symbols
        self._addresses = recorded.addresses
        self._probes = probe_events(recorded)
        self._numbers = {key: FIRST_DESCRIBED + n for n, key in enumerate(self._probes)}

    def descriptions(self) -> list[Any]:
        """What the probes say of themselves."""
        return [_description(event, self._numbers[key]) for key, event in self._probes.items()]

    def encode(self, batch: pl.DataFrame) -> Encoded:
        """The events of *batch*."""
        rows = columns(batch, self.symbols)
        order, _ = following(rows.cpu)
        kind, symbol = rows.kind[order], rows.symbol[order]
        parts: list[tuple[Ints | None, Part]] = []
        for code in (ENTRY, EXIT, PRINT):
            at = np.flatnonzero(kind == code)
            if at.size:
                parts.append((at, _event(rows, order[at], self._known(rows, order[at], code))))
        probe = np.where((kind > EXIT) & (kind < PRINT), symbol * 2 + (kind == KRETPROBE), -1)
        for one in np.unique(probe[probe >= 0]).tolist():
            at = np.flatnonzero(probe == one)
            key = (self.symbols.names[one // 2], bool(one % 2))
            parts.append((at, _event(rows, order[at], self._probe(rows, order[at], key))))
        data, bounds = encoded(parts, len(rows))
        return Encoded(data, bounds, rows.cpu[order], rows.ts_ns[order], rows.lost_before[order])

    def _known(self, rows: Columns, which: Ints, kind: int) -> Part:
        """A record of function_graph, or a marker."""
        if kind == PRINT:
            return Message(number("FtraceEvent", "print"), [_words(rows, which)])
        function, depth = rows.symbol[which] + 1, rows.numbers("depth", which)
        if kind == ENTRY:
            said = {"func": function, "depth": depth}
            return _message("funcgraph_entry", "FuncgraphEntryFtraceEvent", said)
        said = {
            "func": function, "depth": depth, "overrun": np.zeros(len(which), dtype=np.int64),
            "calltime": rows.numbers("calltime_ns", which),
            "rettime": rows.numbers("rettime_ns", which),
        }  # fmt: skip
        return _message("funcgraph_exit", "FuncgraphExitFtraceEvent", said)

    def _probe(self, rows: Columns, which: Ints, key: tuple[str, bool]) -> Part:
        event = self._probes[key]
        address = np.uint64(self._addresses[event.symbol]).view(np.int64)
        said = [np.full(len(which), address)]
        if event.returns:  # where it returns to is not simulated
            said.append(np.zeros(len(which), dtype=np.int64))
        said += [one.read(rows.numbers(one.column, which)) for one in event.values]
        fields = [Number(n, values) for n, values in enumerate(said, 1)]
        return Message(self._numbers[key], fields)


def _event(rows: Columns, which: Ints, payload: Part) -> Part:
    head = (("timestamp", rows.ts_ns[which]), ("pid", rows.tid[which]))
    fields = [Number(number("FtraceEvent", name), values) for name, values in head]
    return Message(EVENT, [*fields, payload])


def _message(event: str, message: str, said: dict[str, Ints]) -> Part:
    """The fields in the order of their numbers."""
    fields = sorted((number(message, name), values) for name, values in said.items())
    return Message(number("FtraceEvent", event), [Number(*one) for one in fields])


def _words(rows: Columns, which: Ints) -> Part:
    """What was written to trace_marker, with the newline that the kernel adds."""
    texts = rows.rows["text"].gather(which).fill_null("").str.strip_chars_end("\n") + "\n"
    return Text(number("PrintFtraceEvent", "buf"), *Pool.of_column(texts))


def _description(event: ProbeEvent, field_number: int) -> Any:
    """The GenericEventDescriptor."""
    message = DescriptorProto(name=event.name)
    places = [(name, False) for name in event.places]
    for n, (name, signed) in enumerate([*places, *((v.name, v.signed) for v in event.values)], 1):
        kind = FieldDescriptorProto.TYPE_INT64 if signed else FieldDescriptorProto.TYPE_UINT64
        message.field.add(name=name, number=n, type=kind)
    return pb.FtraceEventBundle.GenericEventDescriptor(
        field_id=field_number, group_name=GROUP,
        event_descriptor=message.SerializeToString(deterministic=True),
    )  # fmt: skip

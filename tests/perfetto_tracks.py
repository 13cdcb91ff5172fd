"""What a Perfetto trace shows: track events as trace_processor reads them, for tests.

A small model of its rules, from its documents and sources (docs/reference/
synthetic-track-event.md, src/trace_processor/importers/proto, src/trace_processor/sorter):
packets are decoded with the generated classes, interned strings are those of the packet's
sequence, events are put in order of time (those of one time in the order of the file), slices of
a track nest. Whatever breaks a rule is an AssertionError.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from heapq import merge
from typing import Any

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

EVENT = pb.TrackEvent


@dataclass
class Slice:
    name: str
    start: int
    end: int | None
    depth: int
    args: dict[str, Any]
    flows: list[int]
    ending: list[int]


@dataclass
class Track:
    uuid: int
    name: str
    parent: int
    is_counter: bool
    description: str
    slices: list[Slice] = field(default_factory=list)
    instants: list[Slice] = field(default_factory=list)
    values: list[tuple[int, float]] = field(default_factory=list)
    open: list[Slice] = field(default_factory=list)


@dataclass
class Timeline:
    """`tracks` by uuid; `sequence`: of the packets with track events."""

    tracks: dict[int, Track]
    sequence: int

    def path(self, track: Track) -> tuple[str, ...]:
        above = self.path(self.tracks[track.parent]) if track.parent else ()
        return (*above, track.name)

    def named(self, *names: str) -> list[Track]:
        """The tracks whose path ends so."""
        return [one for one in self.tracks.values() if self.path(one)[-len(names) :] == names]

    def by_name(self, start: str) -> list[Track]:
        return [one for one in self.tracks.values() if one.name.startswith(start)]


def timeline(content: bytes, sequence: int | None = None) -> Timeline:
    """The tracks of the packets of *sequence* (None: the only one that has any)."""
    packets = list(pb.Trace.FromString(content).packet)
    ours = {
        one.trusted_packet_sequence_id
        for one in packets
        if one.HasField("track_event") or one.HasField("track_descriptor")
    }
    sequence = min(ours) if sequence is None else sequence
    packets = [one for one in packets if one.trusted_packet_sequence_id == sequence]
    found = Timeline({}, sequence)
    interned: dict[str, dict[int, str]] = defaultdict(dict)
    events = []
    for nth, packet in enumerate(packets):
        assert bool(packet.sequence_flags & 1) == (nth == 0), "state begins once"
        learn(packet, interned)
        if packet.HasField("track_descriptor"):
            add_track(packet.track_descriptor, found.tracks)
        if packet.HasField("track_event"):
            assert packet.sequence_flags & 2
            assert packet.HasField("timestamp")
            events.append((packet.timestamp, resolved(packet.track_event, interned)))
    for ts, event in sorted(events, key=lambda one: one[0]):
        take(found.tracks[event["track"]], ts, event)
    for track in found.tracks.values():
        assert not track.open, f"{track.name}: never ends"
    return found


def learn(packet: Any, interned: dict[str, dict[int, str]]) -> None:
    data = packet.interned_data
    for table in ("event_names", "debug_annotation_names"):
        for one in getattr(data, table):
            assert one.iid > 0
            assert one.iid not in interned[table]
            interned[table][one.iid] = one.name
    for one in data.debug_annotation_string_values:
        assert one.iid not in interned["strings"]
        interned["strings"][one.iid] = one.str.decode()


def add_track(described: Any, tracks: dict[int, Track]) -> None:
    assert described.uuid not in tracks
    assert described.uuid != 0
    assert not described.HasField("parent_uuid") or described.parent_uuid in tracks
    tracks[described.uuid] = Track(
        described.uuid, described.name, described.parent_uuid, described.HasField("counter"),
        described.description,
    )  # fmt: skip


def resolved(event: Any, interned: dict[str, dict[int, str]]) -> dict[str, Any]:
    """The event with its strings; one that refers to nothing is a KeyError."""
    args = {}
    for one in event.debug_annotations:
        kind = one.WhichOneof("value")
        value = getattr(one, kind)
        name = interned["debug_annotation_names"][one.name_iid]
        assert name not in args
        args[name] = interned["strings"][value] if kind == "string_value_iid" else value
    kind = event.WhichOneof("counter_value_field")
    return {
        "type": event.type, "track": event.track_uuid, "args": args,
        "name": interned["event_names"][event.name_iid] if event.HasField("name_iid") else None,
        "flows": list(event.flow_ids), "ending": list(event.terminating_flow_ids),
        "value": getattr(event, kind) if kind else None,
    }  # fmt: skip


def take(track: Track, ts: int, event: dict[str, Any]) -> None:
    if event["type"] == EVENT.TYPE_COUNTER:
        assert track.is_counter
        assert event["value"] is not None
        assert not track.values or track.values[-1][0] < ts
        track.values.append((ts, event["value"]))
        return
    assert not track.is_counter
    if event["type"] == EVENT.TYPE_SLICE_END:
        assert track.open, f"{track.name}: an end without a begin"
        track.open.pop().end = ts
        return
    assert event["name"]
    made = Slice(
        event["name"], ts, None, len(track.open), event["args"], event["flows"], event["ending"]
    )
    if event["type"] == EVENT.TYPE_INSTANT:
        track.instants.append(made)
    else:
        track.slices.append(made)
        track.open.append(made)


def late(content: bytes) -> list[Any]:
    """The packets and events that trace_processor's sorter drops, as it reads window by window.

    Queues per CPU and one for the rest; at a read of the service's buffers after two flushes
    everything is handed on, in order of time, that was there at the read before.
    """
    queues: dict[int, list[tuple[int, int, Any]]] = defaultdict(list)
    latest = limit = flushes = 0
    dropped: list[Any] = []

    def extract(until: float) -> None:
        nonlocal latest
        for queue in queues.values():
            queue.sort(key=lambda one: one[:2])
        done = dict.fromkeys(queues, 0)
        numbered = ([(*one, cpu) for one in queue] for cpu, queue in queues.items())
        for ts, at, what, cpu in merge(*numbered, key=lambda one: one[:2]):
            if at >= until:
                break
            if ts < latest:
                dropped.append(what)
            latest = max(latest, ts)
            done[cpu] += 1
        for cpu, count in done.items():
            del queues[cpu][:count]

    for position, packet in enumerate(pb.Trace.FromString(content).packet, 1):
        if packet.HasField("ftrace_events"):
            queue = queues[packet.ftrace_events.cpu]
            queue += [(one.timestamp, position, one) for one in packet.ftrace_events.event]
        elif packet.HasField("track_event"):
            queues[-1].append((packet.timestamp, position, packet))
        elif packet.HasField("service_event"):
            flushes += packet.service_event.all_data_sources_flushed
            if packet.service_event.read_tracing_buffers_completed and flushes >= 2:
                extract(limit)
                limit, flushes = position, 0
    extract(float("inf"))
    return dropped

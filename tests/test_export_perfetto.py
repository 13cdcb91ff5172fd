"""A Perfetto trace with the tracks of its analysis mixed in: its packets stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tests.exporting import (
    SAMPLES,
    UNMAP,
    pieces,
    unpacked,
)
from tests.perfetto_tracks import late, timeline
from tests.writers import perfetto as w
from traceview.cli.app import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name", ["fgraph-6.12-neoverse-n1.perfetto", "kprobes-6.1-max.perfetto.xz"]
)
def test_packets_of_a_perfetto_trace_stay_as_they_are(name: str, tmp_path: Path) -> None:
    out = tmp_path / "out.pftrace"
    assert run(["export", "--quiet", "--perfetto", str(out), str(SAMPLES / name)]) == 0
    before = pieces(unpacked(SAMPLES / name))
    found = timeline(out.read_bytes())
    added = [f"{found.sequence}", pb.TracePacket]
    after = [
        piece
        for piece in pieces(out.read_bytes())
        if pb.TracePacket.FromString(piece).trusted_packet_sequence_id != found.sequence
    ]
    assert after == before, added


class TestWindows:
    """Packets lie where trace_processor does not drop them."""

    def streamed(self) -> bytes:
        """A trace that was written into its file: bundles, then flushes and reads, three times."""
        packets = [w.ftrace_config()]
        for cycle in range(6):
            begin = 1_000_000 * (cycle + 1)
            for cpu in (0, 1):
                events = [
                    w.graph_entry(begin + cpu, 10 + cpu, 1, 0),
                    w.graph_exit(begin + 900 + cpu, 10 + cpu, 1, 5, 905, 0),
                ]
                packets.append(
                    w.events(cpu, *events, interned_data=w.symbols({1: UNMAP}), sequence_flags=1)
                )
            for what in ("all_data_sources_flushed", "all_data_sources_flushed",
                         "read_tracing_buffers_completed"):  # fmt: skip
                service = pb.TracingServiceEvent(**{what: True})
                packets.append(w.packet(1, timestamp=begin + 950, service_event=service))
        return w.trace(*packets)

    def test_none_is_dropped(self, tmp_path: Path) -> None:
        path, out = tmp_path / "in.pftrace", tmp_path / "out.pftrace"
        path.write_bytes(self.streamed())
        assert run(["export", "--quiet", "--perfetto", str(out), str(path)]) == 0
        content = out.read_bytes()
        assert late(self.streamed()) == []
        assert late(content) == []
        shown = timeline(content)
        assert sum(len(track.slices) for track in shown.by_name("unmaps (")) == 12

    def test_appended_they_would_be(self, tmp_path: Path) -> None:
        path, out = tmp_path / "in.pftrace", tmp_path / "out.pftrace"
        path.write_bytes(self.streamed())
        assert run(["export", "--quiet", "--no-events", "--perfetto", str(out), str(path)]) == 0
        assert late(path.read_bytes() + out.read_bytes()) != []

    def test_of_compressed_packets_they_lie_behind_those(self, tmp_path: Path) -> None:
        packets = [pb.TracePacket.FromString(one) for one in pieces(self.streamed())]
        content = w.trace(
            *(w.compressed(*packets[at : at + 5]) for at in range(0, len(packets), 5))
        )
        path, out = tmp_path / "in.pftrace", tmp_path / "out.pftrace"
        path.write_bytes(content)
        assert run(["export", "--quiet", "--perfetto", str(out), str(path)]) == 0
        kept = [one for one in pieces(out.read_bytes()) if one in pieces(content)]
        assert kept == pieces(content)
        assert sum(len(t.slices) for t in timeline(out.read_bytes()).by_name("unmaps (")) == 12

    def test_numbers_that_are_taken_are_not_used(self, tmp_path: Path) -> None:
        path, once, twice = (tmp_path / name for name in ("in", "once", "twice"))
        path.write_bytes(self.streamed())
        assert run(["export", "--quiet", "--perfetto", str(once), str(path)]) == 0
        assert run(["export", "--quiet", "--perfetto", str(twice), str(once)]) == 0
        packets = pb.Trace.FromString(twice.read_bytes()).packet
        described = [one for one in packets if one.HasField("track_descriptor")]
        uuids = [one.track_descriptor.uuid for one in described]
        assert len(set(uuids)) == len(uuids)
        assert len({one.trusted_packet_sequence_id for one in described}) == 2

    def test_a_packet_that_is_cut_off_swallows_none(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path, out = tmp_path / "in.pftrace", tmp_path / "out.pftrace"
        content = self.streamed()
        path.write_bytes(content[:-5])
        assert run(["export", "--perfetto", str(out), str(path)]) == 0
        assert timeline(out.read_bytes()).by_name("unmaps (")
        left = len(content) - sum(map(len, map(w.trace, pb.Trace.FromString(content).packet[:-1])))
        said = capsys.readouterr().err
        assert f"{left - 5} bytes behind the last whole packet: not written" in said
        path.write_bytes(content)
        assert run(["export", "--force", "--perfetto", str(out), str(path)]) == 0
        assert "behind the last whole packet" not in capsys.readouterr().err


@pytest.mark.parametrize(("clock", "expected"), [(0, 6), (4, 5), (3, 64), (2, 64)])
def test_the_clock_is_that_of_the_ftrace_events(clock: int, expected: int, tmp_path: Path) -> None:
    events = [w.graph_entry(5000, 10, 1), w.graph_exit(6000, 10, 1, 5, 905)]
    bundle = w.bundle(0, events, ftrace_clock=clock, ftrace_timestamp=7000, boot_timestamp=9000)
    names = w.symbols({1: UNMAP})
    path, out = tmp_path / "in.pftrace", tmp_path / "out.pftrace"
    path.write_bytes(
        w.trace(w.ftrace_config(), w.packet(ftrace_events=bundle, interned_data=names,
                                            sequence_flags=1))
    )  # fmt: skip
    assert run(["export", "--quiet", "--perfetto", str(out), str(path)]) == 0
    content = out.read_bytes()
    shown = timeline(content)
    ours = [
        one
        for one in pb.Trace.FromString(content).packet
        if one.trusted_packet_sequence_id == shown.sequence
    ]
    assert ours[0].trace_packet_defaults.timestamp_clock_id == expected
    snapshots = [
        {clock.clock_id: clock.timestamp for clock in one.clock_snapshot.clocks}
        for one in ours
        if one.HasField("clock_snapshot")
    ]
    assert snapshots == ([{64: 7000, 6: 9000}] if expected == 64 else [])
    [unmaps] = shown.by_name("unmaps (")
    assert [one.start for one in unmaps.slices] == [5000]

"""`traceview export` as a user meets it: what it refuses, what it says, --scrub."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING

import polars as pl
import pytest
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tests.exporting import (
    SAMPLES,
    opened,
    read_back,
    same,
)
from tests.perfetto_tracks import timeline
from tests.scrubbing import RECORDERS, both
from traceview.cli.app import run
from traceview.queries import analyze
from traceview.scrub_words import KEPT_COMMS

if TYPE_CHECKING:
    from pathlib import Path

UNTIMED = "fgraph-latency-6.12-neoverse-n1.txt.zst"


class TestCommand:
    """What the command refuses, and what it says."""

    def test_a_trace_without_times_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "out.pftrace"
        assert run(["export", "--perfetto", str(out), str(SAMPLES / UNTIMED)]) == 2
        assert "funcgraph-abstime" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []

    def test_an_existing_file_and_the_trace_itself_are_kept(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        trace = tmp_path / "trace.perfetto"
        shutil.copy(SAMPLES / "fgraph-6.12-neoverse-n1.perfetto", trace)
        before = trace.read_bytes()
        assert run(["export", "--force", "--perfetto", str(trace), str(trace)]) == 2
        assert "names the trace itself" in capsys.readouterr().err
        out = tmp_path / "out.pftrace"
        out.write_text("kept")
        assert run(["export", "--perfetto", str(out), str(trace)]) == 2
        assert out.read_text() == "kept"
        assert run(["export", "--force", "--perfetto", str(out), str(trace)]) == 0
        assert out.read_bytes() != b"kept"
        assert trace.read_bytes() == before

    def test_something_must_say_what_to_export_to(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["export", str(SAMPLES / UNTIMED)]) == 2
        assert "--perfetto FILE" in capsys.readouterr().err

    def test_standard_output_and_input_serve(
        self, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        trace = SAMPLES / "fgraph-6.12-neoverse-n1.perfetto"
        with trace.open("rb") as file:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
            assert run(["export", "--perfetto", "-", "-"]) == 0
        content, said = capfdbinary.readouterr()
        assert timeline(content).by_name("unmaps (origin unknown)")
        assert b"wrote" not in said

    def test_what_is_not_carried_over_is_said(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        name = "cpuclock-6.12-neoverse-n1.script.txt.zst"
        out = tmp_path / "out.pftrace"
        assert run(["export", "--perfetto", str(out), str(SAMPLES / name)]) == 0
        said = capsys.readouterr().err
        assert "4,339 samples of a profiler: not written" in said
        assert "--host" in said

    def test_without_events_there_are_tracks_alone(self, tmp_path: Path) -> None:
        out = tmp_path / "out.pftrace"
        trace = SAMPLES / "kprobes-6.1-max.dat.xz"
        assert run(["export", "--no-events", "--perfetto", str(out), str(trace)]) == 0
        packets = pb.Trace.FromString(out.read_bytes()).packet
        assert not any(one.HasField("ftrace_events") for one in packets)
        assert timeline(out.read_bytes()).by_name("unmaps (emulated)")

    def test_what_is_wrong_with_standard_input_is_said_of_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "out.pftrace"
        whole = (SAMPLES / "kprobes-6.12-neoverse-n1.txt.zst").read_bytes()
        for content, code in ((b"no trace at all", 2), (whole[: len(whole) // 2], 0)):
            stdin = io.TextIOWrapper(io.BytesIO(content))
            monkeypatch.setattr("sys.stdin", stdin)
            assert run(["export", "--perfetto", str(out), "-"]) == code
            said = capsys.readouterr().err
            assert "traceview-stdin" not in said
            assert code == 0 or "<stdin>" in said
        shown = timeline(out.read_bytes())
        damage = [one.name for track in shown.by_name("diagnostics") for one in track.instants]
        assert any("<stdin>" in text for text in damage)
        assert not any("traceview-stdin" in text for text in damage)


@pytest.mark.parametrize("name", ["fgraph-6.12-neoverse-n1.perfetto", "kprobes-6.12-max.perf.data"])
def test_a_scrubbed_trace_is_exported_without_its_names(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.pftrace"
    assert run(["export", "--scrub", "--perfetto", str(out), str(SAMPLES / name)]) == 0
    said = capsys.readouterr().err
    assert ("none of them is written" in said) == name.endswith(".perfetto")
    _, new, scrubber = both([opened(name)])
    back = read_back(out.read_bytes(), opened(name), tmp_path)
    same(new.analysis.unmaps, back.unmaps)
    assert set(back.unmaps["tid"]) == {
        scrubber.tid(tid) for tid in analyze(opened(name)).unmaps["tid"]
    }
    content = out.read_bytes()
    comms = set(opened(name).tables().events["comm"].cast(pl.String).drop_nulls())
    told = {one for one in comms if len(one) > 4 and not KEPT_COMMS.fullmatch(one)} - RECORDERS
    assert told
    for word in (told - {"traced"}) | {name}:  # "traced functions" is a word of ours
        assert word.encode() not in content, word

"""`traceview analyze --calibration`: what is read, what is refused, what is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from traceview.cli.app import run

ROOT = Path(__file__).parent.parent
TRACES = ROOT.parent / "shared" / "traces" / "observer" / "6.12-neoverse-n1"
DEMO = str(ROOT / "sample_traces" / "fgraph-6.12-neoverse-n1.perfetto")
OTHER_KERNEL = str(ROOT / "sample_traces" / "kprobes-6.1-max.perfetto.xz")
captures = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.exists(), reason=f"the captures are not there: {TRACES}"),
]


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    assert run([*arguments]) == code
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_a_trace_cannot_calibrate_itself(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.perfetto"
    copy.write_bytes(Path(DEMO).read_bytes())
    for other in (DEMO, str(copy)):
        out, err = said(capsys, "analyze", DEMO, "--calibration", other, code=2)
        assert out == ""
        assert f"cannot calibrate itself: {other}\n" in err


def test_a_calibration_given_twice_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    twice = ("--calibration", OTHER_KERNEL) * 2
    assert "given twice" in said(capsys, "analyze", DEMO, *twice, code=2)[1]


def test_a_calibration_of_another_host_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = said(capsys, "analyze", DEMO, "--calibration", OTHER_KERNEL, code=2)
    assert out == ""
    assert "the calibration is of another host or kernel: kernel 6.1." in err


def test_a_calibration_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        "no-such-file" in said(capsys, "analyze", DEMO, "--calibration", "no-such-file", code=2)[1]
    )


class TestCaptures:
    pytestmark = captures

    def test_a_top_level_capture_corrects_a_detailed_one(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        split, top = str(TRACES / "split.txt.zst"), str(TRACES / "top.txt")
        out, _ = said(capsys, "analyze", split, "--calibration", top, "--json")
        read = json.loads(out)
        (cost,) = read["tracing_costs"]
        assert cost["method"] == "calibrated"
        assert [one["path"] for one in read["calibration"]] == [top]
        assert len(read["calibration"][0]["sha256"]) == 64
        assert "overhead-not-calibrated" not in [one["code"] for one in read["caveats"]]
        (group,) = read["groups"]
        assert group["corrected_low_ns"] < group["corrected_ns"] < group["duration_ns"] / 5

    def test_filters_keep_less_than_the_calibration_stands_on(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        split, top = str(TRACES / "split.txt.zst"), str(TRACES / "top.txt")
        out, _ = said(capsys, "analyze", split, "--calibration", top, "--step", "w01.*", "--json")
        read = json.loads(out)
        (cost,) = read["tracing_costs"]
        assert cost["strata"] == 8
        assert read["ledger"][0]["left_out"] == 42 - read["ledger"][0]["counted"] > 0

"""remotes/hypervisor is recorded beside the host, around it, and is as before at the end."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.test_record_state import Recorder
from tests.writers import host_tree
from traceview.cli.app import run
from traceview.record import hypervisor
from traceview.record.hypervisor import to_put_back
from traceview.record.tracefs_files import Tracefs

NVHE = host_tree.BOOT_LOG.replace("VHE mode", "Hyp nVHE mode")
TEXT = "[000]\t    0.001000: hyp_enter reason=hvc vcpu=0\n" * 3
LOST = f"{TEXT}CPU:1 [LOST 12 EVENTS]\n{TEXT}CPU:0 [LOST 1 EVENTS]\n{TEXT}"


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    host_tree.behave(monkeypatch.setattr)
    monkeypatch.setattr(hypervisor, "POLL_S", 0.002)


def make(root: Path, text: str = TEXT) -> Path:
    tracefs = host_tree.make_host(root / "host", log=NVHE)
    host_tree.make_hypervisor(tracefs, text)
    return tracefs


def record(root: Path, *options: str) -> int:
    own = ("--host-root", str(root / "host"), "--state-dir", str(root / "state"))
    return run(["record", *own, "-o", str(root / "run"), *options])


def dumped(root: Path) -> Path:
    return root / "run/trace/remotes/hypervisor/trace_pipe"


def test_it_is_set_while_recording_read_into_the_dump_and_put_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracefs = make(tmp_path)
    before = host_tree.settings(tracefs)
    names = "tracing_on buffer_size_kb events/hypervisor/*/enable"
    seen = tmp_path / "seen"
    script = f"cd {tracefs}/remotes/hypervisor; cat {names} > {seen}; cat {tracefs}/trace_clock"
    assert record(tmp_path, "--origin", "emulated", "--", "sh", "-c", script) == 0
    assert seen.read_text().split() == ["1", "8192", "(unloaded)", "1", "1", "0"]
    assert dumped(tmp_path).read_text() == TEXT
    assert host_tree.settings(tracefs) == before
    said = capsys.readouterr().err
    assert "remotes/hypervisor, beside the host's buffers" in said
    assert "nothing was lost" in said
    plan = json.loads((tmp_path / "run/plan.json").read_text())
    assert (plan["hypervisor"], plan["hypervisor_buffer_size_kb"]) == (True, 8192)
    assert json.loads((tmp_path / "run/trace.host.json").read_text())["clock"] == "boot"


def test_it_records_from_before_the_host_until_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    written: list[str] = []
    real = Tracefs._write

    def note(self: Tracefs, name: str, text: str, how: int) -> None:
        if name.endswith("tracing_on"):
            written.append(f"{'EL2' if 'hyp' in name else 'host'} {text}")
        real(self, name, text, how)

    monkeypatch.setattr(Tracefs, "_write", note)
    assert record(tmp_path, "-q", "--", "true") == 0
    assert written[:5] == ["host 0", "EL2 1", "host 1", "host 0", "EL2 0"]


def test_without_it_nothing_of_it_is_touched(tmp_path: Path) -> None:
    tracefs = make(tmp_path)
    host_tree.write(tracefs / "remotes/hypervisor/tracing_on", "1\n")  # somebody else's
    before = host_tree.settings(tracefs)
    assert record(tmp_path, "-q", "--no-hypervisor", "--", "true") == 0
    assert not dumped(tmp_path).exists()
    assert host_tree.settings(tracefs) == before
    assert record(tmp_path, "-q", "--", "true") == 2


def test_what_it_lost_counts_as_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, LOST)
    assert record(tmp_path, "--", "true") == 1
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert (result["events_lost"], result["lost_by_cpu"]) == (13, {"0": 1, "1": 12})
    said = capsys.readouterr().err
    assert "13 events LOST on 2 CPUs" in said
    assert "13 of the events lost are the hypervisor's" in said


def test_losses_in_any_piece_of_the_text_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hypervisor, "PIECE_BYTES", 64)
    monkeypatch.setattr("traceview.record.recorder.WATCH_S", 0.01)
    make(tmp_path, LOST * 9)
    assert record(tmp_path, "-q", "--duration", "100ms") == 1
    assert json.loads((tmp_path / "run/result.json").read_text())["events_lost"] == 13 * 9


def test_a_buffer_that_somebody_else_holds_makes_losses_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracefs = make(tmp_path)
    size = tracefs / "remotes/hypervisor/buffer_size_kb"
    assert record(tmp_path, "--", "sh", "-c", f"echo '8192 (loaded)' > {size}") == 0
    said = capsys.readouterr().err
    assert "whether events were lost is not known" in said
    assert "somebody else has read" in said


def test_a_reader_that_fails_ends_the_recording_and_everything_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tracefs = make(tmp_path)
    before = host_tree.settings(tracefs)
    host_tree.program(tmp_path, "cat", "exit 1\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/usr/bin:{os.environ['PATH']}")
    assert record(tmp_path, "-q", "--", "true") == 2
    assert "events cannot be written" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert host_tree.settings(tracefs) == before


def test_it_is_stopped_and_emptied_before_its_size_is_put_back() -> None:
    changed = {
        "trace_clock": ["mono"], "remotes/hypervisor/buffer_size_kb": ["7"],
        "remotes/hypervisor/tracing_on": ["1"],
    }  # fmt: skip
    assert list(to_put_back(changed)) == [
        ("remotes/hypervisor/tracing_on", "0"),
        ("remotes/hypervisor/trace", "\n"),
        ("remotes/hypervisor/buffer_size_kb", "7"),
        ("remotes/hypervisor/tracing_on", "1"),
    ]
    assert list(to_put_back({"trace_clock": ["mono"]})) == []


def test_after_kill_9_its_reader_has_ended_and_restore_puts_it_back(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "-o", str(tmp_path / "run"))
    host_tree.program(recorder.root, "dmesg", f"cat <<'END'\n{NVHE}END\n")
    folder = host_tree.make_hypervisor(recorder.tracefs)
    (folder / "trace_pipe").unlink()
    os.mkfifo(folder / "trace_pipe")
    recorder.before = host_tree.settings(recorder.tracefs)
    pipe = os.open(folder / "trace_pipe", os.O_RDWR)  # it blocks, as the kernel's does
    try:
        process = recorder.start()
        os.write(pipe, TEXT.encode())
        (reader,) = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        until = time.monotonic() + 60
        while Path(f"/proc/{reader}").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert not Path(f"/proc/{reader}").exists()
    finally:
        os.close(pipe)
    assert (folder / "tracing_on").read_text() == "1\n"
    assert "was killed" in recorder.run("-o", str(tmp_path / "other")).stderr
    assert recorder.run("--restore").returncode == 0
    assert recorder.is_as_before()


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    if not found.exists():
        pytest.skip("this kernel does not list the children of a process")
    return [int(one) for one in found.read_text().split()]

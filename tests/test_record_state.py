"""What a recording changes is put back, whatever it was and however the recording ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.writers import host_tree
from traceview.errors import SettingError
from traceview.record.preset import PRESETS
from traceview.record.probes import define
from traceview.record.state import StateFile, began, undo
from traceview.record.tracefs_files import Tracefs

NAMES = [name.split()[0] for name in host_tree.FUNCTIONS]
LISTED = st.lists(st.sampled_from(NAMES), unique=True, max_size=4)
OPTIONS = st.fixed_dictionaries({name: st.sampled_from("01") for name in host_tree.OPTIONS})
SETTINGS = st.fixed_dictionaries(
    {
        "trace_clock": st.sampled_from(host_tree.CLOCKS),
        "buffer_size_kb": st.integers(1, 99).map(str),
        "max_graph_depth": st.integers(0, 9).map(str),
        "tracing_thresh": st.integers(0, 9).map(str),
        "tracing_on": st.sampled_from("01"),
        "current_tracer": st.sampled_from(("nop", "function", "function_graph")),
    }
)
LISTS = st.fixed_dictionaries(
    dict.fromkeys(("set_ftrace_filter", "set_graph_function", "set_ftrace_notrace"), LISTED)
    | {"set_event": st.lists(st.sampled_from(host_tree.EVENTS), unique=True, max_size=3)}
)
# A recorder with a host of files, as a process of its own.
RECORDER = """
import sys
from tests.writers import host_tree
host_tree.behave()
from traceview.cli import main
sys.argv = ["traceview", *sys.argv[1:]]
main()
"""


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    host_tree.behave(monkeypatch.setattr)


def change(
    tracefs: Tracefs, values: dict[str, str], options: dict[str, str], lists: dict[str, list[str]]
) -> None:
    for name, value in values.items():
        tracefs.write(name, value)
    for name, value in options.items():
        tracefs.write(f"options/{name}", value)
    for name, elements in lists.items():
        if name == "set_event":
            for event in tracefs.text(name).split():
                tracefs.append(name, f"!{event}")
        else:
            tracefs.write(name, "")
        tracefs.append(name, " ".join(elements))


@settings(max_examples=25, deadline=None)
@given(st.tuples(SETTINGS, OPTIONS, LISTS), st.tuples(SETTINGS, OPTIONS, LISTS), st.booleans())
def test_any_state_comes_back_after_any_change(
    before: tuple[dict[str, str], dict[str, str], dict[str, list[str]]],
    after: tuple[dict[str, str], dict[str, str], dict[str, list[str]]],
    instance: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = host_tree.make_host(Path(folder))
        tracefs = Tracefs(path)
        change(tracefs, *before)
        tracefs.append("kprobe_events", "p:mine/one schedule\n")
        found = host_tree.settings(path)
        state = StateFile(Path(folder) / "state").begin(
            tracefs, "traceview-1" if instance else None, Path(folder)
        )
        if instance:
            tracefs.make_instance("traceview-1")
        change(tracefs, *after)
        define(tracefs, PRESETS["args"].probes[:1])
        tracefs.append("set_event", "traceview:unmap")
        assert undo(state) == []
        assert host_tree.settings(path) == found


def test_a_setting_that_nobody_changed_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracefs = Tracefs(host_tree.make_host(tmp_path))
    state = StateFile(tmp_path / "state").begin(tracefs, None, tmp_path)
    written: list[str] = []
    monkeypatch.setattr(Tracefs, "_write", lambda self, name, *_: written.append(name))
    assert undo(state) == []
    assert written == []


def test_what_the_kernel_refuses_to_put_back_is_said_and_the_rest_is_put_back(
    tmp_path: Path,
) -> None:
    path = host_tree.make_host(tmp_path)
    tracefs = Tracefs(path)
    change(tracefs, {"trace_clock": "boot", "max_graph_depth": "4"}, {}, {})
    state = StateFile(tmp_path / "state").begin(tracefs, None, tmp_path)
    change(tracefs, {"trace_clock": "mono", "max_graph_depth": "0"}, {}, {})
    state.settings["trace_clock"] = ["gone"]
    (refused,) = undo(state)
    assert refused.startswith("trace_clock ('gone'): ")
    assert tracefs.text("max_graph_depth") == "4"


def test_a_state_of_an_earlier_boot_is_nothing_to_put_back(tmp_path: Path) -> None:
    tracefs = Tracefs(host_tree.make_host(tmp_path))
    file = StateFile(tmp_path / "state", tmp_path)
    file.begin(tracefs, None, tmp_path)
    assert file.read() is not None
    host_tree.write(tmp_path / "proc/sys/kernel/random/boot_id", "another\n")
    assert file.read() is None
    assert not file.path.exists()


def test_a_second_recording_is_refused_while_one_runs(tmp_path: Path) -> None:
    tracefs = Tracefs(host_tree.make_host(tmp_path))
    file = StateFile(tmp_path / "state", tmp_path)
    file.begin(tracefs, None, tmp_path / "run1")
    with pytest.raises(SettingError, match=f"process {os.getpid()} is recording into .*run1"):
        file.begin(tracefs, None, tmp_path / "run2")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 2}', "\x00", '{"version": 1}'])
def test_a_damaged_state_file_is_an_error_of_one_line(tmp_path: Path, content: str) -> None:
    host_tree.write(tmp_path / "state/recording.json", content)
    with pytest.raises(SettingError, match="the saved state cannot be read"):
        StateFile(tmp_path / "state", tmp_path).read()


def test_a_process_is_known_by_its_number_and_its_beginning(tmp_path: Path) -> None:
    assert began(os.getpid()).isdecimal()
    host_tree.write(tmp_path / "7/stat", f"7 (a ) b) S {' '.join(map(str, range(1, 30)))}")
    assert began(7, tmp_path) == "19"
    assert began(8, tmp_path) == ""


# ---- real processes


class Recorder:
    """`traceview record` as a process, on a host of files."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.root = folder / "host"
        self.tracefs = host_tree.make_host(self.root)
        self.before = host_tree.settings(self.tracefs)
        self.folder, self.options = folder, options

    def start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(*self.options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        # It records when its first marker is there.
        while not self.markers() and process.poll() is None:
            time.sleep(0.02)
        assert process.poll() is None, process.communicate()
        return process

    def command(self, *options: str) -> list[str]:
        own = ("--host-root", str(self.root), "--state-dir", str(self.folder / "state"))
        return [sys.executable, "-c", RECORDER, "record", *own, *options]

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(*options), capture_output=True, text=True, check=False)

    def markers(self) -> str:
        return "".join(path.read_text() for path in self.tracefs.rglob("trace_marker"))

    def is_as_before(self) -> bool:
        pending = (self.folder / "state/recording.json").exists()
        return host_tree.settings(self.tracefs) == self.before and not pending


INSTANCE, TOP_LEVEL = ("--preset", "args"), ("--preset", "split", "--top-level")


@pytest.mark.parametrize(
    ("number", "how"),
    [(signal.SIGINT, TOP_LEVEL), (signal.SIGTERM, INSTANCE), (signal.SIGHUP, TOP_LEVEL)],
)
def test_a_signal_ends_the_recording_with_everything_put_back(
    tmp_path: Path, number: signal.Signals, how: tuple[str, ...]
) -> None:
    recorder = Recorder(tmp_path, "-o", str(tmp_path / "run"), *how)
    process = recorder.start()
    assert host_tree.settings(recorder.tracefs) != recorder.before
    process.send_signal(number)
    _, said = process.communicate()
    # Without a command, ending it is its planned end; the recording is kept in any case.
    assert process.returncode == 0, said
    assert recorder.is_as_before()
    result = json.loads((recorder.folder / "run/result.json").read_text())
    assert result["signal"] == number
    assert f"ended by {number.name}" in said


@pytest.mark.parametrize("how", [INSTANCE, TOP_LEVEL])
def test_after_kill_9_nothing_starts_until_restore_has_put_everything_back(
    tmp_path: Path, how: tuple[str, ...]
) -> None:
    recorder = Recorder(tmp_path, "-o", str(tmp_path / "run"), *how)
    process = recorder.start()
    running = recorder.run("-o", str(recorder.folder / "other"))
    assert running.returncode == 2
    assert f"process {process.pid} is recording into" in running.stderr
    process.kill()
    process.communicate()
    assert host_tree.settings(recorder.tracefs) != recorder.before
    refused = recorder.run("-o", str(recorder.folder / "other"))
    assert refused.returncode == 2
    assert "was killed" in refused.stderr
    assert "traceview record --restore" in refused.stderr
    assert not (recorder.folder / "other").exists()
    done = recorder.run("--restore")
    assert (done.returncode, done.stdout) == (0, "")
    assert recorder.is_as_before()

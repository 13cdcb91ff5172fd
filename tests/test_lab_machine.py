"""The lab's machine: QEMU's command line, how a boot ends, what it is kept under."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from sample_traces.lab import cli
from sample_traces.lab.boot import Boot, job_path, pack_project, run_machine
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import HERE, PROJECT, VARIABLE, Folder
from sample_traces.lab.machine import Machine, checked, command


def test_the_machine_has_el2_and_what_was_asked_for(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "a,b")
    home = folder.kernels / "6.12"
    home.mkdir(parents=True)
    words = command(Machine(mode="nvhe"), folder, "6.12", tmp_path / "a,b/share", ["-plugin", "x"])
    line = " ".join(words)
    assert "virtualization=on" in line
    assert "kvm-arm.mode=nvhe" in line
    assert "root=/dev/vda" in line
    assert f"path={tmp_path}/a,,b/share," in line
    assert line.endswith("-plugin x")
    assert "-icount" not in line
    (home / "initrd.gz").touch()
    clock = " ".join(command(Machine(cpus=1, deterministic=True), folder, "6.12", tmp_path))
    assert "-icount shift=0,sleep=off" in clock
    assert "root=/dev/vda" not in clock


@pytest.mark.parametrize(
    ("machine", "word"),
    [
        (Machine(cpu="none"), "no CPU model 'none'"),
        (Machine(mode="none"), "no mode 'none'"),
        (Machine(deterministic=True), "needs one CPU"),
    ],
)
def test_a_machine_that_cannot_be_is_refused(machine: Machine, word: str) -> None:
    with pytest.raises(LabError, match=word):
        checked(machine)


def console_of(tmp_path: Path, script: str, seconds: float = 60) -> tuple[str | None, str]:
    console = tmp_path / "console.log"
    return run_machine(["sh", "-c", script], console, seconds), console.read_text()


def test_a_machine_that_ends_by_itself_is_no_failure(tmp_path: Path) -> None:
    assert console_of(tmp_path, "echo up") == (None, "up\n")


def test_a_machine_that_ends_with_a_status_is_a_failure(tmp_path: Path) -> None:
    assert console_of(tmp_path, "exit 3") == ("QEMU ended with status 3", "")


def test_a_machine_that_hangs_is_ended_at_its_time_limit(tmp_path: Path) -> None:
    failure, said = console_of(tmp_path, "echo $$; exec sleep 1000", 0.5)
    assert failure == "the guest did not end in 0.5 s"
    with pytest.raises(ProcessLookupError):
        os.kill(int(said), 0)


def test_a_machine_that_ignores_the_polite_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sample_traces.lab.boot.END_SECONDS", 0.2)
    failure, said = console_of(tmp_path, "trap '' TERM; echo $$; while :; do sleep 0.1; done", 0.5)
    assert failure is not None
    with pytest.raises(ProcessLookupError):
        os.kill(int(said), 0)


@pytest.mark.parametrize(
    "line",
    [
        "Kernel panic - not syncing: VFS: Unable to mount root fs",
        "Internal error: Oops: 0000000096000004 [#1] SMP",
        "Unable to handle kernel NULL pointer dereference at virtual address 0",
    ],
)
def test_a_kernel_that_fails_ends_the_boot_at_once(tmp_path: Path, line: str) -> None:
    failure, said = console_of(tmp_path, f"echo '[ 1.0] {line}'; exec sleep 1000")
    assert failure is not None
    assert failure.startswith("the guest's kernel failed")
    assert line in said


PROGRAM = """
import sys
from pathlib import Path
from sample_traces.lab.boot import run_machine
run_machine(["sh", "-c", "echo $$; exec sleep 1000"], Path(sys.argv[1]), 100)
"""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_machine_ends_with_the_process_that_started_it(
    tmp_path: Path, ending: signal.Signals
) -> None:
    console = tmp_path / "console.log"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(console)], cwd=PROJECT, stderr=subprocess.DEVNULL
    )
    while not console.exists() or not console.read_text().endswith("\n"):
        assert process.poll() is None
    machine = int(console.read_text())
    process.send_signal(ending)
    assert process.wait() != 0
    while _runs(machine):
        pass  # the kernel ends it: the test's own time limit is the limit


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_jobs_are_named_and_a_wrong_name_says_which_there_are() -> None:
    assert job_path("probe") == HERE / "jobs/probe.sh"
    with pytest.raises(LabError, match=r"there is no job 'prob'\nthere are: .*probe"):
        job_path("prob")


def test_a_boot_is_kept_under_what_it_was() -> None:
    job = job_path("probe")
    assert Boot(job, "6.12", Machine()).folder_name == "probe-6.12-max"
    told = Machine(cpu="neoverse-n1", cpus=1, mode="nvhe", deterministic=True)
    assert Boot(job, "6.1", told).folder_name == "probe-6.1-neoverse-n1-nvhe-deterministic"
    assert Boot(job, "6.1", told, name="x").folder_name == "x"


def test_the_project_goes_to_the_guest_without_caches(tmp_path: Path) -> None:
    pack_project(tmp_path / "project.tar")
    with tarfile.open(tmp_path / "project.tar") as packed:
        names = packed.getnames()
    assert "traceview/record/plan.py" in names
    assert "traceview/cli/app.py" in names
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]


def test_errors_are_one_clause_and_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert cli.main(["boot", "probe", "--kernel", "none", "--", "-x"]) == cli.FINDING
    assert capsys.readouterr().err.startswith("error: there is no kernel 'none'\n")
    assert cli.main(["check", str(tmp_path)]) == cli.FINDING
    assert "not the folder of a boot" in capsys.readouterr().err

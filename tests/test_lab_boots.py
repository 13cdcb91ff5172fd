"""Real kernels, booted: what they record has the workload's ground truth. `make lab` runs these.

Not part of the suite (marker `lab`): a boot takes half a minute to two minutes. They skip, and say
so, where the lab is not set up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from sample_traces.lab.boot import Boot, boot, job_path
from sample_traces.lab.captures import SIDECAR, captures, recordings, write_sidecars
from sample_traces.lab.check import check, strategy, unmaps_by_step
from sample_traces.lab.checked_boot import check_boot
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import Folder, lab_folder
from sample_traces.lab.kernels import known
from sample_traces.lab.machine import Machine
from sample_traces.lab.truth import read_truth
from traceview.parsers import open_trace
from traceview.queries import analyze

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1200)]

MACHINES = [("6.1", "max"), ("6.12", "max"), ("6.12", "neoverse-n1"), ("7", "max")]
CASES = (
    "tracefs/split/std",
    "tracefs/args/tiny",
    "tracefs/top/tiny",
    "trace-cmd/split/tiny",
    "perf/args/tiny",
    "perfetto/split/tiny",
    "script/split/std",
    "script/args/tiny",
    "killed/split/tiny",
)


@pytest.fixture(scope="module")
def lab() -> Folder:
    """The lab, set up."""
    folder = lab_folder()
    if not folder.root_image.exists():
        pytest.skip(f"no lab in {folder.path}: python3 -m sample_traces.lab setup")
    return folder


def require_kernel(lab: Folder, name: str) -> None:
    if name not in known(lab):
        pytest.skip(f"no kernel {name} in {lab.kernels}: its suite had none when it was fetched")


@pytest.mark.parametrize(("kernel", "cpu"), MACHINES)
def test_captures_of_the_lab_have_the_ground_truth(lab: Folder, kernel: str, cpu: str) -> None:
    require_kernel(lab, kernel)
    names = ("fgraph", "kprobes", "raw")
    out = boot(
        lab,
        Boot(job_path("samples"), kernel, Machine(cpu=cpu), names, name=f"truth-{kernel}-{cpu}"),
    )
    write_sidecars(out)
    checked = check_boot(out)
    assert set(checked) == set(names)
    for name, found in checked.items():
        assert found.wrong == [], name
        assert found.unmaps >= 70
        assert found.held["unmaps"] == found.steps - 1  # of hugetlb the number is the kernel's
    # Where leaves cannot be counted, it is not silently so for all of them.
    assert checked["kprobes"].held.get("leaves by level", 0) > 20


def test_the_workload_and_kvm_run_without_vhe(lab: Folder) -> None:
    out = boot(lab, Boot(job_path("probe"), "6.12", Machine(mode="nvhe")))
    assert "kvm [1]: Hyp nVHE mode initialized" in (out / "dmesg.txt").read_text().replace(
        "Hyp mode", "Hyp nVHE mode"
    )
    assert len(read_truth(out / "probe.truth.jsonl")) == 44


def test_a_kernel_without_a_root_file_system_is_an_error_with_its_last_words(lab: Folder) -> None:
    broken = Machine(kernel_arguments="rdinit=/nothing init=/nothing root=/dev/none", cpus=1)
    with pytest.raises(LabError, match="the guest's kernel failed") as caught:
        boot(lab, Boot(job_path("probe"), "6.12", broken, name="broken", seconds=200))
    assert "Kernel panic" in str(caught.value)


# ---- traceview record


@dataclass(frozen=True)
class Recorded:
    """The boot in which every case was recorded."""

    out: Path

    def status(self, name: str) -> str:
        path = self.out / f"{name}.status"
        assert path.exists(), (self.out / "job.log").read_text()
        log = self.out / f"{name}.log"
        return path.read_text().strip() + (f"\n{log.read_text()}" if log.exists() else "")


@pytest.fixture(scope="module")
def recorded(lab: Folder, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """All cases of `traceview record` in one boot of 6.12 on `max`."""
    script = tmp_path_factory.mktemp("script") / "record.sh"
    command = ["traceview", "record", "--script", "--preset", "split", "--preset", "args"]
    printed = subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    script.write_bytes(printed.stdout)
    asked = Boot(
        job_path("record"), "6.12", Machine(), CASES, files=(script,), project=True, seconds=900
    )
    return Recorded(boot(lab, asked))


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("killed")])
def test_a_recording_has_the_ground_truth_and_leaves_tracefs_as_it_was(
    recorded: Recorded, case: str
) -> None:
    backend, preset, _ = case.split("/")
    name = f"{backend}-{preset}"
    status = recorded.status(name)
    assert status.splitlines()[0] == "0", status
    (one,) = [one for one in recordings(recorded.out) if one.name == name]
    assert one.truth is not None
    truth = read_truth(one.truth)
    found = unmaps_by_step(one.path) or unmaps_by_step(one.path, one.truth)
    checked = check(found, truth, strategy("6.12", {"fwb": True, "tlbirange": True}))
    assert checked.wrong == []
    assert checked.held["unmaps"] >= len(truth) - 1
    if preset != "top":
        assert checked.held.get("leaves by level", 0) + checked.held.get("leaves", 0) > 2, (
            checked.line()
        )
        assert checked.held["strategy"] > 2
    analysis = analyze(open_trace(one.path))
    assert analysis.sources["origin"].to_list() == ["emulated"]
    assert analysis.sources["fwb"].to_list() == [True]
    assert not [what for _, what in analysis.diagnostics if what.severity == "error"]


def test_what_a_killed_recorder_left_is_put_back_by_restore(recorded: Recorded) -> None:
    status = recorded.status("killed-split")
    assert status.splitlines()[0] == "0", status


def test_every_capture_of_the_lab_says_that_it_is_emulated(lab: Folder) -> None:
    for out in lab.out.glob("truth-*"):
        for one in captures(out):
            assert json.loads(Path(f"{one.path}{SIDECAR}").read_text())["origin"] == "emulated"

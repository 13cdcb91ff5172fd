"""`traceview simulate`: files, options, refusals; and every report of it says synthetic."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from traceview.cli.app import run

ROOT = Path(__file__).parent.parent


def simulated(folder: Path, *options: str, name: str = "x.txt", profile: str = "n1-like") -> Path:
    path = folder / name
    assert run(["simulate", profile, "-o", str(path), "-q", *options]) == 0
    return path


@pytest.mark.parametrize("name", ["x.txt", "x.dat", "x.perfetto", "x.pftrace"])
def test_a_trace_has_its_truth_and_its_sidecar_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = simulated(tmp_path, "--unmaps", "3", "--size", "16k", name=name)
    truth = [json.loads(line) for line in Path(f"{path}.truth.jsonl").read_text().splitlines()]
    assert [one["leaves"] for one in truth] == [4, 4, 4]
    sidecar = json.loads(Path(f"{path}.host.json").read_text())
    assert sidecar["origin"] == "synthetic"
    assert "kvm_pgtable_stage2_unmap" in sidecar["traced"]
    capsys.readouterr()
    assert run(["analyze", "--json", str(path)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["leaves"] for one in found["unmaps"]] == [4, 4, 4]
    assert [one["duration_ns"] for one in found["unmaps"]] == [one["duration_ns"] for one in truth]


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = (
        simulated(tmp_path / n, "--unmaps", "20", "--cpus", "2", name="x.dat") for n in "ab"
    )
    assert one.read_bytes() == two.read_bytes()
    truths = [Path(f"{path}.truth.jsonl").read_bytes() for path in (one, two)]
    assert truths[0] == truths[1]


def test_nothing_is_overwritten_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = simulated(tmp_path, "--size", "4k")
    path.unlink()  # the truth alone is reason enough
    assert run(["simulate", "n1-like", "-o", str(path), "--size", "4k"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert not path.exists()
    simulated(tmp_path, "--size", "4k", "--force")


def test_a_failure_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.txt"
    assert run(["simulate", "n1-like", "-o", str(path), "--size", "5000"]) == 2
    assert "no multiple of 4096" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "x.foo"], "no format is known"), ([], "where to?"),
        (["-o", "x.txt", "--strategy", "deferred_range"], "cannot defer"),
        (["-o", "x.txt", "--strategy", "both"], "auto, per_pte"),
        (["-o", "x.txt", "--against", "per_pte"], "--runs"),
        (["-o", ".", "--runs", "2", "--against", "auto"], "both sides are the same"),
        (["-o", "x.txt", "--runs", "2"], "a folder is written to"),
        (["-o", "x.txt", "--preset", "all"], "top, split, deep, args"),
        (["-o", "x.txt", "--clock", "x86-tsc"], "local, global"),
        (["-o", "x.txt", "--tracer", "bpf"], "function_graph, kprobe"),
        (["-o", "x.txt", "--function", "schedule"], "has no function 'schedule'"),
        (["-o", "x.txt", "--discard"], "--buffer-kb"),
        (["-o", "x.txt", "--set", "machine.cpu=3"], "machine.cpus"),
        (["-o", "x.txt", "--steps", "nosuch.toml"], "cannot be read"),
        (["-o", "x.txt", "--mapped", "7"], "from 0 to 1"),
        (["-o", "x.txt", "--format", "json"], "text, trace-cmd, perfetto"),
        (["--list", "-o", "x.txt"], "writes no trace"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_words(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(["simulate", "n1-like", *options]) == 2
    err = capsys.readouterr().err
    assert words in " ".join(err.split()), err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_profiles_are_listed_with_how_much_of_them_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["simulate", "--list"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"n1-like +\d+ +0 +A host like", out)
    assert run(["simulate", "emulated-6.12-max", "--list"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"costs_ns\.put +33 +measured +insn/6\.12-max", out)
    assert re.search(r"tracing_ns\.probe_before +900 +assumed", out)
    assert run(["simulate", "--list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in found["profiles"]} >= {"n1-like", "posted-like"}


def test_what_was_written_says_that_it_is_synthetic_and_what_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.txt"
    options = ["--unmaps", "40", "--size", "512k", "--buffer-kb", "16"]
    assert run(["simulate", "emulated-6.12-max", "-o", str(path), *options]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "synthetic: counts and order follow" in out
    assert re.search(r"of \d+ numbers of the profile \d+ measured, \d+ assumed", out)
    assert run(["simulate", "n1-like", "-o", str(path), "--json", "--force"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["origin"] == "synthetic"
    assert found["files"][0]["statuses"] == {"complete": 1}


@pytest.mark.parametrize("options", [[], ["--mail"], ["--markdown"], ["--json"]])
def test_every_report_of_a_simulated_trace_says_synthetic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    path = simulated(tmp_path, "--unmaps", "10", "--size", "64k")
    capsys.readouterr()
    assert run(["analyze", str(path), *options]) == 0
    out = capsys.readouterr().out
    assert "synthetic" in out.lower() or "simulated" in out.lower()


def test_a_trace_that_lost_its_sidecar_still_says_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = simulated(tmp_path, "--size", "64k", name="x.dat")
    Path(f"{path}.host.json").unlink()
    capsys.readouterr()
    assert run(["analyze", str(path)]) == 0
    assert "-synthetic" in capsys.readouterr().out
    assert run(["query", str(path), "select text from args where name = 'buf' limit 1"]) == 0
    assert "SYNTHETIC" in capsys.readouterr().out


def test_an_a_b_of_strategies_is_interleaved_and_comparable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--runs", "3", "--strategy", "per_pte", "--against", "deferred_range"]
    assert run(
        ["simulate", "posted-like", "-o", str(tmp_path), "--size", "256k", "--unmaps", "5", "-q",
         *options]
    ) == 0  # fmt: skip
    sidecars = [json.loads(one.read_text()) for one in sorted(tmp_path.glob("*.host.json"))]
    by_order = sorted(sidecars, key=lambda one: one["order"])
    labels = [one["label"] for one in by_order]
    assert labels == ["per_pte", "deferred_range", "deferred_range", "per_pte", "per_pte",
                      "deferred_range"]  # fmt: skip
    base, other = (
        [str(one) for one in sorted(tmp_path.glob(f"{side}-*.txt"))]
        for side in ("per_pte", "deferred_range")
    )
    assert run(["compare", "--base", *base, "--with", *other]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "in simulated time" in out
    assert "made by a simulator" in out


def test_tables_that_were_left_to_the_range_flush_are_found_by_the_audit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def audited(*options: str) -> int:
        path = simulated(
            tmp_path, "--preset", "args", "--size", "64k", "--force", *options, name="x.dat",
            profile="posted-like",
        )  # fmt: skip
        capsys.readouterr()
        return run(["audit", str(path)])

    assert audited() == 0
    # The kernels before f62d4c3eb687.
    assert audited("--set", "kernel.tables=deferred", "--set", "kernel.release=6.6.10") == 1
    assert "released before" in capsys.readouterr().out

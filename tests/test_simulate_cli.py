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
        (["-o", ".", "--format", "json", "--runs", "2"], "text, trace-cmd, perfetto"),
        (["-o", "no/such", "--runs", "2"], "cannot be made"),
        (["-o", "-", "--format", "text"], "three files"),
        (["-o", "x.txt", "--steps", "x.toml", "--size", "4k"], "and so does --size"),
        (["-o", "x.txt", "--cpus", "81"], "up to 80"),
        (["-o", "x.txt", "--mapped", "50%"], "not a number from 0 to 1"),
        (["-o", "x.txt", "--steps", "."], "Is a directory"),
        (["-o", "x.txt", "--set", "kernel.release="], "as of uname -r"),
        (["--show", "-o", "x.txt"], "--show writes no trace"),
        (["-o", "x.txt", "--preset", "all"], "top, split, deep, args"),
        (["-o", "x.txt", "--clock", "x86-tsc"], "local, global"),
        (["-o", "x.txt", "--tracer", "bpf"], "function_graph, kprobe"),
        (["-o", "x.txt", "--function", "schedule"], "has no function 'schedule'"),
        (["-o", "x.txt", "--discard"], "--buffer-kb"),
        (
            ["-o", "x.txt", "--discard", "--buffer-kb", "8", "--drain-kb-s", "9"],
            "does not say where",
        ),
        (["-o", "x.txt", "--action", "vcpu_init", "--set", "machine.fwb=true"], "FEAT_S2FWB"),
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
    said = r"^n1-like$\n +A host like .*\n +of \d+ numbers .* 0 measured"
    assert re.search(said, out, re.MULTILINE)
    monkeypatch.setenv("COLUMNS", "60")
    assert run(["simulate", "emulated-6.12-max", "--list"]) == 0
    out = capsys.readouterr().out
    number = re.search(r"costs_ns\.put +33 +measured +(\(\d+\))", out)
    assert number
    assert re.search(rf"^ +{re.escape(number[1])} insn/6\.12-max$", out, re.MULTILINE)
    assert re.search(r"tracing_ns\.probe_before +900 +assumed", out)
    assert run(["simulate", "--list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in found["profiles"]} >= {"n1-like", "posted-like"}


def test_a_profile_is_shown_as_it_can_be_given_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", "n1-like", "--show"]) == 0
    mine = tmp_path / "mine.toml"
    mine.write_text(capsys.readouterr().out)
    simulated(tmp_path, "--size", "4k", profile=str(mine))
    assert run(["simulate", str(tmp_path), "-o", str(tmp_path / "y.txt")]) == 2
    assert "Is a directory" in capsys.readouterr().err


def test_what_is_read_is_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", "n1-like", "--show"]) == 0
    mine, asked = tmp_path / "mine.toml", tmp_path / "steps.txt"
    mine.write_text(capsys.readouterr().out)
    asked.write_text('[[step]]\nsize = "4k"\n')
    before = mine.read_bytes(), asked.read_bytes()
    options = ["simulate", str(mine), "--steps", str(asked), "--format", "text", "--force"]
    for path in (mine, asked):
        assert run([*options, "-o", str(path)]) == 2
        assert "would be overwritten" in capsys.readouterr().err
    assert (mine.read_bytes(), asked.read_bytes()) == before


def test_steps_that_say_what_was_done_are_told_from_those_that_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = tmp_path / "steps.jsonl"
    done.write_text('{"id": "w01", "action": "dontneed"}\n')
    assert run(["simulate", "n1-like", "-o", str(tmp_path / "x.txt"), "--steps", str(done)]) == 2
    assert "JSON lines, of what was done" in capsys.readouterr().err


def test_a_run_has_the_name_of_another_only_where_everything_is_the_same(tmp_path: Path) -> None:
    def run_of(name: str, *options: str, profile: str = "posted-like") -> str:
        path = simulated(tmp_path, "--size", "4k", *options, name=name, profile=profile)
        found = json.loads(Path(f"{path}.host.json").read_text())["run"]
        assert isinstance(found, str)
        return found

    assert run_of("a.txt") == run_of("a.dat")
    others = [
        run_of("b.txt", "--seed", "2"), run_of("c.txt", "--strategy", "per_pte"),
        run_of("d.txt", profile="n1-like"), run_of("e.txt", "--set", "costs_ns.put=1"),
        run_of("f.txt", "--preset", "top"), run_of("g.txt", "--size", "8k"),
    ]  # fmt: skip
    assert len({run_of("z.txt"), *others}) == 1 + len(others)


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
    assert found["files"][0]["label"] is None
    assert '"value": 4096,' in json.dumps(found["profile"])


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
    folder = tmp_path / "ab"  # is made
    options = ["--runs", "3", "--strategy", "per_pte", "--against", "deferred_range"]
    assert run(
        ["simulate", "posted-like", "-o", str(folder), "--size", "256k", "--unmaps", "5", "-q",
         *options]
    ) == 0  # fmt: skip
    sidecars = [json.loads(one.read_text()) for one in sorted(folder.glob("*.host.json"))]
    by_order = sorted(sidecars, key=lambda one: one["order"])
    labels = [one["label"] for one in by_order]
    assert labels == ["per_pte", "deferred_range", "deferred_range", "per_pte", "per_pte",
                      "deferred_range"]  # fmt: skip
    base, other = (
        [str(one) for one in sorted(folder.glob(f"{side}-*.txt"))]
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
            tmp_path, "--preset", "args", "--force", *options, name="x.dat", profile="posted-like",
        )  # fmt: skip
        capsys.readouterr()
        return run(["audit", str(path)])

    assert audited("--size", "64k") == 0
    # An unmap of a part of a block begins behind what it visits; addresses of references suffice.
    part = tmp_path / "part.toml"
    part.write_text(f'[[step]]\nsize = "64k"\ngpa = {(2 << 30) + (1 << 20)}\n')
    assert audited("--steps", str(part)) == 0
    assert audited("--size", "64k", "--preset", "split", "--tracer", "kprobe") == 0
    late = ("--size", "64k", "--set", "kernel.tables=deferred", "--set", "kernel.release=6.6.10")
    assert audited("--preset", "split", "--tracer", "kprobe", *late) == 1
    assert "released before" in capsys.readouterr().out
    # The kernels before f62d4c3eb687.
    assert audited(*late) == 1
    assert "released before" in capsys.readouterr().out

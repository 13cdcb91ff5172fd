"""`traceview record`: a recording on a host of files, from the command line to the analysis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.writers import host_tree
from traceview.cli.app import run
from traceview.parsers import open_trace
from traceview.queries.recording_plan import RecordedRun, recording_plan
from traceview.record import series
from traceview.record.backend import Losses
from traceview.record.tracefs import TracefsBackend

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = sys.executable


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    host_tree.behave(monkeypatch.setattr)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    host_tree.make_host(tmp_path / "host")
    return tmp_path / "host"


def record(host: Path, *options: str) -> int:
    own = ("--host-root", str(host), "--state-dir", str(host.parent / "state"))
    return run(["record", *own, *options])


def tracefs(host: Path) -> Path:
    return host / host_tree.TRACEFS


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_command_is_recorded_and_everything_is_as_before(
    host: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = host_tree.settings(tracefs(host))
    folder = tmp_path / "run1"
    options = ("-o", str(folder), "--preset", "args", "--origin", "emulated", "--label", "base")
    # Options behind the command are the command's.
    assert record(host, *options, "sh", "-c", "echo out; echo err >&2") == 0
    said = capfd.readouterr()
    assert said.out == "out\n"
    assert "\nerr\n" in said.err
    assert said.err.index("What the capture will answer") < said.err.index("\nerr\n")
    assert said.err.endswith(
        f"nothing was lost\nthe command: exit code 0\nnext: traceview audit {folder}/trace\n"
    )
    assert host_tree.settings(tracefs(host)) == before
    assert not (tmp_path / "state/recording.json").exists()
    trace = open_trace(folder / "trace")
    facts = trace.tables().sources.to_dicts()[0]
    expected = {
        "origin": "emulated", "label": "base", "run": "boot-0badcafe", "clock": "mono",
        "kernel": host_tree.KERNEL, "machine": "aarch64", "fwb": True, "lpa2": False, "cpus": 2,
        "buffer_size_kb": 32768, "tracer": "nop", "loss_known": True,
    }  # fmt: skip
    assert {name: facts[name] for name in expected} == expected
    assert trace.tables().events.height == 4
    result = content(folder / "result.json")
    assert (result["exit_code"], result["events_lost"], result["command"][0]) == (0, 0, "sh")
    assert content(folder / "plan.json")["preset"] == "args"
    sidecar = content(folder / "trace.host.json")
    assert sidecar["traced"] == [
        "__kvm_tlb_flush_vmid_ipa", "__kvm_tlb_flush_vmid_range", "kvm_pgtable_stage2_unmap",
    ]  # fmt: skip
    assert sidecar["kprobe_events"][0].startswith("p:traceview/unmap kvm_pgtable_stage2_unmap ")


def test_what_is_set_while_recording_is_what_was_planned(host: Path, tmp_path: Path) -> None:
    files = "current_tracer set_ftrace_filter trace_clock buffer_size_kb tracing_on"
    script = f"cd {tracefs(host)}/instances/traceview-*; for f in {files}; do cat $f; done"
    out = tmp_path / "seen"
    assert record(host, "-q", "-o", str(tmp_path / "r"), "sh", "-c", f"({script}) > {out}") == 0
    assert out.read_text().splitlines() == [
        "function_graph", "kvm_pgtable_stage2_unmap", "local global [mono] boot", "32768", "1",
    ]  # fmt: skip


def test_limits_of_every_function_graph_are_lifted_and_put_back(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = tracefs(host)
    host_tree.write(top / "set_graph_function", "schedule\n")
    host_tree.write(top / "max_graph_depth", "2\n")
    host_tree.write(top / "tracing_thresh", "100\n")
    before = host_tree.settings(top)
    seen = tmp_path / "seen"
    script = f"cd {top}; cat set_graph_function max_graph_depth tracing_thresh > {seen}"
    assert record(host, "-o", str(tmp_path / "r"), "--", "sh", "-c", script) == 0
    assert seen.read_text().split() == ["####", "all", "functions", "enabled", "####", "0", "0"]
    assert "set_graph_function was set" in capsys.readouterr().err
    assert host_tree.settings(top) == before


@pytest.mark.parametrize(
    ("script", "said"), [("exit 3", "exit code 3"), ("kill -9 $$", "killed by SIGKILL")]
)
def test_a_command_that_fails_is_recorded_told_and_a_finding(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], script: str, said: str
) -> None:  # fmt: skip
    before = host_tree.settings(tracefs(host))
    assert record(host, "-o", str(tmp_path / "r"), "sh", "-c", script) == 1
    assert f"the command: {said}" in capsys.readouterr().err
    assert (tmp_path / "r/trace.host.json").exists()
    assert host_tree.settings(tracefs(host)) == before


def test_losses_are_told_counted_and_a_finding(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stats = f"{tracefs(host)}/instances/*/per_cpu/cpu1/stats"
    script = f"for f in {stats}; do printf 'overrun: 41\\n' > $f; done"
    assert record(host, "-o", str(tmp_path / "r"), "sh", "-c", script) == 1
    assert "41 events LOST on 1 CPU" in capsys.readouterr().err
    result = content(tmp_path / "r/result.json")
    assert (result["events_lost"], result["lost_by_cpu"]) == (41, {"1": 41})


def test_losses_are_told_once_while_recording(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("traceview.record.recorder.WATCH_S", 0.01)
    monkeypatch.setattr(TracefsBackend, "watch", lambda _: Losses(7, 2))
    assert record(host, "-o", str(tmp_path / "r"), "--duration", "300ms") == 0
    assert capsys.readouterr().err.count("7 events lost so far, 2 hits missed") == 1


def test_a_command_that_outlives_the_duration_is_ended(host: Path, tmp_path: Path) -> None:
    options = ("-q", "-o", str(tmp_path / "r"), "--duration", "200ms")
    assert record(host, *options, "sleep", "600") == 1
    assert content(tmp_path / "r/result.json")["exit_code"] == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "-o DIR is missing"),
        (("-o", "r", "--preset", "all"), "no preset 'all'"),
        (("-o", "r", "--backend", "strace"), "no back end 'strace'"),
        (("-o", "r", "--origin", "real"), "no origin 'real'"),
        (("-o", "r", "--json"), "--json is of --dry-run"),
        (("-o", "r", "--", "no-such-command"), "no command 'no-such-command'"),
        (("-o", "no/such/r"), "cannot be made"),
        (("-o", "r", "--preset", "top", "--preset", "split"), "several presets"),
        (("-o", "r", "--buffer-kb", "9999999"), "more than half"),
        (("-o", "r", "--runs", "3"), "--label LABEL and --against LABEL"),
        (("-o", "r", "--preset", "top", "--preset", "top"), "--preset top is said twice"),
        (("--next", "none"), "no plan"),
        (("--next", "none", "--label", "x"), "--label: not with --next"),
        (("--restore", "-o", "r"), "--output: not with --restore"),
        (("-o", "r", "--backend", "trace-cmd"), "trace-cmd is not installed"),
    ],
)
def test_what_cannot_be_is_one_message_and_changes_nothing(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = host_tree.settings(tracefs(host))
    assert record(host, *options) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    assert host_tree.settings(tracefs(host)) == before


def test_a_host_that_hides_its_symbols_is_not_recorded_without_their_names(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host_tree.write(host / "proc/sys/kernel/kptr_restrict", "2\n")
    assert record(host, "-o", str(tmp_path / "r"), "true") == 2
    assert "sysctl kernel.kptr_restrict=1" in capsys.readouterr().err
    assert record(host, "-q", "-o", str(tmp_path / "r"), "--preset", "args", "true") == 0


def test_a_folder_that_is_there_is_never_written_to(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r").mkdir()
    assert record(host, "-o", str(tmp_path / "r"), "true") == 2
    assert "is there already" in capsys.readouterr().err
    assert os.listdir(tmp_path / "r") == []  # noqa: PTH208


@pytest.mark.parametrize("name", ["prepare", "start", "watch", "stop", "save"])
def test_an_error_at_any_step_puts_everything_back_and_leaves_no_folder(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = host_tree.settings(tracefs(host))
    real = getattr(TracefsBackend, name)
    calls: list[int] = []

    def fail(self: TracefsBackend, *arguments: Any) -> Any:
        result = real(self, *arguments)
        calls.append(1)
        if len(calls) == 1:
            raise OSError(5, "Input/output error")
        return result

    monkeypatch.setattr(TracefsBackend, name, fail)
    monkeypatch.setattr("traceview.record.recorder.WATCH_S", 0.01)
    assert record(host, "-q", "-o", str(tmp_path / "r"), "--preset", "args", "sleep", "0.2") == 3
    assert calls
    assert host_tree.settings(tracefs(host)) == before
    assert not (tmp_path / "r").exists()


def test_a_dry_run_prints_the_plan_and_changes_nothing(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = host_tree.settings(tracefs(host))
    assert record(host, "--dry-run", "--preset", "deep") == 0
    text = capsys.readouterr().out
    assert "KVM in VHE mode" in text
    assert "stage2_put_pte: a name of kernels up to 6.5" in text
    assert "no   TLBI apart from DSB" in text
    assert "origin: not stated" in text
    assert record(host, "--dry-run", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["document"], document["problems"]) == ("recording_plan", [])
    assert document["functions"] == ["kvm_pgtable_stage2_unmap"]
    assert host_tree.settings(tracefs(host)) == before


def test_a_recorder_needs_neither_polars_nor_the_parsers(host: Path) -> None:
    code = (
        "import sys\nfrom traceview.cli.app import run\n"
        "code = run(['record', '--dry-run', '--host-root', sys.argv[1]])\n"
        "heavy = {'polars', 'pyarrow', 'numpy', 'traceview.parsers', 'traceview.queries'}\n"
        "print(code, sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [PYTHON, "-c", code, str(host)], capture_output=True, text=True, check=True
    )
    assert done.stderr == "0 []\n"


# ---- runs of two sides


@pytest.mark.parametrize("runs", [2, 3, 5, 10, 21])
def test_every_order_that_is_drawn_permits_inference(runs: int) -> None:
    for seed in range(12):
        order = series.draw(runs, ("a", "b"), seed)
        assert order == series.draw(runs, ("a", "b"), seed)
        assert order.count("a") == order.count("b") == runs
        found = recording_plan(
            [RecordedRun("base" if one == "a" else "with", at) for at, one in enumerate(order)]
        )
        assert found.kind == "interleaved", order
    assert len({series.draw(runs, ("a", "b"), seed) for seed in range(40)}) > 1


def test_with_switches_all_runs_are_recorded_in_the_order_of_the_plan(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, folder = tmp_path / "log", tmp_path / "abba"
    options = (
        "-o", str(folder), "--runs", "2", "--label", "new", "--against", "old", "--seed", "7",
        "--origin", "hardware", "--preset", "top", "--preset", "split",
        "--switch", f"new=echo new >> {log}", "--switch", f"old=echo old >> {log}", "true",
    )  # fmt: skip
    assert record(host, *options) == 0
    plan = series.read(folder)
    assert log.read_text().split() == [one for one in plan.order for _ in plan.presets]
    for order, label in enumerate(plan.order, 1):
        for name in plan.folders(order):
            sidecar = content(folder / name / "trace.host.json")
            said = (sidecar["label"], sidecar["run"], sidecar["order"], sidecar["origin"])
            assert said == (label, f"run-{order}", order, "hardware")
    assert "all 4 runs are recorded" in capsys.readouterr().err
    assert "seed 7" in (folder / "plan.txt").read_text()


def test_the_switch_of_deferral_is_used_where_the_kernel_has_it_and_put_back(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = host / "sys/module/kvm/parameters/unmap_defer"
    host_tree.write(switch, "Y\n")
    monkeypatch.setattr(series, "SWITCH", str(switch))
    seen = tmp_path / "seen"
    options = ("--runs", "1", "--label", "deferred", "--against", "per-leaf")
    command = ("sh", "-c", f"cat {switch} >> {seen}")
    assert record(host, "-q", "-o", str(tmp_path / "abba"), *options, *command) == 0
    order = series.read(tmp_path / "abba").order
    assert seen.read_text().split() == [series.SWITCHED[one] for one in order]
    assert switch.read_text() == "Y\n"


def test_two_kernels_are_recorded_run_by_run_each_on_its_own(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "abba"
    options = ("--runs", "2", "--label", "new", "--against", "old", "--seed", "1")
    assert record(host, "-o", str(folder), *options, "true") == 0
    assert f"next: traceview record --next {folder}" in capsys.readouterr().err
    release = host / "proc/sys/kernel/osrelease"
    kernels = {"new": host_tree.KERNEL, "old": "6.6.1"}
    for label in series.read(folder).order:
        wrong = kernels["old" if label == "new" else "new"]
        host_tree.write(release, f"{wrong}\n")
        code = record(host, "--next", str(folder))
        # The other side's kernel is known when it has had its first run.
        assert code == 2 or (label == "old" and wrong == "6.6.1")
        host_tree.write(release, f"{kernels[label]}\n")
        assert record(host, "--next", str(folder)) == 0
    assert series.next_run(folder, series.read(folder)) is None
    capsys.readouterr()
    assert record(host, "--next", str(folder)) == 0
    assert "all 4 runs are recorded" in capsys.readouterr().err


TWO = ("--runs", "1", "--label", "deferred", "--against", "per-leaf")
NO_SWITCH = "no switch unmap_defer here: planned as two kernels, each booted by you"


def test_runs_that_wait_for_a_boot_say_why(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record(host, "-o", str(tmp_path / "a"), *TWO, "true") == 0
    assert NO_SWITCH in capsys.readouterr().err.splitlines()
    host_tree.write(host / "sys/module/kvm/parameters/unmap_defer", "Y\n")
    others = ("--runs", "1", "--label", "new", "--against", "old")
    assert record(host, "-o", str(tmp_path / "b"), *others, "true") == 0
    assert "is of the labels deferred and per-leaf" in capsys.readouterr().err


@pytest.mark.parametrize("how", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("proc/sys/kernel/arch", "x86_64\n", "this host is x86_64: the functions are arm64's\n"),
        ("dev/kvm", None, "there is no /dev/kvm"),
        ("sys/kernel/tracing/available_filter_functions", "x\n", "none of the functions"),
    ],
)
def test_runs_are_not_planned_for_a_host_that_cannot_record_them(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    how: tuple[str, ...], file: str, content: str | None, said: str,
) -> None:  # fmt: skip
    if content is None:
        (host / file).unlink()
    else:
        host_tree.write(host / file, content)
    presets = ("--preset", "top", "--preset", "split")
    for switches in ((), ("--switch", "deferred=true", "--switch", "per-leaf=true")):
        options = ("-o", str(tmp_path / "r"), *TWO, *presets, *switches, *how, "true")
        assert record(host, *options) == 2
        heard = capsys.readouterr()
        assert heard.err.startswith(f"traceview: {said}")
        assert heard.out == ""
        assert not (tmp_path / "r").exists()


def test_no_folder_is_left_where_the_first_run_cannot_be_made(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "r"
    assert record(host, "-o", str(folder), *TWO, "no-such-command") == 2
    switches = ("--switch", "deferred=false", "--switch", "per-leaf=false")
    assert record(host, "-o", str(folder), *TWO, *switches, "true") == 2
    assert "the switch failed with exit code 1" in capsys.readouterr().err
    assert not folder.exists()
    assert record(host, "-o", str(folder), *TWO, *switches, "true") == 2
    kept = ("--switch", "deferred=test ! -e", "--switch", "per-leaf=test ! -e")
    once = [f"{word} {tmp_path}/once && touch {tmp_path}/once" if "=" in word else word
            for word in kept]  # fmt: skip
    assert record(host, "-o", str(folder), *TWO, *once, "true") == 2
    assert len(list(folder.glob("01-*/result.json"))) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--label", "x", "-o", "r"), "--output, --label: say it to the script when it runs"),
        (("--duration=3", "--top-level"), "--duration, --top-level: say it to the script"),
        (("--dry-run", "true"), "COMMAND, --dry-run: say it to the script"),
        (("--backend", "perf"), "--backend: the script, which records from tracefs, has no such"),
        (("--runs", "3", "--seed", "1"), "--runs, --seed: the script"),
        (("--operand", "+0x54,x0,ipas2e1is"), "--operand: say it to the script"),
        (("--next", "abba"), "--next: the script"),
        (("--no-hypervisor", "--restore"), "--hypervisor, --script: not with --restore"),
        (("--preset", "tpo"), "no preset 'tpo'"),
    ],
)
def test_a_script_is_printed_for_its_presets_and_nothing_is_ignored(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    assert run(["record", "--script", "-q", *options]) == 2
    heard = capsys.readouterr()
    assert said in heard.err
    assert heard.out == ""
    assert run(["record", "--script", "-q", "--preset", "top"]) == 0


def test_a_run_that_was_begun_and_not_finished_is_named(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "abba"
    options = ("--runs", "1", "--label", "new", "--against", "old", "--seed", "1")
    assert record(host, "-o", str(folder), *options, "true") == 0
    name = series.read(folder).folders(1)[0]
    (folder / name).mkdir()
    assert record(host, "--next", str(folder)) == 2
    assert f"remove: {folder / name}" in capsys.readouterr().err


@pytest.mark.parametrize("plan", ["{}", "[]", "not json", '{"document": "recording_plan"}'])
def test_a_plan_that_is_none_is_one_message(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], plan: str
) -> None:
    host_tree.write(tmp_path / "plan.json", plan)
    assert record(host, "--next", str(tmp_path)) == 2
    assert "no plan of several runs" in capsys.readouterr().err

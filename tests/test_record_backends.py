"""trace-cmd, perf and Perfetto as back ends: what they are told, what they say, and their ends."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.writers.host_tree import FUNCTIONS, STATS, behave, make_host, settings
from traceview.errors import SettingError
from traceview.record import perfetto as perfetto_module
from traceview.record import program
from traceview.record.backend import Losses, Setup
from traceview.record.backends import backend
from traceview.record.kernel_losses import KernelLosses
from traceview.record.perf import mmap_kb
from traceview.record.perf_probes import kprobes_of
from traceview.record.perfetto_config import config_text
from traceview.record.planning import Wish, make_plan
from traceview.record.preset import Probe
from traceview.record.probing import look
from traceview.record.recorder import Request, record
from traceview.record.sidecar import Said
from traceview.record.trace_cmd import start_command

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.record.plan import Plan

PROGRAMS = {"trace-cmd": "3.4.0", "perf": "7.2.12", "perfetto": "56.0"}

TRACE_CMD = """
echo "$@" >> "$LOG"
case $1 in
start) echo 1 > "$TRACEFS/tracing_on" ;;
extract) echo trace > "$3" ;;
esac
"""
# Its control pipe is told in the words; it ends by SIGINT, as perf does.
PERF = """
echo "$@" >> "$LOG"
[ "$1" = report ] && { echo "  LOST events: ${LOST:-0}"; exit 0; }
while [ $# -gt 0 ]; do
	case $1 in --control) control=${2#fd:} ;; -o) out=$2 ;; esac
	shift
done
exec 8< "/proc/self/fd/${control%,*}" 9> "/proc/self/fd/${control#*,}"
trap 'echo data > "$out"; trap - INT; kill -INT $$' INT
while read -r word <&8; do echo "$word" >> "$LOG"; echo ack >&9; done
while :; do sleep 0.05; done
"""
PERFETTO = """
echo "$@" >> "$LOG"
trap 'echo trace > "$5"; exit 0' TERM
echo 1 > "$TRACEFS/tracing_on"
while :; do sleep 0.05; done
"""
TRACED = 'echo "traced $$" >> "$LOG"; : > "$PERFETTO_CONSUMER_SOCK_NAME"; exec sleep 60'
PROBES = 'echo "probes $$" >> "$LOG"; exec sleep 60'


class Bench:
    """A host in files, programs that only say what they were told, and what was said."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.said = folder, [""]
        self.tracefs = make_host(folder / "host", functions=FUNCTIONS)
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "log"
        self.log.touch()
        monkeypatch.setenv("PATH", f"{self.bin}:{os.environ['PATH']}")
        monkeypatch.setenv("LOG", str(self.log))
        monkeypatch.setenv("TRACEFS", str(self.tracefs))
        behave(monkeypatch.setattr)
        self.host = replace(look(folder / "host"), programs=PROGRAMS)

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}")
        path.chmod(0o755)

    def plan(self, name: str, preset: str = "split") -> Plan:
        return make_plan(self.host, Wish(preset, name))

    def setup(self, plan: Plan) -> Setup:
        run = self.folder / "run"
        run.mkdir(exist_ok=True)
        return Setup(self.host, plan, run, self.said.append)

    def told(self) -> list[str]:
        return self.log.read_text().splitlines()

    def recorded(self, name: str, preset: str = "split") -> Any:
        request = Request(
            self.folder / name, ("true",), said=Said("emulated"), state_dir=self.folder / "state"
        )
        return record(self.host, self.plan(name, preset), backend(name), request, self.said.append)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# --- trace-cmd --------------------------------------------------------------------------------


def test_trace_cmd_is_told_the_names_of_this_kernel_and_nothing_else(bench: Bench) -> None:
    words = start_command(bench.plan("trace-cmd"))
    assert words[:7] == ["trace-cmd", "start", "-q", "-C", "mono", "-b", "65536"]
    names = [words[at + 1] for at, word in enumerate(words) if word == "-l"]
    assert names == list(bench.plan("trace-cmd").graph)
    assert set(names) < set(FUNCTIONS)
    assert "-e" not in words
    words = start_command(bench.plan("trace-cmd", "args"))
    assert "-p" not in words
    assert words[-4:] == ["-e", "traceview", "-e", "kvm:kvm_guest_fault"]


def test_a_recording_by_trace_cmd_leaves_the_host_as_it_was(bench: Bench) -> None:
    bench.program("trace-cmd", TRACE_CMD)
    before = settings(bench.tracefs)
    done = bench.recorded("trace-cmd", "args")
    assert done.trace.read_text() == "trace\n"
    assert done.sidecar.is_file()
    assert [line.split()[0] for line in bench.told()] == ["start", "extract"]
    assert settings(bench.tracefs) == before


def test_what_trace_cmd_says_when_it_fails_is_told(bench: Bench) -> None:
    bench.program("trace-cmd", 'echo "cannot: $1" >&2; exit 3')
    before = settings(bench.tracefs)
    with pytest.raises(SettingError, match=r"could not start: cannot: start\ncommand: trace-cmd"):
        bench.recorded("trace-cmd")
    assert settings(bench.tracefs) == before


# --- perf -------------------------------------------------------------------------------------


def test_perf_gets_kprobes_where_the_preset_wants_function_graph(bench: Bench) -> None:
    plan = bench.plan("perf")
    assert plan.graph == ()
    assert {one.symbol for one in plan.probes} == set(bench.plan("tracefs").graph)
    assert all(one.returns for one in plan.probes)
    assert plan.traced == bench.plan("tracefs").traced
    assert "no function_graph" in backend("perf").limits(bench.host, plan)[0]
    limits = backend("perf").limits(bench.host, bench.plan("perf", "args"))
    assert "no function_graph" not in limits[0]


def test_a_function_that_has_a_probe_of_its_return_gets_no_other() -> None:
    own = (Probe("unmap", "f"), Probe("walker", "g", returns=False), Probe("op", "h", offset=4))
    added = kprobes_of(("f", "g", "h", "i.isra.0"), own)[3:]
    assert [(one.event, one.symbol) for one in added] == [
        ("g", "g"), ("h", "h"), ("i_isra_0", "i.isra.0"),
    ]  # fmt: skip


def test_perf_begins_and_ends_when_it_is_told(bench: Bench) -> None:
    bench.program("perf", PERF)
    before = settings(bench.tracefs)
    done = bench.recorded("perf")
    command, *words = bench.told()
    assert " -a -k mono -m 65536K " in command
    assert command.endswith("-e traceview:*")
    assert words[:2] == ["enable", "disable"]
    assert done.trace.read_text() == "data\n"
    assert done.losses == Losses(0, 0)
    assert "p:traceview/kvm_pgtable_stage2_unmap" in done.sidecar.read_text()
    assert settings(bench.tracefs) == before


def test_records_of_losses_in_perf_data_are_losses(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.program("perf", PERF)
    monkeypatch.setenv("LOST", "3")
    losses = bench.recorded("perf").losses
    assert (losses.events, losses.any) == (3, True)
    assert "analyze counts them" in losses.note


def test_a_perf_that_ends_by_itself_is_told_with_its_words(bench: Bench) -> None:
    bench.program("perf", 'echo "no such event" >&2; exit 1')
    before = settings(bench.tracefs)
    with pytest.raises(SettingError, match="perf does not enable: no such event"):
        bench.recorded("perf")
    assert settings(bench.tracefs) == before


def test_a_perf_that_dies_while_recording_is_noticed(bench: Bench) -> None:
    bench.program("perf", PERF)
    perf = backend("perf")
    perf.prepare(bench.setup(bench.plan("perf")))
    perf.start()
    assert perf.watch().events is None
    child = perf._child  # type: ignore[attr-defined]
    os.kill(child.pid, signal.SIGKILL)
    child.end()
    with pytest.raises(SettingError, match="perf ended while recording"):
        perf.watch()
    perf.stop()
    perf.close()
    perf.close()


@pytest.mark.parametrize(("kb", "size"), [(1, 64), (64, 64), (1408, 1024), (65536, 65536)])
def test_the_buffers_of_perf_are_powers_of_two(kb: int, size: int) -> None:
    assert mmap_kb(kb) == size


# --- Perfetto ---------------------------------------------------------------------------------


def test_the_configuration_names_functions_and_events_of_this_kernel(bench: Bench) -> None:
    text = config_text(bench.plan("perfetto", "bystanders"))
    plan = bench.plan("perfetto", "bystanders")
    for name in plan.graph:
        assert f'  function_filters: "{name}"\n' in text
    assert text.count("function_filters") == len(plan.graph)
    for event in ("ftrace/print", "kvm/kvm_exit", "sched/sched_switch"):
        assert f'  ftrace_events: "{event}"\n' in text
    assert "fill_policy: DISCARD" in text
    assert f"  buffer_size_kb: {plan.buffer_kb}\n" in text
    text = config_text(bench.plan("perfetto", "args"))
    assert 'ftrace_events: "traceview/*"' in text
    assert "function_graph" not in text


def test_perfetto_gets_its_daemons_and_all_of_them_end(bench: Bench) -> None:
    for name, text in (("perfetto", PERFETTO), ("traced", TRACED), ("traced_probes", PROBES)):
        bench.program(name, text)
    before = settings(bench.tracefs)
    done = bench.recorded("perfetto")
    assert done.trace.read_text() == "trace\n"
    assert done.trace.with_name("perfetto.cfg").is_file()
    traced, probes, session = bench.told()
    assert session.startswith("--txt -c ")
    for line in (traced, probes):
        assert not alive(int(line.split()[1]))
    assert settings(bench.tracefs) == before


def test_perfetto_uses_the_daemons_that_run(bench: Bench) -> None:
    bench.program("perfetto", PERFETTO)
    (bench.host.root / "proc/77").mkdir()
    (bench.host.root / "proc/77/comm").write_text("traced\n")
    bench.recorded("perfetto")
    assert len(bench.told()) == 1


def test_a_perfetto_that_does_not_begin_is_told_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perfetto_module, "BEGIN_SECONDS", 0.3)
    for name in ("perfetto", "traced_probes"):
        bench.program(name, "exec sleep 60")
    bench.program("traced", TRACED)
    before = settings(bench.tracefs)
    with pytest.raises(SettingError, match="perfetto does not begin to record"):
        bench.recorded("perfetto")
    assert settings(bench.tracefs) == before


def test_a_daemon_that_ends_is_told_with_its_words(bench: Bench) -> None:
    bench.program("perfetto", PERFETTO)
    bench.program("traced", 'echo "address in use" >&2; exit 1')
    bench.program("traced_probes", PROBES)
    with pytest.raises(SettingError, match="traced does not run: address in use"):
        bench.recorded("perfetto")


def test_a_perfetto_that_fails_at_the_end_is_no_recording(bench: Bench) -> None:
    bench.program("perfetto", PERFETTO.replace("exit 0", "exit 1"))
    bench.program("traced", TRACED)
    bench.program("traced_probes", PROBES)
    with pytest.raises(SettingError, match="perfetto could not complete its file"):
        bench.recorded("perfetto")


# --- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        ({}, "is not installed"),
        ({"trace-cmd": "2.6", "perf": "5.9", "perfetto": "v30.1"}, "too old"),
    ],
)
def test_a_program_that_is_missing_or_too_old_is_told(
    name: str, programs: dict[str, str], reason: str, bench: Bench
) -> None:
    host = replace(bench.host, programs=programs)
    assert reason in backend(name).problems(host, bench.plan(name))[0]


@pytest.mark.parametrize("name", PROGRAMS)
def test_only_tracefs_records_what_el2_does(name: str, bench: Bench) -> None:
    plan = replace(bench.plan(name), hypervisor=True)
    assert "use --backend tracefs" in backend(name).problems(bench.host, plan)[0]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_back_end_that_was_never_prepared_can_be_closed(name: str) -> None:
    one = backend(name)
    one.stop()
    one.close()


def test_perf_needs_kprobes_and_perfetto_its_daemons(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = replace(bench.host, kprobes=False)
    assert "no kprobe_events" in backend("perf").problems(host, bench.plan("perf"))[0]
    monkeypatch.setenv("PATH", "/nowhere")
    found = backend("perfetto").problems(bench.host, bench.plan("perfetto"))
    assert "traced and traced_probes does not run" in found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3.4.0", (3, 4)), ("v56.0", (56, 0)), ("56", (56, 0)), ("?", None), (None, None),
     ("perf version 6.1.176", (6, 1))],
)  # fmt: skip
def test_versions_are_read(text: str | None, expected: tuple[int, int] | None) -> None:
    assert program.version(text) == expected


def test_losses_are_those_since_the_recording_began(bench: Bench) -> None:
    def counted(cpu: int, lost: int) -> None:
        (bench.tracefs / f"per_cpu/cpu{cpu}/stats").write_text(STATS.format(lost=lost))

    counted(0, 5)
    profile = bench.tracefs / "kprobe_profile"
    profile.write_text("  unmap      10       2\n")
    losses = KernelLosses(bench.tracefs)
    assert losses.so_far() == Losses(0, 0)
    counted(0, 9)
    counted(1, 1)
    profile.write_text("  unmap      20       5\n  odd line\n")
    assert losses.so_far() == Losses(5, 3, {0: 4, 1: 1})
    counted(0, 2)  # cleared meanwhile
    assert losses.so_far().by_cpu == {0: 2, 1: 1}
    for cpu in (0, 1):
        (bench.tracefs / f"per_cpu/cpu{cpu}/stats").unlink()
    assert losses.so_far().events is None


def test_a_child_that_does_not_end_is_ended(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(15, 1); print(1, flush=True); time.sleep(60)"
    child = program.Child([sys.executable, "-c", code], tmp_path / "log")
    while child.said() != "1":
        pass
    assert child.end(seconds=0.1) is None
    assert not child.runs
    with pytest.raises(SettingError, match="cannot be started"):
        program.Child([str(tmp_path / "none")], tmp_path / "log")
    with pytest.raises(SettingError, match="it failed"):
        program.run([str(tmp_path / "none")], what="it failed")

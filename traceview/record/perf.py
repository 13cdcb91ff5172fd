"""The back end perf: kprobes of tracefs' kprobe_events, recorded by `perf record -a`.

perf cannot use function_graph (`perf ftrace` records no durations, or every function of each
interrupt): what a preset wants of it becomes kprobes of entry and return (perf_probes.py), which
cost more per call. perf begins when told to over its control pipe, and says when it has.

perf.data does not say what its probes are on: the sidecar's kprobe_events does. Sources:
perf-record(1) of perf 5.10 to 7.2, tools/perf/util/{evlist,machine}.c.
"""

from __future__ import annotations

import os
import re
import select
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError
from traceview.record import program
from traceview.record.backend import Losses
from traceview.record.kernel_losses import KernelLosses
from traceview.record.preset import PRESETS
from traceview.record.probes import GROUP, define

if TYPE_CHECKING:
    from traceview.record.backend import Setup
    from traceview.record.host import Host
    from traceview.record.plan import Plan

OLDEST: Final = (5, 10)  # --control fd:, with answers
ANSWER_SECONDS: Final = 60
LOST_RECORDS: Final = re.compile(r"^\s*(LOST(?:_SAMPLES)?) events:\s+(\d+)", re.MULTILINE)


class Perf:
    """Records with perf."""

    name = "perf"
    trace = "trace.perf.data"

    def __init__(self) -> None:
        """Nothing is set up yet."""
        self._setup: Setup | None = None
        self._child: program.Child | None = None
        self._control: tuple[int, int] | None = None
        self._losses: KernelLosses | None = None

    def problems(self, host: Host, plan: Plan) -> tuple[str, ...]:
        """Why it cannot record *plan* on *host*."""
        if self.name not in host.programs:
            return ("perf is not installed, or not in PATH",)
        found = program.version(host.programs[self.name])
        if found is not None and found < OLDEST:
            return (f"perf {host.programs[self.name]} is too old: 5.10 or later is needed",)
        if plan.hypervisor:
            return ("perf cannot record remotes/hypervisor: use --backend tracefs",)
        if not host.kprobes:
            return ("the kernel has no kprobe_events, and perf has no function_graph",)
        return ()

    def limits(self, host: Host, plan: Plan) -> tuple[str, ...]:  # noqa: ARG002 - of the protocol
        """What a capture by it lacks."""
        found = [
            "perf records no markers: name the steps by --steps FILE (docs/steps.md)",
            "what its buffers lose is known at the end only",
        ]
        if PRESETS[plan.preset].graph:
            found.insert(
                0,
                "perf has no function_graph: the functions are recorded by kprobes of entry and"
                " return, which cost more per call; compare with captures by perf only",
            )
        return tuple(found)

    def prepare(self, setup: Setup) -> None:
        """Define the kprobes, and start perf without recording yet."""
        self._setup = setup
        define(setup.host.tracefs, setup.plan.probes)
        self._losses = KernelLosses(setup.host.tracefs)
        ours, theirs = os.pipe(), os.pipe()  # commands to perf, answers from perf
        self._control = (ours[1], theirs[0])
        command = record_command(setup.plan, f"{setup.folder / self.trace}", (ours[0], theirs[1]))
        try:
            self._child = program.Child(
                command, setup.folder / "perf.log", pass_fds=(ours[0], theirs[1])
            )
        finally:
            os.close(ours[0])
            os.close(theirs[1])

    def start(self) -> None:
        """Record from now on."""
        self._command("enable")

    def watch(self) -> Losses:
        """What was lost so far: perf does not say before its end."""
        missed = 0 if self._losses is None else self._losses.so_far().missed
        if self._child is not None and not self._child.runs:
            raise SettingError(f"perf ended while recording: {self._child.said()}")
        return Losses(None, missed, note="perf says only at its end what its buffers lost")

    def stop(self) -> None:
        """Record nothing more."""
        if self._child is not None and self._child.runs:
            with suppress(SettingError, OSError):
                self._command("disable")

    def save(self) -> Losses:
        """Have perf complete its file."""
        if self._setup is None or self._child is None:
            raise AssertionError("prepare() comes first")
        missed = self.watch().missed
        status = self._child.end(signal.SIGINT)
        file = self._setup.folder / self.trace
        # perf ends by the signal that ended it.
        if status not in (0, -signal.SIGINT) or not file.is_file():
            raise SettingError(f"perf could not complete its file: {self._child.said()}")
        return _lost(str(file), missed)

    def close(self) -> None:
        """End perf, if it runs."""
        if self._child is not None:
            self._child.end()
        for fd in self._control or ():
            with suppress(OSError):
                os.close(fd)
        self._control = None

    def _command(self, word: str) -> None:
        """Tell perf to do something, and wait until it says that it has."""
        if self._control is None or self._child is None:
            raise AssertionError("prepare() comes first")
        to_perf, from_perf = self._control
        try:
            os.write(to_perf, f"{word}\n".encode())
            ready, _, _ = select.select([from_perf], [], [], ANSWER_SECONDS)
            answer = os.read(from_perf, 64) if ready else b""
        except OSError as err:
            answer = str(err).encode()
        if not answer.startswith(b"ack"):
            self._child.end(seconds=1)
            raise SettingError(f"perf does not {word}: {self._child.said()}")


def record_command(plan: Plan, file: str, control: tuple[int, int]) -> list[str]:
    """The command that records into *file* when *control* (commands, answers) says so."""
    events = [f"{GROUP}:*"]  # a plan without kprobes is none for perf
    command = ["perf", "record", "-a", "-k", plan.clock, "-m", f"{mmap_kb(plan.buffer_kb)}K"]
    # Without build ids: perf would read all of its file again to list them.
    command += ["--no-buildid", "--no-buildid-cache", "-D", "-1"]
    command += ["--control", f"fd:{control[0]},{control[1]}", "-o", file]
    for event in (*events, *plan.events):
        command += ["-e", event]
    return command


def mmap_kb(buffer_kb: int) -> int:
    """The size of perf's buffers: a power of two of pages, which may have 64 kB."""
    return 1 << max(6, buffer_kb.bit_length() - 1)


def _lost(file: str, missed: int | None) -> Losses:
    try:
        said = program.run(["perf", "report", "--stats", "-i", file], what="perf report")
    except SettingError as err:
        return Losses(None, missed, note=f"losses are not known here: {err}".splitlines()[0])
    records = sum(int(count) for _, count in LOST_RECORDS.findall(said))
    note = "records of losses, each of one event or more; analyze counts them" if records else ""
    return Losses(records, missed, note=note)

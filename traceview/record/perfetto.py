"""The back end perfetto: a configuration in the run folder, and what `perfetto` records by it.

Where `traced` and `traced_probes` do not run they are started for this recording, with sockets of
their own. Source: perfetto(1), traced(8), traced_probes(8) of v56; src/traced/probes/ftrace/
ftrace_config_muxer.cc (tracing_on is the last thing that it sets).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError
from traceview.record import program
from traceview.record.backend import Losses
from traceview.record.kernel_losses import KernelLosses
from traceview.record.perfetto_config import config_text
from traceview.record.probes import define
from traceview.record.settings import neutral_graph
from traceview.record.tracefs_files import Tracefs

if TYPE_CHECKING:
    from traceview.record.backend import Setup
    from traceview.record.host import Host
    from traceview.record.plan import Plan

OLDEST: Final = (33, 0)  # function filters
BEGIN_SECONDS: Final = 60
POLL_SECONDS: Final = 0.05
DAEMONS: Final = ("traced", "traced_probes")
PRODUCER: Final = "PERFETTO_PRODUCER_SOCK_NAME"
CONSUMER: Final = "PERFETTO_CONSUMER_SOCK_NAME"


class Perfetto:
    """Records with Perfetto."""

    name = "perfetto"
    trace = "trace.perfetto"
    config = "perfetto.cfg"

    def __init__(self) -> None:
        """Nothing is set up yet."""
        self._setup: Setup | None = None
        self._daemons: list[program.Child] = []
        self._session: program.Child | None = None
        self._sockets: Path | None = None
        self._losses: KernelLosses | None = None

    def problems(self, host: Host, plan: Plan) -> tuple[str, ...]:
        """Why it cannot record *plan* on *host*."""
        if self.name not in host.programs:
            return ("perfetto is not installed, or not in PATH",)
        found = program.version(host.programs[self.name])
        if found is not None and found < OLDEST:
            return (f"perfetto {host.programs[self.name]} is too old: v33 or later is needed",)
        if plan.hypervisor:
            return ("perfetto cannot record remotes/hypervisor: use --backend tracefs",)
        if not runs("traced", host.root) and missing():
            return (f"{' and '.join(missing())} does not run, and is not in PATH to be started",)
        return ()

    def limits(self, host: Host, plan: Plan) -> tuple[str, ...]:  # noqa: ARG002 - of the protocol
        """What a capture by it lacks."""
        return (
            "times are of the boot clock, whatever clock was asked for",
            "what its own buffer loses is known only when the trace is read",
        )

    def prepare(self, setup: Setup) -> None:
        """Write the configuration, define the kprobes, have the daemons run."""
        self._setup = setup
        tracefs = Tracefs(setup.host.tracefs)
        define(tracefs, setup.plan.probes)
        for name in neutral_graph(tracefs) if setup.plan.graph else ():
            setup.say(f"{name} was set, and limits every function_graph: neutral while recording")
        (setup.folder / self.config).write_text(config_text(setup.plan), encoding="ascii")
        # By this the start is seen; traced_probes sets it when all else is set.
        tracefs.set("tracing_on", "0")
        if not runs("traced", setup.host.root):
            self._start_daemons(setup)

    def start(self) -> None:
        """Record from now on."""
        setup = self._prepared()
        self._session = program.Child(
            [
                self.name, "--txt", "-c", str(setup.folder / self.config),
                "-o", str(setup.folder / self.trace),
            ],
            setup.folder / "perfetto.log", environment=self._environment(),
        )  # fmt: skip
        self._wait_until_recording(Tracefs(setup.host.tracefs))
        self._losses = KernelLosses(setup.host.tracefs)

    def watch(self) -> Losses:
        """What the kernel's rings lost so far."""
        if self._session is not None and not self._session.runs:
            raise SettingError(f"perfetto ended while recording: {self._session.said()}")
        return Losses() if self._losses is None else self._losses.so_far()

    def stop(self) -> None:
        """End the session: it reads what is left in the rings, and stops the tracer."""
        if self._session is not None and self._losses is not None and self._session.runs:
            self._last = self._losses.so_far()  # its counters are gone with the session
            self._status = self._session.end()

    def save(self) -> Losses:
        """The file is complete when the session has ended."""
        setup = self._prepared()
        file = setup.folder / self.trace
        if self._status != 0 or not file.is_file() or not file.stat().st_size:
            said = "" if self._session is None else self._session.said()
            raise SettingError(f"perfetto could not complete its file: {said}")
        return self._last

    def close(self) -> None:
        """End what was started."""
        for child in (self._session, *reversed(self._daemons)):
            if child is not None:
                child.end()
        self._daemons = []
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    _last = Losses()
    _status: int | None = None

    def _start_daemons(self, setup: Setup) -> None:
        self._sockets = Path(tempfile.mkdtemp(prefix="traceview-perfetto-"))
        environment = self._environment()
        for name in DAEMONS:
            log = setup.folder / f"{name}.log"
            self._daemons.append(program.Child([name], log, environment=environment))
            self._wait_for_daemon()

    def _wait_for_daemon(self) -> None:
        """Until the sockets are there, which traced makes; traced_probes tries again by itself."""
        socket = Path(self._environment()[CONSUMER])
        end = time.monotonic() + BEGIN_SECONDS
        while not socket.exists() and time.monotonic() < end and self._daemons[-1].runs:
            time.sleep(POLL_SECONDS)
        if not socket.exists() or not self._daemons[-1].runs:
            raise SettingError(
                f"{self._daemons[-1].command[0]} does not run: {self._daemons[-1].said()}"
            )

    def _environment(self) -> dict[str, str]:
        own = {}
        if self._sockets is not None:
            own = {
                PRODUCER: str(self._sockets / "producer"),
                CONSUMER: str(self._sockets / "consumer"),
            }
        return {**os.environ, **own}

    def _wait_until_recording(self, tracefs: Tracefs) -> None:
        end = time.monotonic() + BEGIN_SECONDS
        while time.monotonic() < end:
            if self._session is None or not self._session.runs:
                break
            if tracefs.text("tracing_on") == "1":
                return
            time.sleep(POLL_SECONDS)
        said = "" if self._session is None else self._session.said()
        raise SettingError(
            f"perfetto does not begin to record: {said}\n"
            "likely causes: another tracer or session is in use, or traced_probes may not write to"
            " tracefs"
        )

    def _prepared(self) -> Setup:
        if self._setup is None:
            raise AssertionError("prepare() comes first")
        return self._setup


def missing() -> list[str]:
    """The daemons that are not in PATH."""
    return [name for name in DAEMONS if shutil.which(name) is None]


def runs(name: str, root: Path) -> bool:
    """Whether a process of that name is there."""
    for comm in (root / "proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text(encoding="utf-8", errors="replace").strip() == name:
                return True
        except OSError:  # it has ended
            continue
    return False

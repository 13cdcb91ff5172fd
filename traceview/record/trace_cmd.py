"""The back end trace-cmd: start, stop, extract; trace.dat is the trace.

`trace-cmd record` would keep a reader per CPU awake while the unmaps are timed. Here nobody reads
until the end: what the rings do not hold is overwritten, which watch() tells.

Sources: trace-cmd-start(1), -extract(1), -record(1) of trace-cmd 3.1.6 and 3.4. trace-cmd leaves a
name out silently that its `-l` does not find; a plan has only names of this kernel.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from traceview.record import program
from traceview.record.backend import Losses
from traceview.record.kernel_losses import KernelLosses
from traceview.record.probes import GROUP, define
from traceview.record.settings import neutral_graph
from traceview.record.tracefs_files import Tracefs

if TYPE_CHECKING:
    from traceview.record.backend import Setup
    from traceview.record.host import Host
    from traceview.record.plan import Plan

OLDEST: Final = (2, 9)  # -q of start, several -l


class TraceCmd:
    """Records with trace-cmd."""

    name = "trace-cmd"
    trace = "trace.dat"

    def __init__(self) -> None:
        """Nothing is set up yet."""
        self._setup: Setup | None = None
        self._losses: KernelLosses | None = None

    def problems(self, host: Host, plan: Plan) -> tuple[str, ...]:
        """Why it cannot record *plan* on *host*."""
        if self.name not in host.programs:
            return ("trace-cmd is not installed, or not in PATH",)
        found = program.version(host.programs[self.name])
        if found is not None and found < OLDEST:
            return (f"trace-cmd {host.programs[self.name]} is too old: 2.9 or later is needed",)
        if plan.hypervisor:
            return ("trace-cmd cannot record remotes/hypervisor: use --backend tracefs",)
        return ()

    def limits(self, host: Host, plan: Plan) -> tuple[str, ...]:  # noqa: ARG002 - of the protocol
        """What a capture by it lacks."""
        size = f"{plan.buffer_kb} kB"
        return (f"the rings are read at the end only: of each CPU the last {size} are kept",)

    def prepare(self, setup: Setup) -> None:
        """Define the kprobes."""
        self._setup = setup
        tracefs = Tracefs(setup.host.tracefs)
        tracefs.set("tracing_on", "0")
        define(tracefs, setup.plan.probes)
        for name in neutral_graph(tracefs) if setup.plan.graph else ():
            setup.say(f"{name} was set, and limits every function_graph: neutral while recording")

    def start(self) -> None:
        """Set everything else up, and record: trace-cmd does it in one step."""
        setup = self._prepared()
        program.run(start_command(setup.plan), what="trace-cmd could not start")
        self._losses = KernelLosses(setup.host.tracefs)

    def watch(self) -> Losses:
        """What the rings lost so far."""
        return Losses() if self._losses is None else self._losses.so_far()

    def stop(self) -> None:
        """Record nothing more."""
        if self._setup is not None:
            with suppress(OSError):
                Tracefs(self._setup.host.tracefs).write("tracing_on", "0")

    def save(self) -> Losses:
        """Write trace.dat."""
        setup = self._prepared()
        lost = self.watch()
        command = [self.name, "extract", "-o", str(setup.folder / self.trace)]
        program.run(command, what="trace-cmd could not write the trace")
        return lost

    def close(self) -> None:
        """Nothing but settings of tracefs is left."""

    def _prepared(self) -> Setup:
        if self._setup is None:
            raise AssertionError("prepare() comes first")
        return self._setup


def start_command(plan: Plan) -> list[str]:
    """The command that sets tracefs up and records."""
    command = ["trace-cmd", "start", "-q"]
    command += ["-C", plan.clock, "-b", str(plan.buffer_kb)]
    if plan.graph:
        command += ["-p", "function_graph"]
        for name in plan.graph:
            command += ["-l", name]
    for event in (*([GROUP] if plan.probes else []), *plan.events):
        command += ["-e", event]
    return command

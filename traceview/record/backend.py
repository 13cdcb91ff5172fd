"""What records: the one interface of the tracefs, trace-cmd, perf and perfetto back ends.

The recorder (recorder.py) calls, in this order:

    problems(host, plan)     before anything is changed; one that is not empty ends the recording
    prepare(setup)           buffers, filters, kprobes; nothing is recorded yet
    start()                  everything from here on is recorded; the command begins right after
    watch()                  every second or so while recording
    stop()                   nothing is recorded any more
    save()                   the files of the run folder are complete
    close()                  on every way out, also after an exception anywhere above

tracefs was saved as a whole before prepare() (state.py) and is put back after close(): a back end
undoes only what is not a setting of tracefs' top level (children, temporary files). stop() and
close() may be called twice and without what goes before them, and must not raise then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from traceview.record.host import Host
    from traceview.record.plan import Plan


@dataclass(frozen=True, slots=True)
class Losses:
    """What was lost so far. None: this back end cannot know (it says so in `note`).

    `events`: records that a ring buffer lost. `missed`: hits that a kprobe missed. `by_cpu`: where
    the events were lost, if that is known.
    """

    events: int | None = 0
    missed: int | None = 0
    by_cpu: Mapping[int, int] = field(default_factory=dict)
    note: str = ""

    @property
    def any(self) -> bool:
        """Whether something is known to be lost."""
        return bool(self.events) or bool(self.missed)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a back end is given. `folder`: the run folder, which exists and is empty but for
    plan.json. `say`: tells the user one line on standard error.
    """

    host: Host
    plan: Plan
    folder: Path
    say: Callable[[str], None]


class Backend(Protocol):
    """One way to record."""

    name: str  # of --backend
    trace: str  # what it writes, in the run folder: `trace`, `trace.dat`, `trace.perf.data`, ...

    def problems(self, host: Host, plan: Plan) -> tuple[str, ...]:
        """Why it cannot record this plan on this host."""

    def limits(self, host: Host, plan: Plan) -> tuple[str, ...]:
        """What a capture by it lacks against the same plan recorded from tracefs; for the plan."""

    def prepare(self, setup: Setup) -> None:
        """Set up all that is needed; raises SettingError where the host refuses something."""

    def start(self) -> None:
        """Record from now on."""

    def watch(self) -> Losses:
        """What was lost so far; cheap."""

    def stop(self) -> None:
        """Record nothing more."""

    def save(self) -> Losses:
        """Write the trace and what belongs to it into the run folder; all that was lost."""

    def close(self) -> None:
        """Undo what is not a setting of tracefs."""

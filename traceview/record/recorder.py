"""One recording from its plan to its run folder; the host is as before on every way out.

FOLDER/plan.json         what was planned, and what the host offered
FOLDER/<trace>           what the back end writes; tracefs: `trace`, a raw dump
FOLDER/<trace>.host.json its sidecar
FOLDER/result.json       when, how long, how the command ended, what was lost
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError
from traceview.record import command, sidecar
from traceview.record.backend import Losses, Setup
from traceview.record.plan_file import plan_document, write_json
from traceview.record.planning import problems
from traceview.record.signals import Signals
from traceview.record.state import STATE_DIR, StateFile, undo
from traceview.record.tracefs_files import Tracefs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from traceview.record.backend import Backend
    from traceview.record.host import Host
    from traceview.record.plan import Plan

WATCH_S: Final = 1.0
NOTHING_SAID: Final = sidecar.Said()


@dataclass(frozen=True, slots=True)
class Request:
    """What is recorded, and where to. No command and no seconds: until a signal comes.

    `files`: others than tracefs' that are set meanwhile, and put back: path and content.
    """

    folder: Path
    words: tuple[str, ...] = ()
    seconds: float | None = None
    said: sidecar.Said = NOTHING_SAID
    state_dir: Path = STATE_DIR
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording that was made. `signal`: the one that ended it; `left`: what is not put back."""

    trace: Path
    sidecar: Path
    losses: Losses
    seconds: float
    exit_code: int | None
    signal: int | None
    left: tuple[str, ...]


def record(
    host: Host, plan: Plan, backend: Backend, request: Request, say: Callable[[str], None]
) -> Recorded:
    """Record; raises SettingError where that is impossible, and then leaves no folder behind."""
    state_file = StateFile(request.state_dir, host.root)
    if host.is_root:  # what was left behind must not look like somebody else's
        state_file.refuse_pending()
    found = [*problems(host, plan), *backend.problems(host, plan)]
    if found:
        raise SettingError("\n".join(found))
    command.check(request.words)
    _make(request.folder)
    try:
        with Signals() as signals:
            one = _Recording(host, plan, backend, request, say, signals)
            with _put_back(one, state_file) as left:
                one.run()
            return one.recorded(tuple(left))
    except BaseException:
        shutil.rmtree(request.folder, ignore_errors=True)
        raise


def _make(folder: Path) -> None:
    try:
        folder.mkdir()
    except FileExistsError as err:
        raise SettingError(f"{folder} is there already\nvalid: another name") from err
    except OSError as err:
        raise SettingError(f"{folder} cannot be made: {err.strerror}") from err


@contextlib.contextmanager
def _put_back(one: _Recording, state_file: StateFile) -> Iterator[list[str]]:
    """The host is as before at the end; what could not be put back is in the list."""
    plan, request = one.plan, one.request
    state = state_file.begin(
        Tracefs(one.host.tracefs), plan.instance, request.folder.resolve(), request.files,
        hypervisor=plan.hypervisor,
    )  # fmt: skip
    left: list[str] = []
    try:
        yield left
    finally:
        one.end()
        left += undo(state)
        if left:
            for what in left:
                one.say(f"not put back: {what}")
            one.say("traceview record --restore tries it again")
        else:
            state_file.end()


class _Recording:
    """The steps of one recording."""

    def __init__(
        self, host: Host, plan: Plan, backend: Backend, request: Request,
        say: Callable[[str], None], signals: Signals,
    ) -> None:  # fmt: skip
        """Nothing is changed yet."""
        self.host, self.plan, self.backend, self.request = host, plan, backend, request
        self.say, self.signals = say, signals
        self.command: command.Command | None = None
        self.buffers = Tracefs(host.tracefs)
        if plan.instance is not None:
            self.buffers = self.buffers.instance(plan.instance)
        self.losses = Losses()
        self.seconds = 0.0
        self.trace = request.folder / backend.trace
        self.told = False

    def run(self) -> None:
        """Everything between the saved state and its restoration."""
        request, folder = self.request, self.request.folder
        write_json(folder / "plan.json", plan_document(self.host, self.plan))
        for name, content in request.files.items():
            _set_file(Path(name), content)
        self.backend.prepare(Setup(self.host, self.plan, folder, self.say))
        if request.words:
            # The files of a test cannot be mounted.
            mounts = self.plan.instance if self.host.root == Path("/") else None
            self.command = command.prepare(request.words, self.host.tracefs, mounts)
        if self.signals.number is not None:
            raise _stopped(self.signals.number)
        recorded_at = datetime.now(UTC).isoformat(timespec="seconds")
        began = time.monotonic()
        self.backend.start()
        self._mark("traceview record: started")
        if self.command is not None:
            self.command.start()
        self._watch(began)
        self._mark("traceview record: finished")
        tracing = {
            "tracer": self.buffers.text("current_tracer") or "nop",
            "tracer_options": " ".join(self.buffers.text("trace_options").split()),
        }
        self.backend.stop()
        self.seconds = time.monotonic() - began
        self._end_command()
        self.losses = self.backend.save()
        sidecar.write(
            self.trace,
            sidecar.document(self.host, self.plan, request.said, recorded_at, tracing),
        )
        write_json(folder / "result.json", self._result(recorded_at))

    def _watch(self, began: float) -> None:
        """Until the command ends, the time is over or a signal comes; losses are told once."""
        until = None if self.request.seconds is None else began + self.request.seconds
        next_look = began + WATCH_S
        while self.signals.number is None and not (self.command and self.command.ended()):
            now = time.monotonic()
            if until is not None and now >= until:
                return
            if now >= next_look:
                next_look = now + WATCH_S
                self._tell_losses(self.backend.watch())
            self.signals.wait(min(next_look, until or next_look) - now)

    def _tell_losses(self, losses: Losses) -> None:
        if losses.any and not self.told:
            self.told = True
            lost = f"{losses.events or 0:,} events lost so far, {losses.missed or 0:,} hits missed"
            self.say(f"{lost}: this recording will not be complete; larger buffers: --buffer-kb")

    def _end_command(self) -> None:
        """A command that outlives the recording is ended: it may hold files of the instance."""
        if self.command is None:
            return
        if not self.command.ended():
            # Ctrl-C in a terminal has reached the command too.
            by_terminal = self.signals.number == signal.SIGINT
            self.say("the recording ends before its command, which is ended")
            self.command.finish(None if by_terminal else signal.SIGTERM)
        else:
            self.command.finish(None)

    def _mark(self, text: str) -> None:
        """Where the recorder was, in the trace. No step: those are the command's to name."""
        with contextlib.suppress(OSError):
            self.buffers.append("trace_marker", text)

    def _result(self, recorded_at: str) -> dict[str, object]:
        return {
            "recorded_at": recorded_at,
            "seconds": round(self.seconds, 6),
            "command": list(self.request.words),
            "exit_code": None if self.command is None else self.command.exit_code,
            "signal": self.signals.number,
            "events_lost": self.losses.events,
            "lost_by_cpu": {str(cpu): lost for cpu, lost in self.losses.by_cpu.items()},
            "kprobe_hits_missed": self.losses.missed,
            "losses_note": self.losses.note,
        }

    def end(self) -> None:
        """Stop, whatever happened; may be called after everything, or nothing, of run()."""
        self.backend.stop()
        if self.command is not None and not self.command.ended():
            self.command.finish(signal.SIGTERM)
        self.backend.close()

    def recorded(self, left: tuple[str, ...]) -> Recorded:
        """What was made."""
        return Recorded(
            trace=self.trace,
            sidecar=Path(f"{self.trace}{sidecar.SUFFIX}"),
            losses=self.losses,
            seconds=self.seconds,
            exit_code=None if self.command is None else self.command.exit_code,
            signal=self.signals.number,
            left=left,
        )


def _set_file(path: Path, content: str) -> None:
    """Set a parameter that reads as it is written, as those of modules do."""
    try:
        path.write_text(f"{content}\n", encoding="utf-8")
        now = path.read_text(encoding="utf-8").strip()
    except OSError as err:
        raise SettingError(f"{path} cannot be set to {content}: {err.strerror}") from err
    if now != content:
        raise SettingError(f"{path} is {now}, though {content} was written")


def _stopped(number: int) -> SystemExit:
    """The end of a recorder that a signal reached before anything was recorded."""
    return SystemExit(128 + number)

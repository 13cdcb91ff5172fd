"""What a recording changes on its host, written down before the first change.

The file STATE_DIR/recording.json exists while a recording runs, and after one that was killed: the
next one refuses to start, and `traceview record --restore` puts back what it says. One of them
exists at a time, because the kprobe group and the top level of tracefs are one per host.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from traceview.errors import SettingError
from traceview.record import probes, settings
from traceview.record.tracefs_files import Tracefs

if TYPE_CHECKING:
    from collections.abc import Iterable

STATE_DIR: Final = Path("/run/traceview")
NAME: Final = "recording.json"
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class State:
    """What is to be put back. `files`: by path, the content of other files, as module parameters.

    `pid`, `pid_began` and `boot` say which process records, and whether it still does.
    """

    pid: int
    pid_began: str  # field 22 of /proc/PID/stat: numbers are used again
    boot: str
    tracefs: str
    instance: str | None
    folder: str
    settings: settings.Settings
    files: dict[str, str] = field(default_factory=dict)
    version: int = VERSION


def began(pid: int, proc: Path = Path("/proc")) -> str:
    """When a process began, in ticks since boot; empty if there is none."""
    try:
        stat = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    # The name of the command is in brackets and may hold anything.
    fields = stat.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def boot_id(root: Path = Path("/")) -> str:
    """What tells this boot from others."""
    with contextlib.suppress(OSError):
        return (root / "proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


@dataclass(frozen=True, slots=True)
class StateFile:
    """The file in `folder`. `root`: of the host's paths."""

    folder: Path = STATE_DIR
    root: Path = Path("/")

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / NAME

    def begin(
        self, tracefs: Tracefs, instance: str | None, folder: Path, files: Iterable[str] = (),
        *, hypervisor: bool = False,
    ) -> State:  # fmt: skip
        """Write down everything before the first change; raises SettingError if one is pending."""
        self.refuse_pending()
        state = State(
            pid=os.getpid(), pid_began=began(os.getpid()), boot=boot_id(self.root),
            tracefs=str(tracefs.path), instance=instance, folder=str(folder),
            settings=settings.snapshot(tracefs, with_hypervisor=hypervisor),
            files={name: Path(name).read_text(encoding="utf-8") for name in files},
        )  # fmt: skip
        self._write(state)
        return state

    def _write(self, state: State) -> None:
        draft = self.folder / f"{NAME}.{state.pid}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                json.dump(asdict(state), file)
                file.flush()
                os.fsync(file.fileno())
            # A link, not a rename: of two recorders that start together one is refused.
            os.link(draft, self.path)
        except FileExistsError:
            self.refuse_pending()
            raise
        except OSError as err:
            raise SettingError(
                f"the state of tracefs cannot be saved: {err.strerror}\nin: {self.folder}"
                "\nvalid: --state-dir DIR, a folder that outlives this process"
            ) from err
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()

    def read(self) -> State | None:
        """What is pending, None if nothing is; one of an earlier boot is removed."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            state = _state(document)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as err:
            raise SettingError(f"the saved state cannot be read: {err}\nin: {self.path}") from err
        if state.boot and state.boot != boot_id(self.root):
            self.end()
            return None
        return state

    def runs(self, state: State) -> bool:
        """Whether the recorder of *state* still lives."""
        return bool(state.pid_began) and began(state.pid) == state.pid_began

    def refuse_pending(self) -> None:
        """Raise SettingError if a recording runs, or one that was killed left something behind."""
        state = self.read()
        if state is None:
            return
        if self.runs(state):
            raise SettingError(
                f"process {state.pid} is recording into {state.folder}\nvalid: wait for its end"
            )
        raise SettingError(
            f"a recording into {state.folder} was killed, and tracefs is as it left it"
            "\nvalid: traceview record --restore puts it back"
        )

    def end(self) -> None:
        """Nothing is pending any more."""
        self.path.unlink(missing_ok=True)


def undo(state: State) -> list[str]:
    """Put back what *state* says; what could not be, and why."""
    tracefs = Tracefs(Path(state.tracefs))
    left: list[str] = []
    if state.instance is not None and tracefs.exists(f"instances/{state.instance}"):
        left += _remove_instance(tracefs, state.instance)
    left += settings.put_back(tracefs, state.settings)
    left += probes.remove(tracefs)
    for name, content in state.files.items():
        try:
            if Path(name).read_text(encoding="utf-8") != content:
                Path(name).write_text(content, encoding="utf-8")
        except OSError as err:
            left.append(f"{name}: {err.strerror}")
    return left


def _remove_instance(tracefs: Tracefs, name: str) -> list[str]:
    """Remove an instance. Its flags are cleared first: their use is counted for the kernel."""
    own = tracefs.instance(name)
    for file, value in (
        ("tracing_on", "0"), ("events/enable", "0"), ("current_tracer", "nop"),
        ("options/record-tgid", "0"), ("options/copy_trace_marker", "0"),
    ):  # fmt: skip
        if own.exists(file):
            with contextlib.suppress(OSError):
                own.write(file, value)
    try:
        tracefs.remove_instance(name)
    except OSError as err:
        return [f"instances/{name}: {err.strerror}"]
    return []


def _state(document: Any) -> State:
    if document["version"] != VERSION:
        raise ValueError(f"version {document['version']!r}")
    saved = document["settings"]
    if not all(isinstance(value, list) for value in saved.values()):
        raise TypeError("settings")
    return State(**document)

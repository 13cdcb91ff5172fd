"""The command that is recorded: made before the recording starts, let go when it has started.

The child waits in front of execve(2), so that no fork of the recorder is in the recording. Where
an instance is recorded, the child gets a mount namespace in which the instance's trace_marker lies
over that of the top level: what the command and its children write to
/sys/kernel/tracing/trace_marker is then recorded beside the unmaps. Sources: mount_namespaces(7),
mount(2), proc_mounts(5).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from traceview.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Sequence

CLONE_NEWNS: Final = 0x20000  # include/uapi/linux/sched.h
MS_BIND: Final = 4096  # include/uapi/linux/mount.h
MS_REC: Final = 16384
MS_SLAVE: Final = 1 << 19
MARKER: Final = "trace_marker"
CANNOT_EXECUTE: Final = 126
GRACE_S: Final = 5.0
STEP_S: Final = 0.02


def check(words: Sequence[str]) -> None:
    """Raise SettingError where the command is nowhere."""
    for word in words[:1]:
        if shutil.which(word) is None:
            raise SettingError(f"there is no command {word!r}")


@dataclass(slots=True)
class Command:
    """A child. `status` is that of wait(2) once it has ended."""

    pid: int
    go: int  # what is written here lets it execute
    failed: int  # what comes out of here says why it did not
    status: int | None = None

    def start(self) -> None:
        """Let it execute; raises SettingError if it cannot."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.go, b"x")
        os.close(self.go)
        self.go = -1
        said = b""
        while piece := os.read(self.failed, 4096):  # closed by execve
            said += piece
        if said:
            self.wait(GRACE_S)
            raise SettingError(said.decode("utf-8", "replace"))

    def ended(self) -> bool:
        """Whether it has ended; does not wait."""
        if self.status is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.status = status if pid else None
        return self.status is not None

    def wait(self, seconds: float) -> bool:
        """Whether it ends in time."""
        until = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > until:
                return False
            time.sleep(STEP_S)
        return True

    def finish(self, number: int | None) -> None:
        """Have it end: by *number* (None: by itself, soon), SIGTERM, SIGKILL; close the pipes."""
        for signal_number in (number, signal.SIGTERM, signal.SIGKILL):
            if self.ended():
                break
            if signal_number is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal_number)
            self.wait(GRACE_S)
        for end in (self.go, self.failed):
            with contextlib.suppress(OSError):
                os.close(end)

    @property
    def exit_code(self) -> int | None:
        """As a shell says it: 128 and the signal that killed it."""
        if self.status is None:
            return None
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code


def prepare(words: Sequence[str], tracefs: Path, instance: str | None) -> Command:
    """The child, before it executes; raises SettingError where its namespace cannot be made."""
    wait, go = os.pipe2(os.O_CLOEXEC)
    hear, failed = os.pipe2(os.O_CLOEXEC)
    with warnings.catch_warnings():
        # Python 3.12 warns where a process has threads, as that of a test: the child only executes.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(go)
        os.close(hear)
        _become(words, tracefs, instance, wait, failed)
    os.close(wait)
    os.close(failed)
    return Command(pid, go, hear)


def _become(
    words: Sequence[str], tracefs: Path, instance: str | None, wait: int, failed: int
) -> NoReturn:
    """The child's life until it is the command; nothing of it returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
            if signal.getsignal(number) not in {signal.SIG_IGN, signal.SIG_DFL} or (
                number == signal.SIGPIPE
            ):
                signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        if instance is not None:
            _redirect_markers(tracefs, instance)
        if os.read(wait, 1):  # nothing: the recorder gave up
            os.execvp(words[0], list(words))  # noqa: S606 - it is what the user wants to run
    except BaseException as err:  # noqa: BLE001 - whatever it is, the parent is told
        why = err.strerror if isinstance(err, OSError) else str(err)
        with contextlib.suppress(OSError):
            os.write(failed, f"the command cannot be run: {words[0]}: {why}".encode())
    os._exit(CANNOT_EXECUTE)


def _redirect_markers(tracefs: Path, instance: str) -> None:
    """Lay the instance's trace_marker over the top level's, for this process and its children."""
    import ctypes  # noqa: PLC0415 - for this alone

    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int, what: str) -> None:
        if result:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")

    check(libc.unshare(CLONE_NEWNS), "unshare")
    check(libc.mount(None, b"/", None, MS_REC | MS_SLAVE, None), "mount --make-rslave /")
    source = os.fsencode(tracefs / "instances" / instance / MARKER)
    for target in _marker_files(tracefs):
        check(libc.mount(source, os.fsencode(target), None, MS_BIND, None), "mount --bind")


def _marker_files(tracefs: Path) -> list[Path]:
    """The top level's trace_marker wherever tracefs is mounted; debugfs mounts it on first use."""
    found = {tracefs / MARKER}
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
            fields = line.split(" ")
            if len(fields) > 2 and fields[2] == "tracefs":
                found.add(Path(fields[1]) / MARKER)
    return sorted(found)

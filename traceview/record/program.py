"""Programs that a back end runs: trace-cmd, perf, perfetto. None of them outlives the recorder.

A child is asked by its kernel to end when the recorder does (PR_SET_PDEATHSIG of prctl(2)), so
that one that was killed leaves nothing running that would go on writing to tracefs.
"""

from __future__ import annotations

import re
import signal
import subprocess
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import IO

PR_SET_PDEATHSIG: Final = 1  # include/uapi/linux/prctl.h
STEP_SECONDS: Final = 300  # none of what a back end asks of a program takes nearly as long
END_SECONDS: Final = 30


def version(text: str | None) -> tuple[int, int] | None:
    """The first two numbers of what a program says of its version."""
    found = re.search(r"(\d{1,6})\.(\d{1,6})", text or "")
    if found is None:
        only = re.search(r"\bv?(\d{1,6})\b", text or "")
        return None if only is None else (int(only[1]), 0)
    return int(found[1]), int(found[2])


def run(command: Sequence[str], *, what: str) -> str:
    """What *command* prints; raises SettingError, which says *what* failed, where it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and names of ours
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=STEP_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as err:
        raise SettingError(f"{what}: {err}") from err
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode:
        raise SettingError(f"{what}: {_last_lines(said)}\ncommand: {' '.join(command)}")
    return said


class Child:
    """A program that runs while recording. What it prints goes to a file."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start it; raises SettingError where that is not possible."""
        self.command, self.log = tuple(command), log
        try:
            with log.open("wb") as output:
                self._process = _spawned(command, output, environment, pass_fds)
        except OSError as err:
            raise SettingError(f"{command[0]} cannot be started: {err.strerror or err}") from err

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def said(self) -> str:
        """The last lines of what it printed."""
        try:
            return _last_lines(self.log.read_bytes()[-4096:].decode("utf-8", "replace"))
        except OSError:
            return ""

    def end(self, number: int = signal.SIGTERM, seconds: float = END_SECONDS) -> int | None:
        """Have it end by a signal, by force if it does not; its exit status. May be repeated."""
        if self.runs:
            self._process.send_signal(number)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None


def _spawned(
    command: Sequence[str],
    output: IO[bytes],
    environment: Mapping[str, str] | None,
    pass_fds: Sequence[int],
) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C is for the recorder, which ends its children in its own order.
    return subprocess.Popen(  # noqa: S603 - no shell, and names of ours
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
        env=environment, pass_fds=pass_fds, start_new_session=True,
        preexec_fn=die_with_parent(),  # noqa: PLW1509 - the recorder has no threads
    )  # fmt: skip


def die_with_parent() -> Callable[[], None] | None:
    """What a child does before it becomes the program; nothing where libc cannot be called."""
    try:
        import ctypes  # noqa: PLC0415 - small Pythons are built without it
    except ImportError:
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0) and None


def _last_lines(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-3:]) or "it printed nothing"

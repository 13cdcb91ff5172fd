"""Signals while recording: noted, never raised, so that nothing is left half undone."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """A context in which signals that end the program only set `number`: the first of them.

    One that was ignored before (nohup) stays ignored.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.number: int | None = None
        self._before: dict[int, Any] = {}
        self._wake = self._waker = self._wakeup_before = -1

    def __enter__(self) -> Self:
        """Take the signals."""
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wakeup_before = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (*ENDING, signal.SIGCHLD):
            handler = signal.getsignal(number)
            if number == signal.SIGCHLD or handler != signal.SIG_IGN:
                self._before[number] = handler
                signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None
    ) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._wake)
        os.close(self._waker)

    def _note(self, number: int, _: object) -> None:
        if number != signal.SIGCHLD and self.number is None:
            self.number = number

    def wait(self, seconds: float) -> None:
        """Sleep, until a signal comes or a child ends."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        if poller.poll(max(0.0, seconds) * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)

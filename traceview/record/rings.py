"""The ring buffers of all CPUs, moved into files while they fill.

Nothing is copied: splice(2) moves full pages out of per_cpu/cpuN/trace_pipe_raw into a pipe and on
into the file. The reader sleeps until a ring is half full (buffer_percent), so a short recording
is not read at all before it ends. Sources: tracing_buffers_{splice_read,poll,read}() in
kernel/trace/trace.c; ring_buffer_poll_wait() in kernel/trace/ring_buffer.c.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import select
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.record.tracefs_files import Tracefs

HALF_FULL_PERCENT: Final = 50
PIPE_BYTES: Final = 1 << 20
F_SETPIPE_SZ: Final = 1031  # include/uapi/linux/fcntl.h
POLL_MS: Final = 500
# A ring that says it can be read and gives nothing has less than a page.
PAUSE_S: Final = 0.05
CPU: Final = re.compile(r"cpu\d+")


@dataclass(slots=True)
class _Ring:
    raw: int
    file: int
    name: str


class Rings:
    """A thread that empties rings; its errors come out of check() and finish()."""

    def __init__(self, buffers: Tracefs, folder: Path, page_bytes: int) -> None:
        """Open every ring of *buffers* and a file for it below *folder*."""
        self._page_bytes = page_bytes
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None
        self._rings: dict[int, _Ring] = {}
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._pipe = os.pipe2(os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # larger than a user may: root may
            fcntl.fcntl(self._pipe[1], F_SETPIPE_SZ, PIPE_BYTES)
        self._splices = True
        try:
            for cpu in filter(CPU.fullmatch, buffers.names("per_cpu")):
                self._open(buffers.path / "per_cpu" / cpu, folder / "per_cpu" / cpu)
        except OSError as err:
            self.close()
            raise SettingError(
                f"a ring buffer cannot be read: {err.strerror}\nfile: {err.filename}"
            ) from err

    def _open(self, ring: Path, to: Path) -> None:
        to.mkdir(parents=True)
        name = str(ring / "trace_pipe_raw")
        raw = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            file = os.open(
                to / "trace_pipe_raw", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644
            )
        except OSError:
            os.close(raw)
            raise
        self._rings[raw] = _Ring(raw, file, name)

    def start(self) -> None:
        """Begin to empty them."""
        self._thread = threading.Thread(target=self._empty, name="rings", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise SettingError if the thread failed, as on a full disk."""
        if self._error is not None:
            raise SettingError(
                f"the recording cannot be written: {self._error.strerror}"
            ) from self._error

    def finish(self) -> None:
        """Take the rest, also from pages that are not full; nothing is recorded any more."""
        self._stop()
        self.check()
        try:
            for ring in self._rings.values():
                self._move(ring)
                while data := _read(ring.raw, self._page_bytes):
                    _write_all(ring.file, data)
        except OSError as err:
            self._error = err
        self.check()

    def close(self) -> None:
        """Close everything; may be repeated."""
        self._stop()
        for ring in self._rings.values():
            os.close(ring.raw)
            os.close(ring.file)
        self._rings.clear()
        for end in (self._wake, self._waker, *self._pipe):
            with contextlib.suppress(OSError):
                os.close(end)
        self._wake = self._waker = -1
        self._pipe = (-1, -1)

    def _stop(self) -> None:
        if self._thread is not None:
            os.write(self._waker, b"x")
            self._thread.join()
            self._thread = None

    def _empty(self) -> None:
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        for raw in self._rings:
            poller.register(raw, select.POLLIN)
        try:
            while True:
                ready = [file for file, _ in poller.poll(POLL_MS)]
                if self._wake in ready:
                    return
                if ready and not sum(self._move(self._rings[raw]) for raw in ready):
                    time.sleep(PAUSE_S)
        except OSError as err:
            self._error = err

    def _move(self, ring: _Ring) -> int:
        """Move all full pages of a ring; how many bytes that were."""
        moved = 0
        while True:
            try:
                many = self._splice(ring) if self._splices else _copy(ring, self._page_bytes)
            except BlockingIOError:
                return moved
            except OSError as err:
                if err.errno != errno.EINVAL or not self._splices:
                    raise
                self._splices = False  # a file system that cannot take pages
                continue
            if not many:
                return moved
            moved += many

    def _splice(self, ring: _Ring) -> int:
        source, sink = self._pipe
        many = os.splice(ring.raw, sink, PIPE_BYTES, flags=os.SPLICE_F_NONBLOCK)
        left = many
        while left:
            try:
                left -= os.splice(source, ring.file, left)
            except OSError as err:
                if err.errno != errno.EINVAL:
                    raise
                # What is in the pipe is out of the ring: it is copied, and no page after it.
                self._splices = False
                while left:
                    data = os.read(source, left)
                    _write_all(ring.file, data)
                    left -= len(data)
        return many


def _copy(ring: _Ring, page_bytes: int) -> int:
    data = _read(ring.raw, page_bytes)
    _write_all(ring.file, data)
    return len(data)


def _read(raw: int, page_bytes: int) -> bytes:
    """A page, full or not; empty if the ring is."""
    try:
        return os.read(raw, page_bytes)
    except BlockingIOError:
        return b""


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]

"""Reading and writing the control files of tracefs; the only place that writes them.

Opening a list (set_ftrace_filter, set_event, kprobe_events) with O_TRUNC empties it, without it
what is written is added. Source: Documentation/trace/ftrace.rst; ftrace_regex_write() in
kernel/trace/ftrace.c takes one name of several and says so by the number of bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from traceview.errors import SettingError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tracefs:
    """tracefs, or one of its instances, mounted at `path`."""

    path: Path

    def exists(self, name: str) -> bool:
        """Whether there is a file or folder *name*."""
        return (self.path / name).exists()

    def read(self, name: str) -> str:
        """The content of a file; raises OSError."""
        return (self.path / name).read_text(encoding="utf-8", errors="replace")

    def text(self, name: str) -> str:
        """The content of a file without blanks around it, empty where it cannot be read."""
        try:
            return self.read(name).strip()
        except OSError:
            return ""

    def names(self, folder: str) -> list[str]:
        """What is in a folder, sorted; empty where it cannot be read."""
        try:
            return sorted(os.listdir(self.path / folder))  # noqa: PTH208 - names are wanted
        except OSError:
            return []

    def write(self, name: str, text: str) -> None:
        """Set a value, or make a list of *text* alone; raises OSError."""
        self._write(name, text, os.O_TRUNC)

    def append(self, name: str, text: str) -> None:
        """Add to a list; raises OSError."""
        self._write(name, text, os.O_APPEND)

    def _write(self, name: str, text: str, how: int) -> None:
        file = os.open(self.path / name, os.O_WRONLY | os.O_CLOEXEC | how)
        try:
            left = text.encode("utf-8")
            while left:  # of a list of names, one write takes one
                left = left[os.write(file, left) :]
        finally:
            os.close(file)

    def set(self, name: str, text: str) -> None:
        """As write(), but an error is the user's to read."""
        try:
            self.write(name, text)
        except OSError as err:
            raise SettingError(
                f"the kernel refuses {text.strip()[:200]!r}: {err.strerror}"
                f"\nwritten to: {self.path / name}"
            ) from err

    def instance(self, name: str) -> Tracefs:
        """The buffers of their own called *name*."""
        return Tracefs(self.path / "instances" / name)

    def make_instance(self, name: str) -> None:
        """Make further buffers; raises OSError."""
        (self.path / "instances" / name).mkdir()

    def remove_instance(self, name: str) -> None:
        """Remove them; raises OSError, EBUSY where a process has one of their files open."""
        (self.path / "instances" / name).rmdir()

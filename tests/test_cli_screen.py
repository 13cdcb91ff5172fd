"""The progress bar: on a terminal, for work that takes a while, and nowhere else."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios

import pytest

from traceview.cli import screen


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, *, quiet: bool = False) -> str:
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with screen.progress("reading", quiet=quiet) as hear:
        for part in range(11):
            hear(part / 10)
    return stream.getvalue()


def test_long_work_shows_its_progress_and_wipes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "PATIENCE_S", -1)
    said = shown(Terminal(), monkeypatch)
    assert "reading" in said
    assert said.endswith("\x1b[2K")


def test_short_work_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "PATIENCE_S", 3600)
    assert shown(Terminal(), monkeypatch) == ""


def test_a_pipe_and_quiet_show_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "PATIENCE_S", -1)
    assert shown(io.StringIO(), monkeypatch) == ""
    assert shown(Terminal(), monkeypatch, quiet=True) == ""


@pytest.mark.parametrize(
    ("columns", "width"), [("72", 72), ("5", 20), ("", 100), ("many", 100), ("0", 20)]
)
def test_a_pipe_is_as_wide_as_is_stated(
    monkeypatch: pytest.MonkeyPatch, columns: str, width: int
) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.setattr("sys.stderr", io.StringIO())
    monkeypatch.setenv("COLUMNS", columns)
    assert screen.width() == width


def test_a_pipe_is_as_wide_as_the_terminal_that_shows_the_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 77, 0, 0))
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.delenv("COLUMNS", raising=False)
    with open(follower, "w", encoding="utf-8") as terminal:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr("sys.stderr", terminal)
        assert screen.width() == 77
        monkeypatch.setenv("COLUMNS", "60")
        assert screen.width() == 60
    os.close(leader)

"""What EL2 records of itself: remotes/hypervisor of tracefs, beside the host's own buffers.

Linux 7.1 and later, on nVHE and pKVM hosts. Its trace_pipe is read while recording, by a child:
the read blocks, whatever flags the file was opened with. The buffers are made when somebody opens
trace_pipe or sets tracing_on, and are given up when nothing is in them and nobody reads them: only
then their size can be written. Source: kernel/trace/trace_remote.c, arch/arm64/kvm/hyp_trace.c of
Linux 7.1.8.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError
from traceview.record.backend import Losses
from traceview.record.program import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from traceview.record.tracefs_files import Tracefs

FOLDER: Final = "remotes/hypervisor"
TRACING_ON: Final = f"{FOLDER}/tracing_on"
SIZE: Final = f"{FOLDER}/buffer_size_kb"
PIPE: Final = f"{FOLDER}/trace_pipe"
EVENTS: Final = f"{FOLDER}/events/hypervisor"
WANTED: Final = ("hyp_enter", "hyp_exit")
LOADED: Final = "(loaded)"
LOST: Final = re.compile(rb"^CPU:(\d{1,5}) \[LOST (\d{1,18}) EVENTS\]", re.MULTILINE)
PIECE_BYTES: Final = 1 << 24
POLL_S: Final = 0.1  # poll_ms of trace_remote.c
QUIET_POLLS: Final = 3
DRAIN_S: Final = 120.0  # a slow disk, not a slow hypervisor
ROUNDS: Final = 5


def in_use(tracefs: Tracefs) -> str:
    """Why it belongs to somebody; empty if it does not, or is not there."""
    if tracefs.text(TRACING_ON) == "1":
        return f"{FOLDER} is recorded by somebody else"
    if LOADED in tracefs.text(SIZE):
        return f"{FOLDER} is read by somebody else, or holds what nobody has read"
    return ""


def snapshot(tracefs: Tracefs) -> dict[str, list[str]]:
    """Its settings; a size reads as `7 (unloaded)` and is written as `7`."""
    found = {TRACING_ON: [tracefs.text(TRACING_ON)], SIZE: tracefs.text(SIZE).split()[:1]}
    for event in tracefs.names(EVENTS):
        name = f"{EVENTS}/{event}/enable"
        if tracefs.exists(name):
            found[name] = [tracefs.text(name)]
    return found


def to_put_back(changed: Mapping[str, list[str]]) -> Iterator[tuple[str, str]]:
    """What to write, in this order, to have the settings that *changed* as they were."""
    own = {name: value[0] for name, value in changed.items() if name.startswith(FOLDER) and value}
    if not own:
        return
    yield TRACING_ON, "0"
    yield f"{FOLDER}/trace", "\n"  # what nobody has read would keep the buffers, and their size
    on = own.pop(TRACING_ON, "0")
    yield from own.items()
    if on != "0":
        yield TRACING_ON, on


class HypervisorReader:
    """Its recording, read into a raw dump."""

    def __init__(self, tracefs: Tracefs, dump: Path) -> None:
        """Nothing is changed yet."""
        self._tracefs = tracefs
        self._file = dump / PIPE
        self._child: subprocess.Popen[bytes] | None = None
        self._seen_bytes = 0
        self._lost: Counter[int] = Counter()
        self._is_whole = True

    def prepare(self, buffer_kb: int) -> None:
        """Size, events, and somebody who reads; nothing is recorded yet."""
        self._tracefs.set(SIZE, str(buffer_kb))
        for event in WANTED:
            self._tracefs.set(f"{EVENTS}/{event}/enable", "1")
        self._file.parent.mkdir(parents=True)
        self._read()

    def _read(self) -> None:
        """Have a child read; what it reads is added to the file."""
        try:
            pipe = os.open(self._tracefs.path / PIPE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as err:
            raise SettingError(
                f"the hypervisor's buffers cannot be made: {err.strerror}"
                "\nvalid: a smaller --buffer-kb, or --no-hypervisor"
            ) from err
        try:
            with self._file.open("ab") as file:
                self._child = subprocess.Popen(
                    ["cat"], stdin=pipe, stdout=file, stderr=subprocess.DEVNULL,  # noqa: S607
                    start_new_session=True, preexec_fn=die_with_parent(),  # noqa: PLW1509
                )  # fmt: skip
        except OSError as err:
            raise SettingError(f"cat cannot be started: {err.strerror}") from err
        finally:
            os.close(pipe)

    def start(self) -> None:
        """Record from now on; before the host does."""
        self._tracefs.set(TRACING_ON, "1")

    def stop(self) -> None:
        """Record nothing more; after the host."""
        with contextlib.suppress(OSError):
            self._tracefs.write(TRACING_ON, "0")

    def lost(self) -> Losses:
        """What was lost so far, as the text says; raises SettingError if nobody reads any more."""
        self._check()
        self._look()
        if not self._is_whole:
            return Losses(None, note="somebody else has read from the hypervisor's trace_pipe")
        count = sum(self._lost.values())
        note = f"{count:,} of the events lost are the hypervisor's" if count else ""
        return Losses(count, by_cpu=dict(self._lost), note=note)

    def _check(self) -> None:
        if self._child is not None and self._child.poll():
            raise SettingError(f"the hypervisor's events cannot be written to {self._file}")

    def _look(self) -> None:
        """Count the losses in lines that were written since."""
        with self._file.open("rb") as file:
            file.seek(self._seen_bytes)
            while piece := file.read(PIECE_BYTES):
                whole = piece[: piece.rfind(b"\n") + 1]
                if not whole:
                    return
                if b"[LOST " in whole:
                    for cpu, count in LOST.findall(whole):
                        self._lost[int(cpu)] += int(count)
                self._seen_bytes += len(whole)
                file.seek(self._seen_bytes)

    def finish(self) -> None:
        """Take the rest, until the kernel has given the buffers up because nothing is in them."""
        for _ in range(ROUNDS):
            self._wait_until_quiet()
            self._check()
            self.close()
            if LOADED not in self._tracefs.text(SIZE):
                return
            self._read()
        self._is_whole = False

    def _wait_until_quiet(self) -> None:
        """Until the reader sleeps and writes nothing, for some of the kernel's polls."""
        assert self._child is not None
        until, size, quiet = time.monotonic() + DRAIN_S, -1, 0
        while quiet < QUIET_POLLS and time.monotonic() < until and self._child.poll() is None:
            time.sleep(POLL_S)
            now = self._file.stat().st_size
            quiet = quiet + 1 if now == size and _sleeps(self._child.pid) else 0
            size = now

    def close(self) -> None:
        """End the reader; may be repeated."""
        if self._child is None:
            return
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        self._child.wait()
        self._child = None


def _sleeps(pid: int) -> bool:
    """Whether a process waits for what it reads: neither runs nor waits for a disk."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] == ["S"]

"""One boot: a job runs in the guest, what it wrote comes out.

Every boot ends: by itself, at its time limit, or with this process, however that ends; only the
QEMU that was started here is ended, by its id. What the console said is kept. A kernel that
panics, a guest that hangs and a job that fails are errors.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import re
import resource
import shutil
import signal
import subprocess
import tarfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import HERE, PROJECT
from sample_traces.lab.kernels import kernel
from sample_traces.lab.machine import Machine, checked, command
from sample_traces.lab.programs import find, run
from sample_traces.lab.requirements import QEMU

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import FrameType

    from sample_traces.lab.folder import Folder

SECONDS: Final = 600.0
POLL_SECONDS: Final = 0.1
END_SECONDS: Final = 5.0
LINES_SHOWN: Final = 25
PR_SET_PDEATHSIG: Final = 1
# kernel/panic.c, arch/arm64/kernel/traps.c
PANIC: Final = re.compile(rb"Kernel panic - not syncing|Internal error: |Unable to handle kernel")


@dataclass(frozen=True, slots=True)
class Boot:
    """What to boot. *name*: the folder below out/; *files*: copied for the job, into /share."""

    job: Path
    kernel: str
    machine: Machine
    arguments: tuple[str, ...] = ()
    name: str = ""
    files: tuple[Path, ...] = ()
    project: bool = False  # traceview itself in the guest
    plugin: bool = False  # writes what the CPU executes
    seconds: float = SECONDS

    @property
    def folder_name(self) -> str:
        """JOB-KERNEL-CPU unless it was given."""
        mode = "" if self.machine.mode == "vhe" else f"-{self.machine.mode}"
        time_ = "-deterministic" if self.machine.deterministic else ""
        return self.name or f"{self.job.stem}-{self.kernel}-{self.machine.cpu}{mode}{time_}"


def job_path(name: str) -> Path:
    """A job by its name below jobs/, or by a path. Raises LabError that names those there are."""
    path = Path(name) if "/" in name else HERE / "jobs" / f"{name}.sh"
    if not path.is_file():
        there = ", ".join(sorted(one.stem for one in (HERE / "jobs").glob("*.sh")))
        raise LabError(f"there is no job {name!r}\nthere are: {there}; or a path")
    return path


def boot(folder: Folder, asked: Boot) -> Path:
    """Boot, run the job and return the folder with its output. Raises LabError when it failed."""
    machine = checked(asked.machine)
    one = kernel(folder, asked.kernel)
    if not folder.root_image.exists():
        raise LabError("there is no root file system\nrun: python3 -m sample_traces.lab setup")
    out = folder.out / asked.folder_name
    out.parent.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        shutil.rmtree(out, ignore_errors=True)
        share = out / "share"
        share.mkdir(parents=True)
        _fill(share, asked)
        more = plugin_arguments(folder, one.name, out) if asked.plugin else []
        qemu = command(machine, folder, one.name, share, more)
        started, used = time.monotonic(), _cpu_seconds()
        console = out / "console.log"
        failure = run_machine(qemu, console, asked.seconds)
        seconds = round(time.monotonic() - started, 1)
        status = _collect(share, out)
        row = {
            "job": asked.job.stem,
            "kernel": asdict(one),
            "machine": asdict(machine),
            "command": qemu,
            "seconds": seconds,
            "cpu_seconds": round(_cpu_seconds() - used, 1),
            "status": status,
            "failure": failure,
        }
        _write_json(out / "boot.json", row)
    if failure is None and status is None:
        failure = "the machine stopped before the job ended"
    if failure is not None:
        said = f"{_tail(out / 'job.log')}\nconsole: {console}\n{_tail(console)}"
        raise LabError(f"{failure}, after {seconds} s\njob:\n{said}")
    if status:
        raise LabError(f"the job failed with status {status}\n{_tail(out / 'job.log')}\nin: {out}")
    return out


def plugin_arguments(folder: Folder, kernel_name: str, out: Path) -> list[str]:
    """The arguments of QEMU that load the plugin."""
    from sample_traces.lab import plugin  # noqa: PLC0415 - few boots have one

    return list(plugin.arguments(folder, kernel_name, out))


def run_machine(qemu: Sequence[str], console: Path, seconds: float) -> str | None:
    """Run QEMU to its end. Returns what went wrong with the machine, or None."""
    path = find(qemu[0])
    if path is None:
        raise LabError(f"there is no {QEMU}\nrun: python3 -m sample_traces.lab setup")
    with console.open("wb") as log, _ended_with_us():
        process = subprocess.Popen(
            [path, *qemu[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - no thread is running
        )
        try:
            failure = _watch(process, console, seconds)
        finally:
            _end(process)
    if failure is None and process.returncode:
        return f"QEMU ended with status {process.returncode}"
    return failure


def _watch(process: subprocess.Popen[bytes], console: Path, seconds: float) -> str | None:
    """Wait for the end. A panic ends the wait at once: nothing useful comes after it."""
    limit = time.monotonic() + seconds
    with console.open("rb") as log:
        tail = b""
        while True:
            ended = process.poll() is not None
            tail = tail[-200:] + log.read()
            found = PANIC.search(tail)
            if found is not None:
                time.sleep(1.0)  # what it says about it
                return f"the guest's kernel failed ({found[0].decode()})"
            if ended:
                return None
            if time.monotonic() > limit:
                return f"the guest did not end in {seconds:g} s"
            time.sleep(POLL_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent() -> None:
    """In the child: the kernel ends it when this process is gone, also by SIGKILL (prctl(2))."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def _ended_with_us() -> Iterator[None]:
    """SIGTERM and SIGHUP end this process the way Ctrl-C does, so that `finally` is reached."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Two boots do not write one folder."""
    with out.with_suffix(out.suffix + ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LabError(f"another boot writes there now: {out}") from None
        yield


def _cpu_seconds() -> float:
    """Of the children that ended: of one boot what it costs on any host, however busy."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _fill(share: Path, asked: Boot) -> None:
    shutil.copy(asked.job, share / "job.sh")
    for path in (HERE / "guest" / "lib.sh", *asked.files):
        shutil.copy(path, share)
    lines = "".join(f"{word}\n" for word in asked.arguments)
    (share / "arguments").write_text(lines, encoding="utf-8")
    if asked.project:
        pack_project(share / "project.tar")


def pack_project(path: Path) -> None:
    """The tree of `traceview` as it is now, for the guest's Python."""

    def without_caches(one: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if one.name.endswith(("__pycache__", ".pyc")) else one

    with tarfile.open(path, "w") as packed:
        for name in ("traceview", "parsers", "queries"):
            packed.add(PROJECT / name, name, filter=without_caches)


def _collect(share: Path, out: Path) -> int | None:
    """Move what the guest wrote; its job's status, None when it came to no end."""
    status = share / "status"
    if (share / "out.tar").exists():
        # Python's tarfile has no safe way before 3.11.4, which Debian 12 does not have.
        run(["tar", "--extract", "--no-same-owner", f"--file={share / 'out.tar'}"], folder=out)
    if (share / "job.log").exists():
        shutil.move(share / "job.log", out / "job.log")
    ended = status.read_text(encoding="utf-8").strip() if status.exists() else ""
    shutil.rmtree(share, ignore_errors=True)
    return int(ended) if ended.isdigit() else None


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"  ({path.name} was not written)"
    return "\n".join(f"  {line}" for line in lines[-LINES_SHOWN:]) or f"  ({path.name} is empty)"


def _write_json(path: Path, row: Mapping[str, object]) -> None:
    path.write_text(json.dumps(row, indent=2) + "\n", encoding="utf-8")

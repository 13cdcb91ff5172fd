"""Looking at a host: every fact of host.Host from its file, with a reason for each that is missing.

Nothing is changed. Paths are those of docs/how-to.md section 5, below `root`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from traceview.record.boot_log import features, is_whole, kvm_mode
from traceview.record.host import Host
from traceview.record.hypervisor import in_use
from traceview.record.tracefs_files import Tracefs
from traceview.record.virtual import virtual_hint

if TYPE_CHECKING:
    from collections.abc import Sequence

TRACEFS: Final = ("sys/kernel/tracing", "sys/kernel/debug/tracing")
PROGRAMS: Final = ("trace-cmd", "perf", "perfetto")
PATIENCE_S: Final = 30
VERSION: Final = re.compile(r"v?(\d+\.\d[\w.~+-]*|v\d+)")
CPU_LIST: Final = re.compile(r"(\d+)(?:-(\d+))?")


@dataclass(frozen=True, slots=True)
class Place:
    """The files and programs of a host below `root`; what could not be read is noted once."""

    root: Path
    unknowns: list[str] = field(default_factory=list)

    @property
    def is_this_host(self) -> bool:
        """Whether it is the host that runs us, and no tree of a test."""
        return self.root == Path("/")

    def text(self, name: str, why: str = "") -> str:
        """The content of a file, empty where it cannot be read; *why* it is then not known."""
        try:
            return (self.root / name).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError as err:
            if why:
                self.unknowns.append(f"{why}: /{name}: {err.strerror}")
            return ""

    def program(self, name: str) -> str | None:
        """The path of a program."""
        where = os.pathsep.join(str(self.root / one) for one in ("usr/bin", "usr/sbin", "bin"))
        return shutil.which(name, path=None if self.is_this_host else where)

    def said(self, command: Sequence[str], *, fails: bool = False) -> str:
        """What a program prints, empty where it is not there, or where it fails and may not."""
        program = self.program(command[0])
        if program is None:
            return ""
        try:
            done = subprocess.run(  # noqa: S603 - a program of the host, without user input
                [program, *command[1:]], check=False, capture_output=True, timeout=PATIENCE_S,
                stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return ""
        if done.returncode and not fails:
            return ""
        return (done.stdout or done.stderr).decode("utf-8", "replace")


def look(root: Path = Path("/"), backend: str | None = None) -> Host:
    """Everything about the host. *backend*: only this program is asked for its version."""
    place = Place(root)
    tracefs = _tracefs(root)
    log = boot_log(place)
    mode = _mode(place, log, hypervisor=tracefs.exists("remotes/hypervisor"))
    events = tracefs.text("available_events").split()
    if not events and tracefs.exists("available_filter_functions"):
        place.unknowns.append("no events: available_events cannot be read")
    readme = tracefs.text("README")
    return Host(
        tracefs=tracefs.path,
        root=root,
        kernel=os.uname().release if place.is_this_host else place.text(f"{SYSCTL}/osrelease"),
        machine=os.uname().machine if place.is_this_host else place.text(f"{SYSCTL}/arch"),
        kvm=(root / "dev/kvm").exists(),
        mode=mode,
        is_root=not place.is_this_host or os.geteuid() == 0,
        functions=_functions(tracefs),
        tracers=frozenset(tracefs.text("available_tracers").split()),
        events=frozenset(events),
        clocks=frozenset(tracefs.text("trace_clock").replace("[", "").replace("]", "").split()),
        options=frozenset(tracefs.names("options")),
        readme=readme,
        kprobes=tracefs.exists("kprobe_events"),
        fprobes=re.search(r"^\s*f\[?[:\[]", readme, re.MULTILINE) is not None,
        graph_in_instances=_graph_in_instances(place),
        hypervisor=tracefs.exists("remotes/hypervisor"),
        hypervisor_busy=in_use(tracefs),
        busy=busy(tracefs),
        cpus=_cpu_list(place.text("sys/devices/system/cpu/online", "the CPUs")),
        memory_available_kb=_available_kb(place),
        defer_switch=(root / "sys/module/kvm/parameters/unmap_defer").exists(),
        virtual=virtual_hint(root),
        programs=_programs(place, backend),
        facts=_facts(place, log),
        unknowns=tuple(place.unknowns),
    )  # fmt: skip


SYSCTL: Final = "proc/sys/kernel"


def _tracefs(root: Path) -> Tracefs:
    """Where tracefs is mounted; the first of the usual places if nowhere."""
    for name in TRACEFS:
        if (root / name / "available_tracers").exists() or (root / name / "README").exists():
            return Tracefs(root / name)
    return Tracefs(root / TRACEFS[0])


def boot_log(place: Place) -> str:
    """The kernel's messages since boot: from the journal, which forgets less, else the ring."""
    for command in (("journalctl", "-k", "-b", "0", "-o", "cat", "--no-pager"), ("dmesg",)):
        log = place.said(command)
        if is_whole(log):
            return log
    if not log:
        place.unknowns.append("features of the CPU: neither journalctl nor dmesg shows a boot log")
    elif not is_whole(log):
        place.unknowns.append("features of the CPU: the boot log has lost its beginning")
    return log


def _mode(place: Place, log: str, *, hypervisor: bool) -> str | None:
    mode = kvm_mode(log)
    stated = re.search(r"kvm-arm\.mode=(\S+)", place.text("proc/cmdline"))
    if mode is None and stated is not None and stated[1] in {"nvhe", "protected"}:
        mode = stated[1]
    if mode is None and hypervisor:
        place.unknowns.append("KVM's mode: nVHE or protected, for tracefs has remotes/hypervisor")
        return "nvhe"
    if mode is None:
        place.unknowns.append("KVM's mode: the boot log has no message of it")
    return mode


def _functions(tracefs: Tracefs) -> frozenset[str]:
    """The names in available_filter_functions; among them `[module]`, which is nobody's name."""
    return frozenset(tracefs.text("available_filter_functions").split())


def _graph_in_instances(place: Place) -> bool:
    """By release, for asking means making one: from 6.12 on.

    The tracefs back end asks its instance before it records.
    """
    release = os.uname().release if place.is_this_host else place.text(f"{SYSCTL}/osrelease")
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= (6, 12)


def busy(tracefs: Tracefs) -> tuple[str, ...]:
    """Why the top level belongs to somebody: a tracer that runs, events that are enabled."""
    found = []
    tracer = tracefs.text("current_tracer")
    if tracer not in {"nop", ""}:
        found.append(f"its tracer is {tracer}")
    events = tracefs.text("set_event").split()
    if events:
        more = f" and {len(events) - 1} more" if len(events) > 1 else ""
        found.append(f"{events[0]}{more} recorded")
    return tuple(found)


def _cpu_list(text: str) -> tuple[int, ...]:
    cpus: list[int] = []
    for first, last in CPU_LIST.findall(text):
        cpus += range(int(first), int(last or first) + 1)
    return tuple(cpus)


def _available_kb(place: Place) -> int | None:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", place.text("proc/meminfo"), re.MULTILINE)
    if found is None:
        place.unknowns.append("available memory: /proc/meminfo has no MemAvailable")
    return None if found is None else int(found[1])


def _programs(place: Place, backend: str | None) -> dict[str, str]:
    """Version by name, `?` where it is there and does not say, or was not asked."""
    found = {}
    for name in PROGRAMS:
        if place.program(name) is None:
            continue
        found[name] = "?"
        if backend in {None, name}:
            said = VERSION.search(
                place.said((name, "--version"), fails=True)
            )  # trace-cmd 3.1's is 1
            found[name] = said[0].removeprefix("v") if said else "?"
    return found


def _facts(place: Place, log: str) -> dict[str, Any]:
    """The keys of the sidecar's `host` but those of the tracer."""
    facts: dict[str, Any] = features(log)
    if place.is_this_host:
        facts["kernel"], facts["machine"] = os.uname().release, os.uname().machine
    else:
        facts["kernel"] = place.text(f"{SYSCTL}/osrelease")
        facts["machine"] = place.text(f"{SYSCTL}/arch")
    cpus = len(re.findall(r"^processor\s*:", place.text("proc/cpuinfo"), re.MULTILINE))
    if cpus:
        facts["cpus"] = cpus
    size = re.search(r"^KernelPageSize:\s+(\d+) kB", place.text("proc/self/smaps"), re.MULTILINE)
    if size is not None:
        facts["page_size_bytes"] = int(size[1]) * 1024
    midr = _midr(place)
    if midr is not None:
        facts["midr"] = midr
    return facts


def _midr(place: Place) -> str | None:
    """MIDR_EL1 of the first CPU; that CPUs differ is noted."""
    name = "regs/identification/midr_el1"
    folder = place.root / "sys/devices/system/cpu"
    found = sorted(
        {file.read_text(encoding="ascii").strip() for file in folder.glob(f"cpu*/{name}")}
    )
    first = place.text(f"sys/devices/system/cpu/cpu0/{name}", "midr")
    if len(found) > 1:
        place.unknowns.append(
            f"midr: CPUs of {len(found)} kinds ({', '.join(found)}); that of cpu0 is stated, unmaps"
            " may run on others"
        )
    return first or None

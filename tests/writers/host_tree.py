"""A host as a tree of files, with a tracefs that behaves like the kernel's where it matters.

The files are ordinary ones; `behave()` puts the kernel's rules into the one place of the recorder
that writes them (Tracefs): what is refused, what a list is when it was emptied, which files an
instance and a probe have.
"""

from __future__ import annotations

import errno
import os
import shutil
from typing import TYPE_CHECKING

from tests.writers.points import POINT, points
from tests.writers.records import PRINT
from tests.writers.ring_buffer import header_page
from traceview.record.tracefs_files import Tracefs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import Any

TRACEFS = "sys/kernel/tracing"
KERNEL = "6.12.95+deb12-arm64"
FUNCTIONS = (
    "kvm_pgtable_stage2_unmap", "__kvm_tlb_flush_vmid_ipa", "__kvm_tlb_flush_vmid_range",
    "__kvm_tlb_flush_vmid", "clean_dcache_guest_page", "kvm_s2_put_page", "stage2_unmap_walker",
    "__unmap_stage2_range.isra.0", "kvm_unmap_gfn_range", "kvm_arch_flush_shadow_memslot",
    "schedule", "dev_close [kvm_test]",
)  # fmt: skip
EVENTS = ("kvm:kvm_entry", "kvm:kvm_exit", "kvm:kvm_guest_fault", "sched:sched_switch")
BOOT_LOG = """\
Booting Linux on physical CPU 0x0000000000 [0x410fd0c0]
arch_timer: cp15 timer(s) running at 25.00MHz (phys).
CPU features: detected: TLB range maintenance instructions
CPU features: detected: Stage-2 Force Write-Back
CPU features: detected: ARM erratum 1418040 on CPU0-3
CPU features: detected: Broken broadcast TLBI completion
kvm [1]: VHE mode initialized successfully
"""
LISTS = {
    "set_ftrace_filter": "#### all functions enabled ####\n",
    "set_ftrace_notrace": "#### no functions disabled ####\n",
    "set_graph_function": "#### all functions enabled ####\n",
    "set_graph_notrace": "#### no functions disabled ####\n",
    "set_ftrace_pid": "no pid\n",
    "set_event_pid": "",
}
OPTIONS = ("overwrite", "record-tgid", "funcgraph-irqs", "sleep-time", "funcgraph-args", "markers")
ON = ("overwrite", "funcgraph-irqs", "sleep-time", "markers")
CLOCKS = ("local", "global", "mono", "boot")
STATS = "entries: 3\noverrun: {lost}\ncommit overrun: 0\ndropped events: 0\nread events: 0\n"
T = 1_000_000


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def make_host(
    root: Path, *, kernel: str = KERNEL, machine: str = "aarch64",
    functions: Iterable[str] = FUNCTIONS, log: str = BOOT_LOG, cpus: int = 2,
    available_kb: int = 8 << 20, kvm: bool = True, tracers: str = "function_graph function nop",
) -> Path:  # fmt: skip
    """A host below *root*; the path of its tracefs."""
    proc, cpu = root / "proc", root / "sys/devices/system/cpu"
    for name, text in {
        "osrelease": kernel, "arch": machine, "ostype": "Linux", "hostname": "box",
        "version": "#1 SMP", "random/boot_id": "0badcafe-0000-4000-8000-000000000000",
    }.items():  # fmt: skip
        write(proc / "sys/kernel" / name, f"{text}\n")
    write(proc / "cpuinfo", "".join(f"processor\t: {number}\n" for number in range(cpus)))
    write(proc / "meminfo", f"MemTotal: 1 kB\nMemAvailable:   {available_kb} kB\n")
    write(proc / "self/smaps", "KernelPageSize:        4 kB\n")
    write(proc / "cmdline", "console=ttyAMA0\n")
    write(proc / "kallsyms", "ffff800080000000 T _text\nffff800080010000 t kvm_s2_put_page\n")
    write(cpu / "online", f"0-{cpus - 1}\n")
    for number in range(cpus):
        write(cpu / f"cpu{number}/regs/identification/midr_el1", "0x00000000410fd0c0\n")
    if kvm:
        write(root / "dev/kvm", "")
    program(root, "dmesg", f"cat <<'END'\n{log}END\n")
    tracefs = root / TRACEFS
    make_tracefs(tracefs, functions, cpus=cpus, tracers=tracers)
    return tracefs


def program(root: Path, name: str, script: str) -> None:
    """A program of the host: a shell script."""
    path = root / "usr/bin" / name
    write(path, f"#!/bin/sh\n{script}")
    path.chmod(0o755)


def make_tracefs(tracefs: Path, functions: Iterable[str], *, cpus: int, tracers: str) -> None:
    write(tracefs / "available_filter_functions", "".join(f"{name}\n" for name in functions))
    write(tracefs / "available_events", "".join(f"{name}\n" for name in EVENTS))
    write(tracefs / "README", "\t  f[:[<group>/][<event>]] <func-name>[%return] [<args>]\n")
    for name in (
        "kprobe_events",
        "dynamic_events",
        "set_event",
        "printk_formats",
        "kprobe_profile",
    ):
        write(tracefs / name, "")
    write(tracefs / "saved_cmdlines", "100 worker\n")
    write(tracefs / "saved_tgids", "100 100\n")
    _make_buffers(tracefs, cpus=cpus, tracers=tracers)
    write(tracefs / "max_graph_depth", "0\n")
    write(tracefs / "tracing_thresh", "0\n")
    (tracefs / "instances").mkdir()


def _make_buffers(folder: Path, *, cpus: int, tracers: str) -> None:
    """The files that the top level and an instance both have."""
    for name, text in {
        "available_tracers": tracers, "current_tracer": "nop", "tracing_on": "1", "trace": "",
        "buffer_size_kb": "1408", "buffer_percent": "50", "trace_marker": "",
        "trace_clock": "[local] global mono boot", "trace_options": "", "tracing_cpumask": "3",
    }.items():  # fmt: skip
        write(folder / name, f"{text}\n" if text else "")
    for name, empty in LISTS.items():
        write(folder / name, empty)
    for name in OPTIONS:
        write(folder / "options" / name, f"{int(name in ON)}\n")
    write(folder / "events/enable", "0\n")
    write(folder / "events/header_page", header_page(4096))
    write(folder / "events/header_event", "# compressed entry header\n")
    write(folder / "events/ftrace/print/format", PRINT.format())
    write(folder / "events/ftrace/point/format", POINT.format())
    for event in EVENTS:
        _make_event(folder, event)
    for number in range(cpus):
        ring = folder / f"per_cpu/cpu{number}"
        write(ring / "stats", STATS.format(lost=0))
        write(ring / "buffer_size_kb", "1408\n")
        (ring / "trace_pipe_raw").write_bytes(b"".join(points(T + number, T + 10 + number)))


def _make_event(folder: Path, event: str) -> None:
    path = folder / "events" / event.replace(":", "/")
    write(path / "enable", "0\n")
    write(path / "format", f"name: {path.name}\nID: 9{len(path.name)}\nformat:\n")


def make_hypervisor(tracefs: Path, text: str = "") -> Path:
    """remotes/hypervisor; its trace_pipe, which ends where the kernel's never does."""
    folder = tracefs / "remotes/hypervisor"
    write(folder / "tracing_on", "0\n")
    write(folder / "buffer_size_kb", "7 (unloaded)\n")
    write(folder / "trace_clock", "[boot]\n")
    write(folder / "trace", "")
    for event in ("hyp_enter", "hyp_exit", "selftest"):
        write(folder / f"events/hypervisor/{event}/enable", "0\n")
    write(folder / "trace_pipe", text)
    return folder


def behave(setattr_: Callable[[Any, str, Any], None] = setattr) -> None:
    """From now on, writes to a tracefs in files have the effects that the kernel gives them.

    *setattr_*: that of monkeypatch, where it is to end with a test.
    """
    setattr_(Tracefs, "_write", _kernel_write)
    setattr_(Tracefs, "make_instance", _make_instance)
    setattr_(Tracefs, "remove_instance", _remove_instance)


def _refuse(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _kernel_write(self: Tracefs, name: str, text: str, how: int) -> None:
    path = self.path / name
    if not path.exists():
        raise _refuse(errno.ENOENT)
    words = text.split()
    if name.startswith("remotes/"):
        if name.endswith("buffer_size_kb"):
            write(path, f"{words[0]} (unloaded)\n")
        elif words:
            write(path, f"{words[0]}\n")
    elif name in LISTS:
        _write_list(self.path, name, words, how)
    elif name == "set_event":
        _write_events(self.path, words)
    elif name == "kprobe_events":
        _write_probe(self.path, text.strip(), how)
    elif name == "trace_marker":
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    elif name == "trace_clock":
        if words[0] not in CLOCKS:
            raise _refuse(errno.EINVAL)
        write(path, " ".join(f"[{one}]" if one == words[0] else one for one in CLOCKS) + "\n")
    elif (
        name == "current_tracer"
        and words[0] not in (self.path / "available_tracers").read_text().split()
    ):
        raise _refuse(errno.EINVAL)
    elif name.endswith("/enable") and name != "events/enable":
        _enable(self.path, name.removeprefix("events/").removesuffix("/enable"), words[0])
    elif name == "trace_options":
        write(self.path / "options" / words[0].removeprefix("no"), f"{int(words[0][:2] != 'no')}\n")
    elif name != "trace":
        write(path, f"{words[0]}\n")


def _write_list(folder: Path, name: str, words: list[str], how: int) -> None:
    path = folder / name
    now = [] if how & os.O_TRUNC else [one for one in path.read_text().split("\n") if one]
    now = [one for one in now if not one.startswith("#") and one != "no pid"]
    top = next(one for one in (folder, *folder.parents) if (one / "kprobe_events").exists())
    known = {
        line.split()[0] for line in (top / "available_filter_functions").read_text().splitlines()
    }
    for word in words:
        if not name.endswith("pid") and word not in known:
            raise _refuse(errno.EINVAL)
        now += [word] if word not in now else []
    write(path, "".join(f"{one}\n" for one in now) or LISTS[name])


def _write_events(folder: Path, words: list[str]) -> None:
    for word in words:
        _enable(folder, word.removeprefix("!").replace(":", "/"), str(int(word[0] != "!")))


def _enable(folder: Path, event: str, value: str) -> None:
    path = folder / "events" / event / "enable"
    if not path.exists():
        raise _refuse(errno.EINVAL)
    write(path, f"{value}\n")
    if (folder / "set_event").exists():
        enabled = set((folder / "set_event").read_text().split())
        name = event.replace("/", ":")
        enabled = enabled | {name} if value == "1" else enabled - {name}
        write(folder / "set_event", "".join(f"{one}\n" for one in sorted(enabled)))


def _write_probe(folder: Path, line: str, how: int) -> None:
    path = folder / "kprobe_events"
    now = [] if how & os.O_TRUNC else path.read_text().splitlines()
    places = [folder, *(folder / "instances").iterdir()]
    if line.startswith("-:"):
        event = line[2:]
        if any((place / "events" / event / "enable").read_text() == "1\n" for place in places):
            raise _refuse(errno.EBUSY)
        now = [one for one in now if one.split()[0].partition(":")[2] != event]
        for place in places:
            shutil.rmtree(place / "events" / event)
    elif line:
        known = {
            one.split()[0]
            for one in (folder / "available_filter_functions").read_text().splitlines()
        }
        if line.split()[1].partition("+")[0] not in known:
            raise _refuse(errno.ENOENT)
        now.append(line)
        for place in places:
            _make_event(place, line.split(maxsplit=1)[0].partition(":")[2].replace("/", ":"))
    write(path, "".join(f"{one}\n" for one in now))


def _make_instance(self: Tracefs, name: str) -> None:
    folder = self.path / "instances" / name
    folder.mkdir()
    tracers = self.read("available_tracers").strip()
    _make_buffers(folder, cpus=len(self.names("per_cpu")), tracers=tracers)
    for path in (self.path / "events").glob("*/*/format"):
        event = f"{path.parts[-3]}:{path.parts[-2]}"
        if not (folder / "events" / event.replace(":", "/")).exists():
            _make_event(folder, event)


def _remove_instance(self: Tracefs, name: str) -> None:
    shutil.rmtree(self.path / "instances" / name)


def settings(tracefs: Path) -> dict[str, str]:
    """All that a recording must leave as it was; markers and contents are no settings."""
    skip = ("trace_marker", "per_cpu", "format")
    return {
        str(path.relative_to(tracefs)): path.read_text()
        for path in sorted(tracefs.rglob("*"))
        if path.is_file() and not any(part in skip for part in path.relative_to(tracefs).parts)
    }

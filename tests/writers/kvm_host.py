"""Writes the files of an arm64 KVM host below a folder: what a recorder reads and sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.writers.records import PRINT
from tests.writers.ring_buffer import header_page

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TRACEFS = "sys/kernel/tracing"
UNMAP = "kvm_pgtable_stage2_unmap"
FUNCTIONS = (
    UNMAP, "__kvm_tlb_flush_vmid_ipa", "__kvm_tlb_flush_vmid_range", "__kvm_tlb_flush_vmid",
    "clean_dcache_guest_page", "kvm_s2_put_page", "stage2_unmap_walker",
)  # fmt: skip
EVENTS = ("kvm:kvm_entry", "kvm:kvm_exit", "kvm:kvm_guest_fault", "sched:sched_switch")
WHOLE = "Booting Linux on physical CPU 0x0000000000 [0x000f0510]"
BOOT_LOG = (
    WHOLE,
    "arch_timer: cp15 timer(s) running at 62.50MHz (virt).",
    "CPU features: detected: Stage-2 Force Write-Back",
    "CPU features: detected: TLB range maintenance instructions",
    "kvm [1]: VHE mode initialized successfully",
)
SETTINGS = {
    "current_tracer": "nop",
    "tracing_on": "1",
    "tracing_thresh": "0",
    "max_graph_depth": "0",
    "buffer_percent": "50",
    "tracing_cpumask": "3",
    "trace_clock": "[local] global counter uptime perf mono mono_raw boot",
    "buffer_size_kb": "7 (expanded: 1408)",
    "set_event": "",
    "kprobe_events": "",
    "kprobe_profile": "",
    "set_ftrace_filter": "#### all functions enabled ####",
    "set_ftrace_notrace": "#### no functions disabled ####",
    "set_graph_function": "#### all functions enabled ####",
    "set_ftrace_pid": "no pid",
    "options/record-cmd": "1",
    "options/record-tgid": "0",
    "options/funcgraph-irqs": "1",
    "options/sleep-time": "1",
    "trace_options": "print-parent",
    "saved_cmdlines": "100 worker",
    "README": "tracing mini-HOWTO",
    "trace": "",
    "trace_marker": "",
}
STATS = (
    "entries: {entries}\noverrun: {overrun}\ncommit overrun: 0\nbytes: {bytes}\n"
    "oldest event ts:     1.000000\nnow ts:     2.000000\ndropped events: 0\nread events: 0\n"
)


def write_host(
    root: Path,
    *,
    kernel: str = "6.12.95-arm64",
    machine: str = "aarch64",
    functions: Iterable[str] = FUNCTIONS,
    events: Iterable[str] = EVENTS,
    boot_log: Iterable[str] = BOOT_LOG,
    available_kb: int | None = 3_000_000,
    cpus: int = 2,
    settings: dict[str, str] | None = None,
    rings: dict[int, bytes] | None = None,
    overrun: int = 0,
    kvm: bool = True,
) -> Path:
    """The host; its tracefs. *rings*: the content of the ring buffers of CPUs."""
    tracefs = root / TRACEFS
    write(root / "proc/sys/kernel/osrelease", kernel)
    write(root / "proc/sys/kernel/arch", machine)
    for name, text in (("ostype", "Linux"), ("hostname", "host"), ("version", "#1")):
        write(root / "proc/sys/kernel" / name, text)
    write(root / "proc/sys/kernel/random/boot_id", "0123abcd-0000")
    write(root / "proc/cmdline", "quiet")
    write(root / "proc/meminfo", "MemTotal: 4000000 kB")
    if available_kb is not None:
        write(root / "proc/meminfo", f"MemTotal: 4000000 kB\nMemAvailable: {available_kb} kB")
    write(root / "proc/cpuinfo", "\n".join(f"processor\t: {cpu}" for cpu in range(cpus)))
    write(root / "proc/kallsyms", f"ffff800080000000 T _text\nffff8000800a0000 T {UNMAP}")
    write(root / "sys/devices/system/cpu/online", f"0-{cpus - 1}" if cpus > 1 else "0")
    if kvm:
        write(root / "dev/kvm", "")
    write(tracefs / "available_filter_functions", "\n".join(functions))
    write(tracefs / "available_tracers", "function_graph function nop")
    write(tracefs / "available_events", "\n".join(events))
    for name, text in {**SETTINGS, **(settings or {})}.items():
        write(tracefs / name, text)
    for cpu in range(cpus):
        ring = (rings or {}).get(cpu, b"")
        (tracefs / f"per_cpu/cpu{cpu}").mkdir(parents=True)
        (tracefs / f"per_cpu/cpu{cpu}/trace_pipe_raw").write_bytes(ring)
        stats = STATS.format(entries=int(bool(ring)), overrun=overrun, bytes=len(ring))
        write(tracefs / f"per_cpu/cpu{cpu}/stats", stats)
    write(tracefs / "events/header_page", header_page(4096))
    write(tracefs / "events/header_event", "# compressed entry header")
    write(tracefs / "events/ftrace/print/format", PRINT.format())
    (tracefs / "instances").mkdir()
    log = "\n".join(boot_log)
    write(root / "bin/dmesg", f"#!/bin/sh\ncat << 'END'\n{log}\nEND")
    write(root / "bin/journalctl", "#!/bin/sh\nexit 1")
    for name in ("dmesg", "journalctl"):
        (root / "bin" / name).chmod(0o755)
    return tracefs


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n" if text else "", encoding="utf-8")

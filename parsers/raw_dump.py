"""A directory with raw copies of the kernel's ring buffers: no recorder needed on the host.

    DIR/per_cpu/cpuN/trace_pipe_raw      the pages of each CPU
    DIR/events/header_page               their layout
    DIR/events/SYSTEM/EVENT/format       the layout of events

lie there as in tracefs. Optional are per_cpu/cpuN/stats, trace_clock, saved_cmdlines, saved_tgids,
printk_formats, kprobe_events, dynamic_events, current_tracer, buffer_size_kb, a copy of
/proc/kallsyms, the output of `uname -a` as `uname`, instances/NAME with the same files for each
further buffer, and what was read of remotes/hypervisor/trace_pipe, in the same place
(hypervisor.py). A copy of an instance's events/header_page says how large its pages are.

tracefs itself is not read: its trace_pipe_raw would be consumed. Sources of truth:
Documentation/trace/ftrace.rst, kernel/trace/trace.c of Linux 5.10 to 7.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from traceview.errors import ParseError
from traceview.parsers.chunks import MAX_CPUS
from traceview.parsers.dump_files import FolderFiles
from traceview.parsers.hypervisor import Hypervisor
from traceview.parsers.hypervisor_text import parse, pieces
from traceview.parsers.record_texts import parse_printk_formats
from traceview.parsers.ring_buffer_clock import (
    NANOSECOND_CLOCKS,
    clock_diagnostics,
    selected_clock,
)
from traceview.parsers.ring_buffer_losses import parse_stats
from traceview.parsers.ring_buffer_pages import CpuPages, page_header, sliced
from traceview.parsers.ring_buffer_reader import (
    Recording,
    read_cmdlines,
    read_formats,
    read_recording,
)
from traceview.parsers.source import drop_pages
from traceview.symbols import SymbolSources, name_probes, parse_kallsyms, parse_kprobe_events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from traceview.parsers.dump_files import DumpFiles
    from traceview.parsers.event_format import PageHeader
    from traceview.parsers.ring_buffer_losses import Lane, Stats
    from traceview.parsers.source import Source
    from traceview.trace import Batch, Diagnostic, Want

RING: Final = re.compile(r"^(?:instances/([^/]+)/)?per_cpu/cpu(\d{1,5})/trace_pipe_raw$")
RINGS: Final = ("per_cpu/cpu*/trace_pipe_raw", "instances/*/per_cpu/cpu*/trace_pipe_raw")
HYPERVISOR: Final = "remotes/hypervisor/trace_pipe"
MAX_FORMATS: Final = 1 << 16
TGID: Final = re.compile(r"^\s*(\d{1,9})\s+(\d{1,9})\s*$", re.MULTILINE)


def read(
    source: Source, want: Want, progress: Callable[[float], None] = lambda _: None
) -> Iterator[Batch]:
    """The batches of the dump; *progress* hears the fraction read, 0 to 1."""
    files = FolderFiles(source, cast("Path", source.file))
    yield from read_files(files, source.path, want, progress)


def read_files(
    files: DumpFiles, path: str, want: Want, progress: Callable[[float], None]
) -> Iterator[Batch]:
    """The batches of a dump whose *files* lie somewhere; *path* names it in messages."""
    dump = _Dump(files, path)
    defined = "\n".join((dump.text("kprobe_events"), dump.text("dynamic_events")))
    symbols = SymbolSources(parse_kprobe_events(defined))
    batches: Iterator[Batch] = (
        replace(batch, events=name_probes(batch.events, symbols))
        for batch in read_recording(dump.recording(), want, progress)
    )
    if files.names(HYPERVISOR):
        text = parse(pieces(files.mapped(HYPERVISOR)))
        batches = Hypervisor(text, want, path).merge(batches)
    yield from batches


@dataclass(frozen=True, slots=True)
class _Dump:
    """The files of a dump."""

    files: DumpFiles
    path: str

    def text(self, name: str) -> str:
        """The content of a file, empty where there is none."""
        return self.files.content(name).decode("utf-8", "replace")

    def recording(self) -> Recording:
        header = self._header(None)
        if header is None:
            raise ParseError(
                "no events/header_page: the layout of the pages is not known",
                path=self.path,
            )
        diagnostics: list[Diagnostic] = []
        cpus, views, stats = self._cpus(header)
        clock = selected_clock(self.text("trace_clock"))
        has_time = clock is None or clock in NANOSECOND_CLOCKS
        others = {
            name: selected_clock(self.text(f"instances/{name}/trace_clock"))
            for name in sorted({one for one, _, _ in self._rings() if one is not None})
        }
        diagnostics += clock_diagnostics(clock, others, has_time=has_time)
        total = max(1, sum(len(view) for view in views))
        return Recording(
            header=header,
            cpus=cpus,
            formats=read_formats(self._formats(), diagnostics),
            comm=read_cmdlines(self.text("saved_cmdlines")),
            tgid={int(tid): int(tgid) for tid, tgid in TGID.findall(self.text("saved_tgids"))},
            kallsyms=parse_kallsyms(self.files.content("kallsyms")),
            printk=parse_printk_formats(self.text("printk_formats")),
            has_time=has_time,
            stats=stats,
            facts=self._facts(clock, has_time=has_time),
            diagnostics=diagnostics,
            done=lambda: sum(one.read_bytes for one in cpus) / total,
            read_on=partial(_drop_all, views),
        )

    def _rings(self) -> Iterator[tuple[str | None, int, str]]:
        """Instance, CPU and name of each copy of a ring buffer."""
        for name in (one for pattern in RINGS for one in self.files.names(pattern)):
            found = RING.match(name)
            if found is not None and int(found[2]) < MAX_CPUS:
                yield found[1], int(found[2]), name

    def _cpus(
        self, header: PageHeader
    ) -> tuple[list[CpuPages], list[memoryview], dict[Lane, Stats]]:
        """The pages of all CPUs of all buffers, the bytes that they lie in, and their stats."""
        cpus: list[CpuPages] = []
        views: list[memoryview] = []
        stats: dict[Lane, Stats] = {}
        layouts: dict[str | None, PageHeader] = {None: header}
        for buffer, cpu, name in self._rings():
            if buffer not in layouts:
                layouts[buffer] = self._header(buffer) or header
            layout = layouts[buffer]
            page_bytes = layout.data_offset + layout.data_size
            view = self.files.mapped(name)
            views.append(view)
            stats[buffer, cpu] = parse_stats(self.text(name.replace("trace_pipe_raw", "stats")))
            cpus.append(
                CpuPages(
                    sliced(view, page_bytes), buffer=buffer, cpu=cpu, page_bytes=page_bytes,
                    header=header,
                )
            )  # fmt: skip
        return cpus, views, stats

    def _header(self, buffer: str | None) -> PageHeader | None:
        folder = "" if buffer is None else f"instances/{buffer}/"
        for name in (f"{folder}events/header_page", f"{folder}header_page"):
            content = self.text(name)
            if content:
                return page_header(content, self.files.shown(name))
        return None

    def _formats(self) -> Iterator[tuple[str, str]]:
        names = self.files.names("events/*/*/format")
        if len(names) > MAX_FORMATS:
            reason = f"{len(names)} event formats are more than is plausible"
            raise ParseError(reason, path=self.path)
        for name in names:
            yield name.split("/")[-3], self.text(name)

    def _facts(self, clock: str | None, *, has_time: bool) -> dict[str, Any]:
        """What the files say of the host, as in Batch.facts."""
        cpus = {cpu for _, cpu, _ in self._rings()}
        facts: dict[str, Any] = {"loss_known": True, "cpus": len(cpus) or None}
        facts["ts_resolution_ns"] = 1 if has_time else None
        facts["clock"] = clock
        facts["tracer"] = self.text("current_tracer").strip() or None
        words = self.text("uname").split()
        if len(words) > 3 and words[0] == "Linux":
            facts["hostnames"], facts["kernel"] = (words[1],), words[2]
            facts["machine"] = next(w for w in reversed(words) if w != "GNU/Linux")
        size = self.text("buffer_size_kb").split()
        if size and size[0].isdecimal() and len(size[0]) < 12:
            facts["buffer_size_kb"] = int(size[0])
        return {name: fact for name, fact in facts.items() if fact is not None}


def _drop_all(views: list[memoryview]) -> None:
    for view in views:
        drop_pages(view)

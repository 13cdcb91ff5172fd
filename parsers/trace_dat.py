"""trace.dat of trace-cmd, versions 6 and 7: the events of all its buffers, in time order.

Read are files of little-endian hosts of 64 bits, from record, extract, split and convert, packed
with zlib or zstd or not at all, with any number of buffer instances; `Chunk.buffer` is the name of
an instance, null for the main buffer. Times are converted as trace-cmd does (trace_dat_clock). A
file of a latency tracer holds the text of tracefs `trace`, which is read as such. In a file of host
and guests only what the host recorded is there; the guests are named.

Not read: user-space maps, event hooks, BTF and the list of modules, which change no event. Sources
of truth: trace-cmd.dat.v6(5), trace-cmd.dat.v7(5), lib/trace-cmd of trace-cmd 3.4.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

from traceview.parsers import ftrace_text
from traceview.parsers.chunks import MAX_CPUS
from traceview.parsers.record_texts import parse_printk_formats
from traceview.parsers.ring_buffer_pages import page_header
from traceview.parsers.ring_buffer_reader import (
    Recording,
    read_cmdlines,
    read_formats,
    read_recording,
)
from traceview.parsers.source import Source, drop_pages
from traceview.parsers.trace_dat_clock import clock_of, times_diagnostics
from traceview.parsers.trace_dat_cpu_data import CpuDataReader
from traceview.parsers.trace_dat_file import read_contents
from traceview.parsers.trace_dat_pages import cpu_pages, text_pieces
from traceview.symbols import parse_kallsyms
from traceview.trace import Batch, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.parsers.trace_dat_file import Contents
    from traceview.trace import Want

# struct utsname as trace-cmd writes it: sysname nodename release machine
UNAME_PARTS: Final = 4


def read(
    source: Source, want: Want, progress: Callable[[float], None] = lambda _: None
) -> Iterator[Batch]:
    """The batches of the trace; *progress* hears the fraction read, 0 to 1."""
    with source.view() as view:
        contents = read_contents(view, source.path)
        contents.diagnostics += source.damage
        contents.diagnostics += _diagnostics(contents)
        if all(one.is_text for one in contents.buffers):
            yield from _read_text(view, contents, want, progress)
        else:
            yield from read_recording(_recording(view, contents), want, progress)


def _recording(view: memoryview, contents: Contents) -> Recording:
    header = page_header(contents.header_page, contents.path)
    reader = CpuDataReader(view, contents.path, contents.compression)
    cpus = cpu_pages(contents, reader, header)
    total = max(1, sum(cpu.size for one in contents.buffers for cpu in one.cpus))
    clock = clock_of(contents.options)
    return Recording(
        header=header,
        cpus=cpus,
        formats=read_formats(contents.formats, contents.diagnostics),
        comm=read_cmdlines(contents.cmdlines),
        kallsyms=parse_kallsyms(contents.kallsyms),
        printk=parse_printk_formats(contents.printk),
        to_ns=clock.to_ns,
        has_time=clock.has_time,
        stats=contents.options.stats,
        facts=_facts(contents),
        diagnostics=contents.diagnostics,
        done=lambda: min(1.0, reader.done_bytes / total),
        late=reader.diagnostics,
        read_on=lambda: drop_pages(view),
    )


def _facts(contents: Contents) -> dict[str, Any]:
    """What the file says of the host, as in Batch.facts."""
    said, clock = contents.options, clock_of(contents.options)
    facts: dict[str, Any] = {"loss_known": True}
    if clock.has_time:
        facts["ts_resolution_ns"] = 1
    if said.clock:
        # Moved times are no longer those of the clock: steps in that clock must not be looked up.
        facts["clock"] = said.clock if not clock.offset_ns else f"{said.clock}, moved"
    if said.cpus and said.cpus <= MAX_CPUS:
        facts["cpus"] = said.cpus
    parts = (said.uname or "").split()
    if len(parts) >= UNAME_PARTS:
        facts["kernel"], facts["machine"] = parts[-2], parts[-1]
    names = [*parts[1:2], *(guest.name for guest in said.guests)]
    return {**facts, "hostnames": tuple(names)} if names else facts


def _diagnostics(contents: Contents) -> list[Diagnostic]:
    """What the options say that the reader of a result must know."""
    said = contents.options
    found = times_diagnostics(said, contents.buffers)
    for options, code, what in (
        (said.unknown, "unknown-option", "are not known"),
        (said.unreadable, "damaged-option", "cannot be read"),
    ):
        if options:
            kinds = ", ".join(f"{kind} ({n} times)" for kind, n in sorted(options.items()))
            message = f"options of these kinds {what}: {kinds}"
            found.append(Diagnostic(code, "warning", message, sum(options.values())))
    if said.guests:
        names = ", ".join(f"{one.name} ({one.cpus} CPUs)" for one in said.guests)
        message = f"guests were traced with this host, into files of their own: {names}"
        found.append(Diagnostic("guests", "info", message, len(said.guests)))
    if said.earlier_boot:
        message = (
            f"buffers of an earlier boot ({', '.join(said.earlier_boot)}): addresses of its"
            " functions are named as if they were of this one"
        )
        found.append(Diagnostic("earlier-boot", "warning", message))
    return found


def _read_text(
    view: memoryview, contents: Contents, want: Want, progress: Callable[[float], None]
) -> Iterator[Batch]:
    """The batches of a file of a latency tracer, which holds text."""
    reader = CpuDataReader(view, contents.path, contents.compression)
    with tempfile.TemporaryFile(prefix="traceview-") as spool:
        size = sum(spool.write(piece) for piece in text_pieces(contents, reader))
        diagnostics = (*contents.diagnostics, *reader.diagnostics())
        yield Batch(facts=_facts(contents), diagnostics=diagnostics)
        text = Source(contents.path, cast("BinaryIO", spool), size)
        facts = _facts(contents)
        for batch in ftrace_text.read(text, want, progress):
            yield replace(batch, facts={**facts, **batch.facts})

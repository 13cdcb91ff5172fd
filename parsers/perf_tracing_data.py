"""HEADER_TRACING_DATA: what tracefs says of the events that were recorded.

The head of a trace.dat of version 0.5 or 0.6, without options: header_page, header_event, the
formats of the tracers' own events, those of the recorded events by system, /proc/kallsyms (left
empty by perf since Linux 3.16), the formats of trace_printk, and names of tasks. Source of truth:
tools/perf/util/trace-event-info.c and trace-event-read.c of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from traceview.errors import ParseError
from traceview.parsers.event_format import parse_header_page
from traceview.parsers.perf_section import Section
from traceview.parsers.record_texts import parse_printk_formats
from traceview.parsers.ring_buffer_reader import read_cmdlines, read_formats
from traceview.symbols import parse_kallsyms

if TYPE_CHECKING:
    from traceview.parsers.event_format import EventFormat
    from traceview.symbols import Kallsyms
    from traceview.trace import Diagnostic

MAGIC: Final = b"\x17\x08\x44tracing"
FTRACE: Final = "ftrace"
WITHOUT_CMDLINES: Final = "0.5"


@dataclass(slots=True)
class TracingData:
    """What was read. `comm`: names of tasks by tid; `damage` says what stopped the reading."""

    page_size: int = 0
    big_endian: bool = False
    long_size: int = 8
    formats: list[EventFormat] = field(default_factory=list)
    kallsyms: Kallsyms | None = None
    printk: dict[int, str] = field(default_factory=dict)
    comm: dict[int, str] = field(default_factory=dict)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    damage: str | None = None


def parse_tracing_data(content: bytes) -> TracingData:
    """All of *content* that can be read."""
    section, found = Section(content), TracingData()
    texts: list[tuple[str, str]] = []
    try:
        _read(section, found, texts)
    except ValueError as err:
        found.damage = f"byte {section.at:#x} of {len(content):#x}: {err}"
    found.formats = read_formats(texts, found.diagnostics)
    return found


def _read(section: Section, found: TracingData, formats: list[tuple[str, str]]) -> None:
    if section.take(len(MAGIC)) != MAGIC:
        raise ValueError("it does not begin as tracing data do")
    version = section.line()
    found.big_endian = section.u8() != 0
    found.long_size = section.u8()
    found.page_size = section.u32()
    if found.big_endian:
        return
    for name in ("header_page", "header_event"):
        if section.line() != name:
            raise ValueError(f"no {name}")
        file = section.take(section.u64())
        if name == "header_page":
            found.long_size = _long_size(file, found.long_size)
    _formats(section, FTRACE, formats)
    for _ in range(section.u32()):
        _formats(section, section.line(), formats)
    if kallsyms := section.take(section.u32()):
        found.kallsyms = parse_kallsyms(kallsyms)
    if printk := _text(section, section.u32()):
        found.printk = parse_printk_formats(printk)
    if version != WITHOUT_CMDLINES:
        found.comm = read_cmdlines(_text(section, section.u64()))


def _formats(section: Section, system: str, formats: list[tuple[str, str]]) -> None:
    """Formats of one system; as many as there are, where some are missing."""
    formats.extend((system, _text(section, section.u64())) for _ in range(section.u32()))


def _long_size(header_page: bytes, stated: int) -> int:
    """The kernel's: that of `commit`. The stated one is perf's own, which may have 32 bits."""
    try:
        return parse_header_page(header_page.decode("utf-8", "replace")).commit_size
    except ParseError:
        return stated


def _text(section: Section, size: int) -> str:
    return section.take(size).decode("utf-8", "replace")

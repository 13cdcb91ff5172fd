"""The parts of a trace.dat file: what they say, and where the pages of each CPU lie.

Version 6 holds its parts one after the other; version 7 in sections, which options point to. The
options lie in sections themselves, each of which says where the next one is. Sources of truth:
trace-cmd.dat.v6(5), trace-cmd.dat.v7(5), lib/trace-cmd/trace-input.c of trace-cmd 3.4.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from traceview.errors import ParseError, TruncatedError, UnsupportedError
from traceview.parsers import trace_dat_options as options
from traceview.parsers.chunks import MAX_CPUS
from traceview.parsers.ring_buffer_clock import selected_clock
from traceview.parsers.trace_dat_bytes import (
    MAX_PART_BYTES,
    Cursor,
    block_unpacker,
    unpacked_section,
)
from traceview.parsers.trace_dat_options import BufferData, CpuData, Options
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAGIC: Final = b"\x17\x08\x44tracing"
SECTION_HEADER_BYTES: Final = 16
PACKED: Final = 1  # flag of a section
MAX_SECTIONS: Final = 4096
MAX_OPTIONS: Final = 1 << 16
MAX_FORMATS: Final = 1 << 16  # an event id has 16 bits
MAX_STRINGS_BYTES: Final = 1 << 20
NAMES: Final = {
    options.HEADER_INFO: "header info",
    options.FTRACE_EVENTS: "ftrace event formats",
    options.EVENT_FORMATS: "event formats",
    options.KALLSYMS: "kallsyms",
    options.PRINTK: "trace_printk formats",
    options.CMDLINES: "saved command lines",
}
KNOWN_SECTIONS: Final = {
    options.DONE, options.BUFFER, options.STRINGS, options.BUFFER_TEXT, *NAMES, *options.NOT_NEEDED,
}  # fmt: skip


@dataclass(slots=True)
class Contents:
    """What a trace.dat file holds, but for its events. `formats`: system and text of each event."""

    path: str
    version: int
    page_bytes: int
    compression: str = "none"
    header_page: str = ""
    formats: list[tuple[str, str]] = field(default_factory=list)
    format_bytes: int = 0
    kallsyms: bytes = b""
    printk: str = ""
    cmdlines: str = ""
    options: Options = field(default_factory=lambda: Options(0))
    diagnostics: list[Diagnostic] = field(default_factory=list)

    @property
    def buffers(self) -> list[BufferData]:
        """The instances, the main one first."""
        return sorted(self.options.buffers, key=lambda one: one.name != "")


def read_contents(view: memoryview, path: str) -> Contents:
    """The parts of the file.

    Raises UnsupportedError for other versions, byte orders and word sizes, TruncatedError where the
    file ends before what says where the events are, ParseError where that is damaged.
    """
    cursor = Cursor(view, path, "the head of the file")
    cursor.expect(MAGIC, "the magic number")
    version = cursor.string("the version")
    if version not in ("6", "7"):
        raise UnsupportedError(f"version {version[:10]!r} of trace.dat (known: 6, 7)", path=path)
    if cursor.number(1, "the byte order"):
        raise UnsupportedError("a trace of a big-endian host", path=path, offset=cursor.at - 1)
    word = cursor.number(1, "the size of a long")
    if word != 8:
        reason = f"a trace of a host with longs of {word} bytes, not 8"
        raise UnsupportedError(reason, path=path, offset=cursor.at - 1)
    found = Contents(path, int(version), cursor.number(4, "the page size"))
    found.options = Options(found.version)
    if found.version == 6:
        _read_parts(found, cursor)
    else:
        _Sections(found, view).read(cursor)
    return found


def _read_header_info(found: Contents, cursor: Cursor) -> None:
    cursor.expect(b"header_page\0", "the page header")
    size = cursor.number(8, "the size of the page header")
    found.header_page = cursor.part(size, "the page header").decode("utf-8", "replace")
    cursor.expect(b"header_event\0", "the event header")
    cursor.take(cursor.number(8, "the size of the event header"), "the event header")


def _read_ftrace_formats(found: Contents, cursor: Cursor) -> None:
    _read_formats(found, cursor, "ftrace")


def _read_event_formats(found: Contents, cursor: Cursor) -> None:
    for _ in range(_plausible(cursor, "event systems")):
        _read_formats(found, cursor, cursor.string("the name of an event system"))


def _read_formats(found: Contents, cursor: Cursor, system: str) -> None:
    for _ in range(_plausible(cursor, f"{system} events")):
        size = cursor.number(8, f"the size of a format of {system}")
        text = cursor.part(size, f"a format of {system}").decode("utf-8", "replace")
        found.formats.append((system, text))
        found.format_bytes += size
        if len(found.formats) > MAX_FORMATS or found.format_bytes > MAX_PART_BYTES:
            raise cursor.error("there are more event formats than is plausible")


def _plausible(cursor: Cursor, what: str) -> int:
    count = cursor.number(4, f"the number of {what}")
    if count > MAX_FORMATS:
        raise cursor.error(f"{count} {what} are more than is plausible")
    return count


def _read_kallsyms(found: Contents, cursor: Cursor) -> None:
    found.kallsyms = cursor.part(cursor.number(4, "the size of kallsyms"), "kallsyms")


def _read_printk(found: Contents, cursor: Cursor) -> None:
    size = cursor.number(4, "the size of the trace_printk formats")
    found.printk = cursor.part(size, "trace_printk formats").decode("utf-8", "replace")


def _read_cmdlines(found: Contents, cursor: Cursor) -> None:
    size = cursor.number(8, "the size of the command lines")
    found.cmdlines = cursor.part(size, "saved command lines").decode("utf-8", "replace")


READERS: Final[dict[int, Callable[[Contents, Cursor], None]]] = {
    options.HEADER_INFO: _read_header_info,
    options.FTRACE_EVENTS: _read_ftrace_formats,
    options.EVENT_FORMATS: _read_event_formats,
    options.KALLSYMS: _read_kallsyms,
    options.PRINTK: _read_printk,
    options.CMDLINES: _read_cmdlines,
}


def _read_parts(found: Contents, cursor: Cursor) -> None:
    """Version 6."""
    for identity, read in READERS.items():
        cursor.reading = NAMES[identity]
        read(found, cursor)
    cursor.reading = "the CPUs"
    said = found.options
    said.cpus = cursor.number(4, "the number of CPUs")
    instances = _read_options_and_kind(found, cursor)
    main = said.buffer("") or BufferData("", 0)
    said.buffers = [one for one in said.buffers if one.name]
    main.is_text = instances == b"latency  \0"
    if main.is_text:
        main.cpus = [CpuData(0, cursor.at, cursor.left)]
    else:
        _read_cpu_table(found, cursor, main)
    said.clock = said.clock or main.clock
    for one in list(said.buffers):
        try:
            inner = Cursor(cursor.data, found.path, f"buffer {one.name}")
            inner.go_to(one.offset, "the buffer")
            _read_options_and_kind(found, inner)
            _read_cpu_table(found, inner, one)
        except ParseError as err:
            message = f"buffer {one.name!r} is left out: {err.reason}"
            found.diagnostics.append(Diagnostic("unreadable-buffer", "error", message))
            said.buffers.remove(one)
    said.buffers.insert(0, main)


def _read_options_and_kind(found: Contents, cursor: Cursor) -> bytes:
    """Step over the options, taking them in, up to the word that says what kind of data follow."""
    kind = bytes(cursor.take(10, "the kind of data"))
    if kind == b"options  \0":
        cursor.reading = "the options"
        for _ in range(MAX_OPTIONS):
            if (identity := cursor.number(2, "an option")) == options.DONE:
                break
            size = cursor.number(4, f"the size of option {identity}")
            found.options.add(identity, cursor.take(size, f"option {identity}"), found.path)
        kind = bytes(cursor.take(10, "the kind of data"))
    if kind not in (b"flyrecord\0", b"latency  \0"):
        cursor.at -= 10
        raise cursor.error(f"data of an unknown kind {kind!r}")
    return kind


def _read_cpu_table(found: Contents, cursor: Cursor, buffer: BufferData) -> None:
    """Where the pages of each CPU lie, and the clock."""
    count = buffer.cpu_count if buffer.cpu_count is not None else found.options.cpus or 0
    if count > MAX_CPUS:
        raise cursor.error(f"{count} CPUs")
    for cpu in range(count):
        at = cursor.number(8, f"the place of the data of CPU {cpu}")
        buffer.cpus.append(CpuData(cpu, at, cursor.number(8, f"the size of the data of CPU {cpu}")))
    buffer.page_bytes = found.page_bytes
    if cursor.left >= 8 and found.options.clock is not None:
        size = cursor.number(8, "the size of the clock")
        if size <= min(cursor.left, 4096):  # older versions wrote none
            text = bytes(cursor.take(size, "the clock")).decode("utf-8", "replace")
            buffer.clock = selected_clock(text)


class _Sections:
    """Version 7."""

    def __init__(self, found: Contents, view: memoryview) -> None:
        self._found, self._view = found, view

    def read(self, cursor: Cursor) -> None:
        found = self._found
        found.compression = cursor.string("the compression")
        cursor.string("the version of the compression")
        if found.compression != "none":
            block_unpacker(found.compression, found.path)  # or refuse the file by its name
        at = cursor.number(8, "the place of the options")
        self._read_options(at)
        said = found.options
        if not said.buffers:
            raise TruncatedError(
                "the file is cut off or was never completed: no option says where the events are",
                path=found.path, reading="the options",
            )  # fmt: skip
        said.clock = said.clock or next((one.clock for one in found.buffers if one.clock), None)
        for identity, read in READERS.items():
            place = said.sections.get(identity)
            if place is None:
                continue
            try:
                read(found, self._content(identity, place))
            except ParseError as err:
                if identity == options.HEADER_INFO:
                    raise
                found.diagnostics.append(_unreadable(NAMES[identity], err))
        self._report_unknown(cursor.at)

    def _read_options(self, at: int) -> None:
        """The options of all sections; each may be read once."""
        found, seen = self._found, set[int]()
        while at:
            if at in seen or len(seen) >= MAX_SECTIONS:
                message = f"the options at byte {at:#x} are pointed at again, and not read again"
                found.diagnostics.append(Diagnostic("option-loop", "warning", message))
                return
            seen.add(at)
            try:
                at = self._read_options_at(at)
            except ParseError as err:
                if len(seen) == 1:
                    raise
                message = f"options cannot be read: {err.reason}; buffers may be missing"
                found.diagnostics.append(Diagnostic("missing-options", "error", message))
                return

    def _read_options_at(self, at: int) -> int:
        cursor = self._content(options.DONE, at)
        for _ in range(MAX_OPTIONS):
            identity = cursor.number(2, "an option")
            size = cursor.number(4, f"the size of option {identity}")
            content = cursor.take(size, f"option {identity}")
            if identity == options.DONE:
                return Cursor(content, self._found.path, "the last option", None).number(
                    8, "the place of further options"
                )
            self._found.options.add(identity, content, self._found.path)
        raise cursor.error("there are more options than is plausible")

    def _content(self, identity: int, place: int, most: int = MAX_PART_BYTES) -> Cursor:
        """The content of the section at *place*, unpacked to *most* bytes."""
        name = NAMES.get(identity, "options")
        cursor = Cursor(self._view, self._found.path, name)
        cursor.go_to(place, name)
        found = cursor.number(2, f"the id of {name}")
        if found != identity:
            raise cursor.error(f"section {found} stands where {identity} ({name}) should")
        flags = cursor.number(2, f"the flags of {name}")
        cursor.take(4, f"the name of {name}")
        size = cursor.number(8, f"the size of {name}")
        if not flags & PACKED:
            # Sizes of options are filled in late: the end of the file limits them as well.
            begin = cursor.at
            is_last = not size or size > cursor.left
            data = cursor.data[begin:] if is_last else cursor.data[begin : begin + size]
            return Cursor(data, self._found.path, name, begin, ends_file=is_last)
        unpack = block_unpacker(self._found.compression, self._found.path)
        content = unpacked_section(cursor, unpack, name, most)
        return Cursor(content, self._found.path, name, None)

    def _report_unknown(self, at: int) -> None:
        """Count the sections of unknown kinds."""
        sections = list(self._sections(at))
        unknown = Counter((one[0], one[1]) for one in sections if one[0] not in KNOWN_SECTIONS)
        strings = bytearray()
        for identity, _, place in sections if unknown else ():
            if identity == options.STRINGS and len(strings) < MAX_STRINGS_BYTES:
                strings += self._strings(place)
        for (identity, name), count in unknown.items():
            said = strings[name:].split(b"\0")[0].decode("utf-8", "replace")
            message = f"{count} sections of kind {identity} ({said or 'unnamed'}) are not read"
            self._found.diagnostics.append(Diagnostic("unknown-section", "warning", message, count))

    def _sections(self, at: int) -> Iterator[tuple[int, int, int]]:
        """Id, name and place of the sections as they lie in the file."""
        for _ in range(MAX_SECTIONS):
            if at + SECTION_HEADER_BYTES > len(self._view):
                return
            cursor = Cursor(self._view[at:], self._found.path, "a section", at)
            identity = cursor.number(2, "its id")
            cursor.take(2, "its flags")
            yield identity, cursor.number(4, "its name"), at
            at += SECTION_HEADER_BYTES + cursor.number(8, "its size")

    def _strings(self, place: int) -> bytes:
        try:
            content = self._content(options.STRINGS, place, MAX_STRINGS_BYTES)
        except ParseError:
            return b""  # names of what is unknown anyway
        return bytes(content.data[:MAX_STRINGS_BYTES])


def _unreadable(what: str, err: ParseError) -> Diagnostic:
    where = "" if err.offset is None else f" at byte {err.offset:#x}"
    return Diagnostic("damaged-metadata", "warning", f"{what} cannot be read{where}: {err.reason}")


def is_packed(view: memoryview, buffer: BufferData, path: str) -> bool:
    """Whether the pages or the text of *buffer*, of a file of version 7, are packed."""
    cursor = Cursor(view, path, f"buffer {buffer.name}".strip())
    cursor.go_to(buffer.offset, "the buffer")
    identity = cursor.number(2, "the id of the buffer's section")
    expected = options.BUFFER_TEXT if buffer.is_text else options.BUFFER
    if identity != expected:
        raise cursor.error(f"section {identity} stands where {expected} (buffer) should")
    return bool(cursor.number(2, "the flags of the buffer's section") & PACKED)

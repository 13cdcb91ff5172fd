"""Which bytes of a trace.dat file are the pages of which CPU of which buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.errors import ParseError
from traceview.parsers.event_format import MAX_PAGE_BYTES
from traceview.parsers.ring_buffer import TIME_BYTES
from traceview.parsers.ring_buffer_pages import CpuPages
from traceview.parsers.trace_dat_bytes import Cursor
from traceview.parsers.trace_dat_file import SECTION_HEADER_BYTES, is_packed
from traceview.parsers.trace_dat_options import CpuData
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.parsers.event_format import PageHeader
    from traceview.parsers.trace_dat_cpu_data import CpuDataReader
    from traceview.parsers.trace_dat_file import Contents
    from traceview.parsers.trace_dat_options import BufferData

# What text is packed in: trace-cmd takes ten pages of the host at once.
TEXT_PAGE_BYTES: Final = 1 << 16


def cpu_pages(contents: Contents, reader: CpuDataReader, header: PageHeader) -> list[CpuPages]:
    """The pages of all CPUs of all buffers; what cannot be read is left out, with a diagnostic."""
    found, taken = [], _Taken()
    for buffer in contents.buffers:
        title = f"buffer {buffer.name!r}" if buffer.name else "the main buffer"
        try:
            page_bytes = _page_bytes(buffer, contents, header)
            packed = contents.version >= 7 and is_packed(reader.view, buffer, contents.path)
        except ParseError as err:
            message = f"{title} is left out: {err.reason}"
            contents.diagnostics.append(Diagnostic("unreadable-buffer", "error", message))
            continue
        read = reader.packed if packed else reader.plain
        for data in buffer.cpus:
            what = f"CPU {data.cpu}" + (f" of {title}" if buffer.name else "")
            if data.size and not taken.overlaps(data):
                found.append(
                    CpuPages(
                        read(data, page_bytes, what),
                        buffer=buffer.name or None, cpu=data.cpu, page_bytes=page_bytes,
                        header=header,
                    )
                )  # fmt: skip
            elif data.size:
                message = f"the pages of {what} are left out: another CPU has the same"
                contents.diagnostics.append(Diagnostic("overlapping-pages", "error", message))
    return found


def text_pieces(contents: Contents, reader: CpuDataReader) -> Iterator[memoryview]:
    """The text of the first buffer, of a file without pages."""
    buffer, *others = contents.buffers
    if others:
        message = f"the text of {len(others)} further buffers is not read"
        contents.diagnostics.append(Diagnostic("unread-text", "warning", message, len(others)))
    if contents.version < 7:
        yield from reader.plain(buffer.cpus[0], 1, "the text")
        return
    at = buffer.offset + SECTION_HEADER_BYTES
    section = Cursor(reader.view, contents.path, "the text")
    section.go_to(at - 8, "the text")
    size = min(section.number(8, "the size of the text"), section.left)
    data = CpuData(0, at, size)
    if is_packed(reader.view, buffer, contents.path):
        yield from reader.packed(data, TEXT_PAGE_BYTES, "the text")
    else:
        yield from reader.plain(data, 1, "the text")


def _page_bytes(buffer: BufferData, contents: Contents, header: PageHeader) -> int:
    """The size of the pages of *buffer*.

    That of the main buffer is stated twice. Where they differ the kernel's own statement counts:
    before 3.2, trace-cmd wrote the host's page size, whatever that of its sub-buffers.
    """
    if buffer.is_text:
        raise ParseError("text beside the pages of other buffers", path=contents.path)
    size = buffer.page_bytes or contents.page_bytes
    of_kernel = header.data_offset + header.data_size
    if not buffer.name and size != of_kernel:
        message = f"pages are of {size} bytes or of {of_kernel}; the kernel says the latter"
        contents.diagnostics.append(Diagnostic("page-size-unclear", "warning", message))
        size = of_kernel
    if size % TIME_BYTES or not header.data_offset < size <= MAX_PAGE_BYTES:
        raise ParseError(f"pages of {size} bytes", path=contents.path)
    return size


class _Taken:
    """The stretches of the file that are some CPU's pages."""

    def __init__(self) -> None:
        self._stretches: list[tuple[int, int]] = []

    def overlaps(self, data: CpuData) -> bool:
        """Whether *data* lie where others do; if not they are taken."""
        end = data.offset + data.size
        if any(data.offset < b and a < end for a, b in self._stretches):
            return True
        self._stretches.append((data.offset, end))
        return False

"""Writes trace.dat files, versions 6 and 7, as trace-cmd lays them out.

`Trace.write()` gives the bytes and remembers in `places` where each part begins, for tests that
cut or damage it there.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

import zstandard

from tests.writers.ring_buffer import header_page

MAGIC = b"\x17\x08\x44tracing"
HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES = range(16, 22)
DONE, DATE, CPUSTAT, BUFFER, TRACECLOCK, UNAME, STRINGS = 0, 1, 2, 3, 4, 5, 15
BUFFER_TEXT = 22
CLOCKS = ("local", "global", "counter", "mono", "boot", "x86-tsc")
PACKED = 1


@dataclass
class Buffer:
    """One instance; `pages` by CPU. `name` is empty for the main one."""

    pages: dict[int, list[bytes]]
    name: str = ""
    page_bytes: int = 4096
    clock: str = "mono"
    cpus: int | None = None  # version 6 only: where they are not as many as the host's


@dataclass
class Trace:
    """What a file holds."""

    buffers: list[Buffer] = field(default_factory=lambda: [Buffer({})])
    formats: dict[str, list[str]] = field(default_factory=dict)
    ftrace_formats: list[str] = field(default_factory=list)
    version: int = 7
    compression: str = "zstd"
    clock: str = "mono"
    cpus: int = 2
    page_bytes: int = 4096
    header_page: str | None = None
    kallsyms: str = ""
    printk: str = ""
    cmdlines: str = "100 worker\n"
    uname: str = "Linux host 6.12.0-arm64 aarch64"
    options: list[tuple[int, bytes]] = field(default_factory=list)
    text: str | None = None  # of a latency tracer, in place of pages
    chunk_pages: int = 10
    pack_parts: bool = True
    packed_pages: bytes | None = None  # what each CPU has, in place of its pages
    sections: list[tuple[int, bytes]] = field(default_factory=list)  # of any kind, at the end
    byte_order: int = 0
    long_bytes: int = 8
    places: dict[str, int] = field(default_factory=dict)

    def write(self) -> bytes:
        self.places = {}
        head = MAGIC + f"{self.version}\0".encode() + bytes([self.byte_order, self.long_bytes])
        head += struct.pack("<I", self.page_bytes)
        return self._version_6(head) if self.version == 6 else self._version_7(head)

    def parts(self) -> dict[int, bytes]:
        """The parts that both versions have, by their id in version 7."""
        page = (self.header_page or header_page(self.page_bytes)).encode()
        event = b"# compressed entry header\n"
        lists = [self.ftrace_formats, *self.formats.values()]
        counted = [
            struct.pack("<I", len(one))
            + b"".join(struct.pack("<Q", len(t)) + t.encode() for t in one)
            for one in lists
        ]
        systems = b"".join(
            name.encode() + b"\0" + content
            for name, content in zip(self.formats, counted[1:], strict=True)
        )
        return {
            HEADER_INFO: b"header_page\0" + struct.pack("<Q", len(page)) + page
            + b"header_event\0" + struct.pack("<Q", len(event)) + event,
            FTRACE_EVENTS: counted[0],
            EVENT_FORMATS: struct.pack("<I", len(self.formats)) + systems,
            KALLSYMS: struct.pack("<I", len(self.kallsyms)) + self.kallsyms.encode(),
            PRINTK: struct.pack("<I", len(self.printk)) + self.printk.encode(),
            CMDLINES: struct.pack("<Q", len(self.cmdlines)) + self.cmdlines.encode(),
        }  # fmt: skip

    def clocks(self) -> bytes:
        """Tracefs trace_clock."""
        names = [f"[{one}]" if one == self.clock else one for one in CLOCKS]
        return (" ".join(names) + "\n").encode() + b"\0"

    def _options(self) -> list[tuple[int, bytes]]:
        said = [(TRACECLOCK, self.clocks()), (UNAME, self.uname.encode() + b"\0")]
        return [*said, *self.options]

    # Version 6: one part after the other.

    def _version_6(self, head: bytes) -> bytes:
        out = bytearray(head)
        for identity, content in self.parts().items():
            self.places[f"part {identity}"] = len(out)
            out += content
        self.places["cpus"] = len(out)
        out += struct.pack("<I", self.cpus)
        self.places["options"] = len(out)
        out += b"options  \0"
        pointers: dict[str, int] = {}
        for identity, content in self._options():
            out += struct.pack("<HI", identity, len(content)) + content
        for one in self.buffers:
            if one.name:
                content = struct.pack("<Q", 0) + one.name.encode() + b"\0"
                out += struct.pack("<HI", BUFFER, len(content))
                pointers[one.name] = len(out)
                out += content
                if one.cpus is not None:
                    out += struct.pack("<HII", 8, 4, one.cpus)
        out += struct.pack("<H", DONE)
        if self.text is not None:
            self.places["data"] = len(out)
            return bytes(out + b"latency  \0" + self.text.encode())
        for one in self.buffers:
            if one.name:
                struct.pack_into("<Q", out, pointers[one.name], len(out))
            self._pages_6(out, one)
        return bytes(out)

    def _pages_6(self, out: bytearray, buffer: Buffer) -> None:
        self.places[f"data {buffer.name}"] = len(out)
        out += b"flyrecord\0"
        table = len(out)
        count = self.cpus if buffer.cpus is None else buffer.cpus
        out += bytes(16 * count)
        clock = f"[{buffer.clock}]".encode()
        out += struct.pack("<Q", len(clock)) + clock
        for cpu in range(count):
            pages = b"".join(buffer.pages.get(cpu, []))
            out += bytes(-len(out) % buffer.page_bytes)
            struct.pack_into("<QQ", out, table + 16 * cpu, len(out), len(pages))
            self.places[f"pages {buffer.name} {cpu}"] = len(out)
            out += pages

    # Version 7: sections.

    def _version_7(self, head: bytes) -> bytes:
        out = bytearray(head + f"{self.compression}\0".encode() + b"1\0")
        pointer = len(out)
        out += bytes(8)
        options = self._options()
        for identity, content in self.parts().items():
            options.append((identity, struct.pack("<Q", len(out))))
            self._section(out, identity, content)
        struct.pack_into("<Q", out, pointer, len(out))
        options.append((8, struct.pack("<I", self.cpus)))
        pointer = self._options_7(out, options, "options")
        if self.text is not None:
            buffers = [self._text_7(out)]
        else:
            buffers = [self._pages_7(out, one) for one in self.buffers]
        for identity, content in self.sections:
            self._section(out, identity, content)
        struct.pack_into("<Q", out, pointer, len(out))
        self._options_7(out, buffers, "last options")
        self._section(out, STRINGS, b"options\0a section\0")
        return bytes(out)

    def _section(self, out: bytearray, identity: int, content: bytes) -> None:
        self.places[f"section {identity}"] = len(out)
        packed = self.pack_parts and self.compression != "none"
        if packed:
            small = self.pack(content)
            content = struct.pack("<II", len(small), len(content)) + small
        out += struct.pack("<HHIQ", identity, PACKED * packed, 8, len(content)) + content

    def _options_7(self, out: bytearray, options: list[tuple[int, bytes]], name: str) -> int:
        """A section of options; returns where it says where the next one is."""
        self.places[name] = len(out)
        body = b"".join(struct.pack("<HI", i, len(content)) + content for i, content in options)
        body += struct.pack("<HIQ", DONE, 8, 0)
        out += struct.pack("<HHIQ", DONE, 0, 0, len(body)) + body
        return len(out) - 8

    def _pages_7(self, out: bytearray, buffer: Buffer) -> tuple[int, bytes]:
        begin = len(out)
        self.places[f"data {buffer.name}"] = begin
        packed = self.compression != "none"
        out += struct.pack("<HHIQ", BUFFER, PACKED * packed, 0, 0)
        said = struct.pack("<Q", begin) + buffer.name.encode() + b"\0"
        said += buffer.clock.encode() + b"\0"
        said += struct.pack("<II", buffer.page_bytes, len(buffer.pages))
        for cpu, pages in buffer.pages.items():
            out += bytes(-len(out) % buffer.page_bytes)
            place = len(out)
            self.places[f"pages {buffer.name} {cpu}"] = place
            out += self.chunks(pages) if packed else b"".join(pages)
            said += struct.pack("<IQQ", cpu, place, len(out) - place)
        struct.pack_into("<Q", out, begin + 8, len(out) - begin - 16)
        return BUFFER, said

    def _text_7(self, out: bytearray) -> tuple[int, bytes]:
        begin = len(out)
        self.places["data"] = begin
        packed = self.compression != "none"
        text = (self.text or "").encode()
        content = self.chunks([text]) if packed else text
        out += struct.pack("<HHIQ", BUFFER_TEXT, PACKED * packed, 0, len(content)) + content
        said = struct.pack("<Q", begin) + b"\0" + self.clock.encode() + b"\0"
        return BUFFER_TEXT, said

    def chunks(self, pages: list[bytes]) -> bytes:
        """Pages, packed some at a time."""
        if self.packed_pages is not None:
            return self.packed_pages
        step = self.chunk_pages
        groups = [b"".join(pages[i : i + step]) for i in range(0, len(pages), step)]
        out = struct.pack("<I", len(groups))
        for group in groups:
            small = self.pack(group)
            out += struct.pack("<II", len(small), len(group)) + small
        return out

    def pack(self, content: bytes) -> bytes:
        """*content* as one block; zstd without its size, as trace-cmd asks for."""
        if self.compression == "zlib":
            return zlib.compress(content, 9)
        without = zstandard.ZstdCompressionParameters(write_content_size=False)
        return zstandard.ZstdCompressor(compression_params=without).compress(content)

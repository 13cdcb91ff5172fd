"""The parts of a trace.dat file around its pages, laid out for version 6 or 7.

All sizes are known beforehand, so that nothing has to be filled in later. Sources of truth:
trace-cmd.dat.v6(5), trace-cmd.dat.v7(5).
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import zstandard

import traceview
from traceview.simulate.binary_records import TRACER_FORMATS
from traceview.simulate.ring_buffer_pages import HEADER_EVENT, header_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from traceview.simulate.recording import Task

MAGIC: Final = b"\x17\x08\x44tracing"
LITTLE_ENDIAN, LONG_BYTES = 0, 8
CLOCKS: Final = (
    "local", "global", "counter", "uptime", "perf", "mono", "mono_raw", "boot", "tai",
)  # fmt: skip
# Options, and sections of version 7.
DONE, CPUSTAT, BUFFER, TRACECLOCK, UNAME, CPUCOUNT, VERSION, TRACEID, STRINGS = (
    0, 2, 3, 4, 5, 8, 9, 11, 15,
)  # fmt: skip
HEADER_INFO, FTRACE_EVENTS, EVENT_FORMATS, KALLSYMS, PRINTK, CMDLINES = range(16, 22)
SECTION_NAMES: Final = {
    DONE: "options", BUFFER: "flyrecord buffer", STRINGS: "strings",
    HEADER_INFO: "headers", FTRACE_EVENTS: "ftrace events", EVENT_FORMATS: "events format",
    KALLSYMS: "kallsyms", PRINTK: "printk", CMDLINES: "command lines",
}  # fmt: skip
PACKED: Final = 1  # flag of a section
SECTION_BYTES: Final = 16
NO_TASK_SYMBOL: Final = "T"

Layout = tuple[bytes, list[int], bytes]  # what comes first, where each CPU begins, what comes last


@dataclass(frozen=True, slots=True)
class Description:
    """What the file says of the recording. `formats`: by system; `stats`: by CPU."""

    cpus: int
    page_bytes: int
    clock: str
    kernel: str
    formats: Mapping[str, list[str]]
    symbols: Mapping[str, int]
    tasks: Sequence[Task]
    packed: bool
    stats: list[str]

    def parts(self) -> dict[int, bytes]:
        """The parts that both versions have, by their number in version 7."""
        page, event = header_page(self.page_bytes).encode(), HEADER_EVENT.encode()
        systems = b"".join(
            system.encode() + b"\0" + _counted(formats) for system, formats in self.formats.items()
        )
        symbols = sorted(self.symbols.items(), key=lambda item: item[1])
        kallsyms = "".join(f"{at:016x} {NO_TASK_SYMBOL} {name}\n" for name, at in symbols).encode()
        cmdlines = "".join(f"{one.tid} {one.comm}\n" for one in self.tasks).encode()
        return {
            HEADER_INFO: b"header_page\0" + struct.pack("<Q", len(page)) + page
            + b"header_event\0" + struct.pack("<Q", len(event)) + event,
            FTRACE_EVENTS: _counted(TRACER_FORMATS),
            EVENT_FORMATS: struct.pack("<I", len(self.formats)) + systems,
            KALLSYMS: struct.pack("<I", len(kallsyms)) + kallsyms,
            PRINTK: struct.pack("<I", 0),
            CMDLINES: struct.pack("<Q", len(cmdlines)) + cmdlines,
        }  # fmt: skip

    def options(self) -> list[tuple[int, bytes]]:
        """The options that both versions have."""
        identity = hashlib.sha256(f"{self.kernel} {self.clock} {self.stats}".encode()).digest()
        return [
            (TRACECLOCK, self.clocks()),
            (UNAME, f"Linux (none) {self.kernel} aarch64".encode() + b"\0"),
            (VERSION, f"traceview {traceview.__version__}".encode() + b"\0"),
            (TRACEID, identity[:8]),
            *((CPUSTAT, one.encode() + b"\0") for one in self.stats),
            (CPUCOUNT, struct.pack("<I", self.cpus)),
        ]

    def clocks(self) -> bytes:
        """What tracefs `trace_clock` says."""
        names = CLOCKS if self.clock in CLOCKS else (*CLOCKS, self.clock)
        shown = " ".join(f"[{one}]" if one == self.clock else one for one in names)
        return shown.encode() + b"\n\0"


def _counted(formats: Sequence[str]) -> bytes:
    found = struct.pack("<I", len(formats))
    return found + b"".join(struct.pack("<Q", len(one)) + one.encode() for one in formats)


def _initial(version: int, page_bytes: int) -> bytes:
    head = MAGIC + f"{version}\0".encode() + bytes([LITTLE_ENDIAN, LONG_BYTES])
    return head + struct.pack("<I", page_bytes)


def _places(begin: int, sizes: list[int], page_bytes: int) -> list[int]:
    """Where the pages of each CPU begin, the first at *begin* or behind, at multiples of a page."""
    found = []
    for size in sizes:
        found.append(-(-begin // page_bytes) * page_bytes)
        begin = found[-1] + size
    return found


def version_6(described: Description, sizes: list[int]) -> Layout:
    """One part after the other; at the end a table of the CPUs and their pages."""
    out = _initial(6, described.page_bytes) + b"".join(described.parts().values())
    out += struct.pack("<I", described.cpus) + b"options  \0"
    for identity, content in described.options():
        out += struct.pack("<HI", identity, len(content)) + content
    out += struct.pack("<H", DONE) + b"flyrecord\0"
    clock = described.clocks().rstrip(b"\n\0")
    begins = _places(len(out) + 16 * len(sizes) + 8 + len(clock), sizes, described.page_bytes)
    table = b"".join(struct.pack("<QQ", *one) for one in zip(begins, sizes, strict=True))
    return out + table + struct.pack("<Q", len(clock)) + clock, begins, b""


def version_7(described: Description, sizes: list[int]) -> Layout:
    """Sections, and options that say where they are; the pages are one of them."""
    strings = _Strings()
    packer = zstandard.ZstdCompressor() if described.packed else None
    algorithm = (b"zstd\0", _zstd_version()) if described.packed else (b"none\0", b"\0")
    head = _initial(7, described.page_bytes) + b"".join(algorithm)
    first = len(head) + 8  # behind the place of the options
    sections, options = b"", described.options()
    for identity, content in described.parts().items():
        options.append((identity, struct.pack("<Q", first + len(sections))))
        sections += _section(identity, content, strings, packer)
    at = first + len(sections)
    behind = at + len(_options(options, 0, strings))
    begins = _places(behind + SECTION_BYTES, sizes, described.page_bytes)
    end = begins[-1] + sizes[-1] if sizes else behind + SECTION_BYTES
    middle = _options(options, end, strings)
    flags = PACKED if described.packed else 0
    buffer = _section_head(BUFFER, flags, end - behind - SECTION_BYTES, strings)
    said = struct.pack("<Q", behind) + b"\0" + described.clock.encode() + b"\0"
    said += struct.pack("<II", described.page_bytes, len(sizes))
    for cpu, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
        said += struct.pack("<IQQ", cpu, begin, size)
    tail = _options([(BUFFER, said)], 0, strings)
    # All names are known now, but for the one of this section itself.
    content = strings.content(STRINGS)
    tail += _section_head(STRINGS, 0, len(content), strings) + content
    return head + struct.pack("<Q", at) + sections + middle + buffer, begins, tail


class _Strings:
    """Names of sections, which those refer to by their place."""

    def __init__(self) -> None:
        self._at: dict[str, int] = {}
        self._size = 0

    def place(self, identity: int) -> int:
        """Where the name of a kind of section is."""
        name = SECTION_NAMES[identity]
        if name not in self._at:
            self._at[name] = self._size
            self._size += len(name) + 1
        return self._at[name]

    def content(self, *more: int) -> bytes:
        """All names, also of *more* kinds."""
        for identity in more:
            self.place(identity)
        return b"".join(name.encode() + b"\0" for name in self._at)


def _section_head(identity: int, flags: int, size: int, strings: _Strings) -> bytes:
    return struct.pack("<HHIQ", identity, flags, strings.place(identity), size)


def _section(
    identity: int, content: bytes, strings: _Strings, packer: zstandard.ZstdCompressor | None
) -> bytes:
    flags = 0
    if packer is not None:
        small = packer.compress(content)
        content, flags = struct.pack("<II", len(small), len(content)) + small, PACKED
    return _section_head(identity, flags, len(content), strings) + content


def _options(options: Sequence[tuple[int, bytes]], more_at: int, strings: _Strings) -> bytes:
    """A section of options; further ones are at *more_at* (0: there are none)."""
    body = b"".join(struct.pack("<HI", one, len(content)) + content for one, content in options)
    body += struct.pack("<HIQ", DONE, 8, more_at)
    return _section_head(DONE, 0, len(body), strings) + body


def _zstd_version() -> bytes:
    return ".".join(str(one) for one in zstandard.ZSTD_VERSION).encode() + b"\0"

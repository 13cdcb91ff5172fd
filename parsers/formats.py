"""The formats that traceview reads, most specific first, and how each is recognised.

A format is recognised by the first HEAD_BYTES of the unpacked content, never by the file's
name. Its parser module is imported only when the format is chosen. Third parties add formats
under the entry-point group `traceview.parsers`; each entry is a `Format`.

A parser module has `read(source, want, progress) -> Iterator[Batch]`, and may have
`settings_inside(source) -> Settings | None`: what a sidecar inside the file says.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final

from traceview.errors import UnknownFormatError
from traceview.parsers.source import BZIP2_MAGIC

if TYPE_CHECKING:
    from collections.abc import Callable

    from traceview.parsers.source import Source
    from traceview.trace import Read, Settings

# As long as the header of perf.data, the shortest that a recorder fills in at its end.
ZERO_BYTES: Final = 104

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Format:
    """One format: `module` holds `detect(head: bytes) -> bool` and `read(...)`.

    With a `magic` (any of them) there is no detect().
    """

    name: str
    module: str
    what: str
    magic: bytes | tuple[bytes, ...] = b""

    def claims(self, head: bytes) -> bool:
        """Whether *head*, the start of a file, is of this format."""
        if self.magic:
            return head.startswith(self.magic)
        detect: Callable[[bytes], bool] = import_module(self.module).detect
        return detect(head)

    def bind(self, source: Source) -> Read:
        """The parser of this format, bound to *source*."""
        read: Read = partial(import_module(self.module).read, source)
        return read

    def settings_inside(self, source: Source) -> Settings | None:
        """What a sidecar inside *source* says, None where there is none."""
        found: Callable[[Source], Settings | None] | None = getattr(
            import_module(self.module), "settings_inside", None
        )
        return None if found is None else found(source)


# First match wins; text formats come last.
FORMATS: Final = (
    Format(
        "trace.dat", "traceview.parsers.trace_dat", "trace.dat of trace-cmd, versions 6 and 7",
        magic=b"\x17\x08\x44tracing",
    ),
    Format(
        "perf.data", "traceview.parsers.perf_data", "perf.data of perf record, also through a pipe",
        magic=(b"PERFILE2", b"2ELIFREP", b"PERFFILE", b"ELIFFREP"),  # but the first: refused
    ),
    Format(
        "tar of a raw dump", "traceview.parsers.tar_dump",
        "tar archive of such a directory, as traceview record --script makes one",
    ),
    Format("perfetto", "traceview.parsers.perfetto", "Perfetto trace (.perfetto, .pftrace)"),
    Format(
        "ftrace text", "traceview.parsers.ftrace_text",
        "tracefs trace or trace_pipe, or the output of trace-cmd report or perf ftrace",
    ),
    Format("perf script", "traceview.parsers.perf_script", "the output of perf script"),
)  # fmt: skip

# The only one that is a directory.
RAW_DUMP: Final = Format(
    "raw dump", "traceview.parsers.raw_dump",
    "directory with copies of tracefs per_cpu/cpuN/trace_pipe_raw and events/",
)  # fmt: skip


def registered() -> tuple[Format, ...]:
    """The built-in formats, then those of third parties that could be loaded."""
    found = []
    for entry in entry_points(group="traceview.parsers"):
        try:
            found.append(entry.load())
        except Exception:
            logger.warning("parser %s could not be loaded", entry.name, exc_info=True)
    return (*FORMATS, *found)


def detect(head: bytes, path: str) -> Format:
    """The format that claims *head*.

    Raises UnknownFormatError, which lists the known formats and shows how the file begins.
    """
    formats = registered()
    for candidate in formats:
        if candidate.claims(head):
            return candidate
    if head.startswith(BZIP2_MAGIC):
        raise UnknownFormatError(
            f"packed with bzip2, which is not read: unpack it first (bunzip2)\nin file: {path}"
        )
    known = "\n".join(f"  {entry.name}: {entry.what}" for entry in (*formats, RAW_DUMP))
    raise UnknownFormatError(
        f"not a trace that traceview knows\nin file: {path}\n{_beginning(head)}\n"
        f"known formats (also packed with gzip, zstd, xz or zip):\n{known}"
    )


def _beginning(head: bytes) -> str:
    if head[:ZERO_BYTES].count(0) < ZERO_BYTES:
        return f"it begins with: {head[:16]!r}"
    return (
        "the file begins with zeros only: the recorder was stopped before it wrote the header, or"
        " this is no trace"
    )

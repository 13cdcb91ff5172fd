"""The header of perf.data: where its parts lie, and those that describe the recording.

A file has a header of 104 bytes with sections for attrs and data, and a bit for each feature; the
places of the features follow the data, because perf writes them last. Data of size 0 mean that perf
was killed before it could. A pipe has the first 16 bytes of that and says the rest in records.
Sources of truth: tools/perf/Documentation/perf.data-file-format.txt, tools/perf/util/header.{c,h}
of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from traceview.errors import ParseError, TruncatedError, UnsupportedError
from traceview.parsers.perf_section import Section
from traceview.parsers.perf_session import MAX_IDS
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from traceview.parsers.perf_session import Session

MAGIC_BIG_ENDIAN: Final = b"2ELIFREP"
MAGIC_VERSION_1: Final = (b"PERFFILE", b"ELIFFREP")
PIPE_HEADER_BYTES: Final = 16
FILE_HEADER_BYTES: Final = 104
FEATURE_BITS: Final = 256
SECTION_BYTES: Final = 16
MIN_ATTR_SIZE: Final = 64 + SECTION_BYTES


@dataclass(slots=True)
class Header:
    """Where the records lie; in a pipe, features and attrs are among them."""

    data_begin: int
    data_end: int
    diagnostics: list[Diagnostic] = field(default_factory=list)


def read_header(view: memoryview, session: Session) -> Header:
    """Read the header of *view* into *session*.

    Raises UnsupportedError for another version or byte order, TruncatedError when the header is not
    all there, ParseError when it makes no sense.
    """
    magic = bytes(view[:8])
    if magic == MAGIC_BIG_ENDIAN:
        raise UnsupportedError("perf.data of a big-endian machine", path=session.path)
    if magic in MAGIC_VERSION_1:
        raise UnsupportedError("perf.data of version 1 (before Linux 3.2)", path=session.path)
    if len(view) < PIPE_HEADER_BYTES:
        raise _truncated(session, PIPE_HEADER_BYTES, len(view))
    size = int.from_bytes(view[8:16], "little")
    if size == PIPE_HEADER_BYTES:
        return Header(PIPE_HEADER_BYTES, len(view))
    if size != FILE_HEADER_BYTES:
        raise ParseError(
            f"the header says that it has {size} bytes, not {FILE_HEADER_BYTES} or"
            f" {PIPE_HEADER_BYTES}",
            path=session.path, reading="the header of perf.data", offset=8,
        )  # fmt: skip
    if len(view) < FILE_HEADER_BYTES:
        raise _truncated(session, FILE_HEADER_BYTES, len(view))
    return _file_header(view, session)


def _truncated(session: Session, wanted: int, left: int) -> TruncatedError:
    return TruncatedError(
        f"the file ends inside its header: {left} bytes of {wanted}",
        path=session.path, reading="the header of perf.data", offset=left,
    )  # fmt: skip


def _file_header(view: memoryview, session: Session) -> Header:
    fields = Section(view[16:FILE_HEADER_BYTES])
    attr_size, attrs, attrs_size, data, data_size = fields.u64s(5)
    fields.take(SECTION_BYTES)  # event types, long gone
    bits = int.from_bytes(fields.take(FEATURE_BITS // 8), "little")
    _read_attrs(view, session, attr_size, attrs, attrs_size)
    if data < FILE_HEADER_BYTES or data > len(view):
        raise TruncatedError(
            f"the records begin at byte {data:#x}, outside the file of {len(view):#x} bytes",
            path=session.path, reading="the header of perf.data", offset=40,
        )  # fmt: skip
    header = Header(data, data + data_size)
    if data_size == 0:
        header.data_end = len(view)
        header.diagnostics.append(_not_ended())
    elif header.data_end > len(view):
        header.diagnostics.append(_cut_off(header.data_end - len(view)))
        header.data_end = len(view)
    else:
        _read_features(view, session, bits, header.data_end)
    return header


def _not_ended() -> Diagnostic:
    return Diagnostic(
        "recording-not-ended", "warning",
        "the header was never completed: perf record did not end in order; the records are read to"
        " the end of the file, and what perf writes last (formats of events, host, names) is"
        " missing",
    )  # fmt: skip


def _cut_off(missing: int) -> Diagnostic:
    return Diagnostic(
        "truncated", "warning",
        f"the file is cut off: {missing} bytes of records are missing, and what follows them"
        " (formats of events, host, names)",
        missing,
    )  # fmt: skip


def _read_attrs(view: memoryview, session: Session, attr_size: int, begin: int, size: int) -> None:
    """The events: attr, then where its ids lie."""
    if begin + size > len(view):
        raise TruncatedError(
            f"the file ends before its events: {size} bytes at byte {begin:#x} of {len(view):#x}",
            path=session.path, reading="the attrs of perf.data", offset=begin,
        )  # fmt: skip
    if attr_size < MIN_ATTR_SIZE and size:
        raise ParseError(
            f"the header says that an attr has {attr_size} bytes",
            path=session.path, reading="the header of perf.data", offset=16,
        )  # fmt: skip
    for at in range(begin, begin + size - attr_size + 1, max(attr_size, 1)):
        entry = bytes(view[at : at + attr_size])
        own = int.from_bytes(entry[4:8], "little")
        ids_at = own if 0 < own <= attr_size - SECTION_BYTES else attr_size - SECTION_BYTES
        ids, ids_size = Section(entry[ids_at:]).u64s(2)
        session.add_attr(entry[:ids_at], _ids(view, session, ids, ids_size))


def _ids(view: memoryview, session: Session, begin: int, size: int) -> list[int]:
    if begin + size > len(view) or size > 8 * MAX_IDS:
        session.unreadable.append(f"the {size // 8} ids of an event, at byte {begin:#x}")
        return []
    return Section(view[begin : begin + size]).u64s(size // 8)


def _read_features(view: memoryview, session: Session, bits: int, at: int) -> None:
    for number in range(FEATURE_BITS):
        if not bits >> number & 1:
            continue
        if at + SECTION_BYTES > len(view):
            session.unreadable.append(f"the place of feature {number} and of those behind it")
            return
        begin, size = Section(view[at : at + SECTION_BYTES]).u64s(2)
        at += SECTION_BYTES
        if begin + size > len(view):
            session.unreadable.append(f"feature {number}, {size} bytes at byte {begin:#x}")
        else:
            session.feature(number, view[begin : begin + size])

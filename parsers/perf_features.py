"""The features of a perf.data header: what each says of the host and the recording.

Source of truth: tools/perf/util/header.c (feat_ops) of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from traceview.parsers.perf_attr import parse_attr

if TYPE_CHECKING:
    from collections.abc import Callable

    from traceview.parsers.perf_section import Section
    from traceview.parsers.perf_session import Session

TRACING_DATA: Final = 1
DIR_FORMAT: Final = 24
MAX_CPUS: Final = 1 << 20
MAX_NS: Final = 1 << 62


def _hostname(session: Session, section: Section) -> None:
    session.facts["hostnames"] = (section.string(),)


def _osrelease(session: Session, section: Section) -> None:
    session.facts["kernel"] = section.string()


def _arch(session: Session, section: Section) -> None:
    session.facts["machine"] = section.string()


def _nrcpus(session: Session, section: Section) -> None:
    section.u32()  # those that are available, online or not
    online = section.u32()
    if 0 < online <= MAX_CPUS:
        session.facts["cpus"] = online


def _cpuid(session: Session, section: Section) -> None:
    session.cpuid = section.string()


def _cmdline(session: Session, section: Section) -> None:
    words = [section.string() for _ in range(section.u32())]
    if len(words) > 1:  # the name of the program alone is no option
        session.facts["tracer_options"] = " ".join(words)


def _event_desc(session: Session, section: Section) -> None:
    count, attr_size = section.u32(), section.u32()
    for number in range(count):
        attr = parse_attr(section.take(attr_size))
        nr_ids, name = section.u32(), section.string()
        session.describe(number, attr, name, section.u64s(nr_ids))


def _clockid(session: Session, section: Section) -> None:
    resolution_ns = section.u64()
    if 0 < resolution_ns < MAX_NS:
        session.facts["ts_resolution_ns"] = resolution_ns


def _clock_data(session: Session, section: Section) -> None:
    section.take(8)  # version, clockid
    wall_ns = section.u64()
    if 0 < wall_ns < MAX_NS:
        at = datetime.fromtimestamp(wall_ns / 1e9, UTC)
        session.facts["recorded_at"] = at.isoformat(timespec="seconds")


# enum HEADER_*; TRACING_DATA and DIR_FORMAT are the session's own business.
READERS: Final[dict[int, Callable[[Session, Section], None]]] = {
    3: _hostname,
    4: _osrelease,
    6: _arch,
    7: _nrcpus,
    9: _cpuid,
    11: _cmdline,
    12: _event_desc,
    23: _clockid,
    29: _clock_data,
}

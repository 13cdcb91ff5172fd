"""The back ends by the names of --backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.errors import SettingError
from traceview.record.perf import Perf
from traceview.record.perfetto import Perfetto
from traceview.record.trace_cmd import TraceCmd
from traceview.record.tracefs import TracefsBackend

if TYPE_CHECKING:
    from traceview.record.backend import Backend


def backend(name: str) -> Backend:
    """A new back end; raises SettingError if there is none of that name."""
    kinds: tuple[type[Backend], ...] = (TracefsBackend, TraceCmd, Perf, Perfetto)
    for kind in kinds:
        if kind.name == name:
            return kind()
    raise SettingError(f"no back end {name!r}\nvalid: {', '.join(kind.name for kind in kinds)}")

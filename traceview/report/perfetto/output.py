"""Where packets go: straight into the file, or to their places among those of a Perfetto trace.

trace_processor sorts a trace that was written into its file while it was recorded in windows, as
it reads (src/trace_processor/sorter/trace_sorter.h): packets whose time lies before the window
are dropped. What is simply appended to such a trace would not be seen. So each of our packets
goes where a recorder would have written it: behind the last packet of ftrace events that begins
at its time or before. What packets refer to goes before all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from traceview.byte_columns import copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from traceview.byte_columns import Bytes, Ints

COPY_BYTES: Final = 4 * 1024 * 1024
GATHERED: Final = 50_000  # packets that are put in order at a time


class Output(Protocol):
    """What the packets of the analysis are given to."""

    def state(self, packets: bytes) -> None:
        """Packets that those behind them refer to."""
        ...

    def events(self, packets: Bytes, bounds: Ints, ts_ns: Ints) -> None:
        """Packets with times: packet i is packets[bounds[i] : bounds[i + 1]]."""
        ...


@dataclass(frozen=True, slots=True)
class Direct:
    """Writes packets as they come."""

    write: Callable[[bytes | memoryview], object]

    def state(self, packets: bytes) -> None:
        """See Output."""
        self.write(packets)

    def events(self, packets: Bytes, bounds: Ints, ts_ns: Ints) -> None:  # noqa: ARG002
        """See Output."""
        self.write(packets.data)


@dataclass(frozen=True, slots=True)
class Original:
    """A Perfetto trace. `view`: its bytes, up to behind its last whole packet.

    `ends`: where each packet with ftrace events ends (the one that holds it, if it was
    compressed), and `begins_ns` when those events begin; `first`: where the first of them begins.
    `cut_bytes`: how many there are behind the last whole packet.
    """

    view: memoryview
    ends: Ints
    begins_ns: Ints
    first: int
    cut_bytes: int = 0


@dataclass(slots=True)
class Spooled:
    """Keeps packets in an unnamed *file* until the others are there, and mixes them in."""

    _file: Any
    _state: list[bytes] = field(default_factory=list)
    _length: list[Ints] = field(default_factory=list)
    _ts_ns: list[Ints] = field(default_factory=list)

    def state(self, packets: bytes) -> None:
        """See Output."""
        self._state.append(packets)

    def events(self, packets: Bytes, bounds: Ints, ts_ns: Ints) -> None:
        """See Output."""
        self._file.write(packets.data)
        self._length.append(np.diff(bounds))
        self._ts_ns.append(ts_ns)

    def mix(self, original: Original, write: Callable[[bytes | memoryview], object]) -> None:
        """Write the packets of *original* and those that were kept, each in its place."""
        none = np.empty(0, dtype=np.int64)
        length, ts_ns = np.concatenate([none, *self._length]), np.concatenate([none, *self._ts_ns])
        start = np.cumsum(length) - length
        order = np.argsort(ts_ns, kind="stable")
        self._file.flush()
        data = np.memmap(self._file, dtype=np.uint8, mode="r") if length.size else none
        # Behind place i go those that are earlier than everything that begins behind it.
        latest = np.maximum.accumulate(original.begins_ns)
        until = np.append(np.searchsorted(ts_ns[order], latest), len(order))
        ends = np.concatenate([[original.first], original.ends])
        _copy_out(original.view, 0, original.first, write)
        for packets in self._state:
            write(packets)
        at, done = original.first, 0
        for end, count in zip(ends.tolist(), until.tolist(), strict=True):
            if count > done:
                _copy_out(original.view, at, end, write)
                _gather(data, start, length, order[done:count], write)
                at, done = max(end, at), count
        _copy_out(original.view, at, len(original.view), write)


def _copy_out(
    view: memoryview, start: int, end: int, write: Callable[[bytes | memoryview], object]
) -> None:
    for at in range(start, end, COPY_BYTES):
        write(view[at : min(at + COPY_BYTES, end)])


def _gather(
    data: Any, start: Ints, length: Ints, which: Ints, write: Callable[[bytes | memoryview], object]
) -> None:
    for low in range(0, len(which), GATHERED):
        some = which[low : low + GATHERED]
        size = length[some]
        out = np.empty(int(size.sum()), dtype=np.uint8)
        copy(out, np.cumsum(size) - size, data, start[some], size)
        write(out.data)

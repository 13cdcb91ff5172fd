"""A simulated recording as a trace.dat file, version 6 or 7, as trace-cmd 3.x writes it.

The pages of a CPU must lie together, so they are kept in an unnamed file until all are there.
Records that were lost behind the last one of a CPU are its "dropped events" (option CPUSTAT): the
format has no place for where. Sources of truth: trace-cmd.dat.v6(5), trace-cmd.dat.v7(5) and what
trace-cmd 3.4 wrote of real recordings.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import zstandard

from traceview.simulate.binary_records import BinaryRecords, symbol_table
from traceview.simulate.record_columns import Symbols
from traceview.simulate.ring_buffer_pages import RingBuffers, Stats
from traceview.simulate.trace_dat_parts import Description, version_6, version_7

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from traceview.byte_columns import Bytes
    from traceview.simulate.recording import Recorded

CHUNK_PAGES: Final = 10  # trace-cmd packs ten pages at a time
COPY_BYTES: Final = 1 << 20
LEVEL: Final = 1
VERSIONS: Final = (6, 7)


def write_trace_dat(
    recorded: Recorded, file: BinaryIO, progress: Callable[[int], None] = lambda _: None, *,
    version: int = 7, packed: bool = True,
) -> None:  # fmt: skip
    """Write all of *recorded*; *progress* hears how many records were written so far.

    *packed*: with zstd, as trace-cmd does by default; version 6 is never packed.
    """
    if version not in VERSIONS:
        raise ValueError(f"version {version} of trace.dat")
    symbols = Symbols()
    records = BinaryRecords(recorded, symbols)
    buffers = RingBuffers(records, symbols, recorded.page_size_bytes)
    with tempfile.TemporaryFile(prefix="traceview-") as spooled:
        chunk_bytes = CHUNK_PAGES * recorded.page_size_bytes
        spool = _Spool(spooled, chunk_bytes, packed=packed and version > 6)
        done = 0
        for batch in recorded.batches:
            for cpu, pages in buffers.add(batch):
                spool.add(cpu, pages)
            done += batch.height
            progress(done)
        for cpu, pages in buffers.rest():
            spool.add(cpu, pages)
        _assemble(recorded, file, records, spool, buffers.stats, version)


def _assemble(
    recorded: Recorded, file: BinaryIO, records: BinaryRecords, spool: _Spool,
    stats: dict[int, Stats], version: int,
) -> None:  # fmt: skip
    """The file: what describes the recording, then the pages of each CPU."""
    sizes = [spool.size(cpu) for cpu in range(recorded.cpus)]
    description = Description(
        cpus=recorded.cpus, page_bytes=recorded.page_size_bytes, clock=recorded.clock,
        kernel=recorded.kernel, formats=records.formats, symbols=symbol_table(recorded),
        tasks=recorded.tasks, packed=spool.packed,
        stats=[_stats(cpu, stats.get(cpu, Stats()), recorded) for cpu in range(recorded.cpus)],
    )  # fmt: skip
    layout = version_6 if version == 6 else version_7
    head, begins, tail = layout(description, sizes)
    file.write(head)
    at = len(head)
    for cpu, (begin, size) in enumerate(zip(begins, sizes, strict=True)):
        file.write(bytes(begin - at))
        spool.copy(cpu, file)
        at = begin + size
    file.write(tail)


def _stats(cpu: int, stats: Stats, recorded: Recorded) -> str:
    """What tracefs `per_cpu/cpuN/stats` says, with the number of the CPU as trace-cmd has it."""
    dropped = recorded.lost_at_end.get(cpu, 0)
    return (
        f"CPU: {cpu}\n"
        f"entries: {stats.entries}\n"
        f"overrun: {stats.overrun}\n"
        "commit overrun: 0\n"
        f"bytes: {stats.data_bytes}\n"
        f"oldest event ts: {_seconds(stats.first_ns)}\n"
        f"now ts: {_seconds(stats.last_ns)}\n"
        f"dropped events: {dropped}\n"
        "read events: 0\n"
    )


def _seconds(ns: int) -> str:
    return f"{ns // 10**9:5d}.{ns % 10**9 // 1000:06d}"


@dataclass(slots=True)
class _Spool:
    """The pages of all CPUs in the order in which they were filled."""

    file: Any
    chunk_bytes: int
    packed: bool
    _pieces: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # place, bytes
    _chunks: dict[int, int] = field(default_factory=dict)
    _at: int = 0
    _zstd: zstandard.ZstdCompressor = field(init=False)

    def __post_init__(self) -> None:
        # trace-cmd does not ask for the size of the content to be stated.
        said = zstandard.ZstdCompressionParameters.from_level(LEVEL, write_content_size=False)
        self._zstd = zstandard.ZstdCompressor(compression_params=said)

    def add(self, cpu: int, pages: Bytes) -> None:
        """More pages of a CPU."""
        view = pages.data
        if not self.packed:
            self._keep(cpu, view)
            return
        for begin in range(0, len(view), self.chunk_bytes):
            chunk = view[begin : begin + self.chunk_bytes]
            small = self._zstd.compress(chunk)
            sizes = len(small).to_bytes(4, "little") + len(chunk).to_bytes(4, "little")
            self._keep(cpu, sizes + small)
            self._chunks[cpu] = self._chunks.get(cpu, 0) + 1

    def size(self, cpu: int) -> int:
        """The bytes of a CPU in the file."""
        stored = sum(size for _, size in self._pieces.get(cpu, []))
        return stored + (4 if self.packed else 0)

    def copy(self, cpu: int, file: BinaryIO) -> None:
        """Write all of a CPU."""
        if self.packed:
            file.write(self._chunks.get(cpu, 0).to_bytes(4, "little"))
        for begin, size in self._pieces.get(cpu, []):
            self.file.seek(begin)
            left = size
            while left:
                left -= file.write(self.file.read(min(left, COPY_BYTES)))

    def _keep(self, cpu: int, content: bytes | memoryview) -> None:
        self.file.write(content)
        pieces = self._pieces.setdefault(cpu, [])
        if pieces and sum(pieces[-1]) == self._at:
            pieces[-1] = (pieces[-1][0], pieces[-1][1] + len(content))
        else:
            pieces.append((self._at, len(content)))
        self._at += len(content)

"""A large trace out of a small one: its own events again and again, later each time.

    python benchmarks/growing.py TRACE TARGET MB

Perfetto traces repeat their bundles, text its lines, trace.dat the pages of each CPU, perf.data
its samples; times are shifted, so that each stays a file that its recorder could have written. A
trace.dat must be version 6 without compression (`trace-cmd convert --file-version 6 --compression
none` makes one); a perf.data must not be compressed and all its events have one sample_type.
"""

from __future__ import annotations

import re
import struct
import sys
from pathlib import Path

import numpy as np

# A neighbour of this file must not be taken for a package of the same name.
sys.path[:] = [folder for folder in sys.path if Path(folder) != Path(__file__).resolve().parent]

MB = 1_000_000
# The time of a line: before the first colon of an event line, or in the first column of a graph.
TIME = re.compile(
    rb"^([^\n|:]*?(?::[^\n|: ][^\n|:]*?)*?)(\d+)(\.\d{6,9})(?=: | \|  )", re.MULTILINE
)
GAP_NS = 1_000_000
PERF_SAMPLE, PERF_FINISHED_ROUND = 9, 68
# Bits of sample_type whose 8 bytes stand before the time: IDENTIFIER, IP, TID.
BEFORE_TIME = (1 << 16, 1 << 0, 1 << 1)
PAGE_BYTES = 4096


def content(source: Path) -> bytes:
    """The unpacked bytes of *source*."""
    from traceview.parsers.source import open_source  # noqa: PLC0415

    return b"".join(open_source(source).chunks())


def grow_perfetto(data: bytes, target: Path, size: float) -> None:
    """Repeat the bundles of ftrace events."""
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb  # noqa: PLC0415

    trace = pb.Trace.FromString(data)
    bundles = [packet for packet in trace.packet if packet.HasField("ftrace_events")]
    times = [event.timestamp for packet in bundles for event in packet.ftrace_events.event]
    period = max(times) - min(times) + GAP_NS
    with target.open("wb") as out:
        out.write(data)
        while out.tell() < size:
            for packet in bundles:
                _shift_bundle(packet.ftrace_events, period)
                out.write(pb.Trace(packet=[packet]).SerializeToString())


def _shift_bundle(bundle: object, by_ns: int) -> None:
    """Move all times of *bundle* by so much."""
    for event in bundle.event:  # type: ignore[attr-defined]
        event.timestamp += by_ns
    compact = bundle.compact_sched  # type: ignore[attr-defined]
    for deltas in (compact.switch_timestamp, compact.waking_timestamp):
        if deltas:
            deltas[0] += by_ns
    if bundle.previous_bundle_end_timestamp:  # type: ignore[attr-defined]
        bundle.previous_bundle_end_timestamp += by_ns  # type: ignore[attr-defined]


def grow_text(data: bytes, target: Path, size: float) -> None:
    """Repeat the lines below the header."""
    header = re.match(rb"(?:(?:#[^\n]*|cpus=\d+)\n)*", data)
    assert header is not None
    lines = data[header.end() :]
    seconds = [int(match[2]) for match in TIME.finditer(lines)]
    period = max(seconds) - min(seconds) + 1 if seconds else 0
    with target.open("wb") as out:
        out.write(header[0])
        for number in range(int(size / len(lines)) + 1):
            out.write(_later(lines, number * period))


def _later(lines: bytes, seconds: int) -> bytes:
    """*lines* so many seconds later."""
    if seconds == 0:
        return lines

    def later(match: re.Match[bytes]) -> bytes:
        width = len(match[1]) + len(match[2])
        number = b"%d" % (int(match[2]) + seconds)
        return match[1][: max(0, width - len(number))] + number + match[3]

    return TIME.sub(later, lines)


def grow_trace_dat(data: bytes, target: Path, size: float) -> None:
    """Repeat the pages of each CPU; the table that says where they lie is rewritten."""
    if data[10:11] != b"6":
        sys.exit("growing needs version 6: trace-cmd convert --file-version 6 --compression none")
    mark = b"flyrecord\0"
    first = data.index(mark)
    table = data.rindex(mark, first) + len(mark)
    places = []
    while len(places) < 256:  # each entry points behind the table, the first to its end or beyond
        offset, length = struct.unpack_from("<QQ", data, table + 16 * len(places))
        places.append((offset, length))
        if table + 16 * len(places) + 16 > min(at for at, _ in places):
            break
        following = struct.unpack_from("<Q", data, table + 16 * len(places))[0]
        if following < offset or following > len(data):
            break
    pages = [np.frombuffer(data, np.uint8, n, at).reshape(-1, PAGE_BYTES) for at, n in places]
    times = np.concatenate([_page_times(one) for one in pages])
    period = int(times.max() - times.min()) + 1_000_000_000
    start = min(at for at, _ in places)
    repeats = max(1, round((size - start) / sum(n for _, n in places)))
    with target.open("wb") as out:
        out.write(data[:start])
        for number, ((_, length), page) in enumerate(zip(places, pages, strict=True)):
            at = out.tell()
            out.seek(table + 16 * number)
            out.write(struct.pack("<QQ", at, length * repeats))
            out.seek(at)
            for turn in range(repeats):
                shifted = page.copy()
                stamps = shifted[:, :8].copy().view("<u8") + np.uint64(turn * period)
                shifted[:, :8] = stamps.view(np.uint8).reshape(-1, 8)
                out.write(shifted.tobytes())


def _page_times(pages: np.ndarray) -> np.ndarray:
    return pages[:, :8].copy().view("<u8").reshape(-1).astype(np.int64)


def grow_perf_data(data: bytes, target: Path, size: float) -> None:
    """Repeat the samples and ends of rounds; the feature sections move behind them."""
    at, length = struct.unpack_from("<QQ", data, 40)
    attrs_at = struct.unpack_from("<Q", data, 24)[0]
    sample_type = struct.unpack_from("<Q", data, attrs_at + 24)[0]
    time_at = 8 + 8 * sum(bool(sample_type & bit) for bit in BEFORE_TIME)
    body = np.frombuffer(data, np.uint8, length, at).copy()
    starts, stamps, end = _perf_records(body, time_at)
    repeated = np.concatenate([body[a:b] for a, b in starts])
    where = np.flatnonzero(stamps >= 0)
    times = stamps[where].astype(np.int64)
    words = np.lib.stride_tricks.as_strided(
        repeated.view(np.uint8), shape=(len(repeated) - 7, 8), strides=(1, 1)
    )
    base = np.ascontiguousarray(words[times]).view("<u8").reshape(-1)
    period = int(base.max() - base.min()) + 1_000_000
    repeats = max(1, round((size - end) / len(repeated)))
    features = data[at + length :]
    with target.open("wb") as out:
        out.write(data[: at + end])
        for turn in range(1, repeats + 1):
            shifted = repeated.copy()
            stamps_now = (base + np.uint64(turn * period)).view(np.uint8).reshape(-1, 8)
            for byte in range(8):
                shifted[times + byte] = stamps_now[:, byte]
            out.write(shifted.tobytes())
        grown = out.tell() - at
        out.write(_moved(data, features, grown - length))
        out.seek(48)
        out.write(struct.pack("<Q", grown))


def _perf_records(body: np.ndarray, time_at: int) -> tuple[list[tuple[int, int]], np.ndarray, int]:
    """The spans of samples and rounds, where their times will lie, and where the records end."""
    spans: list[tuple[int, int]] = []
    stamps: list[int] = []
    raw, at, placed = body.tobytes(), 0, 0
    while at + 8 <= len(raw):
        kind, _, size = struct.unpack_from("<IHH", raw, at)
        if kind in (PERF_SAMPLE, PERF_FINISHED_ROUND):
            spans.append((at, at + size))
            stamps.append(placed + time_at if kind == PERF_SAMPLE else -1)
            placed += size
        at += size
    return spans, np.array(stamps), at


def _moved(data: bytes, features: bytes, by: int) -> bytes:
    """The table of feature sections with offsets that are so much larger, and the sections."""
    bits = int.from_bytes(data[72:104], "little").bit_count()
    moved = bytearray(features)
    for number in range(bits):
        offset, size = struct.unpack_from("<QQ", features, 16 * number)
        struct.pack_into("<QQ", moved, 16 * number, offset + by, size)
    return bytes(moved)


def main() -> None:
    """Grow the trace that the command line names."""
    source, target, megabytes = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    data = content(source)
    if data.startswith(b"\x17\x08\x44tracing"):
        grow = grow_trace_dat
    elif data.startswith(b"PERFILE2"):
        grow = grow_perf_data
    elif data[:1] == b"\n":
        grow = grow_perfetto
    else:
        grow = grow_text
    grow(data, target, megabytes * MB)


if __name__ == "__main__":
    main()

"""Small recordings with something of everything, for tests to damage."""

from __future__ import annotations

import struct
from functools import cache

from tests.writers import perf_data as w
from tests.writers import records

KPROBE = records.Event(
    1543, "s2_unmap", ("unsigned long __probe_ip", "u64 addr", "__data_loc char[] comm"), "kvmlab"
)
PROBE = w.Event("kvmlab:s2_unmap", (1, 2), w.TRACEPOINT, KPROBE.id, w.USUAL)
CYCLES = w.Event(
    "cycles", (3, 4), 0, 0, w.USUAL | w.READ | w.CALLCHAIN, w.GROUP | w.ENABLED | w.FORMAT_ID
)


def samples(rounds: int = 6) -> list[bytes]:
    """Records of every kind."""
    found = []
    for n in range(rounds):
        at = 1000 * (n + 1)
        stamp = w.Stamp(PROBE, at + 50, n % 3, 7, 7)
        found += [
            w.Sample(
                PROBE, at, n % 3, raw=KPROBE.record(__probe_ip=1 << 63, addr=at, comm="kvm")
            ).record(),
            w.Sample(
                CYCLES, at + 10, n % 3, members=2, chain=((1 << 64) - 128, 1 << 63, 5)
            ).record(),
            stamp.comm(7, "qemu"), stamp.fork(8, 7), stamp.switch(out=True, other=9),
            stamp.lost(n), stamp.other(10, bytes(72)), w.record(68),
        ]  # fmt: skip
    return found


def recording(body: bytes | None = None) -> w.Recording:
    features = {
        1: w.tracing_data([KPROBE], cmdlines="7 qemu\n"), 4: w.string("6.12"),
        6: w.string("aarch64"), 7: struct.pack("<II", 4, 4), 9: w.string("0x414fd0c1"),
        11: struct.pack("<I", 1) + w.string("perf"), 12: w.event_desc([PROBE, CYCLES]),
        29: struct.pack("<II", 1, 1) + w.u64(1, 2),
    }  # fmt: skip
    body = b"".join(samples()) if body is None else body
    return w.Recording([PROBE, CYCLES], body, features)


@cache
def file() -> bytes:
    return recording().file()


@cache
def pipe() -> bytes:
    return recording().pipe()


@cache
def packed() -> bytes:
    body = b"".join(samples())
    return recording(w.compressed(body[:700], body[700:1100], body[1100:])).file()


def data_of(content: bytes) -> tuple[int, int]:
    """Where the records of a file begin and end."""
    begin, size = struct.unpack_from("<QQ", content, 40)
    return begin, begin + size

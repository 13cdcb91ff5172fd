"""A slow and obvious reader of trace.dat: what the parser must agree with.

It believes what the file says, knows no damage, and goes record by record.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

import zstandard

UPPER = 0xF8 << 56


@dataclass
class Cpu:
    """The pages of one CPU of one buffer."""

    buffer: str
    cpu: int
    page_bytes: int
    pages: bytes


@dataclass
class Page:
    """Records as time and payload; `lost`: what lost_before() says."""

    records: list[tuple[int, bytes]] = field(default_factory=list)
    lost: int | None = None


def lost_before(page: bytes) -> int | None:
    """How many events were lost before a page: None for none, -1 if it does not say."""
    commit = struct.unpack_from("<I", page, 8)[0]
    if not commit & 1 << 31:
        return None
    end = 16 + (commit & (1 << 30) - 1)
    stored = commit & 1 << 30 and end + 8 <= len(page)
    return struct.unpack_from("<q", page, end)[0] if stored else -1


def read_page(page: bytes) -> Page:
    """The records of a page of a 64-bit kernel."""
    now, commit = struct.unpack_from("<QI", page)
    found = Page(lost=lost_before(page))
    at, end = 16, 16 + (commit & (1 << 30) - 1)
    begin = now
    while at < end:
        word = struct.unpack_from("<I", page, at)[0]
        type_len, delta = word & 31, word >> 5
        if type_len == 29 and delta == 0:
            break
        following = struct.unpack_from("<I", page, at + 4)[0]
        if type_len == 29:
            now += delta
            at += 4 + following
        elif type_len == 30:
            now += following << 27 | delta
            at += 8
        elif type_len == 31:
            now = following << 27 | delta | begin & UPPER
            if begin & UPPER and now < begin:
                now += 1 << 59
            at += 8
        elif type_len == 0:
            now += delta
            found.records.append((now, page[at + 8 : at + 4 + following]))
            at += 4 + following
        else:
            now += delta
            found.records.append((now, page[at + 4 : at + 4 + 4 * type_len]))
            at += 4 + 4 * type_len
    return found


def read_cpus(data: bytes) -> list[Cpu]:
    """The pages of all CPUs that have some, buffer by buffer, as the file lists them."""
    assert data[:10] == b"\x17\x08\x44tracing"
    version = data[10:12]
    page_bytes = struct.unpack_from("<I", data, 14)[0]
    return _version_6(data, page_bytes) if version == b"6\0" else _version_7(data)


def _string(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


def _version_6(data: bytes, page_bytes: int) -> list[Cpu]:
    at = 18 + len("header_page\0")
    at += 8 + struct.unpack_from("<Q", data, at)[0] + len("header_event\0")
    at += 8 + struct.unpack_from("<Q", data, at)[0]
    at = _skip_formats(data, at)
    systems = struct.unpack_from("<I", data, at)[0]
    at += 4
    for _ in range(systems):
        at = _skip_formats(data, _string(data, at)[1])
    at += 4 + struct.unpack_from("<I", data, at)[0]  # kallsyms
    at += 4 + struct.unpack_from("<I", data, at)[0]  # printk
    at += 8 + struct.unpack_from("<Q", data, at)[0]  # cmdlines
    count = struct.unpack_from("<I", data, at)[0]
    instances: list[list[int | str]] = []
    at += 4
    if data[at : at + 7] == b"options":
        at += 10
        while (option := struct.unpack_from("<H", data, at)[0]) != 0:
            size = struct.unpack_from("<I", data, at + 2)[0]
            body = data[at + 6 : at + 6 + size]
            if option == 3 and body[8:9] != b"\0":
                instances.append([_string(body, 8)[0], struct.unpack_from("<Q", body)[0], count])
            elif option == 8 and instances:
                instances[-1][2] = struct.unpack_from("<I", body)[0]
            at += 6 + size
        at += 2
    found = []
    for name, place, cpus in [["", at, count], *instances]:
        assert isinstance(place, int)
        assert isinstance(cpus, int)
        assert data[place : place + 9] == b"flyrecord"
        for cpu in range(cpus):
            offset, size = struct.unpack_from("<QQ", data, place + 10 + 16 * cpu)
            found.append(Cpu(str(name), cpu, page_bytes, data[offset : offset + size]))
    return [one for one in found if one.pages]


def _skip_formats(data: bytes, at: int) -> int:
    count = struct.unpack_from("<I", data, at)[0]
    at += 4
    for _ in range(count):
        at += 8 + struct.unpack_from("<Q", data, at)[0]
    return at


def _version_7(data: bytes) -> list[Cpu]:
    compression, at = _string(data, 18)
    at = _string(data, at)[1]
    at = struct.unpack_from("<Q", data, at)[0]
    found: list[Cpu] = []
    while at:
        at += 16
        while True:
            option, size = struct.unpack_from("<HI", data, at)
            body = data[at + 6 : at + 6 + size]
            at += 6 + size
            if option == 3:
                found += _buffer(data, body, compression)
            if option == 0:
                at = struct.unpack("<Q", body)[0]
                break
    return found


def _buffer(data: bytes, body: bytes, compression: str) -> list[Cpu]:
    place = struct.unpack_from("<Q", body)[0]
    packed = struct.unpack_from("<H", data, place + 2)[0] & 1
    name, at = _string(body, 8)
    at = _string(body, at)[1]
    page_bytes, count = struct.unpack_from("<II", body, at)
    at += 8
    found = []
    for _ in range(count):
        cpu, offset, size = struct.unpack_from("<IQQ", body, at)
        at += 20
        pages = _unpack(data, offset, compression) if packed else data[offset : offset + size]
        found.append(Cpu(name, cpu, page_bytes, pages))
    return found


def _unpack(data: bytes, at: int, compression: str) -> bytes:
    count = struct.unpack_from("<I", data, at)[0]
    at += 4
    out = b""
    for _ in range(count):
        packed, size = struct.unpack_from("<II", data, at)
        chunk = data[at + 8 : at + 8 + packed]
        at += 8 + packed
        if compression == "zlib":
            out += zlib.decompress(chunk)
        else:
            out += zstandard.ZstdDecompressor().decompress(chunk, max_output_size=size)
    return out

"""Writes tar archives member by member, also such as no tar would write."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)


def octal(number: int, width: int) -> bytes:
    return f"{number:0{width - 1}o}\0".encode()


def header(
    name: bytes,
    size: int,
    kind: bytes = b"0",
    *,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    size_field: bytes | None = None,
) -> bytes:
    fields = b"".join(
        (
            name[:100].ljust(100, b"\0"),
            octal(0o644, 8),
            octal(0, 8),
            octal(0, 8),
            size_field or octal(size, 12),
            octal(0, 12),
            b" " * 8,
            kind,
            bytes(100),
            magic,
        )
    )
    block = fields.ljust(345, b"\0") + prefix.ljust(155, b"\0") + bytes(12)
    return block[:148] + octal(sum(block), 7) + b" " + block[156:]


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % BLOCK)


def member(name: str, content: bytes = b"", kind: bytes = b"0", *, prefix: str = "") -> bytes:
    return header(name.encode(), len(content), kind, prefix=prefix.encode()) + padded(content)


def pax(**records: str) -> bytes:
    """A pax header for the member that follows."""
    lines = b""
    for key, value in records.items():
        body = f" {key.replace('__', '.')}={value}\n".encode()
        size = len(body) + 1
        while len(str(size)) + len(body) != size:
            size += 1
        lines += str(size).encode() + body
    return member("pax", lines, b"x")


def long_name(name: str) -> bytes:
    """The GNU way to name the member that follows."""
    return member("././@LongLink", name.encode() + b"\0", b"L")


def archive(*members: bytes) -> bytes:
    return b"".join(members) + END

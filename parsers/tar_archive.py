"""The members of a tar archive: where each regular file lies in its bytes. Nothing is unpacked.

Read are ustar, GNU and pax archives with regular files and directories. Links, devices and
whatever else may stand in an archive are counted; sparse members are refused, because what lies
there is not the file. A name is never a path of this machine. A header that is damaged ends the
reading: what comes before is used.

Sources of truth: POSIX.1-2017 pax ("ustar Interchange Format", "pax Header Block"), the GNU tar
manual ("Basic Tar Format"), archival/libarchive/get_header_tar.c of busybox 1.36.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from traceview.errors import ParseError, UnsupportedError
from traceview.trace import Diagnostic

BLOCK_BYTES: Final = 512
MAGIC: Final = b"ustar"
MAGIC_AT: Final = 257
MAX_MEMBERS: Final = 1 << 17
MAX_EXTENSION_BYTES: Final = 1 << 20  # of a long name or a pax header
MANY: Final = 5  # names in a message

REGULAR: Final = b"0\x007"  # "7" is contiguous, to be treated alike
DIRECTORY: Final = b"5"
LONG_NAME: Final = b"L"
PAX: Final = b"x"
SPARSE: Final = b"S"
# What says something of archives or members that does not matter here: a pax header for all
# members, long names of links, labels of volumes.
ABOUT: Final = b"gKV"
KINDS: Final = {
    b"1": "hard link", b"2": "symbolic link", b"3": "device", b"4": "device", b"6": "pipe",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file: where it begins, and how long it is."""

    start: int
    size: int


@dataclass(slots=True)
class Archive:
    """What is in an archive: `members` by name, without a leading `./`; and what was wrong."""

    path: str
    members: dict[str, Member] = field(default_factory=dict)
    again: list[str] = field(default_factory=list)  # names that came more than once
    unread: dict[str, list[str]] = field(default_factory=dict)  # names by what they are
    damage: list[Diagnostic] = field(default_factory=list)

    def diagnostics(self) -> list[Diagnostic]:
        """What the reader of a result must know."""
        found = list(self.damage)
        for kind, names in self.unread.items():
            message = f"members of the archive that are not read, being {kind}: {listed(names)}"
            found.append(Diagnostic("archive-members-not-read", "warning", message, len(names)))
        if self.again:
            message = (
                "members of the archive that come more than once (the last one is read, as tar"
                f" would): {listed(self.again)}"
            )
            found.append(
                Diagnostic("archive-members-repeated", "warning", message, len(self.again))
            )
        return found


def is_tar(head: bytes) -> bool:
    """Whether a file that begins with *head* is an archive of the kinds that are read."""
    return head[MAGIC_AT : MAGIC_AT + len(MAGIC)] == MAGIC


def listed(names: list[str]) -> str:
    """*names* for a message: the first of them, and how many there are."""
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + more


def read_archive(view: memoryview, path: str) -> Archive:
    """The members of the archive whose bytes are *view*.

    Raises UnsupportedError for sparse members, ParseError for more members than are plausible.
    """
    return _Reader(view, Archive(path)).read()


class _Reader:
    """Goes from header to header."""

    def __init__(self, view: memoryview, archive: Archive) -> None:
        self._view, self._archive = view, archive
        self._at = 0
        self._long: dict[str, str] = {}  # `path` and `size` of the next member

    def read(self) -> Archive:
        for _ in range(MAX_MEMBERS):
            header = bytes(self._view[self._at : self._at + BLOCK_BYTES])
            if len(header) == BLOCK_BYTES and not any(header):
                return self._archive  # what may follow is filling
            if len(header) < BLOCK_BYTES:
                return self._ended("the archive ends without its end mark: it was cut off")
            if not _is_header(header):
                return self._ended("a header is damaged")
            size = self._size(header)
            if size is None:
                return self._ended("the size of a member is damaged")
            if not self._member(header, size):
                return self._archive
            # A member without content may state a size: that of what it links to.
            self._at += BLOCK_BYTES * (1 + (0 if header[156:157] in KINDS else _blocks(size)))
        reason = f"more than {MAX_MEMBERS} members are more than is plausible"
        raise ParseError(reason, path=self._archive.path, reading="a tar archive")

    def _member(self, header: bytes, size: int) -> bool:
        """Take in one member; False where nothing behind it can be read."""
        kind, start = header[156:157], self._at + BLOCK_BYTES
        if kind in (LONG_NAME, PAX):
            return self._extension(kind, start, size)
        name = self._name(header)
        if kind == SPARSE or any(key.startswith("GNU.sparse") for key in self._long):
            reason = "a sparse member of a tar archive is not read: pack without --sparse"
            raise UnsupportedError(reason, path=self._archive.path, reading=name)
        self._long = {} if kind not in ABOUT else self._long
        if kind in REGULAR and not name.endswith("/"):  # old archives mark directories so
            return self._regular(name, start, size)
        if kind not in ABOUT and kind != DIRECTORY and not name.endswith("/"):
            self._unread(KINDS.get(kind, f"of the unknown type {kind!r}"), name)
        return True

    def _regular(self, name: str, start: int, size: int) -> bool:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        there = max(0, min(size, len(self._view) - start))
        if name.startswith("/") or ".." in parts or not parts:
            self._unread("outside of it by their names", name)
        else:
            short = "/".join(parts)
            if short in self._archive.members:
                self._archive.again.append(short)
            self._archive.members[short] = Member(start, there)
        if there < size:
            self._ended(f"the archive is cut off within {name!r}, of which {there} bytes are there")
        return there == size

    def _extension(self, kind: bytes, start: int, size: int) -> bool:
        content = bytes(self._view[start : start + min(size, MAX_EXTENSION_BYTES)])
        if len(content) < size:
            self._ended("the long name of a member is cut off, or longer than is plausible")
            return False
        if kind == LONG_NAME:
            self._long["path"] = content.split(b"\0")[0].decode("utf-8", "replace")
        else:
            self._long.update(_pax(content))
        return True

    def _name(self, header: bytes) -> str:
        if "path" in self._long:
            return self._long["path"]
        name = _text(header[:100])
        prefix = _text(header[345:500])
        # GNU archives ("ustar  ") have other fields where the prefix is.
        is_posix = header[MAGIC_AT + 5 : MAGIC_AT + 6] == b"\0"
        return f"{prefix}/{name}" if prefix and is_posix else name

    def _size(self, header: bytes) -> int | None:
        """The size of the content, None where it cannot be told."""
        said = self._long.get("size")
        if said is not None and header[156:157] not in (LONG_NAME, PAX):
            return int(said) if said.isdecimal() and len(said) < 19 else None
        return _number(header[124:136])

    def _unread(self, kind: str, name: str) -> None:
        self._archive.unread.setdefault(kind, []).append(repr(name))

    def _ended(self, what: str) -> Archive:
        message = f"{what} (byte {self._at:#x} of {len(self._view):#x}); what comes before is read"
        self._archive.damage.append(Diagnostic("damaged-archive", "warning", message))
        return self._archive


def _is_header(header: bytes) -> bool:
    """Whether the sum over all bytes is as stated, that of the sum itself taken as blanks."""
    stated = _number(header[148:156])
    return stated == sum(header) - sum(header[148:156]) + 8 * ord(" ")


def _number(field_bytes: bytes) -> int | None:
    """An octal number, or one in base 256 (GNU); None for anything else."""
    if field_bytes[0] == 0x80:
        number = int.from_bytes(field_bytes[1:])
        return number if number < 1 << 62 else None
    digits = field_bytes.strip(b" \0")
    if not digits or any(byte not in b"01234567" for byte in digits):
        return None if digits else 0
    return int(digits, 8)


def _pax(content: bytes) -> dict[str, str]:
    """The records `LENGTH KEY=VALUE` of a pax header, as far as they can be read."""
    found, at = {}, 0
    while at < len(content):
        blank = content.find(b" ", at, at + 12)
        digits = content[at:blank] if blank > at else b""
        end = at + int(digits) if digits.isdigit() else 0
        if end <= blank + 1 or end > len(content):
            break
        key, is_record, value = content[blank + 1 : end - 1].partition(b"=")
        if is_record:
            found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        at = end
    return found


def _text(field_bytes: bytes) -> str:
    return field_bytes.split(b"\0")[0].decode("utf-8", "replace")


def _blocks(size: int) -> int:
    return -(-size // BLOCK_BYTES)

"""A raw dump in a tar archive, as `traceview record --script` makes one: one file to carry away.

The dump (raw_dump.py) may lie anywhere in the archive; it is found by its ring buffers. A sidecar
`DUMP.host.json` beside it, inside the archive, says what one beside the archive does not say.
Nothing is unpacked but compression, into an unnamed temporary file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from traceview.errors import ParseError, UnsupportedError
from traceview.host import SIDECAR_SUFFIX, settings_of
from traceview.parsers.dump_files import MAX_FILE_BYTES, matching, plausible
from traceview.parsers.raw_dump import RING, read_files
from traceview.parsers.tar_archive import is_tar, listed, read_archive
from traceview.trace import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.parsers.source import Source
    from traceview.parsers.tar_archive import Archive
    from traceview.trace import Settings, Want

_opened: WeakKeyDictionary[Source, ArchiveFiles] = WeakKeyDictionary()

detect = is_tar


def read(
    source: Source, want: Want, progress: Callable[[float], None] = lambda _: None
) -> Iterator[Batch]:
    """The batches of the dump; *progress* hears the fraction read, 0 to 1."""
    files = _files(source)
    found = (*source.damage, *files.archive.diagnostics())
    if found:
        yield Batch(diagnostics=found)
    yield from read_files(files, source.path, want, progress)


def settings_inside(source: Source) -> Settings | None:
    """What the sidecar in the archive says, None where there is none."""
    files = _files(source)
    name = f"{files.root.rstrip('/')}{SIDECAR_SUFFIX}" if files.root else SIDECAR_SUFFIX[1:]
    content = files.content_of(name)
    return None if content is None else settings_of(content, f"{source.path}: {name}")


class ArchiveFiles:
    """The files of the one dump in an archive; `root` is what their names begin with there."""

    def __init__(self, view: memoryview, archive: Archive) -> None:
        """Raises ParseError where the archive holds no dump, or several."""
        self._view, self.archive = view, archive
        self.root = _root(archive)
        self._names = sorted(
            name[len(self.root) :] for name in archive.members if name.startswith(self.root)
        )

    def names(self, pattern: str) -> list[str]:
        """The regular files that match *pattern*, in order."""
        fits = matching(pattern)
        return [name for name in self._names if fits.match(name)]

    def content(self, name: str) -> bytes:
        """All of a small file; nothing where there is none."""
        return self.content_of(self.root + name) or b""

    def content_of(self, member: str) -> bytes | None:
        """All of a small member, None where there is none."""
        found = self.archive.members.get(member)
        if found is None:
            return None
        piece = self._view[found.start : found.start + min(found.size, MAX_FILE_BYTES + 1)]
        return plausible(bytes(piece), f"{self.archive.path}: {member}")

    def mapped(self, name: str) -> memoryview:
        """All bytes of a file that is there."""
        found = self.archive.members[self.root + name]
        return self._view[found.start : found.start + found.size]

    def shown(self, name: str) -> str:
        """The archive and the member."""
        return f"{self.archive.path}: {self.root}{name}"


def _files(source: Source) -> ArchiveFiles:
    """The files of the dump in *source*, which is unpacked once as long as it is in use."""
    if source not in _opened:
        with source.view() as view:
            _opened[source] = ArchiveFiles(view, read_archive(view, source.path))
    return _opened[source]


def _root(archive: Archive) -> str:
    """What the names of the dump's files begin with, empty or with a slash at its end."""
    found = {root for name in archive.members if (root := _root_of(name)) is not None}
    if not found:
        held = listed(sorted(archive.members)) or "nothing"
        raise ParseError(
            "a tar archive must hold a raw dump, with per_cpu/cpuN/trace_pipe_raw; of anything else"
            f" unpack it first\nthis one holds: {held}",
            path=archive.path,
        )
    if len(found) > 1:
        names = listed(sorted(root.rstrip("/") or "its top" for root in found))
        raise UnsupportedError(
            f"a tar archive of {len(found)} dumps is not read: unpack it, and give each of them"
            f"\nthey are: {names}",
            path=archive.path,
        )
    return found.pop()


def _root_of(name: str) -> str | None:
    """Where the dump begins whose ring buffer *name* is, None of any other file."""
    parts = name.split("/")
    for depth in (5, 3):  # of an instance, of the top level
        tail = "/".join(parts[-depth:])
        if len(parts) >= depth and RING.match(tail):
            return "/".join(parts[:-depth]) + "/" if len(parts) > depth else ""
    return None

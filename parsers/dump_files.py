"""The files of a copy of tracefs, wherever they lie: in a directory, or in a tar archive.

Names are those below the root of the copy, with slashes, as in tracefs itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol

from traceview.errors import ParseError
from traceview.parsers.source import mapped_file

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.parsers.source import Source

MAX_FILE_BYTES: Final = 1 << 26


class DumpFiles(Protocol):
    """What a reader of such a copy asks of it."""

    def names(self, pattern: str) -> list[str]:
        """The regular files that match *pattern* (`*`: within one part), in order."""
        ...

    def content(self, name: str) -> bytes:
        """All of a small file; nothing where there is none."""
        ...

    def mapped(self, name: str) -> memoryview:
        """All bytes of a file that is there."""
        ...

    def shown(self, name: str) -> str:
        """What messages call it."""
        ...


class FolderFiles:
    """The files of a directory."""

    def __init__(self, source: Source, root: Path) -> None:
        """Nothing is read yet."""
        self._source, self._root = source, root

    def names(self, pattern: str) -> list[str]:
        """The regular files that match *pattern*, in order."""
        return [file.relative_to(self._root).as_posix() for file in self._source.files(pattern)]

    def content(self, name: str) -> bytes:
        """All of a small file; nothing where there is none."""
        file = self._root / name
        if not file.is_file():
            return b""
        try:
            with file.open("rb") as raw:
                content = raw.read(MAX_FILE_BYTES + 1)
        except OSError as err:
            raise ParseError(f"cannot be read: {err.strerror}", path=str(file)) from err
        return plausible(content, str(file))

    def mapped(self, name: str) -> memoryview:
        """All bytes of a file that is there."""
        file = self._root / name
        try:
            return mapped_file(file)
        except OSError as err:
            raise ParseError(f"cannot be read: {err.strerror}", path=str(file)) from err

    def shown(self, name: str) -> str:
        """The path of the file."""
        return str(self._root / name)


def plausible(content: bytes, path: str) -> bytes:
    """*content* of a file that is small; raises ParseError where it is not."""
    if len(content) > MAX_FILE_BYTES:
        raise ParseError("a larger file than is plausible", path=path)
    return content


def matching(pattern: str) -> re.Pattern[str]:
    """*pattern* of a name: `*` stands for anything within one part."""
    return re.compile("[^/]*".join(re.escape(part) for part in pattern.split("*")) + r"\Z")

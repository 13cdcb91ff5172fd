"""Files that appear whole or not at all, and take the place of no other unless that was asked for.

What is written lies beside the file under a hidden name until it is complete; then it gets its
name (rename(2)).
"""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from traceview.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise SettingError where *path* cannot be written, or exists and *force* is not given.

    Asked before the work begins, so that nobody waits for it in vain.
    """
    with _explained(path):
        if is_special(path):
            return
        if path.is_dir():
            raise SettingError(f"a folder is where a file should be written: {path}")
        if not path.parent.is_dir():
            raise SettingError(f"there is no folder {path.parent} to write {path.name} in")
        if (path.exists() or path.is_symlink()) and not force:
            raise SettingError(f"{path} exists already\nit was not touched; --force overwrites it")


@contextmanager
def new_file(path: Path, *, force: bool = False) -> Iterator[IO[bytes]]:
    """A binary file to write to, which becomes *path* at the end; an error leaves no trace of it.

    Devices and pipes (`/dev/null`, `/dev/fd/3`) are written directly. Raises SettingError.
    """
    refuse_existing(path, force=force)
    if is_special(path):
        with _explained(path), path.open("wb") as file:
            yield file
        return
    temporary = path.with_name(f".traceview-{secrets.token_hex(8)}.tmp")
    with _explained(path):
        try:
            with temporary.open("xb") as file:
                if path.is_file():  # who may read it is not ours to change
                    os.fchmod(file.fileno(), path.stat().st_mode & 0o7777)
                yield file
            _name(temporary, path, force=force)
        finally:
            temporary.unlink(missing_ok=True)


def write_file(path: Path, pieces: Iterable[str | bytes], *, force: bool = False) -> None:
    """Write *pieces*, text as UTF-8, as the file *path*; see `new_file`."""
    with new_file(path, force=force) as file:
        for piece in pieces:
            file.write(
                piece.encode("utf-8", "backslashreplace") if isinstance(piece, str) else piece
            )


def is_special(path: Path) -> bool:
    """Whether *path* is a device or a pipe, which is written to and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _name(temporary: Path, path: Path, *, force: bool) -> None:
    """Give the file its name; without *force* not over one that came into being meanwhile."""
    if force:
        # What a symbolic link points at is replaced, not the link.
        temporary.replace(path.resolve() if path.is_symlink() else path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        refuse_existing(path, force=False)
        raise
    except OSError:  # a file system without hard links
        refuse_existing(path, force=False)
        temporary.replace(path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as err:
        raise SettingError(f"cannot be written: {path}: {err.strerror or err}") from err

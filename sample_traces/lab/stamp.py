"""Whether something that was built is still what it would be: a digest of what it is made of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def digest(files: Iterable[Path], *words: str) -> str:
    """Of the content of files and of words."""
    found = hashlib.sha256()
    for path in files:
        found.update(path.read_bytes())
    for word in words:
        found.update(f"\0{word}".encode())
    return found.hexdigest()


def is_current(built: Path, made_of: str) -> bool:
    """Whether *built* is there and was made of that."""
    stamp = _stamp(built)
    return built.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == made_of


def mark(built: Path, made_of: str) -> None:
    """Say what it was made of, once it is there."""
    _stamp(built).write_text(made_of, encoding="utf-8")


def _stamp(built: Path) -> Path:
    return built.with_name(f".{built.name}.made-of")

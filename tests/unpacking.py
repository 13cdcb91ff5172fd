"""Archives of test data, unpacked, also by the Python 3.11.2 of Debian 12."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def unpack(archive: Path | str, folder: Path) -> None:
    """The members of *archive* below *folder*."""
    with tarfile.open(archive) as packed:
        # extractall() has no `filter` before 3.11.4, and wants one since 3.12.
        if hasattr(tarfile, "data_filter"):
            packed.extraction_filter = tarfile.data_filter
        packed.extractall(folder)

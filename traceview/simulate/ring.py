"""The ring buffer of one CPU: what of its records is kept, and where some were lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl


@dataclass(slots=True)
class Ring:
    """Keeps everything."""

    lost: list[tuple[int, int]] = field(default_factory=list)
    lost_at_end: int = 0

    def feed(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Take records; yield those whose fate is known."""
        yield frame

    def end(self) -> Iterator[pl.DataFrame]:
        """What is still held when the recording stops."""
        yield from ()

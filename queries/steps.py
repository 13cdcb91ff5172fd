"""Steps: stretches of a recording that the person who made it gave a name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepIntervals:
    """Named intervals in a stated clock: parallel tuples, nanoseconds."""

    clock: str
    ids: tuple[str, ...]
    from_ns: tuple[int, ...]
    to_ns: tuple[int, ...]
    tids: tuple[int | None, ...]
